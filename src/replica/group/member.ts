/**
 * The host of one Raft core: gathers what comes in one turn of the loop, feeds it, and carries out
 * what the core says in the order that it asks for (H1-H9 in src/raft/SPEC.md):
 *
 * - nothing is fed while a step is under way, and callers are answered from turns only (P1);
 * - `send` leaves at once; `afterFsync` waits for its `afterSeq` and goes in the order of outputs;
 * - `persist` goes to the log in order, which syncs as many at once as have come;
 * - `apply` goes to the state machine before anyone is answered, then `applied` comes back;
 * - a failed disk is told to the core once; what it would have acknowledged is never sent.
 *
 * All proposals of a turn are one input, and all reads of a turn are one read: that is the batch.
 * @hot
 */

import { DatabaseError } from '../../base/database.ts';
import type { TimerHandle } from '../../base/ports.ts';
import { GROUP_LIMITS } from '../../base/groupLimits.ts';
import { err, ok } from '../../base/result.ts';
import { decodeMessage, encodeMessage } from '../../raft/messageCodec.ts';
import type { RaftNode } from '../../raft/node.ts';
import type {
  ApplyItem,
  Checkpoint,
  DiskState,
  Index,
  Input,
  MemberChange,
  Message,
  NodeId,
  Output,
  Proposal,
  RaftStatus,
  Reply,
  Role,
} from '../../raft/types.ts';
import type { DurableLog } from '../../storage/log.ts';
import type { LogDiskState, LogEvents } from '../../storage/types.ts';
import { logPersistOf } from './stored.ts';
import type {
  GroupDone,
  GroupDrops,
  GroupEvents,
  GroupMachine,
  GroupMember,
  GroupObserver,
  GroupOptions,
  GroupPorts,
} from './types.ts';

/** What a member goes on from. */
export interface MemberStart {
  readonly node: RaftNode;
  readonly log: DurableLog;
  /** Persists that the log has taken before the core's first. */
  readonly persistsBefore: number;
  readonly applied: Index;
  readonly snapshotIndex: Index;
  readonly diskState: LogDiskState;
}

type Answer = (reply: Exclude<Reply, { readonly kind: 'alarm' }>) => void;

/** A member that runs. Made by `openGroup` (open.ts) only. */
export class Replicator implements GroupMember, LogEvents {
  readonly machine: GroupMachine;
  readonly #options: GroupOptions;
  readonly #ports: GroupPorts;
  readonly #events: GroupEvents;
  readonly #observe: GroupObserver;
  readonly #node: RaftNode;
  readonly #log: DurableLog;
  readonly #persistsBefore: number;
  /** What an entry may have, bytes: it must fit into a segment of the log. */
  readonly #entryBytesMax: number;

  // What the next turn feeds.
  #messages: Message[] = [];
  /** The first turn hands out what is committed already. */
  #operations: Input[] = [{ kind: 'tick' }];
  #reads: GroupDone<Index>[] = [];
  #proposals: Proposal[] = [];
  #durableSeq = 0;
  #durableFed = 0;
  #diskState: DiskState;
  #diskFed: DiskState = 'ok';

  /** Requests without an answer, by id. */
  readonly #answers = new Map<number, Answer>();
  #ids = 0;
  /** What the state machine said, by index, for answers that are settled after they were applied. */
  readonly #results = new Map<Index, Uint8Array>();
  /** Messages that wait for their `seq`, in the order of outputs. */
  #held: { readonly seq: number; readonly messages: readonly Message[] }[] = [];
  /** Inputs that follow from the step under way. */
  readonly #following: Input[] = [];

  #persistedSeq = 0;
  #applied: Index;
  #snapshotIndex: Index;
  #isSnapshotDue = false;
  /** It could not take a snapshot: its state is undefined. */
  #isMachineLost = false;
  #told: { readonly role: Role; readonly term: number; readonly leader: NodeId } | null = null;
  #drops = { malformed: 0, misaddressed: 0, unstorable: 0 };

  #isTurnDue = false;
  #isStopped = false;
  #wake: { readonly atMs: number; readonly timer: TimerHandle } | null = null;
  #settleTimer: TimerHandle | null = null;
  #spaceTimer: TimerHandle | null = null;

  constructor(
    options: GroupOptions,
    ports: GroupPorts,
    events: GroupEvents,
    machine: GroupMachine,
    observe: GroupObserver,
    start: MemberStart,
  ) {
    this.#options = options;
    this.#ports = ports;
    this.#events = events;
    this.machine = machine;
    this.#observe = observe;
    this.#node = start.node;
    this.#log = start.log;
    this.#persistsBefore = start.persistsBefore;
    this.#entryBytesMax = options.segmentBytes - GROUP_LIMITS.segmentOverheadBytes;
    this.#applied = start.applied;
    this.#snapshotIndex = start.snapshotIndex;
    this.#diskState = start.diskState;
    this.#turnSoon();
  }

  receive(from: NodeId, bytes: Uint8Array): void {
    if (this.#isStopped) return;
    const message = decodeMessage(bytes);
    if (message === null) {
      this.#drops.malformed += 1;
    } else if (!this.#canKeep(message)) {
      this.#drops.unstorable += 1;
    } else if (message.from !== from || message.to !== this.#options.raft.id) {
      this.#drops.misaddressed += 1;
    } else {
      this.#messages.push(message);
      this.#turnSoon();
    }
  }

  #canKeep(message: Message): boolean {
    const isTooLarge = ({ data }: { readonly data: Uint8Array }): boolean =>
      data.length > this.#entryBytesMax;
    if (message.kind === 'append') return !message.entries.some(isTooLarge);
    return message.kind !== 'forward' || !message.proposals.some(isTooLarge);
  }

  unreachable(id: NodeId): void {
    if (this.#isStopped) return;
    this.#operations.push({ kind: 'unreachable', id });
    this.#turnSoon();
  }

  propose(data: Uint8Array, done: GroupDone<Uint8Array>): void {
    if (data.length > this.#entryBytesMax) {
      const { leader } = this.#node.status();
      this.#ports.timers.after(0, () => done(err({ error: 'too-large', leader })));
      return;
    }
    const id = this.#ask((reply) => {
      if (reply.kind === 'failed') {
        done(err({ error: reply.error, leader: reply.leader }));
      } else if (reply.kind === 'committed') {
        const result = this.#results.get(reply.index);
        this.#results.delete(reply.index);
        // It ran, and what it said is gone: a session gives it again.
        if (result === undefined) done(err({ error: 'outcome-unknown', leader: 0 }));
        else done(ok(result));
      }
    });
    this.#proposals.push({ id, data });
  }

  read(done: GroupDone<Index>): void {
    this.#reads.push(done);
    this.#turnSoon();
  }

  changeMembers(changes: readonly MemberChange[], done: GroupDone<Index>): void {
    const id = this.#ask(indexAnswer(done));
    this.#operations.push({ kind: 'changeMembers', id, changes });
  }

  setLevel(level: number, done: GroupDone<Index>): void {
    const id = this.#ask(indexAnswer(done));
    this.#operations.push({ kind: 'setLevel', id, level });
  }

  transfer(to: NodeId, done: GroupDone<NodeId>): void {
    const id = this.#ask((reply) => {
      if (reply.kind === 'failed') done(err({ error: reply.error, leader: reply.leader }));
      else if (reply.kind === 'transferred') done(ok(reply.to));
    });
    this.#operations.push({ kind: 'transfer', id, to });
  }

  status(): RaftStatus {
    return this.#node.status();
  }

  drops(): GroupDrops {
    return { ...this.#drops };
  }

  stop(done: () => void): void {
    this.#isStopped = true;
    for (const timer of [this.#wake?.timer, this.#settleTimer, this.#spaceTimer]) timer?.cancel();
    this.#answers.clear();
    this.#held = [];
    this.#log.close(done);
  }

  // What the log says.

  persisted(seq: number): void {
    this.#durableSeq = seq - this.#persistsBefore;
    this.#turnSoon();
    const isIdle = this.#durableSeq === this.#persistedSeq;
    if (!isIdle || this.#settleTimer !== null || this.#isStopped) return;
    this.#settleTimer = this.#ports.timers.after(GROUP_LIMITS.settleMs, () => {
      this.#settleTimer = null;
      if (this.#durableSeq !== this.#persistedSeq) return;
      this.#step({ kind: 'settle' });
      // What it wrote settles in its turn. A failure comes as `disk`.
      if (this.#durableSeq === this.#persistedSeq) this.#log.settle(() => {});
    });
  }

  disk(state: LogDiskState, detail: string): void {
    this.#diskState = state;
    this.#turnSoon();
    if (state === 'full') {
      this.#isSnapshotDue = true; // It lets old segments go.
      this.#retrySpaceLater();
    }
    this.#ports.timers.after(0, () => {
      if (!this.#isStopped) this.#events.disk(state, detail);
    });
  }

  #retrySpaceLater(): void {
    if (this.#spaceTimer !== null || this.#isStopped) return;
    this.#spaceTimer = this.#ports.timers.after(GROUP_LIMITS.spaceRetryMs, () => {
      this.#spaceTimer = null;
      if (this.#diskState !== 'full') return;
      this.#log.retrySpace();
      this.#isSnapshotDue = true;
      this.#turnSoon();
      this.#retrySpaceLater();
    });
  }

  // Turns.

  #ask(answer: Answer): number {
    this.#ids += 1;
    this.#answers.set(this.#ids, answer);
    this.#turnSoon();
    return this.#ids;
  }

  #turnSoon(): void {
    if (this.#isTurnDue || this.#isStopped) return;
    this.#isTurnDue = true;
    this.#ports.timers.after(0, () => {
      this.#isTurnDue = false;
      if (!this.#isStopped) this.#turn();
    });
  }

  /** Feeds what has come since the last turn. */
  #turn(): void {
    if (this.#diskState !== this.#diskFed) {
      this.#diskFed = this.#diskState;
      this.#step({ kind: 'disk', state: this.#diskState });
    }
    if (this.#durableSeq > this.#durableFed) {
      this.#durableFed = this.#durableSeq;
      this.#releaseHeld();
      this.#step({ kind: 'persisted', seq: this.#durableSeq });
    }
    const messages = this.#messages;
    this.#messages = [];
    for (const message of messages) this.#step({ kind: 'message', message });
    const operations = this.#operations;
    this.#operations = [];
    for (const operation of operations) this.#step(operation);
    this.#feedReads();
    const proposals = this.#proposals;
    this.#proposals = [];
    if (proposals.length > 0) this.#step({ kind: 'propose', proposals });
    if (this.#ports.clock.nowMs() >= this.#node.nextWakeMs()) this.#step({ kind: 'tick' });
    this.#takeSnapshotIfDue();
    if (this.#isStopped) return;
    this.#tellStatus();
    this.#armWake();
  }

  /** All reads of a turn came before the core's one, which confirms them all. */
  #feedReads(): void {
    if (this.#reads.length === 0) return;
    const reads = this.#reads;
    this.#reads = [];
    const id = this.#ask((reply) => {
      for (const done of reads) {
        if (reply.kind === 'failed') done(err({ error: reply.error, leader: reply.leader }));
        else if (reply.kind === 'readable') done(ok(reply.index));
      }
    });
    this.#step({ kind: 'read', id });
  }

  /** H1: one input at a time; what follows from it comes before the next. */
  #step(first: Input): void {
    this.#following.push(first);
    for (;;) {
      const input = this.#following.shift();
      if (input === undefined || this.#isStopped) return;
      const nowMs = this.#ports.clock.nowMs();
      const output = this.#node.step(input, nowMs);
      const { id } = this.#options.raft;
      this.#observe?.({ id, input, output, nowMs, node: this.#node });
      this.#carryOut(output);
    }
  }

  #carryOut(output: Output): void {
    for (const message of output.send) this.#send(message);
    const { persist, afterFsync, afterSeq } = output;
    if (persist !== null) {
      this.#persistedSeq = persist.seq;
      if (persist.snapshot !== null) this.#snapshotIndex = persist.snapshot.meta.index;
      this.#log.persist(logPersistOf(persist, this.#persistsBefore));
    }
    if (afterFsync.length > 0) {
      if (afterSeq > this.#durableFed) this.#held.push({ seq: afterSeq, messages: afterFsync });
      else for (const message of afterFsync) this.#send(message);
    }
    for (const item of output.apply) this.#applyOrGiveUp(item);
    for (const reply of output.reply) this.#answer(reply);
    if (this.#answers.size === 0) this.#results.clear();
  }

  #send(message: Message): void {
    this.#ports.transport.send(message.to, encodeMessage(message));
  }

  /** H4. */
  #releaseHeld(): void {
    let count = 0;
    for (const { seq, messages } of this.#held) {
      if (seq > this.#durableFed) break;
      count += 1;
      for (const message of messages) this.#send(message);
    }
    if (count > 0) this.#held.splice(0, count);
  }

  #applyOrGiveUp(item: ApplyItem): void {
    if (this.#isMachineLost) return;
    try {
      this.#apply(item);
    } catch (cause) {
      if (!(cause instanceof DatabaseError)) throw cause;
      this.#isMachineLost = true;
      this.disk('failed', `the state machine's database: ${cause.message}`);
    }
  }

  /** H6. */
  #apply(item: ApplyItem): void {
    const { machine } = this;
    const { checkpointEntries } = this.#options;
    if (item.kind === 'restore') {
      const { meta, data } = item.snapshot;
      if (!machine.restore(data)) {
        this.#isMachineLost = true;
        this.disk('failed', `the state machine cannot read the snapshot at ${meta.index}`);
        return;
      }
      this.#applied = meta.index;
      machine.settle(meta.index);
      this.#following.push({ kind: 'applied', index: meta.index, checkpoint: null });
      return;
    }
    let checkpoint: Checkpoint | null = null;
    for (const { kind, index, timeMs, data } of item.entries) {
      if (kind === 'command') this.#keepResult(index, machine.apply(index, timeMs, data));
      this.#applied = index;
      if (index % checkpointEntries === 0) checkpoint = { index, hash: machine.hash() };
    }
    machine.settle(this.#applied);
    this.#following.push({ kind: 'applied', index: this.#applied, checkpoint });
  }

  /** Only whoever waits for an answer can ask for it, and not for ever. */
  #keepResult(index: Index, result: Uint8Array): void {
    if (this.#answers.size === 0) return;
    this.#results.set(index, result);
    if (this.#results.size <= GROUP_LIMITS.resultsMax) return;
    const [oldest] = this.#results.keys();
    if (oldest !== undefined) this.#results.delete(oldest);
  }

  #answer(reply: Reply): void {
    if (this.#isStopped) return;
    if (reply.kind === 'alarm') {
      if (reply.alarm === 'log-too-long') this.#isSnapshotDue = true;
      else this.#events.alarm(reply.alarm, reply.node, reply.index);
      return;
    }
    const answer = this.#answers.get(reply.id);
    this.#answers.delete(reply.id);
    answer?.(reply);
  }

  #takeSnapshotIfDue(): void {
    const isLong = this.#applied - this.#snapshotIndex >= this.#options.snapshotEntries;
    if ((!isLong && !this.#isSnapshotDue) || this.#isMachineLost) return;
    if (this.#applied <= this.#snapshotIndex || this.#isStopped) return;
    this.#isSnapshotDue = false;
    const data = this.machine.snapshot();
    this.#step({ kind: 'snapshotTaken', index: this.#applied, data });
  }

  #tellStatus(): void {
    const status = this.#node.status();
    const { role, term, leader } = status;
    const told = this.#told;
    if (told?.role === role && told.term === term && told.leader === leader) return;
    this.#told = { role, term, leader };
    this.#events.status(status);
  }

  /** H8. The timer is moved only where it would come too late: it looks again when it fires. */
  #armWake(): void {
    const atMs = this.#node.nextWakeMs();
    if (this.#wake !== null && this.#wake.atMs <= atMs) return;
    this.#wake?.timer.cancel();
    this.#wake = null;
    if (atMs === Number.POSITIVE_INFINITY) return;
    const delayMs = Math.max(0, Math.ceil(atMs - this.#ports.clock.nowMs()));
    const timer = this.#ports.timers.after(delayMs, () => {
      this.#wake = null;
      this.#turnSoon();
    });
    this.#wake = { atMs, timer };
  }
}

function indexAnswer(done: GroupDone<Index>): Answer {
  return (reply) => {
    if (reply.kind === 'failed') done(err({ error: reply.error, leader: reply.leader }));
    else if (reply.kind === 'committed') done(ok(reply.index));
  };
}
