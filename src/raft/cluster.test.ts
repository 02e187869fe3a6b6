/**
 * Random runs of a small cluster: loss, doubles, delay, reorder, crashes that lose what was not
 * synced, partitions, changes of members, snapshots. The checker looks after every step; at the end
 * everything heals and the cluster must go on. `RAFT_SEEDS=1000 node --test …` runs more seeds.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPrng, type Prng } from '../base/prng.ts';
import { TestCluster, testMember } from './testkit.ts';
import { describeConf } from './describe.ts';
import { TestClient } from './testClient.ts';

const SEEDS = Number(process.env['RAFT_SEEDS'] ?? 25);
const FIRST_SEED = Number(process.env['RAFT_SEED'] ?? 1);

interface Shape {
  readonly voters: number;
  readonly spares: number;
  readonly hasCrashes: boolean;
  readonly hasPartitions: boolean;
  readonly hasChanges: boolean;
  readonly hasSnapshots: boolean;
  readonly hasDiskFaults: boolean;
  readonly loss: number;
  readonly duplicate: number;
  readonly regionsMin: 1 | 2;
}

/** A stream of its own: what a seed found stays what it finds. */
const HINTS_SEED = 1_000_000;

/** Swarm testing: each seed draws which faults are on. */
function drawShape(seed: number): Shape {
  const prng = createPrng(seed);
  const isOn = (): boolean => prng.nextBelow(3) > 0;
  return {
    voters: prng.nextBelow(4) === 0 ? 5 : 3,
    spares: 2,
    hasCrashes: isOn(),
    hasPartitions: isOn(),
    hasChanges: isOn(),
    hasSnapshots: isOn(),
    hasDiskFaults: isOn(),
    loss: isOn() ? prng.nextFloat() * 0.2 : 0,
    duplicate: isOn() ? prng.nextFloat() * 0.2 : 0,
    regionsMin: prng.nextBelow(4) === 0 ? 2 : 1,
  };
}

function createCluster(seed: number, shape: Shape): TestCluster {
  const ids = Array.from({ length: shape.voters }, (_, at) => at + 1);
  const region = (id: number): string => `r${(id % 3) + 1}`;
  return new TestCluster({
    seed,
    members: ids.map((id) => testMember(id, { region: region(id), priority: id % 3 })),
    spares: Array.from({ length: shape.spares }, (_, at) => {
      const id = shape.voters + 1 + at;
      return testMember(id, { region: region(id), isPromotable: true });
    }),
    faults: {
      loss: shape.loss,
      duplicate: shape.duplicate,
      delayMsMin: 1,
      delayMsMax: 60,
      fsyncMsMax: 30,
    },
    raft: {
      commitRegionsMin: shape.regionsMin,
      appendBytesMax: 400,
      inFlightCountMax: 4,
      snapshotChunkBytes: 64,
      snapshotWindowBytes: 256,
      handOverMs: 3_000,
    },
  });
}

function disturb(cluster: TestCluster, shape: Shape): void {
  const { prng } = cluster;
  const ids = [...cluster.nodes.keys()];
  const pick = (): number => ids[prng.nextBelow(ids.length)] ?? 1;
  const id = pick();
  const isUp = cluster.node(id).raft !== null;
  const what = prng.nextBelow(11);
  if (what === 0 && shape.hasCrashes && isUp) {
    const { unsynced } = cluster.node(id);
    cluster.crash(id, prng.nextBelow(unsynced.length + 1));
    cluster.at(cluster.nowMs + prng.nextBelow(2_000), () => {
      if (cluster.node(id).raft === null) cluster.start(id);
    });
  }
  if (what === 1 && shape.hasPartitions) {
    const left = ids.filter(() => prng.nextBelow(2) === 0);
    cluster.partition(
      left,
      ids.filter((other) => !left.includes(other)),
    );
  }
  if (what === 2 && shape.hasPartitions) cluster.cut(id, pick(), prng.nextBelow(2) === 0);
  if (what === 3) cluster.heal();
  if (what === 4 && shape.hasSnapshots && isUp) cluster.snapshot(id);
  if (what === 5 && shape.hasChanges) changeSomething(cluster, id);
  if (what === 6 && isUp) {
    cluster.input(id, { kind: 'transfer', id: cluster.requestId(), to: pick() });
  }
  if (what === 10 && shape.hasDiskFaults && shape.hasCrashes && isUp) failDisk(cluster, id);
  else if (what >= 8 && shape.hasDiskFaults && isUp) disturbDisk(cluster, id, what === 8);
  if (what === 7 && shape.hasCrashes && isUp) {
    cluster.node(id).isPaused = true;
    cluster.at(cluster.nowMs + prng.nextBelow(1_500), () => {
      cluster.node(id).isPaused = false;
    });
  }
}

/** Some are told, rightly or wrongly, that the way to their leader is gone. */
function hint(cluster: TestCluster, prng: Prng): void {
  if (prng.nextBelow(4) > 0) return;
  for (const { id, raft } of cluster.nodes.values()) {
    const leader = raft?.status().leader ?? 0;
    if (leader === 0 || prng.nextBelow(2) === 0) continue;
    cluster.input(id, { kind: 'unreachable', id: leader });
  }
}

/** A disk fails for good; the process ends a little later and starts anew. */
function failDisk(cluster: TestCluster, id: number): void {
  const node = cluster.node(id);
  const { life } = node;
  node.isDiskMoving = false;
  cluster.input(id, { kind: 'disk', state: 'failed' });
  cluster.at(cluster.nowMs + cluster.prng.nextBelow(2_000), () => {
    if (node.life !== life || node.raft === null) return;
    cluster.crash(id, cluster.prng.nextBelow(node.unsynced.length + 1));
    cluster.start(id);
  });
}

/** For a while a disk answers nothing, or takes nothing more. */
function disturbDisk(cluster: TestCluster, id: number, isStall: boolean): void {
  const node = cluster.node(id);
  const { life } = node;
  if (isStall) node.isDiskMoving = false;
  else cluster.input(id, { kind: 'disk', state: 'full' });
  cluster.at(cluster.nowMs + cluster.prng.nextBelow(3_000), () => {
    if (node.life !== life || node.raft === null) return;
    node.isDiskMoving = true;
    cluster.sync(id);
    cluster.input(id, { kind: 'disk', state: 'ok' });
  });
}

function changeSomething(cluster: TestCluster, id: number): void {
  const leader = cluster.leader();
  if (leader?.raft === null || leader === null) return;
  const { conf } = leader.raft.status();
  const kinds = ['promote', 'demote', 'remove'] as const;
  const kind = kinds[cluster.prng.nextBelow(conf.voters.length > 3 ? 3 : 2)] ?? 'promote';
  const member = testMember(id, { region: `r${(id % 3) + 1}`, isPromotable: true });
  const isKnown = conf.members.some((known) => known.id === id);
  const other = conf.voters[0] ?? 0;
  const changes = isKnown
    ? kind === 'demote' && other !== id
      ? [{ kind, id } as const, { kind: 'promote', id: conf.learners[0] ?? other } as const]
      : [{ kind, id } as const]
    : [{ kind: 'add', member } as const];
  cluster.input(leader.id, { kind: 'changeMembers', id: cluster.requestId(), changes });
}

function runSeed(seed: number): void {
  const shape = drawShape(seed);
  const cluster = createCluster(seed, shape);
  const clients = [1, 2].map((id) => new TestClient(cluster, id));
  const hints = createPrng(seed + HINTS_SEED);
  for (let turn = 0; turn < 60; turn += 1) {
    disturb(cluster, shape);
    hint(cluster, hints);
    cluster.run(50 + cluster.prng.nextBelow(200));
    for (const client of clients) client.poll();
  }
  // Liveness: everything heals, and what the clients asked for is done.
  cluster.heal();
  cluster.faults = { ...cluster.faults, loss: 0, duplicate: 0 };
  for (const node of cluster.nodes.values()) {
    node.isPaused = false;
    if (node.raft === null) cluster.start(node.id);
  }
  const target = clients.map((client) => client.doneCount + 3);
  const isDone = (): boolean => {
    for (const client of clients) client.poll();
    return clients.every((client, at) => client.doneCount >= (target[at] ?? 0));
  };
  assert.ok(
    cluster.runUntil(isDone, 60_000),
    `a healed cluster serves its clients${story(cluster)}`,
  );
  for (const client of clients) client.stop();
  cluster.run(3_000);
  for (const client of clients) client.checkAll();
}

/** What each node thinks, for a run that got stuck. */
function story(cluster: TestCluster): string {
  const lines = [...cluster.nodes.values()].map((node) => {
    const status = node.raft?.status();
    if (status === undefined) return `${node.id} down`;
    const { role, term, leader, lastIndex, lastTerm, commit, isRemoved, conf } = status;
    const log = `last=${lastIndex}/${lastTerm} commit=${commit}`;
    const place = `${node.id} ${role} term=${term} leader=${leader}`;
    return `${place} ${log} removed=${isRemoved} ${describeConf(conf)}`;
  });
  return `\n${lines.join('\n')}`;
}

for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed += 1) {
  test(`random run (RAFT_SEED=${seed} RAFT_SEEDS=1)`, () => {
    runSeed(seed);
  });
}
