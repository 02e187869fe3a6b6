/**
 * Elections: pre-vote, vote, stickiness, priority; how a role begins and ends.
 *
 * E1: at most one leader a term.
 * E2: a vote, a node's own too, is durable before it counts.
 * E3: a vote is given at most once a term; term and vote change together.
 * E4: who hears a leader helps no election, unless that leader asked for it.
 * E5: a vote goes only to a log that holds at least as much.
 * Source: Ongaro, thesis, §3.4, §3.6, §4.2.3, §9.6. Checked by scenarios and cluster.test.ts.
 */

import { assert } from '../base/assert.ts';
import { jointVote } from './quorum.ts';
import { beginLeading } from './replication.ts';
import { becomeFollower, leadRank, resetElectionTimer } from './roles.ts';
import {
  isDiskStalled,
  mayStand,
  logTimeMs,
  selfMember,
  sendDurable,
  sendNow,
  type Core,
} from './state.ts';
import type { Body, MessageOf, NodeId, Term } from './types.ts';

/** A time-out has passed without a leader. */
export function onElectionTimeout(self: Core): void {
  if (self.role !== 'follower') self.electionsLost += 1;
  self.leader = 0;
  resetElectionTimer(self);
  if (!canCampaign(self)) {
    if (self.role !== 'follower') becomeFollower(self, self.term, 0);
    return;
  }
  self.role = 'preCandidate';
  self.votes = new Map([[self.options.id, true]]);
  askForVotes(self, 'preVote', self.term + 1, false);
  countVotes(self);
}

/**
 * The way to a node is gone. A follower of that node does not wait for a time-out. It may be wrong:
 * whoever hears the leader helps no election (E4), and the leader is followed again when heard. The
 * next to lead asks after a heartbeat, in which the others learn it too; then one after another, so
 * that their votes do not split.
 */
export function onUnreachable(self: Core, id: NodeId): void {
  if (self.role !== 'follower' || self.leader !== id || id === 0) return;
  becomeFollower(self, self.term, 0);
  const { heartbeatMs, electionMs } = self.options;
  const waitMs = heartbeatMs + Math.floor((placeBehind(self, id) * electionMs) / 2);
  self.electionDueMs = Math.min(self.electionDueMs, self.nowMs + waitMs);
}

/** How many voters are to lead before this one when `lost` is gone. */
function placeBehind(self: Core, lost: NodeId): number {
  const own = self.options.id;
  const rank = leadRank(self, own);
  return self.log.conf.conf.voters.filter((id) => {
    const other = leadRank(self, id);
    return id !== lost && (other > rank || (other === rank && id < own));
  }).length;
}

function canCampaign(self: Core): boolean {
  return mayStand(self) && !self.isRemoved && self.disk === 'ok' && !isDiskStalled(self);
}

/** Raises the term and asks for votes; its own counts when it is durable (E2). */
export function campaign(self: Core, isTransfer: boolean): void {
  assert(canCampaign(self), 'a candidate can vote, and keep its vote');
  self.role = 'candidate';
  self.term += 1;
  self.votedFor = self.options.id;
  self.leader = 0;
  self.votes = new Map();
  resetElectionTimer(self);
  askForVotes(self, 'vote', self.term, isTransfer);
}

function askForVotes(self: Core, kind: 'preVote' | 'vote', term: Term, isTransfer: boolean): void {
  const { voters, votersOutgoing } = self.log.conf.conf;
  const body: Body = {
    kind,
    lastIndex: self.log.lastIndex,
    lastTerm: self.log.lastTerm,
    isTransfer,
  };
  for (const id of [...new Set([...voters, ...votersOutgoing])].toSorted((a, b) => a - b)) {
    if (id === self.options.id) continue;
    if (kind === 'preVote') sendNow(self, id, body, term);
    else sendDurable(self, id, body, term);
  }
}

/** The disk has this node's vote for itself. */
export function onOwnVoteDurable(self: Core): void {
  assert(self.role === 'candidate', 'only a candidate votes for itself');
  self.votes.set(self.options.id, true);
  countVotes(self);
}

function countVotes(self: Core): void {
  const { voters, votersOutgoing } = self.log.conf.conf;
  const result = jointVote(voters, votersOutgoing, self.votes);
  if (result === 'pending') return;
  if (result === 'lost') {
    becomeFollower(self, self.term, 0);
    return;
  }
  if (self.role === 'candidate') becomeLeader(self);
  // The disk may have stalled, or this node been removed, since it asked.
  else if (canCampaign(self)) campaign(self, false);
  else becomeFollower(self, self.term, 0);
}

function becomeLeader(self: Core): void {
  assert(self.votedFor === self.options.id, 'a leader has its own vote');
  self.logClock = { logMs: logTimeMs(self), atMs: self.nowMs };
  self.role = 'leader';
  self.leader = self.options.id;
  self.electionsLost = 0;
  beginLeading(self);
}

/** E4: a leader was heard within the shortest time-out, or this node is that leader. */
export function hearsLeader(self: Core): boolean {
  if (self.role === 'leader') return true;
  return self.leader !== 0 && self.nowMs - self.leaderHeardMs < self.options.electionMs;
}

export function onPreVote(self: Core, message: MessageOf<'preVote'>): void {
  const isGranted =
    message.term > self.term &&
    !hearsLeader(self) &&
    self.log.isUpToDate(message.lastIndex, message.lastTerm);
  // A refusal carries our term, so that a node that is behind learns of it.
  const term = isGranted ? message.term : self.term;
  sendNow(self, message.from, { kind: 'preVoteReply', isGranted }, term);
}

/** The term is ours by now: `step` has seen to that. */
export function onVote(self: Core, message: MessageOf<'vote'>): void {
  assert(message.term === self.term, 'step() filters other terms');
  const isFree = self.votedFor === message.from || (self.votedFor === 0 && self.leader === 0);
  const isGranted =
    isFree &&
    self.role === 'follower' &&
    self.disk === 'ok' &&
    self.log.isUpToDate(message.lastIndex, message.lastTerm);
  if (!isGranted) {
    sendNow(self, message.from, { kind: 'voteReply', isGranted });
    return;
  }
  self.votedFor = message.from;
  resetElectionTimer(self);
  sendDurable(self, message.from, { kind: 'voteReply', isGranted });
}

export function onPreVoteReply(self: Core, message: MessageOf<'preVoteReply'>): void {
  if (self.role !== 'preCandidate') return;
  // A grant of an earlier round that asked for another term says nothing about this one.
  if (message.isGranted && message.term !== self.term + 1) return;
  self.votes.set(message.from, message.isGranted);
  countVotes(self);
}

export function onVoteReply(self: Core, message: MessageOf<'voteReply'>): void {
  assert(message.term === self.term, 'step() filters other terms');
  if (self.role !== 'candidate') return;
  self.votes.set(message.from, message.isGranted);
  countVotes(self);
}

/** The leader asks this node to take over at once: no pre-vote, and no stickiness at others. */
export function onTimeoutNow(self: Core): void {
  if (!canCampaign(self) || selfMember(self)?.isWitness === true) return;
  campaign(self, true);
}
