import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';

import { decodeUtf8, encodeUtf8 } from '../base/bytes.ts';
import { createPrng } from '../base/prng.ts';
import type { Result } from '../base/result.ts';
import { VirtualTime } from '../base/virtualTime.ts';
import { raftOptions } from '../raft/start.ts';
import type { Member, NodeId } from '../raft/types.ts';
import type { ControlOutcome } from '../replica/control/engine.ts';
import { RaftControlEngine } from '../replica/control/raftEngine.ts';
import type { Transaction } from '../replica/control/types.ts';
import { openGroup } from '../replica/group/open.ts';
import type { GroupMember, GroupOpenFailure } from '../replica/group/types.ts';
import { SimDisk } from './disk.ts';

const THREE: readonly Member[] = [1, 2, 3].map((id) => ({
  id,
  region: `r${id}`,
  incarnation: id * 100,
  priority: 1,
  isWitness: false,
  isPromotable: true,
}));

interface Node {
  readonly disk: SimDisk;
  engine: RaftControlEngine;
  group: GroupMember | null;
  life: number;
}

/** Three nodes with the control state, in virtual time; messages can be dropped. */
class World {
  readonly time = new VirtualTime();
  readonly nodes = new Map<NodeId, Node>();
  drops: (from: NodeId, to: NodeId) => boolean = () => false;

  constructor() {
    for (const { id } of THREE) {
      const disk = new SimDisk(this.time, createPrng(id), { latencyMs: 1 });
      const engine = new RaftControlEngine(this.time, this.time);
      this.nodes.set(id, { disk, engine, group: null, life: 0 });
      this.start(id, 'create');
    }
  }

  node(id: NodeId): Node {
    const node = this.nodes.get(id);
    ok(node !== undefined);
    return node;
  }

  start(id: NodeId, kind: 'create' | 'open'): void {
    const node = this.node(id);
    node.life += 1;
    const { life } = node;
    node.engine = new RaftControlEngine(this.time, this.time);
    const incarnation = id * 100;
    const prng = createPrng(id * 7 + life);
    let opened: Result<GroupMember, GroupOpenFailure> | null = null;
    openGroup(
      {
        raft: raftOptions({
          id,
          cluster: 'c',
          incarnation,
          prng,
          heartbeatMs: 50,
          electionMs: 500,
          requestMs: 1_000,
        }),
        folder: 'log',
        mode: { kind, incarnation },
        bootstrap: THREE,
        segmentBytes: 64 * 1_024,
        checkpointEntries: 8,
        snapshotEntries: 1_000,
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
      (result) => {
        opened = result;
        if (!result.ok) return;
        node.group = result.value;
        node.engine.attach(result.value);
      },
    );
    this.until(() => opened !== null);
    ok(node.group !== null, JSON.stringify(opened));
  }

  carry(from: NodeId, life: number, to: NodeId, bytes: Uint8Array): void {
    if (this.node(from).life !== life || this.drops(from, to)) return;
    const target = this.node(to);
    const targetLife = target.life;
    this.time.after(5, () => {
      if (target.life === targetLife) target.group?.receive(from, bytes.slice());
    });
  }

  crash(id: NodeId): void {
    const node = this.node(id);
    node.life += 1;
    node.engine.stop();
    node.group?.stop(() => {});
    node.group = null;
    node.disk.kill();
  }

  until(isDone: () => boolean, limitMs = 60_000): void {
    const endMs = this.time.nowMs() + limitMs;
    while (!isDone()) {
      const dueMs = this.time.nextDueMs();
      ok(dueMs !== null && dueMs <= endMs, 'it happens in time');
      this.time.advance(dueMs - this.time.nowMs());
    }
  }

  leader(): NodeId {
    let found = 0;
    this.until(() => {
      for (const [id, { group }] of this.nodes) if (group?.status().role === 'leader') found = id;
      return found !== 0;
    });
    return found;
  }

  transact(id: NodeId, transaction: Transaction): ControlOutcome {
    let outcome: ControlOutcome | null = null;
    this.node(id).engine.transact(transaction, (told) => {
      ok(outcome === null, 'answered once');
      outcome = told;
    });
    this.until(() => outcome !== null);
    ok(outcome !== null);
    return outcome;
  }

  text(id: NodeId, key: string): string | null {
    const item = this.node(id).engine.view.get(key);
    return item === null ? null : decodeUtf8(item.value);
  }
}

const AUDIT = { who: 'test', from: 'here', what: 'put', why: '' };

/** Puts `key` only where it is absent: a second run of the same transaction would fail. */
function create(key: string, text: string): Transaction {
  return {
    kind: 'transaction',
    audit: AUDIT,
    compares: [{ kind: 'absent', key }],
    success: [{ kind: 'put', key, type: 'text', value: encodeUtf8(text) }],
    failure: [],
  };
}

function isCreated(outcome: ControlOutcome): boolean {
  return outcome.ok && outcome.value.isSuccess;
}

test('a transaction from any node is done everywhere, and watchers are told', () => {
  const world = new World();
  world.leader();
  let moved = 0;
  world.node(3).engine.onMoved(() => {
    moved += 1;
  });
  for (const id of [1, 2, 3]) ok(isCreated(world.transact(id, create(`k${id}`, `from ${id}`))));
  for (const id of [1, 2, 3]) {
    world.until(() => world.text(id, 'k3') === 'from 3');
    deepEqual([world.text(id, 'k1'), world.text(id, 'k2')], ['from 1', 'from 2']);
    equal(world.node(id).engine.view.revision, 3);
  }
  ok(moved >= 1);
  equal(world.node(1).engine.view.audit(1, 10).length, 3);
});

test('answers that get lost on the way are asked for again, and nothing runs twice (CE1)', () => {
  const world = new World();
  const leader = world.leader();
  const asker = leader === 1 ? 2 : 1;
  ok(isCreated(world.transact(asker, create('first', 'x'))));
  // The leader hears the proposal, and its answers are lost for a while.
  world.drops = (from, to) => from === leader && to === asker;
  world.time.after(3_000, () => {
    world.drops = () => false;
  });
  ok(isCreated(world.transact(asker, create('second', 'y'))), 'a second run would find it there');
});

test('the leader dies under transactions: each is done once or told as what it is (CE2)', () => {
  const world = new World();
  const leader = world.leader();
  const outcomes = new Map<string, ControlOutcome>();
  for (const id of [1, 2, 3]) {
    if (id === leader) continue;
    for (let count = 0; count < 20; count += 1) {
      const key = `k${id}-${count}`;
      world.node(id).engine.transact(create(key, key), (told) => outcomes.set(key, told));
    }
  }
  world.time.advance(12);
  world.crash(leader);
  world.until(() => outcomes.size === 40);
  const survivor = leader === 1 ? 2 : 1;
  for (const [key, outcome] of outcomes) {
    ok(isCreated(outcome), `${key}: ${JSON.stringify(outcome)}`);
    equal(world.text(survivor, key), key);
  }
});

test('without a quorum reads go on, and a transaction is told as unavailable or unknown (CE3)', () => {
  const world = new World();
  world.leader();
  ok(isCreated(world.transact(1, create('kept', 'v'))));
  world.until(() => world.text(3, 'kept') === 'v');
  world.time.advance(1_000);
  world.crash(1);
  world.crash(2);
  const outcome = world.transact(3, create('lost', 'w'));
  ok(!outcome.ok && outcome.error.kind !== 'refused', JSON.stringify(outcome));
  equal(world.text(3, 'kept'), 'v');
  world.crash(3);
  world.start(3, 'open');
  world.until(() => world.text(3, 'kept') === 'v', 100); // The last applied state is on its disk.
});

test('confirm sees what another node has done before', () => {
  const world = new World();
  const leader = world.leader();
  const reader = leader === 3 ? 2 : 3;
  ok(isCreated(world.transact(leader, create('new', 'v'))));
  let revision = 0;
  world.node(reader).engine.confirm((result) => {
    ok(result.ok);
    revision = result.value;
  });
  world.until(() => revision > 0);
  equal(world.text(reader, 'new'), 'v');
});
