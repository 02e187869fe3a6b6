/**
 * What clients and operators ask for: commands, changes of members, levels, transfers.
 *
 * P1: a proposal is taken by the leader of exactly the term that it was sent to, once.
 * P2: one change of members at a time, and none before an entry of the leader's own term is
 *     committed (Ongaro's correction of single-server changes, raft-dev, 2015).
 * P3: a refusal is definite; a request whose fate is not known says so (errors.ts).
 */

import { assert } from '../base/assert.ts';
import { RAFT_LIMITS } from '../base/limits.ts';
import { encodeConf, encodeLevel } from './codec.ts';
import { isJoint } from './confchange.ts';
import type { RaftErrorCode } from './errors.ts';
import { memberOf, planChange } from './membership.ts';
import { broadcastAppend, sendAppends } from './replication.ts';
import { appendOwn, fail, hasCommittedInTerm, nextAttempt, sendNow, type Core } from './state.ts';
import type { Index, MemberChange, MessageOf, NodeId, Proposal, Term } from './types.ts';

/** Commands of this node's host. */
export function propose(self: Core, proposals: readonly Proposal[]): void {
  const fitting = proposals.filter((proposal) => {
    if (proposal.data.length <= RAFT_LIMITS.entryBytesMax) return true;
    fail(self, proposal.id, 'too-large');
    return false;
  });
  if (fitting.length === 0) return;
  const error = refuseProposals(self, fitting);
  if (error !== null) {
    for (const { id } of fitting) fail(self, id, error);
  } else if (self.role === 'leader') {
    const firstIndex = takeProposals(self, fitting);
    fitting.forEach(({ id }, at) => trackProposal(self, id, firstIndex + at, self.term));
  } else {
    forward(self, fitting);
  }
}

function refuseProposals(self: Core, proposals: readonly Proposal[]): RaftErrorCode | null {
  if (self.proposalCount + self.forwardedCount + proposals.length > RAFT_LIMITS.requestsMax) {
    return 'too-many';
  }
  if (self.disk === 'failed') return 'disk-failed';
  if (self.leader === 0) return 'no-leader';
  return self.role === 'leader' ? refuseAsLeader(self, proposals) : null;
}

function refuseAsLeader(self: Core, proposals: readonly Proposal[]): RaftErrorCode | null {
  if (self.disk === 'full') return 'disk-full';
  if (self.transfer !== null) return 'transfer-under-way';
  // Nobody takes a snapshot, or the state machine is far behind: the log must not fill the memory.
  if (self.log.bytes > 2 * self.options.logBytesMax) return 'overloaded';
  const overhead = RAFT_LIMITS.entryOverheadBytes;
  const bytes = proposals.reduce((sum, { data }) => sum + data.length + overhead, 0);
  const isFull =
    self.uncommittedBytes > 0 && self.uncommittedBytes + bytes > self.options.uncommittedBytesMax;
  return isFull ? 'overloaded' : null;
}

/** Appends them and sends them out together; gives the first one's index. */
function takeProposals(self: Core, proposals: readonly Proposal[]): Index {
  const firstIndex = self.log.lastIndex + 1;
  for (const { data } of proposals) appendOwn(self, 'command', data);
  broadcastAppend(self);
  return firstIndex;
}

function trackProposal(self: Core, id: number, index: Index, term: Term): void {
  const waiting = self.proposals.get(index) ?? [];
  waiting.push({ id, term, deadlineMs: self.nowMs + self.options.requestMs });
  self.proposals.set(index, waiting);
  self.proposalCount += 1;
}

function forward(self: Core, proposals: readonly Proposal[]): void {
  const attempt = nextAttempt(self);
  const ids = proposals.map((proposal) => proposal.id);
  self.forwardedCount += ids.length;
  self.forwards.set(attempt, { ids, deadlineMs: self.nowMs + self.options.requestMs });
  sendNow(self, self.leader, { kind: 'forward', nonce: self.nonce, attempt, proposals });
}

/** P1: `step` lets only our own term through; a message that comes twice is settled once. */
export function onForward(self: Core, message: MessageOf<'forward'>): void {
  assert(message.term === self.term, 'step() filters other terms');
  if (mayBeSettled(self, message)) return;
  if (self.role !== 'leader') {
    answerForward(self, message, 0, 'not-leader');
    return;
  }
  const { proposals } = message;
  const isTooLarge = proposals.some(({ data }) => data.length > RAFT_LIMITS.entryBytesMax);
  const error = isTooLarge ? 'too-large' : refuseAsLeader(self, proposals);
  // Once is for all: a copy that comes when the reason is gone must not run what was refused (P3).
  rememberSettled(self, message);
  if (error !== null) {
    answerForward(self, message, 0, error);
    return;
  }
  answerForward(self, message, takeProposals(self, proposals), null);
}

/** A forward that was sent to the leader of an older term: it runs in none. */
export function refuseOldForward(self: Core, message: MessageOf<'forward'>): void {
  if (!mayBeSettled(self, message)) answerForward(self, message, 0, 'wrong-term');
}

function answerForward(
  self: Core,
  { from, nonce, attempt }: MessageOf<'forward'>,
  firstIndex: Index,
  error: RaftErrorCode | null,
): void {
  sendNow(self, from, { kind: 'forwardReply', nonce, attempt, firstIndex, error });
}

/**
 * Whether this message may be a copy of one that was taken or refused, by this process or, in a term
 * that it found on its disk, by an earlier one. Either answer could be a lie (P3): it gets none.
 */
function mayBeSettled(self: Core, { from, nonce, attempt, term }: MessageOf<'forward'>): boolean {
  if (term <= self.startTerm) return true;
  const settled = self.forwardsSettled.get(`${from}:${nonce}`);
  return settled !== undefined && (attempt <= settled.floor || settled.attempts.has(attempt));
}

function rememberSettled(self: Core, { from, nonce, attempt }: MessageOf<'forward'>): void {
  const key = `${from}:${nonce}`;
  const settled = self.forwardsSettled.get(key) ?? { attempts: new Set<number>(), floor: 0 };
  // In order of last use, so that the one that goes has been silent longest.
  self.forwardsSettled.delete(key);
  self.forwardsSettled.set(key, settled);
  settled.attempts.add(attempt);
  const [oldest] = settled.attempts;
  if (settled.attempts.size > RAFT_LIMITS.forwardsRememberedMax && oldest !== undefined) {
    settled.attempts.delete(oldest);
    settled.floor = Math.max(settled.floor, oldest);
  }
  const [silent] = self.forwardsSettled.keys();
  if (self.forwardsSettled.size > RAFT_LIMITS.forwardersMax && silent !== undefined) {
    self.forwardsSettled.delete(silent);
  }
}

export function onForwardReply(self: Core, message: MessageOf<'forwardReply'>): void {
  const pending = self.forwards.get(message.attempt);
  if (message.nonce !== self.nonce || pending === undefined) return;
  self.forwards.delete(message.attempt);
  self.forwardedCount -= pending.ids.length;
  pending.ids.forEach((id, at) => {
    const index = message.firstIndex + at;
    if (message.error !== null) fail(self, id, message.error);
    else if (index <= self.handedIndex) settleLate(self, id, index, message.term);
    else trackProposal(self, id, index, message.term);
  });
}

/** The entry was handed out before the answer came: the log may still tell which one it was. */
function settleLate(self: Core, id: number, index: Index, term: Term): void {
  const committed = self.log.entryAt(index)?.term ?? null;
  if (committed === null) fail(self, id, 'outcome-unknown');
  else if (committed === term) self.out.reply.push({ kind: 'committed', id, index, term });
  else fail(self, id, 'superseded');
}

export function changeMembers(self: Core, id: number, changes: readonly MemberChange[]): void {
  const error = refuseOperation(self);
  const { conf, index } = self.log.conf;
  if (error !== null) {
    fail(self, id, error);
  } else if (index > self.commit || isJoint(conf)) {
    fail(self, id, 'change-in-flight');
  } else {
    const planned = planChange(conf, changes, (learner) => hasCaughtUp(self, learner));
    if (planned.ok) appendOperation(self, id, 'config', encodeConf(planned.value));
    else fail(self, id, planned.error);
  }
}

export function setLevel(self: Core, id: number, level: number): void {
  const isUnderstood = (known: number): boolean => known >= level;
  const error = refuseOperation(self);
  if (error !== null) {
    fail(self, id, error);
  } else if (level < 0 || level > RAFT_LIMITS.levelMax || !isUnderstood(self.options.levelMax)) {
    fail(self, id, 'level-unsupported');
  } else if (![...self.progress.values()].every((progress) => isUnderstood(progress.level))) {
    fail(self, id, 'level-unsupported');
  } else if (level === self.level) {
    fail(self, id, 'no-change');
  } else {
    appendOperation(self, id, 'level', encodeLevel(level));
  }
}

/** P2 and what else an operation needs. */
function refuseOperation(self: Core): RaftErrorCode | null {
  if (self.role !== 'leader') return self.leader === 0 ? 'no-leader' : 'not-leader';
  if (self.transfer !== null) return 'transfer-under-way';
  return hasCommittedInTerm(self) ? null : 'term-not-committed';
}

function appendOperation(self: Core, id: number, kind: 'config' | 'level', data: Uint8Array): void {
  const entry = appendOwn(self, kind, data);
  trackProposal(self, id, entry.index, entry.term);
  // With one voter fewer, what is there may be enough already.
  self.isCommitDue = true;
  broadcastAppend(self);
}

/** Whether a learner is close enough to the leader to vote, and there. */
export function hasCaughtUp(self: Core, id: NodeId): boolean {
  const progress = self.progress.get(id);
  if (progress === undefined || progress.state !== 'replicate') return false;
  const isActive = self.nowMs - progress.heardMs < self.options.electionMs;
  return isActive && progress.match + self.options.promoteLagEntries >= self.commit;
}

/** Hands leadership to `to`. Until it is settled no proposal is taken. */
export function transferLeadership(self: Core, id: number | null, to: NodeId): void {
  const refuse = (error: RaftErrorCode): void => {
    if (id !== null) fail(self, id, error);
  };
  if (self.role !== 'leader') {
    refuse(self.leader === 0 ? 'no-leader' : 'not-leader');
    return;
  }
  const progress = self.progress.get(to);
  const { conf } = self.log.conf;
  const isFit = conf.voters.includes(to) && memberOf(conf, to)?.isWitness === false;
  if (progress === undefined || !isFit) {
    refuse('bad-target');
    return;
  }
  if (self.transfer !== null) {
    refuse('transfer-under-way');
    return;
  }
  const deadlineMs = self.nowMs + self.options.electionMs;
  self.transfer = { id, to, deadlineMs, term: self.term };
  if (progress.match === self.log.lastIndex) sendNow(self, to, { kind: 'timeoutNow' });
  else sendAppends(self, progress);
}

/** Gives up on what has waited too long: its outcome is not known. */
export function sweepProposals(self: Core): void {
  for (const [attempt, pending] of self.forwards) {
    if (pending.deadlineMs > self.nowMs) continue;
    self.forwards.delete(attempt);
    self.forwardedCount -= pending.ids.length;
    for (const id of pending.ids) fail(self, id, 'outcome-unknown');
  }
  for (const [index, waiting] of self.proposals) {
    const late = waiting.filter((one) => one.deadlineMs <= self.nowMs);
    if (late.length === 0) continue;
    for (const { id } of late) fail(self, id, 'outcome-unknown');
    self.proposalCount -= late.length;
    const kept = waiting.filter((one) => one.deadlineMs > self.nowMs);
    if (kept.length === 0) self.proposals.delete(index);
    else self.proposals.set(index, kept);
  }
  const { transfer } = self;
  if (transfer === null || transfer.deadlineMs > self.nowMs) return;
  self.transfer = null;
  if (transfer.id !== null) fail(self, transfer.id, 'transfer-failed');
}
