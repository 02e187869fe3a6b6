/**
 * The phi accrual failure detector (Hayashibara, Défago, Yared, Katayama, SRDS 2004): instead of
 * "alive" or "dead", a suspicion that grows while a heartbeat is late. phi = 8 means that the chance
 * of a heartbeat coming this late or later is 10^-8, were the intervals normally distributed.
 *
 * As in Akka: a logistic approximation of the normal tail, a floor of the deviation, an acceptable
 * pause added to the mean, and intervals across an outage not learnt.
 *
 * A1: phi never falls while no heartbeat comes. A2: a heartbeat brings it to about 0. A3: it is finite
 * and at least 0 (all in phiAccrual.test.ts).
 */

import { REGION_LIMITS } from '../base/limits.ts';
import { assert } from '../base/assert.ts';

/** Parameters of one detector. Times in ms. */
export interface PhiSettings {
  /** Expected interval, before there are enough real ones. */
  readonly firstIntervalMs: number;
  /** Floor of the standard deviation: a calm network must not make it nervous. */
  readonly sigmaMsMin: number;
  /** Lateness that means nothing: a garbage collection, a burst on the link. */
  readonly acceptablePauseMs: number;
  /** An interval longer than this is an outage, not a sample. */
  readonly intervalMsMax: number;
}

/**
 * For heartbeats every 100 ms: phi 8 about 1.2 s after the last one, phi 12 about 1.35 s. Akka's
 * deviation floor (100 ms) and a pause of half a second; its 3 s pause is for heartbeats of 1 s.
 */
export const PHI_SETTINGS: PhiSettings = {
  firstIntervalMs: 100,
  sigmaMsMin: 100,
  acceptablePauseMs: 500,
  intervalMsMax: 2_000,
};

/** Largest phi that is told; beyond it nothing changes for anybody. */
export const PHI_MAX = 1_000;

/** One peer's detector. */
export class PhiAccrual {
  private readonly settings: PhiSettings;
  private readonly intervals: number[] = [];
  private next = 0;
  private sum = 0;
  private squares = 0;
  private lastMs: number | null = null;

  constructor(settings: PhiSettings = PHI_SETTINGS) {
    assert(settings.sigmaMsMin > 0, 'a deviation of zero would make every delay a death');
    this.settings = settings;
    // Hayashibara's start-up problem: seeded as if two intervals had been seen, a quarter apart.
    this.learn(settings.firstIntervalMs * 0.75);
    this.learn(settings.firstIntervalMs * 1.25);
  }

  /** When the last heartbeat came; null: none has. */
  get heardMs(): number | null {
    return this.lastMs;
  }

  /** Mean of the intervals, ms. */
  get meanMs(): number {
    return this.sum / this.intervals.length;
  }

  /** A heartbeat came. A clock that stepped back teaches nothing. */
  heartbeat(nowMs: number): void {
    if (this.lastMs !== null) {
      const intervalMs = nowMs - this.lastMs;
      if (intervalMs >= 0 && intervalMs <= this.settings.intervalMsMax) this.learn(intervalMs);
    }
    this.lastMs = nowMs;
  }

  /** We ourselves stood still for `stallMs`: the silence meanwhile is not the peer's. */
  forgive(stallMs: number, nowMs: number): void {
    if (this.lastMs !== null) this.lastMs = Math.min(nowMs, this.lastMs + stallMs);
  }

  /** Suspicion now, 0 to PHI_MAX; 0 before the first heartbeat. */
  phi(nowMs: number): number {
    if (this.lastMs === null) return 0;
    const lateMs = Math.max(0, nowMs - this.lastMs);
    const meanMs = this.meanMs + this.settings.acceptablePauseMs;
    const y = (lateMs - meanMs) / this.sigmaMs();
    // The tail of the normal distribution, 1 - F(y), is about e / (1 + e) with e = exp(-exponent);
    // its logarithm is taken apart, so that a long silence does not underflow to infinity.
    const exponent = y * (1.5976 + 0.070566 * y * y);
    const phi = exponent > 30 ? exponent / Math.LN10 : Math.log10(1 + Math.exp(exponent));
    return Math.min(PHI_MAX, Math.max(0, phi));
  }

  private sigmaMs(): number {
    const mean = this.meanMs;
    const variance = Math.max(0, this.squares / this.intervals.length - mean * mean);
    return Math.max(this.settings.sigmaMsMin, Math.sqrt(variance));
  }

  private learn(intervalMs: number): void {
    const replaced = this.intervals[this.next] ?? 0;
    this.intervals[this.next] = intervalMs;
    this.next = (this.next + 1) % REGION_LIMITS.intervalsMax;
    this.sum += intervalMs - replaced;
    this.squares += intervalMs * intervalMs - replaced * replaced;
  }
}
