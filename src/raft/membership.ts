/**
 * What changes of members are allowed, beyond what makes them safe (confchange.ts).
 *
 * M1: an id is never given out twice: a new member's id is above every earlier one.
 * M2: a new member begins as a learner and becomes a voter once it has caught up.
 * M3: a configuration keeps a voter that is no witness, so that somebody can lead.
 * M4: a removed member is known by its id: at most `idMax` and in no list.
 * Checked by membership.test.ts and testdata/membership*.txt.
 */

import { assert } from '../base/assert.ts';
import { RAFT_LIMITS } from '../base/limits.ts';
import { peerName } from '../base/peerName.ts';
import { err, ok, type Result } from '../base/result.ts';
import { isNodeName } from './codec.ts';
import {
  changeSimply,
  EMPTY_LISTS,
  enterJoint,
  idsOf,
  leaveJoint,
  votersChanged,
  type ConfLists,
  type ConfOp,
} from './confchange.ts';
import type { RaftErrorCode } from './errors.ts';
import type { ConfState, Member, MemberChange, NodeId } from './types.ts';

export const EMPTY_CONF: ConfState = { ...EMPTY_LISTS, members: [], idMax: 0 };

/** Whether a learner has caught up with the leader's log. */
export type HasCaughtUp = (id: NodeId) => boolean;

/** The configuration of a new cluster: `members` are its voters from the first entry on. */
export function bootstrapConf(members: readonly Member[]): ConfState {
  const sorted = members.toSorted((a, b) => a.id - b.id);
  assert(
    sorted.some((member) => !member.isWitness),
    'somebody can lead',
  );
  return {
    ...EMPTY_LISTS,
    voters: sorted.map((member) => member.id),
    members: sorted,
    idMax: sorted.at(-1)?.id ?? 0,
  };
}

/** The configuration after `changes`, joint where more than one voter changes. */
export function planChange(
  conf: ConfState,
  changes: readonly MemberChange[],
  hasCaughtUp: HasCaughtUp,
): Result<ConfState, RaftErrorCode> {
  const members = new Map(conf.members.map((member) => [member.id, member]));
  const ops: ConfOp[] = [];
  let idMax = conf.idMax;
  for (const change of changes) {
    const refusal = refuseChange(conf, members, idMax, change, hasCaughtUp);
    if (refusal !== null) return err(refusal);
    ops.push(opOf(change));
    if (change.kind === 'add') {
      members.set(change.member.id, change.member);
      idMax = change.member.id;
    }
    const learner = change.kind === 'demote' ? members.get(change.id) : undefined;
    // Without this the leader would make it a voter again at once.
    if (learner !== undefined) members.set(learner.id, { ...learner, isPromotable: false });
  }
  if (ops.length === 0) return err('no-change');
  const lists =
    votersChanged(conf, ops) > 1 ? enterJoint(conf, ops, true) : changeSimply(conf, ops);
  if (!lists.ok) return err(lists.error === 'removed all voters' ? 'last-voter' : 'no-change');
  return checkResult(conf, withMembers(lists.value, members, idMax));
}

/** The configuration after a joint one. */
export function planLeave(conf: ConfState): ConfState {
  const lists = leaveJoint(conf);
  assert(lists.ok, 'only a joint configuration is left');
  const members = new Map(conf.members.map((member) => [member.id, member]));
  return withMembers(lists.value, members, conf.idMax);
}

/** What is known of `id`, or null for one who is no member. */
export function memberOf(conf: ConfState, id: NodeId): Member | null {
  return conf.members.find((member) => member.id === id) ?? null;
}

/** What the node of a member is called among peers. */
export function nameOf({ region, node }: Pick<Member, 'region' | 'node'>): string {
  return peerName(region, node ?? null);
}

/** Whether `id` votes in either half. */
export function isVoter(conf: ConfState, id: NodeId): boolean {
  return conf.voters.includes(id) || conf.votersOutgoing.includes(id);
}

/** M4. */
export function isRemovedFrom(conf: ConfState, id: NodeId): boolean {
  return id <= conf.idMax && memberOf(conf, id) === null;
}

function withMembers(
  lists: ConfLists,
  members: ReadonlyMap<NodeId, Member>,
  idMax: NodeId,
): ConfState {
  const kept = idsOf(lists).flatMap((id) => {
    const member = members.get(id);
    return member === undefined ? [] : [member];
  });
  return {
    voters: lists.voters,
    votersOutgoing: lists.votersOutgoing,
    learners: lists.learners,
    learnersNext: lists.learnersNext,
    autoLeave: lists.autoLeave,
    members: kept,
    idMax,
  };
}

function refuseChange(
  conf: ConfState,
  members: ReadonlyMap<NodeId, Member>,
  idMax: NodeId,
  change: MemberChange,
  hasCaughtUp: HasCaughtUp,
): RaftErrorCode | null {
  if (change.kind === 'add') {
    const { id, priority, region, node } = change.member;
    if (id <= idMax) return 'id-used';
    const isFine =
      Number.isSafeInteger(id) &&
      priority <= RAFT_LIMITS.priorityMax &&
      region.length <= RAFT_LIMITS.regionCharsMax &&
      !region.includes('/') &&
      (node === undefined || isNodeName(node));
    return isFine ? null : 'unknown-member';
  }
  if (!members.has(change.id)) return 'unknown-member';
  if (change.kind === 'promote') {
    if (!conf.learners.includes(change.id)) return 'not-learner-first';
    return hasCaughtUp(change.id) ? null : 'not-caught-up';
  }
  if (change.kind === 'demote' && !conf.voters.includes(change.id)) return 'no-change';
  return null;
}

function opOf(change: MemberChange): ConfOp {
  switch (change.kind) {
    case 'add':
      return { kind: 'learner', id: change.member.id };
    case 'promote':
      return { kind: 'voter', id: change.id };
    case 'demote':
      return { kind: 'learner', id: change.id };
    case 'remove':
      return { kind: 'remove', id: change.id };
  }
}

function checkResult(before: ConfState, after: ConfState): Result<ConfState, RaftErrorCode> {
  const canLead = after.voters.some((id) => memberOf(after, id)?.isWitness === false);
  if (!canLead) return err('last-voter');
  if (
    after.members.length > RAFT_LIMITS.membersMax ||
    after.voters.length > RAFT_LIMITS.votersMax
  ) {
    return err('too-many-members');
  }
  const isSame =
    before.idMax === after.idMax &&
    [before.voters, before.learners].join('|') === [after.voters, after.learners].join('|');
  return isSame ? err('no-change') : ok(after);
}
