/**
 * The whole state as bytes. Equal states have equal bytes. A snapshot carries the hash of the state
 * that wrote it: what does not come to the same hash is refused.
 */

import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { ByteReader, ByteWriter } from '../../base/byteCodec.ts';
import { readEvent, readItem, readRecord, writeEvent, writeItem, writeRecord } from './parts.ts';
import { ControlState } from './state.ts';
import { keyOf, type AuditRecord, type Change } from './types.ts';

const VERSION = 1;

export function encodeState(state: ControlState): Uint8Array {
  const writer = new ByteWriter().u8(VERSION);
  writer.u64(state.appliedIndex).u64(state.revision).u64(state.compactedTo).u32(state.hash());
  writer.list([...state.items()], (item) => writeItem(writer, item));
  writer.list(state.changes, ({ events }) => {
    writer.list(events, (event) => writeEvent(writer, event));
  });
  writer.list(state.audit, (record) => writeRecord(writer, record));
  return writer.finish();
}

/** The state of a snapshot, or null where the bytes are none. */
export function decodeState(bytes: Uint8Array): ControlState | null {
  const reader = new ByteReader(bytes);
  if (reader.u8() !== VERSION) return null;
  const state = new ControlState();
  state.appliedIndex = reader.u64();
  state.revision = reader.u64();
  state.compactedTo = reader.u64();
  const hash = reader.u32();
  const items = reader.list(CONTROL_LIMITS.keysMax, () => readItem(reader));
  let revision = state.compactedTo;
  const changes = reader.list(CONTROL_LIMITS.historyRevisionsMax, (): Change => {
    revision += 1;
    return { revision, events: reader.list(CONTROL_LIMITS.operationsMax, () => readEvent(reader)) };
  });
  const audit = reader.list(CONTROL_LIMITS.auditRecordsMax, () => readRecord(reader));
  if (!reader.isDone() || revision !== state.revision) return null;
  const isInOrder = items.every(({ key }, at) => at === 0 || key > (items[at - 1]?.key ?? ''));
  if (!isInOrder || !areSound(changes, audit)) return null;
  for (const item of items) {
    if (item.modRevision > state.revision || item.version < 1) return null;
    state.put(item);
  }
  for (const change of changes) state.keep(change);
  for (const record of audit) state.keepRecord(record);
  return state.hash() === hash ? state : null;
}

function areSound(changes: readonly Change[], audit: readonly AuditRecord[]): boolean {
  const areChangesSound = changes.every(({ events }) => {
    return events.length > 0 && new Set(events.map(keyOf)).size === events.length;
  });
  return (
    areChangesSound &&
    audit.every(({ revision }, at) => at === 0 || revision === (audit[at - 1]?.revision ?? 0) + 1)
  );
}
