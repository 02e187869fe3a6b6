import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import type { Disk, DiskFile } from '../base/disk.ts';
import { DISK_CASES, diskCall, diskValue } from '../base/diskSuite.ts';
import { createPrng } from '../base/prng.ts';
import { VirtualTime } from '../base/virtualTime.ts';
import { type DiskFaults, SimDisk } from './disk.ts';
import { SECTOR_BYTES } from './diskInode.ts';

/** Runs `work` while virtual time goes on. */
async function inVirtualTime(time: VirtualTime, work: Promise<void>): Promise<void> {
  let isDone = false;
  const watched = work.finally(() => {
    isDone = true;
  });
  while (!isDone) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    const dueMs = time.nextDueMs();
    if (dueMs !== null) time.advance(dueMs - time.nowMs());
  }
  await watched;
}

async function withDisk(
  seed: number,
  faults: Partial<DiskFaults>,
  run: (disk: SimDisk, time: VirtualTime) => Promise<void>,
): Promise<void> {
  const time = new VirtualTime();
  const disk = new SimDisk(time, createPrng(seed), faults);
  await inVirtualTime(time, run(disk, time));
}

function create(disk: Disk, path: string): Promise<DiskFile> {
  return diskValue((done) => disk.open(path, 'create', done));
}

function fill(byte: number, sectors: number): Uint8Array {
  return new Uint8Array(sectors * SECTOR_BYTES).fill(byte);
}

for (const suiteCase of DISK_CASES) {
  test(`simulated disk: ${suiteCase.name}`, async () => {
    await withDisk(1, { latencyMs: 1, latencySpreadMs: 3 }, (disk) => suiteCase.run(disk.mount()));
  });
}

test('what is synced survives a loss of power; of the rest every sector goes its own way', async () => {
  const fates = new Set<string>();
  for (let seed = 1; seed <= 40; seed += 1) {
    await withDisk(seed, { tornChance: 0.2 }, async (disk) => {
      const file = await create(disk.mount(), 'a');
      await diskValue((done) => file.write(0, fill(1, 4), done));
      await diskValue((done) => file.sync(done));
      await diskValue((done) => disk.mount().syncFolder('', done));
      await diskValue((done) => file.write(SECTOR_BYTES, fill(2, 3), done));
      disk.losePower();
      const bytes = disk.peek('a');
      equal(bytes.length, 4 * SECTOR_BYTES);
      ok(bytes.subarray(0, SECTOR_BYTES).every((byte) => byte === 1));
      const sectors = [1, 2, 3].map((sector) => {
        const part = bytes.subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
        if (part.every((byte) => byte === 1)) return 'old';
        return part.every((byte) => byte === 2) ? 'new' : 'torn';
      });
      fates.add(sectors.join(' '));
    });
  }
  ok(fates.has('new old new') || fates.has('old new old'), [...fates].join(', '));
  ok([...fates].some((fate) => fate.includes('torn')));
});

test('a name that was not synced may be lost, a synced one never; a rename is whole', async () => {
  const outcomes = new Set<string>();
  for (let seed = 1; seed <= 60; seed += 1) {
    await withDisk(seed, {}, async (disk) => {
      const mount = disk.mount();
      await create(mount, 'kept');
      await diskValue((done) => mount.syncFolder('', done));
      await create(mount, 'new');
      await diskValue((done) => mount.rename('kept', 'moved', done));
      disk.losePower();
      outcomes.add(disk.names.paths().join(' '));
    });
  }
  deepEqual([...outcomes].toSorted(), ['kept', 'kept new', 'moved', 'moved new']);
});

test('a failed sync drops what it covered, and the next good one does not bring it back', async () => {
  await withDisk(3, { keptChance: 1 }, async (disk) => {
    const mount = disk.mount();
    const file = await create(mount, 'a');
    await diskValue((done) => file.write(0, fill(1, 1), done));
    await diskValue((done) => file.sync(done));
    await diskValue((done) => mount.syncFolder('', done));
    await diskValue((done) => file.write(0, fill(2, 1), done));
    disk.failNext('sync', 'io');
    const failed = await diskCall<null>((done) => file.sync(done));
    ok(!failed.ok && failed.error.kind === 'io');
    equal(
      (await diskValue<Uint8Array>((done) => file.read(0, 1, done)))[0],
      2,
      'the cache shows it',
    );
    await diskValue((done) => file.sync(done));
    disk.losePower();
    equal(disk.peek('a')[0], 1, 'the platter never had it');
  });
});

test('a killed process never hears from the disk again; what it wrote stays in the cache', async () => {
  await withDisk(4, { latencyMs: 5 }, async (disk, time) => {
    const file = await create(disk.mount(), 'a');
    await diskValue((done) => file.write(0, fill(7, 2), done));
    let calls = 0;
    file.sync(() => {
      calls += 1;
    });
    disk.kill();
    time.advance(1_000);
    equal(calls, 0);
    deepEqual(disk.peek('a'), fill(7, 2));
  });
});

test('a full disk refuses what needs space, not what overwrites; removing makes room', async () => {
  await withDisk(5, { capacityBytes: 4 * SECTOR_BYTES }, async (disk) => {
    const mount = disk.mount();
    const file = await create(mount, 'a');
    await diskValue((done) => file.write(0, fill(1, 4), done));
    const refused = await diskCall<null>((done) => file.write(4 * SECTOR_BYTES, fill(2, 1), done));
    ok(!refused.ok && refused.error.kind === 'full');
    await diskValue((done) => file.write(0, fill(3, 4), done));
    await diskValue((done) => mount.remove('a', done));
    await diskValue((done) => mount.syncFolder('', done));
    const other = await create(mount, 'b');
    await diskValue((done) => other.write(0, fill(2, 1), done));
  });
});

test('a misdirected write lands on another sector, unseen until the cache is gone', async () => {
  await withDisk(6, { misdirectChance: 1 }, async (disk) => {
    const mount = disk.mount();
    const file = await create(mount, 'a');
    await diskValue((done) => file.write(0, fill(1, 8), done));
    await diskValue((done) => file.write(0, fill(2, 1), done));
    await diskValue((done) => file.sync(done));
    await diskValue((done) => mount.syncFolder('', done));
    equal((await diskValue<Uint8Array>((done) => file.read(0, 1, done)))[0], 2);
    ok(disk.counts.misdirected > 0);
    disk.losePower();
    ok(disk.peek('a').length === 8 * SECTOR_BYTES);
  });
});

test('a backup put back is the disk as it was', async () => {
  await withDisk(7, {}, async (disk) => {
    const mount = disk.mount();
    const file = await create(mount, 'a');
    await diskValue((done) => file.write(0, fill(1, 1), done));
    await diskValue((done) => file.sync(done));
    await diskValue((done) => mount.syncFolder('', done));
    const backup = disk.backup();
    await diskValue((done) => file.write(0, fill(2, 2), done));
    await diskValue((done) => file.sync(done));
    disk.restore(backup);
    deepEqual(disk.peek('a'), fill(1, 1));
    disk.wipe();
    deepEqual(disk.names.paths(), []);
  });
});

test('the same seed gives the same run', async () => {
  const runs: string[] = [];
  for (let run = 0; run < 2; run += 1) {
    await withDisk(8, { latencySpreadMs: 10, tornChance: 0.3 }, async (disk, time) => {
      const mount = disk.mount();
      const file = await create(mount, 'a');
      await diskValue((done) => file.write(0, fill(1, 20), done));
      await diskValue((done) => mount.syncFolder('', done));
      disk.losePower();
      runs.push(`${time.nowMs()} ${disk.peek('a').join('')}`);
    });
  }
  equal(runs[0], runs[1]);
});
