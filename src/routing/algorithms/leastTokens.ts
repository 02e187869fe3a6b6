/**
 * Least tokens: argmin (queued uncached prefill tokens + own + 1) * (in flight + 1) / weight^2;
 * ties to the higher rendezvous rank where there is a prefix, else at random.
 * Source: LMetric (arXiv 2603.15202): the product needs no tuned weights. Both factors grow with
 * load, so each is divided by the weight: with one division a target of weight 4 gets twice the
 * load of one of weight 1, not four times. Around it:
 *
 * T1: a session stays at its home (warm cache) while the home is not overloaded: its score, with
 *     what its cache holds taken off, is at most `HOME_SLACK` times the best. Without a session key
 *     the prefix stands for it: it reaches to the end of the first message of the user.
 * T2: a prefix without a home goes to its two rendezvous winners (DualMap, arXiv 2602.06502) while
 *     the better of them scores at most `PREFIX_SLACK` times the best.
 * T3: a prefix with more than 1.25 times an even share of the requests is hot: it has no home, and
 *     more winners as its share grows, so that one system prompt for everyone heats no target.
 * The slacks are measured (`bench/routing.ts`, `docs/internals/balancing.md`).
 */

import type { Prng } from '../../base/prng.ts';
import {
  pickLowest,
  requireMember,
  type Algorithm,
  type AlgorithmRequest,
  type Choice,
  type Member,
} from './algorithm.ts';
import { createHomes, createPopularity, type Home, type Popularity } from './affinity.ts';
import { rendezvousRank } from './rendezvous.ts';

/** A home is kept while its score is at most this many times the best score. */
export const HOME_SLACK = 2;
/** The winners of a prefix are kept while the best of them is at most this many times the best. */
export const PREFIX_SLACK = 2;
/** Winners of a prefix that is not hot. */
const WINNERS_MIN = 2;
/** A prefix is hot past this multiple of an even share. */
const HOT_SHARE = 1.25;

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
  const homes = createHomes();
  const popularity = createPopularity();

  function choose(
    request: AlgorithmRequest,
    home: Home | undefined,
    members: readonly Member[],
    nowMs: number,
    prng: Prng,
  ): Choice {
    const own = request.promptTokens;
    const best = pickLowest(members, prng, (member) => leastTokensScore(member, own));
    const bestScore = leastTokensScore(best, own);
    const homeMember = members.find((member) => member.target === home?.target);
    if (home !== undefined && homeMember !== undefined) {
      const uncached = uncachedTokens(request, home);
      if (leastTokensScore(homeMember, uncached) <= options.homeSlack * bestScore) {
        return { member: homeMember, reason: 'home of its session', prefillTokens: uncached };
      }
    }
    if (request.prefixHash !== 0) {
      const winner = bestWinner(request, members, popularity.share(request.prefixHash, nowMs));
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
      if (request.prefixHash !== 0) popularity.count(request.prefixHash, nowMs);
      const key = homeKey(request, popularity, members.length, nowMs);
      const choice = choose(request, homes.of(key, nowMs), members, nowMs, prng);
      homes.remember(key, request.promptTokens, choice.member.target, nowMs);
      return choice;
    },
    score(request, member, members, nowMs) {
      const key = homeKey(request, popularity, members.length, nowMs);
      const home = homes.of(key, nowMs);
      const isHome = home !== undefined && home.target === member.target;
      return leastTokensScore(
        member,
        isHome ? uncachedTokens(request, home) : request.promptTokens,
      );
    },
  };
}

/** What a request's home is remembered by: its session, or its prefix unless that is hot. */
function homeKey(
  request: AlgorithmRequest,
  popularity: Popularity,
  memberCount: number,
  nowMs: number,
): string | null {
  const { sessionKey, prefixHash } = request;
  if (sessionKey !== null) return `session ${sessionKey}`;
  if (prefixHash === 0) return null;
  const isHot =
    memberCount > 1 &&
    popularity.isKnown(nowMs) &&
    popularity.share(prefixHash, nowMs) * memberCount > HOT_SHARE;
  return isHot ? null : `prefix ${prefixHash}`;
}

/**
 * A session's next prompt repeats its last one, and at least one token is always computed. A prompt
 * shorter than the last is none of that: nothing is taken off.
 */
function uncachedTokens(request: AlgorithmRequest, home: Home): number {
  const own = request.promptTokens;
  return own < home.tokens ? own : Math.max(1, own - home.tokens);
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
