/**
 * Three nodes with a control state in virtual time: our own group, and an etcd cluster. Whoever drives
 * them moves `time` while somebody sleeps.
 */

import { assert } from '../base/assert.ts';
import { createPrng } from '../base/prng.ts';
import type { Result } from '../base/result.ts';
import { VirtualTime } from '../base/virtualTime.ts';
import { raftOptions } from '../raft/start.ts';
import type { Member, NodeId } from '../raft/types.ts';
import type { ControlEngine } from '../replica/control/engine.ts';
import type { EngineWorld } from '../replica/control/engineSuite.ts';
import { RaftControlEngine } from '../replica/control/raftEngine.ts';
import { FEATURE_LEVEL_MAX } from '../replica/control/features.ts';
import { EtcdControlEngine } from '../replica/etcd/engine.ts';
import { openGroup } from '../replica/group/open.ts';
import type { GroupMember, GroupOpenFailure } from '../replica/group/types.ts';
import { SimDisk } from './disk.ts';
import { SimEtcd } from './etcd.ts';

/** Time that goes on while somebody sleeps. */
abstract class TimedWorld {
  readonly time = new VirtualTime();

  nowMs(): number {
    return this.time.nowMs();
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.time.after(ms, resolve));
  }
}

const THREE: readonly Member[] = [1, 2, 3].map((id) => ({
  id,
  region: `r${id}`,
  incarnation: id * 100,
  priority: 1,
  isWitness: false,
  isPromotable: true,
}));

interface RaftNode {
  readonly disk: SimDisk;
  engine: RaftControlEngine;
  group: GroupMember | null;
  life: number;
}

export class RaftWorld extends TimedWorld implements EngineWorld {
  readonly nodes = new Map<NodeId, RaftNode>();
  drops: (from: NodeId, to: NodeId) => boolean = () => false;

  constructor() {
    super();
    for (const { id } of THREE) {
      const disk = new SimDisk(this.time, createPrng(id), { latencyMs: 1 });
      const engine = new RaftControlEngine(this.time, this.time);
      this.nodes.set(id, { disk, engine, group: null, life: 0 });
    }
  }

  async open(): Promise<void> {
    for (const { id } of THREE) await this.start(id, 'create');
    await this.leader();
  }

  engine(node: number): ControlEngine {
    return this.node(node + 1).engine;
  }

  node(id: NodeId): RaftNode {
    const node = this.nodes.get(id);
    assert(node !== undefined, 'there is such a node');
    return node;
  }

  start(id: NodeId, kind: 'create' | 'open'): Promise<void> {
    const node = this.node(id);
    node.life += 1;
    const { life } = node;
    node.engine = new RaftControlEngine(this.time, this.time);
    const incarnation = id * 100;
    return new Promise((resolve, reject) => {
      openGroup(
        {
          raft: raftOptions({
            id,
            cluster: 'c',
            incarnation,
            prng: createPrng(id * 7 + life),
            heartbeatMs: 50,
            electionMs: 500,
            requestMs: 1_000,
          }),
          folder: 'log',
          mode: { kind, incarnation },
          bootstrap: THREE,
          segmentBytes: 64 * 1_024,
          checkpointEntries: 8,
          snapshotEntries: 20,
        },
        {
          disk: node.disk.mount(),
          clock: this.time,
          timers: this.time,
          transport: { send: (to, bytes) => this.carry(id, life, to, bytes) },
        },
        { status: () => {}, alarm: () => {}, disk: () => {} },
        node.engine.groupMachine,
        null,
        (result: Result<GroupMember, GroupOpenFailure>) => {
          if (!result.ok) return reject(new Error(JSON.stringify(result.error)));
          node.group = result.value;
          node.engine.attach(result.value);
          resolve();
        },
      );
    });
  }

  carry(from: NodeId, life: number, to: NodeId, bytes: Uint8Array): void {
    if (this.node(from).life !== life || this.drops(from, to)) return;
    const target = this.node(to);
    const targetLife = target.life;
    this.time.after(5, () => {
      if (target.life === targetLife) target.group?.receive(from, bytes.slice());
    });
  }

  async leader(): Promise<NodeId> {
    for (;;) {
      for (const [id, { group }] of this.nodes) if (group?.status().role === 'leader') return id;
      await this.sleep(10);
    }
  }

  async follower(): Promise<number> {
    const leader = await this.leader();
    return (leader === 1 ? 2 : 1) - 1;
  }

  loseAnswers(node: number, isLost: boolean): void {
    // Whoever leads, leads on: only what it says to this node is lost.
    const silent = [...this.nodes].find(([, { group }]) => group?.status().role === 'leader')?.[0];
    this.drops = (from, to) => isLost && from === silent && to === node + 1;
  }

  async killLeader(): Promise<readonly number[]> {
    const leader = await this.leader();
    await this.crash(leader - 1);
    return [0, 1, 2].filter((node) => node !== leader - 1);
  }

  async loseQuorum(): Promise<void> {
    await this.crash(0);
    await this.crash(1);
  }

  crash(node: number): Promise<void> {
    const { disk, engine, group } = this.node(node + 1);
    this.node(node + 1).life += 1;
    engine.stop();
    group?.stop(() => {});
    this.node(node + 1).group = null;
    disk.kill();
    return Promise.resolve();
  }

  restart(node: number): Promise<void> {
    return this.start(node + 1, 'open');
  }

  forgetHistory(): Promise<void> {
    return Promise.resolve(); // The log is behind a snapshot after so many entries.
  }

  async heal(): Promise<void> {
    this.drops = () => false;
    for (const [id, { group }] of this.nodes) if (group === null) await this.start(id, 'open');
    await this.leader();
  }
}

export class EtcdWorld extends TimedWorld implements EngineWorld {
  readonly etcd: SimEtcd;
  readonly disks: readonly SimDisk[];
  readonly engines: (EtcdControlEngine | null)[] = [null, null, null];
  readonly notes: string[] = [];
  #lives = 0;

  constructor(seed = 1) {
    super();
    this.etcd = new SimEtcd(this.time, createPrng(seed));
    this.disks = [1, 2, 3].map((id) => new SimDisk(this.time, createPrng(id), { latencyMs: 1 }));
  }

  async open(): Promise<void> {
    for (const node of [0, 1, 2]) await this.restart(node);
    for (const node of [0, 1, 2]) {
      while (this.own(node).state.kind !== 'following') await this.sleep(5);
    }
  }

  own(node: number): EtcdControlEngine {
    const engine = this.engines[node];
    assert(engine !== null && engine !== undefined, 'the node runs');
    return engine;
  }

  engine(node: number): ControlEngine {
    return this.own(node);
  }

  follower(): Promise<number> {
    return Promise.resolve(1);
  }

  loseAnswers(node: number, isLost: boolean): void {
    this.etcd.setFaults(`n${node}`, isLost ? { answerLost: 1 } : {});
  }

  killLeader(): Promise<readonly number[]> {
    for (const node of [0, 1, 2]) this.etcd.breakWatches(`n${node}`);
    this.etcd.setQuorum(false);
    this.time.after(1_500, () => this.etcd.setQuorum(true));
    return Promise.resolve([0, 1, 2]);
  }

  loseQuorum(): Promise<void> {
    this.etcd.setQuorum(false);
    return Promise.resolve();
  }

  async crash(node: number): Promise<void> {
    const engine = this.own(node);
    this.engines[node] = null;
    this.etcd.breakWatches(`n${node}`);
    engine.stop(() => {});
    this.disks[node]?.kill();
    return Promise.resolve();
  }

  restart(node: number): Promise<void> {
    const disk = this.disks[node];
    assert(disk !== undefined, 'there is such a node');
    this.#lives += 1;
    const engine = new EtcdControlEngine({
      store: this.etcd.client(`n${node}`),
      disk: disk.mount(),
      folder: 'etcd',
      prefix: 'banyan',
      levelMax: FEATURE_LEVEL_MAX,
      clock: this.time,
      timers: this.time,
      prng: createPrng(node * 1_000 + this.#lives),
      onState: (state) => this.notes.push(`${node} ${JSON.stringify(state)}`),
      onNote: (note, detail) => this.notes.push(`${node} ${note} ${detail}`),
    });
    this.engines[node] = engine;
    return new Promise((resolve, reject) => {
      engine.open((result) => (result.ok ? resolve() : reject(new Error(result.error))));
    });
  }

  forgetHistory(): Promise<void> {
    this.etcd.compact();
    return Promise.resolve();
  }

  async heal(): Promise<void> {
    this.etcd.setQuorum(true);
    for (const node of [0, 1, 2]) {
      this.etcd.setFaults(`n${node}`, {});
      if (this.engines[node] === null) await this.restart(node);
    }
  }
}
