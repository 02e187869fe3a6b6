/**
 * Snapshot files: written in chunks beside the log, checked whole, put in place by a rename. A
 * snapshot counts from the record in the log that names it, never before (S9).
 */

import type { Disk, DiskError, DiskFile } from '../base/disk.ts';
import { crc32c } from '../base/crc32c.ts';
import { STORAGE_LIMITS } from '../base/limits.ts';
import { err, ok, type Result } from '../base/result.ts';
import { BLOCK_BYTES, decodeBlock, encodeBlock, getU64, MAGIC, putU64, viewOf } from './layout.ts';
import type { SnapshotRef } from './replay.ts';
import { type Steps, wait } from './steps.ts';
import type { LogIdentity, LogSnapshot } from './types.ts';

/** Between the block and the meta bytes: lengths and checksums of both parts. */
const HEAD_BYTES = 40;
const CHUNK = STORAGE_LIMITS.snapshotChunkBytes;

/** Its checksum is in the name: another snapshot of the same place is another file. */
export function snapshotName(ref: SnapshotRef): string {
  const checksum = ref.checksum.toString(16).padStart(8, '0');
  return `${hex16(ref.index)}-${hex16(ref.term)}-${checksum}.snapshot`;
}

export function hex16(value: number): string {
  return value.toString(16).padStart(16, '0');
}

export function snapshotRef(snapshot: LogSnapshot): SnapshotRef {
  const { index, term, data } = snapshot;
  return { index, term, dataBytes: data.length, checksum: crc32c(data) };
}

/** Writes it durably under its final name. A temporary file of an earlier try is replaced. */
export function* writeSnapshot(
  disk: Disk,
  folder: string,
  identity: LogIdentity,
  snapshot: LogSnapshot,
): Steps<Result<null, DiskError>> {
  const ref = snapshotRef(snapshot);
  const name = `${folder}/${snapshotName(ref)}`;
  const temporary = `${name}.tmp`;
  const removed = yield* wait<null>((done) => disk.remove(temporary, done));
  if (!removed.ok && removed.error.kind !== 'missing') return removed;
  const opened = yield* wait<DiskFile>((done) => disk.open(temporary, 'create', done));
  if (!opened.ok) return opened;
  const file = opened.value;
  const written = yield* writeParts(file, encodeHead(identity, snapshot, ref), snapshot.data);
  const closed = yield* wait<null>((done) => file.close(done));
  if (!written.ok) return written;
  if (!closed.ok) return closed;
  const renamed = yield* wait<null>((done) => disk.rename(temporary, name, done));
  if (!renamed.ok) return renamed;
  return yield* wait<null>((done) => disk.syncFolder(folder, done));
}

function encodeHead(identity: LogIdentity, snapshot: LogSnapshot, ref: SnapshotRef): Uint8Array {
  const { meta, index, term } = snapshot;
  const bytes = new Uint8Array(BLOCK_BYTES + HEAD_BYTES + meta.length);
  bytes.set(encodeBlock({ magic: MAGIC.snapshot, identity, numbers: [index, term, 0, 0] }), 0);
  const view = viewOf(bytes.subarray(BLOCK_BYTES));
  putU64(view, 8, meta.length);
  putU64(view, 16, ref.dataBytes);
  putU64(view, 24, ref.checksum);
  bytes.set(meta, BLOCK_BYTES + HEAD_BYTES);
  view.setUint32(0, crc32c(bytes.subarray(BLOCK_BYTES + 4)), true);
  return bytes;
}

/** Synced now and then, so that the log's own syncs do not wait behind one of hundreds of MiB. */
function* writeParts(
  file: DiskFile,
  head: Uint8Array,
  data: Uint8Array,
): Steps<Result<null, DiskError>> {
  const first = yield* wait<null>((done) => file.write(0, head, done));
  if (!first.ok) return first;
  let chunks = 0;
  for (let at = 0; at < data.length; at += CHUNK) {
    const chunk = data.subarray(at, at + CHUNK);
    const written = yield* wait<null>((done) => file.write(head.length + at, chunk, done));
    if (!written.ok) return written;
    chunks += 1;
    if (chunks % STORAGE_LIMITS.snapshotSyncChunks !== 0) continue;
    const synced = yield* wait<null>((done) => file.sync(done));
    if (!synced.ok) return synced;
  }
  return yield* wait<null>((done) => file.sync(done));
}

export type SnapshotFailure =
  | { readonly kind: 'disk'; readonly error: DiskError }
  | { readonly kind: 'damaged' | 'future-version' | 'foreign'; readonly detail: string };

/** Reads the snapshot that the log names; all of it is checked. */
export function* readSnapshot(
  disk: Disk,
  folder: string,
  identity: LogIdentity,
  ref: SnapshotRef,
): Steps<Result<LogSnapshot, SnapshotFailure>> {
  const path = `${folder}/${snapshotName(ref)}`;
  const read = yield* readWhole(disk, path);
  if (!read.ok) {
    if (read.error.kind !== 'missing') return err({ kind: 'disk', error: read.error });
    return err({ kind: 'damaged', detail: 'the snapshot that the log names is missing' });
  }
  const bytes = read.value;
  const block = decodeBlock(bytes, MAGIC.snapshot);
  if (block === 'future-version') {
    return err({ kind: 'future-version', detail: `${path} was written by a newer program` });
  }
  if (block === 'damaged' || bytes.length < BLOCK_BYTES + HEAD_BYTES) {
    return err({ kind: 'damaged', detail: 'its head is not as it was written' });
  }
  if (block.identity.cluster !== identity.cluster) {
    return err({ kind: 'foreign', detail: `${path} is of cluster ${block.identity.cluster}` });
  }
  const view = viewOf(bytes.subarray(BLOCK_BYTES));
  const metaBytes = getU64(view, 8);
  const dataAt = BLOCK_BYTES + HEAD_BYTES + metaBytes;
  const isWhole =
    metaBytes >= 0 &&
    bytes.length === dataAt + ref.dataBytes &&
    view.getUint32(0, true) === crc32c(bytes.subarray(BLOCK_BYTES + 4, dataAt)) &&
    block.numbers[0] === ref.index &&
    block.numbers[1] === ref.term &&
    crc32c(bytes.subarray(dataAt)) === ref.checksum;
  if (!isWhole) return err({ kind: 'damaged', detail: 'its bytes are not as they were written' });
  const meta = bytes.slice(BLOCK_BYTES + HEAD_BYTES, dataAt);
  return ok({ index: ref.index, term: ref.term, meta, data: bytes.subarray(dataAt) });
}

/** The whole of a file. */
export function* readWhole(disk: Disk, path: string): Steps<Result<Uint8Array, DiskError>> {
  const opened = yield* wait<DiskFile>((done) => disk.open(path, 'read', done));
  if (!opened.ok) return opened;
  const file = opened.value;
  const size = yield* wait<number>((done) => file.size(done));
  const read = size.ok ? yield* wait<Uint8Array>((done) => file.read(0, size.value, done)) : size;
  yield* wait<null>((done) => file.close(done));
  return read;
}
