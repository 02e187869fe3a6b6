/**
 * Operations on the members of the control group, wherever they are asked for: the leader carries
 * them out, every other node passes them on.
 *
 * M1: no change of members that would leave the group without a quorum of nodes that are heard now.
 * M2: a node's older number goes by itself once its newer one votes, or, where the older one had no
 *     vote, once the newer one is there and has caught up.
 * M3: a region that is new to a group of three or more votes by itself only where an odd number then
 *     does; else it is a learner until an operator promotes it.
 * M4: one node votes for a region: a further one gets the vote only in one step with the loss of the
 *     other's. Where two have it all the same, one of them loses it.
 * M5: the leader takes that step by itself where the region's voter was silent for `takeOverMs` and
 *     a further node is there and has caught up. Whoever lost the vote so stays a learner.
 */

import { z } from 'zod';

import { RAFT_LIMITS } from '../../base/limits.ts';
import { RAFT_ERRORS, type RaftErrorCode } from '../../raft/errors.ts';
import { nodeOfPeer, regionOfPeer } from '../../base/peerName.ts';
import { memberOf, nameOf, planChange } from '../../raft/membership.ts';
import type { ConfState, Member, MemberChange, NodeId, RaftStatus } from '../../raft/types.ts';
import type { GroupMember } from '../../replica/group/types.ts';

const id = z.int().min(1).max(RAFT_LIMITS.integerMax);
export const operationSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('remove'), id, force: z.boolean() }),
  // Absent, not false: a leader of an older program takes no field that it does not know.
  z.strictObject({ kind: z.literal('promote'), id, replace: z.literal(true).optional() }),
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
      if (result.ok || result.error === undefined) resolve(DONE);
      else resolve(refusedWith(result.error.error));
    };
    if (operation.kind === 'transfer') group.transfer(operation.id, done);
    else group.changeMembers(changesOf(group.status().conf, operation), done);
  });
}

/** What the leader would refuse now, without doing it; null: it may be tried. */
export function judge(status: RaftStatus, operation: Operation): Operated | null {
  const refusal = unsafe(status, operation);
  if (refusal !== null) return refusal;
  const error = refusalOf(status, operation);
  return error === null ? null : refusedWith(error);
}

/** As Raft itself says it. */
function refusalOf(status: RaftStatus, operation: Operation): RaftErrorCode | null {
  const { conf, confIndex, commit } = status;
  if (operation.kind === 'transfer') {
    const isFit =
      conf.voters.includes(operation.id) && memberOf(conf, operation.id)?.isWitness === false;
    return isFit && operation.id !== status.id ? null : 'bad-target';
  }
  if (confIndex > commit || conf.votersOutgoing.length > 0) return 'change-in-flight';
  const changes = changesOf(conf, operation);
  const planned = planChange(conf, changes, (learner) => isCaughtUp(status, learner));
  return planned.ok ? null : planned.error;
}

export function refusedWith(code: RaftErrorCode): Operated {
  const { definite, sentence } = RAFT_ERRORS[code];
  return { isDone: false, error: { code, message: sentence, definite } };
}

function changesOf(
  conf: ConfState,
  operation: Exclude<Operation, { readonly kind: 'transfer' }>,
): readonly MemberChange[] {
  const { kind, id: member } = operation;
  const rivals = kind === 'promote' ? rivalsOf(conf, member) : [];
  return [...rivals.map((rival) => ({ kind: 'demote', id: rival }) as const), { kind, id: member }];
}

/** Who votes for the region of `member` beside it: other nodes, not older numbers of the same. */
function rivalsOf(conf: ConfState, member: NodeId): readonly NodeId[] {
  const own = memberOf(conf, member);
  if (own === null) return [];
  return conf.members
    .filter((other) => other.region === own.region && nameOf(other) !== nameOf(own))
    .filter((other) => conf.voters.includes(other.id))
    .map((other) => other.id);
}

/** Gives a disk that is new to the group a number, or the one it has; null: not here, not now. */
export function admit(
  group: Pick<GroupMember, 'status' | 'changeMembers'>,
  name: string,
  { incarnation, priority, isWitness }: Pick<Member, 'incarnation' | 'priority' | 'isWitness'>,
): Promise<NodeId | null> {
  const { conf, confIndex, commit } = group.status();
  const known = conf.members.find(
    (member) => nameOf(member) === name && member.incarnation === incarnation,
  );
  // What is not committed may yet be another's number.
  if (known !== undefined) return Promise.resolve(confIndex <= commit ? known.id : null);
  const next = conf.idMax + 1;
  const [region, node] = [regionOfPeer(name), nodeOfPeer(name)];
  const place = node === null ? { region } : { region, node };
  const isPromotable = isVoteWanted(conf, name);
  const member = { id: next, ...place, incarnation, priority, isWitness, isPromotable };
  return new Promise((resolve) => {
    group.changeMembers([{ kind: 'add', member }], (result) => resolve(result.ok ? next : null));
  });
}

/** M3, M4. A node that has the vote of its region gets it back under its new number. */
export function isVoteWanted({ voters, members }: ConfState, name: string): boolean {
  const voting = members.filter((member) => voters.includes(member.id) || member.isPromotable);
  if (voting.some((member) => nameOf(member) === name)) return true;
  const regions = new Set(voting.map((member) => member.region));
  if (nodeOfPeer(name) !== null || regions.has(name)) return false;
  return regions.size < 3 || regions.size % 2 === 0;
}

/** M1, M4. Null: it may be tried. */
export function unsafe(status: RaftStatus, operation: Operation): Operated | null {
  if (operation.kind === 'transfer') return null;
  if (operation.kind === 'promote') return unsafePromotion(status, operation);
  if (operation.force) return null;
  const { conf } = status;
  const voters = conf.voters.filter((voter) => voter !== operation.id);
  const heard = voters.filter((voter) => isHeard(status, voter));
  const needed = Math.floor(voters.length / 2) + 1;
  if (heard.length >= needed) return null;
  const message =
    `Without member ${operation.id} the group has ${voters.length} voters, needs ${needed} of them, ` +
    `and hears ${heard.length}: it would stop. Bring a member back first.`;
  return { isDone: false, error: { code: 'would-lose-quorum', message, definite: true } };
}

function unsafePromotion(
  { conf }: RaftStatus,
  { id: member, replace }: Extract<Operation, { readonly kind: 'promote' }>,
): Operated | null {
  const [rival] = rivalsOf(conf, member);
  const voter = rival === undefined ? null : memberOf(conf, rival);
  if (voter === null || replace === true) return null;
  const message =
    `Member ${voter.id} (${nameOf(voter)}) votes for ${voter.region} already, and one node of a ` +
    `region does: "banyan member promote ${member} --replace" gives its vote to member ${member}.`;
  return { isDone: false, error: { code: 'region-votes', message, definite: true } };
}

function isHeard({ id: own, peers }: RaftStatus, member: NodeId): boolean {
  return member === own || peers.some((peer) => peer.id === member && peer.isActive);
}

/** There, and near the end of the log. */
function isCaughtUp(status: RaftStatus, member: NodeId): boolean {
  const peer = status.peers.find((one) => one.id === member);
  if (peer === undefined) return member === status.id;
  return peer.isActive && peer.match + RAFT_LIMITS.promoteLagEntries >= status.commit;
}

function mayChange({ role, conf }: RaftStatus): boolean {
  return role === 'leader' && conf.votersOutgoing.length === 0;
}

/** M2. The number to take out now; null: none. */
export function supersededMember(status: RaftStatus): NodeId | null {
  const { members, voters } = status.conf;
  if (!mayChange(status)) return null;
  const older = members.find((member) => {
    const newer = members.filter((one) => one.id > member.id && nameOf(one) === nameOf(member));
    if (newer.some((one) => voters.includes(one.id))) return true;
    return !voters.includes(member.id) && newer.some((one) => isCaughtUp(status, one.id));
  });
  return older?.id ?? null;
}

/** M4. The one of two voters of a region that is to lose its vote; null: none. */
export function surplusVoter(status: RaftStatus): NodeId | null {
  if (!mayChange(status)) return null;
  const { members, voters } = status.conf;
  const voting = members.filter((member) => voters.includes(member.id));
  for (const { region } of voting) {
    const ofRegion = voting.filter((member) => member.region === region);
    if (new Set(ofRegion.map(nameOf)).size < 2) continue;
    const there = ofRegion.filter((member) => isHeard(status, member.id));
    // Who is there keeps it, of several the first node.
    const kept = there.find((member) => member.node === undefined) ?? there[0];
    const lost = ofRegion.filter((member) => kept !== undefined && nameOf(member) !== nameOf(kept));
    const least = lost.find((member) => !isHeard(status, member.id)) ?? lost[0];
    if (least !== undefined) return least.id;
  }
  return null;
}

/** Since when the leader has not heard each voter that it does not hear, by its own clock. */
export type Silences = ReadonlyMap<NodeId, number>;

/** What is known of silences now, by what was; nothing where this node does not lead. */
export function silencesOf(before: Silences, status: RaftStatus, nowMs: number): Silences {
  if (status.role !== 'leader') return new Map();
  const silent = status.conf.voters.filter((voter) => !isHeard(status, voter));
  return new Map(silent.map((voter) => [voter, before.get(voter) ?? nowMs]));
}

/** M5. The vote that goes to another node of its region now; null: none. */
export function takeOver(
  status: RaftStatus,
  silences: Silences,
  nowMs: number,
  afterMs: number,
): { readonly from: Member; readonly to: Member } | null {
  if (!mayChange(status)) return null;
  const { members, learners } = status.conf;
  for (const [silent, sinceMs] of silences) {
    const from = memberOf(status.conf, silent);
    if (from === null || nowMs - sinceMs < afterMs) continue;
    const others = members.filter((one) => one.region === from.region && one.id !== silent);
    const fit = others.filter(
      (one) => learners.includes(one.id) && !one.isWitness && isCaughtUp(status, one.id),
    );
    // Its own newer number gets the vote by itself.
    if (fit.some((one) => nameOf(one) === nameOf(from))) continue;
    const [to] = fit.toSorted((a, b) => b.priority - a.priority || a.id - b.id);
    if (to !== undefined) return { from, to };
  }
  return null;
}
