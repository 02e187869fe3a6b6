/**
 * Ballots: the order of rounds.
 *
 * B1: no two rounds share a ballot: a counter is used once by a proposer id, and a proposer id is
 *     granted by the log to one start of one process.
 * B2: a ballot of a newer epoch is above all of older ones: rounds of sets that do not meet are in
 *     the order of their sets.
 */

import type { Ballot } from './types.ts';

/** Below every ballot that a proposer uses: nothing promised, nothing accepted. */
export const ZERO_BALLOT: Ballot = { epoch: 0, counter: 0, proposer: 0 };

/** Negative where `a` is the lower one, 0 where they are the same. */
export function compareBallots(a: Ballot, b: Ballot): number {
  if (a.epoch !== b.epoch) return a.epoch - b.epoch;
  return a.counter === b.counter ? a.proposer - b.proposer : a.counter - b.counter;
}

export function isSameBallot(a: Ballot, b: Ballot): boolean {
  return a.epoch === b.epoch && a.counter === b.counter && a.proposer === b.proposer;
}

export function isZeroBallot(ballot: Ballot): boolean {
  return ballot.counter === 0;
}
