/**
 * I1-I3: a linearizable read sees every write that was acknowledged to anybody before it began.
 * Quick, and on line; `linearizability.ts` looks at whole histories afterwards.
 */

import type { Calls } from './calls.ts';
import type { Checker, Refute } from './checker.ts';

export class FreshReads implements Checker {
  private readonly refute: Refute;
  private readonly calls: Calls;
  private readonly floors = new Map<number, number>();

  constructor(refute: Refute, calls: Calls) {
    this.refute = refute;
    this.calls = calls;
  }

  readBegan(read: number): void {
    this.floors.set(read, this.calls.acknowledgedMax);
  }

  readDone(read: number, applied: number): void {
    const floor = this.floors.get(read) ?? 0;
    this.floors.delete(read);
    if (applied >= floor) return;
    this.refute(`a read saw up to ${applied}; ${floor} was acknowledged before it began`);
  }
}
