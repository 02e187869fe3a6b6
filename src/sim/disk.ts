/**
 * The simulated disk: `Disk` in virtual time, with the faults that real ones have. A `SimDisk` is
 * the machine's disk and stays; `mount` gives a process its `Disk`; `kill` ends the process,
 * `losePower` also loses what was not synced, in any subset of sectors and names.
 *
 * One seed gives one run: randomness is drawn from a stream of its own, and only for faults that
 * are on.
 */

import { assert } from '../base/assert.ts';
import type {
  Disk,
  DiskDone,
  DiskError,
  DiskErrorKind,
  DiskFile,
  DiskLock,
  OpenMode,
} from '../base/disk.ts';
import type { Timers } from '../base/ports.ts';
import type { Prng } from '../base/prng.ts';
import { err, ok, type Result } from '../base/result.ts';
import { Inode, SECTOR_BYTES } from './diskInode.ts';
import { folderOf, NameTable } from './diskNames.ts';

/** What may go wrong, and how likely: chances are per operation unless said otherwise, 0 to 1. */
export interface DiskFaults {
  /** Time of one operation: at least `latencyMs`, on average `latencySpreadMs` more. */
  latencyMs: number;
  latencySpreadMs: number;
  /** A sync takes `stallMs` more. */
  stallChance: number;
  stallMs: number;
  readErrorChance: number;
  writeErrorChance: number;
  syncErrorChance: number;
  /** Per sector that a sync writes: it lands on another sector of the same file. */
  misdirectChance: number;
  /** When power goes, per unsynced sector. */
  keptChance: number;
  tornChance: number;
  /** Bytes that files may take. */
  capacityBytes: number;
}

export const NO_DISK_FAULTS: Readonly<DiskFaults> = {
  latencyMs: 0,
  latencySpreadMs: 0,
  stallChance: 0,
  stallMs: 0,
  readErrorChance: 0,
  writeErrorChance: 0,
  syncErrorChance: 0,
  misdirectChance: 0,
  keptChance: 0.5,
  tornChance: 0,
  capacityBytes: Number.MAX_SAFE_INTEGER,
};

/** What has happened to the disk, for coverage marks and figures. */
export interface DiskCounts {
  reads: number;
  writes: number;
  syncs: number;
  bytesWritten: number;
  errors: number;
  misdirected: number;
}

/** A disk as it was at some time. */
export type DiskBackup = ReadonlyMap<string, Inode>;

/** One file, whole. */
export interface SimFileBytes {
  readonly path: string;
  readonly bytes: Uint8Array;
}

type FailingOperation = 'read' | 'write' | 'sync';

export class SimDisk {
  /** Changed at any time; holds for operations that complete later. */
  readonly faults: DiskFaults;
  readonly counts: DiskCounts = {
    reads: 0,
    writes: 0,
    syncs: 0,
    bytesWritten: 0,
    errors: 0,
    misdirected: 0,
  };
  readonly names = new NameTable();
  readonly locks = new Set<string>();
  /** Counts up with every kill: what an older process asked for never calls back. */
  life = 0;
  private readonly timers: Timers;
  private readonly prng: Prng;
  private readonly failing: { operation: FailingOperation; kind: DiskErrorKind }[] = [];
  private inFlight = new Set<InFlightWrite>();

  constructor(timers: Timers, prng: Prng, faults: Partial<DiskFaults> = {}) {
    this.timers = timers;
    this.prng = prng;
    this.faults = { ...NO_DISK_FAULTS, ...faults };
  }

  /** The disk as one process has it. */
  mount(): Disk {
    return new SimMount(this);
  }

  /** The process dies; the system lives on and so does its cache. */
  kill(): void {
    this.life += 1;
    this.locks.clear();
    for (const write of this.inFlight) {
      const bytes = this.prng.nextBelow(write.bytes.length + 1); // Any first part of it was taken.
      write.inode.write(write.offset, write.bytes.subarray(0, bytes));
    }
    this.inFlight = new Set();
  }

  /** The machine dies: what was not synced is lost, kept or torn, by chance. */
  losePower(): void {
    this.kill();
    const odds = { kept: this.faults.keptChance, torn: this.faults.tornChance };
    for (const inode of this.names.inodes()) inode.losePower(this.prng, odds);
    this.names.losePower(this.prng, this.faults.keptChance);
  }

  /** The next operation of this kind fails with `kind`. */
  failNext(operation: FailingOperation, kind: DiskErrorKind): void {
    this.failing.push({ operation, kind });
  }

  /** What `failNext` planned and has not come about goes. */
  forgetFailures(): void {
    this.failing.length = 0;
  }

  /** Flips the bits of `mask` at `offset`: in cache and on the platter, unseen by anyone. */
  flip(path: string, offset: number, mask: number): void {
    this.inode(path).damage(offset, (bytes) => bytes.fill((bytes[0] ?? 0) ^ mask), 1);
  }

  /** Zeroes `length` bytes behind everyone's back: a lost write, a lost sector. */
  zero(path: string, offset: number, length: number): void {
    this.inode(path).damage(offset, (bytes) => bytes.fill(0), length);
  }

  /** Puts other bytes behind everyone's back: a write that was meant for elsewhere. */
  overwrite(path: string, offset: number, bytes: Uint8Array): void {
    const put = (into: Uint8Array): void => into.set(bytes.subarray(0, into.length));
    this.inode(path).damage(offset, put, bytes.length);
  }

  /** All files as a living system reads them. */
  files(): readonly SimFileBytes[] {
    return this.names.paths().map((path) => ({ path, bytes: this.peek(path) }));
  }

  /** All files as they are on the platter. */
  durableFiles(): readonly SimFileBytes[] {
    return [...this.backup()].map(([path, inode]) => ({
      path,
      bytes: inode.read(0, inode.length),
    }));
  }

  /** The whole of a file as a living system reads it. */
  peek(path: string): Uint8Array {
    const inode = this.inode(path);
    return inode.read(0, inode.length);
  }

  /** What is durable now. */
  backup(): DiskBackup {
    const files = new Map<string, Inode>();
    for (const [path, inode] of this.names.durableFiles()) files.set(path, inode.copyDurable());
    return files;
  }

  /** Puts a backup back: an old disk, or another node's. The process must be dead. */
  restore(backup: DiskBackup): void {
    this.kill();
    const files = new Map<string, Inode>();
    for (const [path, inode] of backup) files.set(path, inode.copyDurable());
    this.names.replace(files);
  }

  /** Loses everything. */
  wipe(): void {
    this.restore(new Map());
  }

  usedBytes(): number {
    let sectors = 0;
    for (const inode of this.names.inodes()) sectors += inode.sectorsTaken();
    return sectors * SECTOR_BYTES;
  }

  /** Runs `effect` after one operation's time, at `freeAtMs` or later; returns when that is. */
  run(life: number, delayMs: number, effect: () => void): void {
    this.timers.after(delayMs, () => {
      if (life === this.life) effect();
    });
  }

  /** How long an operation takes. */
  latencyMs(operation: FailingOperation | 'name'): number {
    const { latencyMs, latencySpreadMs, stallChance, stallMs } = this.faults;
    let ms = latencyMs;
    if (latencySpreadMs > 0) ms -= latencySpreadMs * Math.log(1 - this.prng.nextFloat());
    if (operation === 'sync' && this.happens(stallChance)) ms += stallMs;
    return ms;
  }

  /** The error that an operation gets now, or null. */
  failure(operation: FailingOperation, path: string): DiskError | null {
    const index = this.failing.findIndex((next) => next.operation === operation);
    const planned = index === -1 ? undefined : this.failing.splice(index, 1)[0];
    const { readErrorChance, writeErrorChance, syncErrorChance } = this.faults;
    const chance = { read: readErrorChance, write: writeErrorChance, sync: syncErrorChance };
    if (planned === undefined && !this.happens(chance[operation])) return null;
    this.counts.errors += 1;
    return { kind: planned?.kind ?? 'io', detail: `${operation} ${path}: simulated` };
  }

  beginWrite(inode: Inode, offset: number, bytes: Uint8Array): InFlightWrite {
    const write = { inode, offset, bytes };
    this.inFlight.add(write);
    return write;
  }

  endWrite(write: InFlightWrite, path: string): DiskError | null {
    this.inFlight.delete(write);
    const { inode, offset, bytes } = write;
    this.counts.writes += 1;
    const failure = this.failure('write', path);
    if (failure !== null) {
      inode.write(offset, bytes.subarray(0, this.prng.nextBelow(bytes.length + 1)));
      return failure;
    }
    const { capacityBytes } = this.faults;
    if (capacityBytes !== Number.MAX_SAFE_INTEGER) {
      const needed = inode.sectorsNeeded(offset, bytes.length) * SECTOR_BYTES;
      if (needed > 0 && this.usedBytes() + needed > capacityBytes) {
        return { kind: 'full', detail: `write ${path}: no space` };
      }
    }
    this.counts.bytesWritten += bytes.length;
    inode.write(offset, bytes);
    return null;
  }

  sync(inode: Inode, path: string): DiskError | null {
    this.counts.syncs += 1;
    const failure = this.failure('sync', path);
    if (failure !== null) {
      inode.failSync();
      return failure;
    }
    const sectors = Math.max(1, Math.ceil(inode.length / SECTOR_BYTES));
    inode.sync((sector) => {
      if (!this.happens(this.faults.misdirectChance)) return sector;
      this.counts.misdirected += 1;
      return this.prng.nextBelow(sectors);
    });
    return null;
  }

  private happens(chance: number): boolean {
    return chance > 0 && this.prng.nextFloat() < chance;
  }

  private inode(path: string): Inode {
    const inode = this.names.get(path);
    assert(inode !== undefined, 'a file to look at is there');
    return inode;
  }
}

interface InFlightWrite {
  readonly inode: Inode;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Operations that wait for one another, in virtual time. */
class SimQueue {
  private readonly disk: SimDisk;
  private readonly life: number;
  private readonly tasks: { operation: FailingOperation | 'name'; effect: () => void }[] = [];
  private isBusy = false;

  constructor(disk: SimDisk) {
    this.disk = disk;
    this.life = disk.life;
  }

  add(operation: FailingOperation | 'name', effect: () => void): void {
    this.tasks.push({ operation, effect });
    if (!this.isBusy) this.runNext();
  }

  private runNext(): void {
    const task = this.tasks.shift();
    this.isBusy = task !== undefined;
    if (task === undefined) return;
    this.disk.run(this.life, this.disk.latencyMs(task.operation), () => {
      this.isBusy = true;
      task.effect();
      this.runNext();
    });
  }
}

class SimMount implements Disk {
  private readonly disk: SimDisk;
  private readonly queue: SimQueue;

  constructor(disk: SimDisk) {
    this.disk = disk;
    this.queue = new SimQueue(disk);
  }

  open(path: string, mode: OpenMode, done: DiskDone<DiskFile>): void {
    this.queue.add('name', () => {
      const { names } = this.disk;
      const found = names.get(path);
      if (mode === 'create' && found !== undefined) {
        done(failed('exists', 'open', path));
      } else if (mode !== 'create' && found === undefined) {
        done(failed('missing', 'open', path));
      } else if (!names.hasFolder(folderOf(path))) {
        done(failed('missing', 'open', path));
      } else {
        const inode = found ?? new Inode();
        if (found === undefined) names.create(path, inode);
        done(ok(new SimFile(this.disk, path, inode, mode !== 'read')));
      }
    });
  }

  rename(from: string, to: string, done: DiskDone<null>): void {
    assert(folderOf(from) === folderOf(to), 'a rename stays in its folder');
    this.queue.add('name', () => {
      const inode = this.disk.names.get(from);
      if (inode === undefined) {
        done(failed('missing', 'rename', from));
        return;
      }
      this.disk.names.rename(from, to, inode);
      done(ok(null));
    });
  }

  remove(path: string, done: DiskDone<null>): void {
    this.queue.add('name', () => {
      if (this.disk.names.get(path) === undefined) {
        done(failed('missing', 'remove', path));
        return;
      }
      this.disk.names.remove(path);
      done(ok(null));
    });
  }

  list(folder: string, done: DiskDone<readonly string[]>): void {
    this.queue.add('name', () => {
      if (!this.disk.names.hasFolder(folder)) done(failed('missing', 'list', folder));
      else done(ok(this.disk.names.list(folder)));
    });
  }

  makeFolder(path: string, done: DiskDone<null>): void {
    this.queue.add('name', () => {
      this.disk.names.makeFolder(path);
      done(ok(null));
    });
  }

  syncFolder(path: string, done: DiskDone<null>): void {
    this.queue.add('sync', () => {
      if (!this.disk.names.hasFolder(path)) {
        done(failed('missing', 'syncFolder', path));
        return;
      }
      const failure = this.disk.failure('sync', path);
      if (failure === null) this.disk.names.sync(path);
      done(failure === null ? ok(null) : { ok: false, error: failure });
    });
  }

  lockFolder(path: string, done: DiskDone<DiskLock>): void {
    this.queue.add('name', () => {
      if (!this.disk.names.hasFolder(path)) {
        done(failed('missing', 'lockFolder', path));
        return;
      }
      if (this.disk.locks.has(path)) {
        done(failed('locked', 'lockFolder', path));
        return;
      }
      this.disk.locks.add(path);
      done(
        ok({
          close: (closed) =>
            this.queue.add('name', () => {
              this.disk.locks.delete(path);
              closed(ok(null));
            }),
        }),
      );
    });
  }
}

class SimFile implements DiskFile {
  readonly path: string;
  private readonly disk: SimDisk;
  private readonly inode: Inode;
  private readonly isWritable: boolean;
  private readonly queue: SimQueue;
  private isClosed = false;

  constructor(disk: SimDisk, path: string, inode: Inode, isWritable: boolean) {
    this.disk = disk;
    this.path = path;
    this.inode = inode;
    this.isWritable = isWritable;
    this.queue = new SimQueue(disk);
  }

  write(offset: number, bytes: Uint8Array, done: DiskDone<null>): void {
    if (this.isClosed || !this.isWritable) {
      this.refuse('write', done);
      return;
    }
    const write = this.disk.beginWrite(this.inode, offset, bytes);
    this.queue.add('write', () => {
      const failure = this.disk.endWrite(write, this.path);
      done(failure === null ? ok(null) : err(failure));
    });
  }

  read(offset: number, length: number, done: DiskDone<Uint8Array>): void {
    this.add('read', done, () => {
      this.disk.counts.reads += 1;
      const failure = this.disk.failure('read', this.path);
      return failure === null ? ok(this.inode.read(offset, length)) : err(failure);
    });
  }

  sync(done: DiskDone<null>): void {
    this.add('sync', done, () => {
      const failure = this.disk.sync(this.inode, this.path);
      return failure === null ? ok(null) : err(failure);
    });
  }

  truncate(bytes: number, done: DiskDone<null>): void {
    if (!this.isWritable) {
      this.refuse('truncate', done);
      return;
    }
    this.add('write', done, () => {
      this.inode.truncate(bytes);
      return ok(null);
    });
  }

  size(done: DiskDone<number>): void {
    this.add('name', done, () => ok(this.inode.length));
  }

  close(done: DiskDone<null>): void {
    this.add('name', done, () => ok(null));
    this.isClosed = true;
  }

  private add<T>(
    operation: FailingOperation | 'name',
    done: DiskDone<T>,
    effect: () => Result<T, DiskError>,
  ): void {
    if (this.isClosed) this.refuse(operation, done);
    else this.queue.add(operation, () => done(effect()));
  }

  private refuse(operation: string, done: DiskDone<never>): void {
    const kind = this.isClosed ? 'closed' : 'denied';
    this.disk.run(this.disk.life, 0, () => done(failed(kind, operation, this.path)));
  }
}

function failed(kind: DiskErrorKind, operation: string, path: string): Result<never, DiskError> {
  return err({ kind, detail: `${operation} ${path}: simulated` });
}
