/**
 * U1: a client's call runs at most once, however often it was sent. And what was acknowledged is
 * never lost: an answered call has run, at an index that every replica runs it at.
 */

import type { NodeId } from '../../raft/types.ts';
import type { Checker, Refute } from './checker.ts';

export class Calls implements Checker {
  private readonly refute: Refute;
  /** Where each call ran. */
  private readonly ran = new Map<number, number>();
  /** Which call ran at an index. */
  private readonly calls = new Map<number, number>();
  /** The highest index of an acknowledged call. */
  acknowledgedMax = 0;
  acknowledgedCount = 0;

  constructor(refute: Refute) {
    this.refute = refute;
  }

  executed(id: NodeId, index: number, call: number): void {
    const before = this.ran.get(call);
    if (before === undefined) this.ran.set(call, index);
    else if (before !== index) {
      this.refute(`call ${call} ran at ${before} and again at ${index} (node ${id})`);
    }
    const other = this.calls.get(index);
    if (other === undefined) this.calls.set(index, call);
    else if (other !== call) this.refute(`at ${index} calls ${other} and ${call} ran (node ${id})`);
  }

  acknowledged(call: number): void {
    const index = this.ran.get(call);
    if (index === undefined) {
      this.refute(`call ${call} was acknowledged, and no replica has run it`);
      return;
    }
    this.acknowledgedMax = Math.max(this.acknowledgedMax, index);
    this.acknowledgedCount += 1;
  }
}
