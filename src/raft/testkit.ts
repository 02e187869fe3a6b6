/**
 * A small deterministic cluster for tests of the core: virtual time, a network that loses, doubles,
 * delays and reorders, disks that lose what was not made durable, and checkers that look after
 * every step. One seed gives one run. (The simulator of the whole product is another room.)
 */

import { assert } from '../base/assert.ts';
import { createPrng } from '../base/prng.ts';
import { TestNetwork, type MessageFaults } from '../base/networkTestkit.ts';
import { ClusterChecker } from './testChecker.ts';
import { RaftNode } from './node.ts';
import { createSessionMachine, type StateMachine } from './sessions.ts';
import { bootstrapStored, emptyStored, raftOptions } from './start.ts';
import type {
  Entry,
  Input,
  Member,
  Message,
  NodeId,
  Output,
  Persist,
  RaftOptions,
  Reply,
  Stored,
} from './types.ts';

export interface NetworkFaults extends MessageFaults {
  readonly fsyncMsMax: number;
}

export const CALM: NetworkFaults = {
  loss: 0,
  duplicate: 0,
  delayMsMin: 5,
  delayMsMax: 5,
  fsyncMsMax: 1,
};

export interface TestNode {
  readonly id: NodeId;
  readonly options: RaftOptions;
  raft: RaftNode | null;
  stored: Stored;
  /** Written and not yet durable: a crash keeps any number of the first. */
  unsynced: Persist[];
  held: { readonly seq: number; readonly messages: readonly Message[] }[];
  durableSeq: number;
  /** The commands that ran, behind the sessions of `machine`. */
  list: StateMachine;
  machine: StateMachine;
  replies: Reply[];
  /** Results of commands by index, as this node applied them. */
  results: Map<number, Uint8Array>;
  isPaused: boolean;
  /** False: nothing becomes durable until it is true again. */
  isDiskMoving: boolean;
  /** Counts starts: events of an earlier life are dropped. */
  life: number;
}

export interface ClusterOptions {
  readonly seed: number;
  readonly members: readonly Member[];
  /** Nodes that start empty and wait to be added. */
  readonly spares?: readonly Member[];
  readonly faults?: NetworkFaults;
  readonly raft?: Partial<RaftOptions>;
}

/** A member of region `r<id>` with priority 1. */
export function testMember(id: NodeId, more: Partial<Member> = {}): Member {
  return {
    id,
    region: `r${id}`,
    incarnation: id * 1_000,
    priority: 1,
    isWitness: false,
    isPromotable: false,
    ...more,
  };
}

export class TestCluster extends TestNetwork<Message, NetworkFaults> {
  readonly nodes = new Map<NodeId, TestNode>();
  readonly checker = new ClusterChecker();
  /** Looks at every message before it leaves; false drops it. */
  filter: (message: Message) => boolean = () => true;
  #requests = 0;

  constructor(options: ClusterOptions) {
    super(options.seed, options.faults ?? CALM);
    const spares = options.spares ?? [];
    for (const member of [...options.members, ...spares]) {
      const own = raftOptions({
        heartbeatMs: 50,
        electionMs: 500,
        requestMs: 3_000,
        diskStallMs: 1_000,
        handOverMs: 0,
        trailingEntries: 5,
        ...options.raft,
        id: member.id,
        cluster: 'test',
        incarnation: member.incarnation,
        prng: createPrng(options.seed * 31 + member.id),
      });
      const stored = spares.includes(member) ? emptyStored() : bootstrapStored(options.members);
      this.nodes.set(member.id, this.#createNode(own, stored));
    }
    for (const id of this.nodes.keys()) this.start(id);
  }

  #createNode(options: RaftOptions, stored: Stored): TestNode {
    const list = createListMachine();
    return {
      id: options.id,
      options,
      raft: null,
      stored,
      unsynced: [],
      held: [],
      durableSeq: 0,
      list,
      machine: createSessionMachine(list),
      replies: [],
      results: new Map(),
      isPaused: false,
      isDiskMoving: true,
      life: 0,
    };
  }

  node(id: NodeId): TestNode {
    const node = this.nodes.get(id);
    assert(node !== undefined, 'the node exists');
    return node;
  }

  raft(id: NodeId): RaftNode {
    const { raft } = this.node(id);
    assert(raft !== null, 'the node is running');
    return raft;
  }

  /** The leader of the highest term among running nodes, or null. */
  leader(): TestNode | null {
    const leaders = [...this.nodes.values()].filter(
      (node) => !node.isPaused && node.raft?.status().role === 'leader',
    );
    const term = (node: TestNode): number => node.raft?.status().term ?? 0;
    return leaders.toSorted((a, b) => term(b) - term(a))[0] ?? null;
  }

  start(id: NodeId): void {
    const node = this.node(id);
    assert(node.raft === null, 'the node is not running');
    const started = RaftNode.start(node.options, node.stored, this.nowMs);
    assert(started.ok, 'what was durable starts again');
    node.raft = started.value;
    node.life += 1;
    node.list = createListMachine();
    node.machine = createSessionMachine(node.list);
    node.results = new Map();
    node.durableSeq = 0;
    node.isDiskMoving = true;
    this.#wake(node);
  }

  /** Ends the process. Of what was written and not synced the first `keepCount` survive. */
  crash(id: NodeId, keepCount = 0): void {
    const node = this.node(id);
    assert(node.raft !== null, 'the node is running');
    for (const persist of node.unsynced.slice(0, keepCount)) writeTo(node, persist);
    node.unsynced = [];
    node.held = [];
    node.raft = null;
    node.isPaused = false;
    this.checker.forget(id);
  }

  /** Feeds one input now. */
  input(id: NodeId, input: Input): Output {
    const node = this.node(id);
    const raft = this.raft(id);
    const output = raft.step(input, this.nowMs);
    for (const message of output.send) this.post(message);
    if (output.persist !== null) node.unsynced.push(output.persist);
    if (output.afterFsync.length > 0) {
      if (output.afterSeq <= node.durableSeq) output.afterFsync.forEach((one) => this.post(one));
      else node.held.push({ seq: output.afterSeq, messages: output.afterFsync });
    }
    node.replies.push(...output.reply);
    this.checker.look(this.nowMs, node.id, raft, output);
    if (output.persist !== null) this.#later(node, this.#fsyncMs(), () => this.sync(id));
    this.#apply(node, output);
    return output;
  }

  #fsyncMs(): number {
    return 1 + this.prng.nextBelow(this.faults.fsyncMsMax);
  }

  /** Makes durable what was written so far. */
  sync(id: NodeId): void {
    const node = this.node(id);
    const last = node.unsynced.at(-1);
    if (last === undefined || node.raft === null || !node.isDiskMoving) return;
    for (const persist of node.unsynced) writeTo(node, persist);
    node.unsynced = [];
    node.durableSeq = last.seq;
    const ready = node.held.filter((held) => held.seq <= last.seq);
    node.held = node.held.filter((held) => held.seq > last.seq);
    for (const held of ready) held.messages.forEach((message) => this.post(message));
    this.input(id, { kind: 'persisted', seq: last.seq });
  }

  #apply(node: TestNode, output: Output): void {
    for (const item of output.apply) {
      if (item.kind === 'restore') {
        assert(node.machine.restore(item.snapshot.data), 'a snapshot can be restored');
        this.input(node.id, {
          kind: 'applied',
          index: item.snapshot.meta.index,
          checkpoint: null,
        });
        continue;
      }
      for (const entry of item.entries) this.#applyEntry(node, entry);
      const last = item.entries.at(-1);
      if (last === undefined) continue;
      this.input(node.id, { kind: 'applied', index: last.index, checkpoint: null });
    }
  }

  #applyEntry(node: TestNode, entry: Entry): void {
    this.checker.applied(node.id, entry);
    if (entry.kind !== 'command') return;
    node.results.set(entry.index, node.machine.apply(entry.index, entry.timeMs, entry.data));
  }

  /** Takes a snapshot of what the node has applied. */
  snapshot(id: NodeId): void {
    const node = this.node(id);
    const index = this.raft(id).status().applied;
    this.input(id, { kind: 'snapshotTaken', index, data: node.machine.snapshot() });
  }

  /** Proposes at `id`; the request's number, to look for in its replies. */
  propose(id: NodeId, data: Uint8Array): number {
    const request = this.requestId();
    this.input(id, { kind: 'propose', proposals: [{ id: request, data }] });
    return request;
  }

  read(id: NodeId): number {
    const request = this.requestId();
    this.input(id, { kind: 'read', id: request });
    return request;
  }

  requestId(): number {
    this.#requests += 1;
    return this.#requests;
  }

  /** The last reply to a request, or null. */
  replyTo(id: NodeId, request: number): Reply | null {
    return (
      this.node(id).replies.findLast((reply) => reply.kind !== 'alarm' && reply.id === request) ??
      null
    );
  }

  protected override post(message: Message): void {
    this.checker.leaves(message);
    if (this.filter(message)) super.post(message);
  }

  override deliver(message: Message): void {
    const node = this.nodes.get(message.to);
    if (node === undefined || node.raft === null) return;
    if (this.isCut(message)) return;
    if (node.isPaused) {
      // What a stopped process was sent waits in its sockets.
      this.at(this.nowMs + 10, () => this.deliver(message));
      return;
    }
    this.input(message.to, { kind: 'message', message });
  }

  #later(node: TestNode, delayMs: number, run: () => void): void {
    const { life } = node;
    this.at(this.nowMs + delayMs, () => {
      if (node.life === life && node.raft !== null) run();
    });
  }

  #wake(node: TestNode): void {
    const dueMs = Math.min(node.raft?.nextWakeMs() ?? 0, this.nowMs + 50);
    this.#later(node, Math.max(1, dueMs - this.nowMs), () => {
      if (!node.isPaused) this.input(node.id, { kind: 'tick' });
      this.#wake(node);
    });
  }

  /** Runs until one node leads with its whole term agreed; it is returned. */
  elect(ms = 20_000): TestNode {
    const isDone = (): boolean => {
      const status = this.leader()?.raft?.status();
      return status !== undefined && status.commit === status.lastIndex;
    };
    assert(this.runUntil(isDone, ms), 'a leader is elected in time');
    const leader = this.leader();
    assert(leader !== null, 'a leader was just seen');
    return leader;
  }
}

/** Carries out a `Persist` on what is durable. */
export function writeTo(node: { stored: Stored }, persist: Persist): void {
  const { stored } = node;
  const first = persist.entries[0];
  let entries = persist.isLogDiscarded ? [] : stored.entries;
  if (first !== undefined) {
    entries = [...entries.filter((entry) => entry.index < first.index), ...persist.entries];
  }
  node.stored = {
    hardState: persist.hardState ?? stored.hardState,
    snapshot: persist.snapshot ?? stored.snapshot,
    // One entry below stays: a floor needs its term.
    entries: entries.filter((entry) => entry.index >= persist.compactTo),
    applied: stored.applied,
  };
}

/** A state machine that keeps every command in order; its answer is the command's place. */
export function createListMachine(): StateMachine {
  let items: number[] = [];
  return {
    apply(_index, _timeMs, data) {
      items.push(...data);
      return Uint8Array.of(items.length & 0xff);
    },
    snapshot: () => Uint8Array.from(items),
    restore(data) {
      items = [...data];
      return true;
    },
  };
}
