/**
 * The suite of the control state's engines on an etcd cluster of three real servers and on our own
 * group of three real logs. Virtual time: `src/sim/controlEngines.test.ts`.
 */

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import { createPrng } from '../../src/base/prng.ts';
import { createClock, createTimers } from '../../src/io/clock.ts';
import { NodeDisk } from '../../src/io/disk/nodeDisk.ts';
import { EtcdClient } from '../../src/io/etcd/client.ts';
import { World } from '../../src/main/control/sideTestkit.ts';
import type { ControlEngine } from '../../src/replica/control/engine.ts';
import { ENGINE_CASES, type EngineWorld } from '../../src/replica/control/engineSuite.ts';
import { FEATURE_LEVEL_MAX } from '../../src/replica/control/features.ts';
import { EtcdControlEngine } from '../../src/replica/etcd/engine.ts';
import { etcdAbsent, startEtcd, type EtcdCluster } from '../support/etcdCluster.ts';
import { lossyStore } from '../support/lossyEtcd.ts';

const CASE_MS = 90_000;
const REGIONS = ['ap', 'eu', 'us'];
const clock = createClock();
const timers = createTimers();

const FIRST_LEVEL = 1;

interface EtcdNode {
  readonly client: EtcdClient;
  readonly engine: EtcdControlEngine;
}

class RealEtcdWorld implements EngineWorld {
  readonly #cluster: EtcdCluster;
  readonly #prefix: string;
  readonly #folder: string;
  readonly #nodes: (EtcdNode | null)[] = [null, null, null];
  readonly #losing = new Set<number>();
  readonly notes: string[] = [];

  constructor(cluster: EtcdCluster, prefix: string, folder: string) {
    this.#cluster = cluster;
    this.#prefix = prefix;
    this.#folder = folder;
  }

  async open(): Promise<void> {
    for (const node of [0, 1, 2]) await this.restart(node);
    await this.#following();
  }

  async close(): Promise<void> {
    for (const [at, node] of this.#nodes.entries()) if (node !== null) await this.crash(at);
  }

  #own(node: number): EtcdNode {
    return this.#nodes[node] ?? assert.fail(`node ${node} runs`);
  }

  async #following(): Promise<void> {
    const isFollowing = (node: EtcdNode | null): boolean => node?.engine.state.kind === 'following';
    while (!this.#nodes.every(isFollowing)) await this.sleep(20);
  }

  engine(node: number): ControlEngine {
    return this.#own(node).engine;
  }

  follower(): Promise<number> {
    return Promise.resolve(1);
  }

  loseAnswers(node: number, isLost: boolean): void {
    if (isLost) this.#losing.add(node);
    else this.#losing.delete(node);
  }

  async killLeader(): Promise<readonly number[]> {
    await this.#cluster.server(await this.#cluster.leader()).kill9();
    return [0, 1, 2];
  }

  async loseQuorum(): Promise<void> {
    await this.#cluster.server(0).kill9();
    this.#cluster.server(1).signal('SIGSTOP');
  }

  async crash(node: number): Promise<void> {
    const { client, engine } = this.#own(node);
    this.#nodes[node] = null;
    client.close();
    await new Promise<void>((resolve) => engine.stop(resolve));
  }

  restart(node: number): Promise<void> {
    const { endpoints } = this.#cluster;
    const folder = join(this.#folder, `n${node}`);
    mkdirSync(folder, { recursive: true });
    const client = new EtcdClient({ endpoints, tls: null, user: null });
    const engine = new EtcdControlEngine({
      store: lossyStore(client, () => this.#losing.has(node)),
      disk: new NodeDisk(folder),
      folder: 'etcd',
      prefix: this.#prefix,
      levelMax: FEATURE_LEVEL_MAX,
      clock,
      timers,
      prng: createPrng(Date.now() + node),
      onState: (state) => this.notes.push(`${node} ${JSON.stringify(state)}`),
      onNote: (note, detail) => this.notes.push(`${node} ${note} ${detail}`),
    });
    this.#nodes[node] = { client, engine };
    return new Promise((resolve, reject) => {
      engine.open((result) => (result.ok ? resolve() : reject(new Error(result.error))));
    });
  }

  async forgetHistory(): Promise<void> {
    const read = await this.#cluster.post(0, '/v3/kv/range', { key: 'AA==' });
    const header = read?.['header'] as { revision: string } | undefined;
    await this.#cluster.post(0, '/v3/kv/compaction', { revision: header?.revision });
  }

  async heal(): Promise<void> {
    this.#cluster.heal();
    await this.#cluster.leader();
    for (const [at, node] of this.#nodes.entries()) if (node === null) await this.restart(at);
    await this.#following();
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, ms));
  }

  nowMs(): number {
    return clock.nowMs();
  }
}

/** Three members of our own group in this process: real logs on real disks, calls between them by hand. */
class RealGroupWorld implements EngineWorld {
  readonly #inner: World;

  constructor(name: string) {
    this.#inner = new World(name, REGIONS);
  }

  async open(): Promise<void> {
    await Promise.all(REGIONS.map((region) => this.#start(region)));
  }

  /** At the first level, which nobody raises: to raise it is a change that the cases do not count. */
  async #start(region: string): Promise<void> {
    await this.#inner.start(region, REGIONS, FIRST_LEVEL);
  }

  close(): Promise<void> {
    return this.#inner.stopAll();
  }

  engine(node: number): ControlEngine {
    return this.#inner.side(regionOf(node)).engine;
  }

  async #leader(): Promise<string> {
    for (;;) {
      const leader = this.#inner.leader();
      if (leader !== null) return leader;
      await this.sleep(10);
    }
  }

  async follower(): Promise<number> {
    const leader = await this.#leader();
    return REGIONS.findIndex((region) => region !== leader);
  }

  loseAnswers(node: number, isLost: boolean): void {
    if (isLost) this.#inner.cut.add(regionOf(node));
    else this.#inner.cut.delete(regionOf(node));
  }

  async killLeader(): Promise<readonly number[]> {
    const leader = await this.#leader();
    await this.#inner.stop(leader);
    return [0, 1, 2].filter((node) => regionOf(node) !== leader);
  }

  async loseQuorum(): Promise<void> {
    await Promise.all([0, 1].map((node) => this.#inner.stop(regionOf(node))));
  }

  crash(node: number): Promise<void> {
    return this.#inner.stop(regionOf(node));
  }

  async restart(node: number): Promise<void> {
    await this.#start(regionOf(node));
  }

  forgetHistory(): Promise<void> {
    return Promise.resolve(); // What is behind a snapshot: in virtual time, where it is small.
  }

  async heal(): Promise<void> {
    this.#inner.cut.clear();
    const absent = REGIONS.filter((region) => !this.#inner.sides.has(region));
    await Promise.all(absent.map((region) => this.#start(region)));
    await this.#leader();
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, ms));
  }

  nowMs(): number {
    return clock.nowMs();
  }
}

function regionOf(node: number): string {
  return REGIONS[node] ?? assert.fail(`there is a node ${node}`);
}

// The two wait for limits of time most of the while, and share nothing.
describe('engines of the control state', { concurrency: 2 }, () => {
  describe('our own group, three real logs', { concurrency: 2 }, () => {
    for (const [at, each] of ENGINE_CASES.entries()) {
      it(each.name, { timeout: CASE_MS }, async () => {
        const world = new RealGroupWorld(`case${at}`);
        await world.open();
        try {
          await each.run(world);
        } finally {
          await world.close();
        }
      });
    }
  });

  // One after the other: each breaks the servers of all.
  describe('etcd, three real servers', { skip: etcdAbsent(), concurrency: 1 }, () => {
    let cluster: EtcdCluster;
    let folder: string;

    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'banyan-engines-'));
      cluster = await startEtcd();
    });

    after(async () => {
      await cluster.close();
      await rm(folder, { recursive: true, force: true });
    });

    for (const [at, each] of ENGINE_CASES.entries()) {
      it(each.name, { timeout: CASE_MS }, async () => {
        const world = new RealEtcdWorld(cluster, `case${at}`, join(folder, `case${at}`));
        await world.open();
        try {
          await each.run(world);
        } catch (cause) {
          throw new Error(world.notes.join('\n'), { cause });
        } finally {
          await world.close();
          cluster.heal();
          await cluster.leader();
        }
      });
    }
  });
});
