/**
 * Least tokens: argmin (queued uncached prefill tokens + own + 1) * (in flight + 1) / weight^2;
 * ties to the higher rendezvous rank where there is a prefix, else at random.
 * Source: LMetric (arXiv 2603.15202): the product needs no tuned weights. Both factors grow with
 * load, so each is divided by the weight: with one division a target of weight 4 gets twice the
 * load of one of weight 1, not four times. Around it:
 *
 * T1: a session stays at its home (warm cache) while the home is not overloaded: its score, with
 *     what its cache holds taken off, is at most `HOME_SLACK` times the best.
 * T2: a prefix goes to its two rendezvous winners (DualMap, arXiv 2602.06502), and to more as its
 *     share of all requests grows, so that a shared system prompt heats no target.
 * T3: with both, other targets stay reachable: where the winners are much busier than the best of
 *     all, the best of all is taken.
 */

import { ROUTING_LIMITS } from '../../base/limits.ts';
import type { TargetName } from '../../base/names.ts';
import type { Prng } from '../../base/prng.ts';
import {
  pickLowest,
  requireMember,
  type Algorithm,
  type AlgorithmRequest,
  type Choice,
  type Member,
} from './algorithm.ts';
import { rendezvousRank } from './rendezvous.ts';

/** A home is kept while its score is at most this many times the best score. */
export const HOME_SLACK = 2;
/** The winners of a prefix are kept while the best of them is at most this many times the best. */
export const PREFIX_SLACK = 2;
/** Half-life of the counts of prefixes, ms. */
const POPULARITY_HALF_LIFE_MS = 30_000;
/** Winners of a prefix that is not hot. */
const WINNERS_MIN = 2;
/** A prefix is hot past this multiple of an even share. */
const HOT_SHARE = 1.25;

interface Home {
  readonly target: TargetName;
  /** Tokens that its cache holds of the session: the last prompt. */
  readonly tokens: number;
  readonly usedMs: number;
}

/** Knobs, for the measurement; the defaults are its result. */
export interface LeastTokensOptions {
  readonly homeSlack: number;
  readonly prefixSlack: number;
}

/** LMetric's product for one member and the tokens that it would have to prefill. */
export function leastTokensScore(member: Member, prefillTokens: number): number {
  const tokens = (member.queuedTokens + prefillTokens + 1) / member.weight;
  return (tokens * (member.inFlight + 1)) / member.weight;
}

/** The algorithm with its memory of homes and of popular prefixes. */
export function createLeastTokens(
  options: LeastTokensOptions = { homeSlack: HOME_SLACK, prefixSlack: PREFIX_SLACK },
): Algorithm {
  const homes = new Map<string, Home>();
  const popularity = createPopularity();

  function homeOf(request: AlgorithmRequest, nowMs: number): Home | undefined {
    if (request.sessionKey === null) return undefined;
    const home = homes.get(request.sessionKey);
    return home !== undefined && nowMs - home.usedMs <= ROUTING_LIMITS.sessionHomeMs
      ? home
      : undefined;
  }

  function remember(request: AlgorithmRequest, target: TargetName, nowMs: number): void {
    if (request.sessionKey === null) return;
    homes.delete(request.sessionKey); // Re-inserted at the young end.
    homes.set(request.sessionKey, { target, tokens: request.promptTokens, usedMs: nowMs });
    if (homes.size <= ROUTING_LIMITS.sessionHomesMax) return;
    for (const oldest of homes.keys()) {
      homes.delete(oldest);
      break;
    }
  }

  function choose(
    request: AlgorithmRequest,
    members: readonly Member[],
    nowMs: number,
    prng: Prng,
  ): Choice {
    const own = request.promptTokens;
    const best = pickLowest(members, prng, (member) => leastTokensScore(member, own));
    const bestScore = leastTokensScore(best, own);
    const home = homeOf(request, nowMs);
    const homeMember = members.find((member) => member.target === home?.target);
    if (home !== undefined && homeMember !== undefined) {
      const uncached = uncachedTokens(request, home);
      if (leastTokensScore(homeMember, uncached) <= options.homeSlack * bestScore) {
        return { member: homeMember, reason: 'home of its session', prefillTokens: uncached };
      }
    }
    if (request.prefixHash !== 0) {
      const share = popularity.count(request.prefixHash, nowMs);
      const winner = bestWinner(request, members, share);
      if (winner !== null && leastTokensScore(winner, own) <= options.prefixSlack * bestScore) {
        return {
          member: winner,
          reason: 'least tokens where its prefix lives',
          prefillTokens: own,
        };
      }
    }
    return { member: best, reason: 'least tokens', prefillTokens: own };
  }

  return {
    scoreMeaning: '(queued prefill tokens + own + 1) * (in flight + 1) / weight^2',
    pick(request, members, nowMs, prng) {
      const choice = choose(request, members, nowMs, prng);
      remember(request, choice.member.target, nowMs);
      return choice;
    },
    score(request, member, _members, nowMs) {
      const home = homeOf(request, nowMs);
      const isHome = home !== undefined && home.target === member.target;
      return leastTokensScore(
        member,
        isHome ? uncachedTokens(request, home) : request.promptTokens,
      );
    },
  };
}

/** A session's next prompt repeats its last one; at least one token is always computed. */
function uncachedTokens(request: AlgorithmRequest, home: Home): number {
  return Math.max(1, request.promptTokens - home.tokens);
}

/** The member of least tokens among the prefix's winners; null where all members are winners. */
function bestWinner(
  request: AlgorithmRequest,
  members: readonly Member[],
  share: number,
): Member | null {
  const wanted = Math.ceil((WINNERS_MIN * share * members.length) / HOT_SHARE);
  const count = Math.max(WINNERS_MIN, wanted);
  if (count >= members.length) return count === WINNERS_MIN ? higherOf(request, members) : null;
  const ranked = members.toSorted(
    (a, b) => rendezvousRank(request.prefixHash, b) - rendezvousRank(request.prefixHash, a),
  );
  return higherOf(request, ranked.slice(0, count));
}

/** Least tokens; of equals the one that the prefix ranks higher, so that caches stay apart. */
function higherOf(request: AlgorithmRequest, members: readonly Member[]): Member {
  let best: Member | undefined;
  let bestScore = Infinity;
  for (const member of members) {
    const score = leastTokensScore(member, request.promptTokens);
    const isBetter =
      best === undefined ||
      score < bestScore ||
      (score === bestScore &&
        rendezvousRank(request.prefixHash, member) > rendezvousRank(request.prefixHash, best));
    if (isBetter) {
      best = member;
      bestScore = score;
    }
  }
  return requireMember(best);
}

/** Counts prefixes with a half-life; a bounded table, the least recently seen goes first. */
function createPopularity(): { count(prefixHash: number, nowMs: number): number } {
  const counts = new Map<number, { weight: number; atMs: number }>();
  let total = 0;
  let totalMs = 0;
  const faded = (weight: number, ageMs: number): number =>
    weight * 2 ** (-Math.max(ageMs, 0) / POPULARITY_HALF_LIFE_MS);
  return {
    /** Counts one request and returns its prefix's share of all recent ones, 0 to 1. */
    count(prefixHash, nowMs) {
      total = faded(total, nowMs - totalMs) + 1;
      totalMs = nowMs;
      const before = counts.get(prefixHash);
      const weight = before === undefined ? 1 : faded(before.weight, nowMs - before.atMs) + 1;
      counts.delete(prefixHash);
      counts.set(prefixHash, { weight, atMs: nowMs });
      if (counts.size > ROUTING_LIMITS.prefixesMax) {
        for (const oldest of counts.keys()) {
          counts.delete(oldest);
          break;
        }
      }
      return Math.min(1, weight / total);
    },
  };
}
