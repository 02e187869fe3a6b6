/** Members of a group on simulated disks in virtual time, for tests of their host. */

import { assert } from '../base/assert.ts';
import { encodeUtf8 } from '../base/bytes.ts';
import { createPrng } from '../base/prng.ts';
import { VirtualTime } from '../base/virtualTime.ts';
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

export const DELAY_MS = 5;
export const SEGMENT = 64 * 1_024;

export function member(id: NodeId): Member {
  const incarnation = id * 1_000;
  const region = `r${id}`;
  return { id, region, incarnation, priority: 1, isWitness: false, isPromotable: true };
}

export const THREE = [1, 2, 3].map(member);

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
export class World {
  readonly time = new VirtualTime();
  readonly nodes = new Map<NodeId, Node>();
  readonly cuts = new Set<string>();
  /** Answers by any member, for tests that wait for them. */
  observe: (step: GroupStep) => void = () => {};
  raft: Partial<RaftOptions> = {};
  group: Partial<GroupOptions> = {};

  node(id: NodeId): Node {
    const node = this.nodes.get(id);
    assert(node !== undefined, 'the node was added');
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
    assert(failure === null && group !== null, `it opens: ${JSON.stringify(failure)}`);
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
      assert(dueMs !== null && dueMs <= endMs, 'it happens in time');
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
    assert(found !== null, 'it came');
    return found;
  }

  ask<T>(start: (done: (reply: GroupReply<T>) => void) => void): GroupReply<T> {
    let answer: GroupReply<T> | null = null;
    let isInside = true;
    start((reply) => {
      assert(!isInside, 'P1: nobody is answered inside the call');
      answer = reply;
    });
    isInside = false;
    this.until(() => answer !== null);
    assert(answer !== null, 'it came');
    return answer;
  }

  session(group: GroupMember): Session {
    const opened = this.ask<Uint8Array>((done) => {
      group.propose(encodeSessionCommand({ kind: 'open' }), done);
    });
    assert(opened.ok, `a session opens: ${JSON.stringify(opened)}`);
    const reply = decodeSessionReply(opened.value);
    assert(reply?.kind === 'opened', 'a session was opened');
    return new Session(this, reply.session);
  }

  put(group: GroupMember, key: string, text: string): KvReply {
    return this.session(group).call(group, { kind: 'put', key, value: encodeUtf8(text) });
  }
}

export class Session {
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
    assert(reply.ok, `the call is taken: ${JSON.stringify(reply)}`);
    const answer = decodeSessionReply(reply.value);
    assert(answer?.kind === 'done', `it ran: ${JSON.stringify(answer)}`);
    const decoded = decodeKvReply(answer.payload);
    assert(decoded !== null, 'it came');
    return decoded;
  }
}

export function three(faults: Partial<DiskFaults> = {}): World {
  const world = new World();
  for (const { id } of THREE) world.add(id, faults);
  for (const { id } of THREE) world.open(id, 'create');
  return world;
}
