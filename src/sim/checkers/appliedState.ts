/**
 * A2, A3: machines apply what is committed, in order, each entry once; and their whole state, by a
 * checksum over all that went in and came out, is the same at the same index on every node.
 */

import type { NodeId } from '../../raft/types.ts';
import type { Checker, Refute } from './checker.ts';

export class AppliedState implements Checker {
  private readonly refute: Refute;
  private readonly chains: (number | undefined)[] = [];
  private readonly appliedTo = new Map<NodeId, number>();

  constructor(refute: Refute) {
    this.refute = refute;
  }

  /** The highest command that any machine has applied. */
  get lastIndex(): number {
    return this.chains.length - 1;
  }

  ended(id: NodeId): void {
    this.appliedTo.delete(id);
  }

  applied(id: NodeId, index: number, chain: number): void {
    if (index <= (this.appliedTo.get(id) ?? 0)) {
      this.refute(`node ${id} applies entry ${index} after a later one`);
    }
    this.appliedTo.set(id, index);
    const known = this.chains[index];
    if (known === undefined) this.chains[index] = chain;
    else if (known !== chain) this.refute(`node ${id} has another state at ${index} than others`);
  }

  restored(id: NodeId, index: number, chain: number): void {
    this.appliedTo.set(id, index);
    let at = Math.min(index, this.chains.length - 1);
    while (at > 0 && this.chains[at] === undefined) at -= 1;
    const known = this.chains[at] ?? 0;
    if (known !== chain)
      this.refute(`node ${id} took over a snapshot at ${index} of another state`);
  }
}
