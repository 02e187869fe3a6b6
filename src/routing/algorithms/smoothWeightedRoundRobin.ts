/**
 * Smooth weighted round robin, as nginx has it (commit 52327e0, 2012): every pick adds each
 * member's weight to its credit, takes the highest and charges it the sum. Weights 5, 1, 1 give
 * a a b a c a a, not a a a a a b c. It ignores load: fit for jobs of equal size.
 */

import { requireMember, type Algorithm, type Member } from './algorithm.ts';

/** The algorithm; its memory is `Member.roundRobinCredit`. */
export function createSmoothWeightedRoundRobin(): Algorithm {
  return {
    scoreMeaning: 'credit after the next turn, negated',
    pick(request, members) {
      let total = 0;
      let best: Member | undefined;
      for (const member of members) {
        total += member.weight;
        member.roundRobinCredit += member.weight;
        if (best === undefined || member.roundRobinCredit > best.roundRobinCredit) best = member;
      }
      const chosen = requireMember(best);
      chosen.roundRobinCredit -= total;
      return { member: chosen, reason: 'its turn', prefillTokens: request.promptTokens };
    },
    score: (_request, member) => -(member.roundRobinCredit + member.weight),
  };
}
