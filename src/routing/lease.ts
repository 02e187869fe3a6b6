/**
 * Limits of API keys over the processes of one node. One ledger holds the buckets and counts the
 * slots; a process spends only what the ledger leased to it, and gives back at each exchange of news
 * what it has left. A request that finds nothing left waits for the ledger's word.
 *
 * W1: requests under way of one key never exceed its limit, over all processes.
 * W2: over any time t at most limit * (1 + (t + h) / minute) requests are let in, where h is how long
 *     a process may spend what it leased: to the next exchange of news and the ledger's answer to it,
 *     plus the lag of its loop. What was spent in t was taken from the bucket within t + h, for which L1
 *     of `rateLimit.ts` holds.
 * W3: a refusal is the ledger's: no process refuses because another one has what it lacks. Slots that
 *     idle elsewhere are waited for, `LEASE_LIMITS.slotWaitMs` at most.
 * W4: what a process that died had leased is not spent; its slots are free again.
 * Held by `lease.test.ts`.
 */

import { assert } from '../base/assert.ts';
import type { HeaderList } from '../base/headers.ts';
import { ADMISSION_LIMITS } from '../base/limits.ts';
import { LEASE_LIMITS } from '../base/workerLimits.ts';
import { RateLimiter, rateFields, type RateLimits, type RateView } from './rateLimit.ts';

/** What one key may use. Null: unlimited. */
export interface KeyLimits {
  readonly requestsPerMinute: number | null;
  readonly tokensPerMinute: number | null;
  readonly inFlightMax: number | null;
}

/** What a process may spend. Tokens below 0 are a debt: an answer was longer than estimated. */
export interface Credit {
  readonly slots: number;
  readonly requests: number;
  readonly tokens: number;
}

/** One question to the ledger. */
export interface LeaseAsk {
  /** Which API key: the hash that the configuration knows it by. */
  readonly key: string;
  /** Estimated tokens of the request. */
  readonly tokens: number;
  /** As many more of its kind may follow before the next exchange of news. */
  readonly extra: number;
  /** No request waits: only what may be leased ahead is wanted. */
  readonly isRenewal: boolean;
  /** What the process has left, given back with the question. */
  readonly back: Credit;
}

/** The ledger's word. */
export interface LeaseAnswer {
  /** Null: granted. Else which limit is used up. */
  readonly limited: 'slots' | 'requests' | 'tokens' | null;
  /** Of a refusal: how long to wait, ms. */
  readonly retryAfterMs: number;
  readonly credit: Credit;
  /** The buckets without what is leased; null: unlimited. */
  readonly requests: RateView | null;
  readonly tokens: RateView | null;
}

/** An answer and whom it is for. */
export interface LeaseReply {
  readonly holder: number;
  readonly id: number;
  readonly answer: LeaseAnswer;
}

const NOTHING: Credit = { slots: 0, requests: 0, tokens: 0 };

interface KeyAccount {
  readonly limits: KeyLimits;
  readonly limiter: RateLimiter | null;
  /** Slots leased, by process. */
  readonly held: Map<number, number>;
}

interface WaitingAsk {
  readonly holder: number;
  readonly id: number;
  readonly ask: LeaseAsk;
  readonly untilMs: number;
}

/** The limits of all keys of one node. */
export class LeaseLedger {
  #accounts: ReadonlyMap<string, KeyAccount> = new Map();
  #waiting: WaitingAsk[] = [];

  /** Applies new limits; a key keeps what it has used (L4). */
  setKeys(keys: ReadonlyMap<string, KeyLimits>, nowMs: number): void {
    const next = new Map<string, KeyAccount>();
    for (const [key, limits] of keys) {
      if (!isLimited(limits)) continue;
      const before = this.#accounts.get(key);
      const limiter = limiterOf(limits, before?.limiter ?? null, nowMs);
      next.set(key, { limits, limiter, held: before?.held ?? new Map<number, number>() });
    }
    this.#accounts = next;
  }

  /** A process asks; null: it waits for a slot, and `due` will answer it. */
  ask(holder: number, id: number, ask: LeaseAsk, nowMs: number): LeaseReply | null {
    this.giveBack(holder, ask.key, ask.back, nowMs);
    const answer = this.#answer(holder, ask, nowMs);
    if (answer.limited !== 'slots') return { holder, id, answer };
    if (this.#waiting.length >= LEASE_LIMITS.waitingMax) return { holder, id, answer };
    this.#waiting.push({ holder, id, ask, untilMs: nowMs + LEASE_LIMITS.slotWaitMs });
    return null;
  }

  /** A process gives back what it did not use. */
  giveBack(holder: number, key: string, back: Credit, nowMs: number): void {
    const account = this.#accounts.get(key);
    if (account === undefined) return; // A reload took the key away meanwhile.
    account.limiter?.adjust(-back.requests, -back.tokens, nowMs);
    if (back.slots === 0) return;
    const left = (account.held.get(holder) ?? 0) - back.slots;
    // After a reload that gave the key its limit there may be slots that were never counted.
    if (left > 0) account.held.set(holder, left);
    else account.held.delete(holder);
  }

  /** Answers those that wait: granted where a slot came back, refused where their time is over. */
  due(nowMs: number): readonly LeaseReply[] {
    if (this.#waiting.length === 0) return [];
    const replies: LeaseReply[] = [];
    this.#waiting = this.#waiting.filter(({ holder, id, ask, untilMs }) => {
      const answer = this.#answer(holder, ask, nowMs);
      if (answer.limited === 'slots' && nowMs < untilMs) return true;
      replies.push({ holder, id, answer });
      return false;
    });
    return replies;
  }

  /** A process is gone, and with it all that it held (W4). */
  forget(holder: number): void {
    for (const { held } of this.#accounts.values()) held.delete(holder);
    this.#waiting = this.#waiting.filter((waiting) => waiting.holder !== holder);
  }

  /** Slots leased of one key, for views and tests. */
  heldSlots(key: string): number {
    let sum = 0;
    for (const count of this.#accounts.get(key)?.held.values() ?? []) sum += count;
    return sum;
  }

  #answer(holder: number, ask: LeaseAsk, nowMs: number): LeaseAnswer {
    const account = this.#accounts.get(ask.key);
    // A reload took the limits away meanwhile: the process will see the same file in a moment.
    if (account === undefined) return granted(NOTHING, null, null);
    const { limits, limiter, held } = account;
    const views = (): readonly [RateView | null, RateView | null] => [
      limiter?.requests(nowMs) ?? null,
      limiter?.tokens(nowMs) ?? null,
    ];
    let slots = 0;
    let count = 0;
    if (!ask.isRenewal) {
      if (limits.inFlightMax !== null) {
        if (this.heldSlots(ask.key) >= limits.inFlightMax) {
          return refused('slots', ADMISSION_LIMITS.retryAfterMs, ...views());
        }
        slots = 1;
      }
      const reserved = limiter?.reserve(ask.tokens, nowMs);
      if (reserved?.ok === false) {
        return refused(reserved.error.limited, reserved.error.retryAfterMs, ...views());
      }
      count = 1;
    }
    const ahead = limiter === null ? 0 : aheadOf(limiter, ask, nowMs);
    limiter?.adjust(ahead, ahead * ask.tokens, nowMs);
    count += ahead;
    if (slots > 0) held.set(holder, (held.get(holder) ?? 0) + slots);
    const requests = limits.requestsPerMinute === null ? 0 : count;
    const tokens = limits.tokensPerMinute === null ? 0 : count * ask.tokens;
    return granted({ slots, requests, tokens }, ...views());
  }
}

/** One key in one process: what it may spend without asking. */
export class LeasedKey {
  /** A reload may change them: what is leased and under way stays counted. */
  limits: KeyLimits;
  #slots = 0;
  #requests = 0;
  #tokens = 0;
  /** The least slots that were to spare since the last exchange of news. */
  #slotsLow = 0;
  /** Taken since the last exchange of news, and between the two before: as many may come again. */
  #taken = 0;
  #extra = 0;
  /** Of the last request. */
  #lastTokens = 0;
  /** What a renewal replaced: it goes back, and is not spent any more. */
  #replaced = { requests: 0, tokens: 0 };
  #views: { readonly requests: RateView | null; readonly tokens: RateView | null };
  #viewMs = 0;

  constructor(limits: KeyLimits) {
    assert(isLimited(limits), 'only limits are leased');
    this.limits = limits;
    this.#views = { requests: null, tokens: null };
  }

  /** Takes what one request of about `tokens` needs; false: the ledger has to be asked. */
  take(tokens: number): boolean {
    const { requestsPerMinute, tokensPerMinute, inFlightMax } = this.limits;
    if (inFlightMax !== null && this.#slots < 1) return false;
    if (requestsPerMinute !== null && this.#requests < 1) return false;
    if (tokensPerMinute !== null && this.#tokens < tokens) return false;
    if (inFlightMax !== null) {
      this.#slots -= 1;
      this.#slotsLow = Math.min(this.#slotsLow, this.#slots);
    }
    if (requestsPerMinute !== null) this.#requests -= 1;
    if (tokensPerMinute !== null) this.#tokens -= tokens;
    this.#taken += 1;
    this.#lastTokens = tokens;
    return true;
  }

  /** A request that took is over: its slot is free (`hasSlot`: it took one), its tokens count. */
  settle(hasSlot: boolean, reservedTokens: number, usedTokens: number): void {
    if (hasSlot) this.#slots += 1;
    if (this.limits.tokensPerMinute !== null) this.#tokens += reservedTokens - usedTokens;
  }

  /**
   * The question for a request of about `tokens`, `waiting` more behind it; what is left of the rates
   * goes back with it.
   */
  ask(key: string, tokens: number, waiting = 0): LeaseAsk {
    const back = { slots: 0, requests: this.#requests, tokens: this.#tokens };
    this.#requests = this.#tokens = 0;
    return { key, tokens, extra: Math.max(this.#extra, waiting), isRenewal: false, back };
  }

  /**
   * The question for the next interval, so that no request of a busy key has to wait for one. Null: the
   * key was idle, or its requests ask for slots anyhow.
   */
  renewal(key: string): LeaseAsk | null {
    if (this.limits.inFlightMax !== null || this.#extra === 0) return null;
    return { key, tokens: this.#lastTokens, extra: this.#extra, isRenewal: true, back: NOTHING };
  }

  /** The answer to a renewal came: what was leased before is not spent any more (W2). */
  renewed(answer: LeaseAnswer, nowMs: number): void {
    this.#replaced.requests += this.#requests;
    this.#replaced.tokens += this.#tokens;
    this.#requests = this.#tokens = 0;
    this.answered(answer, nowMs);
  }

  /** The ledger's word came. */
  answered(answer: LeaseAnswer, nowMs: number): void {
    this.#slots += answer.credit.slots;
    this.#requests += answer.credit.requests;
    this.#tokens += answer.credit.tokens;
    this.#views = answer;
    this.#viewMs = nowMs;
  }

  /** At each exchange of news: what is not used; null: nothing. */
  giveBack(): Credit | null {
    this.#extra = this.#taken;
    this.#taken = 0;
    const slots = this.#slotsLow;
    this.#slots -= slots;
    this.#slotsLow = this.#slots;
    let { requests, tokens } = this.#replaced;
    this.#replaced = { requests: 0, tokens: 0 };
    // A key in use keeps the rest until its renewal is answered.
    if (this.#extra === 0 || this.limits.inFlightMax !== null) {
      requests += this.#requests;
      tokens += this.#tokens;
      this.#requests = this.#tokens = 0;
    } else if (this.#tokens < 0) {
      tokens += this.#tokens; // A debt is the node's, at once.
      this.#tokens = 0;
    }
    return slots === 0 && requests === 0 && tokens === 0 ? null : { slots, requests, tokens };
  }

  /** Nothing was taken between the last two exchanges of news, and nothing is left. */
  get isIdle(): boolean {
    return this.#extra === 0 && this.#slots === 0;
  }

  /** `x-ratelimit-*`, from the ledger's last word and what is left here. */
  headers(nowMs: number): HeaderList {
    const ageMs = nowMs - this.#viewMs;
    const { requests, tokens } = this.#views;
    return rateFields(aged(requests, this.#requests, ageMs), aged(tokens, this.#tokens, ageMs));
  }
}

/** Has the key any limit? */
export function isLimited(limits: KeyLimits): boolean {
  const { requestsPerMinute, tokensPerMinute, inFlightMax } = limits;
  return requestsPerMinute !== null || tokensPerMinute !== null || inFlightMax !== null;
}

/** What counts the rates of a key; null: it has none. */
export function limiterOf(
  { requestsPerMinute, tokensPerMinute }: RateLimits,
  before: RateLimiter | null,
  nowMs: number,
): RateLimiter | null {
  const limits = { requestsPerMinute, tokensPerMinute };
  if (requestsPerMinute === null && tokensPerMinute === null) return null;
  if (before === null) return new RateLimiter(limits);
  before.setLimits(limits, nowMs);
  return before;
}

/** How many more of its kind are leased ahead: only from the upper half of a bucket (W3). */
function aheadOf(limiter: RateLimiter, { extra, tokens }: LeaseAsk, nowMs: number): number {
  const spare = (view: RateView | null): number =>
    view === null ? Infinity : Math.max(0, view.remaining - view.limit / 2);
  const requests = spare(limiter.requests(nowMs));
  const ofTokens = tokens > 0 ? spare(limiter.tokens(nowMs)) / tokens : Infinity;
  return Math.floor(Math.min(extra, LEASE_LIMITS.extraMax, requests, ofTokens));
}

function granted(credit: Credit, requests: RateView | null, tokens: RateView | null): LeaseAnswer {
  return { limited: null, retryAfterMs: 0, credit, requests, tokens };
}

function refused(
  limited: 'slots' | 'requests' | 'tokens',
  retryAfterMs: number,
  requests: RateView | null,
  tokens: RateView | null,
): LeaseAnswer {
  return { limited, retryAfterMs, credit: NOTHING, requests, tokens };
}

function aged(view: RateView | null, left: number, ageMs: number): RateView | null {
  if (view === null) return null;
  const remaining = Math.max(0, Math.min(view.limit, Math.floor(view.remaining + left)));
  return { limit: view.limit, remaining, resetMs: Math.max(0, Math.ceil(view.resetMs - ageMs)) };
}
