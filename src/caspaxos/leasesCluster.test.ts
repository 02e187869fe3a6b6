/**
 * Leases over the cluster itself: nodes crash with their leases, messages are lost, doubled and
 * late, and the acceptors change under way (L-03 of the research list: two holders at a change of
 * configuration).
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { beginChange, finishChange, isJoint } from './control.ts';
import { Lease, type LeaseAsk, type LeaseInput } from './leases.ts';
import { testAcceptor, TestCluster } from './testkit.ts';

const KEY = { bucket: 1, name: 'run' };
const TTL_MS = 800;
const SEEDS = 30;

interface Owner {
  readonly node: number;
  lease: Lease;
  name: string;
}

class LeaseWorld {
  readonly cluster: TestCluster;
  readonly owners: Owner[] = [];
  readonly holders = new Map<number, string>();
  #lives = 0;
  #isRescanning = false;

  constructor(seed: number) {
    const faults = { loss: 0.05, duplicate: 0.1, delayMsMin: 1, delayMsMax: 40, fsyncMsMax: 15 };
    this.cluster = new TestCluster({
      seed,
      nodes: 5,
      acceptors: [1, 2, 3],
      openTo: 3,
      faults: { ...faults, logMsMax: 300 },
    });
    for (const node of [1, 2, 4]) {
      const owner = { node, name: '', lease: new Lease({ holder: 'none', ttlMs: TTL_MS }) };
      this.owners.push(owner);
      this.#begin(owner);
    }
  }

  /** Each start of a process has a lease of its own. */
  #begin(owner: Owner): void {
    this.#lives += 1;
    owner.name = `n${owner.node}.${this.#lives}`;
    owner.lease = new Lease({ holder: owner.name, ttlMs: TTL_MS });
    this.#step(owner, { kind: 'acquire' });
  }

  #step(owner: Owner, input: LeaseInput): void {
    const { ask, event } = owner.lease.step(input, this.cluster.nowMs);
    if (event?.kind === 'held') {
      const known = this.holders.get(event.fence) ?? owner.name;
      assert.equal(known, owner.name, 'a fencing number has one holder');
      this.holders.set(event.fence, owner.name);
    }
    if (ask !== null) this.#ask(owner, ask);
  }

  #ask(owner: Owner, ask: LeaseAsk): void {
    const { name } = owner;
    this.cluster.request(
      owner.node,
      (id) =>
        ask.kind === 'read'
          ? { kind: 'read', id, key: KEY }
          : { kind: 'change', id, key: KEY, change: ask.change },
      (reply) => {
        const isAlive = owner.name === name && this.cluster.node(owner.node).cas !== null;
        if (isAlive) this.#step(owner, { kind: 'answer', reply });
      },
    );
  }

  crash(id: number): void {
    const { cluster } = this;
    if (cluster.node(id).cas === null) return;
    cluster.crash(id, 0);
    for (const owner of this.owners) if (owner.node === id) owner.name = 'gone';
    cluster.at(cluster.nowMs + 100 + cluster.prng.nextBelow(700), () => {
      cluster.start(id);
      for (const owner of this.owners) if (owner.node === id) this.#begin(owner);
    });
  }

  changeAcceptors(ids: readonly number[]): void {
    const { cluster } = this;
    const made = beginChange(cluster.control, ids.map(testAcceptor), cluster.logIndex());
    if (made.ok) cluster.commit(made.value);
  }

  live(): void {
    const { cluster } = this;
    for (const owner of this.owners) {
      if (cluster.node(owner.node).cas === null || owner.name === 'gone') continue;
      if (cluster.nowMs >= owner.lease.nextWakeMs()) this.#step(owner, { kind: 'tick' });
    }
    const holding = this.owners.filter(
      ({ lease, name }) => name !== 'gone' && lease.fenceAt(cluster.nowMs) !== null,
    );
    assert.ok(holding.length <= 1, 'one holder at a time');
    if (this.#isRescanning || !isJoint(cluster.control) || cluster.node(5).cas === null) return;
    this.#isRescanning = true;
    const make = (id: number) => ({ kind: 'rescan', id }) as const;
    cluster.request(5, make, (reply) => {
      this.#isRescanning = false;
      if (reply.kind !== 'rescanned') return;
      const made = finishChange(cluster.control, reply.epoch, cluster.logIndex());
      if (made.ok) cluster.commit(made.value);
    });
  }
}

test(`a lease over a cluster that crashes and changes has one holder, and moves (${SEEDS} seeds)`, () => {
  let holders = 0;
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const world = new LeaseWorld(seed);
    const { cluster } = world;
    for (let turn = 0; turn < 600; turn += 1) {
      cluster.run(20);
      if (turn % 60 === 30) world.crash(1 + cluster.prng.nextBelow(5));
      if (turn === 150) world.changeAcceptors([3, 4, 5]);
      if (turn === 350) world.changeAcceptors([1, 2, 4]);
      world.live();
    }
    assert.ok(cluster.control.epoch >= 3, `seed ${seed}: the acceptors have changed`);
    holders += world.holders.size;
  }
  assert.ok(holders >= SEEDS * 3, `${holders} acquisitions`);
});
