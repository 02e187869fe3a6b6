import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32c } from '../base/crc32c.ts';
import { createPrng } from '../base/prng.ts';
import { decodeConf, decodeLevel, encodeConf, encodeLevel } from './codec.ts';
import { enterJoint, changeSimply, idsOf, leaveJoint, type ConfOp } from './confchange.ts';
import { RAFT_ERRORS } from './errors.ts';
import { RaftLog } from './log.ts';
import { bootstrapConf, planChange, planLeave } from './membership.ts';
import { majorityCommit, majorityGroupCommit } from './quorum.ts';
import { recoverAlone } from './recovery.ts';
import { RaftNode } from './node.ts';
import { bootstrapStored } from './start.ts';
import { TestCluster, testMember } from './testkit.ts';
import { entryAt, snapshotAt, Solo, soloOptions } from './testSolo.ts';
import type { Entry, NodeId } from './types.ts';

const THREE = [1, 2, 3].map((id) => testMember(id));

test('S3 a chunk counts only with its checksum and at its place, a snapshot only with its own', () => {
  const data = Uint8Array.of(1, 2, 3, 4);
  const meta = { ...snapshotAt(10, 3).meta, dataBytes: 4, checksum: crc32c(data) };
  const solo = new Solo(2);
  const send = (offset: number, part: Uint8Array, checksum = crc32c(part)): number => {
    const output = solo.from(1, 4, { kind: 'snapshotChunk', meta, offset, data: part, checksum });
    const [answer] = output.send;
    return answer?.kind === 'snapshotOk' ? answer.offset : -1;
  };
  assert.equal(send(0, data.subarray(0, 2), 7), 0, 'a wrong checksum');
  assert.equal(send(2, data.subarray(2)), 0, 'a gap');
  assert.equal(send(0, data.subarray(0, 2)), 2);
  assert.equal(send(0, data.subarray(0, 2)), 2, 'come twice');
  assert.equal(send(2, new Uint8Array(9)), 2, 'too long');
  assert.equal(send(2, Uint8Array.of(9, 9)), 0, 'the whole has another checksum: from the start');
  assert.equal(send(0, data), -1, 'acknowledged as entries are, once durable');
  assert.equal(solo.raft.status().commit, 10);
});

test('I3 an answer to an earlier life of this node is not taken for this one', () => {
  const solo = new Solo(2);
  solo.from(1, 2, { kind: 'heartbeat', commit: 1, round: 0 });
  const [ask] = solo.step({ kind: 'read', id: 5 }).send;
  assert.ok(ask?.kind === 'readAsk');
  const { nonce, attempt } = ask;
  const answer = { kind: 'readReply', attempt, index: 1, error: null } as const;
  solo.from(1, 2, { ...answer, nonce: nonce + 1 });
  assert.equal(solo.raft.status().reads, 0);
  const early = solo.from(1, 2, { ...answer, nonce });
  assert.deepEqual(early.reply, [], 'not before the machine is there');
  const applied = solo.step({ kind: 'applied', index: 1, checkpoint: null });
  assert.deepEqual(applied.reply, [{ kind: 'readable', id: 5, index: 1 }]);
});

test('S1 a snapshot holds the feature level of its index, not a later one', () => {
  const solo = new Solo(2, bootstrapStored(THREE), { levelMax: 3 });
  const level: Entry = { ...entryAt(3, 2), kind: 'level', data: encodeLevel(3) };
  solo.append(1, 2, [1, 1], [entryAt(2, 2), level, entryAt(4, 2)], 4);
  solo.step({ kind: 'persisted', seq: 1 });
  const take = (index: number): number | undefined => {
    solo.step({ kind: 'applied', index, checkpoint: null });
    const output = solo.step({ kind: 'snapshotTaken', index, data: new Uint8Array(0) });
    return output.persist?.snapshot?.meta.level;
  };
  assert.deepEqual([take(2), take(4)], [0, 3]);
});

test('S5 entries behind a snapshot on its way stay until it has arrived', () => {
  const cluster = new TestCluster({ seed: 43, members: THREE, raft: { trailingEntries: 0 } });
  const leader = cluster.elect();
  const late = [1, 2, 3].find((id) => id !== leader.id) ?? 0;
  const write = (): void => {
    cluster.propose(leader.id, Uint8Array.of(1));
    cluster.run(60);
    cluster.snapshot(leader.id);
    cluster.run(60);
  };
  cluster.crash(late);
  write();
  cluster.filter = (message) => message.kind !== 'snapshotOk' && message.from !== late;
  cluster.start(late);
  cluster.filter = (message) => message.kind !== 'snapshotChunk';
  const isSending = (): boolean =>
    cluster
      .raft(leader.id)
      .status()
      .peers.some((peer) => peer.state === 'snapshot');
  assert.ok(cluster.runUntil(isSending, 5_000));
  const { snapshotIndex } = cluster.raft(leader.id).status();
  write();
  write();
  const status = cluster.raft(leader.id).status();
  assert.ok(status.snapshotIndex > snapshotIndex);
  assert.equal(status.firstIndex, snapshotIndex + 1);
  cluster.filter = () => true;
  cluster.run(2_000);
  assert.equal(cluster.raft(late).status().applied, status.commit);
});

test('A4 a proposal that a snapshot has overtaken has no known outcome', () => {
  const solo = new Solo(1, bootstrapStored([testMember(1), testMember(2)]));
  solo.nowMs = 60_000;
  solo.step({ kind: 'tick' });
  solo.from(2, 2, { kind: 'preVoteReply', isGranted: true });
  solo.step({ kind: 'persisted', seq: 1 });
  solo.from(2, 2, { kind: 'voteReply', isGranted: true });
  solo.step({ kind: 'propose', proposals: [{ id: 8, data: Uint8Array.of(1) }] });
  const { meta, data } = snapshotAt(10, 3);
  const chunk = { kind: 'snapshotChunk', meta, offset: 0, data, checksum: 0 } as const;
  assert.deepEqual(solo.from(2, 3, chunk).reply, [
    { kind: 'failed', id: 8, error: 'outcome-unknown', leader: 2 },
  ]);
});

test('a snapshot of another cluster is refused', () => {
  const solo = new Solo(2);
  const meta = { ...snapshotAt(10, 3).meta, cluster: 'other' };
  const data = new Uint8Array(0);
  const output = solo.from(1, 4, { kind: 'snapshotChunk', meta, offset: 0, data, checksum: 0 });
  assert.deepEqual(output.reply, [{ kind: 'alarm', alarm: 'wrong-cluster', node: 1, index: 0 }]);
  assert.equal(solo.raft.status().snapshotIndex, 0);
});

test('configurations and levels keep their value through bytes; anything else is refused', () => {
  const joint = enterJoint(bootstrapConf(THREE), [{ kind: 'learner', id: 3 }], true);
  assert.ok(joint.ok);
  const conf = { ...bootstrapConf(THREE), ...joint.value };
  const bytes = encodeConf(conf);
  assert.deepEqual(decodeConf(bytes), conf);
  for (let length = 0; length < bytes.length; length += 1) {
    assert.equal(decodeConf(bytes.subarray(0, length)), null);
  }
  assert.equal(decodeConf(Uint8Array.of(...bytes, 0)), null);
  const prng = createPrng(1);
  for (let run = 0; run < 500; run += 1) {
    const broken = bytes.slice();
    broken[prng.nextBelow(broken.length)] = prng.nextBelow(256);
    const decoded = decodeConf(broken);
    if (decoded !== null) assert.deepEqual(encodeConf(decoded), broken, 'canonical');
  }
  assert.equal(decodeLevel(encodeLevel(65_535)), 65_535);
  assert.equal(decodeLevel(Uint8Array.of(1)), null);
  assert.equal(decodeConf(encodeConf({ ...conf, voters: [2, 1] })), null);
  assert.equal(decodeConf(encodeConf({ ...conf, idMax: 2 })), null);
});

test('C1 any two quorums of neighbouring configurations meet (random changes)', () => {
  const prng = createPrng(2);
  const kinds = ['voter', 'learner', 'remove'] as const;
  for (let run = 0; run < 300; run += 1) {
    let conf = { ...bootstrapConf(THREE) };
    for (let turn = 0; turn < 6; turn += 1) {
      const ops = Array.from({ length: 1 + prng.nextBelow(3) }, (): ConfOp => {
        return { kind: kinds[prng.nextBelow(3)] ?? 'voter', id: 1 + prng.nextBelow(6) };
      });
      const next =
        conf.votersOutgoing.length > 0
          ? leaveJoint(conf)
          : prng.nextBelow(2) === 0
            ? changeSimply(conf, ops)
            : enterJoint(conf, ops, true);
      if (!next.ok) continue;
      const after = { ...conf, ...next.value };
      assert.ok(after.voters.length > 0);
      const ids = idsOf(conf).concat(idsOf(after));
      for (let mask = 0; mask < 64; mask += 1) {
        const group = ids.filter((id) => (mask & (1 << (id - 1))) !== 0);
        const rest = ids.filter((id) => !group.includes(id));
        assert.ok(!(isQuorum(conf, group) && isQuorum(after, rest)));
      }
      conf = after;
    }
  }
});

function isQuorum(
  conf: { voters: readonly NodeId[]; votersOutgoing: readonly NodeId[] },
  group: readonly NodeId[],
): boolean {
  const has = (id: NodeId): number => (group.includes(id) ? 1 : 0);
  return majorityCommit(conf.voters, has) >= 1 && majorityCommit(conf.votersOutgoing, has) >= 1;
}

test('a group commit never exceeds the plain one and is held by two groups', () => {
  const prng = createPrng(3);
  for (let run = 0; run < 500; run += 1) {
    const voters = Array.from({ length: 2 + prng.nextBelow(5) }, (_, at) => at + 1);
    const acked = new Map(voters.map((id) => [id, prng.nextBelow(9)]));
    const groups = new Map(voters.map((id) => [id, 1 + prng.nextBelow(3)]));
    const of = (id: NodeId): number => acked.get(id) ?? 0;
    const index = majorityGroupCommit(voters, of, (id) => groups.get(id) ?? 0);
    assert.ok(index <= majorityCommit(voters, of));
    const holders = new Set(voters.filter((id) => of(id) >= index).map((id) => groups.get(id)));
    assert.ok(holders.size >= Math.min(2, new Set(groups.values()).size));
  }
});

test('the log finds where two logs may still agree, and keeps its place when it is compacted', () => {
  const entries = [1, 1, 1, 4, 4, 5].map((term, at): Entry => entryAt(at + 1, term));
  const log = new RaftLog({ snapshot: null, entries });
  assert.deepEqual(
    [log.agreementAt(6, 3), log.agreementAt(5, 4), log.agreementAt(9, 9)],
    [3, 5, 6],
  );
  log.setSnapshot(snapshotAt(4, 4));
  log.compactTo(3);
  assert.deepEqual([log.firstIndex, log.termAt(3), log.termAt(2), log.lastIndex], [4, 1, null, 6]);
  assert.equal(log.slice(4, 1, 10).length, 1, 'at least one');
  log.truncateFrom(5);
  assert.deepEqual([log.lastIndex, log.lastTerm], [4, 4]);
});

test('M2, D3 a demoted voter stays a learner; a witness is never the last voter', () => {
  const members = [
    testMember(1),
    testMember(2, { isPromotable: true }),
    testMember(3, { isWitness: true }),
  ];
  const conf = bootstrapConf(members);
  const demoted = planChange(conf, [{ kind: 'demote', id: 2 }], () => true);
  assert.ok(demoted.ok);
  assert.equal(demoted.value.members[1]?.isPromotable, false);
  const both = [{ kind: 'demote', id: 1 } as const, { kind: 'remove', id: 2 } as const];
  assert.deepEqual(
    planChange(conf, both, () => true),
    { ok: false, error: 'last-voter' },
  );
  const joint = planChange(
    conf,
    [
      { kind: 'demote', id: 2 },
      { kind: 'demote', id: 3 },
    ],
    () => true,
  );
  assert.ok(joint.ok);
  assert.deepEqual(joint.value.learnersNext, [2, 3]);
  assert.deepEqual(planLeave(joint.value).learners, [2, 3]);
});

test('lower priority waits longer before an election, a witness longest', () => {
  const members = [
    testMember(1, { priority: 9 }),
    testMember(2, { priority: 5 }),
    testMember(3, { isWitness: true, priority: 50 }),
  ];
  const due = (id: number): number => new Solo(id, bootstrapStored(members)).raft.nextWakeMs();
  const own = soloOptions(1).electionMs;
  assert.ok(due(1) >= own && due(1) < 2 * own);
  assert.ok(due(2) >= 1.5 * own && due(2) < 2.5 * own);
  assert.ok(due(3) >= 2 * own && due(3) < 3 * own);
});

test('the best-placed region leads in the end, whoever won the election', () => {
  const members = [1, 2, 3].map((id) => testMember(id, { priority: id }));
  const cluster = new TestCluster({ seed: 29, members, raft: { handOverMs: 1_000 } });
  cluster.elect();
  assert.ok(cluster.runUntil(() => cluster.leader()?.id === 3, 10_000));
});

test('replicas that hash the same prefix to different states are found', () => {
  const cluster = new TestCluster({ seed: 31, members: THREE });
  const leader = cluster.elect();
  const index = cluster.raft(leader.id).status().applied;
  for (const id of [1, 2, 3]) {
    const hash = id === leader.id ? 1 : id;
    cluster.run(100);
    const checkpoint = { index, hash: hash === 2 ? 77 : 1 };
    cluster.input(id, { kind: 'applied', index: cluster.raft(id).status().applied, checkpoint });
  }
  cluster.run(500);
  const alarms = cluster.node(leader.id).replies.filter((reply) => reply.kind === 'alarm');
  const expected = leader.id === 2 ? [1, 3] : [2];
  assert.deepEqual(
    alarms.map((reply) => reply.kind === 'alarm' && [reply.alarm, reply.node]),
    expected.map((id) => ['state-diverged', id]),
  );
});

test('a program that does not understand the feature level does not start', () => {
  const base = bootstrapStored(THREE);
  const level: Entry = { ...entryAt(2, 1), kind: 'level', data: encodeLevel(2) };
  const hardState = { ...base.hardState, commit: 2 };
  const stored = { ...base, hardState, entries: [...base.entries, level] };
  const start = (levelMax: number): unknown =>
    RaftNode.start(soloOptions(1, { levelMax }), stored, 0);
  assert.deepEqual(start(1), { ok: false, error: 'level-unsupported' });
  assert.equal(new Solo(1, stored, { levelMax: 2 }).raft.status().level, 2);
});

test('one survivor goes on alone under a new cluster id, and old ids stay used', () => {
  const base = bootstrapStored(THREE);
  const stored = recoverAlone({ ...base, entries: [...base.entries, entryAt(2, 1)] }, 2, 'new');
  const solo = new Solo(2, stored, { cluster: 'new' });
  solo.nowMs = 60_000;
  solo.step({ kind: 'tick' });
  solo.step({ kind: 'persisted', seq: 1 });
  solo.step({ kind: 'persisted', seq: 2 });
  const { role, conf, commit } = solo.raft.status();
  assert.deepEqual([role, conf.voters, commit], ['leader', [2], 4]);
  const member = testMember(3);
  const output = solo.step({ kind: 'changeMembers', id: 1, changes: [{ kind: 'add', member }] });
  assert.deepEqual(output.reply, [{ kind: 'failed', id: 1, error: 'id-used', leader: 2 }]);
});

test('log time never goes back and goes on over a change of leader', () => {
  const cluster = new TestCluster({ seed: 37, members: THREE });
  const first = cluster.elect();
  cluster.propose(first.id, Uint8Array.of(1));
  cluster.run(5_000);
  cluster.propose(first.id, Uint8Array.of(2));
  cluster.run(200);
  cluster.crash(first.id);
  const second = cluster.elect();
  cluster.propose(second.id, Uint8Array.of(3));
  cluster.run(200);
  const times = [...cluster.checker.committed.values()]
    .toSorted((a, b) => a.index - b.index)
    .map((entry) => entry.timeMs);
  assert.deepEqual(
    times,
    times.toSorted((a, b) => a - b),
  );
  assert.ok((times.at(-1) ?? 0) - (times[2] ?? 0) >= 5_000);
});

test('P3 every error has a sentence and says whether it is definite', () => {
  for (const [code, { definite, sentence }] of Object.entries(RAFT_ERRORS)) {
    assert.match(sentence, /^[A-Z].*\.$/, code);
    assert.equal(definite, !['outcome-unknown', 'transfer-failed'].includes(code), code);
  }
});

test('equal inputs give equal outputs', () => {
  const run = (): string => {
    const cluster = new TestCluster({
      seed: 41,
      members: THREE,
      faults: { loss: 0.1, duplicate: 0.1, delayMsMin: 1, delayMsMax: 50, fsyncMsMax: 20 },
    });
    const seen: string[] = [];
    cluster.filter = (message) => {
      seen.push(JSON.stringify(message));
      return true;
    };
    cluster.run(5_000);
    return seen.join('\n');
  };
  const first = run();
  assert.ok(first.length > 10_000);
  assert.equal(run(), first);
});
