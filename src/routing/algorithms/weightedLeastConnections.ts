/**
 * Weighted least connections: argmin (in flight + 1) / weight, ties at random. Counts are not work:
 * one long prompt weighs as much as a short one.
 */

import { pickLowest, type Algorithm, type Member } from './algorithm.ts';

function connectionsPerWeight(member: Member): number {
  return (member.inFlight + 1) / member.weight;
}

/** The algorithm; it has no memory. */
export function createWeightedLeastConnections(): Algorithm {
  return {
    scoreMeaning: '(in flight + 1) / weight',
    pick: (request, members, _nowMs, prng) => ({
      member: pickLowest(members, prng, connectionsPerWeight),
      reason: 'fewest in flight for its weight',
      prefillTokens: request.promptTokens,
    }),
    score: (_request, member) => connectionsPerWeight(member),
  };
}
