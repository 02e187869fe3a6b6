/**
 * P1, P3: what was proposed once is committed at most once, in whatever terms and copies; and what
 * was refused for certain never is. Every attempt of a client carries a number of its own.
 */

import type { Entry } from '../../raft/types.ts';
import type { Refute } from './checker.ts';

export class Proposals {
  private readonly refute: Refute;
  private readonly attemptOf: (data: Uint8Array) => number | null;
  private readonly committed = new Map<number, number>();
  private readonly refused = new Set<number>();

  /** `attemptOf` reads the number from a command; null where it has none. */
  constructor(refute: Refute, attemptOf: (data: Uint8Array) => number | null) {
    this.refute = refute;
    this.attemptOf = attemptOf;
  }

  isCommitted(entry: Entry): void {
    const attempt = entry.kind === 'command' ? this.attemptOf(entry.data) : null;
    if (attempt === null) return;
    const before = this.committed.get(attempt);
    this.committed.set(attempt, entry.index);
    if (before !== undefined && before !== entry.index) {
      this.refute(
        `attempt ${attempt} was proposed once, and is committed at ${before} and ${entry.index}`,
      );
    }
    if (this.refused.has(attempt)) {
      this.refute(`attempt ${attempt} was refused for certain, and is committed at ${entry.index}`);
    }
  }

  isRefused(attempt: number): void {
    this.refused.add(attempt);
    const index = this.committed.get(attempt);
    if (index === undefined) return;
    this.refute(`attempt ${attempt} is refused for certain, and was committed at ${index}`);
  }
}
