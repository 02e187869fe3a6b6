/**
 * What a node needs of the outside, as the composition root hands it in: listeners, connections to
 * targets, links to other regions. `serve.ts` gives the real ones; tests give others.
 */

import type { ErrorCode } from '../base/errors.ts';
import { peerOrigin } from '../base/peerName.ts';
import type { Clock, RequestHandler, Timers, Upstream } from '../base/ports.ts';
import type { Prng } from '../base/prng.ts';
import type { Log } from '../io/observe/log.ts';
import type { PeerAddress } from '../io/peer/slots.ts';
import type { NodeConfig } from '../replica/config.ts';
import type { RegionView as KnownRegion } from '../regions/directory.ts';
import type { NodeView } from '../regions/nodes.ts';
import type { RegionView } from '../replica/regionView.ts';
import type { Serving } from '../replica/serving.ts';
import type { Address } from './config/address.ts';
import type { OriginShell, PeerShell, TlsFiles } from './config/build.ts';
import type { OtherRegion } from './views.ts';

/** Something that runs until it is closed. */
export interface Closable {
  close(): Promise<void>;
}

/** A listener and the port that it got. */
export interface Listening extends Closable {
  readonly port: number;
}

/** Connections to targets. */
export interface SocketSide extends Closable {
  readonly upstream: Upstream;
  /** Replaces the addresses that may be called; null, or why they were not taken. */
  setOrigins(origins: readonly OriginShell[]): Promise<string | null>;
}

/** The public listener, running. */
export interface ApiListening extends Listening {
  /** Connections of clients that are open. */
  connections(): number;
  /** For requests that begin from now on, bytes. */
  setRequestBodyBytesMax(bytes: number): void;
  /** Reads the certificate again; null, or why it was not taken. */
  reloadTls(): Promise<string | null>;
}

/** The public listener. */
export interface ApiOptions {
  readonly address: Address;
  readonly tls: TlsFiles | null;
  readonly handler: RequestHandler;
  readonly requestBodyBytesMax: number;
  /** Processes that listen there and share the limits; 1: this one alone. */
  readonly processes: number;
  /** A request was refused before the gateway saw it: malformed, too large, too slow. */
  readonly onRefused: (code: ErrorCode, remote: string) => void;
}

/** The peer side: listener, links and what they know. */
export interface PeerOptions {
  readonly shell: PeerShell;
  readonly config: NodeConfig;
  /** Takes requests that other regions forward. */
  readonly handler: RequestHandler;
  /** The configuration in force, for what is told to other regions; null before there is one. */
  readonly serving: () => Serving | null;
  readonly inFlight: () => number;
  readonly isReady: () => boolean;
  /** The link to a node came up, or went down; by its peer name. */
  readonly onLink: (peer: string, isUp: boolean) => void;
  /** A region was lost, with all of its nodes: what waits for it moves on. */
  readonly onLost: (region: string) => void;
  readonly log: Log;
}

/** Other regions, running. */
export interface PeerSide extends Listening {
  /** Takes calls whose origin is `region:NAME` or `node:PEER`. */
  readonly upstream: Upstream;
  readonly regions: RegionView;
  others(): readonly OtherRegion[];
  /** Each other node, those of our own region too. */
  nodes(): readonly NodeView[];
  /** The same as the node's other processes need it. */
  known(): readonly KnownRegion[];
  /** Links to all of these, and to no others. What their CA did not sign is refused as ever. */
  setPeers(peers: readonly PeerAddress[]): void;
  /** Reads the certificates again: links that are made from now on go by them; null, or why not. */
  reloadTls(): Promise<string | null>;
  /** Cuts the links to a region, or that to a node, as an accident would; false: there is none. */
  cut(name: string): boolean;
  heal(): void;
}

/** All of it. */
export interface Platform {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly prng: Prng;
  openUpstream(origins: readonly OriginShell[]): Promise<SocketSide>;
  listenApi(options: ApiOptions): Promise<ApiListening>;
  openPeers(options: PeerOptions): Promise<PeerSide>;
  /** Tells, every interval, the lag of the event loop that stood through it, ms. */
  watchLoop(report: (lagMs: number) => void): Closable;
}

/** Sends calls to regions and nodes over links, and all others over sockets. */
export function joinUpstreams(sockets: Upstream, links: Upstream): Upstream {
  return {
    start: (call, handler) =>
      (peerOrigin(call.origin) === null ? sockets : links).start(call, handler),
  };
}
