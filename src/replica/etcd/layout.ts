/**
 * The control state as keys of an etcd cluster, below a prefix:
 *
 * | key | value |
 * |---|---|
 * | `PREFIX/control/head` | lineage and revision; every change of the state puts it |
 * | `PREFIX/control/key/KEY` | one key: type, value, its own revisions |
 * | `PREFIX/control/audit/REVISION` | the record of that change, and the mark of who made it |
 *
 * The head's modification revision is what every transaction compares: of two that were decided by
 * the same state, one is done. Values are in our own bytes (`parts.ts`).
 */

import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { ByteReader, ByteWriter } from '../../base/byteCodec.ts';
import { readItem, readRecord, writeItem, writeRecord } from '../control/parts.ts';
import type { AuditRecord, KeyValue, Revision } from '../control/types.ts';

const VERSION = 1;
const MARK_CHARS_MAX = 64;

export interface Head {
  /** Drawn when the state was founded: another one is another state. */
  readonly lineage: string;
  readonly revision: Revision;
}

/** A record as it is stored: `mark` names the attempt that wrote it. */
export interface MarkedRecord {
  readonly mark: string;
  readonly record: AuditRecord;
}

export interface Layout {
  /** All of the state begins so. */
  readonly root: string;
  readonly head: string;
  readonly keys: string;
  readonly audit: string;
  readonly key: (key: string) => string;
  readonly record: (revision: Revision) => string;
}

export function layoutOf(prefix: string): Layout {
  const root = `${prefix}/control/`;
  const keys = `${root}key/`;
  const audit = `${root}audit/`;
  return {
    root,
    head: `${root}head`,
    keys,
    audit,
    key: (key) => keys + key,
    record: (revision) => audit + revision.toString(16).padStart(14, '0'),
  };
}

export function encodeHead({ lineage, revision }: Head): Uint8Array {
  return new ByteWriter().u8(VERSION).text(lineage).u64(revision).finish();
}

export function decodeHead(bytes: Uint8Array): Head | null {
  const reader = new ByteReader(bytes);
  if (reader.u8() !== VERSION) return null;
  const head = { lineage: reader.text(MARK_CHARS_MAX), revision: reader.u64() };
  return reader.isDone() ? head : null;
}

export function encodeItem(item: KeyValue): Uint8Array {
  const writer = new ByteWriter().u8(VERSION);
  writeItem(writer, item);
  return writer.finish();
}

export function decodeItem(bytes: Uint8Array): KeyValue | null {
  const reader = new ByteReader(bytes);
  if (reader.u8() !== VERSION) return null;
  const item = readItem(reader);
  return reader.isDone() && item.value.length <= CONTROL_LIMITS.valueBytesMax ? item : null;
}

export function encodeRecord({ mark, record }: MarkedRecord): Uint8Array {
  const writer = new ByteWriter().u8(VERSION).text(mark);
  writeRecord(writer, record);
  return writer.finish();
}

export function decodeRecord(bytes: Uint8Array): MarkedRecord | null {
  const reader = new ByteReader(bytes);
  if (reader.u8() !== VERSION) return null;
  const mark = reader.text(MARK_CHARS_MAX);
  const record = readRecord(reader);
  return reader.isDone() ? { mark, record } : null;
}
