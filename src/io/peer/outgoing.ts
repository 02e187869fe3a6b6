/**
 * A request that this region sends to another: the calling half of a stream. What arrives while the
 * reader pauses waits here, within the window that the peer was given.
 *
 * C1: exactly one of `onEnd` and `onFailure` ends a call, and nothing comes after `cancel`.
 */

import { unreachable } from '../../base/assert.ts';
import { copyBytes } from '../../base/bytes.ts';
import type {
  Clock,
  UpstreamCall,
  UpstreamFailure,
  UpstreamFailureKind,
  UpstreamHandle,
  UpstreamHandler,
} from '../../base/ports.ts';
import type { AbortReason, PeerFrame, ResponseHeadFrame } from '../../protocol/peer/frames.ts';
import type { OutStream } from './outbox.ts';
import type { ReceiveWindow } from './receiveWindow.ts';

/** A call with what only peers carry. */
export interface PeerCall extends UpstreamCall {
  /** Lower-case hex SHA-256 of the client's key, where the peer should check it; else absent. */
  readonly keyHash?: string | null;
  /** Time left for the whole exchange, ms; absent: not bounded. */
  readonly deadlineMs?: number | null;
}

/** What a call needs of its link. */
export interface OutgoingLink {
  readonly clock: Clock;
  readonly rttMs: number;
  send(frame: PeerFrame): void;
  /** The stream is over on our side: forget it. */
  callClosed(call: OutgoingCall): void;
}

type Arrival =
  | { readonly kind: 'head'; readonly frame: ResponseHeadFrame }
  | { readonly kind: 'data'; readonly bytes: Uint8Array }
  | { readonly kind: 'end' }
  | { readonly kind: 'failure'; readonly failure: UpstreamFailure };

/** One call. */
export class OutgoingCall implements UpstreamHandle {
  readonly id: number;
  readonly out: OutStream;
  private readonly link: OutgoingLink;
  private readonly handler: UpstreamHandler;
  private readonly window: ReceiveWindow;
  private readonly waiting: Arrival[] = [];
  private isPaused = false;
  private isResumeDue = false;
  /** Head seen; bytes still to come of a body of known length, null: not known. */
  private hasHead = false;
  private bodyBytesLeft: number | null = null;
  /** Nothing more comes from the link. */
  private isComplete = false;
  /** Nothing more goes to the handler. */
  private isDone = false;

  constructor(link: OutgoingLink, out: OutStream, window: ReceiveWindow, handler: UpstreamHandler) {
    this.id = out.id;
    this.link = link;
    this.out = out;
    this.window = window;
    this.handler = handler;
  }

  cancel(): void {
    if (this.isDone) return;
    this.isDone = true;
    this.waiting.length = 0;
    if (this.isComplete) return;
    this.link.send({ type: 'cancel', stream: this.id });
    this.complete();
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    if (this.waiting.length === 0 || this.isResumeDue) return;
    this.isResumeDue = true;
    queueMicrotask(() => {
      this.isResumeDue = false;
      this.deliverWaiting();
    });
  }

  /** A head came. False: the peer breaks the protocol. */
  headCame(frame: ResponseHeadFrame): boolean {
    if (this.hasHead) return false;
    this.hasHead = true;
    this.bodyBytesLeft = frame.bodyBytes;
    this.arrived({ kind: 'head', frame });
    return true;
  }

  /** A piece came; borrowed. False: the peer breaks the protocol. */
  dataCame(bytes: Uint8Array): boolean {
    if (!this.hasHead || !this.window.received(bytes.length)) return false;
    if (this.bodyBytesLeft !== null) {
      this.bodyBytesLeft -= bytes.length;
      if (this.bodyBytesLeft < 0) return false;
    }
    const isHeld = this.isPaused || this.waiting.length > 0;
    this.arrived({ kind: 'data', bytes: isHeld ? copyBytes(bytes) : bytes });
    return true;
  }

  endCame(): boolean {
    if (!this.hasHead) return false;
    if (this.bodyBytesLeft !== null && this.bodyBytesLeft > 0) {
      this.fail('truncated', `${this.bodyBytesLeft} bytes of the body are missing`);
      return true;
    }
    this.complete();
    this.arrived({ kind: 'end' });
    return true;
  }

  abortCame(reason: AbortReason, detail: string): void {
    if (reason === 'refused' && !this.hasHead) {
      this.complete();
      this.arrived({ kind: 'failure', failure: { kind: 'refused', bytesSent: 0, detail } });
      return;
    }
    this.fail('truncated', detail === '' ? 'the peer broke the answer off' : detail);
  }

  /** The link is gone. What had arrived whole is still delivered. */
  linkLost(detail: string): void {
    this.fail(this.out.bytesSent === 0 ? 'link-down' : 'reset', detail);
  }

  private fail(kind: UpstreamFailureKind, detail: string): void {
    if (this.isComplete) return;
    const { bytesSent } = this.out;
    this.complete();
    this.arrived({ kind: 'failure', failure: { kind, bytesSent, detail } });
  }

  private complete(): void {
    this.isComplete = true;
    this.out.close();
    this.window.close();
    this.link.callClosed(this);
  }

  private arrived(arrival: Arrival): void {
    if (this.isDone) return;
    if (this.isPaused || this.waiting.length > 0) this.waiting.push(arrival);
    else this.deliver(arrival);
  }

  private deliverWaiting(): void {
    while (!this.isPaused && !this.isDone) {
      const next = this.waiting.shift();
      if (next === undefined) return;
      this.deliver(next);
    }
  }

  private deliver(arrival: Arrival): void {
    switch (arrival.kind) {
      case 'head':
        this.handler.onHead(arrival.frame.status, arrival.frame.headers);
        return;
      case 'data':
        this.handler.onBody(arrival.bytes);
        this.consumed(arrival.bytes.length);
        return;
      case 'end':
        this.isDone = true;
        this.handler.onEnd();
        return;
      case 'failure':
        this.isDone = true;
        this.handler.onFailure(arrival.failure);
        return;
      default:
        unreachable(arrival);
    }
  }

  private consumed(bytes: number): void {
    if (this.isComplete) return;
    const { clock, rttMs } = this.link;
    const grant = this.window.consumed(bytes, clock.nowMs(), rttMs);
    if (grant > 0) this.link.send({ type: 'window', stream: this.id, bytes: grant });
  }
}

/** Reports a failure after the caller finished its step (P1). */
export function failLater(
  handler: UpstreamHandler,
  kind: UpstreamFailureKind,
  detail: string,
): UpstreamHandle {
  let isCancelled = false;
  queueMicrotask(() => {
    if (!isCancelled) handler.onFailure({ kind, bytesSent: 0, detail });
  });
  return {
    cancel: () => {
      isCancelled = true;
    },
    pause: () => {},
    resume: () => {},
  };
}
