/** What the hub of peer links offers and needs. */

import type {
  Clock,
  RequestHandler,
  Timers,
  Upstream,
  UpstreamHandle,
  UpstreamHandler,
} from '../../base/ports.ts';
import type { Prng } from '../../base/prng.ts';
import type { Result } from '../../base/result.ts';
import type { LinkState, ProbeResult } from '../../protocol/peer/linkState.ts';
import type { PeerTls } from './identity.ts';
import type { PeerCall } from './outgoing.ts';
import type { PeerAddress } from './slots.ts';

/** Who this node is and whom it knows. */
export interface PeerHubConfig {
  readonly cluster: string;
  /** Its own peer name. */
  readonly name: string;
  readonly node: string;
  readonly peers: readonly PeerAddress[];
}

/** What is told of links by peer names, for the directory and logs. Must not block or throw. */
export interface PeerObserver {
  /** A link came up or went down, or why it stays down changed. */
  linkChanged(peer: string, state: LinkState): void;
  rttMeasured(peer: string, rttMs: number): void;
  /** A silent peer's address was tried. */
  probed(peer: string, result: ProbeResult): void;
  /** A connection from outside was refused. */
  refused(remote: string, detail: string): void;
}

/** What a hub is made from. */
export interface PeerHubOptions {
  readonly config: PeerHubConfig;
  readonly tls: PeerTls;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly prng: Prng;
  /** Takes requests that other nodes send; `forwardedFrom` and `peer` are set. */
  readonly handler: RequestHandler;
  /** The digest to send, encoded; asked for every PEER_LIMITS.heartbeatMs. */
  readonly localDigest: () => Uint8Array;
  /** A peer's digest, borrowed: it is also the heartbeat. */
  readonly onDigest: (peer: string, bytes: Uint8Array) => void;
  readonly observer: PeerObserver;
  /** For this call the others of several nodes of a region come first; absent: all are alike. */
  readonly isAvoided?: (peer: string, call: PeerCall) => boolean;
}

/** One peer, for people. */
export interface PeerStatus {
  readonly peer: string;
  readonly address: string;
  readonly state: LinkState;
  /** Since the state is what it is, ms. */
  readonly sinceMs: number;
  readonly rttMs: number | null;
  /** Since the last byte from it, ms; null: never. */
  readonly heardMs: number | null;
  readonly outgoing: number;
  readonly incoming: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly connects: number;
  readonly isCut: boolean;
}

/** Links to all peers. */
export interface PeerHub extends Upstream {
  start(call: PeerCall, handler: UpstreamHandler): UpstreamHandle;
  /** Listens, where an address is given, and begins to dial. The port, or a sentence. */
  listen(
    address: { readonly host: string; readonly port: number } | null,
  ): Promise<Result<number | null, string>>;
  status(): readonly PeerStatus[];
  /**
   * A fault: drops the links to all nodes of a region, or the one to a peer, and refuses new ones
   * until it is lifted. False: there is none of that name.
   */
  setCut(name: string, isCut: boolean): boolean;
  /** New addresses: links to peers that stay the same stay open. */
  setPeers(peers: readonly PeerAddress[]): void;
  /** New certificates, for connections from now on. */
  setTls(tls: PeerTls): void;
  /** Says goodbye, lets streams finish within `graceMs`, and closes everything. */
  close(graceMs?: number): Promise<void>;
}
