/**
 * Retries: how many (a budget), when (full jitter, Retry-After) and whether at all.
 *
 * B1: retries are at most `percent` of the requests of the last ten seconds, plus a floor, so that
 *     a failure cannot multiply the load that caused it (Finagle's RetryBudget: 10 s, 20 %, 10/s).
 * B2: what certainly did not run costs no budget: moving it elsewhere adds no load anywhere.
 * B3: nothing is repeated once its content has reached the client.
 * B4: a request that may have run (reset or deadline after it was sent) is repeated only if its
 *     operation has no side effect. Generations and embeddings have none: nobody saw the lost
 *     answer. They cost tokens twice, which is counted (`isPossiblyDoubleCharged`).
 * Held by `retry.test.ts`.
 */

import { assert, unreachable } from '../base/assert.ts';
import { ROUTING_LIMITS } from '../base/limits.ts';
import type { Prng } from '../base/prng.ts';
import type { AttemptOutcome } from './outcome.ts';

const WINDOW_SLOTS = 10;
const SLOT_MS = 1_000;

/** Percent of live requests that may be retries. Linkerd and Finagle take 20, SRE's book 10. */
export const RETRY_PERCENT_DEFAULT = 10;
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
  /** Retries since birth of requests that may have run before (B4). */
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

  /** Takes one retry; false: the budget is spent. With a percent of 0 there are no retries. */
  tryTake(nowMs: number): boolean {
    if (this.#percent === 0 || this.balance(nowMs) < 1) {
      this.suppressed += 1;
      return false;
    }
    add(this.#retries, this.#slot);
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

/** What the decision needs to know. */
export interface RetryQuestion {
  readonly outcome: AttemptOutcome;
  /** Bytes of the request that left; 0: it cannot have run. */
  readonly bytesSent: number;
  /** Content of this answer has reached the client. */
  readonly hasContent: boolean;
  /** Repeating the operation has no side effect: generations, embeddings, counts. */
  readonly isIdempotent: boolean;
  /** Attempts made, this one included, and how many may be made. */
  readonly attemptsMade: number;
  readonly attemptsMax: number;
  /** Another place can take it; else only the same one, after a wait. */
  readonly hasOtherPlace: boolean;
  /** Until the deadline of the exchange, ms. */
  readonly leftMs: number;
}

/** Why there is no retry. */
export type StopReason =
  | 'answered'
  | 'rejected'
  | 'cancelled'
  | 'content-sent'
  | 'may-have-run'
  | 'attempts-spent'
  | 'budget-spent'
  | 'wait-too-long';

/** The decision. */
export type RetryDecision =
  | {
      readonly kind: 'retry';
      readonly delayMs: number;
      /** The first attempt may have run, and may be charged as well (B4). */
      readonly isPossiblyDoubleCharged: boolean;
    }
  | { readonly kind: 'stop'; readonly why: StopReason };

/** True where the request certainly did not run: no retry of it can repeat anything. */
export function isDefinite(outcome: AttemptOutcome, bytesSent: number): boolean {
  switch (outcome.kind) {
    case 'rate-limited':
    case 'overloaded':
      return true;
    case 'failed':
      return outcome.phase === 'connect' || bytesSent === 0;
    case 'answered':
    case 'rejected':
    case 'cancelled':
      return false;
    default:
      return unreachable(outcome);
  }
}

/** Decides on a retry, and takes it out of the budget where it costs one. */
export function mayRetry(
  question: RetryQuestion,
  budget: RetryBudget,
  nowMs: number,
  prng: Prng,
): RetryDecision {
  const { outcome } = question;
  if (outcome.kind === 'answered' || outcome.kind === 'rejected' || outcome.kind === 'cancelled') {
    return { kind: 'stop', why: outcome.kind };
  }
  if (question.hasContent) return { kind: 'stop', why: 'content-sent' };
  const didNotRun = isDefinite(outcome, question.bytesSent);
  if (!didNotRun && !question.isIdempotent) return { kind: 'stop', why: 'may-have-run' };
  if (question.attemptsMade >= question.attemptsMax) return { kind: 'stop', why: 'attempts-spent' };
  const delayMs = delayOf(question, prng);
  if (delayMs > ROUTING_LIMITS.retryWaitMsMax || delayMs >= question.leftMs) {
    return { kind: 'stop', why: 'wait-too-long' };
  }
  // An overloaded target did not run it, but a retry of it is load where load is the trouble.
  const isFree = didNotRun && outcome.kind !== 'overloaded' && question.hasOtherPlace;
  if (!isFree && !budget.tryTake(nowMs)) return { kind: 'stop', why: 'budget-spent' };
  if (!didNotRun) budget.possiblyDoubleCharged += 1;
  return { kind: 'retry', delayMs, isPossiblyDoubleCharged: !didNotRun };
}

/** Elsewhere the first retry goes at once; the same place gets its Retry-After and jitter. */
function delayOf(question: RetryQuestion, prng: Prng): number {
  const { outcome, attemptsMade, hasOtherPlace } = question;
  const jitterMs = backoffMs(attemptsMade - 1, prng);
  if (hasOtherPlace) return attemptsMade === 1 ? 0 : jitterMs;
  const isTold = outcome.kind === 'rate-limited' || outcome.kind === 'overloaded';
  return (isTold ? (outcome.retryAfterMs ?? 0) : 0) + jitterMs;
}
