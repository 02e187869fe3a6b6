/**
 * Q1, R3: what is committed or elected has a majority of each half of the configuration behind it:
 * not by what the leader has heard, but by what stands on the disks at that moment.
 */

import type { NodeId, RaftStatus } from '../../raft/types.ts';
import type { Checker, Refute, StepSeen } from './checker.ts';
import type { Durability } from './durability.ts';

export class QuorumProof implements Checker {
  private readonly refute: Refute;
  private readonly durability: Durability;
  /** What each node last was, and how far it had committed. */
  private readonly seen = new Map<NodeId, RaftStatus>();

  constructor(refute: Refute, durability: Durability) {
    this.refute = refute;
    this.durability = durability;
  }

  started(id: NodeId, status: RaftStatus): void {
    this.seen.set(id, status);
  }

  step({ id, status, node }: StepSeen): void {
    const before = this.seen.get(id);
    this.seen.set(id, status);
    if (status.role !== 'leader' || before === undefined) return;
    const { term, commit } = status;
    if (before.role !== 'leader' || before.term !== term) {
      const has = (voter: NodeId): boolean => this.durability.hasVoted(voter, term, id);
      this.prove(status, has, `node ${id} leads term ${term}`);
    }
    const entry = commit > before.commit ? node.entryAt(commit) : null;
    if (entry === null) return;
    const has = (voter: NodeId): boolean => this.durability.holds(voter, commit, entry.term);
    this.prove(status, has, `node ${id} commits ${commit}/${entry.term}`);
  }

  private prove(status: RaftStatus, has: (voter: NodeId) => boolean, what: string): void {
    for (const half of [status.conf.voters, status.conf.votersOutgoing]) {
      const count = half.filter((voter) => has(voter)).length;
      if (half.length === 0 || count * 2 > half.length) continue;
      this.refute(`${what} with the disks of ${count} of ${half.length} voters behind it`);
    }
  }
}
