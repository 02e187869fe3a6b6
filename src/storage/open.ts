/** Opening a log: refuse what is not ours, make sure of what was found, then go on behind it. */

import { assert } from '../base/assert.ts';
import type { Disk, DiskError, DiskFile, DiskLock } from '../base/disk.ts';
import { STORAGE_LIMITS } from '../base/limits.ts';
import { err, ok, type Result } from '../base/result.ts';
import { createFolder, diskFailure, type FoundLog, readFolder } from './folder.ts';
import { BLOCK_BYTES } from './layout.ts';
import { DurableLog, type Segment } from './log.ts';
import { runSteps, type Steps, wait } from './steps.ts';
import type { LogEvents, LogOpenFailure, LogOptions, LogRecovered } from './types.ts';

export interface OpenedLog {
  readonly log: DurableLog;
  readonly recovered: LogRecovered;
}

/** Opens or makes a log. `done` is called once, later. */
export function openLog(
  disk: Disk,
  options: LogOptions,
  events: LogEvents,
  done: (opened: Result<OpenedLog, LogOpenFailure>) => void,
): void {
  const { segmentBytesMin, segmentBytesMax } = STORAGE_LIMITS;
  assert(options.segmentBytes % BLOCK_BYTES === 0, 'a segment is whole sectors');
  assert(options.segmentBytes >= segmentBytesMin, 'a segment has room for its head');
  assert(options.segmentBytes <= segmentBytesMax, 'a segment is read whole into memory');
  runSteps(openSteps(disk, options, events), done);
}

/** A log as it lies there. Its folder is held until `lock` is closed. */
export interface ReadLog {
  readonly recovered: LogRecovered;
  readonly lock: DiskLock;
}

/** Reads a log that nobody runs on and writes nothing. `done` is called once, later. */
export function readLog(
  disk: Disk,
  options: LogOptions,
  done: (read: Result<ReadLog, LogOpenFailure>) => void,
): void {
  runSteps(readSteps(disk, options), done);
}

function* readSteps(disk: Disk, options: LogOptions): Steps<Result<ReadLog, LogOpenFailure>> {
  const lock = yield* lockSteps(disk, options.folder);
  if (!lock.ok) return lock;
  const found = yield* readFolder(disk, options);
  if (found.ok) return ok({ recovered: recoveredOf(found.value), lock: lock.value });
  yield* wait<null>((closed) => lock.value.close(closed));
  return found;
}

function* openSteps(
  disk: Disk,
  options: LogOptions,
  events: LogEvents,
): Steps<Result<OpenedLog, LogOpenFailure>> {
  const { folder, mode } = options;
  if (mode.kind === 'create') {
    const made = yield* wait<null>((done) => disk.makeFolder(folder, done));
    if (!made.ok) return diskFailure(made.error);
  }
  const locked = yield* lockSteps(disk, folder);
  if (!locked.ok) return locked;
  const opened = yield* openLocked(disk, options, events, locked.value);
  if (!opened.ok) yield* wait<null>((done) => locked.value.close(done));
  return opened;
}

function* lockSteps(disk: Disk, folder: string): Steps<Result<DiskLock, LogOpenFailure>> {
  const locked = yield* wait<DiskLock>((done) => disk.lockFolder(folder, done));
  if (locked.ok) return locked;
  const { error } = locked;
  if (error.kind === 'locked') return err({ kind: 'locked', detail: error.detail });
  if (error.kind !== 'missing') return diskFailure(error);
  return err({ kind: 'no-log', detail: `${folder} is not there` });
}

function* openLocked(
  disk: Disk,
  options: LogOptions,
  events: LogEvents,
  lock: DiskLock,
): Steps<Result<OpenedLog, LogOpenFailure>> {
  if (options.mode.kind === 'create') {
    const made = yield* createFolder(disk, options);
    if (!made.ok) return made;
  }
  const found = yield* readFolder(disk, options);
  if (!found.ok) return found;
  const segment = yield* settleTail(disk, options.folder, found.value);
  if (!segment.ok) return diskFailure(segment.error);
  const cleared = yield* clearLeftovers(disk, options.folder, found.value);
  if (!cleared.ok) return diskFailure(cleared.error);
  const log = new DurableLog(disk, options, events, lock, found.value, segment.value);
  const settled = yield* wait<null>((done) => log.settle(done));
  if (!settled.ok) return diskFailure(settled.error);
  log.prepareNext();
  return ok({ log, recovered: recoveredOf(found.value) });
}

function recoveredOf({ identity, replay, snapshot, scan }: FoundLog): LogRecovered {
  const { state, entries } = replay;
  const { hardState } = state;
  return { identity, hardState, snapshot, entries, cutBytes: scan.cutBytes };
}

/**
 * Makes what was found durable before anyone relies on it (S8): files behind the end go, newest
 * first, then what nothing proves durable is written again, zeros behind it, and synced. A sync
 * alone would not do: after a failed one the kernel's pages look clean.
 */
function* settleTail(
  disk: Disk,
  folder: string,
  found: FoundLog,
): Steps<Result<Segment, DiskError>> {
  const { segments, scan } = found;
  for (const segment of segments.slice(scan.end.segment + 1).toReversed()) {
    const removed = yield* wait<null>((done) => disk.remove(`${folder}/${segment.file}`, done));
    if (!removed.ok) return removed;
    const synced = yield* wait<null>((done) => disk.syncFolder(folder, done));
    if (!synced.ok) return synced;
  }
  const first = Math.min(scan.unsure.segment, scan.end.segment);
  for (let position = first; position <= scan.end.segment; position += 1) {
    const segment = segments[position];
    assert(segment !== undefined, 'the scan ends in a segment');
    const isLast = position === scan.end.segment;
    const path = `${folder}/${segment.file}`;
    const opened = yield* wait<DiskFile>((done) => disk.open(path, 'write', done));
    if (!opened.ok) return opened;
    const file = opened.value;
    const bytes = segment.bytes.slice();
    if (isLast) bytes.fill(0, scan.end.at);
    const written = yield* wait<null>((done) => file.write(0, bytes, done));
    const kept = written.ok ? yield* wait<null>((done) => file.sync(done)) : written;
    if (!kept.ok) return kept;
    if (isLast) return ok({ number: segment.number, file, bytes: segment.bytes.length });
    const closed = yield* wait<null>((done) => file.close(done));
    if (!closed.ok) return closed;
  }
  throw new Error('unreachable: the last segment is opened'); // The loop returns at its end.
}

/**
 * Files that the log does not name go once the log is durable, and not before: if it lost its tail, it
 * would name the snapshot before the newest again.
 */
function* clearLeftovers(
  disk: Disk,
  folder: string,
  { leftovers }: FoundLog,
): Steps<Result<null, DiskError>> {
  for (const name of leftovers) {
    const removed = yield* wait<null>((done) => disk.remove(`${folder}/${name}`, done));
    if (!removed.ok && removed.error.kind !== 'missing') return removed;
  }
  return yield* wait<null>((done) => disk.syncFolder(folder, done));
}
