/**
 * Changes of voters and learners as pure functions over lists: simple (at most one voter differs)
 * and joint (any change, through a configuration in which both majorities must agree).
 *
 * C1: two configurations that follow one another have a common voter in any two of their quorums:
 *     a simple change differs in one voter, any other goes through a joint configuration.
 * C2: an old voter that becomes a learner does so when the joint configuration ends, not before.
 * C3: no configuration is without a voter.
 * Source: Ongaro, thesis, §4.2–4.3. Held against the published tables of cases of etcd-io/raft.
 */

import { err, ok, type Result } from '../base/result.ts';
import type { ConfState, NodeId } from './types.ts';

/** The lists of a configuration, without what is known of its members. */
export type ConfLists = Pick<
  ConfState,
  'voters' | 'votersOutgoing' | 'learners' | 'learnersNext' | 'autoLeave'
>;

export type ConfOp = {
  readonly kind: 'voter' | 'learner' | 'remove' | 'update';
  /** 0 is ignored: a change that a caller has struck out. */
  readonly id: NodeId;
};

export type ConfRefusal =
  | 'removed all voters'
  | 'more than one voter changed without entering joint config'
  | "can't apply simple config change in joint config"
  | 'config is already joint'
  | "can't make a zero-voter config joint"
  | "can't leave a non-joint config";

export const EMPTY_LISTS: ConfLists = {
  voters: [],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
};

interface Sets {
  readonly voters: Set<NodeId>;
  readonly outgoing: ReadonlySet<NodeId>;
  readonly learners: Set<NodeId>;
  readonly learnersNext: Set<NodeId>;
}

/** Applies `ops` where at most one voter changes. */
export function changeSimply(
  lists: ConfLists,
  ops: readonly ConfOp[],
): Result<ConfLists, ConfRefusal> {
  if (isJoint(lists)) return err("can't apply simple config change in joint config");
  const sets = setsOf(lists);
  applyOps(sets, ops);
  if (sets.voters.size === 0) return err('removed all voters');
  if (differenceCount(new Set(lists.voters), sets.voters) > 1) {
    return err('more than one voter changed without entering joint config');
  }
  return ok(listsOf(sets, false));
}

/** Applies `ops` on the way into a joint configuration. */
export function enterJoint(
  lists: ConfLists,
  ops: readonly ConfOp[],
  autoLeave: boolean,
): Result<ConfLists, ConfRefusal> {
  if (isJoint(lists)) return err('config is already joint');
  if (lists.voters.length === 0) return err("can't make a zero-voter config joint");
  const sets = setsOf({ ...lists, votersOutgoing: lists.voters });
  applyOps(sets, ops);
  if (sets.voters.size === 0) return err('removed all voters');
  return ok(listsOf(sets, autoLeave));
}

/** Ends a joint configuration: the new voters decide alone. */
export function leaveJoint(lists: ConfLists): Result<ConfLists, ConfRefusal> {
  if (!isJoint(lists)) return err("can't leave a non-joint config");
  return ok({
    voters: lists.voters,
    votersOutgoing: [],
    learners: sorted([...lists.learners, ...lists.learnersNext]),
    learnersNext: [],
    autoLeave: false,
  });
}

export function isJoint(lists: ConfLists): boolean {
  return lists.votersOutgoing.length > 0;
}

/** How many voters the change adds or takes away. */
export function votersChanged(lists: ConfLists, ops: readonly ConfOp[]): number {
  const sets = setsOf(lists);
  applyOps(sets, ops);
  return differenceCount(new Set(lists.voters), sets.voters);
}

/** Everyone in any of the lists, sorted. */
export function idsOf(lists: ConfLists): readonly NodeId[] {
  const ids = new Set([
    ...lists.voters,
    ...lists.votersOutgoing,
    ...lists.learners,
    ...lists.learnersNext,
  ]);
  return sorted([...ids]);
}

function applyOps(sets: Sets, ops: readonly ConfOp[]): void {
  for (const { kind, id } of ops) {
    if (id === 0 || kind === 'update') continue;
    // Whatever it was, it is that no more; `outgoing` alone outlasts the change.
    sets.voters.delete(id);
    sets.learners.delete(id);
    sets.learnersNext.delete(id);
    if (kind === 'voter') sets.voters.add(id);
    if (kind !== 'learner') continue;
    if (sets.outgoing.has(id)) sets.learnersNext.add(id);
    else sets.learners.add(id);
  }
}

function setsOf(lists: ConfLists): Sets {
  return {
    voters: new Set(lists.voters),
    outgoing: new Set(lists.votersOutgoing),
    learners: new Set(lists.learners),
    learnersNext: new Set(lists.learnersNext),
  };
}

function listsOf(sets: Sets, autoLeave: boolean): ConfLists {
  return {
    voters: sorted([...sets.voters]),
    votersOutgoing: sorted([...sets.outgoing]),
    learners: sorted([...sets.learners]),
    learnersNext: sorted([...sets.learnersNext]),
    autoLeave,
  };
}

function differenceCount(left: ReadonlySet<NodeId>, right: ReadonlySet<NodeId>): number {
  return left.symmetricDifference(right).size;
}

function sorted(ids: readonly NodeId[]): readonly NodeId[] {
  return ids.toSorted((a, b) => a - b);
}
