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
 * X5: `exchangeOver` is told exactly once. Checked, as all of these, by exchange.test.ts.
 * @hot
 */

import { assert } from '../base/assert.ts';
import { failure, failureStatus, type ErrorCode, type Failure } from '../base/errors.ts';
import { EXCHANGE_LIMITS } from '../base/limits.ts';
import type { ClientEvents, ClientReply, TimerHandle } from '../base/ports.ts';
import type { ParsedRequest, UnaryAnswer } from '../protocol/adapter.ts';
import type { Usage } from '../protocol/dialect.ts';
import { addUsage } from '../protocol/resume.ts';
import type { AttemptOutcome } from '../routing/outcome.ts';
import { Account } from './account.ts';
import { Attempt, type AttemptSink } from './attempt.ts';
import { ClientSide } from './clientSide.ts';
import { Continuation } from './continuation.ts';
import { attemptDueMs, commentDueMs, missedDeadline, type Watched } from './deadlines.ts';
import { keyOf, type AttemptReport, type ExchangeHost, type Place } from './place.ts';
import { Race } from './race.ts';
import { Search } from './search.ts';
import { StallWatch } from './stall.ts';
import type { ExchangeEnd, ExchangeInfo, ExchangeOwner } from './owner.ts';
import {
  isWayAtFault,
  judgeDeadline,
  judgeFailure,
  judgeStall,
  midAnswer,
  type Verdict,
} from './verdict.ts';

/** One exchange. Handed to the client's transport as its `ClientEvents`. */
export class Exchange implements ClientEvents, AttemptSink, Watched {
  rosterIndex = -1; // The gateway's to write (`Roster`).
  readonly info: ExchangeInfo;
  readonly request: ParsedRequest;
  readonly client: ClientSide;
  /** Decisions in order, for `explain` and the log; bounded. */
  readonly trace: string[] = [];
  attempts = 0;
  readonly account: Account;
  /** The attempt that answers or answered; null while none does. */
  current: Attempt | null = null;
  usage: Usage | null = null;
  /** The client is slow: the attempt is held back. */
  isPaused = false;
  readonly race: Race = new Race();
  private readonly host: ExchangeHost;
  private readonly owner: ExchangeOwner;
  private readonly search: Search;
  private isOver = false;
  private timer: TimerHandle | null = null;
  private readonly continuation: Continuation | null;
  private readonly stall: StallWatch;

  constructor(
    host: ExchangeHost,
    owner: ExchangeOwner,
    info: ExchangeInfo,
    request: ParsedRequest,
    reply: ClientReply,
  ) {
    this.host = host;
    this.search = new Search(host);
    this.stall = new StallWatch(info.stall);
    this.owner = owner;
    this.info = info;
    this.account = new Account(info.receivedMs);
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
    const detail = `The ${kind} was lost.`;
    for (const attempt of [this.race.rival, this.current]) {
      if (attempt?.place.kind !== kind || attempt.place.name !== name) continue;
      attempt.fail(judgeFailure({ kind: 'reset', bytesSent: 1, detail }, attempt.hasContent));
    }
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
    if (this.current.hasContent) this.stall.begin(this.current, this.host.clock.nowMs());
    this.arm(); // The client is to be kept awake again.
  }

  // --- the attempt's side ---

  attemptContent(attempt: Attempt, bytes: Uint8Array): void {
    const loser = this.race.won(attempt, this.current);
    this.current = attempt;
    this.account.contentCame(attempt.firstContentMs ?? this.host.clock.nowMs());
    if (loser !== null && loser !== attempt) this.dropLoser(loser);
    this.openStream();
    if (attempt.mode !== null) this.client.continued(attempt.mode, attempt.place);
    this.pass(bytes);
    if (this.continuation !== null) this.stall.begin(attempt, this.host.clock.nowMs());
    this.arm();
  }

  attemptPiece(_attempt: Attempt, bytes: Uint8Array): void {
    this.pass(bytes);
  }

  attemptDone(attempt: Attempt, answer: UnaryAnswer | null): void {
    const nowMs = this.host.clock.nowMs();
    attempt.place.finished({ kind: 'answered' }, nowMs);
    if (attempt.firstContentMs !== null && !attempt.wasPaused) {
      attempt.place.streamed(attempt.contentBytes, nowMs - attempt.firstContentMs);
    }
    this.report(attempt, 'answered', '', nowMs);
    if (answer === null) {
      this.usage = addUsage(this.continuation?.prior ?? null, attempt.ownUsage());
      if (this.continuation !== null) this.send(this.continuation.release());
      this.endStream();
      attempt.linger();
    } else {
      this.account.contentCame(nowMs);
      this.usage = answer.usage;
      this.client.whole(answer, this.owner.replyHeaders(this));
    }
    this.over('answered', null);
  }

  attemptFailed(attempt: Attempt, verdict: Verdict): void {
    const nowMs = this.host.clock.nowMs();
    this.stall.stop();
    attempt.place.finished(verdict.outcome, nowMs);
    const isRejected = verdict.outcome.kind === 'rejected';
    this.report(attempt, isRejected ? 'rejected' : 'failed', verdict.reason, nowMs);
    this.note(`${attempt.place.kind} ${attempt.place.name}: ${verdict.reason}`);
    const other = this.race.out(attempt, this.current);
    if (other !== null && this.racesOn(attempt, other, verdict)) return;
    this.account.waitUntil(nowMs);
    this.usage = addUsage(this.continuation?.prior ?? null, attempt.ownUsage());
    if (this.continuation?.hasSent === true || attempt.hasContent) {
      this.goOn(attempt, midAnswer(verdict), nowMs);
      return;
    }
    this.current = null;
    switch (verdict.next) {
      case 'no':
        this.end(verdict.failure);
        return;
      case 'other-model':
        this.search.passOverModel();
        this.next(verdict.failure, false);
        return;
      case 'elsewhere':
        this.retry(attempt, verdict, nowMs);
        return;
    }
  }

  /**
   * One of two attempts is out: the other one goes on. False: what it was told holds for both (the
   * request is at fault), so that the other one is stopped.
   */
  private racesOn(attempt: Attempt, other: Attempt, verdict: Verdict): boolean {
    this.search.exclude(attempt.place);
    this.current = other;
    if (verdict.next === 'no' && !attempt.isHedge) {
      this.stop(other, { kind: 'cancelled' }, 'outraced');
      this.race.close();
      return false;
    }
    this.arm();
    return true;
  }

  /** A second attempt races the first, if there is a place for it and the budget lasts. */
  private startRival(nowMs: number): void {
    const first = this.current;
    assert(first !== null && !first.hasContent, 'a race begins before the first content');
    const choice = this.owner.choose(this.search.otherQuery(first.place, nowMs));
    if (choice.kind !== 'place' || this.attempts >= this.info.attemptsMax) {
      this.race.skip('no-place');
      return;
    }
    assert(keyOf(choice.place) !== keyOf(first.place), 'a race is between two places');
    if (!this.owner.takeHedge(first.place)) {
      this.race.skip('suppressed');
      return;
    }
    const prepared = this.owner.prepare(choice.place, this.request);
    if ('failure' in prepared) {
      this.race.skip('no-place');
      return;
    }
    this.note(`hedge: ${choice.place.kind} ${choice.place.name}: ${choice.place.reason}`);
    const hedge = new Attempt(this.host, this.request, choice.place, this, 'hedge');
    this.attempts += 1;
    this.race.join(hedge);
    hedge.start(prepared.call);
  }

  /** Goes on where the budget lets it, elsewhere unless `isSame`; else the exchange ends. */
  private retry(attempt: Attempt, verdict: Verdict, nowMs: number, isSame = false): void {
    if (!isSame) this.search.exclude(attempt.place);
    if (this.search.takesRetry(verdict, nowMs)) {
      this.next(verdict.failure);
      return;
    }
    this.note('retry budget spent');
    this.end(verdict.failure);
  }

  /** The target died after content was sent: goes on elsewhere, or tells the client honestly. */
  private goOn(attempt: Attempt, verdict: Verdict, nowMs: number): void {
    const { continuation } = this;
    const { place, mode } = attempt;
    if (continuation !== null && mode !== null && !attempt.hasContent && isWayAtFault(verdict)) {
      continuation.refuse(place, mode, verdict.next === 'other-model');
      this.retry(attempt, verdict, nowMs, continuation.ask(place) !== null);
      return;
    }
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
      this.endStream();
      this.over('answered', null);
      return;
    }
    this.retry(attempt, verdict, nowMs);
  }

  /** A stalled stream is better than none: it is given up only for a place that can go on. */
  private givesUp(attempt: Attempt, nowMs: number): boolean {
    if (this.continuation?.canGoOn !== true || this.attempts >= this.info.attemptsMax) return false;
    const other = this.owner.choose(this.search.otherQuery(attempt.place, nowMs));
    if (other.kind === 'none' || !this.search.prepays(nowMs)) return false;
    attempt.fail(judgeStall());
    return true;
  }

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
    const isBegun = this.continuation?.hasSent === true;
    const isSameModel = isBegun && !this.info.mayChangeModel;
    const choice = this.owner.choose(this.search.query(last, isSameModel, nowMs));
    if (choice.kind === 'place') {
      this.search.modelIndex = choice.modelIndex;
      this.begin(choice.place);
      return;
    }
    this.note(choice.why);
    const isRound = mayWait && last !== null && this.search.hasExcluded;
    if (!isRound || !this.waitForRound(last, leftMs)) {
      this.end(last ?? choice.failure);
    }
  }

  /** Every place has failed once: waits and begins again. False: that would take too long. */
  private waitForRound(last: Failure, leftMs: number): boolean {
    const waitMs = this.search.nextRoundMs(last, leftMs);
    if (waitMs === null) return false;
    this.account.waitedMs += waitMs;
    this.note(`wait ${waitMs} ms`);
    this.disarm();
    this.timer = this.host.timers.after(waitMs, () => {
      this.timer = null;
      this.next(last);
    });
    return true;
  }

  private begin(place: Place): void {
    const { continuation } = this;
    const asked =
      continuation === null ? { request: this.request, way: null } : continuation.ask(place);
    const prepared =
      asked === null
        ? { failure: failure('stream_broken', 'The target cannot continue an answer.') }
        : this.owner.prepare(place, asked.request);
    if (asked === null || 'failure' in prepared) {
      // This place cannot take the request at all; another may.
      const told = 'failure' in prepared ? prepared.failure : failure('stream_broken');
      this.note(`${place.kind} ${place.name}: ${told.code}`);
      this.search.exclude(place);
      this.next(told, false);
      return;
    }
    const how = asked.way === null ? '' : `, ${asked.way.mode}`;
    this.note(`${place.kind} ${place.name}: ${place.reason}${how}`);
    const kind = this.attempts > 0 ? 'retry' : 'first';
    const attempt = new Attempt(this.host, asked.request, place, this, kind);
    if (continuation !== null && asked.way !== null) {
      attempt.wrap = continuation.wrap(asked.way);
      attempt.mode = asked.way.mode;
    }
    this.attempts += 1;
    this.current = attempt;
    this.account.waitFrom(attempt.startedMs);
    attempt.start(prepared.call);
    const isRaced = this.request.isStream && this.account.firstContentMs === null;
    this.race.plan(isRaced ? this.owner.hedgeDelayMs(place) : null, attempt.startedMs);
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

  /** The clean end; a client that asked for it is told how the answer came about. */
  private endStream(): void {
    this.client.metadata(this.owner.metadata(this));
    this.client.end();
  }

  /** Ends the exchange with a failure, in whatever way the client can still be told. */
  private end(told: Failure): void {
    if (this.isOver) return;
    const isRefusal = !this.client.hasHead && (this.attempts === 0 || failureStatus(told) < 500);
    if (this.client.hasHead) this.client.metadata(this.owner.metadata(this));
    this.client.fail(told, this.info.requestId, () => this.owner.replyHeaders(this));
    this.over(isRefusal ? 'refused' : 'failed', told.code);
  }

  private over(end: ExchangeEnd, errorCode: ErrorCode | null): void {
    assert(!this.isOver, 'an exchange is over once');
    this.isOver = true;
    this.race.close();
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

  /** Stops what is under way. */
  private dropAttempt(): void {
    this.account.waitUntil(this.host.clock.nowMs());
    for (const attempt of [this.race.rival, this.current]) {
      if (attempt !== null) this.stop(attempt, { kind: 'cancelled' }, 'client-gone');
    }
    this.race.rival = null;
  }

  private dropLoser(loser: Attempt): void {
    this.note(`${loser.place.kind} ${loser.place.name}: outraced`);
    this.stop(loser, { kind: 'outraced' }, 'outraced');
  }

  private stop(attempt: Attempt, outcome: AttemptOutcome, reason: string): void {
    if (attempt.isOver) return;
    const nowMs = this.host.clock.nowMs();
    attempt.cancel();
    attempt.place.finished(outcome, nowMs);
    this.report(attempt, 'cancelled', reason, nowMs);
  }

  private report(attempt: Attempt, end: AttemptReport['end'], reason: string, nowMs: number): void {
    const report = attempt.report(end, reason, nowMs);
    this.account.reports.push(report);
    this.owner.attemptOver(this, report);
  }

  // --- deadlines: one timer for all of them, re-armed when it fires early ---

  private arm(): void {
    const attempt = this.current;
    if (this.isOver || attempt === null) return;
    const { rival, dueMs: hedgeMs } = this.race;
    const rivalMs = rival === null ? Infinity : attemptDueMs(this, rival);
    const ownMs = Math.min(attemptDueMs(this, attempt), commentDueMs(this));
    const dueMs = Math.min(ownMs, rivalMs, hedgeMs, this.stall.dueMs);
    // What is due may come nearer while the timer runs (content began): look again in time.
    const waitMs = Math.ceil(dueMs - this.host.clock.nowMs());
    const delayMs = Math.max(1, Math.min(this.info.deadlines.idleMs, waitMs));
    this.disarm();
    this.timer = this.host.timers.after(delayMs, () => {
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
    for (const one of [this.race.rival, attempt]) {
      const missed = one === null ? null : missedDeadline(this, one, nowMs);
      if (one === null || missed === null) continue;
      one.fail(missed);
      return;
    }
    if (nowMs >= this.race.dueMs) this.startRival(nowMs);
    if (this.isPaused) {
      attempt.lastPieceMs = nowMs; // The client is slow, not the target.
      this.stall.begin(attempt, nowMs);
    } else if (this.stall.isStalled(attempt, nowMs) && this.givesUp(attempt, nowMs)) {
      return;
    }
    if (nowMs >= commentDueMs(this)) this.sendComment(nowMs);
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
