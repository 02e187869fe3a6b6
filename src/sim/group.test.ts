import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { decodeUtf8, encodeUtf8 } from '../base/bytes.ts';
import { createPrng } from '../base/prng.ts';
import { VirtualTime } from '../base/virtualTime.ts';
import { decodeMessage, encodeMessage } from '../raft/messageCodec.ts';
import { decodeSessionReply, encodeSessionCommand } from '../raft/sessions.ts';
import { raftOptions } from '../raft/start.ts';
import type { Alarm, Member, NodeId, RaftOptions } from '../raft/types.ts';
import { createMemoryMachine } from '../replica/group/memoryMachine.ts';
import { openGroup } from '../replica/group/open.ts';
import type {
  GroupMember,
  GroupOpenFailure,
  GroupOptions,
  GroupReply,
  GroupStep,
} from '../replica/group/types.ts';
import {
  decodeKvReply,
  encodeKvCommand,
  type KvCommand,
  type KvReply,
} from '../replica/kv/codec.ts';
import { KvMachine } from '../replica/kv/machine.ts';
import { createMemoryStore } from '../replica/kv/memoryStore.ts';
import { type DiskFaults, SimDisk } from './disk.ts';

const DELAY_MS = 5;
const SEGMENT = 64 * 1_024;

function member(id: NodeId): Member {
  const incarnation = id * 1_000;
  const region = `r${id}`;
  return { id, region, incarnation, priority: 1, isWitness: false, isPromotable: true };
}

const THREE = [1, 2, 3].map(member);

interface Node {
  readonly id: NodeId;
  readonly disk: SimDisk;
  kv: KvMachine;
  group: GroupMember | null;
  /** Counts starts: what an earlier life had asked for comes to nobody. */
  life: number;
  readonly alarms: Alarm[];
  readonly disks: string[];
}

/** Members on simulated disks in virtual time; the network has one delay and can be cut. */
class World {
  readonly time = new VirtualTime();
  readonly nodes = new Map<NodeId, Node>();
  readonly cuts = new Set<string>();
  /** Answers by any member, for tests that wait for them. */
  observe: (step: GroupStep) => void = () => {};
  raft: Partial<RaftOptions> = {};
  group: Partial<GroupOptions> = {};

  node(id: NodeId): Node {
    const node = this.nodes.get(id);
    ok(node !== undefined);
    return node;
  }

  add(id: NodeId, faults: Partial<DiskFaults> = {}): Node {
    const disk = new SimDisk(this.time, createPrng(id), { latencyMs: 1, ...faults });
    const kv = new KvMachine(createMemoryStore());
    const node = { id, disk, kv, group: null, life: 0, alarms: [], disks: [] };
    this.nodes.set(id, node);
    return node;
  }

  options(id: NodeId, mode: 'create' | 'open', more: Partial<GroupOptions> = {}): GroupOptions {
    const incarnation = id * 1_000;
    return {
      raft: raftOptions({
        id,
        cluster: 'c1',
        incarnation,
        prng: createPrng(id * 77 + this.node(id).life),
        heartbeatMs: 50,
        electionMs: 500,
        requestMs: 3_000,
        handOverMs: 0,
        trailingEntries: 5,
        ...this.raft,
      }),
      folder: 'log',
      mode: { kind: mode, incarnation },
      bootstrap: THREE,
      segmentBytes: SEGMENT,
      checkpointEntries: 16,
      snapshotEntries: 1_000_000,
      ...this.group,
      ...more,
    };
  }

  tryOpen(
    id: NodeId,
    mode: 'create' | 'open',
    more: Partial<GroupOptions> = {},
  ): GroupOpenFailure | null {
    const node = this.node(id);
    node.life += 1;
    const { life } = node;
    node.kv = new KvMachine(createMemoryStore());
    let failure: GroupOpenFailure | 'none' | null = null;
    openGroup(
      this.options(id, mode, more),
      {
        disk: node.disk.mount(),
        clock: this.time,
        timers: this.time,
        transport: {
          send: (to, bytes) => {
            if (node.life === life && node.group !== null) this.#carry(id, to, bytes);
          },
        },
      },
      {
        status: () => {},
        alarm: (alarm) => node.alarms.push(alarm),
        disk: (state) => node.disks.push(state),
      },
      createMemoryMachine(node.kv),
      (step) => {
        if (node.life === life && node.group !== null) this.observe(step);
      },
      (opened) => {
        failure = opened.ok ? 'none' : opened.error;
        if (opened.ok) node.group = opened.value;
      },
    );
    this.until(() => failure !== null);
    return failure === 'none' ? null : failure;
  }

  open(id: NodeId, mode: 'create' | 'open', more: Partial<GroupOptions> = {}): GroupMember {
    const failure = this.tryOpen(id, mode, more);
    const { group } = this.node(id);
    ok(failure === null && group !== null, JSON.stringify(failure));
    return group;
  }

  #carry(from: NodeId, to: NodeId, bytes: Uint8Array): void {
    if (this.cuts.has(`${from}>${to}`)) return;
    const node = this.nodes.get(to);
    const life = node?.life;
    this.time.after(DELAY_MS, () => {
      if (node?.life === life) node?.group?.receive(from, bytes.slice());
    });
  }

  /** The process dies; with `power` its machine too. */
  crash(id: NodeId, power = false): void {
    const node = this.node(id);
    node.life += 1;
    node.group?.stop(() => {}); // Its timers go; its disk calls die with `kill`.
    node.group = null;
    if (power) node.disk.losePower();
    else node.disk.kill();
  }

  until(isDone: () => boolean, limitMs = 60_000): void {
    const endMs = this.time.nowMs() + limitMs;
    while (!isDone()) {
      const dueMs = this.time.nextDueMs();
      ok(dueMs !== null && dueMs <= endMs, 'it happens in time');
      this.time.advance(dueMs - this.time.nowMs());
    }
  }

  leader(): GroupMember {
    let found: GroupMember | null = null;
    this.until(() => {
      const running = [...this.nodes.values()].flatMap(({ group }) => group ?? []);
      const leading = running.filter((group) => {
        const { role, commit, lastIndex } = group.status();
        return role === 'leader' && commit === lastIndex;
      });
      found = leading.toSorted((a, b) => b.status().term - a.status().term)[0] ?? null;
      return found !== null;
    });
    ok(found !== null);
    return found;
  }

  ask<T>(start: (done: (reply: GroupReply<T>) => void) => void): GroupReply<T> {
    let answer: GroupReply<T> | null = null;
    let isInside = true;
    start((reply) => {
      ok(!isInside, 'P1: nobody is answered inside the call');
      answer = reply;
    });
    isInside = false;
    this.until(() => answer !== null);
    ok(answer !== null);
    return answer;
  }

  session(group: GroupMember): Session {
    const opened = this.ask<Uint8Array>((done) => {
      group.propose(encodeSessionCommand({ kind: 'open' }), done);
    });
    ok(opened.ok, JSON.stringify(opened));
    const reply = decodeSessionReply(opened.value);
    ok(reply?.kind === 'opened');
    return new Session(this, reply.session);
  }

  put(group: GroupMember, key: string, text: string): KvReply {
    return this.session(group).call(group, { kind: 'put', key, value: encodeUtf8(text) });
  }
}

class Session {
  readonly #world: World;
  readonly id: number;
  seq = 0;

  constructor(world: World, id: number) {
    this.#world = world;
    this.id = id;
  }

  encode(command: KvCommand, seq: number): Uint8Array {
    const payload = encodeKvCommand(command);
    return encodeSessionCommand({
      kind: 'call',
      session: this.id,
      seq,
      firstUnacked: seq,
      payload,
    });
  }

  call(group: GroupMember, command: KvCommand): KvReply {
    this.seq += 1;
    const data = this.encode(command, this.seq);
    const reply = this.#world.ask<Uint8Array>((done) => group.propose(data, done));
    ok(reply.ok, JSON.stringify(reply));
    const answer = decodeSessionReply(reply.value);
    ok(answer?.kind === 'done', JSON.stringify(answer));
    const decoded = decodeKvReply(answer.payload);
    ok(decoded !== null);
    return decoded;
  }
}

function three(faults: Partial<DiskFaults> = {}): World {
  const world = new World();
  for (const { id } of THREE) world.add(id, faults);
  for (const { id } of THREE) world.open(id, 'create');
  return world;
}

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
  deepEqual(leader.drops(), { malformed: 3, misaddressed: 1 });
  equal(leader.status().term, term);
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
