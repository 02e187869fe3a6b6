/**
 * Who asks, and what they may: API keys, allowed models, request and token rates.
 *
 * Keys are known by their SHA-256 only. The lookup is by hash, which an attacker cannot steer
 * towards a stored one, and the final comparison takes the same time wherever two hashes differ.
 */

import { failure, type Failure } from '../base/errors.ts';
import { headerValue } from '../base/headers.ts';
import { ADMISSION_LIMITS } from '../base/limits.ts';
import type { ClientRequest } from '../base/ports.ts';
import { err, ok, type Result } from '../base/result.ts';
import type { ParsedRequest } from '../protocol/adapter.ts';
import type { Usage } from '../protocol/dialect.ts';
import { lowerPriority, parsePriority, type Priority } from '../routing/admission.ts';
import { RateLimiter } from '../routing/rateLimit.ts';
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
  readonly priority: Priority;
}

/** Exchanges under way of one key. */
export interface KeySlots {
  readonly most: number;
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

/** Reserved for an answer whose length the client did not bound. */
const OUTPUT_TOKENS_ESTIMATE = 256;

/** The keys of one node. */
export class Policy {
  private keys: ReadonlyMap<string, { config: KeyConfig; caller: Caller }> = new Map();

  constructor(keys: readonly KeyConfig[]) {
    this.replace(keys);
  }

  /** Applies new keys. A key whose rates did not change keeps what it has used. */
  replace(keys: readonly KeyConfig[]): void {
    const next = new Map<string, { config: KeyConfig; caller: Caller }>();
    for (const config of keys) {
      const before = this.keys.get(config.sha256);
      const isSame =
        before !== undefined &&
        before.config.requestsPerMinute === config.requestsPerMinute &&
        before.config.tokensPerMinute === config.tokensPerMinute;
      const limiter = isSame ? before.caller.limiter : limiterOf(config);
      const slots = slotsOf(config, before?.caller.slots ?? null);
      const { name, models, priority } = config;
      const caller = { name, models, limiter, slots, priority };
      next.set(config.sha256, { config, caller });
    }
    this.keys = next;
  }

  /** Finds who sent `request`. A peer region has checked the key already. */
  callerOf(request: ClientRequest): Result<Caller, Failure> {
    if (request.forwardedFrom !== null) {
      const name = headerValue(request.headers, 'x-banyan-key-name') ?? '';
      return ok({ name, models: ALL_MODELS, limiter: null, slots: null, priority: 'interactive' });
    }
    if (request.keyHash === null) return err(failure('missing_key'));
    const entry = this.keys.get(request.keyHash);
    if (entry === undefined || !isSameHash(entry.config.sha256, request.keyHash)) {
      return err(failure('unknown_key'));
    }
    return ok(entry.caller);
  }

  /** Counts `request` against the caller's rates, or refuses it with the time to wait. */
  admit(caller: Caller, request: ParsedRequest, nowMs: number): Result<Admission, Refusal> {
    const { limiter, slots } = caller;
    if (slots !== null && slots.used >= slots.most) {
      const detail = `The limit is ${slots.most}.`;
      const { retryAfterMs } = ADMISSION_LIMITS;
      const told = failure('too_many_requests', detail, { retryAfterMs });
      return err({ failure: told, headers: NO_FIELDS });
    }
    if (limiter === null) return ok(slots === null ? UNLIMITED : takeSlot(slots));
    const isGenerating = request.operation !== 'embeddings' && request.operation !== 'count_tokens';
    const outputTokens = isGenerating ? (request.outputTokensMax ?? OUTPUT_TOKENS_ESTIMATE) : 0;
    const reserved = limiter.reserve(request.promptTokensEstimate + outputTokens, nowMs);
    const headers = limiter.headers(nowMs);
    if (!reserved.ok) {
      const { limited, retryAfterMs } = reserved.error;
      const detail = `The limit of ${limited} per minute is used up.`;
      return err({ failure: failure('rate_limited', detail, { retryAfterMs }), headers });
    }
    const reservation = reserved.value;
    if (slots !== null) slots.used += 1;
    return ok({
      headers,
      settle: (usage, atMs) => {
        if (slots !== null) slots.used -= 1;
        const tokens = usage === null ? 0 : usage.inputTokens + usage.outputTokens;
        limiter.settle(reservation, tokens, atMs);
      },
    });
  }
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

/** Exchanges under way go on counting when the configuration changes. */
function slotsOf(config: KeyConfig, before: KeySlots | null): KeySlots | null {
  const most = config.inFlightMax;
  if (most === null) return null;
  return before !== null && before.most === most ? before : { most, used: 0 };
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

function limiterOf(config: KeyConfig): RateLimiter | null {
  const { requestsPerMinute, tokensPerMinute } = config;
  if (requestsPerMinute === null && tokensPerMinute === null) return null;
  return new RateLimiter({ requestsPerMinute, tokensPerMinute });
}

function isSameHash(left: string, right: string): boolean {
  if (left.length !== right.length) return false;
  let difference = 0;
  for (let index = 0; index < left.length; index += 1) {
    difference |= left.charCodeAt(index) ^ right.charCodeAt(index);
  }
  return difference === 0;
}
