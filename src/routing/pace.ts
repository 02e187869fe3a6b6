/**
 * How one target's streams usually go: what hedging and the verdict of a stall compare with.
 */

import { LatencyDigest } from './latencyDigest.ts';

/** Answers after which the usual rate of a target is known. */
export const RATE_SAMPLES_MIN = 20;
/** Weight of the newest answer in the mean rate. */
const RATE_SHARE = 0.05;

/** One target's pace, for one model. */
export class Pace {
  /** Times to the first content of streams, ms. */
  readonly firstTokens: LatencyDigest = new LatencyDigest();
  #bytesPerMs = 0;
  #samples = 0;

  /** Takes the rate of one whole answer: bytes of its stream after the first content, in `ms`. */
  observeRate(bytes: number, ms: number): void {
    if (bytes <= 0 || ms <= 0) return;
    const rate = bytes / ms;
    this.#samples += 1;
    const share = Math.max(RATE_SHARE, 1 / this.#samples);
    this.#bytesPerMs += share * (rate - this.#bytesPerMs);
  }

  /** Mean bytes of a stream per ms; null: not enough answers yet. */
  get bytesPerMs(): number | null {
    return this.#samples < RATE_SAMPLES_MIN ? null : this.#bytesPerMs;
  }
}
