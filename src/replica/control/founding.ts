/**
 * How a node without a log comes into its group, without a person: the first nodes of all regions
 * found a new cluster together, and whoever lost its disk joins what the others still have. Further
 * nodes of a region found nothing: they join what there is.
 *
 * F1: a group is founded only once the first node of every configured region has answered that it
 *     has none, and all of them are configured with the same regions.
 * F2: one region founds, the first by name; the others take what it says, or what one of them took.
 * F3: a number and an incarnation belong to one log: a node whose log is gone is a new member, under
 *     a new number (who forgets what it acknowledged must not vote again: research ).
 * F4: whoever had a log founds nothing: where all have lost theirs, a person decides.
 */

import { nodeOfPeer } from '../../base/peerName.ts';
import type { Member } from '../../raft/types.ts';

/** A group as its first members are told of it. */
export interface Founding {
  /** Of this group alone: its name and a random part. */
  readonly cluster: string;
  readonly members: readonly Member[];
}

/** What a node says of itself to others. */
export type Hello =
  /** It has no log. `incarnation` is drawn, and kept on its disk until it has one. */
  | {
      readonly kind: 'new';
      readonly incarnation: number;
      readonly priority: number;
      readonly isWitness: boolean;
      /** False: this disk, or the one before it, had a log of a group. */
      readonly mayFound: boolean;
    }
  /** It has a log of this group. `founding` until entries of its own have been committed. */
  | { readonly kind: 'member'; readonly cluster: string; readonly founding: Founding | null };

export type FoundingDecision =
  /** `detail` says for whom. */
  | { readonly kind: 'wait'; readonly detail: string }
  /** Tell all others; when all have it, take it. */
  | { readonly kind: 'found'; readonly members: readonly Member[] }
  /** It names this node as it is: take it. */
  | { readonly kind: 'take'; readonly founding: Founding }
  /** Ask one of these peers for a number. */
  | { readonly kind: 'join'; readonly cluster: string; readonly peers: readonly string[] };

/** Those that a group is founded by, of all names of peers. */
export function foundersOf(names: Iterable<string>): readonly string[] {
  return [...names].filter((name) => nodeOfPeer(name) === null).toSorted();
}

/**
 * Decides for a node that has no log. `name` is its own as a peer; `answers` holds every other peer
 * that is known; null: no answer.
 */
export function decideFounding(
  name: string,
  own: Extract<Hello, { readonly kind: 'new' }>,
  answers: ReadonlyMap<string, Hello | null>,
): FoundingDecision {
  const members = [...answers].flatMap(([peer, hello]) =>
    hello?.kind === 'member' ? [{ name: peer, hello }] : [],
  );
  const [first] = members;
  if (first !== undefined) {
    const { cluster } = first.hello;
    const other = members.find(({ hello }) => hello.cluster !== cluster);
    if (other !== undefined) {
      const detail = `${first.name} and ${other.name} are of different clusters`;
      return { kind: 'wait', detail };
    }
    // Only a founding under way names the incarnation that this disk still keeps (F3).
    const founding = members.find(({ hello }) => hello.founding !== null)?.hello.founding ?? null;
    const isNamed = founding?.members.some(
      // A founding names first nodes only, and those by their regions.
      (member) => member.region === name && member.incarnation === own.incarnation,
    );
    if (founding !== null && isNamed === true) return { kind: 'take', founding };
    return { kind: 'join', cluster, peers: members.map((member) => member.name) };
  }
  if (nodeOfPeer(name) !== null) return { kind: 'wait', detail: 'nobody has a group to join' };
  const others = foundersOf(answers.keys());
  const silent = others.filter((other) => answers.get(other) === null);
  if (silent.length > 0) return { kind: 'wait', detail: `${silent.join(', ')}: silent` };
  const hellos = new Map<string, Extract<Hello, { readonly kind: 'new' }>>([[name, own]]);
  for (const other of others) {
    const hello = answers.get(other);
    if (hello?.kind === 'new') hellos.set(other, hello);
  }
  const regions = [...hellos.keys()].toSorted();
  const lost = regions.filter((region) => hellos.get(region)?.mayFound === false);
  if (lost.length > 0) {
    const detail = `${lost.join(', ')} had a log before, and no region has it any more`;
    return { kind: 'wait', detail };
  }
  if (regions[0] !== name) return { kind: 'wait', detail: `${regions[0] ?? ''} founds` };
  return { kind: 'found', members: firstMembers(regions, hellos) };
}

/** Numbers from 1, in order of the regions' names. */
function firstMembers(
  regions: readonly string[],
  hellos: ReadonlyMap<string, Extract<Hello, { readonly kind: 'new' }>>,
): readonly Member[] {
  return regions.flatMap((region, index) => {
    const hello = hellos.get(region);
    if (hello === undefined) return [];
    const { incarnation, priority, isWitness } = hello;
    return [{ id: index + 1, region, incarnation, priority, isWitness, isPromotable: true }];
  });
}
