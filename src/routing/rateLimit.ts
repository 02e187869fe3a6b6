/**
 * Rate limits of one API key: requests a minute and tokens a minute, as token buckets (the same
 * decisions as GCRA with a burst of one minute). A request reserves an estimate of its tokens and
 * settles the real count when it is over.
 *
 * L1: over any time t at most limit * (1 + t / minute) requests are let in.
 * L2: a refused request takes nothing.
 * L3: an estimate above the whole limit needs a full bucket and leaves a debt; so does an answer
 *     that was longer than estimated. A debt is worked off before anything else is let in.
 * L4: a new limit gives nothing at once: what is left stays left, as far as there is room for it. So
 *     limits that are moved between buckets let in no more together than one bucket of their sum.
 * Held by `rateLimit.test.ts`.
 */

import type { HeaderList } from '../base/headers.ts';
import { err, ok, type Result } from '../base/result.ts';

const MINUTE_MS = 60_000;

/** What a key may use. Null: unlimited. */
export interface RateLimits {
  readonly requestsPerMinute: number | null;
  /** Tokens in and out. */
  readonly tokensPerMinute: number | null;
}

/** Tokens taken for one request; settled once. */
export interface Reservation {
  readonly tokens: number;
  isSettled: boolean;
}

/** Why a request was not let in. */
export interface RateRefusal {
  readonly limited: 'requests' | 'tokens';
  /** When the same request would be let in if nothing else came, ms, above 0. */
  readonly retryAfterMs: number;
}

/** One bucket as clients see it. */
export interface RateView {
  readonly limit: number;
  /** Left now; a debt shows as 0. */
  readonly remaining: number;
  /** Until the bucket is full again, ms. */
  readonly resetMs: number;
}

/** One bucket: full at birth, refilled evenly over a minute. */
class Bucket {
  limit: number;
  #level: number;
  #stampMs: number | null = null;

  constructor(limit: number) {
    this.limit = limit;
    this.#level = limit;
  }

  /** Until `amount` (at most the limit) is there, ms; 0: it is there now. */
  waitMs(amount: number, nowMs: number): number {
    if (this.limit <= 0) return amount > 0 ? MINUTE_MS : 0;
    this.#refill(nowMs);
    const missing = Math.min(amount, this.limit) - this.#level;
    // A refill sums floats: what misses less than a millionth is there.
    if (missing <= 1e-6) return 0;
    return Math.max(1, Math.ceil((missing / this.limit) * MINUTE_MS));
  }

  /** L4. */
  setLimit(limit: number, nowMs: number): void {
    this.#refill(nowMs);
    this.limit = limit;
    this.#level = Math.min(limit, this.#level);
  }

  take(amount: number, nowMs: number): void {
    this.#refill(nowMs);
    this.#level = Math.min(this.limit, this.#level - amount);
  }

  view(nowMs: number): RateView {
    this.#refill(nowMs);
    const missing = this.limit - this.#level;
    return {
      limit: this.limit,
      remaining: Math.max(0, Math.floor(this.#level + 1e-6)),
      resetMs: this.limit > 0 ? Math.ceil((missing / this.limit) * MINUTE_MS) : MINUTE_MS,
    };
  }

  #refill(nowMs: number): void {
    const elapsedMs = this.#stampMs === null ? 0 : Math.max(0, nowMs - this.#stampMs);
    this.#level = Math.min(this.limit, this.#level + (elapsedMs * this.limit) / MINUTE_MS);
    this.#stampMs = Math.max(nowMs, this.#stampMs ?? nowMs);
  }
}

/** The two buckets of one key. */
export class RateLimiter {
  #requests: Bucket | null;
  #tokens: Bucket | null;

  constructor(limits: RateLimits) {
    const { requestsPerMinute, tokensPerMinute } = limits;
    this.#requests = requestsPerMinute === null ? null : new Bucket(requestsPerMinute);
    this.#tokens = tokensPerMinute === null ? null : new Bucket(tokensPerMinute);
  }

  /** Other limits from now on (L4); one that was not there before begins full. */
  setLimits({ requestsPerMinute, tokensPerMinute }: RateLimits, nowMs: number): void {
    this.#requests = changed(this.#requests, requestsPerMinute, nowMs);
    this.#tokens = changed(this.#tokens, tokensPerMinute, nowMs);
  }

  /** Lets a request of about `tokens` in, or says which limit is used up and how long to wait. */
  reserve(tokens: number, nowMs: number): Result<Reservation, RateRefusal> {
    const requestsMs = this.#requests?.waitMs(1, nowMs) ?? 0;
    const tokensMs = this.#tokens?.waitMs(tokens, nowMs) ?? 0;
    if (requestsMs > 0 || tokensMs > 0) {
      const limited = requestsMs >= tokensMs ? 'requests' : 'tokens';
      return err({ limited, retryAfterMs: Math.max(requestsMs, tokensMs) });
    }
    this.#requests?.take(1, nowMs);
    this.#tokens?.take(tokens, nowMs);
    return ok({ tokens, isSettled: false });
  }

  /** The request is over and used `tokens`. A second call for the same reservation does nothing. */
  settle(reservation: Reservation, tokens: number, nowMs: number): void {
    if (reservation.isSettled) return;
    reservation.isSettled = true;
    this.#tokens?.take(tokens - reservation.tokens, nowMs);
  }

  /** Takes so much without asking; below 0 it is given back. A bucket never holds over its limit. */
  adjust(requests: number, tokens: number, nowMs: number): void {
    this.#requests?.take(requests, nowMs);
    this.#tokens?.take(tokens, nowMs);
  }

  /** Requests as clients see them; null: unlimited. */
  requests(nowMs: number): RateView | null {
    return this.#requests?.view(nowMs) ?? null;
  }

  /** Tokens as clients see them; null: unlimited. */
  tokens(nowMs: number): RateView | null {
    return this.#tokens?.view(nowMs) ?? null;
  }

  /** `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, as OpenAI names and formats them. */
  headers(nowMs: number): HeaderList {
    return rateFields(this.requests(nowMs), this.tokens(nowMs));
  }
}

function changed(bucket: Bucket | null, limit: number | null, nowMs: number): Bucket | null {
  if (limit === null || bucket === null) return limit === null ? null : new Bucket(limit);
  bucket.setLimit(limit, nowMs);
  return bucket;
}

/** The fields of two views; null: unlimited. */
export function rateFields(requests: RateView | null, tokens: RateView | null): HeaderList {
  const fields: string[] = [];
  pushView(fields, 'requests', requests);
  pushView(fields, 'tokens', tokens);
  return fields;
}

function pushView(fields: string[], name: string, view: RateView | null): void {
  if (view === null) return;
  fields.push(`x-ratelimit-limit-${name}`, String(view.limit));
  fields.push(`x-ratelimit-remaining-${name}`, String(view.remaining));
  fields.push(`x-ratelimit-reset-${name}`, formatReset(view.resetMs));
}

/** A duration as OpenAI writes it: `120ms`, `8.64s`, `1m0s`. */
export function formatReset(ms: number): string {
  if (ms < 1_000) return `${Math.ceil(ms)}ms`;
  const minutes = Math.floor(ms / MINUTE_MS);
  const seconds = Number(((ms % MINUTE_MS) / 1_000).toFixed(3));
  return minutes > 0 ? `${minutes}m${seconds}s` : `${seconds}s`;
}
