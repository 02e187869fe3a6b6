import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { test } from 'node:test';

import {
  clusterFeatureLevel,
  FEATURE_LEVEL_MAX,
  raiseLevel,
} from '../../replica/control/features.ts';
import { putPeer } from '../../replica/control/peers.ts';
import { EtcdWorld } from '../../sim/controlWorlds.ts';
import { inVirtualTime } from '../../sim/driveTime.ts';
import { EtcdLevels } from './etcdLevels.ts';

const NAMES = ['ap', 'eu', 'us'];

/** Nodes with links name the others in their files. */
class Nodes {
  readonly world: EtcdWorld;
  readonly #all: EtcdLevels[] = [];
  readonly #hasLinks: boolean;

  constructor(world: EtcdWorld, hasLinks: boolean) {
    this.world = world;
    this.#hasLinks = hasLinks;
  }

  /** `listed`: the others of its file. */
  start(at: number, levelMax: number, listed?: readonly string[]): EtcdLevels {
    const name = NAMES[at] ?? '';
    const all = this.#hasLinks ? NAMES.filter((other) => other !== name) : [];
    const engine = this.world.own(at);
    const levels = new EtcdLevels({
      engine,
      name,
      others: listed ?? all,
      levelMax,
      timers: this.world.time,
      isFollowing: () => engine.state.kind === 'following',
    });
    this.#all.push(levels);
    engine.onMoved(() => levels.look());
    levels.look();
    return levels;
  }

  level(): number {
    return clusterFeatureLevel(this.world.engine(0).view);
  }

  async untilLevel(level: number): Promise<void> {
    const endMs = this.world.nowMs() + 60_000;
    while (this.level() !== level) {
      ok(this.world.nowMs() < endMs, `level ${level}:\n${this.world.notes.join('\n')}`);
      await this.world.sleep(20);
    }
  }

  stop(): void {
    for (const one of this.#all) one.stop();
  }
}

function inEtcd(name: string, hasLinks: boolean, run: (nodes: Nodes) => Promise<void>): void {
  test(name, async () => {
    const world = new EtcdWorld();
    const nodes = new Nodes(world, hasLinks);
    await inVirtualTime(
      world.time,
      world
        .open()
        .then(() => run(nodes))
        .finally(() => nodes.stop()),
    );
  });
}

inEtcd(
  'FL1 in etcd the level rises once every node of the files has said it',
  true,
  async (nodes) => {
    const first = nodes.start(0, FEATURE_LEVEL_MAX);
    nodes.start(1, FEATURE_LEVEL_MAX);
    await nodes.world.sleep(20_000);
    equal(nodes.level(), 1);
    deepEqual(first.heldBackBy(), ['us']);
    nodes.start(2, FEATURE_LEVEL_MAX);
    await nodes.untilLevel(FEATURE_LEVEL_MAX);
    deepEqual(first.heldBackBy(), []);
  },
);

inEtcd('FL1 a node that was added, and that no file names, counts too', true, async (nodes) => {
  const engine = nodes.world.own(0);
  const place = { peer: 'us', host: 'us.example.com', port: 1 };
  const audit = { who: 'ops', from: 'ap', what: 'member add us', why: '' };
  const isAdded = await new Promise<boolean>((resolve) => {
    const added = putPeer(place, { place: null, modRevision: 0 }, audit);
    engine.transact(added, (outcome) => resolve(outcome.ok && outcome.value.isSuccess));
  });
  ok(isAdded);
  const first = nodes.start(0, 2, ['eu']);
  nodes.start(1, 2, ['ap']);
  await nodes.world.sleep(20_000);
  equal(nodes.level(), 1);
  deepEqual(first.heldBackBy(), ['us']);
  nodes.start(2, 2, ['ap']);
  await nodes.untilLevel(2);
});

inEtcd('FL1 without links those count that have written something', false, async (nodes) => {
  nodes.start(0, 2);
  await nodes.untilLevel(2);
  nodes.start(1, 3);
  nodes.start(2, 3);
  await nodes.world.sleep(20_000);
  equal(nodes.level(), 2, 'the first one supports no more');
});

inEtcd('FL3 a node below the level of its etcd cluster takes no part', true, async (nodes) => {
  const { world } = nodes;
  const engine = world.engine(0);
  const raised = await new Promise<boolean>((resolve) => {
    engine.transact(raiseLevel(engine.view, 9, 'test'), (outcome) => resolve(outcome.ok));
  });
  ok(raised);
  await nodes.untilLevel(9);
  const { state } = world.own(0);
  equal(state.kind, 'failed');
  match('detail' in state ? state.detail : '', /at feature level 9, and this program supports/);
  const told = await new Promise<string>((resolve) => {
    engine.transact(raiseLevel(engine.view, 10, 'test'), (outcome) => {
      resolve(outcome.ok ? 'done' : outcome.error.kind);
    });
  });
  equal(told, 'unavailable');
  equal(nodes.level(), 9);
  // After a restart it does not even ask.
  await world.crash(0);
  await world.restart(0);
  equal(world.own(0).state.kind, 'failed');
  equal(nodes.level(), 9);
});
