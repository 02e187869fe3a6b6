/**
 * Who asks, and what they may: API keys, allowed models, request and token rates.
 *
 * Keys are known by their SHA-256 only. The lookup is by hash, which an attacker cannot steer
 * towards a stored one, and the final comparison takes the same time wherever two hashes differ.
 */

import { assert } from '../base/assert.ts';
import { failure, type Failure } from '../base/errors.ts';
import { headerValue } from '../base/headers.ts';
import { ADMISSION_LIMITS } from '../base/limits.ts';
import type { ClientRequest, Clock } from '../base/ports.ts';
import { err, ok, type Result } from '../base/result.ts';
import type { ParsedRequest } from '../protocol/adapter.ts';
import type { Usage } from '../protocol/dialect.ts';
import { narrower, type Residency } from '../regions/residency.ts';
import { lowerPriority, parsePriority, type Priority } from '../routing/admission.ts';
import {
  isLimited,
  LeasedKey,
  limiterOf,
  type Credit,
  type LeaseAnswer,
  type LeaseAsk,
} from '../routing/lease.ts';
import type { RateLimiter } from '../routing/rateLimit.ts';
import type { KeyConfig } from './config.ts';

/** Who sent a request. */
export interface Caller {
  /** For logs, metrics and limits. */
  readonly name: string;
  readonly models: readonly string[];
  /** Null: unlimited, or counted by the region that took the request. */
  readonly limiter: RateLimiter | null;
  /** Null: unlimited, or counted by the region that took the request. */
  readonly slots: KeySlots | null;
  /** In a node of several processes: what this one may use; null: no limit, or one process. */
  readonly lease: KeyLease | null;
  readonly priority: Priority;
  /** Where its requests may be inferred. */
  readonly residency: Residency;
  /** Why it is let in nowhere here: its rates are divided, and nothing is left to this place. */
  readonly noShare: Refusal | null;
}

/** The limits of a key as this process may use them. */
export interface KeyLease {
  readonly sha256: string;
  readonly key: LeasedKey;
  /** Requests that wait for an answer that is on its way; null: none is. */
  waiting: Waiter[] | null;
}

/** A request that waits for the ledger. */
interface Waiter {
  readonly tokens: number;
  readonly done: (result: Result<Admission, Refusal>) => void;
}

/** Asks the ledger of the node; the answer comes later (P1), always. */
export type LeaseDesk = (ask: LeaseAsk, done: (answer: LeaseAnswer) => void) => void;

/** Exchanges under way of one key. */
export interface KeySlots {
  most: number;
  used: number;
}

/** A request that was let in; settled once when it is over. */
export interface Admission {
  /** `x-ratelimit-*` fields for the reply. */
  readonly headers: readonly string[];
  settle(usage: Usage | null, nowMs: number): void;
}

/** A request that was not. */
export interface Refusal {
  readonly failure: Failure;
  readonly headers: readonly string[];
}

const ALL_MODELS: readonly string[] = ['*'];
const NO_FIELDS: readonly string[] = [];
const UNLIMITED: Admission = { headers: NO_FIELDS, settle: () => {} };

/** From region to region: the labels of where a request may be inferred, with commas. */
export const RESIDENCY_FIELD = 'x-banyan-residency';

/** Reserved for an answer whose length the client did not bound. */
const OUTPUT_TOKENS_ESTIMATE = 256;

/** The keys of one node. */
export class Policy {
  private keys: ReadonlyMap<string, { config: KeyConfig; caller: Caller }> = new Map();
  /** Names of keys that are bound, for what other regions send (RS2). */
  private bound: ReadonlyMap<string, Residency> = new Map();
  /** Null: this process alone counts. */
  private readonly desk: LeaseDesk | null;
  /** Leases that may have something left: of many keys few are in use. */
  private readonly touched: Set<KeyLease> = new Set();

  constructor(keys: readonly KeyConfig[], desk: LeaseDesk | null = null) {
    this.desk = desk;
    this.replace(keys, 0);
  }

  /** Applies new keys; one that stays keeps what it has used. */
  replace(keys: readonly KeyConfig[], nowMs: number): void {
    const next = new Map<string, { config: KeyConfig; caller: Caller }>();
    const bound = new Map<string, Residency>();
    for (const config of keys) {
      const before = this.keys.get(config.sha256);
      const { name, models, priority, residency } = config;
      const base = { name, models, priority, residency, noShare: noShareOf(config) };
      if (residency !== null) bound.set(name, narrower(bound.get(name) ?? null, residency));
      const caller: Caller =
        this.desk === null
          ? {
              ...base,
              limiter: limiterOf(config, before?.caller.limiter ?? null, nowMs),
              slots: slotsOf(config, before?.caller.slots ?? null),
              lease: null,
            }
          : { ...base, limiter: null, slots: null, lease: leaseOf(config, before?.caller) };
      next.set(config.sha256, { config, caller });
    }
    this.keys = next;
    this.bound = bound;
  }

  /** Finds who sent `request`. A peer region has checked the key already. */
  callerOf(request: ClientRequest): Result<Caller, Failure> {
    if (request.forwardedFrom !== null) {
      const name = headerValue(request.headers, 'x-banyan-key-name') ?? '';
      const models = ALL_MODELS;
      const priority = 'interactive';
      // What the sender says, and what is known here of a key of that name: both count (RS2).
      const told = headerValue(request.headers, RESIDENCY_FIELD)?.split(',') ?? null;
      const residency = narrower(told, this.bound.get(name) ?? null);
      const uncounted = { limiter: null, slots: null, lease: null, noShare: null };
      return ok({ name, models, ...uncounted, priority, residency });
    }
    if (request.keyHash === null) return err(failure('missing_key'));
    const entry = this.keys.get(request.keyHash);
    if (entry === undefined || !isSameHash(entry.config.sha256, request.keyHash)) {
      return err(failure('unknown_key'));
    }
    return ok(entry.caller);
  }

  /**
   * Counts `request` against the caller's limits, or refuses it with the time to wait. Null: only the
   * ledger of the node can say; `admitLater` asks it.
   */
  admit(caller: Caller, request: ParsedRequest, nowMs: number): Result<Admission, Refusal> | null {
    const { limiter, slots, lease, noShare } = caller;
    if (noShare !== null) return err(noShare);
    if (lease !== null) return this.admitLeased(lease, tokensOf(request), nowMs);
    if (slots !== null && slots.used >= slots.most) return tooMany(slots.most, NO_FIELDS);
    if (limiter === null) return ok(slots === null ? UNLIMITED : takeSlot(slots));
    const reserved = limiter.reserve(tokensOf(request), nowMs);
    const headers = limiter.headers(nowMs);
    if (!reserved.ok) return overRate(reserved.error.limited, reserved.error.retryAfterMs, headers);
    const reservation = reserved.value;
    if (slots !== null) slots.used += 1;
    return ok({
      headers,
      settle: (usage, atMs) => {
        if (slots !== null) slots.used -= 1;
        limiter.settle(reservation, usedTokens(usage), atMs);
      },
    });
  }

  /** Asks the ledger for what `request` needs, and admits or refuses it as the answer says. */
  admitLater(
    caller: Caller,
    request: ParsedRequest,
    clock: Clock,
    done: (result: Result<Admission, Refusal>) => void,
  ): void {
    const { lease } = caller;
    assert(lease !== null, 'only a process that leases has to ask');
    const waiter = { tokens: tokensOf(request), done };
    if (lease.waiting === null) this.ask(lease, waiter, clock);
    else lease.waiting.push(waiter); // One question stands for all.
  }

  /** An exchange of news: what is left of the leases goes back, those in use are renewed. */
  exchange(clock: Clock): readonly (readonly [sha256: string, left: Credit])[] {
    const all: (readonly [string, Credit])[] = [];
    for (const lease of this.touched) {
      const left = lease.key.giveBack();
      if (left !== null) all.push([lease.sha256, left]);
      else if (lease.key.isIdle) this.touched.delete(lease);
      if (lease.waiting === null) this.renew(lease, clock);
    }
    return all;
  }

  private ask(lease: KeyLease, waiter: Waiter, clock: Clock): void {
    assert(this.desk !== null, 'a process that leases has a ledger to ask');
    const { key, sha256 } = lease;
    // Slots are asked for one by one: an answer may take its time, and says nothing of the next.
    if (key.limits.inFlightMax === null) lease.waiting ??= [];
    const question = key.ask(sha256, waiter.tokens, lease.waiting?.length ?? 0);
    this.desk(question, (answer) => {
      const nowMs = clock.nowMs();
      key.answered(answer, nowMs);
      const refusal = refusalOf(key, answer, nowMs);
      // A reload may have taken the limits away between the question and the answer.
      waiter.done(refusal ?? this.admitLeased(lease, waiter.tokens, nowMs) ?? ok(UNLIMITED));
      this.serveWaiting(lease, refusal, waiter.tokens, clock);
    });
  }

  private renew(lease: KeyLease, clock: Clock): void {
    const question = lease.key.renewal(lease.sha256);
    if (question === null || this.desk === null) return;
    lease.waiting = [];
    this.desk(question, (answer) => {
      lease.key.renewed(answer, clock.nowMs());
      this.serveWaiting(lease, null, 0, clock);
    });
  }

  /** Those who waited take what was leased; who wants as much as was refused is refused too. */
  private serveWaiting(
    lease: KeyLease,
    refusal: Result<Admission, Refusal> | null,
    refusedTokens: number,
    clock: Clock,
  ): void {
    const waiting = lease.waiting ?? [];
    lease.waiting = null;
    const left: Waiter[] = [];
    for (const waiter of waiting) {
      const admitted = this.admitLeased(lease, waiter.tokens, clock.nowMs());
      if (admitted !== null) waiter.done(admitted);
      else if (refusal !== null && waiter.tokens >= refusedTokens) waiter.done(refusal);
      else left.push(waiter);
    }
    const [next, ...others] = left;
    if (next === undefined) return;
    lease.waiting = others;
    this.ask(lease, next, clock);
  }

  private admitLeased(
    lease: KeyLease,
    tokens: number,
    nowMs: number,
  ): Result<Admission, Refusal> | null {
    const { key } = lease;
    this.touched.add(lease);
    if (!key.take(tokens)) return null;
    const hasSlot = key.limits.inFlightMax !== null;
    let isSettled = false;
    return ok({
      headers: key.headers(nowMs),
      settle: (usage) => {
        if (isSettled) return;
        isSettled = true;
        this.touched.add(lease);
        key.settle(hasSlot, tokens, usedTokens(usage));
      },
    });
  }
}

function tokensOf(request: ParsedRequest): number {
  const isGenerating = request.operation !== 'embeddings' && request.operation !== 'count_tokens';
  const outputTokens = isGenerating ? (request.outputTokensMax ?? OUTPUT_TOKENS_ESTIMATE) : 0;
  return request.promptTokensEstimate + outputTokens;
}

function usedTokens(usage: Usage | null): number {
  return usage === null ? 0 : usage.inputTokens + usage.outputTokens;
}

function refusalOf(
  key: LeasedKey,
  { limited, retryAfterMs }: LeaseAnswer,
  nowMs: number,
): Result<Admission, Refusal> | null {
  if (limited === null) return null;
  const headers = key.headers(nowMs);
  if (limited === 'slots') return tooMany(key.limits.inFlightMax, headers);
  return overRate(limited, retryAfterMs, headers);
}

function tooMany(most: number | null, headers: readonly string[]): Result<Admission, Refusal> {
  const { retryAfterMs } = ADMISSION_LIMITS;
  const told = failure('too_many_requests', `The limit is ${most}.`, { retryAfterMs });
  return err({ failure: told, headers });
}

function overRate(
  limited: 'requests' | 'tokens',
  retryAfterMs: number,
  headers: readonly string[],
): Result<Admission, Refusal> {
  const detail = `The limit of ${limited} per minute is used up.`;
  return err({ failure: failure('rate_limited', detail, { retryAfterMs }), headers });
}

/** May `caller` use `model`? A trailing `*` in the key's list stands for any rest. */
export function allowsModel(caller: Caller, model: string): boolean {
  for (const pattern of caller.models) {
    if (pattern === '*' || pattern === model) return true;
    if (pattern.endsWith('*') && model.startsWith(pattern.slice(0, -1))) return true;
  }
  return false;
}

/**
 * The class of a request: its key's, or the lower one that `x-banyan-priority` asks for. Null: the
 * field names no class. What a peer region says is what it decided.
 */
export function priorityOf(caller: Caller, request: ClientRequest): Priority | null {
  const word = headerValue(request.headers, 'x-banyan-priority');
  if (word === null) return caller.priority;
  const asked = parsePriority(word);
  return asked === null ? null : lowerPriority(caller.priority, asked);
}

/** A key that stays keeps what it has leased and under way. */
function leaseOf(config: KeyConfig, before: Caller | undefined): KeyLease | null {
  const { sha256, requestsPerMinute, tokensPerMinute, inFlightMax } = config;
  const limits = { requestsPerMinute, tokensPerMinute, inFlightMax };
  if (!isLimited(limits)) return null;
  const lease = before?.lease ?? { sha256, key: new LeasedKey(limits), waiting: null };
  lease.key.limits = limits;
  return lease;
}

/** Exchanges under way go on counting when the configuration changes. */
function slotsOf(config: KeyConfig, before: KeySlots | null): KeySlots | null {
  const most = config.inFlightMax;
  if (most === null) return null;
  if (before === null) return { most, used: 0 };
  before.most = most;
  return before;
}

function takeSlot(slots: KeySlots): Admission {
  slots.used += 1;
  return {
    headers: NO_FIELDS,
    settle: () => {
      slots.used -= 1;
    },
  };
}

/** A share comes in a second at most where all are heard. */
const SHARE_COMES_MS = 1_000;

/** To wait does not help: SDKs are told not to ask again. */
const DO_NOT_RETRY: readonly string[] = ['x-should-retry', 'false'];

function noShareOf({ share, requestsPerMinute, tokensPerMinute }: KeyConfig): Refusal | null {
  if (share === null || (requestsPerMinute !== 0 && tokensPerMinute !== 0)) return null;
  if (share.isComing) {
    const why = 'Its share here counts once all whose shares shrank have said so.';
    const late = failure('rate_limited', why, { retryAfterMs: SHARE_COMES_MS });
    return { failure: late, headers: NO_FIELDS };
  }
  const detail = `Its rates are divided between ${share.places.join(', ') || 'no regions'}.`;
  return { failure: failure('no_share', detail), headers: DO_NOT_RETRY };
}

function isSameHash(left: string, right: string): boolean {
  if (left.length !== right.length) return false;
  let difference = 0;
  for (let index = 0; index < left.length; index += 1) {
    difference |= left.charCodeAt(index) ^ right.charCodeAt(index);
  }
  return difference === 0;
}
