/**
 * A backup: the keys and audit records of one revision as a file that says by itself whether it is
 * whole. The layout stands in SPEC.md, section 5. Leases and claims are not in it: they are promises
 * between those who are alive now.
 *
 * B1: a backup is of one revision: all of it is taken in one turn, however slowly it is read.
 * B2: what is not a whole backup of a version that is known is refused, with what is wrong and where.
 */

import { assert } from '../../base/assert.ts';
import { encodeUtf8 } from '../../base/bytes.ts';
import { ByteReader, ByteWriter } from '../../base/byteCodec.ts';
import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { crc32c } from '../../base/crc32c.ts';
import type { ControlView } from './engine.ts';
import { readItem, readRecord, writeItem, writeRecord } from './parts.ts';
import { sizeOf } from './state.ts';
import type { AuditRecord, KeyValue, Revision } from './types.ts';

const MAGIC = encodeUtf8('BNYNBKUP');
const VERSION = 1;
const HEAD_BYTES = MAGIC.length + 4;
/** Kind and length before the payload of a frame, its checksum behind it. */
const FRAME_HEAD_BYTES = 5;
const CHECKSUM_BYTES = 4;
const DIGEST_BYTES = 32;
/** A frame is ended behind the item that takes it past this. */
const FRAME_BYTES = 64 * 1024;
const FRAME_BYTES_MAX = 1024 * 1024;
const FRAME = { about: 1, items: 2, audit: 3, end: 4 } as const;
const WORD_BYTES_MAX = 256;

/** What a backup says of itself. */
export interface BackupAbout {
  /** The cluster that it is of. */
  readonly cluster: string;
  readonly revision: Revision;
  /** A quorum said that nothing newer had been answered; false: what one node had. */
  readonly isConfirmed: boolean;
  /** Unix ms, by the clock of the node. */
  readonly madeMs: number;
  /** The program, and what keeps its control state. */
  readonly product: string;
  readonly engine: string;
}

export interface Backup {
  readonly about: BackupAbout;
  readonly items: readonly KeyValue[];
  readonly audit: readonly AuditRecord[];
}

/** SHA-256, which the shell has. */
export interface BackupDigest {
  update(bytes: Uint8Array): void;
  finish(): Uint8Array;
}

export type BackupFault =
  | { readonly kind: 'no-backup' }
  | { readonly kind: 'future-version'; readonly version: number }
  /** It ends in the middle; `offset` is where. */
  | { readonly kind: 'truncated'; readonly offset: number }
  | { readonly kind: 'damaged'; readonly offset: number; readonly detail: string };

/** Takes what a view holds now (B1). */
export function captureBackup(view: ControlView, about: Omit<BackupAbout, 'revision'>): Backup {
  const items: KeyValue[] = [];
  let after: string | null = '';
  while (after !== null) {
    const page = view.range({ prefix: '', after, keysMax: CONTROL_LIMITS.rangeKeysMax });
    items.push(...page.items);
    after = page.next;
  }
  const audit = view.audit(1, CONTROL_LIMITS.auditRecordsMax);
  return { about: { ...about, revision: view.revision }, items, audit };
}

/** The bytes of the file, piece by piece. */
export function* encodeBackup(backup: Backup, digest: BackupDigest): Generator<Uint8Array> {
  const hashed = (bytes: Uint8Array): Uint8Array => {
    digest.update(bytes);
    return bytes;
  };
  const head = new Uint8Array(HEAD_BYTES);
  head.set(MAGIC);
  head.set(new ByteWriter().u32(VERSION).finish(), MAGIC.length);
  yield hashed(head);
  const { about, items, audit } = backup;
  const writer = new ByteWriter().text(about.cluster).u64(about.revision).bool(about.isConfirmed);
  writer.u64(about.madeMs).text(about.product).text(about.engine);
  writer.u64(items.length).u64(audit.length);
  yield hashed(frame(FRAME.about, writer.finish()));
  for (const batch of batches(items, sizeOf)) {
    const list = new ByteWriter();
    list.list(batch, (item) => writeItem(list, item));
    yield hashed(frame(FRAME.items, list.finish()));
  }
  for (const batch of batches(audit, recordBytesMax)) {
    const list = new ByteWriter();
    list.list(batch, (record) => writeRecord(list, record));
    yield hashed(frame(FRAME.audit, list.finish()));
  }
  const sum = digest.finish();
  assert(sum.length === DIGEST_BYTES, 'the digest is SHA-256');
  yield frame(FRAME.end, sum);
}

/** Of a record in a frame, at most: its texts take three bytes a character where they are Chinese. */
function recordBytesMax({ who, from, what, why, changes }: AuditRecord): number {
  const chars = who.length + from.length + what.length + why.length;
  return 64 + 3 * chars + changes.reduce((sum, { key }) => sum + key.length + 8, 0);
}

function* batches<T>(all: readonly T[], bytesOf: (one: T) => number): Generator<readonly T[]> {
  let batch: T[] = [];
  let bytes = 0;
  for (const one of all) {
    batch.push(one);
    bytes += bytesOf(one);
    if (bytes < FRAME_BYTES) continue;
    yield batch;
    batch = [];
    bytes = 0;
  }
  if (batch.length > 0) yield batch;
}

function frame(kind: number, payload: Uint8Array): Uint8Array {
  assert(payload.length <= FRAME_BYTES_MAX, 'a frame is within its limit');
  const sealed = new ByteWriter().u8(kind).blob(payload).finish();
  const bytes = new Uint8Array(sealed.length + CHECKSUM_BYTES);
  bytes.set(sealed);
  bytes.set(new ByteWriter().u32(crc32c(sealed)).finish(), sealed.length);
  return bytes;
}

/** Reads a file as it comes. Whatever is wrong is said once; nothing more is taken then (B2). */
export class BackupReader {
  readonly #digest: BackupDigest;
  #pending: Uint8Array = new Uint8Array(0);
  /** Of the first pending byte in the file. */
  #offset = 0;
  #isHeadRead = false;
  #isEnded = false;
  #about: BackupAbout | null = null;
  #expected = { items: 0, audit: 0 };
  readonly #items: KeyValue[] = [];
  readonly #audit: AuditRecord[] = [];
  #fault: BackupFault | null = null;

  constructor(digest: BackupDigest) {
    this.#digest = digest;
  }

  push(bytes: Uint8Array): BackupFault | null {
    if (this.#fault !== null) return this.#fault;
    const all = new Uint8Array(this.#pending.length + bytes.length);
    all.set(this.#pending);
    all.set(bytes, this.#pending.length);
    this.#pending = all;
    this.#fault = this.#takeAll();
    return this.#fault;
  }

  /** The file is over. */
  end(): Backup | BackupFault {
    if (this.#fault !== null) return this.#fault;
    if (!this.#isHeadRead && !beginsLikeOne(this.#pending)) return { kind: 'no-backup' };
    const about = this.#about;
    if (!this.#isEnded || about === null) {
      return { kind: 'truncated', offset: this.#offset + this.#pending.length };
    }
    return { about, items: this.#items, audit: this.#audit };
  }

  #takeAll(): BackupFault | null {
    if (!this.#isHeadRead) {
      if (this.#pending.length < HEAD_BYTES) return null;
      if (!beginsLikeOne(this.#pending)) return { kind: 'no-backup' };
      const version = new ByteReader(this.#pending.subarray(MAGIC.length, HEAD_BYTES)).u32();
      if (version !== VERSION) return { kind: 'future-version', version };
      this.#digest.update(this.#take(HEAD_BYTES));
      this.#isHeadRead = true;
    }
    while (this.#pending.length > 0) {
      if (this.#isEnded) return this.#damaged('bytes follow behind the end');
      if (this.#pending.length < FRAME_HEAD_BYTES) return null;
      const length = new ByteReader(this.#pending.subarray(1, FRAME_HEAD_BYTES)).u32();
      if (length > FRAME_BYTES_MAX) return this.#damaged('a frame is longer than any');
      const whole = FRAME_HEAD_BYTES + length + CHECKSUM_BYTES;
      if (this.#pending.length < whole) return null;
      const fault = this.#onFrame(this.#pending.subarray(0, whole));
      if (fault !== null) return fault;
      this.#take(whole);
    }
    return null;
  }

  #take(count: number): Uint8Array {
    const taken = this.#pending.subarray(0, count);
    this.#pending = this.#pending.subarray(count);
    this.#offset += count;
    return taken;
  }

  #damaged(detail: string): BackupFault {
    return { kind: 'damaged', offset: this.#offset, detail };
  }

  #onFrame(bytes: Uint8Array): BackupFault | null {
    const sealed = bytes.subarray(0, bytes.length - CHECKSUM_BYTES);
    const checksum = new ByteReader(bytes.subarray(sealed.length)).u32();
    if (crc32c(sealed) !== checksum) return this.#damaged('a checksum does not fit');
    const kind = sealed[0] ?? 0;
    const payload = sealed.subarray(FRAME_HEAD_BYTES);
    if (kind === FRAME.end) return this.#onEnd(payload);
    this.#digest.update(bytes);
    const reader = new ByteReader(payload);
    if ((kind === FRAME.about) !== (this.#about === null)) {
      return this.#damaged('a frame is not at its place');
    }
    if (kind === FRAME.about) this.#onAbout(reader);
    else if (kind === FRAME.items) {
      this.#items.push(...reader.list(CONTROL_LIMITS.keysMax, () => readItem(reader)));
    } else if (kind === FRAME.audit) {
      this.#audit.push(...reader.list(CONTROL_LIMITS.auditRecordsMax, () => readRecord(reader)));
    } else return this.#damaged('a frame is of no known kind');
    return reader.isDone() ? null : this.#damaged('a frame cannot be read');
  }

  #onAbout(reader: ByteReader): void {
    this.#about = {
      cluster: reader.text(WORD_BYTES_MAX),
      revision: reader.u64(),
      isConfirmed: reader.bool(),
      madeMs: reader.u64(),
      product: reader.text(WORD_BYTES_MAX),
      engine: reader.text(WORD_BYTES_MAX),
    };
    this.#expected = { items: reader.u64(), audit: reader.u64() };
  }

  #onEnd(sum: Uint8Array): BackupFault | null {
    const own = this.#digest.finish();
    if (sum.length !== own.length || !sum.every((byte, at) => byte === own[at])) {
      return this.#damaged('the SHA-256 at the end does not fit');
    }
    const { items, audit } = this.#expected;
    if (this.#about === null || items !== this.#items.length || audit !== this.#audit.length) {
      return this.#damaged('it holds another number of keys or records than it says');
    }
    this.#isEnded = true;
    return null;
  }
}

function beginsLikeOne(bytes: Uint8Array): boolean {
  return bytes.length > 0 && bytes.every((byte, at) => at >= MAGIC.length || byte === MAGIC[at]);
}
