/** Changes of members in the middle of everything else, and mistakes that operators make with them. */

import type { MemberChange, NodeId } from '../raft/types.ts';
import type { FAULT_GROUPS } from './faults.ts';
import type { Hit, Strike } from './nemesis.ts';
import type { SimNode } from './node.ts';
import { pickOne } from './streams.ts';

type Kind = (typeof FAULT_GROUPS)['members'][number];

interface Group {
  readonly leader: SimNode;
  readonly voters: readonly NodeId[];
  readonly learners: readonly NodeId[];
}

function groupOf(hit: Hit): Group | null {
  const leader = hit.world.leader();
  const conf = leader?.status?.conf;
  if (leader === null || conf === undefined) return null;
  return { leader, voters: conf.voters, learners: conf.learners };
}

function isSound(hit: Hit, id: NodeId): boolean {
  const node = hit.world.nodes.get(id);
  return node !== undefined && !node.isDamaged && !node.isRetired;
}

/** Asks for it where the voters that are left could go on. */
function ask(hit: Hit, changes: readonly MemberChange[], voters: readonly NodeId[]): void {
  if (voters.length === 0 || !hit.world.atlas.canGoOn(voters)) return;
  const what = changes.map((change) => describe(change)).join(' and ');
  if (hit.operator.ask(changes, what)) hit.tell(what);
}

function describe(change: MemberChange): string {
  return change.kind === 'add' ? `add ${change.member.id}` : `${change.kind} ${change.id}`;
}

function removeVoter(hit: Hit, group: Group, id: NodeId): void {
  // A group of one or two has nobody to spare.
  if (group.voters.length < 3) return;
  const rest = group.voters.filter((voter) => voter !== id);
  ask(hit, [{ kind: 'remove', id }], rest);
}

export const MEMBER_FAULTS: Readonly<Record<Kind, Strike>> = {
  add: (hit) => {
    const node = hit.operator.addSpare(hit.prng.nextBelow(3) > 0);
    hit.tell(`node ${node.id}, a new machine`);
  },
  grow: (hit) => {
    const group = groupOf(hit);
    if (group === null || group.voters.length >= 5) return;
    const nodes = [hit.operator.addSpare(true), hit.operator.addSpare(true)];
    hit.tell(`nodes ${nodes.map(({ id }) => id).join(' and ')}, two new machines`);
    const changes = nodes.map(({ member }): MemberChange => ({ kind: 'add', member }));
    ask(hit, changes, group.voters);
  },
  promote: (hit) => {
    const group = groupOf(hit);
    const id = pickOne(hit.prng, group?.learners.filter((one) => isSound(hit, one)) ?? []);
    if (group === null || id === null) return;
    ask(hit, [{ kind: 'promote', id }], [...group.voters, id]);
  },
  demote: (hit) => {
    const group = groupOf(hit);
    const id = pickOne(hit.prng, group?.voters ?? []);
    if (group === null || id === null || group.voters.length < 3) return;
    const rest = group.voters.filter((voter) => voter !== id);
    ask(hit, [{ kind: 'demote', id }], rest);
  },
  // More than one voter changes at once: a joint configuration.
  'swap-voters': (hit) => {
    const group = groupOf(hit);
    if (group === null) return;
    const out = pickOne(hit.prng, group.voters);
    const into = pickOne(
      hit.prng,
      group.learners.filter((id) => isSound(hit, id)),
    );
    if (out === null) return;
    const rest = group.voters.filter((voter) => voter !== out);
    if (into !== null) {
      const how = hit.prng.nextBelow(2) === 0 ? 'demote' : 'remove';
      ask(
        hit,
        [
          { kind: how, id: out },
          { kind: 'promote', id: into },
        ],
        [...rest, into],
      );
      return;
    }
    const other = pickOne(hit.prng, rest);
    if (other === null || group.voters.length < 4) return;
    const left = rest.filter((id) => id !== other);
    ask(
      hit,
      [
        { kind: 'demote', id: out },
        { kind: 'demote', id: other },
      ],
      left,
    );
  },
  remove: (hit) => {
    const group = groupOf(hit);
    if (group === null) return;
    const id = pickOne(hit.prng, [...group.voters, ...group.learners]);
    if (id === null) return;
    if (group.voters.includes(id)) removeVoter(hit, group, id);
    else ask(hit, [{ kind: 'remove', id }], group.voters);
  },
  'remove-leader': (hit) => {
    const group = groupOf(hit);
    if (group !== null) removeVoter(hit, group, group.leader.id);
  },
  // A lost disk comes back empty under its old number, or the number is given out again.
  'reuse-id': (hit) => {
    const group = groupOf(hit);
    const { atlas, nodes } = hit.world;
    if (group === null) return;
    // A number that nobody has given out yet is no number used again: its own machine waits for it.
    const idMax = group.leader.status?.conf.idMax ?? 0;
    const used = pickOne(
      hit.prng,
      [...nodes.values()].filter(({ id }) => id !== group.leader.id && id <= idMax),
    );
    if (used === null) return;
    const incarnation = used.member.incarnation + 500;
    const member = { ...used.member, incarnation, isPromotable: true };
    ask(hit, [{ kind: 'add', member }], group.voters);
    if (!atlas.mayDamage(used.id) || !used.hasFolder) return;
    hit.tell(`node ${used.id} starts with an empty disk under its old number`);
    used.kill(true);
    used.loseDisk();
    used.isDamaged = true;
    used.mustRefuse = false;
    used.hasFolder = false;
    used.incarnation = incarnation;
    hit.after(50, () => used.start());
  },
  // Who was removed and switched off is switched on again.
  ghost: (hit) => {
    const gone = [...hit.world.nodes.values()].filter((node) => node.isRetired && node.hasFolder);
    const node = pickOne(hit.prng, gone);
    if (node === null || node.process !== null) return;
    hit.tell(`node ${node.id}, removed before, is switched on for ${hit.fault.forMs} ms`);
    hit.world.marks.reach('old disk of a removed node came back');
    node.start();
    hit.after(hit.fault.forMs, () => node.kill(false));
  },
};
