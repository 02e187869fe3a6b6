/** Whoever drives a roll-out, over a control state in memory and virtual time. */

import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { test } from 'node:test';

import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import { VirtualTime } from '../../base/virtualTime.ts';
import { createLog } from '../../io/observe/log.ts';
import type { ControlEngine } from '../../replica/control/engine.ts';
import { FEATURE_LEVEL_MAX, raiseLevel } from '../../replica/control/features.ts';
import type { Beat, Beats } from '../../replica/sharedConfig/beats.ts';
import { readReport, reportingPeers, tellReport } from '../../replica/sharedConfig/reports.ts';
import { RolloutWorld } from '../../replica/sharedConfig/rolloutTestkit.ts';
import { RolloutRunner, type Heard, type RunnerOptions } from './runner.ts';
import { StateReports } from './stateReports.ts';

const [AP, EU] = ['ap-northeast-1', 'eu-central-1'] as const;
const { askMs, forgetMs, silentMs } = SHARED_CONFIG_LIMITS;
const AUDIT = { who: 'banyan', from: EU, what: 'test', why: '' };

function engineOf(world: RolloutWorld): ControlEngine {
  return {
    view: world.machine,
    transact: (transaction, done) => {
      const isSuccess = world.run(transaction);
      done({ ok: true, value: { isSuccess, revision: world.machine.revision, results: [] } });
    },
    confirm: (done) => done({ ok: true, value: world.machine.revision }),
    onMoved: () => () => {},
  };
}

/** As an etcd cluster keeps them, for the node of this name. */
function beatsOf(name: string, kept: Map<string, Beat>): Beats {
  return {
    exchange: (own, done) => {
      const modRevision = 1 + Math.max(0, ...[...kept.values()].map((beat) => beat.modRevision));
      if (own !== null) kept.set(name, { value: own, modRevision });
      done(new Map(kept));
    },
  };
}

function runnerOf(world: RolloutWorld, time: VirtualTime, more: Partial<RunnerOptions> = {}) {
  return new RolloutRunner({
    name: EU,
    peers: () => [...world.nodes.keys()],
    engine: engineOf(world),
    clock: time,
    timers: time,
    log: createLog('silent', {}, { write: () => {} }),
    leads: () => 'alone',
    asksOverLinks: false,
    ask: (region) => {
      world.settle();
      return Promise.resolve(world.silent.has(region) ? null : { ...world.node(region) });
    },
    ...more,
  });
}

/** Lets what was begun go on to its next timer. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await Promise.resolve();
}

async function pass(time: VirtualTime, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += askMs) {
    time.advance(askMs);
    await settled();
  }
}

test('whoever leads takes a version through the regions, itself last', async () => {
  const world = new RolloutWorld(AP, EU);
  const time = new VirtualTime();
  world.push('a');
  const runner = runnerOf(world, time);
  runner.wake();
  await pass(time, 10_000);
  deepEqual(world.head, { newest: 1, base: 1, rollout: null });
  const steps = world.machine.audit(1, 100).map(({ what }) => what.replace(/^[^:]*: /, ''));
  deepEqual(steps.slice(1), [
    `goes to ${AP}`,
    `bakes in ${AP}`,
    `goes to ${EU}`,
    `bakes in ${EU}`,
    'everywhere',
  ]);
  runner.stop();
});

test('who does not lead does nothing', async () => {
  const world = new RolloutWorld(AP, EU);
  const time = new VirtualTime();
  world.push('a');
  const runner = runnerOf(world, time, { leads: () => 'no' });
  runner.wake();
  await pass(time, 10_000);
  equal(world.head.rollout?.stage, null);
  runner.stop();
});

test('a region is silent from the time on that it was heard last, by this leader', async () => {
  const world = new RolloutWorld(AP, EU);
  const time = new VirtualTime();
  world.push('a');
  world.silent.set(AP, 0);
  const runner = runnerOf(world, time);
  runner.wake();
  await pass(time, silentMs - askMs);
  equal(world.head.rollout?.stage, null, 'it is waited for');
  await pass(time, 10_000);
  equal(world.head.base, 1);
  runner.stop();
});

test('both nodes of a region are asked, and one that dies is waited for up to its limit', async () => {
  const two = `${AP}/two`;
  const world = new RolloutWorld(AP, two, EU);
  const time = new VirtualTime();
  world.push('a');
  const runner = runnerOf(world, time);
  runner.wake();
  await pass(time, askMs * 2);
  equal(world.head.rollout?.stage?.region, AP);
  deepEqual([world.node(AP).applied, world.node(two).applied], [1, 1]);
  world.silent.set(two, 0);
  await pass(time, silentMs - askMs * 2);
  equal(world.head.rollout?.stage?.region, AP, 'it is waited for');
  await pass(time, 10_000);
  equal(world.head.base, 1);
  runner.stop();
});

test('of several that drive one that hears hardly anybody decides nothing over its links', async () => {
  const [away, more] = ['eu-central-1/b', ['us-east-2', 'sa-east-1']] as const;
  const world = new RolloutWorld(EU, away, ...more);
  const time = new VirtualTime();
  world.push('a', { order: [EU], bakeMs: silentMs * 2 });
  const isCut = (from: string, to: string): boolean =>
    [from, to].includes(away) && more.some((other) => [from, to].includes(other));
  // The one that is cut off looks first each time.
  const runners = [away, EU, ...more].map((name) =>
    runnerOf(world, time, {
      name,
      leads: () => 'maybe',
      asksOverLinks: true,
      ask: (peer) => {
        world.settle();
        return Promise.resolve(isCut(name, peer) ? null : { ...world.node(peer) });
      },
    }),
  );
  for (const runner of runners) {
    runner.wake();
    time.advance(askMs / 5);
    await settled();
  }
  let isWaiting = false;
  for (let passed = 0; passed < 100_000; passed += 50) {
    time.advance(50);
    await settled();
    isWaiting ||= runners[0]?.isWaiting === true;
  }
  for (const runner of runners) runner.stop();
  equal(isWaiting, true, 'and it says so');
  const steps = world.machine.audit(1, 100).map(({ what }) => what.replace(/^[^:]*: /, ''));
  deepEqual(
    steps.filter((what) => /goes to|everywhere|halted/.test(what)),
    [`goes to ${EU}`, 'goes to sa-east-1', 'goes to us-east-2', `everywhere; not heard: ${away}`],
  );
});

test('a region without a configuration (a witness) is not waited for', async () => {
  const world = new RolloutWorld(AP, EU);
  const time = new VirtualTime();
  world.push('a');
  const ask = (region: string): Promise<Heard> => {
    world.settle();
    return Promise.resolve(region === AP ? 'none' : { ...world.node(region) });
  };
  const runner = runnerOf(world, time, { ask });
  runner.wake();
  await pass(time, 5_000);
  equal(world.head.base, 1);
  runner.stop();
});

test('what a region said before another one drove on is not held against it', async () => {
  const world = new RolloutWorld(AP, EU);
  const time = new VirtualTime();
  world.push('a');
  equal(world.step(), `goes to ${AP}`);
  const before = { ...world.node(AP), applied: 0 };
  const ask = (region: string): Promise<Heard> => {
    // Meanwhile another node sees that the region has the version.
    if (world.head.rollout?.stage?.bake === null) match(world.step() ?? '', /^bakes in/);
    return Promise.resolve(region === AP ? before : { ...world.node(region) });
  };
  const runner = runnerOf(world, time, { leads: () => 'maybe', ask });
  runner.wake();
  time.advance(0);
  await settled();
  equal(world.head.rollout?.halted, '');
  runner.stop();
});

test('a region counts as heard while it tells anew, not for what it told once (SR2)', async () => {
  const world = new RolloutWorld(AP, EU);
  const time = new VirtualTime();
  const engine = engineOf(world);
  const beats = beatsOf(EU, new Map());
  const report = () => Promise.resolve({ ...world.node(AP) });
  const reports = new StateReports({ name: AP, engine, beats, clock: time, timers: time, report });
  world.run(tellReport(EU, world.node(EU), AUDIT));
  equal(reports.heard(EU), null, 'that may be long ago');
  world.run(tellReport(EU, world.node(EU), AUDIT));
  equal(reports.heard(EU)?.boot, 1);
  time.advance(silentMs / 2);
  equal(reports.heard(EU), null);
  reports.stop();
  await settled();
});

test('nodes of one region tell under their own names', async () => {
  const two = `${EU}/two`;
  const world = new RolloutWorld(EU, two);
  const time = new VirtualTime();
  const engine = engineOf(world);
  const beats = beatsOf(EU, new Map());
  for (const name of [EU, two]) {
    const report = () => Promise.resolve({ ...world.node(name), boot: name.length });
    const reports = new StateReports({ name, engine, beats, clock: time, timers: time, report });
    reports.wake();
    await settled();
    reports.stop();
  }
  deepEqual(reportingPeers(world.machine), [EU, two]);
  equal(readReport(world.machine, two)?.report.boot, two.length);
});

test('a region tells once that it is there, and during a roll-out every few seconds (SR1)', async () => {
  const world = new RolloutWorld(EU);
  const time = new VirtualTime();
  const engine = engineOf(world);
  const beats = beatsOf(EU, new Map());
  const report = () => Promise.resolve({ ...world.node(EU) });
  const reports = new StateReports({ name: EU, engine, beats, clock: time, timers: time, report });
  const told = () => world.machine.get(`config/regions/${EU}`)?.version ?? 0;
  for (let count = 0; count < 5; count += 1) {
    reports.wake();
    await settled();
    time.advance(60_000);
  }
  equal(told(), 1);
  world.push('a');
  reports.wake();
  await settled();
  await pass(time, 10_000);
  equal(told(), 6, 'at its beginning, then every 2.5 s');
  world.settle();
  await pass(time, askMs);
  equal(readReport(world.machine, EU)?.report.applied, 0, 'no stage has come to it');
  world.node(EU).out = ['t'];
  await pass(time, askMs);
  deepEqual(readReport(world.machine, EU)?.report.out, ['t'], 'what matters is told at once');
  reports.stop();
});

test('a roll-out of hours leaves few audit records, and all are heard all the while (SR3)', async () => {
  const US = 'us-east-2';
  const world = new RolloutWorld(AP, EU, US);
  const time = new VirtualTime();
  const engine = engineOf(world);
  world.run(raiseLevel(world.machine, FEATURE_LEVEL_MAX, 'test'));
  const kept = new Map<string, Beat>();
  const all = [AP, EU, US].map((name) => {
    const report = () => Promise.resolve({ ...world.node(name) });
    const beats = beatsOf(name, kept);
    return new StateReports({ name, engine, beats, clock: time, timers: time, report });
  });
  const [first] = all;
  for (const reports of all) reports.wake();
  await settled();
  world.push('a');
  const before = world.machine.revision;
  for (const reports of all) reports.wake();
  await settled();
  ok(first !== undefined);
  for (const peer of [AP, EU, US]) equal(first.heard(peer), null, 'it may have told long ago');
  await pass(time, 10_000);
  for (let count = 0; count < 2 * 7_200; count += 1) {
    if (count % 20 === 0) world.serve(EU, 10, 1);
    time.advance(askMs);
    await settled();
    for (const peer of [AP, EU, US]) equal(first.heard(peer)?.boot, 1, `${peer}: ${count}`);
  }
  deepEqual(world.machine.audit(before + 1, 100), []);
  await pass(time, silentMs / 2);
  deepEqual(first.heard(EU)?.counts, world.node(EU).counts, 'what it counts is heard');
  all[1]?.stop();
  await pass(time, silentMs);
  equal(first.heard(EU), null, 'who tells nothing any more is not');
  world.node(AP).out = ['t'];
  await pass(time, askMs);
  deepEqual(first.heard(AP)?.out, ['t']);
  equal(world.machine.audit(before + 1, 100).length, 1, 'what matters is in the state');
  for (const reports of all) reports.stop();
});

test('who told nothing for long is taken out once no roll-out is under way (SR4)', async () => {
  const [live, gone] = [AP, 'eu-central-1/old-pod'];
  const world = new RolloutWorld(AP, EU);
  const time = new VirtualTime();
  const engine = engineOf(world);
  world.run(raiseLevel(world.machine, FEATURE_LEVEL_MAX, 'test'));
  for (const name of [live, gone]) world.run(tellReport(name, world.node(AP), AUDIT));
  const kept = new Map<string, Beat>();
  const state = { isAway: false };
  const beats: Beats = {
    exchange: (own, done) => {
      if (state.isAway) return done(null);
      kept.set(live, { value: new Uint8Array(), modRevision: 1 });
      beatsOf(EU, kept).exchange(own, done);
    },
  };
  const report = () => Promise.resolve({ ...world.node(EU) });
  const reports = new StateReports({ name: EU, engine, beats, clock: time, timers: time, report });
  const tick = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 10_000) {
      reports.wake();
      await settled();
      time.advance(10_000);
    }
  };
  await tick(forgetMs - 60_000);
  state.isAway = true;
  await tick(forgetMs * 2);
  state.isAway = false;
  await tick(forgetMs - 60_000);
  deepEqual(reportingPeers(world.machine), [AP, EU, gone], 'nobody was heard meanwhile');
  world.push('a');
  await tick(forgetMs);
  deepEqual(reportingPeers(world.machine), [AP, EU, gone], 'a roll-out counts on it');
  world.end();
  await tick(20_000);
  deepEqual(reportingPeers(world.machine), [AP, EU]);
  equal(kept.get(EU) === undefined, false, 'this node tells beside the state all the while');
  reports.stop();
});
