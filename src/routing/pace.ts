/**
 * How one target's streams usually go: what hedging and the verdict of a stall compare with.
 */

import { Digest } from './digest.ts';

/** Answers after which the usual rate of a target is known. */
export const RATE_SAMPLES_MIN = 20;
/** A shorter stream says nothing about a rate: much of it may have come in one piece. */
const RATE_MS_MIN = 250;

/** One target's pace, for one model. */
export class Pace {
  /** Times to the first content of streams, ms. */
  readonly firstTokens: Digest = new Digest();
  /** Bytes a second of streams after their first content. */
  readonly #rates = new Digest();

  /** Takes a whole answer: bytes of its stream after the first content, within `ms`. */
  streamed(bytes: number, ms: number): void {
    if (ms >= RATE_MS_MIN && bytes > 0) this.#rates.observe((bytes * 1_000) / ms);
  }

  /** The usual (median) rate of a stream, bytes a second; null: not enough answers yet. */
  bytesPerSecond(): number | null {
    return this.#rates.samples < RATE_SAMPLES_MIN ? null : this.#rates.percentile(50);
  }
}
