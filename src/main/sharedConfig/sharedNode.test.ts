/** One node and a control state: what it puts in force, keeps, refuses and takes up again. */

import { deepEqual, equal, ok } from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';

import { createClock, createTimers } from '../../io/clock.ts';
import { createLog } from '../../io/observe/log.ts';
import type { Upstream } from '../../base/ports.ts';
import type { ControlEngine } from '../../replica/control/engine.ts';
import { RolloutWorld } from '../../replica/sharedConfig/rolloutTestkit.ts';
import type { ControlBackend } from '../control/backend.ts';
import { SharedConfigNode, type SharedConfigOptions } from './sharedNode.ts';

const HERE = 'eu-central-1';

let folder = '';
const running: SharedConfigNode[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'banyan-shared-node-'));
});
afterEach(async () => {
  for (const node of running.splice(0)) node.stop();
  await rm(folder, { recursive: true });
});

/** A node over `world`; texts in `bad` do not work there. */
function nodeOf(
  world: RolloutWorld,
  cluster = 'c1',
  more: Partial<SharedConfigOptions> = {},
  isEtcd = false,
) {
  const bad = new Set<string>();
  const applied: (string | null)[] = [];
  /** Who asks whether the state is behind; told when a test says so. */
  const confirming: Parameters<ControlEngine['confirm']>[0][] = [];
  const confirm: ControlEngine['confirm'] = (done) => void confirming.push(done);
  // Only what the node looks at: no group, so that it might drive a roll-out.
  const backend = {
    engine: { view: world.machine, transact: () => {}, confirm, onMoved: () => () => {} },
    state: { kind: 'opening' },
    group: null,
    cluster,
    etcd: isEtcd ? { beats: () => ({ exchange: () => {} }) } : null,
  } as unknown as ControlBackend;
  const node = new SharedConfigNode({
    backend,
    dataDir: folder,
    name: HERE,
    hasLinks: false,
    otherPeers: [],
    upstream: { start: () => ({ cancel: () => {} }) as never },
    clock: createClock(),
    timers: createTimers(),
    log: createLog('silent', {}, { write: () => {} }),
    host: {
      apply: (text) => {
        if (text !== null && bad.has(text)) return Promise.resolve('no such file');
        if (text === 'fails') return Promise.reject(new Error('no port is free'));
        applied.push(text);
        return Promise.resolve(null);
      },
      check: () => Promise.resolve([]),
      counts: () => Promise.resolve({ requests: 7, errors: 1 }),
      out: () => ['sick'],
    },
    ...more,
  });
  running.push(node);
  return { node, bad, applied, confirming };
}

test('what is meant for this region is put in force, and kept on the disk', async () => {
  const world = new RolloutWorld(HERE);
  const { node, applied } = nodeOf(world);
  await node.start();
  deepEqual(applied, []);
  world.push('a: 1', { isEmergency: true });
  await node.moved();
  deepEqual(applied, ['a: 1']);
  const kept = JSON.parse(await readFile(join(folder, 'shared-config.json'), 'utf8')) as object;
  deepEqual(kept, { cluster: 'c1', version: 1, revision: 1, text: 'a: 1' });
  await node.moved();
  equal(applied.length, 1, 'once');
});

test('a version that has not come to this region is not put in force', async () => {
  const world = new RolloutWorld(HERE, 'us-east-2');
  world.push('a', { order: ['us-east-2'] });
  world.step();
  const { node, applied } = nodeOf(world);
  await node.start();
  deepEqual(applied, []);
});

test('what does not work here changes nothing, is told, and is tried again', async () => {
  const world = new RolloutWorld(HERE);
  const { node, bad, applied } = nodeOf(world);
  bad.add('b');
  await node.start();
  world.push('a', { isEmergency: true });
  await node.moved();
  world.push('b', { isEmergency: true });
  await node.moved();
  deepEqual(applied, ['a']);
  const report = await node.askReport(HERE);
  ok(report !== 'none' && report !== null);
  equal(report.applied, 1);
  deepEqual(report.refused, { version: 2, why: 'no such file' });
  deepEqual(report.out, ['sick']);
  deepEqual(node.warnings(), ['shared configuration: version 2 does not work here: no such file']);
  bad.clear();
  await node.again();
  deepEqual(applied, ['a', 'b']);
  deepEqual(node.warnings(), []);
});

test('what fails while it is put in force is refused, and what comes after it is not lost', async () => {
  const world = new RolloutWorld(HERE);
  const { node, applied } = nodeOf(world);
  await node.start();
  world.push('fails', { isEmergency: true });
  await node.moved();
  deepEqual(node.warnings(), [
    'shared configuration: version 1 does not work here: no port is free',
  ]);
  world.push('b', { isEmergency: true });
  await node.moved();
  deepEqual(applied, ['b']);
});

test('a restart puts in force what the disk has, also where the control state is behind', async () => {
  const world = new RolloutWorld(HERE);
  const first = nodeOf(world);
  await first.node.start();
  world.push('a', { isEmergency: true });
  world.push('b', { isEmergency: true });
  await first.node.moved();
  first.node.stop();
  const behind = new RolloutWorld(HERE);
  behind.push('a', { isEmergency: true });
  const { node, applied } = nodeOf(behind);
  await node.start();
  deepEqual(applied, ['b']);
  await node.moved();
  deepEqual(applied, ['b'], 'nothing older');
  behind.push('c', { isEmergency: true });
  await node.moved();
  deepEqual(applied, ['b', 'c'], 'what the control state says from now on counts');
});

test('a state that catches up step by step puts nothing in force that is older than the disk', async () => {
  const world = new RolloutWorld(HERE);
  const first = nodeOf(world);
  await first.node.start();
  for (const text of ['a', 'b', 'c']) world.push(text, { isEmergency: true });
  await first.node.moved();
  first.node.stop();
  const behind = new RolloutWorld(HERE);
  behind.push('a', { isEmergency: true });
  const { node, applied } = nodeOf(behind);
  await node.start();
  for (const text of ['b', 'c', 'd']) {
    behind.push(text, { isEmergency: true });
    await node.moved();
  }
  deepEqual(applied, ['c', 'd']);
});

test('a state that is older than the disk counts once it is certainly not behind', async () => {
  const world = new RolloutWorld(HERE);
  const first = nodeOf(world);
  await first.node.start();
  world.push('a', { isEmergency: true });
  world.push('b', { isEmergency: true });
  await first.node.moved();
  first.node.stop();
  // Of the same cluster: a store outside that was restored keeps its name.
  const restored = new RolloutWorld(HERE);
  restored.push('a', { isEmergency: true });
  const { node, applied, confirming } = nodeOf(restored);
  await node.start();
  deepEqual(applied, ['b']);
  const [none] = confirming;
  none?.({ ok: false, error: { kind: 'unavailable', detail: 'no quorum' } });
  await node.moved();
  deepEqual(applied, ['b'], 'without a quorum what the disk has stays');
  none?.({ ok: true, value: restored.machine.revision });
  await node.moved();
  deepEqual(applied, ['b', 'a']);
});

test('a roll-out that goes on has what was refused tried again, at once', async () => {
  const world = new RolloutWorld(HERE);
  const { node, bad, applied } = nodeOf(world);
  bad.add('a');
  await node.start();
  world.refusing.set(HERE, 1);
  world.push('a');
  world.steps();
  await node.moved();
  bad.clear();
  world.resume();
  await node.moved();
  deepEqual(applied, ['a']);
});

test('a restart in a cluster that was restored puts in force what that one says', async () => {
  const world = new RolloutWorld(HERE);
  const first = nodeOf(world);
  await first.node.start();
  world.push('a', { isEmergency: true });
  world.push('b', { isEmergency: true });
  await first.node.moved();
  first.node.stop();
  const restored = new RolloutWorld(HERE);
  restored.push('a', { isEmergency: true });
  const { node, applied } = nodeOf(restored, 'c2');
  await node.start();
  deepEqual(applied, ['b', 'a']);
  equal(node.applied, 1);
});

test('a version that does not work after a restart leaves the one before in force', async () => {
  const world = new RolloutWorld(HERE);
  const first = nodeOf(world);
  first.bad.add('b');
  await first.node.start();
  world.push('a', { isEmergency: true });
  await first.node.moved();
  world.push('b', { isEmergency: true });
  const { node, bad, applied } = nodeOf(world);
  bad.add('b');
  await node.start();
  deepEqual(applied, ['a']);
  equal(node.applied, 1);
});

test('an ended roll-out of the first version leaves the own file alone in force', async () => {
  const world = new RolloutWorld(HERE);
  const { node, applied } = nodeOf(world);
  await node.start();
  world.push('a');
  world.step();
  await node.moved();
  world.end();
  await node.moved();
  deepEqual(applied, ['a', null]);
  const again = nodeOf(world);
  await again.node.start();
  deepEqual(again.applied, []);
});

test('a halted roll-out is told', async () => {
  const world = new RolloutWorld(HERE);
  world.refusing.set(HERE, 1);
  world.push('a');
  world.steps();
  const { node } = nodeOf(world);
  await node.start();
  ok(node.warnings().some((line) => line.includes('roll-out halted: eu-central-1: it refuses')));
  deepEqual(
    node.gauges().find(([name]) => name === 'banyan_config_rollout_halted'),
    ['banyan_config_rollout_halted', 1],
  );
});

test('with etcd, too, a node with links asks others over them, whom its file names or not', async () => {
  const asked: string[] = [];
  const otherPeers: string[] = [];
  const upstream: Upstream = {
    start: ({ origin }, handler) => {
      asked.push(origin);
      queueMicrotask(() => handler.onFailure({ kind: 'link-down', bytesSent: 0, detail: '' }));
      return { cancel: () => {} } as never;
    },
  };
  const links = { hasLinks: true, otherPeers, upstream };
  const { node } = nodeOf(new RolloutWorld(HERE), 'c1', links, true);
  otherPeers.push('us-east-2'); // It was added while this one runs.
  equal(await node.askReport('us-east-2'), null);
  deepEqual(asked, ['node:us-east-2']);
  const alone = nodeOf(new RolloutWorld(HERE), 'c1', { ...links, hasLinks: false }, true);
  equal(await alone.node.askReport('us-east-2'), null);
  equal(asked.length, 1, 'without links it is heard through etcd');
});
