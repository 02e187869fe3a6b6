/**
 * Bugs that other implementations had, each as a test: the numbers are those of the project's list
 * (SPEC.md, "Bugs of others"). Those that a scenario file shows name it there.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPrng } from '../base/prng.ts';
import { encodeConf } from './codec.ts';
import { bootstrapConf } from './membership.ts';
import { RaftNode } from './node.ts';
import { Progress } from './progress.ts';
import { bootstrapStored, emptyStored } from './start.ts';
import { TestCluster, testMember } from './testkit.ts';
import { entryAt, sendSnapshot, snapshotAt, Solo, soloOptions } from './testSolo.ts';
import type { Entry, Message } from './types.ts';

const THREE = [1, 2, 3].map((id) => testMember(id));

const VOTE = { kind: 'vote', lastIndex: 9, lastTerm: 1, isTransfer: false } as const;

test('R-02 one vote a term, also after stepping down', () => {
  const solo = new Solo(1);
  const first = solo.from(2, 2, VOTE);
  assert.equal(first.persist?.hardState?.votedFor, 2);
  // A leader of that term appears and goes; another candidate of the term asks.
  solo.from(2, 2, { kind: 'heartbeat', commit: 1, round: 0 });
  solo.nowMs = 60_000;
  const second = solo.from(3, 2, { ...VOTE, isTransfer: true });
  assert.deepEqual(second.afterFsync, []);
  assert.deepEqual(
    second.send.map((message) => message.kind === 'voteReply' && message.isGranted),
    [false],
  );
});

test('R-03 a newer term is never stored with the vote of an older one', () => {
  const solo = new Solo(1);
  assert.equal(solo.from(2, 2, VOTE).persist?.hardState?.votedFor, 2);
  const output = solo.from(3, 7, { kind: 'heartbeat', commit: 1, round: 0 });
  assert.deepEqual(output.persist?.hardState, { term: 7, votedFor: 0, commit: 1 });
});

test('R-05, R-06 the acknowledgement of a member that is being removed does not count', () => {
  const cluster = new TestCluster({ seed: 3, members: THREE });
  const leader = cluster.elect();
  const [removed = 0, other = 0] = [1, 2, 3].filter((id) => id !== leader.id);
  cluster.cut(leader.id, other);
  const changes = [{ kind: 'remove', id: removed } as const];
  cluster.input(leader.id, { kind: 'changeMembers', id: 1, changes });
  const before = cluster.raft(leader.id).status().commit;
  cluster.run(200);
  assert.equal(cluster.raft(leader.id).status().commit, before);
  cluster.heal();
  cluster.run(500);
  assert.ok(cluster.raft(leader.id).status().commit > before);
});

test('R-06 the vote of a node that is no voter does not count', () => {
  const solo = new Solo(1);
  solo.nowMs = 60_000;
  solo.step({ kind: 'tick' });
  solo.from(9, 2, { kind: 'preVoteReply', isGranted: true });
  assert.equal(solo.raft.status().role, 'preCandidate');
  solo.from(2, 2, { kind: 'preVoteReply', isGranted: true });
  assert.equal(solo.raft.status().role, 'candidate');
});

test('R-08 a restart never finds itself behind what its machine has applied', () => {
  const base = bootstrapStored(THREE);
  const entries = [...base.entries, entryAt(2, 1), entryAt(3, 1)];
  const solo = new Solo(1, { ...base, entries, applied: 3 });
  assert.equal(solo.raft.status().commit, 3);
  const lost = RaftNode.start(soloOptions(1), { ...base, applied: 3 }, 0);
  assert.deepEqual(lost, { ok: false, error: 'log-lost' });
});

test('E5 a vote is refused to a shorter log, also without a pre-vote', () => {
  const solo = new Solo(1);
  solo.append(2, 3, [1, 1], [entryAt(2, 3)]);
  solo.nowMs = 60_000;
  for (const [lastIndex, lastTerm, isGranted] of [
    [1, 3, false],
    [9, 2, false],
    [2, 3, true],
  ] as const) {
    const output = solo.from(3, 9, { kind: 'vote', lastIndex, lastTerm, isTransfer: true });
    assert.equal(output.afterFsync.length > 0, isGranted);
  }
});

test('R-09 an answer to an older round of heartbeats, late or doubled, confirms no later read', () => {
  const cluster = new TestCluster({ seed: 5, members: THREE });
  const leader = cluster.elect();
  const [first = 0, second = 0] = [1, 2, 3].filter((id) => id !== leader.id);
  const answers: Message[] = [];
  cluster.filter = (message) => {
    if (message.kind === 'heartbeatOk') answers.push(message);
    return message.kind !== 'heartbeatOk';
  };
  const early = cluster.read(leader.id);
  cluster.run(20);
  const from = (id: number): Message[] => answers.filter((message) => message.from === id);
  assert.deepEqual([from(first).length > 0, from(second).length > 0], [true, true]);
  const late = cluster.read(leader.id);
  for (const message of from(first)) cluster.deliver(message);
  assert.equal(cluster.replyTo(leader.id, early)?.kind, 'readable');
  // The round of the late read has begun; all these answers are to the one before.
  for (const message of [...from(second), ...from(first), ...from(second)])
    cluster.deliver(message);
  assert.equal(cluster.replyTo(leader.id, late), null);
  cluster.filter = () => true;
  cluster.run(200);
  assert.equal(cluster.replyTo(leader.id, late)?.kind, 'readable');
});

test('R-11 a leader that can speak and not hear steps down, and another commits', () => {
  const cluster = new TestCluster({ seed: 7, members: THREE });
  const deaf = cluster.elect();
  for (const id of [1, 2, 3]) cluster.cut(id, deaf.id, false);
  const isReplaced = (): boolean => {
    const leader = cluster.leader();
    return leader !== null && leader.id !== deaf.id;
  };
  assert.ok(cluster.runUntil(isReplaced, 5_000));
  const leader = cluster.leader();
  assert.ok(leader !== null);
  const before = cluster.raft(leader.id).status().commit;
  cluster.run(1_000);
  assert.ok(cluster.raft(leader.id).status().commit >= before);
  assert.equal(cluster.raft(deaf.id).status().role === 'leader', false);
});

for (const [name, cuts] of [
  ['chain: 1–2–3, the ends do not hear one another', [[1, 3]]],
  [
    'bridge: 1, 2 and 4, 5 meet only at 3',
    [
      [1, 4],
      [1, 5],
      [2, 4],
      [2, 5],
    ],
  ],
  [
    'hub: all hear only 3',
    [
      [1, 2],
      [1, 4],
      [1, 5],
      [2, 4],
      [2, 5],
      [4, 5],
    ],
  ],
] as const) {
  test(`R-11 terms do not grow without end: ${name}`, () => {
    const members = [1, 2, 3, 4, 5].map((id) => testMember(id));
    const isChain = name.startsWith('chain');
    const cluster = new TestCluster({ seed: 11, members: isChain ? THREE : members });
    cluster.elect();
    for (const [from, to] of cuts) cluster.cut(from, to);
    cluster.run(5_000);
    const term = Math.max(...[...cluster.nodes.keys()].map((id) => cluster.raft(id).status().term));
    cluster.run(20_000);
    const later = Math.max(
      ...[...cluster.nodes.keys()].map((id) => cluster.raft(id).status().term),
    );
    assert.equal(later, term);
    const leader = cluster.leader();
    assert.ok(leader !== null);
    const request = cluster.propose(leader.id, Uint8Array.of(1));
    cluster.run(1_000);
    assert.equal(cluster.replyTo(leader.id, request)?.kind, 'committed');
  });
}

test('R-12 a late word from the disk proves nothing about equal entries that came back', () => {
  const solo = new Solo(2);
  const first = solo.append(1, 2, [1, 1], [entryAt(2, 2)]);
  const second = solo.append(3, 3, [1, 1], [entryAt(2, 3)]);
  const third = solo.append(1, 4, [1, 1], [entryAt(2, 2), entryAt(3, 4)]);
  assert.deepEqual([first.persist?.seq, second.persist?.seq, third.persist?.seq], [1, 2, 3]);
  // The disk has done the first write. After a crash it may hold the second, without (2, 2).
  solo.step({ kind: 'persisted', seq: 1 });
  assert.equal(solo.raft.status().durableIndex, 1);
  solo.step({ kind: 'persisted', seq: 2 });
  assert.equal(solo.raft.status().durableIndex, 1);
  solo.step({ kind: 'persisted', seq: 3 });
  assert.equal(solo.raft.status().durableIndex, 3);
});

test('R-13 what a leader had written in an older term does not count for it later', () => {
  const alone = bootstrapStored([testMember(1), testMember(2)]);
  const solo = new Solo(1, alone);
  solo.nowMs = 60_000;
  solo.step({ kind: 'tick' });
  solo.from(2, 2, { kind: 'preVoteReply', isGranted: true });
  solo.step({ kind: 'persisted', seq: 1 });
  const led = solo.from(2, 2, { kind: 'voteReply', isGranted: true });
  assert.equal(led.persist?.entries[0]?.kind, 'noop');
  solo.append(2, 3, [1, 1], [entryAt(2, 3)]);
  solo.step({ kind: 'persisted', seq: 2 });
  const { durableIndex, commit } = solo.raft.status();
  assert.deepEqual({ durableIndex, commit }, { durableIndex: 1, commit: 1 });
});

test('R-14 log and snapshot that do not fit together are refused at the start', () => {
  const hardState = { term: 3, votedFor: 0, commit: 5 };
  const snapshot = snapshotAt(5, 2);
  const start = (entries: Entry[]): unknown =>
    RaftNode.start(soloOptions(1), { hardState, snapshot, entries, applied: 5 }, 0);
  assert.deepEqual(start([entryAt(7, 3)]), { ok: false, error: 'log-gap' });
  assert.deepEqual(start([entryAt(5, 1), entryAt(6, 3)]), { ok: false, error: 'log-gap' });
  assert.deepEqual(start([entryAt(6, 2), entryAt(8, 3)]), { ok: false, error: 'log-gap' });
  assert.deepEqual(start([entryAt(4, 2)]), { ok: false, error: 'log-lost' });
  assert.deepEqual(start([entryAt(6, 3), entryAt(7, 2)]), { ok: false, error: 'bad-entry' });
  const solo = new Solo(1, { hardState, snapshot, entries: [entryAt(6, 3)], applied: 5 });
  assert.equal(solo.raft.status().lastIndex, 6);
});

test('R-14 entries go on right behind an installed snapshot, and one that comes late is ignored', () => {
  const solo = new Solo(2);
  const installed = sendSnapshot(solo, 4, snapshotAt(10, 3));
  assert.equal(installed.persist?.isLogDiscarded, true);
  assert.deepEqual(installed.apply, [], 'the machine gets it once it is durable');
  solo.append(1, 4, [10, 3], [entryAt(11, 4)], 10);
  const durable = solo.step({ kind: 'persisted', seq: 2 });
  assert.deepEqual(
    durable.apply.map((item) => item.kind),
    ['restore'],
  );
  solo.step({ kind: 'applied', index: 10, checkpoint: null });
  const late = sendSnapshot(solo, 4, snapshotAt(9, 3));
  assert.equal(late.persist, null);
  const { lastIndex, commit, snapshotIndex } = solo.raft.status();
  assert.deepEqual(
    { lastIndex, commit, snapshotIndex },
    { lastIndex: 11, commit: 10, snapshotIndex: 10 },
  );
});

test('R-14 a snapshot in place of a longer log reaches the machine only once it is durable', () => {
  const base = bootstrapStored(THREE);
  const old = Array.from({ length: 12 }, (_, at) => entryAt(at + 2, 1));
  const solo = new Solo(2, { ...base, entries: [...base.entries, ...old], applied: 1 });
  const output = sendSnapshot(solo, 4, snapshotAt(10, 3));
  assert.equal(output.persist?.isLogDiscarded, true);
  assert.deepEqual(output.apply, []);
  assert.equal(solo.step({ kind: 'persisted', seq: 1 }).apply[0]?.kind, 'restore');
});

test('W2 a commit index says nothing about entries that the message did not compare', () => {
  const solo = new Solo(2);
  solo.append(1, 2, [1, 1], [entryAt(2, 2), entryAt(3, 2)]);
  solo.append(3, 3, [1, 1], [], 3);
  assert.equal(solo.raft.status().commit, 1);
  solo.append(3, 3, [1, 1], [entryAt(2, 3)], 3);
  assert.equal(solo.raft.status().commit, 2);
});

test('R-14 a snapshot of its own that is older than one received is dropped', () => {
  const solo = new Solo(2);
  solo.step({ kind: 'tick' });
  solo.append(1, 2, [1, 1], [entryAt(2, 2)], 2);
  solo.step({ kind: 'persisted', seq: 1 });
  solo.step({ kind: 'applied', index: 2, checkpoint: null });
  sendSnapshot(solo, 2, snapshotAt(10, 2));
  const output = solo.step({ kind: 'snapshotTaken', index: 2, data: new Uint8Array(0) });
  assert.equal(output.persist, null);
  assert.equal(solo.raft.status().snapshotIndex, 10);
});

test('R-14 a snapshot at an index where the log agrees throws no entry away', () => {
  const solo = new Solo(2);
  solo.append(1, 2, [1, 1], [entryAt(2, 2), entryAt(3, 2), entryAt(4, 2)], 1);
  const output = sendSnapshot(solo, 2, snapshotAt(3, 2));
  assert.equal(output.persist, null);
  assert.equal(solo.raft.status().lastIndex, 4);
  assert.equal(solo.raft.status().commit, 3);
});

test('R-14, R-24 a follower far behind catches up though the leader takes snapshot after snapshot', () => {
  const cluster = new TestCluster({
    seed: 13,
    members: THREE,
    raft: { snapshotChunkBytes: 16, snapshotWindowBytes: 16, trailingEntries: 0 },
  });
  const leader = cluster.elect();
  const late = [1, 2, 3].find((id) => id !== leader.id) ?? 0;
  cluster.crash(late);
  for (let turn = 0; turn < 20; turn += 1) {
    cluster.propose(leader.id, new Uint8Array(40));
    cluster.run(50);
  }
  cluster.snapshot(leader.id);
  cluster.run(50);
  cluster.start(late);
  for (let turn = 0; turn < 100; turn += 1) {
    cluster.propose(leader.id, new Uint8Array(40));
    cluster.run(20);
    cluster.snapshot(leader.id);
  }
  cluster.run(2_000);
  const { commit } = cluster.raft(leader.id).status();
  assert.equal(cluster.raft(late).status().applied, commit);
});

test('R-14 a snapshot during a joint configuration is installed, and the change ends', () => {
  const spare = testMember(4);
  const cluster = new TestCluster({ seed: 17, members: THREE, spares: [spare] });
  const leader = cluster.elect();
  cluster.input(leader.id, {
    kind: 'changeMembers',
    id: 1,
    changes: [{ kind: 'add', member: spare }],
  });
  cluster.run(1_000);
  const demoted = [1, 2, 3].find((id) => id !== leader.id) ?? 0;
  const late = [1, 2, 3].find((id) => id !== leader.id && id !== demoted) ?? 0;
  cluster.crash(late);
  const changes = [{ kind: 'promote', id: 4 } as const, { kind: 'demote', id: demoted } as const];
  cluster.input(leader.id, { kind: 'changeMembers', id: 2, changes });
  // The joint configuration is committed; its end reaches nobody.
  cluster.filter = (message) =>
    message.kind !== 'append' ||
    message.entries.every((one) => one.kind !== 'config') ||
    cluster.raft(leader.id).status().conf.votersOutgoing.length > 0;
  cluster.run(100);
  cluster.snapshot(leader.id);
  const taken = cluster.node(leader.id).unsynced.at(-1)?.snapshot?.meta.conf;
  assert.deepEqual(taken?.votersOutgoing, [1, 2, 3], 'the snapshot holds the joint configuration');
  cluster.filter = () => true;
  cluster.start(late);
  cluster.run(3_000);
  for (const id of [1, 2, 3, 4]) {
    const { conf } = cluster.raft(id).status();
    assert.deepEqual(conf.votersOutgoing, []);
    assert.deepEqual(conf.learners, [demoted]);
  }
});

test('R-15 whatever a follower says, next stays above match', () => {
  const prng = createPrng(19);
  const limits = soloOptions(1, { inFlightCountMax: 4 });
  for (let run = 0; run < 200; run += 1) {
    const progress = new Progress(2, 1 + prng.nextBelow(20));
    for (let turn = 0; turn < 50; turn += 1) {
      const index = prng.nextBelow(30);
      const what = prng.nextBelow(4);
      if (what === 0) progress.acknowledge(Math.min(index, progress.next - 1));
      if (what === 1) progress.refuse(index, prng.nextBelow(30));
      if (what === 2 && !progress.isPaused(limits)) progress.sent(progress.next, 10);
      if (what === 3) progress.becomeProbe();
      assert.ok(progress.match < progress.next);
      assert.ok(progress.inFlightCount <= 4 && progress.inFlightBytes >= 0);
      if (progress.inFlightCount === 0) assert.equal(progress.inFlightBytes, 0);
    }
  }
});

test('R-16 an id that speaks from another disk, or another cluster, is not heard', () => {
  const solo = new Solo(1);
  const vote = solo.from(2, 5, VOTE, { incarnation: 77 });
  assert.equal(vote.persist, null);
  assert.deepEqual(vote.reply, [{ kind: 'alarm', alarm: 'wrong-incarnation', node: 2, index: 0 }]);
  const other = solo.from(2, 5, VOTE, { cluster: 'other' });
  assert.deepEqual(other.reply, [{ kind: 'alarm', alarm: 'wrong-cluster', node: 2, index: 0 }]);
  assert.equal(solo.raft.status().term, 1);
  const started = RaftNode.start({ ...soloOptions(1), incarnation: 5 }, bootstrapStored(THREE), 0);
  assert.deepEqual(started, { ok: false, error: 'wrong-incarnation' });
});

test('R-18 a restart finds the latest configuration, committed or not', () => {
  const base = bootstrapStored(THREE);
  const conf = bootstrapConf([...THREE, testMember(4)]);
  const added: Entry = { ...entryAt(2, 1), kind: 'config', data: encodeConf(conf) };
  const solo = new Solo(1, { ...base, entries: [...base.entries, added] });
  assert.deepEqual(solo.raft.status().conf.voters, [1, 2, 3, 4]);
  const bad: Entry = { ...added, data: Uint8Array.of(1, 2, 3) };
  const started = RaftNode.start(soloOptions(1), { ...base, entries: [...base.entries, bad] }, 0);
  assert.deepEqual(started, { ok: false, error: 'bad-entry' });
});

test('R-20, R-21 after a failed write a node neither votes nor acknowledges nor persists', () => {
  const solo = new Solo(2);
  solo.step({ kind: 'disk', state: 'failed' });
  for (const output of [
    solo.from(1, 5, VOTE),
    solo.append(1, 5, [1, 1], [entryAt(2, 5)], 2),
    solo.step({ kind: 'tick' }),
    solo.step({ kind: 'disk', state: 'ok' }),
    solo.from(1, 6, VOTE),
  ]) {
    assert.deepEqual([output.send, output.afterFsync, output.persist], [[], [], null]);
  }
});

test('a node whose disk fills while it is asking for pre-votes stands no more', () => {
  const solo = new Solo(1);
  solo.nowMs = 60_000;
  solo.step({ kind: 'tick' });
  solo.step({ kind: 'disk', state: 'full' });
  const output = solo.from(2, 2, { kind: 'preVoteReply', isGranted: true });
  assert.equal(solo.raft.status().role, 'follower');
  assert.deepEqual([output.persist, output.afterFsync], [null, []]);
});

test('R-22 a doubled and delayed proposal of a session runs once (random runs check it too)', () => {
  const solo = new Solo(1, bootstrapStored([testMember(1)]));
  solo.nowMs = 60_000;
  solo.step({ kind: 'tick' });
  solo.step({ kind: 'persisted', seq: 1 });
  const proposals = [{ id: 1, data: Uint8Array.of(1) }];
  const forward = { kind: 'forward', nonce: 5, attempt: 1, proposals } as const;
  const first = solo.from(2, 2, forward);
  const again = solo.from(2, 2, forward);
  assert.equal(first.persist?.entries.length, 1);
  assert.equal(again.persist, null);
});

test('P3 a proposal that was taken is not refused when its message comes again later', () => {
  const solo = new Solo(1, bootstrapStored([testMember(1)]));
  solo.nowMs = 60_000;
  solo.step({ kind: 'tick' });
  solo.step({ kind: 'persisted', seq: 1 });
  const proposals = [{ id: 1, data: Uint8Array.of(1) }];
  const forward = { kind: 'forward', nonce: 5, attempt: 1, proposals } as const;
  const taken = solo.from(2, 2, forward);
  assert.equal(taken.send[0]?.kind, 'forwardReply');
  // The answer is lost. This node follows another leader when the message comes again.
  solo.from(3, 3, { kind: 'heartbeat', commit: 1, round: 0 });
  assert.deepEqual(solo.from(2, 2, forward).send, []);
  // One that it never saw is refused for certain.
  const other = solo.from(2, 2, { ...forward, attempt: 2 });
  assert.equal(other.send[0]?.kind === 'forwardReply' && other.send[0].error, 'wrong-term');
});

test('P3 a proposal of a term that this node may have led in an earlier life is not refused', () => {
  const base = bootstrapStored(THREE);
  const solo = new Solo(1, { ...base, hardState: { term: 4, votedFor: 1, commit: 1 } });
  const proposals = [{ id: 1, data: Uint8Array.of(1) }];
  const forward = { kind: 'forward', nonce: 5, attempt: 1, proposals } as const;
  assert.deepEqual(solo.from(2, 4, forward).send, []);
  assert.deepEqual(solo.from(2, 3, forward).send, []);
  solo.from(3, 5, { kind: 'heartbeat', commit: 1, round: 0 });
  const refused = solo.from(2, 5, forward);
  assert.equal(refused.send[0]?.kind === 'forwardReply' && refused.send[0].error, 'not-leader');
});

test('a witness that holds the last entries leads until it has handed them over', () => {
  const members = [testMember(1), testMember(2), testMember(3, { isWitness: true })];
  const cluster = new TestCluster({ seed: 23, members });
  cluster.elect();
  if (cluster.leader()?.id !== 1) {
    cluster.input(cluster.leader()?.id ?? 0, { kind: 'transfer', id: 99, to: 1 });
    cluster.run(1_000);
  }
  cluster.cut(1, 2);
  const request = cluster.propose(1, Uint8Array.of(7));
  cluster.run(300);
  assert.equal(cluster.replyTo(1, request)?.kind, 'committed');
  const { commit } = cluster.raft(1).status();
  cluster.crash(1);
  cluster.heal();
  assert.ok(cluster.runUntil(() => cluster.leader()?.id === 2, 20_000));
  assert.ok(cluster.raft(2).status().lastIndex > commit);
  assert.equal(cluster.raft(2).entryAt(commit)?.data[0], 7);
});

test('an election after the death of a leader ends within three longest time-outs (n=3, 5)', () => {
  for (const count of [3, 5]) {
    for (let seed = 1; seed <= 10; seed += 1) {
      const members = Array.from({ length: count }, (_, at) => testMember(at + 1));
      const cluster = new TestCluster({ seed, members });
      cluster.crash(cluster.elect().id);
      const beforeMs = cluster.nowMs;
      cluster.elect(10_000);
      assert.ok(cluster.nowMs - beforeMs <= 3 * 2 * 500, `seed ${seed}`);
    }
  }
});

test('a new node that hears nothing never campaigns', () => {
  const solo = new Solo(4, emptyStored());
  solo.nowMs = 1_000_000;
  const output = solo.step({ kind: 'tick' });
  assert.deepEqual([output.send, output.persist, output.afterFsync], [[], null, []]);
});
