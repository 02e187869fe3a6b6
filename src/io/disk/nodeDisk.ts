/**
 * The real disk: `Disk` over `node:fs` and its thread pool. Operations of one file wait for one
 * another (D1); files go side by side. Errors of the system become values here.
 *
 * `fdatasync` in a worker thread was measured against the thread pool: no faster (decisions.md).
 */

import {
  close,
  constants,
  fdatasync,
  fstat,
  fsync,
  ftruncate,
  mkdir,
  open,
  read,
  readdir,
  rename,
  unlink,
  write,
  writeSync,
} from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { assert } from '../../base/assert.ts';
import type {
  Disk,
  DiskDone,
  DiskError,
  DiskErrorKind,
  DiskFile,
  DiskLock,
  OpenMode,
} from '../../base/disk.ts';
import { err, ok } from '../../base/result.ts';
import { takeFolderLock } from './folderLock.ts';

/** A write of so many bytes is done at once, on this thread. */
const INLINE_BYTES_MAX = 64 * 1024;

const KINDS: Readonly<Record<string, DiskErrorKind>> = {
  ENOSPC: 'full',
  EDQUOT: 'full',
  EFBIG: 'full',
  ENOENT: 'missing',
  ENOTDIR: 'missing',
  EEXIST: 'exists',
  EROFS: 'read-only',
  EACCES: 'denied',
  EPERM: 'denied',
  EBADF: 'denied', // A write to a file that was opened to read.
  EMFILE: 'too-many',
  ENFILE: 'too-many',
};

/** What the system said, as a value. Unknown codes count as a failing device. */
export function diskError(operation: string, path: string, cause: unknown): DiskError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown';
  const said = cause instanceof Error ? cause.message : String(cause);
  return { kind: KINDS[code] ?? 'io', detail: `${operation} ${path}: ${said}` };
}

/** Runs tasks one after another; each calls `next` when it is through. */
class TaskQueue {
  readonly #tasks: ((next: () => void) => void)[] = [];
  #isBusy = false;

  /** `task` runs later, after those before it. */
  add(task: (next: () => void) => void): void {
    this.#tasks.push(task);
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.#runNext();
  }

  #runNext(): void {
    const task = this.#tasks.shift();
    if (task === undefined) {
      this.#isBusy = false;
      return;
    }
    task(() => this.#runNext());
  }
}

/** A disk whose root is `root`, a folder of the file system that is there. */
export class NodeDisk implements Disk {
  readonly #root: string;
  readonly #names = new TaskQueue();

  constructor(root: string) {
    this.#root = root;
  }

  open(path: string, mode: OpenMode, done: DiskDone<DiskFile>): void {
    const flags = {
      read: constants.O_RDONLY,
      write: constants.O_RDWR,
      create: constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
    }[mode];
    this.#names.add((next) => {
      open(this.#resolve(path), flags, 0o600, (cause, descriptor) => {
        next();
        done(
          cause === null ? ok(new NodeFile(path, descriptor)) : err(diskError('open', path, cause)),
        );
      });
    });
  }

  rename(from: string, to: string, done: DiskDone<null>): void {
    this.#name('rename', from, done, (then) =>
      rename(this.#resolve(from), this.#resolve(to), then),
    );
  }

  remove(path: string, done: DiskDone<null>): void {
    this.#name('remove', path, done, (then) => unlink(this.#resolve(path), then));
  }

  list(folder: string, done: DiskDone<readonly string[]>): void {
    this.#names.add((next) => {
      readdir(this.#resolve(folder), (cause, names) => {
        next();
        if (cause !== null) done(err(diskError('list', folder, cause)));
        else done(ok(names.toSorted((a, b) => (a < b ? -1 : 1))));
      });
    });
  }

  makeFolder(path: string, done: DiskDone<null>): void {
    this.#name('makeFolder', path, done, (then) =>
      mkdir(this.#resolve(path), { recursive: true, mode: 0o700 }, (cause) => then(cause)),
    );
  }

  syncFolder(path: string, done: DiskDone<null>): void {
    this.#name('syncFolder', path, done, (then) => {
      open(this.#resolve(path), constants.O_RDONLY, (cause, descriptor) => {
        if (cause !== null) {
          then(cause);
          return;
        }
        fsync(descriptor, (syncCause) => {
          close(descriptor, (closeCause) => then(syncCause ?? closeCause ?? null));
        });
      });
    });
  }

  lockFolder(path: string, done: DiskDone<DiskLock>): void {
    this.#names.add((next) => {
      // The call itself is synchronous and quick: it waits for nobody.
      setImmediate(() => {
        next();
        done(takeFolderLock(this.#resolve(path)));
      });
    });
  }

  #name(
    operation: string,
    path: string,
    done: DiskDone<null>,
    start: (then: (cause: unknown) => void) => void,
  ): void {
    this.#names.add((next) => {
      start((cause) => {
        next();
        done(isNone(cause) ? ok(null) : err(diskError(operation, path, cause)));
      });
    });
  }

  #resolve(path: string): string {
    assert(!isAbsolute(path), 'paths are relative to the root of the disk');
    assert(!path.split('/').includes('..'), 'paths stay under the root of the disk');
    return join(this.#root, path);
  }
}

/** Node gives null to most callbacks and undefined to some. */
function isNone(cause: unknown): boolean {
  return cause === null || cause === undefined;
}

class NodeFile implements DiskFile {
  readonly path: string;
  readonly #descriptor: number;
  readonly #tasks = new TaskQueue();
  #isClosed = false;

  constructor(path: string, descriptor: number) {
    this.path = path;
    this.#descriptor = descriptor;
  }

  write(offset: number, bytes: Uint8Array, done: DiskDone<null>): void {
    this.#add('write', done, (then) => {
      if (bytes.length > INLINE_BYTES_MAX) {
        writeWhole(this.#descriptor, bytes, 0, offset, (cause) => then(cause, null));
      } else {
        const cause = writeNow(this.#descriptor, bytes, offset);
        process.nextTick(() => then(cause, null));
      }
    });
  }

  read(offset: number, length: number, done: DiskDone<Uint8Array>): void {
    this.#add('read', done, (then) => {
      const bytes = new Uint8Array(length);
      readWhole(this.#descriptor, bytes, 0, offset, (cause, count) => {
        then(cause, count === length ? bytes : bytes.subarray(0, count));
      });
    });
  }

  sync(done: DiskDone<null>): void {
    this.#add('sync', done, (then) => fdatasync(this.#descriptor, (cause) => then(cause, null)));
  }

  truncate(bytes: number, done: DiskDone<null>): void {
    this.#add('truncate', done, (then) =>
      ftruncate(this.#descriptor, bytes, (cause) => then(cause, null)),
    );
  }

  size(done: DiskDone<number>): void {
    this.#add('size', done, (then) => {
      fstat(this.#descriptor, (cause, stats) => then(cause, cause === null ? stats.size : 0));
    });
  }

  close(done: DiskDone<null>): void {
    this.#add('close', done, (then) => close(this.#descriptor, (cause) => then(cause, null)));
    this.#isClosed = true;
  }

  /** Queues one operation; `start` reports a cause or null, and the value. */
  #add<T>(
    operation: string,
    done: DiskDone<T>,
    start: (then: (cause: unknown, value: T) => void) => void,
  ): void {
    if (this.#isClosed) {
      const detail = `${operation} ${this.path}: the file is closed`;
      setImmediate(() => done(err({ kind: 'closed', detail })));
      return;
    }
    this.#tasks.add((next) => {
      start((cause, value) => {
        // The next one starts first, so that the disk is busy while the caller thinks.
        next();
        done(isNone(cause) ? ok(value) : err(diskError(operation, this.path, cause)));
      });
    });
  }
}

/**
 * Writes all of a few bytes before it returns; null, or why not. It takes them into memory, which
 * costs microseconds; the way to the thread pool and back costs more. Only `sync` waits for the disk.
 */
function writeNow(descriptor: number, bytes: Uint8Array, offset: number): unknown {
  try {
    let from = 0;
    while (from < bytes.length) {
      const count = writeSync(descriptor, bytes, from, bytes.length - from, offset + from);
      if (count === 0) return new Error('the system wrote nothing and gave no reason');
      from += count;
    }
    return null;
  } catch (cause) {
    return cause; // It becomes a `DiskError` where the others do.
  }
}

/** Writes `bytes` from `from` on; the system may take fewer than asked, so it asks again. */
function writeWhole(
  descriptor: number,
  bytes: Uint8Array,
  from: number,
  offset: number,
  then: (cause: unknown) => void,
): void {
  write(descriptor, bytes, from, bytes.length - from, offset, (cause, count) => {
    if (cause !== null) then(cause);
    else if (from + count === bytes.length) then(null);
    else if (count === 0) then(new Error('the system wrote nothing and gave no reason'));
    else writeWhole(descriptor, bytes, from + count, offset + count, then);
  });
}

/** Reads until `bytes` is full from `from` on or the file ends; reports how many there are. */
function readWhole(
  descriptor: number,
  bytes: Uint8Array,
  from: number,
  offset: number,
  then: (cause: unknown, count: number) => void,
): void {
  if (from === bytes.length) {
    setImmediate(() => then(null, from));
    return;
  }
  read(descriptor, bytes, from, bytes.length - from, offset, (cause, count) => {
    if (cause !== null) then(cause, from);
    else if (count === 0 || from + count === bytes.length) then(null, from + count);
    else readWhole(descriptor, bytes, from + count, offset + count, then);
  });
}
