/**
 * The life of one request after it was read and allowed: attempts one after another until one
 * answers, under four deadlines, and the answer on its way to the client.
 *
 * X1: until the first content reaches the client, any failure moves on unseen.
 * X2: a stream that fails after its head ends with its dialect's error event and an aborted
 *     connection, never with a clean end.
 * X3: a client that leaves cancels the attempt at once.
 * X4: `exchangeOver` is told exactly once.
 * Checked by exchange.test.ts. Sans-IO: time, chance and the network come through the host.
 * @hot
 */

import { assert } from '../base/assert.ts';
import { failure, failureStatus, type ErrorCode, type Failure } from '../base/errors.ts';
import type { HeaderList } from '../base/headers.ts';
import { EXCHANGE_LIMITS } from '../base/limits.ts';
import type { ClientEvents, ClientReply, TimerHandle } from '../base/ports.ts';
import type { ParsedRequest, UnaryAnswer } from '../protocol/adapter.ts';
import type { Dialect, Usage } from '../protocol/dialect.ts';
import { keepAliveComment, renderFailure, renderStreamFailure } from '../protocol/errorBody.ts';
import { Attempt, type AttemptCall, type AttemptSink } from './attempt.ts';
import type { AttemptReport, ExchangeHost, Place, PlaceChoice, PlaceQuery } from './place.ts';
import { judgeDeadline, judgeFailure, type Verdict } from './verdict.ts';

/** The four deadlines, milliseconds; see `replica/config.ts`. */
export interface ExchangeDeadlines {
  readonly connectMs: number;
  readonly firstByteMs: number;
  readonly idleMs: number;
  readonly totalMs: number;
}

/** What is fixed for one exchange. */
export interface ExchangeInfo {
  readonly requestId: string;
  readonly receivedMs: number;
  readonly deadlines: ExchangeDeadlines;
  readonly attemptsMax: number;
}

export type ExchangeEnd = 'answered' | 'refused' | 'failed' | 'client-gone';

/** Who opened the exchange: chooses places, adds header fields and takes the account. */
export interface ExchangeOwner {
  choose(query: PlaceQuery): PlaceChoice;
  /** Makes the call for a place, or says why it cannot be made. */
  prepare(place: Place): { readonly call: AttemptCall } | { readonly failure: Failure };
  /** Header fields of every reply: request id, rate limits, what served it. */
  replyHeaders(exchange: Exchange): string[];
  attemptOver(exchange: Exchange, report: AttemptReport): void;
  exchangeOver(exchange: Exchange, end: ExchangeEnd, errorCode: ErrorCode | null): void;
}

const RETRY_BASE_MS = 50;
const RETRY_CAP_MS = 2_000;
/** A stream's connection that does not end after the dialect's own end is closed after, ms. */
const LINGER_MS = 1_000;

/** One exchange. Handed to the client's transport as its `ClientEvents`. */
export class Exchange implements ClientEvents, AttemptSink {
  readonly info: ExchangeInfo;
  readonly request: ParsedRequest;
  /** Decisions in order, for `explain` and the log; bounded. */
  readonly trace: string[] = [];
  attempts = 0;
  /** The attempt that answers or answered; null while none does. */
  current: Attempt | null = null;
  usage: Usage | null = null;
  firstContentMs: number | null = null;
  status = 0;
  responseBytes = 0;
  /** Time spent waiting for targets and between attempts, ms. */
  waitedMs = 0;
  private readonly host: ExchangeHost;
  private readonly owner: ExchangeOwner;
  private readonly reply: ClientReply;
  private readonly dialect: Dialect;
  private readonly excluded: Set<string> = new Set();
  private modelIndex = 0;
  private round = 0;
  private hasHead = false;
  private isOver = false;
  private isPaused = false;
  private lastSentMs: number;
  private timer: TimerHandle | null = null;

  constructor(
    host: ExchangeHost,
    owner: ExchangeOwner,
    info: ExchangeInfo,
    request: ParsedRequest,
    reply: ClientReply,
  ) {
    this.host = host;
    this.owner = owner;
    this.info = info;
    this.request = request;
    this.reply = reply;
    this.dialect = request.dialect;
    this.lastSentMs = info.receivedMs;
  }

  /** Begins the first attempt. */
  start(): void {
    this.next(null);
  }

  /** Time since the request that was the gateway's own, ms. */
  overheadMs(nowMs: number): number {
    return Math.max(0, nowMs - this.info.receivedMs - this.waitedMs);
  }

  /** Adds a decision to the trace. */
  note(text: string): void {
    if (this.trace.length < EXCHANGE_LIMITS.traceEntriesMax) this.trace.push(text);
  }

  /** Breaks the exchange off because the node stops: the client is told in its dialect. */
  shutDown(): void {
    if (this.isOver) return;
    this.dropAttempt();
    this.end(failure('draining', '', { retryAfterMs: 1_000 }));
  }

  /** The place of the attempt under way is known to be gone: moves on without waiting. */
  placeLost(kind: 'target' | 'region', name: string): void {
    const attempt = this.current;
    if (attempt === null || attempt.isOver) return;
    const { place } = attempt;
    if (place.kind !== kind || place.name !== name) return;
    const detail = `The ${kind} was lost.`;
    attempt.fail(judgeFailure({ kind: 'reset', bytesSent: 1, detail }, attempt.hasContent));
  }

  // --- the client's side ---

  onGone(): void {
    if (this.isOver) return;
    this.usage = this.current?.usage() ?? null;
    this.note('client gone');
    this.dropAttempt();
    this.over('client-gone', null);
  }

  onDrain(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    this.lastSentMs = this.host.clock.nowMs();
    if (this.current !== null && !this.current.isOver) this.current.resume();
  }

  // --- the attempt's side ---

  attemptContent(attempt: Attempt, bytes: Uint8Array): void {
    this.settleWait(attempt, attempt.firstContentMs ?? this.host.clock.nowMs());
    this.firstContentMs = attempt.firstContentMs;
    if (!this.hasHead) this.sendStreamHead();
    this.send(bytes);
    this.arm();
  }

  attemptPiece(_attempt: Attempt, bytes: Uint8Array): void {
    this.send(bytes);
  }

  attemptDone(attempt: Attempt, answer: UnaryAnswer | null): void {
    const nowMs = this.host.clock.nowMs();
    attempt.place.finished({ kind: 'answered' }, nowMs);
    this.report(attempt, 'answered', '', nowMs);
    if (answer === null) {
      this.usage = attempt.usage();
      this.reply.end();
      if (!attempt.isSettled) this.host.timers.after(LINGER_MS, () => attempt.close());
    } else {
      this.settleWait(attempt, nowMs);
      this.firstContentMs = nowMs;
      this.usage = answer.usage;
      this.sendWhole(answer);
    }
    this.over('answered', null);
  }

  attemptFailed(attempt: Attempt, verdict: Verdict): void {
    const nowMs = this.host.clock.nowMs();
    this.settleWait(attempt, nowMs);
    attempt.place.finished(verdict.outcome, nowMs);
    const isRejected = verdict.outcome.kind === 'rejected';
    this.report(attempt, isRejected ? 'rejected' : 'failed', verdict.reason, nowMs);
    this.note(`${attempt.place.kind} ${attempt.place.name}: ${verdict.reason}`);
    this.usage = attempt.usage();
    if (attempt.hasContent) {
      this.end(verdict.failure);
      return;
    }
    this.current = null;
    switch (verdict.next) {
      case 'no':
        this.end(verdict.failure);
        return;
      case 'other-model':
        this.modelIndex += 1;
        this.next(verdict.failure, false);
        return;
      case 'elsewhere':
        this.excluded.add(`${attempt.place.kind}:${attempt.place.name}`);
        if (!verdict.isDefinite && !this.host.takeRetry(nowMs)) {
          this.note('retry budget spent');
          this.end(verdict.failure);
          return;
        }
        this.next(verdict.failure);
        return;
    }
  }

  // --- inside ---

  /** Starts the next attempt, waits for one, or gives up with `last`. */
  private next(last: Failure | null, mayWait = true): void {
    const nowMs = this.host.clock.nowMs();
    const leftMs = this.info.receivedMs + this.info.deadlines.totalMs - nowMs;
    if (leftMs <= 0) {
      this.end(judgeDeadline('total', false, this.info.deadlines.totalMs).failure);
      return;
    }
    if (this.attempts >= this.info.attemptsMax && last !== null) {
      this.note(`no attempt left of ${this.info.attemptsMax}`);
      this.end(last);
      return;
    }
    const choice = this.owner.choose({
      excluded: this.excluded,
      modelIndex: this.modelIndex,
      attempts: this.attempts,
      lastFailure: last,
      nowMs,
    });
    if (choice.kind === 'place') {
      this.modelIndex = choice.modelIndex;
      this.begin(choice.place);
      return;
    }
    this.note(choice.why);
    const isRound = mayWait && last !== null && this.excluded.size > 0;
    if (!isRound || !this.waitForRound(last, leftMs)) {
      this.end(last ?? choice.failure);
    }
  }

  /**
   * Every place has failed once: waits with full jitter (AWS, "Exponential backoff and jitter"),
   * no less than Retry-After, and begins again. False where that would take too long.
   */
  private waitForRound(last: Failure, leftMs: number): boolean {
    const capMs = Math.min(RETRY_CAP_MS, RETRY_BASE_MS * 2 ** this.round);
    const jitterMs = Math.ceil(this.host.prng.nextFloat() * capMs);
    const waitMs = Math.max(jitterMs, last.retryAfterMs ?? 0);
    if (waitMs > EXCHANGE_LIMITS.retryWaitMsMax || waitMs >= leftMs) return false;
    this.round += 1;
    this.excluded.clear();
    this.modelIndex = 0;
    this.waitedMs += waitMs;
    this.note(`wait ${waitMs} ms`);
    this.disarm();
    this.timer = this.host.timers.after(waitMs, () => {
      this.timer = null;
      this.next(last);
    });
    return true;
  }

  private begin(place: Place): void {
    const prepared = this.owner.prepare(place);
    if ('failure' in prepared) {
      // This place cannot take the request at all; another may.
      this.note(`${place.kind} ${place.name}: ${prepared.failure.code}`);
      this.excluded.add(`${place.kind}:${place.name}`);
      this.next(prepared.failure);
      return;
    }
    this.note(`${place.kind} ${place.name}: ${place.reason}`);
    const attempt = new Attempt(this.host, this.request, place, this, this.attempts > 0);
    this.attempts += 1;
    this.current = attempt;
    attempt.start(prepared.call);
    this.arm();
  }

  private send(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.responseBytes += bytes.length;
    if (!this.reply.write(bytes) && this.current !== null && !this.current.isOver) {
      this.isPaused = true;
      this.current.pause();
    }
  }

  private sendStreamHead(): void {
    this.hasHead = true;
    this.status = 200;
    const headers = this.owner.replyHeaders(this);
    headers.push('content-type', 'text/event-stream; charset=utf-8');
    headers.push('cache-control', 'no-cache', 'x-accel-buffering', 'no');
    this.reply.head(200, headers, { kind: 'stream' });
  }

  private sendWhole(answer: UnaryAnswer): void {
    this.hasHead = true;
    this.status = 200;
    this.responseBytes = answer.body.length;
    const headers = this.owner.replyHeaders(this);
    for (const text of answer.headers) headers.push(text);
    headers.push('content-type', 'application/json');
    this.reply.head(200, headers, { kind: 'length', bytes: answer.body.length });
    this.reply.end(answer.body);
  }

  /** Ends the exchange with a failure, in whatever way the client can still be told. */
  private end(told: Failure): void {
    if (this.isOver) return;
    const isRefusal = !this.hasHead && (this.attempts === 0 || failureStatus(told) < 500);
    if (this.hasHead) {
      this.reply.write(renderStreamFailure(this.dialect, told, this.info.requestId));
      this.reply.abort();
    } else {
      this.status = failureStatus(told);
      sendFailure(
        this.reply,
        this.dialect,
        told,
        this.info.requestId,
        this.owner.replyHeaders(this),
      );
    }
    this.over(isRefusal ? 'refused' : 'failed', told.code);
  }

  private over(end: ExchangeEnd, errorCode: ErrorCode | null): void {
    assert(!this.isOver, 'an exchange is over once');
    this.isOver = true;
    this.disarm();
    this.owner.exchangeOver(this, end, errorCode);
  }

  private dropAttempt(): void {
    const attempt = this.current;
    if (attempt === null || attempt.isOver) return;
    const nowMs = this.host.clock.nowMs();
    this.settleWait(attempt, nowMs);
    attempt.cancel();
    attempt.place.finished({ kind: 'cancelled' }, nowMs);
    this.report(attempt, 'cancelled', 'client-gone', nowMs);
  }

  private settleWait(attempt: Attempt, untilMs: number): void {
    // Once an attempt has content its waiting time is in the account already.
    if (this.firstContentMs === null) this.waitedMs += untilMs - attempt.startedMs;
  }

  private report(attempt: Attempt, end: AttemptReport['end'], reason: string, nowMs: number): void {
    const contentMs = attempt.firstContentMs;
    this.owner.attemptOver(this, {
      place: attempt.place,
      end,
      reason,
      status: attempt.status,
      firstContentMs: contentMs === null ? null : contentMs - attempt.startedMs,
      totalMs: nowMs - attempt.startedMs,
      isRetry: attempt.isRetry,
    });
  }

  // --- deadlines: one timer for all of them, re-armed when it fires early ---

  /**
   * A whole answer comes only when generation is over, so its first byte gets half of the total:
   * one more attempt still fits.
   */
  private firstByteMs(): number {
    const { firstByteMs, totalMs } = this.info.deadlines;
    return this.request.isStream ? firstByteMs : Math.max(firstByteMs, totalMs / 2);
  }

  private isWaiting(attempt: Attempt): boolean {
    return this.request.isStream ? !attempt.hasContent : !attempt.hasHead;
  }

  private arm(): void {
    const attempt = this.current;
    if (this.isOver || attempt === null) return;
    const { deadlines } = this.info;
    let dueMs = this.info.receivedMs + deadlines.totalMs;
    if (this.isWaiting(attempt)) {
      dueMs = Math.min(dueMs, attempt.startedMs + this.firstByteMs());
      if (this.request.isStream) {
        dueMs = Math.min(dueMs, this.lastSentMs + EXCHANGE_LIMITS.keepAliveCommentMs);
      }
    } else {
      dueMs = Math.min(dueMs, attempt.lastPieceMs + deadlines.idleMs);
    }
    // What is due may come nearer while the timer runs (content began): look again in time.
    const delayMs = Math.min(deadlines.idleMs, Math.ceil(dueMs - this.host.clock.nowMs()));
    this.disarm();
    this.timer = this.host.timers.after(Math.max(1, delayMs), () => {
      this.timer = null;
      this.onTimer();
    });
  }

  private disarm(): void {
    this.timer?.cancel();
    this.timer = null;
  }

  private onTimer(): void {
    const attempt = this.current;
    if (this.isOver || attempt === null || attempt.isOver) return;
    const nowMs = this.host.clock.nowMs();
    const { deadlines } = this.info;
    const { hasContent } = attempt;
    if (nowMs >= this.info.receivedMs + deadlines.totalMs) {
      attempt.fail(judgeDeadline('total', hasContent, deadlines.totalMs));
      return;
    }
    if (this.isWaiting(attempt)) {
      if (nowMs >= attempt.startedMs + this.firstByteMs()) {
        attempt.fail(judgeDeadline('first-byte', hasContent, this.firstByteMs()));
        return;
      }
      if (this.request.isStream && nowMs >= this.lastSentMs + EXCHANGE_LIMITS.keepAliveCommentMs) {
        this.sendComment(nowMs);
      }
    } else if (this.isPaused) {
      attempt.lastPieceMs = nowMs; // The client is slow, not the target.
    } else if (nowMs >= attempt.lastPieceMs + deadlines.idleMs) {
      attempt.fail(judgeDeadline('idle', hasContent, deadlines.idleMs));
      return;
    }
    this.arm();
  }

  /** Keeps the client's connection awake while a model thinks; the head goes out with the first. */
  private sendComment(nowMs: number): void {
    if (!this.hasHead) this.sendStreamHead();
    this.lastSentMs = nowMs;
    this.reply.write(keepAliveComment(this.dialect));
  }
}

/** Answers a failure before any head was sent, in the client's dialect. */
export function sendFailure(
  reply: ClientReply,
  dialect: Dialect,
  told: Failure,
  requestId: string,
  headers: readonly string[],
): void {
  const body = renderFailure(dialect, told, requestId);
  const all: string[] = [...headers, 'content-type', 'application/json'];
  if (told.retryAfterMs !== null) {
    all.push('retry-after', String(Math.max(1, Math.ceil(told.retryAfterMs / 1000))));
  }
  const list: HeaderList = all;
  reply.head(failureStatus(told), list, { kind: 'length', bytes: body.length });
  reply.end(body);
}
