/**
 * Hedging of the first token: when a second attempt may race the first, and how many may.
 * Sources: Dean and Barroso, "The Tail at Scale" (CACM 2013): a second request after the 95th
 * percentile costs 5 % more load; gRPC A6 (`hedgingDelay`); Finagle's BackupRequestFilter
 * (`maxExtraLoad`): the percentile is learned and a budget bounds the load.
 *
 * E1: hedges are at most `budgetPercent` of the requests that earned them, whatever the order.
 * E2: what is saved up in quiet times is bounded, so that a slow minute is not doubled load.
 * Held by `hedge.test.ts`.
 */

import { assert } from '../base/assert.ts';
import type { Digest } from './digest.ts';

/** When the first tokens of a model are hedged, and how often. */
export interface HedgeSpec {
  /**
   * The second attempt starts this long after the first, ms. With a percentile: not before, and
   * what is waited while the target has too little history. Null: none.
   */
  readonly afterMs: number | null;
  /** … once the first is slower than this percentile of its target's own; null: not used. */
  readonly afterPercentile: number | null;
  /** Share of requests that may be hedged, percent, above 0 to 100. */
  readonly budgetPercent: number;
}

/** A percentile of fewer samples says nothing. */
export const HEDGE_SAMPLES_MIN = 20;
/** Hedges that can be saved up. */
export const HEDGE_SAVED_MAX = 10;

/** One hedge, in hundredths of a percent of a request: whole numbers, so that sums are exact. */
const HEDGE_COST = 10_000;

/** How long the first attempt is left alone, ms; null: it is not hedged. */
export function hedgeDelayMs(spec: HedgeSpec, firstTokens: Digest): number | null {
  const { afterMs, afterPercentile } = spec;
  if (afterPercentile === null || firstTokens.samples < HEDGE_SAMPLES_MIN) return afterMs;
  const slowMs = firstTokens.percentile(afterPercentile);
  assert(slowMs !== null, 'a digest with samples has percentiles');
  return Math.max(slowMs, afterMs ?? 0);
}

/** The hedges that a model's requests have earned: a token bucket without a clock (E1, E2). */
export class HedgeBudget {
  #earned = 0;
  #perRequest = 0;
  readonly #savedMax: number;
  /** Hedges taken since birth. */
  taken = 0;
  /** Hedges that were due and not made because the budget was spent. */
  suppressed = 0;

  /** `savedMax`: hedges that can be saved up; processes of one node share them. */
  constructor(budgetPercent: number, savedMax: number = HEDGE_SAVED_MAX) {
    this.#savedMax = savedMax;
    this.setPercent(budgetPercent);
  }

  setPercent(budgetPercent: number): void {
    assert(budgetPercent >= 0 && budgetPercent <= 100, 'a share is between 0 and 100 percent');
    this.#perRequest = Math.floor(budgetPercent * 100);
  }

  /** A request that could be hedged came. */
  onRequest(): void {
    this.#earned = Math.min(this.#earned + this.#perRequest, this.#savedMax * HEDGE_COST);
  }

  /** Takes one hedge; false: the budget is spent. */
  tryTake(): boolean {
    if (this.#earned < HEDGE_COST) {
      this.suppressed += 1;
      return false;
    }
    this.#earned -= HEDGE_COST;
    this.taken += 1;
    return true;
  }
}
