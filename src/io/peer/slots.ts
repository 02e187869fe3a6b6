/**
 * The peers of a hub. Of each: its address, its link, the attempts to have one, and what is known of
 * it. They are found by their names, and all of one region together.
 */

import type { TimerHandle } from '../../base/ports.ts';
import { PEER_LIMITS } from '../../base/limits.ts';
import { peerOrigin, regionOfPeer } from '../../base/peerName.ts';
import type { Prng } from '../../base/prng.ts';
import type { LinkState } from '../../protocol/peer/linkState.ts';
import type { PeerLink } from './link.ts';
import { pickLeast } from './pickLeast.ts';

/** Where a peer is. */
export interface PeerAddress {
  /** Its peer name. */
  readonly peer: string;
  readonly host: string;
  readonly port: number;
  /** Artificial round trip, ms: each side delays what it sends by half. 0: none. */
  readonly delayMs: number;
}

/** What the hub keeps of one peer. */
export interface PeerSlot {
  address: PeerAddress;
  state: LinkState;
  sinceMs: number;
  /** The link that new requests take; null while there is none. */
  link: PeerLink | null;
  /** Links that only finish what they have. */
  readonly retired: Set<PeerLink>;
  /** A fault holds it: links are dropped and refused. */
  isCut: boolean;
  /** Gives up the attempt under way; null: none is. */
  giveUp: (() => void) | null;
  redial: TimerHandle | null;
  failures: number;
  connects: number;
  giveUpProbe: (() => void) | null;
  /** Probes since the peer fell silent. */
  probes: number;
  lastHeardMs: number | null;
  rttMs: number | null;
}

/** A slot before the first attempt. */
function createSlot(address: PeerAddress, nowMs: number): PeerSlot {
  return {
    address,
    state: { kind: 'down', cause: 'starting', detail: 'not tried yet' },
    sinceMs: nowMs,
    link: null,
    retired: new Set(),
    isCut: false,
    giveUp: null,
    redial: null,
    failures: 0,
    connects: 0,
    giveUpProbe: null,
    probes: 0,
    lastHeardMs: null,
    rttMs: null,
  };
}

/** The peers of a hub. */
export class PeerSlots {
  readonly #byName = new Map<string, PeerSlot>();
  readonly #byRegion = new Map<string, readonly PeerSlot[]>();
  #turn = 0;

  get names(): ReadonlySet<string> {
    return new Set(this.#byName.keys());
  }

  get(peer: string): PeerSlot | undefined {
    return this.#byName.get(peer);
  }

  all(): readonly PeerSlot[] {
    return [...this.#byName.values()];
  }

  ofRegion(region: string): readonly PeerSlot[] {
    return this.#byRegion.get(region) ?? [];
  }

  /** Takes in a peer whose name is new. */
  add(address: PeerAddress, nowMs: number): PeerSlot {
    const slot = createSlot(address, nowMs);
    const region = regionOfPeer(address.peer);
    this.#byName.set(address.peer, slot);
    this.#byRegion.set(region, [...this.ofRegion(region), slot]);
    return slot;
  }

  delete({ address }: PeerSlot): void {
    const region = regionOfPeer(address.peer);
    this.#byName.delete(address.peer);
    const left = this.ofRegion(region).filter((slot) => slot.address.peer !== address.peer);
    if (left.length > 0) this.#byRegion.set(region, left);
    else this.#byRegion.delete(region);
  }

  /**
   * The peer that a call goes to: `node:PEER` that one, `region:NAME` of those whose link takes a
   * call the one with the fewest under way; such that are silent, or that `isAvoided`, come last.
   * Where no link takes any, one of the peers; undefined: there is none of that name.
   */
  take(origin: string, isAvoided: (peer: string) => boolean, nowMs: number): PeerSlot | undefined {
    const to = peerOrigin(origin);
    if (to === null) return undefined;
    if (to.kind === 'node') return this.#byName.get(to.name);
    const slots = this.ofRegion(to.name);
    if (slots.length < 2) return slots[0];
    this.#turn += 1;
    const weight = ({ link, address }: PeerSlot): number => {
      if (link === null || !link.canStart) return Infinity;
      const isSilent = nowMs - link.lastHeardMs >= PEER_LIMITS.probeAfterMs;
      const isLast = isSilent || isAvoided(address.peer);
      return link.streamCounts.outgoing + (isLast ? PEER_LIMITS.streamsMax : 0);
    };
    return pickLeast(slots, weight, this.#turn) ?? slots[0];
  }
}

/**
 * The wait before attempt `failures` + 1, ms: exponential, half of it jitter, so that peers that lost
 * the same link do not come back in step.
 */
export function backoffMs(failures: number, prng: Prng): number {
  const exponent = Math.min(failures, 16);
  const ceiling = Math.min(PEER_LIMITS.backoffMsMax, PEER_LIMITS.backoffMsMin * 2 ** exponent);
  return ceiling / 2 + prng.nextFloat() * (ceiling / 2);
}
