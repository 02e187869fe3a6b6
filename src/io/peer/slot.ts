/** One peer region: its address, its link, the attempts to have one, and what is known of it. */

import type { TimerHandle } from '../../base/ports.ts';
import { PEER_LIMITS } from '../../base/limits.ts';
import type { Prng } from '../../base/prng.ts';
import type { LinkState } from '../../protocol/peer/linkState.ts';
import type { PeerLink } from './link.ts';

/** Where a peer region is. */
export interface PeerAddress {
  readonly region: string;
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
export function createSlot(address: PeerAddress, nowMs: number): PeerSlot {
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

/**
 * The wait before attempt `failures` + 1, ms: exponential, half of it jitter, so that peers that lost
 * the same link do not come back in step.
 */
export function backoffMs(failures: number, prng: Prng): number {
  const exponent = Math.min(failures, 16);
  const ceiling = Math.min(PEER_LIMITS.backoffMsMax, PEER_LIMITS.backoffMsMin * 2 ** exponent);
  return ceiling / 2 + prng.nextFloat() * (ceiling / 2);
}
