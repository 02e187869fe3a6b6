/**
 * What every `Disk` does, as cases that a test runs against each implementation. Pure, so that the
 * simulated disk is held to it in a browser too. Durability itself cannot be seen without losing
 * power: the simulated disk's own tests do that.
 */

import { assert } from './assert.ts';
import { decodeUtf8, encodeUtf8 } from './bytes.ts';
import type { Disk, DiskDone, DiskError, DiskFile, DiskLock, OpenMode } from './disk.ts';
import type { Result } from './result.ts';

export interface DiskCase {
  readonly name: string;
  /** Throws, or rejects, where the disk breaks the claim. `disk` is empty. */
  readonly run: (disk: Disk) => Promise<void>;
}

/** Turns a call with a callback into a promise; asserts P1 and that it calls back once. */
export function diskCall<T>(start: (done: DiskDone<T>) => void): Promise<Result<T, DiskError>> {
  return new Promise((resolve) => {
    let isInside = true;
    let calls = 0;
    start((result) => {
      calls += 1;
      assert(!isInside, 'a disk never calls back inside the call (P1)');
      assert(calls === 1, 'a disk calls back once');
      resolve(result);
    });
    isInside = false;
  });
}

/** The value of a call that must do well. */
export async function diskValue<T>(start: (done: DiskDone<T>) => void): Promise<T> {
  const result = await diskCall(start);
  if (!result.ok) throw new Error(`${result.error.kind}: ${result.error.detail}`);
  return result.value;
}

function openFile(disk: Disk, path: string, mode: OpenMode): Promise<DiskFile> {
  return diskValue((done) => disk.open(path, mode, done));
}

async function refusedAs<T>(start: (done: DiskDone<T>) => void): Promise<string> {
  const result = await diskCall(start);
  return result.ok ? 'fine' : result.error.kind;
}

async function writeText(file: DiskFile, offset: number, text: string): Promise<void> {
  await diskValue((done) => file.write(offset, encodeUtf8(text), done));
}

async function readText(file: DiskFile, offset: number, length: number): Promise<string> {
  return decodeUtf8(await diskValue<Uint8Array>((done) => file.read(offset, length, done)));
}

function same(actual: unknown, expected: unknown, claim: string): void {
  const [a, b] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${claim}: got ${a}, expected ${b}`);
}

const FILES: readonly DiskCase[] = [
  {
    name: 'what is written is read, at its place, also after sync, close and a new open',
    run: async (disk) => {
      const file = await openFile(disk, 'a', 'create');
      await writeText(file, 0, 'hello world');
      await writeText(file, 6, 'there');
      same(await readText(file, 0, 100), 'hello there', 'whole file');
      same(await readText(file, 6, 3), 'the', 'a part');
      await diskValue((done) => file.sync(done));
      await diskValue((done) => file.close(done));
      const again = await openFile(disk, 'a', 'read');
      same(await readText(again, 0, 100), 'hello there', 'after a new open');
      await diskValue((done) => again.close(done));
    },
  },
  {
    name: 'a read at or past the end gives what is there, down to nothing',
    run: async (disk) => {
      const file = await openFile(disk, 'a', 'create');
      same(await readText(file, 0, 10), '', 'an empty file');
      await writeText(file, 0, 'abc');
      same(await readText(file, 1, 10), 'bc', 'over the end');
      same(await readText(file, 3, 10), '', 'at the end');
      same(await readText(file, 700, 10), '', 'past the end');
      await diskValue((done) => file.close(done));
    },
  },
  {
    name: 'a gap reads as zeros, and so does what truncate adds; what it cuts is gone',
    run: async (disk) => {
      const file = await openFile(disk, 'a', 'create');
      await writeText(file, 600, 'x');
      same(await diskValue((done) => file.size(done)), 601, 'length');
      const gap = await diskValue<Uint8Array>((done) => file.read(0, 600, done));
      same(
        gap.every((byte) => byte === 0),
        true,
        'the gap',
      );
      await diskValue((done) => file.truncate(2, done));
      await diskValue((done) => file.truncate(1_000, done));
      const zeros = await diskValue<Uint8Array>((done) => file.read(0, 2_000, done));
      same(zeros.length, 1_000, 'grown');
      same(
        zeros.every((byte) => byte === 0),
        true,
        'nothing of what was cut',
      );
      await diskValue((done) => file.close(done));
    },
  },
  {
    name: 'operations on one file take effect and call back in the order of their calls',
    run: async (disk) => {
      const file = await openFile(disk, 'a', 'create');
      const order: number[] = [];
      const calls: Promise<unknown>[] = [];
      for (let index = 0; index < 50; index += 1) {
        const bytes = new Uint8Array(1 + ((index * 37) % 3_000)).fill(index);
        const call = diskCall<null>((done) => file.write(0, bytes, done));
        calls.push(call.then(() => order.push(index)));
        if (index % 7 === 0) calls.push(diskCall<null>((done) => file.sync(done)));
      }
      await Promise.all(calls);
      same(
        order,
        Array.from({ length: 50 }, (_, index) => index),
        'callbacks',
      );
      const first = await diskValue<Uint8Array>((done) => file.read(0, 1, done));
      same(first[0], 49, 'the last write stands');
      await diskValue((done) => file.close(done));
    },
  },
  {
    name: 'close waits for what was asked before; a closed file refuses everything',
    run: async (disk) => {
      const file = await openFile(disk, 'a', 'create');
      const written = diskCall<null>((done) => file.write(0, encodeUtf8('late'), done));
      const closed = diskCall<null>((done) => file.close(done));
      same((await written).ok, true, 'the write before');
      same((await closed).ok, true, 'the close');
      same(await refusedAs((done) => file.write(0, encodeUtf8('x'), done)), 'closed', 'write');
      same(await refusedAs((done) => file.read(0, 1, done)), 'closed', 'read');
      same(await refusedAs((done) => file.sync(done)), 'closed', 'sync');
      same(await refusedAs((done) => file.close(done)), 'closed', 'close');
    },
  },
];

const NAMES: readonly DiskCase[] = [
  {
    name: 'create refuses a name that is taken; read and write refuse one that is not',
    run: async (disk) => {
      await diskValue(async (done) => (await openFile(disk, 'a', 'create')).close(done));
      same(await refusedAs((done) => disk.open('a', 'create', done)), 'exists', 'create');
      same(await refusedAs((done) => disk.open('b', 'read', done)), 'missing', 'read');
      same(await refusedAs((done) => disk.open('b', 'write', done)), 'missing', 'write');
      same(await refusedAs((done) => disk.open('no/b', 'create', done)), 'missing', 'no folder');
      same(await refusedAs((done) => disk.remove('b', done)), 'missing', 'remove');
      same(await refusedAs((done) => disk.rename('b', 'c', done)), 'missing', 'rename');
      same(await refusedAs((done) => disk.list('no', done)), 'missing', 'list');
      same(await refusedAs((done) => disk.syncFolder('no', done)), 'missing', 'syncFolder');
    },
  },
  {
    name: 'a file opened to read refuses writes',
    run: async (disk) => {
      await diskValue(async (done) => (await openFile(disk, 'a', 'create')).close(done));
      const file = await openFile(disk, 'a', 'read');
      same(await refusedAs((done) => file.write(0, encodeUtf8('x'), done)), 'denied', 'write');
      await diskValue((done) => file.close(done));
    },
  },
  {
    name: 'rename moves a file over another one; the open file stays itself',
    run: async (disk) => {
      const old = await openFile(disk, 'b', 'create');
      await writeText(old, 0, 'old');
      const file = await openFile(disk, 'a', 'create');
      await writeText(file, 0, 'new');
      await diskValue((done) => disk.rename('a', 'b', done));
      same(await diskValue((done) => disk.list('', done)), ['b'], 'names');
      await writeText(file, 3, 'er');
      const read = await openFile(disk, 'b', 'read');
      same(await readText(read, 0, 10), 'newer', 'the new content');
      same(await readText(old, 0, 10), 'old', 'the file that lost its name');
      for (const open of [old, file, read]) await diskValue((done) => open.close(done));
    },
  },
  {
    name: 'folders are made with their parents, listed in order, and synced',
    run: async (disk) => {
      await diskValue((done) => disk.makeFolder('x/y', done));
      await diskValue((done) => disk.makeFolder('x/y', done));
      for (const name of ['x/c', 'x/a', 'x/y/z']) {
        const file = await openFile(disk, name, 'create');
        await diskValue((done) => file.close(done));
      }
      same(await diskValue((done) => disk.list('x', done)), ['a', 'c', 'y'], 'x');
      same(await diskValue((done) => disk.list('', done)), ['x'], 'the root');
      await diskValue((done) => disk.remove('x/a', done));
      same(await diskValue((done) => disk.list('x', done)), ['c', 'y'], 'after remove');
      await diskValue((done) => disk.syncFolder('x', done));
    },
  },
  {
    name: 'a folder is locked once, and again after the lock is given back',
    run: async (disk) => {
      same(await refusedAs((done) => disk.lockFolder('d', done)), 'missing', 'no folder');
      await diskValue((done) => disk.makeFolder('d', done));
      const lock = await diskValue<DiskLock>((done) => disk.lockFolder('d', done));
      same(await refusedAs((done) => disk.lockFolder('d', done)), 'locked', 'a second lock');
      await diskValue((done) => lock.close(done));
      const again = await diskValue<DiskLock>((done) => disk.lockFolder('d', done));
      await diskValue((done) => again.close(done));
    },
  },
];

/** Every case; a test gives each an empty disk. */
export const DISK_CASES: readonly DiskCase[] = [...FILES, ...NAMES];
