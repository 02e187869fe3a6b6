/**
 * The life of one request after it was read and allowed: attempts one after another until one
 * answers, under four deadlines, and the answer on its way to the client.
 *
 * X1: until the first content reaches the client, any failure moves on unseen.
 * X2: a stream that fails after its head ends with its dialect's error event and an aborted
 *     connection, never with a clean end.
 * X3: an answer whose target dies after its first content goes on at another target in the same
 *     envelope where one can (`continuation.ts`); no tool call is shown twice or by halves.
 * X4: a client that leaves cancels the attempt at once.
 * X5: `exchangeOver` is told exactly once.
 * Checked by exchange.test.ts. Sans-IO: time, chance and the network come through the host.
 * @hot
 */

import { assert } from '../base/assert.ts';
import { failure, failureStatus, type ErrorCode, type Failure } from '../base/errors.ts';
import type { HeaderList } from '../base/headers.ts';
import { EXCHANGE_LIMITS } from '../base/limits.ts';
import type { ClientEvents, ClientReply, TimerHandle } from '../base/ports.ts';
import type { ParsedRequest, UnaryAnswer } from '../protocol/adapter.ts';
import type { Usage } from '../protocol/dialect.ts';
import { addUsage } from '../protocol/resume.ts';
import { backoffMs } from '../routing/retry.ts';
import { Attempt, type AttemptCall, type AttemptSink } from './attempt.ts';
import { ClientSide } from './clientSide.ts';
import { Continuation } from './continuation.ts';
import type { AttemptReport, ExchangeHost, Place, PlaceChoice, PlaceQuery } from './place.ts';
import { isConnectionLoss, judgeDeadline, judgeFailure, type Verdict } from './verdict.ts';

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
  /** An answer whose target dies after its first content may go on at another one. */
  readonly mayContinue: boolean;
  /** Header fields of the client's request that its dialect reads. */
  readonly clientHeaders: HeaderList;
}

export type ExchangeEnd = 'answered' | 'refused' | 'failed' | 'client-gone';

/** Who opened the exchange: chooses places, adds header fields and takes the account. */
export interface ExchangeOwner {
  choose(query: PlaceQuery): PlaceChoice;
  /** Makes the call for a place, or says why it cannot be made. */
  prepare(
    place: Place,
    request: ParsedRequest,
  ): { readonly call: AttemptCall } | { readonly failure: Failure };
  /** Header fields of every reply: request id, rate limits, what served it. */
  replyHeaders(exchange: Exchange): string[];
  attemptOver(exchange: Exchange, report: AttemptReport): void;
  exchangeOver(exchange: Exchange, end: ExchangeEnd, errorCode: ErrorCode | null): void;
}

/** A stream's connection that does not end after the dialect's own end is closed after, ms. */
const LINGER_MS = 1_000;

/** One exchange. Handed to the client's transport as its `ClientEvents`. */
export class Exchange implements ClientEvents, AttemptSink {
  readonly info: ExchangeInfo;
  readonly request: ParsedRequest;
  readonly client: ClientSide;
  /** Decisions in order, for `explain` and the log; bounded. */
  readonly trace: string[] = [];
  attempts = 0;
  /** The attempt that answers or answered; null while none does. */
  current: Attempt | null = null;
  usage: Usage | null = null;
  firstContentMs: number | null = null;
  /** Time spent waiting for targets and between attempts, ms. */
  waitedMs = 0;
  private readonly host: ExchangeHost;
  private readonly owner: ExchangeOwner;
  private readonly excluded: Set<string> = new Set();
  private modelIndex = 0;
  private round = 0;
  private isOver = false;
  private isPaused = false;
  private hasLost = false;
  private timer: TimerHandle | null = null;
  private readonly continuation: Continuation | null;

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
    this.client = new ClientSide(reply, request.dialect, info.receivedMs);
    this.continuation =
      info.mayContinue && Continuation.fits(request)
        ? new Continuation(request, info.clientHeaders, host.kept)
        : null;
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
    this.usage = this.usedTokens();
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
    this.usage = this.usedTokens();
    this.note('client gone');
    this.dropAttempt();
    this.over('client-gone', null);
  }

  onDrain(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    this.client.lastSentMs = this.host.clock.nowMs();
    if (this.current === null || this.current.isOver) return;
    this.current.resume();
    this.arm(); // The client is to be kept awake again.
  }

  // --- the attempt's side ---

  attemptContent(attempt: Attempt, bytes: Uint8Array): void {
    this.settleWait(attempt, attempt.firstContentMs ?? this.host.clock.nowMs());
    this.firstContentMs ??= attempt.firstContentMs;
    this.openStream();
    this.pass(bytes);
    this.arm();
  }

  attemptPiece(_attempt: Attempt, bytes: Uint8Array): void {
    this.pass(bytes);
  }

  attemptDone(attempt: Attempt, answer: UnaryAnswer | null): void {
    const nowMs = this.host.clock.nowMs();
    attempt.place.finished({ kind: 'answered' }, nowMs);
    this.report(attempt, 'answered', '', nowMs);
    if (answer === null) {
      this.usage = addUsage(this.continuation?.prior ?? null, attempt.ownUsage());
      if (this.continuation !== null) this.send(this.continuation.release());
      this.client.end();
      if (!attempt.isSettled) this.host.timers.after(LINGER_MS, () => attempt.close());
    } else {
      this.settleWait(attempt, nowMs);
      this.firstContentMs = nowMs;
      this.usage = answer.usage;
      this.client.whole(answer, this.owner.replyHeaders(this));
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
    this.usage = addUsage(this.continuation?.prior ?? null, attempt.ownUsage());
    if (this.continuation?.hasSent === true || attempt.hasContent) {
      this.goOn(attempt, verdict);
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
        if (this.takesRetry(verdict, nowMs)) this.next(verdict.failure);
        return;
    }
  }

  /** Takes the retry out of the budget where it costs one; ends the exchange where it is spent. */
  private takesRetry(verdict: Verdict, nowMs: number): boolean {
    // An overloaded target did not run it, but a retry is load where load is the trouble.
    const isFree = verdict.isDefinite && verdict.outcome.kind !== 'overloaded';
    // A target that dies takes its requests down once: each may move on once, whatever the budget.
    const isFirstLoss = isConnectionLoss(verdict) && !this.hasLost;
    this.hasLost ||= isFirstLoss;
    if (isFree || this.host.takeRetry(nowMs, !verdict.isDefinite, isFirstLoss)) return true;
    this.note('retry budget spent');
    this.end(verdict.failure);
    return false;
  }

  /** The target died after content was sent: goes on elsewhere, or tells the client honestly. */
  private goOn(attempt: Attempt, verdict: Verdict): void {
    const { continuation } = this;
    if (continuation === null || verdict.next === 'no') {
      this.end(verdict.failure);
      return;
    }
    const step = continuation.cut(attempt.hasContent ? attempt.ownUsage() : null);
    if (step.kind === 'impossible') {
      this.note(`not continued: ${step.why}`);
      this.end(verdict.failure);
      return;
    }
    if (step.kind === 'complete') {
      this.usage = continuation.prior;
      this.send(step.bytes);
      this.client.end();
      this.over('answered', null);
      return;
    }
    this.excluded.add(`${attempt.place.kind}:${attempt.place.name}`);
    if (this.takesRetry(verdict, this.host.clock.nowMs())) this.next(verdict.failure);
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
    const jitterMs = Math.ceil(backoffMs(this.round, this.host.prng));
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
    const request = this.continuation === null ? this.request : this.continuation.ask(place);
    const prepared =
      request === null
        ? { failure: failure('stream_broken', 'The target cannot continue an answer.') }
        : this.owner.prepare(place, request);
    if (request === null || 'failure' in prepared) {
      // This place cannot take the request at all; another may.
      const told = 'failure' in prepared ? prepared.failure : failure('stream_broken');
      this.note(`${place.kind} ${place.name}: ${told.code}`);
      this.excluded.add(`${place.kind}:${place.name}`);
      this.next(told, false);
      return;
    }
    this.note(`${place.kind} ${place.name}: ${place.reason}`);
    const attempt = new Attempt(this.host, request, place, this, this.attempts > 0);
    if (this.continuation !== null) attempt.wrap = this.continuation.wrap(place);
    this.attempts += 1;
    this.current = attempt;
    attempt.start(prepared.call);
    this.arm();
  }

  /** Passes a piece of the answer on; what may have to be taken back is held. */
  private pass(bytes: Uint8Array): void {
    this.send(this.continuation === null ? bytes : this.continuation.pass(bytes));
  }

  private openStream(): void {
    if (!this.client.hasHead) this.client.streamHead(this.owner.replyHeaders(this));
  }

  private send(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    const isTaken = this.client.send(bytes, this.host.clock.nowMs());
    if (!isTaken && this.current !== null && !this.current.isOver) {
      this.isPaused = true;
      this.current.pause();
    }
  }

  /** Ends the exchange with a failure, in whatever way the client can still be told. */
  private end(told: Failure): void {
    if (this.isOver) return;
    const isRefusal = !this.client.hasHead && (this.attempts === 0 || failureStatus(told) < 500);
    this.client.fail(told, this.info.requestId, () => this.owner.replyHeaders(this));
    this.over(isRefusal ? 'refused' : 'failed', told.code);
  }

  private over(end: ExchangeEnd, errorCode: ErrorCode | null): void {
    assert(!this.isOver, 'an exchange is over once');
    this.isOver = true;
    this.disarm();
    this.continuation?.dispose();
    this.owner.exchangeOver(this, end, errorCode);
  }

  /** Tokens until now: those of attempts that died, and of the one under way. */
  private usedTokens(): Usage | null {
    const prior = this.continuation?.prior ?? null;
    const attempt = this.current;
    return attempt === null || attempt.isOver ? prior : addUsage(prior, attempt.ownUsage());
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
    } else {
      dueMs = Math.min(dueMs, attempt.lastPieceMs + deadlines.idleMs);
    }
    if (this.request.isStream && !this.isPaused) {
      dueMs = Math.min(dueMs, this.client.lastSentMs + EXCHANGE_LIMITS.keepAliveCommentMs);
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
      if (
        this.request.isStream &&
        !this.isPaused &&
        nowMs >= this.client.lastSentMs + EXCHANGE_LIMITS.keepAliveCommentMs
      ) {
        this.sendComment(nowMs);
      }
    } else if (this.isPaused) {
      attempt.lastPieceMs = nowMs; // The client is slow, not the target.
    } else if (nowMs >= attempt.lastPieceMs + deadlines.idleMs) {
      attempt.fail(judgeDeadline('idle', hasContent, deadlines.idleMs));
      return;
    }
    if (
      this.request.isStream &&
      !this.isPaused &&
      nowMs >= this.client.lastSentMs + EXCHANGE_LIMITS.keepAliveCommentMs
    ) {
      this.sendComment(nowMs);
    }
    this.arm();
  }

  /**
   * Keeps the client's connection awake while a model thinks; the head goes out with the first.
   * What the client has is whole events always, so that a comment fits anywhere.
   */
  private sendComment(nowMs: number): void {
    this.openStream();
    this.client.comment(nowMs);
  }
}
