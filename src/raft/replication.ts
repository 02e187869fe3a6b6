/**
 * The leader's side of replication: what goes to whom, and what is committed.
 *
 * R1: an entry is committed by counting only if it is of the leader's own term (thesis, §3.6.2).
 * R2: the leader counts itself up to what its own disk has kept, like any other.
 * R3: only voters of the effective configuration count, a majority of each half of a joint one.
 * R4: a leader opens its term with an entry of its own.
 * R5: what waits to be committed, and the log, have limits of bytes.
 */

import { assert } from '../base/assert.ts';
import { RAFT_LIMITS } from '../base/limits.ts';
import { advanceCommit } from './apply.ts';
import { encodeConf } from './codec.ts';
import { isJoint } from './confchange.ts';
import { entryBytes } from './log.ts';
import { isVoter, memberOf, planLeave } from './membership.ts';
import type { Progress } from './progress.ts';
import { jointCommit, jointGroupCommit, type Acked } from './quorum.ts';
import { compareCheckpoint } from './checkpoints.ts';
import { confirmReads } from './reads.ts';
import { beginSnapshot, sendSnapshotChunks } from './snapshots.ts';
import { appendOwn, hasCommittedInTerm, sendNow, syncProgress, type Core } from './state.ts';
import type { MessageOf, NodeId } from './types.ts';

/** The first acts of a new leader. */
export function beginLeading(self: Core): void {
  self.progress = new Map();
  syncProgress(self);
  self.termStart = self.log.lastIndex + 1;
  self.leaderFromMs = self.nowMs;
  self.round = 0;
  self.uncommittedBytes = 0;
  for (let index = self.commit + 1; index <= self.log.lastIndex; index += 1) {
    const entry = self.log.entryAt(index);
    assert(entry !== null, 'uncommitted entries are in the log');
    self.uncommittedBytes += entryBytes(entry);
  }
  appendOwn(self, 'noop', new Uint8Array(0));
  self.heartbeatDueMs = self.nowMs;
  self.isCommitDue = true;
  broadcastAppend(self);
}

/** Sends every follower what it may get. */
export function broadcastAppend(self: Core): void {
  for (const progress of self.progress.values()) sendAppends(self, progress);
}

/** Sends new entries to one follower, as many messages as its limits allow. */
export function sendAppends(self: Core, progress: Progress): void {
  while (progress.next <= self.log.lastIndex && sendAppend(self, progress)) {
    if (progress.state !== 'replicate') return;
  }
}

/**
 * Sends one message, an empty one if there is nothing new: it carries the commit index and shows
 * the follower what is missing. False if nothing may be sent.
 */
function sendAppend(self: Core, progress: Progress, isForced = false): boolean {
  if (progress.state === 'snapshot') return false;
  const isPaused = progress.isPaused(self.options);
  if (isPaused && !isForced) return false;
  const prevIndex = progress.next - 1;
  const prevTerm = self.log.termAt(prevIndex);
  if (prevTerm === null || prevIndex < self.log.floorIndex) {
    return beginSnapshot(self, progress);
  }
  const { appendBytesMax } = self.options;
  const entries = isPaused
    ? []
    : self.log.slice(progress.next, appendBytesMax, RAFT_LIMITS.appendEntriesMax);
  sendNow(self, progress.id, {
    kind: 'append',
    prevIndex,
    prevTerm,
    commit: self.commit,
    entries,
  });
  progress.commitSent = self.commit;
  const last = entries.at(-1);
  if (last !== undefined) {
    progress.sent(
      last.index,
      entries.reduce((sum, entry) => sum + entryBytes(entry), 0),
    );
  } else if (progress.state === 'probe') {
    progress.isProbing = true;
  }
  return true;
}

export function onAppendOk(self: Core, message: MessageOf<'appendOk'>): void {
  assert(message.term === self.term, 'step() filters other terms');
  const progress = self.progress.get(message.from);
  if (progress === undefined) return; // A removed follower may still be talking; not a bug.
  if (message.match > self.log.lastIndex) return; // Not of this log: a broken peer.
  progress.hear(self.nowMs, self.options.electionMs);
  progress.level = message.level;
  const isNews = progress.match < message.match;
  if (isNews || (progress.state === 'probe' && message.match === progress.match)) {
    progress.acknowledge(message.match);
  }
  if (isNews) self.isCommitDue = true;
  sendAppends(self, progress);
  announceTo(self, progress);
  if (self.transfer?.to === progress.id && progress.match === self.log.lastIndex) {
    sendNow(self, progress.id, { kind: 'timeoutNow' });
  }
}

export function onAppendNo(self: Core, message: MessageOf<'appendNo'>): void {
  assert(message.term === self.term, 'step() filters other terms');
  const progress = self.progress.get(message.from);
  if (progress === undefined) return;
  progress.hear(self.nowMs, self.options.electionMs);
  // Terms above the hint's cannot agree: skip them all at once instead of one index a round trip.
  const hint = self.log.agreementAt(message.hintIndex, message.hintTerm);
  if (progress.refuse(message.prevIndex, hint)) sendAppend(self, progress);
}

export function onHeartbeatOk(self: Core, message: MessageOf<'heartbeatOk'>): void {
  assert(message.term === self.term, 'step() filters other terms');
  const progress = self.progress.get(message.from);
  if (progress === undefined) return;
  progress.hear(self.nowMs, self.options.electionMs);
  progress.level = message.level;
  if (message.round > progress.round && message.round <= self.round) {
    progress.round = message.round;
    confirmReads(self);
  }
  compareCheckpoint(self, progress, message.checkpoint);
  if (progress.state === 'snapshot') {
    sendSnapshotChunks(self, progress);
    return;
  }
  progress.isProbing = false;
  // Something may have been lost on the way: an empty message finds out, whatever the window says.
  if (progress.match < self.log.lastIndex) sendAppend(self, progress, true);
}

/** Commits what the rules allow. True if anything was. */
export function maybeCommit(self: Core): boolean {
  self.isCommitDue = false;
  const { voters, votersOutgoing } = self.log.conf.conf;
  const acked: Acked = (id) =>
    id === self.options.id ? self.durableIndex : self.progress.get(id)?.match;
  const index =
    self.options.commitRegionsMin === 1
      ? jointCommit(voters, votersOutgoing, acked)
      : jointGroupCommit(voters, votersOutgoing, acked, groupsOf(self));
  if (index <= self.commit || self.log.termAt(index) !== self.term) return false;
  advanceCommit(self, index);
  return true;
}

function groupsOf(self: Core): (id: NodeId) => number {
  const { conf } = self.log.conf;
  const regions = [...new Set(conf.members.map((member) => member.region))];
  return (id) => regions.indexOf(memberOf(conf, id)?.region ?? '') + 1;
}

/** Followers learn of a commit at once: they may have readers of their own. */
export function announceCommit(self: Core): void {
  for (const progress of self.progress.values()) announceTo(self, progress);
}

function announceTo(self: Core, progress: Progress): void {
  const isBehind = progress.commitSent < self.commit;
  if (isBehind && progress.state === 'replicate') sendAppend(self, progress);
}

/** Removed or made a learner by a committed configuration: others lead from here. */
export function isLeadOver(self: Core): boolean {
  const { conf, index } = self.log.conf;
  return index <= self.commit && !isJoint(conf) && !isVoter(conf, self.options.id);
}

/** Ends a joint configuration once it is committed. True if an entry was appended. */
export function maybeLeaveJoint(self: Core): boolean {
  const { conf, index } = self.log.conf;
  if (!isJoint(conf) || !conf.autoLeave) return false;
  if (index > self.commit || !hasCommittedInTerm(self)) return false;
  appendOwn(self, 'config', encodeConf(planLeave(conf)));
  self.isCommitDue = true;
  broadcastAppend(self);
  return true;
}
