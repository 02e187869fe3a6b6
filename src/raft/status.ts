/** What an operator sees of a node: numbers for metrics, the configuration, each follower. */

import type { Core } from './state.ts';
import type { RaftStatus } from './types.ts';

export function statusOf(self: Core): RaftStatus {
  const { log } = self;
  return {
    id: self.options.id,
    role: self.role,
    term: self.term,
    votedFor: self.votedFor,
    leader: self.leader,
    firstIndex: log.firstIndex,
    lastIndex: log.lastIndex,
    lastTerm: log.lastTerm,
    durableIndex: self.durableIndex,
    commit: self.commit,
    applied: self.appliedIndex,
    snapshotIndex: log.snapshot?.meta.index ?? 0,
    logBytes: log.bytes,
    uncommittedBytes: self.role === 'leader' ? self.uncommittedBytes : 0,
    proposals: self.proposalCount,
    reads: self.readQueue.length + self.leaderReads.length + self.readable.length,
    level: self.level,
    conf: log.conf.conf,
    confIndex: log.conf.index,
    disk: self.disk,
    isRemoved: self.isRemoved,
    electionsLost: self.electionsLost,
    peers: [...self.progress.values()].map((progress) => ({
      id: progress.id,
      state: progress.state,
      match: progress.match,
      next: progress.next,
      inFlightCount: progress.inFlightCount,
      inFlightBytes: progress.inFlightBytes,
      isActive: self.nowMs - progress.heardMs < self.options.electionMs,
      level: progress.level,
    })),
  };
}
