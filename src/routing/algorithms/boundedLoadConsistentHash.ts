/**
 * Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2018), c = 1.25, on a
 * session or prefix key. No member holds more than ceil(c * weight share * (in flight + 1)); a key
 * whose first choice is full goes to the next in its own rendezvous order. Rendezvous rather than a
 * ring: the overflow of a hot key spreads over all members, not onto one ring neighbour, and there
 * is no ring to rebuild. O(members) a pick.
 */

import { requireMember, type Algorithm, type AlgorithmRequest, type Member } from './algorithm.ts';
import { affinityKey, rendezvousRank } from './rendezvous.ts';

/** The bound c: 1 is least connections, infinity is plain consistent hashing. */
export const LOAD_BOUND = 1.25;

/** In-flight bound of one member: the request to be placed counts as under way. */
export function boundOf(member: Member, members: readonly Member[]): number {
  let inFlight = 1;
  let weights = 0;
  for (const other of members) {
    inFlight += other.inFlight;
    weights += other.weight;
  }
  return Math.ceil((LOAD_BOUND * inFlight * member.weight) / weights);
}

function hasRoom(member: Member, members: readonly Member[]): boolean {
  return member.inFlight + 1 <= boundOf(member, members);
}

/** The best-ranked member with room. At least one has room: c > 1 and the bounds are rounded up. */
function walk(key: number, members: readonly Member[]): { member: Member; isFirst: boolean } {
  let inFlight = 1;
  let weights = 0;
  for (const member of members) {
    inFlight += member.inFlight;
    weights += member.weight;
  }
  const perWeight = (LOAD_BOUND * inFlight) / weights;
  let first: Member | undefined;
  let firstRank = -Infinity;
  let best: Member | undefined;
  let bestRank = -Infinity;
  for (const member of members) {
    const rank = rendezvousRank(key, member);
    if (rank > firstRank) {
      first = member;
      firstRank = rank;
    }
    if (rank > bestRank && member.inFlight + 1 <= Math.ceil(perWeight * member.weight)) {
      best = member;
      bestRank = rank;
    }
  }
  const chosen = requireMember(best ?? first);
  return { member: chosen, isFirst: chosen === first };
}

/** The algorithm; it has no memory. A request without a key is hashed by a draw. */
export function createBoundedLoadConsistentHash(): Algorithm {
  return {
    scoreMeaning: 'rendezvous rank of the key, negated; behind all others when full',
    pick(request, members, _nowMs, prng) {
      const key = affinityKey(request);
      const { member, isFirst } = walk(key ?? prng.nextUint32(), members);
      const reason = isFirst ? 'first choice of its key' : 'next choice: the first has no room';
      return {
        member,
        reason: key === null ? 'no key: a drawn one' : reason,
        prefillTokens: request.promptTokens,
      };
    },
    score(request: AlgorithmRequest, member, members) {
      const key = affinityKey(request);
      if (key === null) return null;
      const rank = rendezvousRank(key, member);
      return hasRoom(member, members) ? -rank : 1 / rank;
    },
  };
}
