/** E1: at most one leader a term (Ongaro and Ousterhout, figure 3: election safety). */

import type { NodeId, Term } from '../../raft/types.ts';
import type { Checker, Refute, StepSeen } from './checker.ts';

export class ElectionSafety implements Checker {
  private readonly refute: Refute;
  private readonly leaders = new Map<Term, NodeId>();

  constructor(refute: Refute) {
    this.refute = refute;
  }

  step({ id, status }: StepSeen): void {
    if (status.role !== 'leader') return;
    const known = this.leaders.get(status.term);
    if (known === undefined) this.leaders.set(status.term, id);
    else if (known !== id) this.refute(`term ${status.term} has two leaders, ${known} and ${id}`);
  }
}
