/**
 * The follower's side of replication. Candidates come here too: a message of their term's leader
 * makes them followers first.
 *
 * W1: entries are taken only where the one before agrees (log matching).
 * W2: only what conflicts is cut off, and never at or below the commit index.
 * W3: what is acknowledged is durable when the acknowledgement leaves.
 * W4: a leader of an older term is told so, even by one who could not win an election: it steps
 *     down, and the node that raised the term can take part again.
 */

import { assert } from '../base/assert.ts';
import { advanceCommit } from './apply.ts';
import { becomeFollower, resetElectionTimer } from './roles.ts';
import { raiseAlarm, sendDurable, sendNow, type Core } from './state.ts';
import type { Entry, Index, MessageOf, NodeId } from './types.ts';

/** A message of the leader of this term. */
export function followLeader(self: Core, leader: NodeId): void {
  assert(self.role !== 'leader', 'one leader a term');
  if (self.role !== 'follower' || self.leader !== leader) {
    assert(self.leader === 0 || self.leader === leader, 'one leader a term');
    becomeFollower(self, self.term, leader);
  }
  self.leaderHeardMs = self.nowMs;
  self.isRemoved = false;
  resetElectionTimer(self);
}

export function onAppend(self: Core, message: MessageOf<'append'>): void {
  const { prevIndex, prevTerm, entries } = message;
  // A full disk takes nothing more; the leader keeps asking and finds room one day.
  if (self.disk === 'full' && entries.length > 0) return;
  if (prevIndex > self.commit && self.log.termAt(prevIndex) !== prevTerm) {
    const hintIndex = self.log.agreementAt(Math.min(prevIndex - 1, self.log.lastIndex), prevTerm);
    const hintTerm = self.log.termAt(hintIndex) ?? 0;
    sendNow(self, message.from, { kind: 'appendNo', prevIndex, hintIndex, hintTerm });
    return;
  }
  takeEntries(self, entries);
  const last = prevIndex + entries.length;
  advanceCommit(self, Math.min(message.commit, last));
  sendDurable(self, message.from, {
    kind: 'appendOk',
    match: Math.max(last, self.commit),
    level: self.options.levelMax,
  });
}

function takeEntries(self: Core, entries: readonly Entry[]): void {
  const from = entries.findIndex((entry) => isNew(self, entry));
  const first = entries[from];
  if (first === undefined) return;
  if (first.index <= self.log.lastIndex) cutFrom(self, first.index);
  self.log.append(entries.slice(from));
  self.logClock = { logMs: self.log.lastTimeMs, atMs: self.nowMs };
}

function isNew(self: Core, entry: Entry): boolean {
  const term = self.log.termAt(entry.index);
  if (entry.index > self.commit) return term !== entry.term;
  assert(term === null || term === entry.term, 'what is committed never changes');
  return false;
}

/** W2. */
function cutFrom(self: Core, index: Index): void {
  assert(index > self.commit, 'what is committed is never cut off');
  self.log.truncateFrom(index);
  self.unsavedFrom = Math.min(self.unsavedFrom, index);
  self.durableIndex = Math.min(self.durableIndex, index - 1);
  for (const mark of self.marks) mark.lastIndex = Math.min(mark.lastIndex, index - 1);
}

export function onHeartbeat(self: Core, message: MessageOf<'heartbeat'>): void {
  // The leader names only what this node has acknowledged.
  if (message.commit > self.log.lastIndex) {
    self.disk = 'failed';
    raiseAlarm(self, 'log-lost', self.options.id, message.commit);
    return;
  }
  advanceCommit(self, message.commit);
  sendNow(self, message.from, {
    kind: 'heartbeatOk',
    round: message.round,
    level: self.options.levelMax,
    checkpoint: self.checkpoints.at(-1) ?? { index: 0, hash: 0 },
  });
}

/** W4: answers a message of an older term's leader with our own. */
export function refuseOldLeader(self: Core, to: NodeId): void {
  sendNow(self, to, {
    kind: 'appendNo',
    prevIndex: 0,
    hintIndex: self.log.lastIndex,
    hintTerm: self.log.lastTerm,
  });
}
