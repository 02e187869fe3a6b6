/**
 * Bytes of the log's files: blocks (identity, heads of segments and snapshots) and records.
 * FORMAT.md has the tables and the numbered invariants; formats change there first. @hot
 */

import { decodeUtf8Strict, encodeUtf8 } from '../base/bytes.ts';
import { crc32c } from '../base/crc32c.ts';
import type { LogIdentity } from './types.ts';

export const FORMAT_VERSION = 1;
export const BLOCK_BYTES = 512;
export const RECORD_HEAD_BYTES = 32;
export const ENTRY_HEAD_BYTES = 24;

export const MAGIC = { identity: 'BANYANID', segment: 'BANYANLG', snapshot: 'BANYANSN' } as const;

export const RECORD = {
  base: 1,
  entry: 2,
  hardState: 3,
  snapshot: 4,
  compact: 5,
  mark: 6,
} as const;
const RECORD_TYPE_MAX = 6;

/** The last record of a persist: what follows the last one of these was never acknowledged. */
export const FLAG_LAST = 1;
/** With a snapshot: every stored entry goes. */
export const FLAG_DISCARD = 2;

const TWO_32 = 0x1_0000_0000;
const HIGH_MAX = 0x1f_ffff;
const CRC_AT = BLOCK_BYTES - 4;
const CLUSTER_AT = 64;

/** A `DataView` of exactly these bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function putU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % TWO_32, true);
  view.setUint32(at + 4, Math.floor(value / TWO_32), true);
}

/** A safe integer, or -1 where the bytes hold a larger one. */
export function getU64(view: DataView, at: number): number {
  const high = view.getUint32(at + 4, true);
  return high > HIGH_MAX ? -1 : high * TWO_32 + view.getUint32(at, true);
}

/** A block of 512 bytes; six numbers of 8 bytes whose meaning the magic gives. */
export interface Block {
  readonly magic: string;
  readonly identity: LogIdentity;
  readonly numbers: readonly [number, number, number, number];
}

export function encodeBlock(block: Block): Uint8Array {
  const bytes = new Uint8Array(BLOCK_BYTES);
  const view = viewOf(bytes);
  bytes.set(encodeUtf8(block.magic), 0);
  view.setUint32(8, FORMAT_VERSION, true);
  putU64(view, 16, block.identity.node);
  putU64(view, 24, block.identity.incarnation);
  block.numbers.forEach((value, index) => putU64(view, 32 + 8 * index, value));
  const cluster = encodeUtf8(block.identity.cluster);
  bytes[CLUSTER_AT] = cluster.length;
  bytes.set(cluster, CLUSTER_AT + 1);
  view.setUint32(CRC_AT, crc32c(bytes.subarray(0, CRC_AT)), true);
  return bytes;
}

export type BlockFailure = 'damaged' | 'future-version';

/** The block at the start of `bytes`. The version is judged before the checksum, which may move. */
export function decodeBlock(bytes: Uint8Array, magic: string): Block | BlockFailure {
  if (bytes.length < BLOCK_BYTES) return 'damaged';
  const block = bytes.subarray(0, BLOCK_BYTES);
  const view = viewOf(block);
  if (decodeUtf8Strict(block.subarray(0, 8)) !== magic) return 'damaged';
  if (view.getUint32(8, true) > FORMAT_VERSION) return 'future-version';
  if (view.getUint32(CRC_AT, true) !== crc32c(block.subarray(0, CRC_AT))) return 'damaged';
  const clusterBytes = block[CLUSTER_AT] ?? 0;
  const from = CLUSTER_AT + 1;
  const cluster = decodeUtf8Strict(block.subarray(from, from + clusterBytes));
  if (cluster === null) return 'damaged';
  return {
    magic,
    identity: { cluster, node: getU64(view, 16), incarnation: getU64(view, 24) },
    numbers: [getU64(view, 32), getU64(view, 40), getU64(view, 48), getU64(view, 56)],
  };
}

/** Bytes that a record with so much payload takes: a multiple of 8. */
export function recordBytes(payloadBytes: number): number {
  return RECORD_HEAD_BYTES + ((payloadBytes + 7) & ~7);
}

/** What a record says besides its payload. */
export interface RecordHead {
  type: number;
  kind: number;
  flags: number;
  length: number;
  sequence: number;
  durable: number;
  link: number;
  crc: number;
}

/** Writes the head before a payload that stands at `at + 32`; returns the record's checksum. */
export function sealRecord(bytes: Uint8Array, at: number, head: Omit<RecordHead, 'crc'>): number {
  const total = recordBytes(head.length);
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, total);
  view.setUint32(4, head.length, true);
  view.setUint32(8, head.link, true);
  view.setUint8(12, head.type);
  view.setUint8(13, head.kind);
  view.setUint16(14, head.flags, true);
  putU64(view, 16, head.sequence);
  putU64(view, 24, head.durable);
  bytes.fill(0, at + RECORD_HEAD_BYTES + head.length, at + total);
  const crc = crc32c(bytes.subarray(at + 4, at + total));
  view.setUint32(0, crc, true);
  return crc;
}

/** The whole record at `at`, or null where there is none: cut, zero, or not as it was written. */
export function readRecord(bytes: Uint8Array, view: DataView, at: number): RecordHead | null {
  if (at + RECORD_HEAD_BYTES > bytes.length) return null;
  const length = view.getUint32(at + 4, true);
  const type = view.getUint8(at + 12);
  if (type === 0 || type > RECORD_TYPE_MAX) return null;
  const end = at + RECORD_HEAD_BYTES + Math.ceil(length / 8) * 8;
  if (end > bytes.length) return null;
  const crc = view.getUint32(at, true);
  if (crc !== crc32c(bytes.subarray(at + 4, end))) return null;
  const sequence = getU64(view, at + 16);
  const durable = getU64(view, at + 24);
  if (sequence < 1 || durable < 0) return null;
  return {
    type,
    kind: view.getUint8(at + 13),
    flags: view.getUint16(at + 14, true),
    length,
    sequence,
    durable,
    link: view.getUint32(at + 8, true),
    crc,
  };
}

const linkBytes = new Uint8Array(8);
const linkView = viewOf(linkBytes);

/** What the next record names as its predecessor: it stands for this record and all before. */
export function nextLink(link: number, crc: number): number {
  linkView.setUint32(0, link, true);
  linkView.setUint32(4, crc, true);
  return crc32c(linkBytes);
}
