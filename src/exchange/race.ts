/**
 * The race for the first content of one exchange: one second attempt at most, beside the first.
 *
 * H1: two attempts run only while neither has content; the first to have some is the answer, and
 *     the other one is stopped in the same step.
 * H2: an exchange is hedged once, whatever became of it.
 * Checked by race.test.ts. Who may be raced and how often is `routing/hedge.ts`.
 */

import { assert } from '../base/assert.ts';
import type { Attempt } from './attempt.ts';

/** What became of a hedge that was due. */
export type HedgeEnd =
  | 'won' // It had content first.
  | 'lost' // The first attempt had.
  | 'failed' // It failed before either had content.
  | 'cancelled' // The exchange ended before either had content.
  | 'suppressed' // It was not made: the budget was spent.
  | 'no-place'; // It was not made: nobody else could take the request.

/** One exchange's race. */
export class Race {
  /** Null: no hedge was due, or the race is on. */
  end: HedgeEnd | null = null;
  /** When the hedge is due, Clock.nowMs(); Infinity: it is not. */
  dueMs = Infinity;
  /** The attempt that runs beside the exchange's current one; null: none. */
  rival: Attempt | null = null;
  private hedge: Attempt | null = null;

  /** An attempt began that may be raced after `delayMs`; null: it may not. */
  plan(delayMs: number | null, nowMs: number): void {
    const isDone = this.end !== null || this.hedge !== null;
    this.dueMs = isDone || delayMs === null ? Infinity : nowMs + delayMs;
  }

  /** The hedge that was due is not made. */
  skip(why: 'suppressed' | 'no-place'): void {
    this.dueMs = Infinity;
    this.end = why;
  }

  join(hedge: Attempt): void {
    assert(this.hedge === null, 'an exchange is hedged once');
    this.dueMs = Infinity;
    this.hedge = hedge;
    this.rival = hedge;
  }

  /** `winner` has content: the race is over. Returns the attempt to be stopped; null: none. */
  won(winner: Attempt, current: Attempt | null): Attempt | null {
    this.dueMs = Infinity;
    if (this.hedge !== null) this.end ??= winner === this.hedge ? 'won' : 'lost';
    const { rival } = this;
    this.rival = null;
    return winner === rival ? current : rival;
  }

  /** `attempt` is out. Returns the one that runs on; null: none does. */
  out(attempt: Attempt, current: Attempt | null): Attempt | null {
    this.dueMs = Infinity;
    if (attempt === this.hedge) this.end ??= 'failed';
    const { rival } = this;
    this.rival = null;
    if (rival === null) return null;
    return attempt === rival ? current : rival;
  }

  /** The exchange is over. */
  close(): void {
    if (this.hedge !== null) this.end ??= 'cancelled';
    this.dueMs = Infinity;
  }
}
