/**
 * Peak EWMA of the time to first token: jumps up at once on a slow sample, decays exponentially.
 * Source: Finagle `com.twitter.finagle.loadbalancer.exp.Ewma` (tau 10 s).
 *
 * A stream's total time says how long the answer was, not how busy the target is, so only the time
 * to first token is observed. A failure is observed as slow: a target that answers 500 in 5 ms
 * must not look like the fastest of all.
 */

/** Finagle's default decay time, ms. */
export const PEAK_EWMA_TAU_MS = 10_000;

/** Observed for a failed attempt at least, ms. */
export const FAILURE_PENALTY_MS = 5_000;

/**
 * Cost of a target that has a request pending and never answered one (Finagle's penalty): one
 * request tries it, the others wait for its answer.
 */
export const COLD_PENALTY = 2 ** 31;

/** The state of one target's peak EWMA. */
export class PeakEwma {
  #costMs = 0;
  #stampMs = 0;
  #samples = 0;

  /** Samples seen since birth. */
  get samples(): number {
    return this.#samples;
  }

  /** Takes a sample of `valueMs` at `nowMs`. */
  observe(valueMs: number, nowMs: number): void {
    const decay = this.#decay(nowMs);
    this.#costMs = valueMs > this.#costMs ? valueMs : this.#costMs * decay + valueMs * (1 - decay);
    this.#stampMs = Math.max(nowMs, this.#stampMs);
    this.#samples += 1;
  }

  /** The value at `nowMs`, ms. Without samples it decays to 0, so that an idle one is tried. */
  valueMs(nowMs: number): number {
    return this.#costMs * this.#decay(nowMs);
  }

  /** Cost of one more request with `pending` under way: value * (pending + 1). */
  cost(pending: number, nowMs: number): number {
    if (this.#samples === 0 && pending > 0) return COLD_PENALTY + pending;
    return this.valueMs(nowMs) * (pending + 1);
  }

  #decay(nowMs: number): number {
    return Math.exp(-Math.max(nowMs - this.#stampMs, 0) / PEAK_EWMA_TAU_MS);
  }
}
