/**
 * The disk port: files that can be made durable, as a durable log needs them.
 *
 * Everything is a callback called later, never from inside the call that started it (P1). Bytes
 * given to `write` are lent until its callback (P3): the caller does not touch them before. Bytes
 * that `read` hands out belong to the caller.
 *
 * What an implementation promises, and no more:
 *
 * D1: operations on one file, and on one folder's names, take effect in the order of their calls and
 *     call back in that order. Between files and names there is no order.
 * D2: after `sync` calls back well, everything written to that file before the call survives a loss
 *     of power, its length included. What is not synced may be lost in any subset and any order.
 * D3: after `syncFolder` calls back well, every name created, renamed or removed in that folder
 *     before the call stays so. Until then each such change may be there or not; a rename is whole.
 * D4: after a failed `sync` nothing that it covered can be trusted, and a later good one proves
 *     nothing: kernels drop the pages (PostgreSQL's "fsyncgate", 2018). The caller stops for good.
 * D5: errors are values. A failed `write` may have written any part of its range.
 *
 * One suite checks both implementations: `diskSuite.ts`.
 */

import type { Result } from './result.ts';

/** Why an operation failed. */
export type DiskErrorKind =
  | 'io' // EIO and whatever is unknown: the device may be failing.
  | 'full' // ENOSPC, EDQUOT: no space; free some and try again.
  | 'missing' // ENOENT.
  | 'exists' // EEXIST: `create` never overwrites.
  | 'read-only' // EROFS.
  | 'denied' // EACCES, EPERM.
  | 'too-many' // EMFILE, ENFILE: no more open files.
  | 'locked' // Another process holds the lock of the folder.
  | 'closed'; // The file or the disk was closed before.

export interface DiskError {
  readonly kind: DiskErrorKind;
  /** For the operator: operation, path and what the system said. */
  readonly detail: string;
}

export type DiskDone<T> = (result: Result<T, DiskError>) => void;

/** One open file. Offsets and lengths are bytes, safe integers. */
export interface DiskFile {
  readonly path: string;
  /** Writes all of `bytes` at `offset`; the file grows where it has to, gaps read as zero. */
  write(offset: number, bytes: Uint8Array, done: DiskDone<null>): void;
  /** Reads up to `length` bytes; fewer only where the file ends. */
  read(offset: number, length: number, done: DiskDone<Uint8Array>): void;
  /** Makes everything written so far durable (fdatasync: data and length, not times). */
  sync(done: DiskDone<null>): void;
  /** Makes the file `bytes` long: cut, or grown with zeros that take no space yet. */
  truncate(bytes: number, done: DiskDone<null>): void;
  /** Its length now. */
  size(done: DiskDone<number>): void;
  /** Waits for what was asked before, then lets go of the file. Does not make it durable. */
  close(done: DiskDone<null>): void;
}

export type OpenMode =
  | 'read' // Must exist.
  | 'write' // Must exist; reads and writes.
  | 'create'; // Must not exist; reads and writes.

/** A tree of files. Paths are relative to its root, with `/` between names, never `..`. */
export interface Disk {
  open(path: string, mode: OpenMode, done: DiskDone<DiskFile>): void;
  /** Moves a file over whatever has the new name, in one step. Both in the same folder. */
  rename(from: string, to: string, done: DiskDone<null>): void;
  /** Removes a file. */
  remove(path: string, done: DiskDone<null>): void;
  /** Names of files and folders in a folder, sorted by code unit. */
  list(folder: string, done: DiskDone<readonly string[]>): void;
  /** Makes a folder, its parents too. One that is there already is fine. */
  makeFolder(path: string, done: DiskDone<null>): void;
  /** Makes the names in a folder durable. */
  syncFolder(path: string, done: DiskDone<null>): void;
  /**
   * Takes a folder for this process alone: `locked` where another one that lives has it. The lock
   * goes with the process, whatever ends it; `close` of the handle gives it back.
   */
  lockFolder(path: string, done: DiskDone<DiskLock>): void;
}

/** A folder held by this process alone. */
export interface DiskLock {
  close(done: DiskDone<null>): void;
}
