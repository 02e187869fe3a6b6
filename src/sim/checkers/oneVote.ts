/** E3: a node votes once a term, also across crashes; its candidacy is a vote for itself. */

import type { Message, NodeId } from '../../raft/types.ts';
import type { Checker, Refute } from './checker.ts';

export class OneVote implements Checker {
  private readonly refute: Refute;
  /** By term and voter. */
  private readonly votes = new Map<number, NodeId>();

  constructor(refute: Refute) {
    this.refute = refute;
  }

  leaves(message: Message): void {
    if (message.kind === 'vote') this.vote(message.term, message.from, message.from);
    if (message.kind !== 'voteReply' || !message.isGranted) return;
    this.vote(message.term, message.from, message.to);
  }

  private vote(term: number, voter: NodeId, candidate: NodeId): void {
    const key = term * 1_024 + voter;
    const before = this.votes.get(key);
    if (before === undefined) this.votes.set(key, candidate);
    else if (before !== candidate) {
      this.refute(`node ${voter} votes for ${before} and for ${candidate} in term ${term}`);
    }
  }
}
