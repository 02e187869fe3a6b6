/**
 * The log's folder: making a new one, and finding out whether an old one may be opened. Nothing is
 * written before everything that is there was read and found to be ours and whole (S7).
 */

import type { Disk, DiskError, DiskFile } from '../base/disk.ts';
import { assert } from '../base/assert.ts';
import { err, ok, type Result } from '../base/result.ts';
import {
  BLOCK_BYTES,
  decodeBlock,
  encodeBlock,
  FLAG_LAST,
  MAGIC,
  RECORD,
  RECORD_HEAD_BYTES,
  readRecord,
  recordBytes,
  sealRecord,
  viewOf,
} from './layout.ts';
import { BASE_BYTES, emptyState, putState, Replay, type SnapshotRef } from './replay.ts';
import { type ScannedLog, scanLog, type SegmentBytes } from './scan.ts';
import { hex16, readSnapshot, readWhole, snapshotName } from './snapshotFile.ts';
import { type Steps, wait } from './steps.ts';
import type { LogIdentity, LogOpenFailure, LogOptions, LogSnapshot } from './types.ts';

const IDENTITY = 'identity';
/** Stands while a new folder is made: what it holds was never used. */
const CREATING = 'creating';
/** Space kept for a full disk: it is removed so that a snapshot can be written and the log cut. */
export const RESERVE = 'reserve';
const SEGMENT_NAME = /^[0-9a-f]{16}\.log$/;

export function segmentName(number: number): string {
  return `${hex16(number)}.log`;
}

/** A folder read whole. */
export interface FoundLog {
  readonly identity: LogIdentity;
  readonly segments: readonly SegmentBytes[];
  readonly scan: ScannedLog;
  readonly replay: Replay;
  readonly snapshot: LogSnapshot | null;
  /** For each segment that stays, the highest index of an entry in it. */
  readonly indexMax: readonly number[];
  /** Files that nothing refers to: left by an interrupted write. */
  readonly leftovers: readonly string[];
  readonly hasReserve: boolean;
}

type Found<T> = Result<T, LogOpenFailure>;

export function diskFailure(error: DiskError): { ok: false; error: LogOpenFailure } {
  return err({ kind: 'disk', error, detail: error.detail });
}

/** Makes an empty log; a folder that an earlier try left half made is made anew. */
export function* createFolder(disk: Disk, options: LogOptions): Steps<Found<null>> {
  assert(options.mode.kind === 'create', 'a new folder is made only when asked for');
  const { folder, cluster, node } = options;
  const identity: LogIdentity = { cluster, node, incarnation: options.mode.incarnation };
  const listed = yield* wait<readonly string[]>((done) => disk.list(folder, done));
  if (!listed.ok) return diskFailure(listed.error);
  const names = listed.value.filter((name) => name !== 'lock' && name !== 'lock-journal');
  // A crash in the very first step leaves no more than its temporary file.
  const standing = names.filter((name) => name !== `${CREATING}.tmp`);
  if (names.includes(IDENTITY) || (standing.length > 0 && !names.includes(CREATING))) {
    return err({ kind: 'not-empty', detail: `${folder} holds ${names.join(', ')}` });
  }
  const begun = yield* writeFile(disk, folder, CREATING, new Uint8Array(0), names);
  if (!begun.ok) return diskFailure(begun.error);
  const segment = firstSegment(identity, options.segmentBytes);
  const made = yield* writeFile(disk, folder, segmentName(1), segment, names);
  if (!made.ok) return diskFailure(made.error);
  const block = encodeBlock({ magic: MAGIC.identity, identity, numbers: [0, 0, 0, 0] });
  const named = yield* writeFile(disk, folder, IDENTITY, block, names);
  if (!named.ok) return diskFailure(named.error);
  const ended = yield* wait<null>((done) => disk.remove(`${folder}/${CREATING}`, done));
  if (!ended.ok) return diskFailure(ended.error);
  const synced = yield* wait<null>((done) => disk.syncFolder(folder, done));
  return synced.ok ? ok(null) : diskFailure(synced.error);
}

/** Writes a small file durably, by way of a temporary name. */
function* writeFile(
  disk: Disk,
  folder: string,
  name: string,
  bytes: Uint8Array,
  names: readonly string[],
): Steps<Result<null, DiskError>> {
  const temporary = `${folder}/${name}.tmp`;
  if (names.includes(`${name}.tmp`)) {
    const removed = yield* wait<null>((done) => disk.remove(temporary, done));
    if (!removed.ok) return removed;
  }
  const opened = yield* wait<DiskFile>((done) => disk.open(temporary, 'create', done));
  if (!opened.ok) return opened;
  const file = opened.value;
  const written = yield* wait<null>((done) => file.write(0, bytes, done));
  const synced = written.ok ? yield* wait<null>((done) => file.sync(done)) : written;
  const closed = yield* wait<null>((done) => file.close(done));
  if (!synced.ok) return synced;
  if (!closed.ok) return closed;
  const renamed = yield* wait<null>((done) => disk.rename(temporary, `${folder}/${name}`, done));
  if (!renamed.ok) return renamed;
  return yield* wait<null>((done) => disk.syncFolder(folder, done));
}

/** Head, the empty state as record 1, zeros. */
function firstSegment(identity: LogIdentity, bytes: number): Uint8Array {
  const segment = new Uint8Array(bytes);
  segment.set(encodeBlock({ magic: MAGIC.segment, identity, numbers: [1, 1, 0, 0] }), 0);
  const at = BLOCK_BYTES;
  putState(viewOf(segment.subarray(at + RECORD_HEAD_BYTES)), 0, emptyState());
  sealRecord(segment, at, {
    type: RECORD.base,
    kind: 0,
    flags: FLAG_LAST,
    length: BASE_BYTES,
    sequence: 1,
    durable: 0,
    link: 0,
  });
  return segment;
}

/** Reads and judges everything in the folder. Writes nothing. */
export function* readFolder(disk: Disk, options: LogOptions): Steps<Found<FoundLog>> {
  const { folder } = options;
  const listed = yield* wait<readonly string[]>((done) => disk.list(folder, done));
  if (!listed.ok) return diskFailure(listed.error);
  const names = listed.value;
  const identity = yield* readIdentity(disk, options, names);
  if (!identity.ok) return identity;
  const segments = yield* readSegments(disk, folder, names);
  if (!segments.ok) return segments;
  const foreign = segments.value.find((segment) => isForeign(segment, identity.value));
  if (foreign !== undefined) {
    return damaged(foreign.file, 0, 'a segment of another log stands in this folder');
  }
  const scan = scanLog(segments.value);
  if (scan.kind === 'future-version') {
    return err({ kind: 'future-version', detail: `${scan.file} is of a newer program` });
  }
  if (scan.kind === 'damaged') return damaged(scan.file, scan.offset, scan.detail);
  const replay = new Replay(options.kinds);
  const indexMax: number[] = [];
  const wrong = replayAll(segments.value, scan, replay, indexMax) ?? replay.finish();
  if (wrong !== null) return damaged(segments.value[0]?.file ?? '', 0, wrong);
  const ref = replay.state.snapshot;
  let snapshot: LogSnapshot | null = null;
  if (ref.index > 0) {
    const read = yield* readSnapshot(disk, folder, identity.value, ref);
    if (!read.ok) return snapshotFailure(read.error, hex16(ref.index));
    snapshot = read.value;
  }
  const leftovers = names.filter((name) => isLeftover(name, ref));
  return ok({
    identity: identity.value,
    segments: segments.value,
    scan,
    replay,
    snapshot,
    indexMax,
    leftovers,
    hasReserve: names.includes(RESERVE),
  });
}

function isLeftover(name: string, ref: SnapshotRef): boolean {
  if (name.endsWith('.tmp') || name === CREATING) return true;
  if (!name.endsWith('.snapshot')) return false;
  return ref.index === 0 || name !== snapshotName(ref);
}

function damaged(file: string, offset: number, detail: string): Found<never> {
  return err({ kind: 'damaged', file, offset, detail });
}

function snapshotFailure(
  failure:
    | { readonly kind: 'disk'; readonly error: DiskError }
    | { readonly kind: 'damaged' | 'future-version' | 'foreign'; readonly detail: string },
  file: string,
): Found<never> {
  switch (failure.kind) {
    case 'disk':
      return diskFailure(failure.error);
    case 'future-version':
      return err({ kind: 'future-version', detail: failure.detail });
    case 'foreign':
      return err({ kind: 'wrong-cluster', detail: failure.detail });
    case 'damaged':
      return damaged(`snapshot ${file}`, 0, failure.detail);
  }
}

function* readIdentity(
  disk: Disk,
  options: LogOptions,
  names: readonly string[],
): Steps<Found<LogIdentity>> {
  const { folder, cluster, node, mode } = options;
  if (!names.includes(IDENTITY)) {
    const hasLog = names.some((name) => SEGMENT_NAME.test(name)) && !names.includes(CREATING);
    if (hasLog) return damaged(IDENTITY, 0, 'the folder has lost its identity file');
    const detail = `${folder} holds no log; a node that lost its disk needs a new number`;
    return err({ kind: 'no-log', detail });
  }
  const read = yield* readWhole(disk, `${folder}/${IDENTITY}`);
  if (!read.ok) return diskFailure(read.error);
  const block = decodeBlock(read.value, MAGIC.identity);
  if (block === 'future-version') {
    return err({ kind: 'future-version', detail: `${folder} was written by a newer program` });
  }
  if (block === 'damaged') return damaged(IDENTITY, 0, 'it is not as it was written');
  const found = block.identity;
  if (found.cluster !== cluster) {
    return err({ kind: 'wrong-cluster', detail: `${folder} is of cluster ${found.cluster}` });
  }
  if (found.node !== node) {
    return err({ kind: 'wrong-node', detail: `${folder} is of node ${found.node}, not ${node}` });
  }
  if (mode.incarnation !== null && found.incarnation !== mode.incarnation) {
    const detail = `${folder} is another disk of node ${node}: was its number used again?`;
    return err({ kind: 'wrong-incarnation', detail });
  }
  return ok(found);
}

function* readSegments(
  disk: Disk,
  folder: string,
  names: readonly string[],
): Steps<Found<readonly SegmentBytes[]>> {
  const segments: SegmentBytes[] = [];
  for (const file of names.filter((name) => SEGMENT_NAME.test(name))) {
    const number = Number.parseInt(file.slice(0, 16), 16);
    const before = segments.at(-1);
    if (before !== undefined && number !== before.number + 1) {
      return damaged(segmentName(before.number + 1), 0, 'a segment is missing');
    }
    const read = yield* readWhole(disk, `${folder}/${file}`);
    if (!read.ok) return diskFailure(read.error);
    segments.push({ file, number, bytes: read.value });
  }
  if (segments.length === 0) return damaged(segmentName(1), 0, 'every segment is missing');
  return ok(segments);
}

function isForeign(segment: SegmentBytes, identity: LogIdentity): boolean {
  const block = decodeBlock(segment.bytes, MAGIC.segment);
  if (typeof block === 'string') return false;
  return (
    block.identity.cluster !== identity.cluster ||
    block.identity.node !== identity.node ||
    block.identity.incarnation !== identity.incarnation
  );
}

/** Replays up to the scan's end; fills `indexMax`. A sentence where the records make no sense. */
function replayAll(
  segments: readonly SegmentBytes[],
  scan: ScannedLog,
  replay: Replay,
  indexMax: number[],
): string | null {
  for (const [position, { bytes }] of segments.entries()) {
    if (position > scan.end.segment) break;
    const view = viewOf(bytes);
    const end = position === scan.end.segment ? scan.end.at : bytes.length;
    let highest = 0;
    for (let at = BLOCK_BYTES; at < end;) {
      const record = readRecord(bytes, view, at);
      if (record === null || record.type === RECORD.mark) break;
      const from = at + RECORD_HEAD_BYTES;
      const wrong = replay.apply(record, bytes.subarray(from, from + record.length));
      if (wrong !== null) return wrong;
      if (record.type === RECORD.entry) highest = Math.max(highest, replay.state.lastIndex);
      at += recordBytes(record.length);
    }
    indexMax.push(highest);
  }
  return null;
}
