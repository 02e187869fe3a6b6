/**
 * Retries: how many (a budget) and when (full jitter). Whether at all is the exchange's decision.
 *
 * B1: retries are at most `percent` of the requests of the last ten seconds, plus a floor, so that
 *     a failure cannot multiply the load that caused it (Finagle's RetryBudget: 10 s, 20 %, 10/s).
 * Held by `retry.test.ts`.
 */

import { assert } from '../base/assert.ts';
import type { Prng } from '../base/prng.ts';

const WINDOW_SLOTS = 10;
const SLOT_MS = 1_000;

/** Retries a second that are always allowed, so that a quiet service can retry (Finagle). */
export const RETRY_FLOOR_PER_SECOND = 10;
/** First step of the backoff, ms. */
export const BACKOFF_BASE_MS = 50;
/** Largest step of the backoff, ms. */
export const BACKOFF_CAP_MS = 2_000;

/** Limits retries to a share of live requests, over a sliding window of ten seconds (B1). */
export class RetryBudget {
  #percent: number;
  readonly #floorPerSecond: number;
  readonly #requests = Array.from({ length: WINDOW_SLOTS }, () => 0);
  readonly #retries = Array.from({ length: WINDOW_SLOTS }, () => 0);
  #slot = 0;
  #isFresh = true;
  /** Retries refused since birth. */
  suppressed = 0;
  /** Retries since birth of requests that may have run before: their tokens may be paid twice. */
  possiblyDoubleCharged = 0;

  /** `percent`: 0 to 100; `floorPerSecond`: on top of it, on average over the window. */
  constructor(options: { readonly percent: number; readonly floorPerSecond?: number }) {
    this.#percent = options.percent;
    this.#floorPerSecond = options.floorPerSecond ?? RETRY_FLOOR_PER_SECOND;
    this.setPercent(options.percent);
  }

  setPercent(percent: number): void {
    assert(percent >= 0 && percent <= 100, 'a share is between 0 and 100 percent');
    this.#percent = percent;
  }

  /** One request of a client came: it earns its share of a retry. */
  onRequest(nowMs: number): void {
    this.#turn(nowMs);
    add(this.#requests, this.#slot);
  }

  /**
   * Takes one retry; false: the budget is spent. With a percent of 0 there are no retries.
   * `mayHaveRun`: the attempt before it may have used tokens, which is counted. `isFree`: it is
   * granted whatever the budget holds.
   */
  tryTake(nowMs: number, mayHaveRun = false, isFree = false): boolean {
    if (!isFree && (this.#percent === 0 || this.balance(nowMs) < 1)) {
      this.suppressed += 1;
      return false;
    }
    if (!isFree) add(this.#retries, this.#slot);
    if (mayHaveRun) this.possiblyDoubleCharged += 1;
    return true;
  }

  /** Retries that could be taken now. */
  balance(nowMs: number): number {
    this.#turn(nowMs);
    const earned = (sum(this.#requests) * this.#percent) / 100;
    const floor = (this.#floorPerSecond * WINDOW_SLOTS * SLOT_MS) / 1_000;
    return earned + floor - sum(this.#retries);
  }

  /** Moves the window to `nowMs`, emptying the slots that it passes. */
  #turn(nowMs: number): void {
    const slot = Math.floor(nowMs / SLOT_MS);
    if (this.#isFresh) {
      this.#isFresh = false;
      this.#slot = slot;
    }
    const steps = Math.min(slot - this.#slot, WINDOW_SLOTS);
    for (let step = 0; step < steps; step += 1) {
      this.#requests[index(slot - step)] = 0;
      this.#retries[index(slot - step)] = 0;
    }
    this.#slot = Math.max(this.#slot, slot);
  }
}

function index(slot: number): number {
  return ((slot % WINDOW_SLOTS) + WINDOW_SLOTS) % WINDOW_SLOTS;
}

function add(counts: number[], slot: number): void {
  counts[index(slot)] = (counts[index(slot)] ?? 0) + 1;
}

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0);
}

/**
 * Full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"): a draw from
 * [0, min(cap, base * 2^retryIndex)), ms. `retryIndex` is 0 for the first retry.
 */
export function backoffMs(
  retryIndex: number,
  prng: Prng,
  baseMs = BACKOFF_BASE_MS,
  capMs = BACKOFF_CAP_MS,
): number {
  return prng.nextFloat() * Math.min(capMs, baseMs * 2 ** Math.min(retryIndex, 30));
}
