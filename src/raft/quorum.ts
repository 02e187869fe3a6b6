/**
 * Majorities of one set of voters and of two (joint consensus): what is committed, who has won.
 * Pure. An empty set agrees to everything, so that a plain configuration is a joint one with an
 * empty second half.
 *
 * Q1: what is committed or elected has the consent of a majority of each half.
 * Source: Ongaro, thesis, §4.3. Groups: tikv/raft-rs. Held against their published tables of cases.
 */

import type { Index, NodeId } from './types.ts';

export type VoteResult = 'won' | 'lost' | 'pending';

/** What a voter has acknowledged; undefined: nothing heard. */
export type Acked = (id: NodeId) => Index | undefined;

/** The region of a voter as a number, 0 if unknown. */
export type GroupOf = (id: NodeId) => number;

/** The highest index that a majority of both halves has; Infinity if both are empty. */
export function jointCommit(
  voters: readonly NodeId[],
  outgoing: readonly NodeId[],
  acked: Acked,
): Index {
  return Math.min(majorityCommit(voters, acked), majorityCommit(outgoing, acked));
}

/** The highest index that a majority of `voters` has; Infinity if there are none. */
export function majorityCommit(voters: readonly NodeId[], acked: Acked): Index {
  if (voters.length === 0) return Number.POSITIVE_INFINITY;
  const indices = voters.map((id) => acked(id) ?? 0).toSorted((a, b) => b - a);
  return indices[majorityOf(voters.length) - 1] ?? 0;
}

/** As `jointCommit`, and in each half members of two groups have it, if it has two groups. */
export function jointGroupCommit(
  voters: readonly NodeId[],
  outgoing: readonly NodeId[],
  acked: Acked,
  groupOf: GroupOf,
): Index {
  return Math.min(
    majorityGroupCommit(voters, acked, groupOf),
    majorityGroupCommit(outgoing, acked, groupOf),
  );
}

/**
 * The highest index that a majority and voters of two groups have. Where all voters are of one
 * group the majority alone decides; where that cannot be known, all must have it.
 */
export function majorityGroupCommit(
  voters: readonly NodeId[],
  acked: Acked,
  groupOf: GroupOf,
): Index {
  if (voters.length === 0) return Number.POSITIVE_INFINITY;
  const matches = voters
    .map((id) => ({ index: acked(id) ?? 0, group: groupOf(id) }))
    .toSorted((a, b) => b.index - a.index);
  const decisive = matches[majorityOf(voters.length) - 1] ?? { index: 0, group: 0 };
  let seen = decisive.group;
  let isEveryGroupKnown = true;
  for (const { index, group } of matches) {
    if (group === 0) isEveryGroupKnown = false;
    else if (seen === 0) seen = group;
    else if (group !== seen) return Math.min(index, decisive.index);
  }
  return isEveryGroupKnown ? decisive.index : (matches.at(-1)?.index ?? 0);
}

/** The result of an election so far. A missing vote may still come either way. */
export function jointVote(
  voters: readonly NodeId[],
  outgoing: readonly NodeId[],
  votes: ReadonlyMap<NodeId, boolean>,
): VoteResult {
  const first = majorityVote(voters, votes);
  const second = majorityVote(outgoing, votes);
  if (first === 'lost' || second === 'lost') return 'lost';
  return first === 'won' && second === 'won' ? 'won' : 'pending';
}

/** The result among `voters`; votes of others do not count. */
export function majorityVote(
  voters: readonly NodeId[],
  votes: ReadonlyMap<NodeId, boolean>,
): VoteResult {
  if (voters.length === 0) return 'won';
  let granted = 0;
  let missing = 0;
  for (const id of voters) {
    const vote = votes.get(id);
    if (vote === undefined) missing += 1;
    else if (vote) granted += 1;
  }
  const needed = majorityOf(voters.length);
  if (granted >= needed) return 'won';
  return granted + missing >= needed ? 'pending' : 'lost';
}

function majorityOf(count: number): number {
  return Math.floor(count / 2) + 1;
}
