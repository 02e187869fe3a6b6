/**
 * The round trip to one region: an exponential average, and the least over the last minutes, which is
 * what the way takes when nothing is in it. Slow means: far above that least.
 */

import { REGION_LIMITS } from '../base/limits.ts';

/** Weight of a new sample. At ten a second the average follows within about a second. */
const EWMA_WEIGHT = 0.1;
/** The least is taken over one to two of these, so that a changed route becomes the norm, ms. */
const FLOOR_WINDOW_MS = 150_000;

/** The estimate of one region. */
export class RttEstimate {
  private average: number | null = null;
  private deviation = 0;
  private floorNow = Number.POSITIVE_INFINITY;
  private floorBefore = Number.POSITIVE_INFINITY;
  private windowStartMs: number | null = null;

  /** A measured round trip, ms. Nonsense (negative, not finite) is passed over. */
  sample(rttMs: number, nowMs: number): void {
    if (!Number.isFinite(rttMs) || rttMs < 0) return;
    const bounded = Math.min(rttMs, REGION_LIMITS.rttMsMax);
    this.windowStartMs ??= nowMs;
    if (nowMs - this.windowStartMs >= FLOOR_WINDOW_MS) {
      this.windowStartMs = nowMs;
      this.floorBefore = this.floorNow;
      this.floorNow = Number.POSITIVE_INFINITY;
    }
    this.floorNow = Math.min(this.floorNow, bounded);
    if (this.average === null) {
      this.average = bounded;
      return;
    }
    const error = bounded - this.average;
    this.average += EWMA_WEIGHT * error;
    this.deviation += EWMA_WEIGHT * (Math.abs(error) - this.deviation);
  }

  /** The average, ms; null before the first sample. */
  get rttMs(): number | null {
    return this.average;
  }

  /** Mean deviation from the average, ms. */
  get jitterMs(): number {
    return this.deviation;
  }

  /** The least of the last minutes, ms; null before the first sample. */
  get rttMsMin(): number | null {
    const least = Math.min(this.floorNow, this.floorBefore);
    return Number.isFinite(least) ? least : null;
  }

  /** The way may be another one after a new link: the least starts anew. */
  reset(): void {
    this.average = null;
    this.deviation = 0;
    this.floorNow = Number.POSITIVE_INFINITY;
    this.floorBefore = Number.POSITIVE_INFINITY;
    this.windowStartMs = null;
  }
}
