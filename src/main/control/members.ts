/**
 * Operations on the members of the control group, wherever they are asked for: the leader carries
 * them out, every other node passes them on.
 *
 * M1: no change of members that would leave the group without a quorum of nodes that are heard now.
 * M2: a region's older number goes by itself once its newer one votes.
 * M3: a region that is new to a group of three or more votes by itself only where an odd number then
 *     does; else it is a learner until an operator promotes it.
 */

import { z } from 'zod';

import { RAFT_LIMITS } from '../../base/limits.ts';
import { RAFT_ERRORS } from '../../raft/errors.ts';
import type { ConfState, Member, MemberChange, NodeId, RaftStatus } from '../../raft/types.ts';
import type { GroupMember } from '../../replica/group/types.ts';

const id = z.int().min(1).max(RAFT_LIMITS.integerMax);
export const operationSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('remove'), id, force: z.boolean() }),
  z.strictObject({ kind: z.literal('promote'), id }),
  z.strictObject({ kind: z.literal('demote'), id, force: z.boolean() }),
  z.strictObject({ kind: z.literal('transfer'), id }),
]);
export type Operation = z.output<typeof operationSchema>;

export const operatedSchema = z.strictObject({
  isDone: z.boolean(),
  /** `definite`: nothing was and will be changed. Null where it is done. */
  error: z
    .strictObject({ code: z.string(), message: z.string(), definite: z.boolean() })
    .nullable(),
});
export type Operated = z.output<typeof operatedSchema>;

const DONE: Operated = { isDone: true, error: null };

/** Carries an operation out at the leader. */
export function operate(group: GroupMember, operation: Operation): Promise<Operated> {
  const refusal = unsafe(group.status(), operation);
  if (refusal !== null) return Promise.resolve(refusal);
  return new Promise((resolve) => {
    const done = (result: {
      readonly ok: boolean;
      readonly error?: { error: keyof typeof RAFT_ERRORS };
    }) => {
      if (result.ok || result.error === undefined) return resolve(DONE);
      const { definite, sentence } = RAFT_ERRORS[result.error.error];
      resolve({
        isDone: false,
        error: { code: result.error.error, message: sentence, definite },
      });
    };
    if (operation.kind === 'transfer') group.transfer(operation.id, done);
    else group.changeMembers([changeOf(operation)], done);
  });
}

function changeOf(operation: Exclude<Operation, { readonly kind: 'transfer' }>): MemberChange {
  return { kind: operation.kind, id: operation.id };
}

/** Gives a disk that is new to the group a number, or the one it has; null: not here, not now. */
export function admit(
  group: GroupMember,
  region: string,
  { incarnation, priority, isWitness }: Pick<Member, 'incarnation' | 'priority' | 'isWitness'>,
): Promise<NodeId | null> {
  const { conf } = group.status();
  const known = conf.members.find(
    (member) => member.region === region && member.incarnation === incarnation,
  );
  if (known !== undefined) return Promise.resolve(known.id);
  const id = conf.idMax + 1;
  const isPromotable = isVoteWanted(conf, region);
  const member = { id, region, incarnation, priority, isWitness, isPromotable };
  return new Promise((resolve) => {
    group.changeMembers([{ kind: 'add', member }], (result) => resolve(result.ok ? id : null));
  });
}

/** M3. A region that votes already gets its vote back under its new number. */
export function isVoteWanted({ voters, members }: ConfState, region: string): boolean {
  const voting = members.filter(({ id, isPromotable }) => voters.includes(id) || isPromotable);
  const regions = new Set(voting.map((member) => member.region));
  return regions.has(region) || regions.size < 3 || regions.size % 2 === 0;
}

/** M1. Null: it may be tried. */
export function unsafe(status: RaftStatus, operation: Operation): Operated | null {
  if (operation.kind === 'transfer' || operation.kind === 'promote' || operation.force) return null;
  const { conf, peers } = status;
  const voters = conf.voters.filter((voter) => voter !== operation.id);
  const heard = voters.filter(
    (voter) => voter === status.id || peers.some((peer) => peer.id === voter && peer.isActive),
  );
  const needed = Math.floor(voters.length / 2) + 1;
  if (heard.length >= needed) return null;
  const message =
    `Without member ${operation.id} the group has ${voters.length} voters, needs ${needed} of them, ` +
    `and hears ${heard.length}: it would stop. Bring a member back first.`;
  return { isDone: false, error: { code: 'would-lose-quorum', message, definite: true } };
}

/** M2. The number to take out now; null: none. */
export function supersededMember({ role, conf }: RaftStatus): NodeId | null {
  if (role !== 'leader' || conf.votersOutgoing.length > 0) return null;
  const older = conf.members.find((member) =>
    conf.members.some(
      (other) =>
        other.region === member.region && other.id > member.id && conf.voters.includes(other.id),
    ),
  );
  return older?.id ?? null;
}
