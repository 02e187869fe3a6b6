/**
 * The mutable state of one node and the few ways in which every part of the core touches it. Only
 * files of this folder see it; the outside sees `CasNode` (node.ts).
 */

import { CASPAXOS_LIMITS } from '../base/caspaxosLimits.ts';
import { compareBallots } from './ballot.ts';
import type { Bugs } from './bugs.ts';
import type { SlotTable } from './slotTable.ts';
import type {
  Alarm,
  Ballot,
  Body,
  CasOptions,
  Change,
  Control,
  DiskState,
  Header,
  Key,
  Message,
  NodeId,
  Refusal,
  Register,
  Reply,
} from './types.ts';

/** What this output will hold. */
interface Outbox {
  send: Message[];
  afterFsync: Message[];
  reply: Reply[];
}

/** One key's request: a change, or a read where `change` is null. */
export interface Request {
  /** The host's; 0 for a key of a rescan. */
  readonly id: number;
  readonly key: Key;
  readonly change: Change | null;
  /** The lane of the rescan that asked; 0: none. */
  readonly lane: number;
  readonly deadlineMs: number;
  rounds: number;
  /** A register with this change in it was proposed: it may take effect until shown otherwise. */
  wasProposed: boolean;
  /** A quorum that was asked did not agree: a read goes through a whole round. */
  isFullNeeded: boolean;
  /** It makes no new key, and these refused it for lack of room. */
  carriedTo: ReadonlySet<NodeId>;
  /** Why the last round did not come to its end. */
  hindrance: Refusal | 'silence';
}

/** What one acceptor said it has accepted. */
export interface Answer {
  readonly accepted: Ballot;
  readonly register: Register;
}

/** What is told when the quorum has accepted. */
export type Outcome = 'changed' | 'conflict' | 'value';

/** The round of a key that is under way. */
export interface Round {
  readonly request: Request;
  /** The acceptors and the epoch of the whole round. */
  readonly control: Control;
  phase: 'query' | 'prepare' | 'accept' | 'backoff';
  readonly ballot: Ballot;
  readonly answers: Map<NodeId, Answer>;
  readonly acks: Set<NodeId>;
  readonly refusals: Set<NodeId>;
  proposed: Register | null;
  next: Ballot | null;
  outcome: Outcome;
  /** As of the request when it began. */
  readonly carriedTo: ReadonlySet<NodeId>;
  dueMs: number;
}

/** A promise that a quorum gave, with the value that goes with it. */
export interface Cached {
  readonly key: Key;
  readonly ballot: Ballot;
  readonly register: Register;
  readonly epoch: number;
}

/** The pages of one old acceptor. */
export interface Lane {
  readonly node: NodeId;
  /** The last key of the page before; null: none yet. */
  after: Key | null;
  ballot: Ballot;
  isLast: boolean;
  /** Keys of this page that are not done yet. */
  pending: number;
  isDone: boolean;
  /** When to ask again; infinite while its keys are under way. */
  dueMs: number;
}

export interface Rescan {
  readonly id: number;
  readonly control: Control;
  /** By numbers that are never used again: late keys of an older rescan find none. */
  readonly lanes: Map<number, Lane>;
  /** Without a page or a key done until then it is lost. */
  deadlineMs: number;
}

export interface Core {
  readonly options: CasOptions;
  readonly bugs: Bugs;
  nowMs: number;
  disk: DiskState;
  /** The highest epoch seen. */
  epoch: number;
  control: Control | null;
  readonly buckets: Map<number, SlotTable>;
  /** 0: not granted yet. */
  proposer: number;
  counter: number;
  /** By key: one round at a time. */
  readonly rounds: Map<string, Round>;
  /** Requests of each key in order; the first is the one under way. */
  readonly queues: Map<string, Request[]>;
  /** Requests whose next round is to begin in this step. */
  readonly ready: Request[];
  /** Keys of a rescan that ended in this step. */
  readonly laneKeysDone: { readonly lane: number; readonly isDone: boolean }[];
  readonly cache: Map<string, Cached>;
  requestCount: number;
  rescan: Rescan | null;
  /** Nothing is due before; infinite: nothing is under way. */
  wakeMs: number;
  seq: number;
  durableSeq: number;
  savedEpoch: number;
  isControlNew: boolean;
  /** Keys that the next persist holds; true: what is accepted is new, not the promise alone. */
  readonly dirty: Map<string, { readonly key: Key; isAcceptedNew: boolean }>;
  /** Messages to oneself: at once, and those that wait for the disk. */
  readonly selfInbox: Message[];
  readonly selfHeld: { readonly seq: number; readonly message: Message }[];
  readonly alarmsRaised: Set<string>;
  out: Outbox;
  roundCount: number;
  conflictCount: number;
}

export function emptyOutbox(): Outbox {
  return { send: [], afterFsync: [], reply: [] };
}

/** The name under which a key is kept in maps. */
export function keyText(key: Key): string {
  return `${key.bucket}/${key.name}`;
}

/** Keys in the order in which they are listed. */
export function compareKeys(a: Key, b: Key): number {
  if (a.bucket !== b.bucket) return a.bucket - b.bucket;
  return a.name === b.name ? 0 : a.name < b.name ? -1 : 1;
}

/** Something the next persist must hold. */
export function isDirty(self: Core): boolean {
  return self.dirty.size > 0 || self.epoch > self.savedEpoch || self.isControlNew;
}

/** A proposer's message, of the epoch of its round. */
export function ask(self: Core, to: NodeId, epoch: number, body: Body): void {
  const { id, cluster, incarnation } = self.options;
  const message: Message = { cluster, from: id, to, incarnation, epoch, ...body };
  if (to === id) self.selfInbox.push(message);
  else self.out.send.push(message);
}

/** A5. An acceptor's message: it leaves when all that it rests on is durable. */
export function answer(self: Core, to: Header, body: Body): void {
  const { id, cluster, incarnation } = self.options;
  const message: Message = {
    cluster,
    from: id,
    to: to.from,
    incarnation,
    epoch: self.epoch,
    ...body,
  };
  const isEarly = self.bugs.has('early-answer');
  const isWaiting = !isEarly && (isDirty(self) || self.durableSeq < self.seq);
  if (to.from === id) {
    const seq = isDirty(self) ? self.seq + 1 : self.seq;
    if (isWaiting) self.selfHeld.push({ seq, message });
    else self.selfInbox.push(message);
  } else if (isEarly) {
    self.out.send.push(message);
  } else {
    self.out.afterFsync.push(message);
  }
}

export function tell(self: Core, reply: Reply): void {
  self.out.reply.push(reply);
}

export function raiseAlarm(self: Core, alarm: Alarm, node: NodeId): void {
  const text = `${alarm} ${node}`;
  const isFull = self.alarmsRaised.size >= CASPAXOS_LIMITS.alarmsMax;
  if (self.alarmsRaised.has(text) || isFull) return;
  self.alarmsRaised.add(text);
  tell(self, { kind: 'alarm', alarm, node });
}

/** B1. A ballot that this proposer never used and that is above all it has heard of. */
export function takeBallot(self: Core, epoch: number): Ballot {
  self.counter += 1;
  return { epoch, counter: self.counter, proposer: self.proposer };
}

/** Whoever heard of a ballot begins above it. */
export function fastForward(self: Core, ballot: Ballot): void {
  self.counter = Math.max(self.counter, ballot.counter);
}

export function scheduleAt(self: Core, dueMs: number): void {
  self.wakeMs = Math.min(self.wakeMs, dueMs);
}

/** The answer of the highest accepted ballot; there is one at least. */
export function highest(answers: Iterable<Answer>): Answer | null {
  let best: Answer | null = null;
  for (const one of answers) {
    if (best === null || compareBallots(one.accepted, best.accepted) > 0) best = one;
  }
  return best;
}
