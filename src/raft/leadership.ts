/**
 * What a leader does as time passes: heartbeats, a look at its quorum and its disk, promotion of
 * learners, and handing over to who should lead instead.
 *
 * D1: a leader that has not heard a quorum for an election time-out steps down (check-quorum).
 * D2: a leader whose disk has stalled, is full or has failed gives leadership away.
 * D3: a witness leads only until another voter can.
 */

import { encodeConf } from './codec.ts';
import { isJoint } from './confchange.ts';
import { broadcastHeartbeat } from './heartbeat.ts';
import { becomeFollower, leadRank } from './roles.ts';
import { planChange } from './membership.ts';
import { jointVote } from './quorum.ts';
import { hasCaughtUp, transferLeadership } from './proposals.ts';
import { broadcastAppend } from './replication.ts';
import {
  appendOwn,
  hasCommittedInTerm,
  isDiskStalled,
  raiseAlarm,
  selfMember,
  type Core,
} from './state.ts';
import type { NodeId } from './types.ts';

/** Once a tick of a leader. */
export function onLeaderTick(self: Core): void {
  if (isDiskStalled(self)) {
    raiseAlarm(self, 'disk-stalled', self.options.id);
    becomeFollower(self, self.term, 0);
    return;
  }
  self.alarmsRaised.delete(`disk-stalled:${self.options.id}`);
  if (!hearsQuorum(self)) {
    becomeFollower(self, self.term, 0);
    return;
  }
  if (self.nowMs < self.heartbeatDueMs) return;
  broadcastHeartbeat(self);
  promoteLearners(self);
  handOver(self);
}

/** D1. */
function hearsQuorum(self: Core): boolean {
  const { voters, votersOutgoing } = self.log.conf.conf;
  const heard = new Map<NodeId, boolean>([[self.options.id, true]]);
  for (const progress of self.progress.values()) {
    heard.set(progress.id, self.nowMs - progress.heardMs < self.options.electionMs);
  }
  return jointVote(voters, votersOutgoing, heard) === 'won';
}

function promoteLearners(self: Core): void {
  const { conf, index } = self.log.conf;
  if (isJoint(conf) || index > self.commit || !hasCommittedInTerm(self)) return;
  const ready = conf.members.find(
    ({ id, isPromotable }) => isPromotable && conf.learners.includes(id) && hasCaughtUp(self, id),
  );
  if (ready === undefined) return;
  const planned = planChange(conf, [{ kind: 'promote', id: ready.id }], () => true);
  if (!planned.ok) return; // As many voters as there may be: it stays a learner.
  appendOwn(self, 'config', encodeConf(planned.value));
  broadcastAppend(self);
}

/** Gives leadership to the best voter where this node should not have it. */
function handOver(self: Core): void {
  if (self.transfer !== null || !hasCommittedInTerm(self)) return;
  const isMisplaced = selfMember(self)?.isWitness === true || self.disk !== 'ok';
  const { handOverMs, id: own } = self.options;
  const isSettled = handOverMs > 0 && self.nowMs - self.leaderFromMs >= handOverMs;
  if (!isMisplaced && !isSettled) return;
  const best = bestSuccessor(self);
  if (best === null) return;
  const isBetter = leadRank(self, best) > leadRank(self, own) && wasWell(self, best);
  if (isMisplaced || isBetter) transferLeadership(self, null, best);
}

/** The voter of highest priority that has caught up and can lead, or null. */
export function bestSuccessor(self: Core): NodeId | null {
  const [best] = self.log.conf.conf.voters
    .filter((id) => id !== self.options.id && leadRank(self, id) >= 0)
    .filter((id) => hasCaughtUp(self, id))
    .toSorted((a, b) => leadRank(self, b) - leadRank(self, a) || a - b);
  return best ?? null;
}

function wasWell(self: Core, id: NodeId): boolean {
  const progress = self.progress.get(id);
  return progress !== undefined && self.nowMs - progress.activeFromMs >= self.options.handOverMs;
}
