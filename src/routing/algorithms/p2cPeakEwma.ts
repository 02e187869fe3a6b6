/**
 * Power of two choices with peak EWMA: two members drawn at random, the cheaper of them wins; the
 * cost is peak EWMA of the time to first token * (in flight + 1) / weight. Of two draws on old
 * data the better stays good where the best of all herds (Mitzenmacher, "How useful is old
 * information?"). Parameters: Finagle's.
 */

import { requireMember, type Algorithm, type Member } from './algorithm.ts';

function cost(member: Member, nowMs: number): number {
  return member.ttft.cost(member.inFlight, nowMs) / member.weight;
}

/** The algorithm; its memory is `Member.ttft`. */
export function createP2cPeakEwma(): Algorithm {
  return {
    scoreMeaning: 'peak EWMA of time to first token, ms * (in flight + 1) / weight',
    pick(request, members, nowMs, prng) {
      const firstIndex = prng.nextBelow(members.length);
      let chosen = requireMember(members[firstIndex]);
      if (members.length > 1) {
        // Drawn from the others: an index at or past the first moves up by one.
        const draw = prng.nextBelow(members.length - 1);
        const second = requireMember(members[draw < firstIndex ? draw : draw + 1]);
        const difference = cost(second, nowMs) - cost(chosen, nowMs);
        const isBetter = difference < 0 || (difference === 0 && second.weight > chosen.weight);
        if (isBetter) chosen = second;
      }
      return {
        member: chosen,
        reason: 'cheaper of two draws',
        prefillTokens: request.promptTokens,
      };
    },
    score: (_request, member, _members, nowMs) => cost(member, nowMs),
  };
}
