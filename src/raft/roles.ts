/** Becoming a follower, and how long to wait before an election: what every rule may need. */

import { assert } from '../base/assert.ts';
import { RAFT_LIMITS } from '../base/limits.ts';
import { memberOf } from './membership.ts';
import { failReadsOfLeader } from './reads.ts';
import { fail, type Core } from './state.ts';
import type { NodeId, Term } from './types.ts';

/** Draws the next time-out: [T, 2T), later for those who should not lead. */
export function resetElectionTimer(self: Core): void {
  const { electionMs, prng } = self.options;
  const drawnMs = electionMs + prng.nextBelow(electionMs);
  self.electionDueMs = self.nowMs + drawnMs + Math.floor((priorityRank(self) * electionMs) / 2);
}

/** How many ranks of voters should lead before this node, up to a limit. */
function priorityRank(self: Core): number {
  const { conf } = self.log.conf;
  const own = leadRank(self, self.options.id);
  const above = new Set(
    conf.voters.map((id) => leadRank(self, id)).filter((priority) => priority > own),
  );
  return Math.min(above.size, RAFT_LIMITS.priorityRanksMax);
}

/** Priority to lead: a witness comes after all others. */
export function leadRank(self: Core, id: NodeId): number {
  const member = memberOf(self.log.conf.conf, id);
  return member === null || member.isWitness ? -1 : member.priority;
}

/** Follows `leader` (0: unknown) in `term`. The vote goes only with an older term (E3). */
export function becomeFollower(self: Core, term: Term, leader: NodeId): void {
  assert(term >= self.term, 'terms never fall');
  assert(Number.isSafeInteger(term), 'terms stay below 2^53');
  const wasLeader = self.role === 'leader';
  if (term > self.term) {
    self.term = term;
    self.votedFor = 0;
  }
  const changed = self.leader !== leader;
  self.role = 'follower';
  self.leader = leader;
  self.votes = new Map();
  if (wasLeader) {
    failReadsOfLeader(self);
    self.progress = new Map();
    self.uncommittedBytes = 0;
    self.logClock = { logMs: self.log.lastTimeMs, atMs: self.nowMs };
  }
  if (changed && leader !== 0) settleTransfer(self);
  if (wasLeader || changed) resetElectionTimer(self);
}

/** Somebody leads now: a transfer has ended one way or the other. */
function settleTransfer(self: Core): void {
  const { transfer } = self;
  if (transfer === null) return;
  self.transfer = null;
  if (transfer.id === null) return;
  if (transfer.to === self.leader) {
    self.out.reply.push({ kind: 'transferred', id: transfer.id, to: transfer.to });
  } else {
    fail(self, transfer.id, 'transfer-failed');
  }
}
