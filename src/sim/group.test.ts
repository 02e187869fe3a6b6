import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { decodeUtf8, encodeUtf8 } from '../base/bytes.ts';
import { decodeMessage } from '../raft/messageCodec.ts';
import { encodeSessionCommand } from '../raft/sessions.ts';
import type { NodeId } from '../raft/types.ts';
import { encodeKvCommand } from '../replica/kv/codec.ts';
import type { KvMachine } from '../replica/kv/machine.ts';
import { DELAY_MS, THREE, three, World } from './groupTestkit.ts';

function textOf(kv: KvMachine, key: string): string | null {
  const pair = kv.get(key);
  return pair === null ? null : decodeUtf8(pair.value);
}

test('three new members elect a leader, replicate, and any of them answers', () => {
  const world = three();
  const leader = world.leader();
  equal(world.put(leader, 'a', 'one').kind, 'stored');
  for (const { group, kv } of world.nodes.values()) {
    ok(group !== null);
    const read = world.ask<number>((done) => group.read(done));
    ok(read.ok);
    equal(textOf(kv, 'a'), 'one');
    const { id } = group.status();
    equal(world.put(group, `from ${id}`, 'two').kind, 'stored');
  }
});

test('all reads of one turn cost one round', () => {
  const world = three();
  const leader = world.leader();
  let rounds = 0;
  world.observe = ({ id, input }) => {
    if (id === leader.status().id && input.kind === 'read') rounds += 1;
  };
  let answered = 0;
  for (let count = 0; count < 50; count += 1) leader.read(() => (answered += 1));
  world.until(() => answered === 50);
  equal(rounds, 1);
});

test('all proposals of one turn are one write of the disk', () => {
  const world = three();
  const leader = world.leader();
  const { disk } = world.node(leader.status().id);
  const before = disk.counts.syncs;
  let answered = 0;
  for (let count = 0; count < 50; count += 1) {
    leader.propose(encodeSessionCommand({ kind: 'open' }), () => (answered += 1));
  }
  world.until(() => answered === 50);
  equal(disk.counts.syncs - before, 1);
});

test('what waits for the disk leaves only once it is durable', () => {
  const world = three();
  const leader = world.leader();
  const follower = [...world.nodes.values()].find(({ group }) => group !== leader);
  ok(follower !== undefined);
  follower.disk.faults.latencyMs = 40;
  const { id } = follower;
  const group = follower.group;
  ok(group !== null);
  let checked = 0;
  const carry = leader.receive.bind(leader);
  Object.defineProperty(leader, 'receive', {
    value: (from: NodeId, bytes: Uint8Array) => {
      const message = decodeMessage(bytes);
      if (from === id && message?.kind === 'appendOk') {
        ok(message.match <= group.status().durableIndex);
        checked += 1;
      }
      carry(from, bytes);
    },
  });
  for (let count = 0; count < 20; count += 1) world.put(leader, 'a', `${count}`);
  world.until(() => textOf(follower.kv, 'a') === '19');
  ok(checked > 5, `${checked}`);
});

test('members that lose power keep what was answered, and go on', () => {
  const world = three({ tornChance: 0.3 });
  for (let round = 0; round < 10; round += 1) {
    const leader = world.leader();
    equal(world.put(leader, 'round', `${round}`).kind, 'stored');
    // Another one is on its way when the power goes, everywhere at once.
    leader.propose(encodeSessionCommand({ kind: 'open' }), () => {});
    world.time.advance(round);
    for (const { id } of THREE) world.crash(id, true);
    for (const { id } of THREE) world.open(id, 'open');
    const next = world.leader();
    ok(world.ask<number>((done) => next.read(done)).ok);
    equal(textOf(world.node(next.status().id).kv, 'round'), `${round}`);
  }
});

test('a call that is sent again after its leader died runs once', () => {
  const world = three();
  const leader = world.leader();
  const session = world.session(leader);
  const data = session.encode({ kind: 'append', key: 'list', value: encodeUtf8('x') }, 1);
  leader.propose(data, () => {});
  // It reaches the followers; its answer dies with the leader.
  world.time.advance(DELAY_MS + 3);
  world.crash(leader.status().id);
  const next = world.leader();
  const again = world.ask<Uint8Array>((done) => next.propose(data, done));
  ok(again.ok);
  ok(world.ask<number>((done) => next.read(done)).ok);
  equal(textOf(world.node(next.status().id).kv, 'list'), 'x');
});

test('a member that was away past the log gets a snapshot, and has the same state', () => {
  const world = new World();
  world.group = { snapshotEntries: 20 };
  for (const { id } of THREE) world.add(id);
  for (const { id } of THREE) world.open(id, 'create');
  const leader = world.leader();
  const away = THREE.find(({ id }) => id !== leader.status().id)?.id ?? 0;
  world.crash(away, true);
  for (let count = 0; count < 60; count += 1) world.put(leader, `k${count % 7}`, `${count}`);
  ok(leader.status().snapshotIndex > 0, 'a snapshot was taken');
  ok(leader.status().firstIndex > 10, 'the log was cut');
  const back = world.open(away, 'open');
  world.until(() => back.status().applied === leader.status().applied);
  ok(back.status().snapshotIndex > 0);
  equal(back.machine.hash(), leader.machine.hash());
  deepEqual(back.machine.snapshot(), leader.machine.snapshot());
  world.crash(away, true);
  const again = world.open(away, 'open');
  world.until(() => again.status().applied === leader.status().applied);
  equal(again.machine.hash(), leader.machine.hash());
});

test('a log that takes too many bytes is cut by a snapshot', () => {
  const world = new World();
  world.raft = { logBytesMax: 20_000 };
  for (const { id } of THREE) world.add(id);
  for (const { id } of THREE) world.open(id, 'create');
  const leader = world.leader();
  for (let count = 0; count < 40; count += 1) world.put(leader, 'a', 'x'.repeat(1_000));
  ok(leader.status().snapshotIndex > 0);
  ok(leader.status().logBytes < 40_000);
});

test('a failed write ends the part of its member, and the others go on', () => {
  const world = three();
  const leader = world.leader();
  const { id } = leader.status();
  world.node(id).disk.failNext('sync', 'io');
  const lost = world.ask<Uint8Array>((done) => {
    leader.propose(encodeSessionCommand({ kind: 'open' }), done);
  });
  ok(!lost.ok || lost.value.length > 0);
  world.until(() => world.node(id).disks.includes('failed'));
  world.until(() =>
    [...world.nodes.values()].some(
      ({ group }) => group !== null && group !== leader && group.status().role === 'leader',
    ),
  );
  equal(world.put(world.leader(), 'a', 'b').kind, 'stored');
  equal(leader.status().role, 'follower');
});

test('a full disk hands leadership over and comes back once there is room', () => {
  const world = new World();
  world.group = { snapshotEntries: 1_000_000 };
  for (const { id } of THREE) world.add(id);
  for (const { id } of THREE) world.open(id, 'create');
  const { id } = world.leader().status();
  const { disk } = world.node(id);
  disk.faults.capacityBytes = disk.usedBytes() + 4_096;
  const text = 'x'.repeat(1_000);
  for (let count = 0; count < 300; count += 1) {
    const { group } = world.node(1 + (count % 3));
    ok(group !== null);
    const value = encodeUtf8(text);
    const payload = encodeKvCommand({ kind: 'put', key: `${count % 5}`, value });
    // Refused for certain while the full one still leads.
    world.ask<Uint8Array>((done) => group.propose(payload, done));
  }
  ok(world.node(id).disks.includes('full'), 'it was full');
  disk.faults.capacityBytes = Number.MAX_SAFE_INTEGER;
  world.until(() => world.node(id).disks.at(-1) === 'ok');
  const { group, kv } = world.node(id);
  ok(group !== null);
  world.until(() => group.status().applied === world.leader().status().applied);
  equal(world.put(world.leader(), 'last', text).kind, 'stored');
  world.until(() => textOf(kv, 'last') === text);
});

test('a member that stops gives its folder back and says nothing more', () => {
  const world = three();
  const leader = world.leader();
  const { id } = leader.status();
  world.put(leader, 'a', 'b');
  let answers = 0;
  leader.propose(encodeSessionCommand({ kind: 'open' }), () => (answers += 1));
  let isStopped = false;
  leader.stop(() => (isStopped = true));
  world.until(() => isStopped);
  world.node(id).group = null;
  world.time.advance(5_000);
  equal(answers, 0);
  const back = world.open(id, 'open');
  world.until(() => back.status().leader !== 0);
});

test('a member whose disk is full stops when it is told to', () => {
  const world = three();
  const leader = world.leader();
  const { id } = leader.status();
  const { disk, disks } = world.node(id);
  disk.faults.capacityBytes = disk.usedBytes();
  const value = new Uint8Array(2_000);
  const payload = encodeKvCommand({ kind: 'put', key: 'a', value });
  // More at once than what is left of the log has room for: it waits for space.
  for (let sent = 0; sent < 100; sent += 1) leader.propose(payload, () => {});
  world.until(() => disks.includes('full'));
  let isStopped = false;
  leader.stop(() => (isStopped = true));
  world.until(() => isStopped);
  disk.faults.capacityBytes = Number.MAX_SAFE_INTEGER;
  world.node(id).group = null;
  const back = world.open(id, 'open');
  world.until(() => back.status().applied === world.leader().status().applied);
});

test('hashes of the state are compared, and one that differs is told', () => {
  const world = three();
  const leader = world.leader();
  const follower = [...world.nodes.values()].find(({ group }) => group !== leader);
  ok(follower !== undefined);
  world.put(leader, 'a', 'b');
  world.until(() => textOf(follower.kv, 'a') === 'b');
  // Something else than the log has changed its state.
  follower.kv.apply(1, 0, encodeKvCommand({ kind: 'put', key: 'x', value: Uint8Array.of(1) }));
  for (let count = 0; count < 20; count += 1) world.put(leader, 'a', `${count}`);
  const { alarms } = world.node(leader.status().id);
  world.until(() => alarms.includes('state-diverged'));
});
