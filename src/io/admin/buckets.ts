/**
 * Token buckets by name, for callers of the admin API. A bucket is full when it is new and fills up
 * again by time; how many are kept is bounded, and the one that was not used for longest goes.
 */

/** How large buckets are and how fast they fill. */
export interface BucketLimits {
  /** Tokens of a full bucket. */
  readonly tokensMax: number;
  /** For one token, ms. */
  readonly refillMs: number;
  /** Buckets kept. */
  readonly bucketsMax: number;
}

interface Bucket {
  tokens: number;
  atMs: number;
}

export class Buckets {
  readonly #limits: BucketLimits;
  /** The one that was not used for longest stands first. */
  readonly #buckets = new Map<string, Bucket>();

  constructor(limits: BucketLimits) {
    this.#limits = limits;
  }

  /** Takes a token; 0, or after how many ms there will be one. */
  take(name: string, nowMs: number): number {
    const bucket = this.#filled(name, nowMs);
    if (bucket.tokens < 1) return this.#untilOne(bucket);
    bucket.tokens -= 1;
    this.#buckets.delete(name);
    if (this.#buckets.size >= this.#limits.bucketsMax) {
      const [oldest] = this.#buckets.keys();
      if (oldest !== undefined) this.#buckets.delete(oldest);
    }
    this.#buckets.set(name, bucket);
    return 0;
  }

  /** What `take` would say; takes nothing. */
  waitMs(name: string, nowMs: number): number {
    const bucket = this.#filled(name, nowMs);
    return bucket.tokens < 1 ? this.#untilOne(bucket) : 0;
  }

  #filled(name: string, nowMs: number): Bucket {
    const { tokensMax, refillMs } = this.#limits;
    const bucket = this.#buckets.get(name) ?? { tokens: tokensMax, atMs: nowMs };
    const gained = Math.max(0, nowMs - bucket.atMs) / refillMs;
    bucket.tokens = Math.min(tokensMax, bucket.tokens + gained);
    bucket.atMs = nowMs;
    return bucket;
  }

  #untilOne({ tokens }: Bucket): number {
    return Math.ceil((1 - tokens) * this.#limits.refillMs);
  }
}
