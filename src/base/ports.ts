/**
 * The ports: what a core needs of the world, as interfaces. `io/` implements them over Node,
 * `sim/` over a simulated world; neither knows the other, and `main/` picks one.
 *
 * Everything is a callback called later, never from inside the call that started it (P1): a caller
 * can finish its own step before anything re-enters it. Chunks are borrowed (P2): a `Uint8Array`
 * handed to a callback is valid until the callback returns; whoever keeps it copies it.
 */

import type { HeaderList } from './headers.ts';

/** Time. `nowMs` is monotonic with an arbitrary origin; `wallMs` is Unix time and may step. */
export interface Clock {
  nowMs(): number;
  wallMs(): number;
}

/** One armed timer. */
export interface TimerHandle {
  /** Disarms it; does nothing once it has fired or was cancelled. */
  cancel(): void;
}

/** Timers. `delayMs` is at least 0 and at most 2^31 - 1. */
export interface Timers {
  after(delayMs: number, fire: () => void): TimerHandle;
}

/** Why a call to an upstream gave no complete response. */
export type UpstreamFailureKind =
  | 'refused' // Nobody listens there. Definite: nothing was sent.
  | 'unresolved' // The name has no address. Definite.
  | 'tls' // The handshake failed. Definite.
  | 'connect-timeout' // No connection within `connectMs`. Definite.
  | 'pool-full' // Every connection is busy and the wait is over its limit. Definite.
  | 'reset' // The connection broke. `bytesSent` tells whether the request may have run.
  | 'truncated' // The response ended before its own framing said so.
  | 'malformed' // The response is not HTTP/1.1 as we accept it.
  | 'too-large' // A header section or body over its limit.
  | 'link-down'; // The link to the peer region is down.

/** One failure; `detail` is for the operator's log and carries no secret and no prompt. */
export interface UpstreamFailure {
  readonly kind: UpstreamFailureKind;
  /** Bytes of the request that left this process. 0 means that it cannot have run. */
  readonly bytesSent: number;
  readonly detail: string;
}

/** What one call to an upstream reports; exactly one of `onEnd` and `onFailure` ends it. */
export interface UpstreamHandler {
  /** Status and header fields. Interim 1xx responses are not reported. */
  onHead(status: number, headers: HeaderList): void;
  /** A piece of the body, chunk framing removed. Borrowed (P2). */
  onBody(chunk: Uint8Array): void;
  /** The body is complete by its own framing. */
  onEnd(): void;
  onFailure(failure: UpstreamFailure): void;
}

/** One request to an upstream. */
export interface UpstreamCall {
  /**
   * `https://host:port` of a configured target, `region:NAME` for any node of another region, or
   * `node:PEER` for one node (`peerName.ts`).
   */
  readonly origin: string;
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  /** Without `host`, `content-length`, `connection`: the transport adds those. */
  readonly headers: HeaderList;
  /** None of its bytes may change while the call is under way. */
  readonly body: Uint8Array;
  /** Pieces of a large body that follow `body`; a call to a region has none. */
  readonly bodyRest?: readonly Uint8Array[];
  /** Limit for having a connection, milliseconds. */
  readonly connectMs: number;
}

/** A call under way. */
export interface UpstreamHandle {
  /** Stops it and frees its connection. No callback comes after this. */
  cancel(): void;
  /** Stops reading, so that the upstream is held back by its own socket. */
  pause(): void;
  resume(): void;
}

/** Where requests go out: sockets to targets and links to peer regions. */
export interface Upstream {
  start(call: UpstreamCall, handler: UpstreamHandler): UpstreamHandle;
}

/** How the length of a response body is known to the client. */
export type BodyFraming =
  | { readonly kind: 'length'; readonly bytes: number }
  | { readonly kind: 'stream' };

/** The response side of one client request. Order: `head`, `write`*, then `end` or `abort`. */
export interface ClientReply {
  head(status: number, headers: HeaderList, framing: BodyFraming): void;
  /** Sends a piece; the bytes are copied or sent before this returns. False: over high water. */
  write(chunk: Uint8Array): boolean;
  /** Ends the body cleanly, `last` included. */
  end(last?: Uint8Array): void;
  /** Breaks the connection off, so that the client cannot take what it got for the whole. */
  abort(): void;
}

/** One request from a client, its body complete. */
export interface ClientRequest {
  readonly method: string;
  /** The path without its query, as it was sent. */
  readonly path: string;
  /** The query without `?`; empty where there is none. */
  readonly query: string;
  readonly headers: HeaderList;
  /** Borrowed until the response has ended and the client is gone: then its memory is used again. */
  readonly body: Uint8Array;
  /** Lower-case hex SHA-256 of the presented key; null where none was presented. */
  readonly keyHash: string | null;
  /** Clock.nowMs() at the first byte of the request. */
  readonly receivedMs: number;
  /** The client's address, for logs. */
  readonly remote: string;
  /** The region that forwarded it; null where it came from a client itself. One hop at most. */
  readonly forwardedFrom: string | null;
  /** The name of the node that it came from, proved by its link; absent where `forwardedFrom` is null. */
  readonly peer?: string;
}

/** What the transport tells the gateway about a request under way. */
export interface ClientEvents {
  /** The client went away before the response was complete. */
  onGone(): void;
  /** The write buffer fell below low water: write again. */
  onDrain(): void;
}

/** Takes client requests; implemented by the gateway, called by the listeners. */
export interface RequestHandler {
  handle(request: ClientRequest, reply: ClientReply): ClientEvents;
}
