/**
 * One attempt: one call to one place, read to its end. It holds back what came before the first
 * content, so that a failure until then moves on unseen, and judges every way to fail.
 *
 * A1: exactly one of `attemptDone` and `attemptFailed` is reported, unless it is cancelled.
 * A2: nothing reaches the client before the first content of the attempt (checked in
 *     exchange.test.ts over every cut position).
 * @hot
 */

import { assert } from '../base/assert.ts';
import { concatBytes, copyBytes } from '../base/bytes.ts';
import { headerValue, type HeaderList } from '../base/headers.ts';
import { EXCHANGE_LIMITS, HTTP_LIMITS } from '../base/limits.ts';
import type {
  TimerHandle,
  UpstreamFailure,
  UpstreamHandle,
  UpstreamHandler,
} from '../base/ports.ts';
import type {
  ContinuationMode,
  ParsedRequest,
  StreamReader,
  StreamStep,
  UnaryAnswer,
} from '../protocol/adapter.ts';
import type { Usage } from '../protocol/dialect.ts';
import type { ResumedReader } from '../protocol/resumedReader.ts';
import type { AttemptReport, ExchangeHost, Place } from './place.ts';
import {
  judgeEarlyEnd,
  judgeError,
  judgeFailure,
  judgeUnexpected,
  type Verdict,
} from './verdict.ts';

/** Who runs the attempt. */
export interface AttemptSink {
  /** The first content is there: `bytes` holds all until now. Borrowed (P2). */
  attemptContent(attempt: Attempt, bytes: Uint8Array): void;
  /** A further piece of the stream. Borrowed (P2). */
  attemptPiece(attempt: Attempt, bytes: Uint8Array): void;
  /** The stream reached its dialect's end, or the whole answer is there. */
  attemptDone(attempt: Attempt, answer: UnaryAnswer | null): void;
  attemptFailed(attempt: Attempt, verdict: Verdict): void;
}

/** How the call goes out. */
export interface AttemptCall {
  readonly method: string;
  readonly path: string;
  readonly headers: HeaderList;
  readonly body: Uint8Array;
  readonly bodyRest?: readonly Uint8Array[];
  readonly connectMs: number;
}

/** A stream's connection that does not end after the dialect's own end is closed after, ms. */
const LINGER_MS = 1_000;

type State = 'waiting' | 'error-body' | 'unary-body' | 'stream' | 'over';

/** One attempt under way. Owned by its exchange. */
export class Attempt implements UpstreamHandler {
  readonly place: Place;
  readonly startedMs: number;
  readonly isRetry: boolean;
  /** It races another attempt for the first content. */
  readonly isHedge: boolean;
  /** Clock.nowMs() of the last byte that came, for the idle deadline. */
  lastPieceMs: number;
  /** Clock.nowMs() of the first content, or null. */
  firstContentMs: number | null = null;
  /** Bytes of the stream after the first content. */
  contentBytes = 0;
  /** The client held it back at some time: its rate is not the target's. */
  wasPaused = false;
  status = 0;
  /** Header fields of the response, kept for those that are passed on. */
  headers: HeaderList = [];
  hasHead = false;
  /** Set by the exchange: reads the stream as the rest of an answer that began elsewhere. */
  wrap: ((reader: StreamReader) => ResumedReader) | null = null;
  /** How it goes on with an answer that another attempt began; null: it answers from the start. */
  mode: ContinuationMode | null = null;
  private readonly host: ExchangeHost;
  private readonly request: ParsedRequest;
  private readonly sink: AttemptSink;
  private inner: StreamReader | null = null;
  private resumed: ResumedReader | null = null;
  private unaryUsage: Usage | null = null;
  private reader: StreamReader | null = null;
  private state: State = 'waiting';
  private held: Uint8Array[] = [];
  private heldBytes = 0;
  private handle: UpstreamHandle | null = null;
  private isClosed = false;
  private lingering: TimerHandle | null = null;

  constructor(
    host: ExchangeHost,
    request: ParsedRequest,
    place: Place,
    sink: AttemptSink,
    kind: 'first' | 'retry' | 'hedge',
  ) {
    this.host = host;
    this.request = request;
    this.place = place;
    this.sink = sink;
    this.isRetry = kind === 'retry';
    this.isHedge = kind === 'hedge';
    this.startedMs = host.clock.nowMs();
    this.lastPieceMs = this.startedMs;
  }

  /** Sends the call. Callbacks come later (P1). */
  start(call: AttemptCall): void {
    assert(this.handle === null, 'an attempt starts once');
    this.place.started(this.startedMs);
    this.handle = this.host.upstream.start({ ...call, origin: this.place.origin }, this);
  }

  get isOver(): boolean {
    return this.state === 'over';
  }

  get hasContent(): boolean {
    return this.firstContentMs !== null;
  }

  /** It is at work on the answer, though the client may have seen nothing new of it yet. */
  get isAnswering(): boolean {
    return this.hasContent || this.resumed?.isAnswering === true;
  }

  /** Tokens of this attempt alone, as the provider told them or estimated from what came. */
  ownUsage(): Usage | null {
    return this.inner === null ? this.unaryUsage : this.inner.usage();
  }

  pause(): void {
    this.wasPaused = true;
    this.handle?.pause();
  }

  resume(): void {
    // What was held back by us is not the target's silence.
    this.lastPieceMs = this.host.clock.nowMs();
    this.handle?.resume();
  }

  /** What there is to say of it now that it is over. */
  report(end: AttemptReport['end'], reason: string, nowMs: number): AttemptReport {
    const { place, status, firstContentMs, startedMs, isRetry, isHedge, mode } = this;
    return {
      place,
      end,
      reason,
      status,
      startedMs,
      firstContentMs: firstContentMs === null ? null : firstContentMs - startedMs,
      totalMs: nowMs - startedMs,
      isRetry,
      isHedge,
      mode,
      usage: this.ownUsage(),
    };
  }

  /** Stops the call without a report. */
  cancel(): void {
    this.state = 'over';
    this.held = [];
    this.close();
  }

  /** Frees the connection unless the response has ended by its own framing, and so is reusable. */
  close(): void {
    if (this.isClosed) return;
    this.settled();
    this.handle?.cancel();
  }

  /** The answer is whole by its dialect: its framing may still end soon. */
  linger(): void {
    if (this.isClosed) return;
    this.lingering = this.host.timers.after(LINGER_MS, () => this.close());
  }

  /** Nothing more can come from the transport. */
  private settled(): void {
    this.isClosed = true;
    this.lingering?.cancel();
    this.lingering = null;
  }

  /** Stops the call and reports `verdict`: a deadline has passed. */
  fail(verdict: Verdict): void {
    if (this.state === 'over') return;
    this.cancel();
    this.sink.attemptFailed(this, verdict);
  }

  onHead(status: number, headers: HeaderList): void {
    if (this.state === 'over') return;
    this.lastPieceMs = this.host.clock.nowMs();
    this.status = status;
    this.headers = headers;
    this.hasHead = true;
    if (status >= 400) {
      this.state = 'error-body';
    } else if (status < 200 || status >= 300) {
      // Redirects are not followed: a target could send us anywhere.
      const hint = status >= 300 ? ' Redirects are not followed; check its baseUrl.' : '';
      this.fail(judgeUnexpected(status, `The model server answered with status ${status}.${hint}`));
    } else if (!this.request.isStream) {
      this.state = 'unary-body';
    } else if (!isEventStream(headers)) {
      this.fail(judgeUnexpected(status, 'The model server did not answer with an event stream.'));
    } else {
      this.state = 'stream';
      const { adapter, model } = this.place;
      this.inner = adapter.openStream(this.request, model, this.createdSeconds());
      this.resumed = this.wrap === null ? null : this.wrap(this.inner);
      this.reader = this.resumed ?? this.inner;
    }
  }

  onBody(chunk: Uint8Array): void {
    this.lastPieceMs = this.host.clock.nowMs();
    if (this.state === 'stream') {
      if (this.firstContentMs !== null) this.contentBytes += chunk.length;
      this.onStreamChunk(chunk);
    } else if (this.state === 'unary-body') {
      this.hold(chunk);
      if (this.heldBytes > HTTP_LIMITS.responseBodyBytesMax) {
        this.fail(judgeUnexpected(this.status, 'The answer is over the size limit.'));
      }
    } else if (this.state === 'error-body') {
      this.hold(chunk);
      if (this.heldBytes < EXCHANGE_LIMITS.errorBodyBytesMax) return;
      this.close(); // The status says enough: an error without end is not waited for.
      this.onErrorEnd();
    }
  }

  onEnd(): void {
    this.settled();
    switch (this.state) {
      case 'stream':
        this.onStreamEnd();
        return;
      case 'unary-body':
        this.onUnaryEnd();
        return;
      case 'error-body':
        this.onErrorEnd();
        return;
      case 'waiting':
      case 'over':
        return;
    }
  }

  onFailure(cause: UpstreamFailure): void {
    this.settled();
    if (this.state === 'over') return;
    if (this.state === 'error-body') {
      this.onErrorEnd(); // The status is known: that its body was cut changes nothing.
      return;
    }
    this.state = 'over';
    this.sink.attemptFailed(this, judgeFailure(cause, this.hasContent));
  }

  private hold(chunk: Uint8Array): void {
    this.held.push(copyBytes(chunk));
    this.heldBytes += chunk.length;
  }

  private onStreamChunk(chunk: Uint8Array): void {
    const { reader } = this;
    assert(reader !== null, 'a stream has a reader');
    this.take(reader.push(chunk));
  }

  /** Handles one step of the reader. Returns false once the attempt is over. */
  private take(step: StreamStep): boolean {
    if (this.firstContentMs === null) {
      if (step.bytes.length > 0) this.hold(step.bytes);
      const isFull = this.heldBytes > EXCHANGE_LIMITS.heldBytesMax;
      if (step.hasContent || isFull || (step.isDone && step.error === null)) {
        this.firstContentMs = this.host.clock.nowMs();
        this.place.firstContent(this.firstContentMs);
        const bytes = concatBytes(this.held);
        this.held = [];
        this.sink.attemptContent(this, bytes);
      }
    } else if (step.bytes.length > 0) {
      this.sink.attemptPiece(this, step.bytes);
    }
    if (this.isOver) return false; // The sink may have cancelled us.
    if (step.error !== null) {
      this.fail(judgeError(step.error, this.hasContent));
      return false;
    }
    if (step.isDone) {
      // The connection is reused once its own framing ends; nobody waits for that.
      this.state = 'over';
      this.sink.attemptDone(this, null);
      return false;
    }
    return true;
  }

  private onStreamEnd(): void {
    const { reader } = this;
    assert(reader !== null, 'a stream has a reader');
    if (!this.take(reader.end())) return;
    this.state = 'over';
    this.sink.attemptFailed(this, judgeEarlyEnd(this.hasContent));
  }

  private onUnaryEnd(): void {
    const body = concatBytes(this.held);
    this.held = [];
    const { adapter } = this.place;
    const answer = adapter.readUnary(this.request, this.headers, body, this.createdSeconds());
    this.state = 'over';
    if (!answer.ok) {
      this.sink.attemptFailed(this, judgeError(answer.error, false));
      return;
    }
    this.unaryUsage = answer.value.usage;
    this.firstContentMs = this.host.clock.nowMs();
    this.place.firstContent(this.firstContentMs);
    this.sink.attemptDone(this, answer.value);
  }

  private createdSeconds(): number {
    return Math.floor(this.host.clock.wallMs() / 1000);
  }

  private onErrorEnd(): void {
    const body = concatBytes(this.held);
    this.held = [];
    this.state = 'over';
    const error = this.place.adapter.readError(this.status, this.headers, body);
    this.sink.attemptFailed(this, judgeError(error, false));
  }
}

function isEventStream(headers: HeaderList): boolean {
  return (headerValue(headers, 'content-type') ?? '').toLowerCase().startsWith('text/event-stream');
}
