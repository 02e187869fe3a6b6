/**
 * Where every other node is reached, as this one knows it: by its own file, by the control state,
 * and by the word of those who let it in, which a new node needs before it has the control state.
 *
 * PB1: of one node the file's word counts, else the control state's, else that of others; so a file
 *      keeps its way to a node, whatever is said elsewhere. Held by `peerBook.test.ts`.
 * PB2: the word of others that is asked for again takes no way to a member of the group away.
 */

import type { PeerPlace } from '../../replica/control/peers.ts';

/** A node and the way to it. */
export interface KnownPeer extends PeerPlace {
  /** Artificial round trip of the link, ms; 0: none. */
  readonly delayMs: number;
}

/**
 * What others say of places, after one of them was asked again. It cannot say where it is itself,
 * and may not know all: of a member of the group what was said before stays (PB2).
 */
export function toldAnew(
  before: readonly PeerPlace[],
  answered: readonly PeerPlace[],
  members: ReadonlySet<string>,
): readonly PeerPlace[] {
  const told = new Map<string, PeerPlace>();
  for (const place of before) if (members.has(place.peer)) told.set(place.peer, place);
  for (const place of answered) told.set(place.peer, place);
  return [...told.values()].toSorted((a, b) => (a.peer < b.peer ? -1 : 1));
}

export class PeerBook {
  readonly #own: string;
  readonly #listed: readonly KnownPeer[];
  readonly #changed: (peers: readonly KnownPeer[]) => void;
  #recorded: readonly PeerPlace[] = [];
  #told: readonly PeerPlace[] = [];
  #all: readonly KnownPeer[];

  /** `own` is this node's name; `listed` what its file says; `changed` is told of all there are. */
  constructor(
    own: string,
    listed: readonly KnownPeer[],
    changed: (peers: readonly KnownPeer[]) => void,
  ) {
    this.#own = own;
    this.#listed = listed;
    this.#changed = changed;
    this.#all = this.#merged();
  }

  /** All other nodes, by name. */
  get peers(): readonly KnownPeer[] {
    return this.#all;
  }

  get names(): readonly string[] {
    return this.#all.map(({ peer }) => peer);
  }

  /** By this node's own file. */
  isListed(peer: string): boolean {
    return this.#listed.some((one) => one.peer === peer);
  }

  /** Null: not known, or this node itself. */
  placeOf(peer: string): PeerPlace | null {
    return this.#all.find((one) => one.peer === peer) ?? null;
  }

  /** What the control state says now. */
  setRecorded(recorded: readonly PeerPlace[]): void {
    this.#recorded = recorded;
    this.#look();
  }

  /** What others say. */
  setTold(told: readonly PeerPlace[]): void {
    this.#told = told;
    this.#look();
  }

  #look(): void {
    const before = JSON.stringify(this.#all);
    this.#all = this.#merged();
    if (JSON.stringify(this.#all) !== before) this.#changed(this.#all);
  }

  #merged(): readonly KnownPeer[] {
    const all = new Map<string, KnownPeer>();
    for (const { peer, host, port } of [...this.#told, ...this.#recorded]) {
      all.set(peer, { peer, host, port, delayMs: 0 });
    }
    for (const known of this.#listed) all.set(known.peer, known);
    all.delete(this.#own);
    return [...all.keys()].toSorted().flatMap((peer) => all.get(peer) ?? []);
  }
}
