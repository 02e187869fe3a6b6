/**
 * The mutable state of one node and the few ways in which every part of the core touches it. Only
 * files of this folder see it; the outside sees `RaftNode` (node.ts).
 */

import { assert } from '../base/assert.ts';
import { RAFT_LIMITS } from '../base/limits.ts';
import type { RaftErrorCode } from './errors.ts';
import { entryBytes, type ConfAt, type RaftLog } from './log.ts';
import { isVoter, memberOf } from './membership.ts';
import { Progress } from './progress.ts';
import type {
  HardState,
  Alarm,
  ApplyItem,
  Body,
  Checkpoint,
  DiskState,
  Entry,
  EntryKind,
  Index,
  Member,
  Message,
  NodeId,
  RaftOptions,
  Reply,
  Role,
  Snapshot,
  SnapshotMeta,
  Term,
} from './types.ts';

/** What this output will hold. */
export interface Outbox {
  send: Message[];
  afterFsync: Message[];
  reply: Reply[];
  apply: ApplyItem[];
  /** A snapshot to persist with this output. */
  snapshot: Snapshot | null;
  isLogDiscarded: boolean;
}

/** One `Persist` that the disk has not confirmed yet. */
export interface PersistMark {
  readonly seq: number;
  readonly atMs: number;
  readonly term: Term;
  readonly votedFor: NodeId;
  /**
   * What its confirmation proves: entries up to here. Cut down when the log is cut, so that a late
   * confirmation says nothing about entries that were replaced since, not even by equal ones: the
   * disk may have carried out the cut and not yet the replacement.
   */
  lastIndex: Index;
}

/** A proposal of this node's host that is somewhere in the log. */
export interface PendingProposal {
  readonly id: number;
  readonly term: Term;
  readonly deadlineMs: number;
}

/** Proposals on their way to the leader. */
export interface PendingForward {
  readonly ids: readonly number[];
  readonly deadlineMs: number;
}

/** The attempts of one sender that were taken; all up to `floor` may have been. */
export interface SettledForwards {
  readonly attempts: Set<number>;
  floor: number;
}

/** A read of this node's host. */
export interface PendingRead {
  readonly id: number;
  readonly deadlineMs: number;
}

/** A read at the leader: its own (`from` 0) or a follower's. */
export interface LeaderRead {
  readonly from: NodeId;
  readonly nonce: number;
  readonly attempt: number;
  readonly reads: readonly PendingRead[];
  /** Commit index when it came. */
  index: Index;
  /** The heartbeat round that confirms it; 0: not sent yet. */
  round: number;
}

export interface PendingTransfer {
  readonly id: number | null;
  readonly to: NodeId;
  readonly deadlineMs: number;
  readonly term: Term;
}

/** A snapshot that is coming in. */
export interface Incoming {
  readonly meta: SnapshotMeta;
  readonly data: Uint8Array;
  received: number;
}

export interface Core {
  readonly options: RaftOptions;
  readonly log: RaftLog;
  readonly nonce: number;
  nowMs: number;
  role: Role;
  term: Term;
  votedFor: NodeId;
  leader: NodeId;
  commit: Index;
  /** Everything up to here is on this disk. */
  durableIndex: Index;
  /** Given to the state machine. */
  handedIndex: Index;
  /** Bytes that the state machine has and has not finished. */
  handedBytes: number;
  appliedIndex: Index;
  committedConf: ConfAt;
  level: number;
  /** Feature levels since the last snapshot, and the one before it. */
  levels: { readonly index: Index; readonly level: number }[];
  disk: DiskState;
  isRemoved: boolean;
  /** A received snapshot that the state machine gets once it is durable. */
  restoring: Snapshot | null;

  // Towards the disk.
  seq: number;
  durableSeq: number;
  marks: PersistMark[];
  /** The first entry that no `Persist` holds yet. */
  unsavedFrom: Index;
  saved: HardState;
  /** The commit index goes to the disk with the next output, if it is newer there. */
  isHintDue: boolean;
  compactTo: Index;

  // Time.
  electionDueMs: number;
  leaderHeardMs: number;
  heartbeatDueMs: number;
  sweepDueMs: number;
  /** Log time and local time of the same moment. */
  logClock: { logMs: number; atMs: number };

  // Elections.
  votes: Map<NodeId, boolean>;
  electionsLost: number;

  // As a leader.
  progress: Map<NodeId, Progress>;
  termStart: Index;
  leaderFromMs: number;
  uncommittedBytes: number;
  round: number;
  leaderReads: LeaderRead[];
  transfer: PendingTransfer | null;
  /** Forwarded proposals that this process took or refused, by sender and nonce, the oldest first. */
  forwardsSettled: Map<string, SettledForwards>;
  /** The term on disk at the start: of it and older ones an earlier life may have been leader. */
  readonly startTerm: Term;
  isCommitDue: boolean;

  // Requests of this node's host.
  proposals: Map<Index, PendingProposal[]>;
  proposalCount: number;
  forwards: Map<number, PendingForward>;
  /** Proposals in `forwards`. */
  forwardedCount: number;
  /** Reads on their way to the leader, by attempt: at most one attempt at a time. */
  readAttempt: { attempt: number; reads: readonly PendingRead[]; atMs: number } | null;
  readQueue: PendingRead[];
  /** Confirmed reads that wait for the state machine. */
  readable: { id: number; index: Index }[];
  attempts: number;

  incoming: Incoming | null;
  checkpoints: Checkpoint[];
  alarmsRaised: Set<string>;
  out: Outbox;
}

export function emptyOutbox(): Outbox {
  return {
    send: [],
    afterFsync: [],
    reply: [],
    apply: [],
    snapshot: null,
    isLogDiscarded: false,
  };
}

/** Sends now: nothing in the message rests on what this disk has yet to keep. */
export function sendNow(self: Core, to: NodeId, body: Body, term = self.term): void {
  self.out.send.push(messageTo(self, to, body, term));
}

/** Sends once everything so far is durable: the message is a promise. */
export function sendDurable(self: Core, to: NodeId, body: Body, term = self.term): void {
  self.out.afterFsync.push(messageTo(self, to, body, term));
}

function messageTo(self: Core, to: NodeId, body: Body, term: Term): Message {
  const { cluster, id, incarnation } = self.options;
  assert(to !== id, 'a node does not write to itself');
  return { cluster, from: id, to, incarnation, term, ...body };
}

export function fail(self: Core, id: number, error: RaftErrorCode): void {
  self.out.reply.push({ kind: 'failed', id, error, leader: self.leader });
}

/** Tells the operator, once for each node and reason. */
export function raiseAlarm(self: Core, alarm: Alarm, node: NodeId, index: Index = 0): void {
  const key = `${alarm}:${node}`;
  // Strangers can call themselves by any number of ids: that is limited too.
  if (self.alarmsRaised.has(key) || self.alarmsRaised.size >= RAFT_LIMITS.alarmsMax) return;
  self.alarmsRaised.add(key);
  self.out.reply.push({ kind: 'alarm', alarm, node, index });
}

/** This node as the effective configuration has it; null: no member. */
export function selfMember(self: Core): Member | null {
  return memberOf(self.log.conf.conf, self.options.id);
}

/**
 * Whether this node may stand for election. While its latest configuration is not committed, a
 * voter that it leaves out may be the only one with the entries to win (thesis, §4.2.2): it leads
 * until that is committed, without counting itself.
 */
export function mayStand(self: Core): boolean {
  const { id } = self.options;
  const { conf, index } = self.log.conf;
  if (isVoter(conf, id)) return true;
  return index > self.commit && isVoter(self.committedConf.conf, id);
}

/** Whether an entry of the leader's own term is committed: before that it knows no commit index. */
export function hasCommittedInTerm(self: Core): boolean {
  return self.role === 'leader' && self.commit >= self.termStart;
}

/** Log time now, by the clock of a leader. */
export function logTimeMs(self: Core): number {
  const { logMs, atMs } = self.logClock;
  return Math.max(self.log.lastTimeMs, logMs + Math.floor(self.nowMs - atMs));
}

/** Appends an entry of this leader's term. */
export function appendOwn(self: Core, kind: EntryKind, data: Uint8Array): Entry {
  assert(self.role === 'leader', 'only a leader makes entries');
  const entry: Entry = {
    term: self.term,
    index: self.log.lastIndex + 1,
    kind,
    timeMs: logTimeMs(self),
    data,
  };
  self.log.append([entry]);
  self.uncommittedBytes += entryBytes(entry);
  if (kind === 'config') syncProgress(self);
  return entry;
}

/** Follows the effective configuration: newcomers are tracked, others forgotten. */
export function syncProgress(self: Core): void {
  const kept = new Map<NodeId, Progress>();
  for (const { id } of self.log.conf.conf.members) {
    if (id === self.options.id) continue;
    const progress = self.progress.get(id) ?? new Progress(id, self.log.lastIndex + 1);
    // A newcomer is given one time-out to be heard before it counts as silent.
    if (!self.progress.has(id)) {
      progress.heardMs = self.nowMs;
      progress.activeFromMs = self.nowMs;
    }
    kept.set(id, progress);
  }
  self.progress = kept;
}

/** Whether the disk has kept something waiting for longer than it may. */
export function isDiskStalled(self: Core): boolean {
  const oldest = self.marks[0];
  if (oldest === undefined) return false;
  return (
    self.nowMs - oldest.atMs > self.options.diskStallMs ||
    self.marks.length >= RAFT_LIMITS.persistsMax
  );
}

/** A number that this process has not used before, for one attempt of a request. */
export function nextAttempt(self: Core): number {
  self.attempts += 1;
  return self.attempts;
}
