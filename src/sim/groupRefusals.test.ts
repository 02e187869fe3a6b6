import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { crc32c } from '../base/crc32c.ts';
import { createPrng } from '../base/prng.ts';
import { bootstrapConf } from '../raft/membership.ts';
import { encodeMessage, encodeSnapshotMeta } from '../raft/messageCodec.ts';
import { ENTRY_KINDS, type Message, type SnapshotMeta } from '../raft/types.ts';
import { createMemoryMachine } from '../replica/group/memoryMachine.ts';
import { openGroup } from '../replica/group/open.ts';
import { KvMachine } from '../replica/kv/machine.ts';
import { createMemoryStore } from '../replica/kv/memoryStore.ts';
import { openLog, type OpenedLog } from '../storage/open.ts';
import { SimDisk } from './disk.ts';
import { member, SEGMENT, THREE, three, World } from './groupTestkit.ts';

test('folders of others, used and empty ones are refused', () => {
  const world = three();
  world.leader();
  for (const { id } of THREE) world.crash(id);
  const other = world.options(1, 'open');
  const raft = { ...other.raft, cluster: 'c2' };
  equal(world.tryOpen(1, 'open', { raft })?.kind, 'wrong-cluster');
  equal(world.tryOpen(1, 'open', { raft: { ...other.raft, id: 2 } })?.kind, 'wrong-node');
  const mode = { kind: 'open', incarnation: 5 } as const;
  const mine = { ...other.raft, incarnation: 5 };
  equal(world.tryOpen(1, 'open', { mode, raft: mine })?.kind, 'wrong-incarnation');
  equal(world.tryOpen(1, 'create')?.kind, 'not-empty');
  world.add(9);
  equal(world.tryOpen(9, 'open')?.kind, 'no-log');
  // After all that the folder is as good as before.
  for (const { id } of THREE) world.open(id, 'open');
  world.leader();
});

test('a disk that fills while the first configuration is written gives one answer', () => {
  const outcomes = new Set<string>();
  for (let run = 0; run < 60; run += 1) {
    const world = new World();
    const capacityBytes = Math.floor(((run % 6) * SEGMENT) / 2) + 2_048;
    for (const { id } of THREE) world.add(id);
    const faults = { latencyMs: 1, latencySpreadMs: 3, capacityBytes };
    const disk = new SimDisk(world.time, createPrng(run), faults);
    const events = { status: () => {}, alarm: () => {}, disk: () => {} };
    const { time } = world;
    const ports = { disk: disk.mount(), clock: time, timers: time, transport: { send: () => {} } };
    const machine = createMemoryMachine(new KvMachine(createMemoryStore()));
    const answers: string[] = [];
    openGroup(world.options(1, 'create'), ports, events, machine, null, (opened) => {
      answers.push(opened.ok ? 'opened' : opened.error.kind);
    });
    time.advance(5_000);
    equal(answers.length, 1, `${capacityBytes}: ${answers.join(' ')}`);
    outcomes.add(answers[0] ?? '');
  }
  deepEqual([...outcomes].toSorted(), ['disk', 'opened']);
});

test('a crash before the first configuration was written is made good on opening', () => {
  for (let steps = 1; steps < 80; steps += 1) {
    const world = new World();
    for (const { id } of THREE) world.add(id);
    const options = world.options(1, 'create');
    const events = { status: () => {}, alarm: () => {}, disk: () => {} };
    const { disk } = world.node(1);
    const ports = {
      disk: disk.mount(),
      clock: world.time,
      timers: world.time,
      transport: { send: () => {} },
    };
    const machine = createMemoryMachine(new KvMachine(createMemoryStore()));
    let isOpen = false;
    openGroup(options, ports, events, machine, null, () => (isOpen = true));
    for (let step = 0; step < steps && !isOpen; step += 1) {
      world.time.advance((world.time.nextDueMs() ?? 0) - world.time.nowMs());
    }
    disk.losePower();
    const failure = world.tryOpen(1, 'open');
    if (failure !== null) {
      // The folder itself was not made to its end: it is made anew.
      equal(failure.kind, 'no-log');
      world.open(1, 'create');
    }
    equal(world.node(1).group?.status().conf.voters.length, 3);
    if (isOpen) return;
  }
  ok(false, 'opening ends');
});

test('bytes that are no message, or say another sender, are dropped and counted', () => {
  const world = three();
  const leader = world.leader();
  const { id, term } = leader.status();
  leader.receive(2, Uint8Array.of(1, 2, 3));
  leader.receive(2, new Uint8Array(0));
  const header = { cluster: 'c1', from: 9, to: id, incarnation: 1, term: term + 5 };
  const forged = encodeMessage({ ...header, kind: 'voteReply', isGranted: true });
  leader.receive(2, forged);
  const future = forged.slice();
  future[0] = 200;
  leader.receive(9, future);
  world.time.advance(100);
  deepEqual(leader.drops(), { malformed: 3, misaddressed: 1, unstorable: 0 });
  equal(leader.status().term, term);
});

test('an entry that fits into no segment is refused here, and not taken from others', () => {
  const world = three();
  const leader = world.leader();
  const { id, term, lastIndex, lastTerm } = leader.status();
  const data = new Uint8Array(SEGMENT);
  const refused = world.ask<Uint8Array>((done) => leader.propose(data, done));
  ok(!refused.ok);
  equal(refused.error.error, 'too-large');
  const follower = THREE.map((one) => world.node(one.id)).find(({ group }) => group !== leader);
  ok(follower !== undefined && follower.group !== null);
  const entry = { term, index: lastIndex + 1, kind: 'command', timeMs: 1e9, data } as const;
  const header = { cluster: 'c1', from: id, to: follower.id, incarnation: id * 1_000, term };
  const prev = { prevIndex: lastIndex, prevTerm: lastTerm, commit: 1 };
  const append = { ...header, kind: 'append', ...prev, entries: [entry] } as const;
  follower.group.receive(id, encodeMessage(append));
  const forward = { ...header, kind: 'forward', nonce: 1, attempt: 1 } as const;
  follower.group.receive(id, encodeMessage({ ...forward, proposals: [{ id: 1, data }] }));
  world.time.advance(100);
  equal(follower.group.drops().unstorable, 2);
  equal(world.put(leader, 'a', 'x').kind, 'stored');
});

test('a message of another cluster raises an alarm and changes nothing', () => {
  const world = three();
  const leader = world.leader();
  const { id, term } = leader.status();
  const header = { cluster: 'other', from: 2, to: id, incarnation: 2_000, term: term + 5 };
  leader.receive(2, encodeMessage({ ...header, kind: 'voteReply', isGranted: true }));
  world.time.advance(100);
  deepEqual(world.node(id).alarms, ['wrong-cluster']);
  equal(leader.status().term, term);
});

test('a damaged log is refused, left as it is, and its node is replaced by a new number', () => {
  const world = three();
  const leader = world.leader();
  for (let count = 0; count < 20; count += 1) world.put(leader, 'a', `${count}`);
  const broken = THREE.find(({ id }) => id !== leader.status().id)?.id ?? 0;
  world.crash(broken);
  const node = world.node(broken);
  node.disk.flip('log/0000000000000001.log', 1_500, 0x10);
  const before = node.disk.peek('log/0000000000000001.log');
  const failure = world.tryOpen(broken, 'open');
  equal(failure?.kind, 'damaged');
  deepEqual(node.disk.peek('log/0000000000000001.log'), before);

  world.add(4);
  const added = world.open(4, 'create', { bootstrap: null });
  const changed = world.ask<number>((done) => {
    leader.changeMembers([{ kind: 'add', member: member(4) }], done);
  });
  ok(changed.ok, JSON.stringify(changed));
  world.until(() => {
    const { conf, commit, lastIndex } = leader.status();
    return conf.voters.includes(4) && commit === lastIndex;
  });
  const removed = world.ask<number>((done) => {
    leader.changeMembers([{ kind: 'remove', id: broken }], done);
  });
  ok(removed.ok, JSON.stringify(removed));
  world.until(() => added.status().applied === leader.status().applied);
  equal(added.machine.hash(), leader.machine.hash());
  deepEqual(leader.status().conf.voters.includes(broken), false);
});

/** A snapshot that says that it is of `cluster`. */
function snapshotMeta(cluster: string, data: Uint8Array): SnapshotMeta {
  const at = { index: 50, term: 3, timeMs: 0, level: 0 };
  const checksum = crc32c(data);
  return { cluster, ...at, conf: bootstrapConf(THREE), dataBytes: data.length, checksum };
}

test('a snapshot of another cluster is taken neither from a peer nor from the disk', () => {
  const world = three();
  const leader = world.leader();
  const { term, commit, id } = leader.status();
  const follower = THREE.map((one) => world.node(one.id)).find(({ group }) => group !== leader);
  ok(follower !== undefined && follower.group !== null);
  const data = new Uint8Array(4);
  const meta = snapshotMeta('c2', data);
  const header = { cluster: 'c1', from: id, to: follower.id, incarnation: id * 1_000, term };
  const chunk = { kind: 'snapshotChunk', meta, offset: 0, data, checksum: crc32c(data) } as const;
  follower.group.receive(id, encodeMessage({ ...header, ...chunk }));
  world.time.advance(100);
  deepEqual(follower.alarms, ['wrong-cluster']);
  equal(follower.group.status().snapshotIndex, 0);
  ok(follower.group.status().commit >= commit);

  world.add(7);
  const { disk } = world.node(7);
  const identity = { folder: 'log', cluster: 'c1', node: 7, kinds: ENTRY_KINDS };
  const mode = { kind: 'create', incarnation: 7_000 } as const;
  let log: OpenedLog['log'] | null = null;
  let durable = 0;
  const events = { persisted: (seq: number) => (durable = seq), disk: () => {} };
  const options = { ...identity, mode, segmentBytes: 65_536 };
  openLog(disk.mount(), options, events, (opened) => {
    if (opened.ok) ({ log } = opened.value);
  });
  world.until(() => log !== null);
  (log as OpenedLog['log'] | null)?.persist({
    seq: 1,
    hardState: { term: 3, votedFor: 0, commit: 50 },
    snapshot: { index: 50, term: 3, meta: encodeSnapshotMeta(meta), data },
    isLogDiscarded: true,
    entries: [],
    compactTo: 50,
  });
  world.until(() => durable === 1);
  disk.kill();
  const failure = world.tryOpen(7, 'open');
  ok(failure?.kind === 'refused', JSON.stringify(failure));
  equal(failure.error, 'wrong-cluster');
  // It gave the folder back: the next try says the same.
  equal(world.tryOpen(7, 'open')?.kind, 'refused');
});

test('a damaged snapshot file is damage, and stays as it is', () => {
  const world = new World();
  world.group = { snapshotEntries: 20 };
  for (const { id } of THREE) world.add(id);
  for (const { id } of THREE) world.open(id, 'create');
  const leader = world.leader();
  for (let count = 0; count < 40; count += 1) world.put(leader, 'a', `${count}`);
  world.time.advance(1_000);
  const { id } = leader.status();
  world.crash(id);
  const { disk } = world.node(id);
  const file = [...disk.backup().keys()].find((path) => path.endsWith('.snapshot'));
  ok(file !== undefined);
  const size = disk.peek(file).length;
  disk.flip(file, size - 3, 0x40);
  const before = disk.peek(file);
  equal(world.tryOpen(id, 'open')?.kind, 'damaged');
  deepEqual(disk.peek(file), before);
});

test('a log of a newer program is refused before anything of it is believed', () => {
  const world = three();
  world.leader();
  world.crash(2);
  const { disk } = world.node(2);
  const before = disk.peek('log/identity');
  disk.flip('log/identity', 8, 0x40); // The version: 1 becomes 65.
  equal(world.tryOpen(2, 'open')?.kind, 'future-version');
  disk.flip('log/identity', 8, 0x40);
  deepEqual(disk.peek('log/identity'), before);
  world.open(2, 'open');
});

test('a number that is used again with another disk is not heard, and not added', () => {
  const world = three();
  const leader = world.leader();
  const other = THREE.find(({ id }) => id !== leader.status().id)?.id ?? 0;
  world.put(leader, 'a', 'b');
  world.crash(other);
  world.node(other).disk.wipe();
  const options = world.options(other, 'create');
  const raft = { ...options.raft, incarnation: 5 };
  const mode = { kind: 'create', incarnation: 5 } as const;
  const again = world.open(other, 'create', { raft, mode, bootstrap: null });
  // It would vote for anybody and forget that it had: nobody listens to it.
  const { id, term } = leader.status();
  const header = { cluster: 'c1', from: other, to: id, incarnation: 5, term: term + 9 };
  const vote: Message = { ...header, kind: 'vote', lastIndex: 99, lastTerm: 9, isTransfer: true };
  leader.receive(other, encodeMessage(vote));
  world.time.advance(3_000);
  equal(leader.status().term, term);
  ok(world.node(id).alarms.includes('wrong-incarnation'));
  const reused = world.ask<number>((done) => {
    const changed = { ...member(other), incarnation: 5 };
    leader.changeMembers([{ kind: 'add', member: changed }], done);
  });
  ok(!reused.ok);
  equal(reused.error.error, 'id-used');
  equal(leader.status().role, 'leader');
  equal(again.status().commit, 0);
});
