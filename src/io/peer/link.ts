/**
 * One connection to a peer, after the socket is open: hello both ways, then streams in both
 * directions, heartbeats, and an end. The hub owns it and decides whether it is the pair's link.
 *
 * L1: after `closed` nothing is called any more, and every stream was told.
 * L2: a frame that breaks the protocol ends the connection; it harms no other.
 */

import type { Socket } from 'node:net';

import { unreachable } from '../../base/assert.ts';
import { PEER_LIMITS } from '../../base/limits.ts';
import type {
  Clock,
  RequestHandler,
  TimerHandle,
  Timers,
  UpstreamHandler,
} from '../../base/ports.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { FrameDecoder } from '../../protocol/peer/frameDecoder.ts';
import {
  encodeBody,
  encodeFrame,
  type GoawayReason,
  type HelloFrame,
  type PeerFrame,
  type RequestHeadFrame,
} from '../../protocol/peer/frames.ts';
import type { LinkDownCause } from '../../protocol/peer/linkState.ts';
import { DelayLine } from './delayLine.ts';
import { tlsSentence } from './identity.ts';
import { IncomingRequest, type IncomingLink } from './incoming.ts';
import { OutgoingCall, type OutgoingLink, type PeerCall } from './outgoing.ts';
import { Outbox, OutStream } from './outbox.ts';
import { ReceiveWindow, type GrowthBudget } from './receiveWindow.ts';

/** What a link tells its hub. */
export interface LinkEvents {
  /** The peer said who it is. An error is the reason to refuse it. */
  hello(link: PeerLink, hello: HelloFrame): Result<null, string>;
  /** Both hellos were accepted: streams may start. */
  up(link: PeerLink): void;
  digest(link: PeerLink, bytes: Uint8Array): void;
  rtt(link: PeerLink, rttMs: number): void;
  /** It is over; `cause` is how it looks from here. */
  closed(link: PeerLink, cause: LinkDownCause, detail: string): void;
}

/** What a link is made from. */
export interface LinkParts {
  /** Open, TLS done, nothing read yet. */
  readonly socket: Socket;
  readonly isDialer: boolean;
  readonly hello: HelloFrame;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly handler: RequestHandler;
  readonly events: LinkEvents;
}

/** Streams are numbered with 31 bits; a link that used them up is replaced. */
const STREAM_ID_MAX = 0x7fff_fffd;
/** Weight of a new round trip in the estimate. */
const RTT_WEIGHT = 0.2;

/** One connection. */
export class PeerLink implements OutgoingLink, IncomingLink {
  readonly isDialer: boolean;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly handler: RequestHandler;
  /** The peer, once it said so. */
  peer: HelloFrame | null = null;
  rttMs = 0;
  lastHeardMs: number;
  bytesIn = 0;
  private readonly parts: LinkParts;
  private readonly socket: Socket;
  private readonly line: DelayLine;
  private readonly outbox: Outbox;
  private readonly decoder = new FrameDecoder();
  private readonly calls = new Map<number, OutgoingCall>();
  private readonly requests = new Map<number, IncomingRequest>();
  private readonly growth: GrowthBudget = { leftBytes: PEER_LIMITS.windowGrowthBytesMax };
  private nextStream: number;
  private lastPeerStream = 0;
  private requestBodiesBytes = 0;
  private isClosed = false;
  /** We or the peer start nothing more on it. */
  private isEnding = false;
  /** We said goodbye for good: what the peer still starts is refused. */
  private isRefusing = false;
  private endTimer: TimerHandle | null = null;
  private helloTimer: TimerHandle | null;
  private goawayDetail: string | null = null;

  constructor(parts: LinkParts) {
    this.parts = parts;
    this.socket = parts.socket;
    this.isDialer = parts.isDialer;
    this.clock = parts.clock;
    this.timers = parts.timers;
    this.handler = parts.handler;
    this.nextStream = parts.isDialer ? 1 : 2;
    this.lastHeardMs = parts.clock.nowMs();
    this.line = new DelayLine(parts, () => this.outbox.pump());
    this.outbox = new Outbox(parts.socket, this.line);
    this.helloTimer = parts.timers.after(PEER_LIMITS.handshakeMs, () => {
      this.close('silent', 'no hello within the time for it');
    });
    this.listen();
    if (parts.isDialer) this.send(parts.hello);
  }

  get bytesOut(): number {
    return this.line.bytesOut;
  }

  get streamCounts(): { readonly outgoing: number; readonly incoming: number } {
    return { outgoing: this.calls.size, incoming: this.requests.size };
  }

  /** True: new requests may start here. */
  get canStart(): boolean {
    return this.peer !== null && !this.isEnding && !this.isClosed;
  }

  /** What it has proved to be. */
  get peerName(): string {
    return this.peer?.region ?? '';
  }

  /** Starts a request, or says why not: the caller reports it. */
  start(call: PeerCall, handler: UpstreamHandler): Result<OutgoingCall, 'pool-full' | 'too-large'> {
    if (this.calls.size >= PEER_LIMITS.streamsMax || this.nextStream > STREAM_ID_MAX) {
      return err('pool-full');
    }
    const id = this.nextStream;
    const head = encodeFrame({
      type: 'request-head',
      stream: id,
      method: call.method,
      path: call.path,
      headers: call.headers,
      keyHash: call.keyHash ?? null,
      forwardedFrom: this.parts.hello.region,
      deadlineMs: call.deadlineMs ?? null,
      bodyBytes: call.body.length,
    });
    if (head === null) return err('too-large');
    this.nextStream += 2;
    const out = new OutStream(this.outbox, id, 'request-body');
    const window = new ReceiveWindow(this.growth, this.clock.nowMs());
    const outgoing = new OutgoingCall(this, out, window, handler);
    this.calls.set(id, outgoing);
    this.sendBytes(head, out);
    this.sendBody(out, call.body);
    return ok(outgoing);
  }

  /** A short body goes with the head; a long one takes turns. */
  private sendBody(out: OutStream, body: Uint8Array): void {
    const end = encodeFrame({ type: 'request-end', stream: out.id });
    if (end === null) return;
    if (body.length <= PEER_LIMITS.dataBytesMax) {
      if (body.length > 0) {
        this.sendBytes(encodeBody('request-body', out.id, body, 0, body.length), out);
      }
      this.sendBytes(end, out);
      return;
    }
    out.push(new Uint8Array(body)); // Ours: the memory of the request is used again.
    out.finish(end);
  }

  /** Delays what we send, for demos and tests, ms one way. */
  setDelay(delayMs: number): void {
    this.line.delayMs = delayMs;
  }

  /** A heartbeat: our digest and a ping. Skipped while the last one still waits. */
  beat(digest: Uint8Array): void {
    if (this.peer === null || this.isClosed || this.outbox.controlWaitingBytes > 0) return;
    this.send({ type: 'digest', bytes: digest });
    this.send({ type: 'ping', sentMs: this.clock.nowMs() });
  }

  /** Says goodbye, lets streams finish within `graceMs`, then closes. */
  retire(reason: GoawayReason, detail: string, graceMs: number): void {
    if (this.isClosed || this.isEnding) return;
    this.send({ type: 'goaway', reason, detail });
    this.isEnding = true;
    this.isRefusing = reason !== 'duplicate';
    const endMs = this.clock.nowMs() + graceMs;
    const check = (): void => {
      const isIdle = this.calls.size === 0 && this.requests.size === 0 && this.outbox.isEmpty();
      if (isIdle || this.clock.nowMs() >= endMs) this.close('reset', detail);
      else this.endTimer = this.timers.after(20, check);
    };
    // The other side needs a moment to see the link that stays.
    this.endTimer = this.timers.after(reason === 'duplicate' ? Math.min(500, graceMs) : 0, check);
  }

  /** Refuses the peer with a reason that it can show. */
  refuse(reason: GoawayReason, detail: string): void {
    this.send({ type: 'goaway', reason, detail });
    this.outbox.pump();
    this.close('rejected', detail, true);
  }

  /** Ends it at once. */
  close(cause: LinkDownCause, detail: string, isFlushed = false): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.helloTimer?.cancel();
    this.endTimer?.cancel();
    this.outbox.close();
    this.line.close();
    if (isFlushed) this.socket.destroySoon();
    else this.socket.destroy();
    for (const request of Array.from(this.requests.values())) request.callerGone();
    for (const call of Array.from(this.calls.values())) call.linkLost(detail);
    this.parts.events.closed(this, cause, detail);
  }

  send(frame: PeerFrame): void {
    const bytes = encodeFrame(frame);
    if (bytes === null) {
      this.tooLarge(frame);
      return;
    }
    this.sendBytes(bytes, null);
  }

  callClosed(call: OutgoingCall): void {
    this.calls.delete(call.id);
  }

  requestClosed(request: IncomingRequest): void {
    if (!this.requests.delete(request.id)) return;
    this.requestBodiesBytes -= request.bodyBytes;
  }

  private sendBytes(bytes: Uint8Array, out: OutStream | null): void {
    if (this.outbox.sendControl(bytes, out)) return;
    queueMicrotask(() => this.close('silent', 'the peer reads nothing'));
  }

  /** Only a response head of ours can be too large; its stream fails, the link stays. */
  private tooLarge(frame: PeerFrame): void {
    if (frame.type !== 'response-head') return;
    const detail = 'the header section of the answer is over the limit';
    this.send({ type: 'abort', stream: frame.stream, reason: 'broken', detail });
    this.requests.get(frame.stream)?.headRefused();
  }

  private listen(): void {
    const { socket } = this;
    socket.setNoDelay(true);
    socket.setTimeout(0);
    socket.on('data', (chunk: Uint8Array) => this.bytesCame(chunk));
    socket.on('drain', () => this.outbox.pump());
    socket.on('error', (cause) =>
      this.close(causeOfSocketError(cause), tlsSentence(cause) ?? cause.message),
    );
    socket.on('end', () => this.close(this.endCause(), this.goawayDetail ?? 'the peer closed it'));
    socket.on('close', () => this.close(this.endCause(), this.goawayDetail ?? 'the link closed'));
  }

  private endCause(): LinkDownCause {
    return this.peer === null && this.goawayDetail !== null ? 'rejected' : 'reset';
  }

  private bytesCame(chunk: Uint8Array): void {
    if (this.isClosed) return;
    this.bytesIn += chunk.length;
    this.lastHeardMs = this.clock.nowMs();
    const failed = this.decoder.push(chunk, (frame) => {
      const broken = this.frameCame(frame);
      if (broken !== null) this.refuseBroken(broken);
      return !this.isClosed;
    });
    if (failed !== null && !this.isClosed) this.refuseBroken(failed.detail);
  }

  private refuseBroken(detail: string): void {
    this.refuse('protocol', detail);
  }

  /** Returns what is wrong with the frame, or null. */
  private frameCame(frame: PeerFrame): string | null {
    switch (frame.type) {
      case 'hello':
        this.helloCame(frame);
        return null;
      case 'ping':
        this.send({ type: 'pong', sentMs: frame.sentMs });
        return null;
      case 'pong':
        this.pongCame(frame.sentMs);
        return null;
      case 'digest':
        if (this.peer !== null) this.parts.events.digest(this, frame.bytes);
        return null;
      case 'goaway':
        this.goawayCame(frame.reason, frame.detail);
        return null;
      case 'request-head':
        return this.requestCame(frame);
      case 'request-body':
      case 'request-end':
      case 'response-head':
      case 'data':
      case 'end':
      case 'abort':
      case 'cancel':
      case 'window':
        return this.streamFrameCame(frame);
      default:
        return unreachable(frame);
    }
  }

  private helloCame(hello: HelloFrame): void {
    const checked = this.parts.events.hello(this, hello);
    if (!checked.ok) {
      this.refuse('identity', checked.error);
      return;
    }
    this.helloTimer?.cancel();
    this.helloTimer = null;
    // The answer to a hello is ours: who gets it knows that it was accepted.
    if (!this.isDialer) this.send(this.parts.hello);
    this.peer = hello;
    this.parts.events.up(this);
  }

  private pongCame(sentMs: number): void {
    const rttMs = this.clock.nowMs() - sentMs;
    // An echo of what we never sent: a broken peer, but only the estimate would suffer.
    if (rttMs < 0) return;
    this.rttMs = this.rttMs === 0 ? rttMs : this.rttMs + RTT_WEIGHT * (rttMs - this.rttMs);
    this.parts.events.rtt(this, rttMs);
  }

  private goawayCame(reason: GoawayReason, detail: string): void {
    if (this.peer === null) {
      this.goawayDetail = `it refuses this node: ${detail}`;
      return;
    }
    this.goawayDetail = detail === '' ? `the peer said goodbye (${reason})` : detail;
    // The link that stays is on its way; until it is there, this one still serves.
    if (reason !== 'duplicate') this.isEnding = true;
  }

  private requestCame(frame: RequestHeadFrame): string | null {
    if (this.peer === null) return 'a request came before the hello was accepted';
    const isPeersParity = frame.stream % 2 === (this.isDialer ? 0 : 1);
    if (!isPeersParity || frame.stream <= this.lastPeerStream) {
      return `stream ${frame.stream} is not a new one of the peer`;
    }
    this.lastPeerStream = frame.stream;
    const refusal = this.refusalOf(frame);
    if (refusal !== null) {
      this.send({ type: 'abort', stream: frame.stream, reason: 'refused', detail: refusal });
      return null;
    }
    const out = new OutStream(this.outbox, frame.stream, 'data');
    const window = new ReceiveWindow(this.growth, this.clock.nowMs());
    this.requests.set(frame.stream, new IncomingRequest(this, frame, out, window));
    this.requestBodiesBytes += frame.bodyBytes;
    return null;
  }

  private refusalOf(frame: RequestHeadFrame): string | null {
    if (this.isRefusing) return 'this node is closing the link';
    if (frame.forwardedFrom !== this.peerName) {
      return `a request of ${frame.forwardedFrom} came through ${this.peerName}: one hop at most`;
    }
    if (this.requests.size >= PEER_LIMITS.streamsMax) return 'too many requests on this link';
    const bodiesBytes = this.requestBodiesBytes + frame.bodyBytes;
    if (bodiesBytes > PEER_LIMITS.requestBodiesBytesMax) return 'too many bytes of requests';
    return null;
  }

  private streamFrameCame(
    frame: Exclude<PeerFrame, RequestHeadFrame | { readonly type: ConnectionFrame }>,
  ): string | null {
    const { stream } = frame;
    const isOurs = stream % 2 === (this.isDialer ? 1 : 0);
    const isKnown = isOurs ? stream < this.nextStream : stream <= this.lastPeerStream;
    if (!isKnown) return `a ${frame.type} frame on stream ${stream}, which was never opened`;
    const isFine = isOurs ? this.callFrame(frame) : this.requestFrame(frame);
    return isFine ? null : `a ${frame.type} frame that stream ${stream} does not expect`;
  }

  private callFrame(frame: Exclude<PeerFrame, { readonly type: ConnectionFrame }>): boolean {
    const call = this.calls.get(frame.stream);
    if (call === undefined) return true; // Cancelled or over; the peer did not know yet.
    switch (frame.type) {
      case 'response-head':
        return call.headCame(frame);
      case 'data':
        return call.dataCame(frame.bytes);
      case 'end':
        return call.endCame();
      case 'abort':
        call.abortCame(frame.reason, frame.detail);
        return true;
      case 'window':
        return call.out.allow(frame.bytes);
      case 'request-head':
      case 'request-body':
      case 'request-end':
      case 'cancel':
        return false;
      default:
        return frame satisfies never;
    }
  }

  private requestFrame(frame: Exclude<PeerFrame, { readonly type: ConnectionFrame }>): boolean {
    const request = this.requests.get(frame.stream);
    if (request === undefined) return true; // Refused or over; the peer did not know yet.
    switch (frame.type) {
      case 'request-body':
        return request.bodyCame(frame.bytes);
      case 'request-end':
        return request.endCame();
      case 'cancel':
        request.callerGone();
        return true;
      case 'window':
        return request.out.allow(frame.bytes);
      case 'request-head':
      case 'response-head':
      case 'data':
      case 'end':
      case 'abort':
        return false;
      default:
        return frame satisfies never;
    }
  }
}

type ConnectionFrame = 'hello' | 'ping' | 'pong' | 'digest' | 'goaway';

function causeOfSocketError(cause: Error): LinkDownCause {
  const code = 'code' in cause && typeof cause.code === 'string' ? cause.code : '';
  if (code === 'ETIMEDOUT' || code === 'EHOSTUNREACH' || code === 'ENETUNREACH') {
    return 'unreachable';
  }
  // After the handshake TLS fails with an alert of the peer: it refused our certificate.
  return code.startsWith('ERR_SSL') ? 'rejected' : 'reset';
}
