/**
 * The interface that all algorithms share. An algorithm sees only targets that may take the
 * request now (health, limits, tiers and exclusions are the router's business) and picks one.
 * One shared suite (`algorithms.test.ts`) holds all of them to the same claims.
 */

import { assert } from '../../base/assert.ts';
import type { TargetName } from '../../base/names.ts';
import type { Prng } from '../../base/prng.ts';
import type { PeakEwma } from '../peakEwma.ts';

/** What an algorithm may know of a request. */
export interface AlgorithmRequest {
  /** Keeps a session together; null: none. */
  readonly sessionKey: string | null;
  /** Hash of the prompt's beginning; 0: none. */
  readonly prefixHash: number;
  /** Estimated tokens of the prompt. */
  readonly promptTokens: number;
}

/** One target as an algorithm sees it. */
export interface Member {
  readonly target: TargetName;
  /** Hash of the name, for rendezvous. */
  readonly hash: number;
  /** The configured weight: steady, so that hashing moves no key when a target has a bad moment. */
  readonly baseWeight: number;
  /** Effective weight, above 0: the configured one, times slow start, times recent success. */
  readonly weight: number;
  readonly inFlight: number;
  /** Prompt tokens sent whose first content has not come yet. */
  readonly queuedTokens: number;
  readonly ttft: PeakEwma;
  /** Learned prefill speed, tokens per ms; null before the first answer. */
  readonly prefillTokensPerMs: number | null;
  /** Smooth weighted round robin keeps its running credit here, so that a reload keeps it. */
  roundRobinCredit: number;
}

/** A choice. */
export interface Choice {
  readonly member: Member;
  /** Why, for the trace and `explain`. */
  readonly reason: string;
  /** Estimated tokens that the target must prefill: the prompt less what its cache holds. */
  readonly prefillTokens: number;
}

/** One algorithm with its own memory (sessions, popularity); the router owns one instance. */
export interface Algorithm {
  /** Picks one of `members` (at least one). May update the algorithm's memory. */
  pick(request: AlgorithmRequest, members: readonly Member[], nowMs: number, prng: Prng): Choice;
  /** The figure that `pick` would compare, for `explain`; lower is better; null: there is none. */
  score(
    request: AlgorithmRequest,
    member: Member,
    members: readonly Member[],
    nowMs: number,
  ): number | null;
  /** What the score means, one phrase. */
  readonly scoreMeaning: string;
}

/** The member with the lowest score; ties at random (one pass, reservoir). */
export function pickLowest(
  members: readonly Member[],
  prng: Prng,
  score: (member: Member) => number,
): Member {
  let best: Member | undefined;
  let bestScore = Infinity;
  let ties = 0;
  for (const member of members) {
    const value = score(member);
    if (best === undefined || value < bestScore) {
      best = member;
      bestScore = value;
      ties = 1;
    } else if (value === bestScore) {
      ties += 1;
      if (prng.nextBelow(ties) === 0) best = member;
    }
  }
  return requireMember(best);
}

/** A member that must be there: `pick` is never called with none. */
export function requireMember(member: Member | undefined): Member {
  assert(member !== undefined, 'the router picks among at least one member');
  return member;
}
