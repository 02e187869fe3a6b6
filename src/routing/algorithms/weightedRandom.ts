/** Weighted random: probability weight / sum of weights. The baseline of every comparison. */

import type { Prng } from '../../base/prng.ts';
import { requireMember, type Algorithm, type Member } from './algorithm.ts';

/** Draws a member with probability proportional to its weight. */
export function drawByWeight(members: readonly Member[], prng: Prng): Member {
  let total = 0;
  for (const member of members) total += member.weight;
  let left = prng.nextFloat() * total;
  for (const member of members) {
    left -= member.weight;
    if (left < 0) return member;
  }
  return requireMember(members.at(-1)); // Rounding can leave a remainder of one ulp.
}

/** The algorithm; it has no memory. */
export function createWeightedRandom(): Algorithm {
  return {
    scoreMeaning: 'none: a draw by weight',
    pick: (request, members, _nowMs, prng) => ({
      member: drawByWeight(members, prng),
      reason: 'drawn by weight',
      prefillTokens: request.promptTokens,
    }),
    score: () => null,
  };
}
