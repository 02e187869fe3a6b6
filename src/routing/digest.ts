/**
 * A digest of positive figures (times in ms, bytes a second) with logarithmic buckets: any
 * percentile to within 5 percent, in a fixed amount of memory. Source: DDSketch (Masson, Rim, Lee,
 * VLDB 2019).
 *
 * Old samples fade: whenever the digest is full every count is halved, so that it follows a target
 * whose speed changes.
 */

import { assert } from '../base/assert.ts';

/** Ratio of a bucket's bounds: a percentile is off by half of that at most. */
const GAMMA = 1.1;
const LOG_GAMMA = Math.log(GAMMA);
/** Bucket 0 takes all up to 1, the last one all from 686,000 on (11 minutes in ms). */
const BUCKETS = 142;
/** Past this many samples all counts are halved. */
const SAMPLES_MAX = 512;

/** One figure of one target. */
export class Digest {
  readonly #counts = new Uint16Array(BUCKETS);
  #samples = 0;

  /** Samples that it holds, faded ones left out. */
  get samples(): number {
    return this.#samples;
  }

  observe(value: number): void {
    const raw = value <= 1 ? 0 : Math.ceil(Math.log(value) / LOG_GAMMA);
    const bucket = Math.min(BUCKETS - 1, raw);
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#samples += 1;
    if (this.#samples >= SAMPLES_MAX) this.#fade();
  }

  /** The figure that `percent` of the samples do not exceed; null: there are none. */
  percentile(percent: number): number | null {
    assert(percent > 0 && percent <= 100, 'a percentile is above 0 and at most 100');
    if (this.#samples === 0) return null;
    const rank = Math.max(1, Math.ceil((this.#samples * percent) / 100));
    let seen = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket += 1) {
      seen += this.#counts[bucket] ?? 0;
      if (seen >= rank) return bucket === 0 ? 1 : (2 * GAMMA ** bucket) / (1 + GAMMA);
    }
    return GAMMA ** (BUCKETS - 1);
  }

  #fade(): void {
    let samples = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket += 1) {
      const half = (this.#counts[bucket] ?? 0) >> 1;
      this.#counts[bucket] = half;
      samples += half;
    }
    this.#samples = samples;
  }
}
