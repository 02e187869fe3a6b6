/**
 * One Raft node: `step(input, nowMs) -> Output`. This file decides what is let in and what goes
 * out; the rules stand in the files that it calls. Invariants by number: SPEC.md.
 *
 * N1: nothing from another cluster, from a removed member or from another disk under a member's id
 *     is acted on.
 * N2: an older term's message changes nothing; a newer term's makes this node a follower of it,
 *     except for a vote while a leader is heard.
 * N3: a failed disk takes part in nothing: no vote, no acknowledgement, no leadership.
 */

import { assert, unreachable } from '../base/assert.ts';
import type { Result } from '../base/result.ts';
import { answerReadable, handOut, onApplied } from './apply.ts';
import { addCheckpoint } from './checkpoints.ts';
import { hearsLeader, onElectionTimeout, onOwnVoteDurable, onUnreachable } from './election.ts';
import { refuseOldLeader } from './follower.ts';
import { bestSuccessor, onLeaderTick } from './leadership.ts';
import { isRemovedFrom, memberOf } from './membership.ts';
import {
  changeMembers,
  propose,
  refuseOldForward,
  onForwardReply,
  setLevel,
  sweepProposals,
  transferLeadership,
} from './proposals.ts';
import { advanceReads, onReadAsk, onReadReply, startRead, sweepReads } from './reads.ts';
import { announceCommit, isLeadOver, maybeCommit, maybeLeaveJoint } from './replication.ts';
import { becomeFollower } from './roles.ts';
import { takeSnapshot, watchLogLength } from './snapshots.ts';
import { startCore, type StartError } from './start.ts';
import { emptyOutbox, fail, raiseAlarm, sendNow, type Core } from './state.ts';
import { statusOf } from './status.ts';
import { dispatch } from './table.ts';
import type {
  DiskState,
  Entry,
  Input,
  Message,
  Output,
  Persist,
  RaftOptions,
  RaftStatus,
  Stored,
} from './types.ts';

export class RaftNode {
  readonly #core: Core;

  private constructor(core: Core) {
    this.#core = core;
  }

  /** Starts from what the disk holds. An error says why this disk may not take part. */
  static start(options: RaftOptions, stored: Stored, nowMs: number): Result<RaftNode, StartError> {
    const core = startCore(options, stored, nowMs);
    return core.ok ? { ok: true, value: new RaftNode(core.value) } : core;
  }

  /** Takes one input at `nowMs` (monotonic; a smaller one counts as the last). */
  step(input: Input, nowMs: number): Output {
    const self = this.#core;
    self.nowMs = Math.max(self.nowMs, nowMs);
    take(self, input);
    settle(self);
    return finish(self);
  }

  /** When the next `tick` is due, in the time of `step`. */
  nextWakeMs(): number {
    const self = this.#core;
    const isWaiting =
      self.proposalCount > 0 ||
      self.forwards.size > 0 ||
      self.readAttempt !== null ||
      self.readQueue.length > 0 ||
      self.transfer !== null;
    const sweepMs = isWaiting ? self.sweepDueMs : Number.POSITIVE_INFINITY;
    return Math.min(self.role === 'leader' ? self.heartbeatDueMs : self.electionDueMs, sweepMs);
  }

  status(): RaftStatus {
    return statusOf(this.#core);
  }

  /** The entry at `index`, or null where the log in memory does not reach. For checkers. */
  entryAt(index: number): Entry | null {
    return this.#core.log.entryAt(index);
  }
}

function take(self: Core, input: Input): void {
  switch (input.kind) {
    case 'tick':
      return onTick(self);
    case 'message':
      return onMessage(self, input.message);
    case 'propose':
      return propose(self, input.proposals);
    case 'read':
      return self.disk === 'failed'
        ? fail(self, input.id, 'disk-failed')
        : startRead(self, input.id);
    case 'changeMembers':
      return changeMembers(self, input.id, input.changes);
    case 'transfer':
      return transferLeadership(self, input.id, input.to);
    case 'setLevel':
      return setLevel(self, input.id, input.level);
    case 'persisted':
      return onPersisted(self, input.seq);
    case 'applied':
      onApplied(self, input.index);
      if (input.checkpoint !== null) addCheckpoint(self, input.checkpoint);
      return;
    case 'snapshotTaken':
      return takeSnapshot(self, input.index, input.data);
    case 'disk':
      return onDisk(self, input.state);
    case 'settle':
      self.isHintDue = true;
      return;
    case 'unreachable':
      return onUnreachable(self, input.id);
    default:
      return unreachable(input);
  }
}

function onTick(self: Core): void {
  if (self.nowMs >= self.sweepDueMs) {
    self.sweepDueMs = self.nowMs + self.options.heartbeatMs;
    sweepProposals(self);
    sweepReads(self);
  }
  if (self.disk === 'failed') {
    // A leader may have learnt, from its own log, that it must stop: its heartbeats are never due again.
    if (self.role !== 'follower') becomeFollower(self, self.term, 0);
    self.electionDueMs = Number.POSITIVE_INFINITY;
  } else if (self.role === 'leader') {
    onLeaderTick(self);
  } else if (self.nowMs >= self.electionDueMs) {
    onElectionTimeout(self);
  }
}

/** N3. A full disk may have room again; a failed one stays failed until a new start. */
function onDisk(self: Core, state: DiskState): void {
  if (self.disk === 'failed') return;
  self.disk = state;
  if (state === 'failed' && self.role !== 'follower') becomeFollower(self, self.term, 0);
}

function onPersisted(self: Core, seq: number): void {
  assert(seq <= self.seq, 'only what was given out becomes durable');
  if (seq <= self.durableSeq) return;
  self.durableSeq = seq;
  let count = 0;
  let isOwnVote = false;
  for (const mark of self.marks) {
    if (mark.seq > seq) break;
    count += 1;
    self.durableIndex = Math.max(self.durableIndex, mark.lastIndex);
    isOwnVote = mark.term === self.term && mark.votedFor === self.options.id;
  }
  self.marks.splice(0, count);
  if (self.role === 'leader') self.isCommitDue = true;
  const counts = isOwnVote && self.role === 'candidate' && !self.votes.has(self.options.id);
  if (counts && self.disk !== 'failed') onOwnVoteDurable(self);
}

function onMessage(self: Core, message: Message): void {
  if (self.disk === 'failed' || !isAdmitted(self, message)) return;
  const { kind, term } = message;
  // A pre-vote is about a term to come; being removed is no matter of terms.
  const isTermless =
    kind === 'preVote' || kind === 'removed' || (kind === 'preVoteReply' && message.isGranted);
  if (isTermless) {
    dispatch(self, message);
    return;
  }
  if (term < self.term) {
    answerOldTerm(self, message);
    return;
  }
  if (term > self.term) {
    if (kind === 'vote' && !message.isTransfer && hearsLeader(self)) return;
    becomeFollower(self, term, 0);
  }
  dispatch(self, message);
}

/** N1. */
function isAdmitted(self: Core, message: Message): boolean {
  const { from, to, cluster, incarnation } = message;
  if (cluster !== self.options.cluster) {
    raiseAlarm(self, 'wrong-cluster', from);
    return false;
  }
  if (to !== self.options.id || from === self.options.id) return false;
  const member = memberOf(self.log.conf.conf, from);
  if (member !== null && member.incarnation !== incarnation) {
    raiseAlarm(self, 'wrong-incarnation', from);
    return false;
  }
  if (!isRemovedFrom(self.committedConf.conf, from)) return true;
  // A leader that has removed itself finishes what it began.
  if (from === self.leader && message.term === self.term) return true;
  // It may not know yet; without this it would campaign for ever.
  if (message.kind === 'preVote' || message.kind === 'vote') {
    sendNow(self, from, { kind: 'removed', index: self.committedConf.index });
  }
  return message.kind === 'removed';
}

/** N2. Old answers are dropped; whoever asks learns our term; answered requests stay answered. */
function answerOldTerm(self: Core, message: Message): void {
  const { kind, from } = message;
  if (kind === 'vote') sendNow(self, from, { kind: 'voteReply', isGranted: false });
  else if (kind === 'append' || kind === 'heartbeat' || kind === 'snapshotChunk') {
    refuseOldLeader(self, from);
  } else if (kind === 'forward') refuseOldForward(self, message);
  else if (kind === 'readAsk') onReadAsk(self, message);
  else if (kind === 'readReply') onReadReply(self, message);
  else if (kind === 'forwardReply') onForwardReply(self, message);
}

/** What follows from an input, whatever it was. */
function settle(self: Core): void {
  while (self.role === 'leader' && self.isCommitDue) {
    if (maybeCommit(self)) announceCommit(self);
    maybeLeaveJoint(self);
    if (isLeadOver(self)) stepAside(self);
  }
  advanceReads(self);
  handOut(self);
  answerReadable(self);
  watchLogLength(self);
}

/** Removed or demoted: another voter is asked to lead at once, so that nobody waits for a time-out. */
function stepAside(self: Core): void {
  const next = bestSuccessor(self);
  if (next !== null) sendNow(self, next, { kind: 'timeoutNow' });
  becomeFollower(self, self.term, 0);
}

function finish(self: Core): Output {
  const { send, afterFsync, reply, apply } = self.out;
  const persist = self.disk === 'failed' ? null : takePersist(self);
  self.out = emptyOutbox();
  const isWaiting = afterFsync.length > 0 && self.durableSeq < self.seq;
  return {
    send,
    persist,
    reply,
    // N3: what rests on a failed disk is never said.
    afterFsync: self.disk === 'failed' ? [] : afterFsync,
    afterSeq: isWaiting ? self.seq : 0,
    apply,
  };
}

/** Everything that the disk does not have yet, or null. */
function takePersist(self: Core): Persist | null {
  const { log, term, votedFor, commit } = self;
  const { snapshot, isLogDiscarded } = self.out;
  const hasEntries = self.unsavedFrom <= log.lastIndex;
  // A restart without a quorum goes on serving from what the hint covers.
  const isHintNew = self.isHintDue && commit > self.saved.commit;
  self.isHintDue = false;
  const isHardNew = isHintNew || term !== self.saved.term || votedFor !== self.saved.votedFor;
  if (!hasEntries && !isHardNew && snapshot === null) return null;
  const entries = hasEntries
    ? log.slice(self.unsavedFrom, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY)
    : [];
  self.seq += 1;
  self.saved = { term, votedFor, commit };
  self.unsavedFrom = log.lastIndex + 1;
  self.marks.push({
    seq: self.seq,
    atMs: self.nowMs,
    term,
    votedFor,
    lastIndex: log.lastIndex,
  });
  return {
    seq: self.seq,
    hardState: { term, votedFor, commit },
    snapshot,
    isLogDiscarded,
    entries,
    compactTo: self.compactTo,
  };
}
