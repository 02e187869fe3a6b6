/**
 * A request that another region sent here: the answering half of a stream. Its body is collected,
 * then the gateway takes it like any client's, with `forwardedFrom` set.
 *
 * I1: the gateway hears of a caller that left (`onGone`) exactly when the response was not complete.
 */

import { EMPTY_BYTES, concatBytes, copyBytes } from '../../base/bytes.ts';
import type { HeaderList } from '../../base/headers.ts';
import { PEER_LIMITS } from '../../base/limits.ts';
import { regionOfPeer } from '../../base/peerName.ts';
import type {
  BodyFraming,
  ClientEvents,
  ClientReply,
  Clock,
  RequestHandler,
  TimerHandle,
  Timers,
} from '../../base/ports.ts';
import { encodeFrame, type PeerFrame, type RequestHeadFrame } from '../../protocol/peer/frames.ts';
import type { OutStream } from './outbox.ts';
import type { ReceiveWindow } from './receiveWindow.ts';

/** What a request needs of its link. */
export interface IncomingLink {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly handler: RequestHandler;
  readonly rttMs: number;
  /** The peer at the other end, authenticated. */
  readonly peerName: string;
  send(frame: PeerFrame): void;
  /** The stream is over: forget it. */
  requestClosed(request: IncomingRequest): void;
}

/** One request. */
export class IncomingRequest implements ClientReply {
  readonly id: number;
  readonly out: OutStream;
  /** Declared size of the body. */
  readonly bodyBytes: number;
  private readonly link: IncomingLink;
  private readonly requestHead: RequestHeadFrame;
  private readonly window: ReceiveWindow;
  private readonly receivedMs: number;
  private body: Uint8Array[] = [];
  private bodyBytesLeft: number;
  private isHandled = false;
  private events: ClientEvents | null = null;
  private hasHead = false;
  private deadline: TimerHandle | null = null;
  /** The gateway ended or aborted its answer. */
  private isAnswered = false;
  /** The caller left or the link is gone. */
  private isGone = false;

  constructor(link: IncomingLink, head: RequestHeadFrame, out: OutStream, window: ReceiveWindow) {
    this.id = head.stream;
    this.link = link;
    this.requestHead = head;
    this.out = out;
    this.window = window;
    this.bodyBytes = head.bodyBytes;
    this.bodyBytesLeft = head.bodyBytes;
    this.receivedMs = link.clock.nowMs();
    out.drained = () => this.events?.onDrain();
    out.finished = () => link.requestClosed(this);
  }

  /** A piece of the body; borrowed. False: the peer breaks the protocol. */
  bodyCame(bytes: Uint8Array): boolean {
    if (this.isHandled || !this.window.received(bytes.length)) return false;
    this.bodyBytesLeft -= bytes.length;
    if (this.bodyBytesLeft < 0) return false;
    this.body.push(copyBytes(bytes));
    const grant = this.window.consumed(bytes.length, this.link.clock.nowMs(), this.link.rttMs);
    if (grant > 0) this.link.send({ type: 'window', stream: this.id, bytes: grant });
    return true;
  }

  /** The body is complete: the gateway takes over. False: the peer breaks the protocol. */
  endCame(): boolean {
    if (this.isHandled || this.bodyBytesLeft !== 0) return false;
    this.isHandled = true;
    this.window.close();
    const { link, requestHead } = this;
    const mark = requestHead.path.indexOf('?');
    const path = mark === -1 ? requestHead.path : requestHead.path.slice(0, mark);
    const body = this.body.length === 0 ? EMPTY_BYTES : concatBytes(this.body);
    this.body = [];
    if (requestHead.deadlineMs !== null) {
      this.deadline = link.timers.after(requestHead.deadlineMs, () => this.deadlinePassed());
    }
    this.events = link.handler.handle(
      {
        method: requestHead.method,
        path,
        query: mark === -1 ? '' : requestHead.path.slice(mark + 1),
        headers: requestHead.headers,
        body,
        keyHash: requestHead.keyHash,
        receivedMs: this.receivedMs,
        remote: `region:${link.peerName}`,
        forwardedFrom: regionOfPeer(link.peerName),
        peer: link.peerName,
      },
      this,
    );
    return true;
  }

  /** The caller cancelled or the link is gone. */
  callerGone(): void {
    if (this.isGone) return;
    this.isGone = true;
    this.close();
    if (!this.isAnswered) this.events?.onGone();
  }

  /**
   * The head of our answer fits into no frame: the stream is over. The gateway hears of it later,
   * not inside its own call (P1).
   */
  headRefused(): void {
    if (this.isGone) return;
    this.isGone = true;
    this.close();
    queueMicrotask(() => this.events?.onGone());
  }

  head(status: number, headers: HeaderList, framing: BodyFraming): void {
    if (this.isGone || this.isAnswered || this.hasHead) return;
    this.hasHead = true;
    const bodyBytes = framing.kind === 'length' ? framing.bytes : null;
    this.link.send({ type: 'response-head', stream: this.id, status, bodyBytes, headers });
  }

  write(chunk: Uint8Array): boolean {
    if (this.isGone || this.isAnswered) return true;
    this.out.push(copyBytes(chunk));
    if (this.out.queuedBytes <= PEER_LIMITS.replyHighWaterBytes) return true;
    this.out.wantsDrain = true;
    return false;
  }

  end(last?: Uint8Array): void {
    if (this.isGone || this.isAnswered) return;
    if (last !== undefined) this.out.push(copyBytes(last));
    this.answered({ type: 'end', stream: this.id });
  }

  abort(): void {
    if (this.isGone || this.isAnswered) return;
    const detail = 'the answer broke off';
    this.answered({ type: 'abort', stream: this.id, reason: 'broken', detail });
  }

  private answered(tail: PeerFrame): void {
    this.isAnswered = true;
    this.deadline?.cancel();
    const bytes = encodeFrame(tail);
    if (bytes !== null) this.out.finish(bytes);
  }

  private deadlinePassed(): void {
    if (this.isGone || this.isAnswered) return;
    const detail = 'the time for the exchange is over';
    this.answered({ type: 'abort', stream: this.id, reason: 'broken', detail });
    this.events?.onGone();
  }

  private close(): void {
    this.deadline?.cancel();
    this.out.close();
    if (!this.isHandled) this.window.close();
    this.body = [];
    this.link.requestClosed(this);
  }
}
