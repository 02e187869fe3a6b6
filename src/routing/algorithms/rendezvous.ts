/**
 * Weighted rendezvous hashing (Thaler and Ravishankar; weights as in Schindelhauer and
 * Schomaker's logarithmic method). A member that goes moves only its own keys, a member that comes
 * takes only its own share, and each key has an order of all members, not just a winner.
 */

import { hashText } from '../../base/prng.ts';
import type { AlgorithmRequest, Member } from './algorithm.ts';

/** The key that keeps requests together: session first, then prefix; null: neither. */
export function affinityKey(request: AlgorithmRequest): number | null {
  if (request.sessionKey !== null) return hashText(request.sessionKey);
  return request.prefixHash === 0 ? null : request.prefixHash >>> 0;
}

/** Rank of a member for a key: higher is better. The configured weight scales its share. */
export function rendezvousRank(key: number, member: Member): number {
  let mixed = Math.imul(key ^ member.hash, 0x9e3779b1) >>> 0;
  mixed ^= mixed >>> 16;
  mixed = Math.imul(mixed ^ Math.imul(member.hash, 0x85ebca6b), 0x21f0aaad) >>> 0;
  mixed ^= mixed >>> 15;
  mixed = Math.imul(mixed, 0x735a2d97) >>> 0;
  mixed = (mixed ^ (mixed >>> 15)) >>> 0;
  const unit = (mixed + 0.5) / 0x1_0000_0000;
  return member.baseWeight / -Math.log(unit);
}
