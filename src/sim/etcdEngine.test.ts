/** What is special to a control state in an etcd cluster, in virtual time. */

import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { test } from 'node:test';

import { encodeUtf8 } from '../base/bytes.ts';
import { CONTROL_LIMITS } from '../base/controlLimits.ts';
import { ETCD_CHANGES_MAX, ETCD_LIMITS } from '../base/etcdLimits.ts';
import type { ControlEngine, ControlOutcome } from '../replica/control/engine.ts';
import type { Operation } from '../replica/control/types.ts';
import { WatchHub } from '../replica/control/watch.ts';
import { EtcdWorld } from './controlWorlds.ts';
import { inVirtualTime } from './driveTime.ts';

function put(key: string, value = key): Operation {
  return { kind: 'put', key, type: 'text', value: encodeUtf8(value) };
}

function transact(
  engine: ControlEngine,
  ...success: readonly Operation[]
): Promise<ControlOutcome> {
  const audit = { who: 'ann', from: 'here', what: 'test', why: '' };
  return new Promise((resolve) => {
    engine.transact({ kind: 'transaction', audit, compares: [], success, failure: [] }, resolve);
  });
}

async function until(world: EtcdWorld, what: string, isSo: () => boolean): Promise<void> {
  const endMs = world.nowMs() + 60_000;
  while (!isSo()) {
    ok(world.nowMs() < endMs, `${what} in time:\n${world.notes.join('\n')}`);
    await world.sleep(5);
  }
}

const keysOf = (engine: ControlEngine): readonly string[] =>
  engine.view.range({ prefix: '', after: '', keysMax: 100 }).items.map(({ key }) => key);

function inWorld(name: string, run: (world: EtcdWorld) => Promise<void>): void {
  test(name, async () => {
    const world = new EtcdWorld();
    await inVirtualTime(
      world.time,
      world.open().then(() => run(world)),
    );
  });
}

inWorld(
  'a cluster that went back is not followed: reads go on, nothing is changed',
  async (world) => {
    ok((await transact(world.engine(0), put('a'))).ok);
    const goBack = world.etcd.backup();
    ok((await transact(world.engine(0), put('b'))).ok);
    await until(world, 'all have it', () => keysOf(world.engine(2)).length === 2);
    goBack();
    for (const node of [0, 1, 2]) world.etcd.breakWatches(`n${node}`);
    await until(world, 'it is told', () => world.own(2).state.kind === 'failed');
    const { state } = world.own(2);
    match('detail' in state ? state.detail : '', /went back to revision 1, this node has 2/);
    deepEqual(keysOf(world.engine(2)), ['a', 'b']);
    const outcome = await transact(world.engine(2), put('c'));
    ok(!outcome.ok && outcome.error.kind === 'unavailable', JSON.stringify(outcome));
    deepEqual(keysOf(world.engine(2)), ['a', 'b']);
  },
);

inWorld(
  'a cluster that went back and on again is told by the record of a revision',
  async (world) => {
    ok((await transact(world.engine(0), put('a'))).ok);
    const goBack = world.etcd.backup();
    ok((await transact(world.engine(0), put('b'))).ok);
    await until(world, 'all have it', () => keysOf(world.engine(2)).length === 2);
    // Two nodes without a past meet the restored cluster and go on with it.
    goBack();
    for (const node of [0, 1, 2]) await world.crash(node);
    world.disks[0]?.wipe();
    await world.restart(0);
    await until(world, 'it follows', () => world.own(0).state.kind === 'following');
    for (const key of ['x', 'y', 'z']) ok((await transact(world.engine(0), put(key))).ok);
    await world.restart(2);
    await until(world, 'it is told', () => world.own(2).state.kind === 'failed');
    const { state } = world.own(2);
    match('detail' in state ? state.detail : '', /another revision 2 than this node/);
    deepEqual(keysOf(world.engine(2)), ['a', 'b']);
  },
);

inWorld('what somebody writes past us is told, and changes nothing', async (world) => {
  ok((await transact(world.engine(0), put('a'))).ok);
  world.etcd.putByHand('banyan/control/key/a', encodeUtf8('by hand'));
  await until(world, 'it is told', () => world.notes.some((note) => note.includes('foreign')));
  ok((await transact(world.engine(1), put('b'))).ok);
  await until(world, 'all have it', () => keysOf(world.engine(2)).length === 2);
  equal(world.engine(2).view.get('a')?.version, 1);
});

inWorld(
  'a watch that falls silent is opened anew: the state is behind for 4 s at most',
  async (world) => {
    world.etcd.silenceWatches('n2');
    ok((await transact(world.engine(0), put('a'))).ok);
    const beginMs = world.nowMs();
    await until(world, 'it is heard', () => keysOf(world.engine(2)).length === 1);
    ok(world.nowMs() - beginMs < 4_000, `${world.nowMs() - beginMs} ms`);
  },
);

inWorld(
  'a watch that is never to be had is told, and asked for less and less often',
  async (world) => {
    world.etcd.setFaults('n2', { hasNoWatches: true });
    world.etcd.breakWatches('n2');
    await world.sleep(20_000);
    const ended = world.notes.filter((note) => note.startsWith('2 etcd-watch-ended')).length;
    ok(ended > 5 && ended < 30, `${ended} times in 20 s`);
    equal(world.own(2).state.kind, 'away');
    world.etcd.setFaults('n2', {});
    ok((await transact(world.engine(2), put('a'))).ok);
  },
);

inWorld(
  'a watch that leaves out a change is told once: the state is listed, and its watch heard on',
  async (world) => {
    ok((await transact(world.engine(0), put('a'))).ok);
    await until(world, 'it has it', () => keysOf(world.engine(2)).length === 1);
    const release = world.etcd.holdWatches('n2');
    ok((await transact(world.engine(0), put('b'))).ok);
    ok((await transact(world.engine(0), put('c'))).ok);
    const lost = world.etcd.revision;
    ok((await transact(world.engine(0), put('d'))).ok);
    release(lost);
    for (const key of ['e', 'f', 'g']) {
      await until(world, 'it is listed', () => keysOf(world.engine(2)).includes('d'));
      ok((await transact(world.engine(0), put(key))).ok);
      await until(world, 'it is heard', () => keysOf(world.engine(2)).includes(key));
    }
    deepEqual(
      world.notes.filter((note) => note.includes('gap')),
      ['2 etcd-gap revision 4 came out of turn'],
    );
  },
);

inWorld('what a compaction took is listed anew, and its watchers are told so', async (world) => {
  ok((await transact(world.engine(0), put('a'))).ok);
  await until(world, 'it has it', () => keysOf(world.engine(2)).length === 1);
  const hub = new WatchHub(world.engine(2).view);
  const opened = hub.open('', 2);
  ok(opened.ok);
  world.etcd.setFaults('n2', { isCut: true });
  for (const key of ['b', 'c', 'd']) ok((await transact(world.engine(0), put(key))).ok);
  world.etcd.compact();
  world.etcd.setFaults('n2', {});
  await until(world, 'it has all', () => keysOf(world.engine(2)).length === 4);
  deepEqual(hub.take(opened.value), { kind: 'compacted', oldest: 5 });
});

inWorld(
  'a local copy that is damaged is read anew; a torn one begins where it is whole',
  async (world) => {
    for (const key of ['a', 'b', 'c']) ok((await transact(world.engine(0), put(key))).ok);
    await until(world, 'all have it', () => keysOf(world.engine(2)).length === 3);
    await world.crash(2);
    const { disks } = world;
    world.etcd.setQuorum(false);
    const journal = disks[2]?.peek('etcd/journal') ?? new Uint8Array(0);
    disks[2]?.flip('etcd/journal', journal.length - 3, 0x10);
    await world.restart(2);
    deepEqual(keysOf(world.engine(2)), ['a', 'b'], 'without the last one, and without etcd');
    await world.crash(2);
    disks[2]?.flip('etcd/state', 40, 0x10);
    await world.restart(2);
    deepEqual(keysOf(world.engine(2)), []);
    ok(world.notes.some((note) => note.includes('etcd-keep-damaged')));
    world.etcd.setQuorum(true);
    await until(world, 'all is back', () => keysOf(world.engine(2)).length === 3);
  },
);

inWorld('what was shown is there after a loss of power, with etcd gone', async (world) => {
  for (let at = 0; at < 30; at += 1) {
    ok((await transact(world.engine(at % 3), put(`k${at}`))).ok);
    if (at % 3 !== 0) continue;
    const shown = keysOf(world.engine(2));
    const { revision } = world.engine(2).view;
    await world.crash(2);
    world.disks[2]?.losePower();
    world.etcd.setQuorum(false);
    await world.restart(2);
    ok(world.engine(2).view.revision >= revision, 'it does not go back');
    for (const key of shown) ok(world.engine(2).view.get(key) !== null, key);
    world.etcd.setQuorum(true);
    await until(world, 'it follows', () => world.own(2).state.kind === 'following');
  }
});

inWorld('a disk that fails holds nothing up, is told, and is written again', async (world) => {
  world.disks[2]?.failNext('sync', 'io');
  ok((await transact(world.engine(0), put('a'))).ok);
  await until(world, 'it is shown', () => keysOf(world.engine(2)).length === 1);
  ok(world.own(2).keepError !== null);
  await until(world, 'it is kept again', () => world.own(2).keepError === null);
  await world.crash(2);
  world.etcd.setQuorum(false);
  await world.restart(2);
  deepEqual(keysOf(world.engine(2)), ['a']);
});

inWorld(
  'what is written again while a list is on its way is not older than the list',
  async (world) => {
    const disk = world.disks[2];
    ok(disk !== undefined);
    disk.failNext('sync', 'io');
    ok((await transact(world.engine(0), put('a'))).ok);
    await until(world, 'it is shown', () => keysOf(world.engine(2)).length === 1);
    ok(world.own(2).keepError !== null);
    world.etcd.setFaults('n2', { isCut: true });
    for (const key of ['b', 'c']) ok((await transact(world.engine(0), put(key))).ok);
    world.etcd.compact();
    disk.faults.latencyMs = ETCD_LIMITS.keepRetryMs / 4;
    world.etcd.setFaults('n2', {});
    await until(world, 'it has all', () => keysOf(world.engine(2)).length === 3);
    // Long enough for what is queued behind it.
    await world.sleep(ETCD_LIMITS.keepRetryMs * 4);
    equal(world.own(2).keepError, null);
    disk.faults.latencyMs = 1;
    await world.crash(2);
    world.etcd.setQuorum(false);
    await world.restart(2);
    deepEqual(keysOf(world.engine(2)), ['a', 'b', 'c']);
  },
);

inWorld('what etcd does not take at once is refused, and says why', async (world) => {
  const engine = world.engine(0);
  const many = (count: number): readonly Operation[] =>
    Array.from({ length: count }, (_, at) => put(`k${at}`));
  const tooMany = await transact(engine, ...many(ETCD_CHANGES_MAX + 1));
  deepEqual(tooMany, { ok: false, error: { kind: 'refused', error: 'too-many-operations' } });
  ok((await transact(engine, ...many(ETCD_CHANGES_MAX))).ok);
  const long = 'x'.repeat(CONTROL_LIMITS.valueBytesMax);
  const large = await transact(
    engine,
    ...Array.from({ length: 6 }, (_, at) => put(`l${at}`, long)),
  );
  ok(!large.ok && large.error.kind === 'unavailable');
  match(large.error.detail, /has \d+ bytes, etcd takes \d+ at once/);
  ok((await transact(engine, ...Array.from({ length: 5 }, (_, at) => put(`l${at}`, long)))).ok);
});

inWorld('records are kept as many as our own group keeps, and the rest goes', async (world) => {
  const count = 30;
  for (let at = 0; at < count; at += 1) ok((await transact(world.engine(0), put('a', `${at}`))).ok);
  await world.crash(2);
  world.disks[2]?.wipe();
  await world.restart(2);
  await until(world, 'it is filled', () => world.engine(2).view.revision === count);
  equal(world.engine(2).view.audit(1, 1_000).length, count);
  equal(world.engine(2).view.get('a')?.version, count);
});
