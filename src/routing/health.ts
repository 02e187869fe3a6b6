/**
 * The health of one target: circuit breaker, outlier ejection, slow start, rest after a 429, active
 * probes. A state machine without a clock: time comes with each call.
 *
 *   closed --failures--> open --time--> half-open --trial answers--> closed (slow start)
 *                          ^---------------- trial fails ----------------'
 *
 * H1: only the target's own failures open it: not a client's fault, a 429, a cancelled attempt.
 * H2: the n-th ejection in a row lasts base * 2^(n-1), at most the maximum; each base time without
 *     one takes one off n (Envoy's rule, but doubling where Envoy adds).
 * H3: half-open takes at most `TRIALS_MAX` requests at a time.
 * H4: a stream that breaks after its first content is a failure like any other, and only a whole
 *     answer clears the count: a target that always dies in mid-stream does not stay.
 * H5: processes of one node that tell each other their news (`takeNews`, `hear`) come to the same
 *     verdict as one process that saw it all, as late as the news; H3 holds in each of them.
 * Held by `health.test.ts`.
 */

import { ROUTING_LIMITS } from '../base/limits.ts';
import type { HealthSpec } from './spec.ts';

/**
 * Defaults. 5 failures, panic 50 %: Envoy. Base 10 s doubling to 300 s, at most half of the pool:
 * a pool of model servers is small, so that Envoy's 30 s and 10 % would be too slow and nothing.
 * Slow start 30 s: a cold model server fills its caches in about that time.
 */
export const HEALTH_DEFAULTS: HealthSpec = {
  consecutiveFailuresMax: 5,
  ejectBaseMs: 10_000,
  ejectMaxMs: 300_000,
  ejectedPercentMax: 50,
  panicPercent: 50,
  slowStartMs: 30_000,
  probeIntervalMs: 5_000,
};

/** Requests at a time that a half-open target takes. */
export const TRIALS_MAX = 2;
/** First contents that close a half-open target. */
export const TRIALS_ANSWERED_MIN = 2;
/** Failed probes in a row that take a target out; one good probe brings it back. */
export const PROBE_FAILURES_MAX = 2;
/** Share of its weight that a target in slow start begins with (Envoy's minimum). */
export const SLOW_START_SHARE_MIN = 0.1;
/** Rest after a 429 or an overload that names no time: doubles while they go on. */
export const REST_BASE_MS = 1_000;
export const REST_UNTOLD_MS_MAX = 30_000;

const WINDOW_BUCKETS = 6;
const WINDOW_BUCKET_MS = 10_000;

/** What a target's health says of it. `full`, `excluded` and `held` are not health. */
export type HealthState =
  | 'healthy'
  | 'slow-start'
  /** Asked for rest (429, Retry-After). */
  | 'resting'
  | 'half-open'
  /** Taken out for its failures. */
  | 'ejected'
  /** Taken out because nothing answers there: refused connections or failed probes. */
  | 'unreachable';

/** Why a target failed. */
export type FailurePhase = 'connect' | 'before-content' | 'mid-stream';

/** What one process saw of a target since it told last, for the node's other processes. */
export interface HealthNews {
  /** Whole answers, and failures. */
  readonly answered: number;
  readonly failed: number;
  /** Failures after the last of those answers. */
  readonly trailing: number;
  /** Of the last failure. */
  readonly phase: FailurePhase;
  /** It was taken out, for so long from now, ms; null: it was not. */
  readonly openMs: number | null;
  /** Ejections in a row, this one included. */
  readonly ejections: number;
  /** Its trials were answered: it is back. */
  readonly isBack: boolean;
  /** It asked for rest, for so long from now, ms; null: it did not. */
  readonly restMs: number | null;
  readonly isRestTold: boolean;
  readonly isRestLimit: boolean;
  /** Probes that failed in a row, for a process that begins; 0 in all other news. */
  readonly probesFailed: number;
  readonly reason: string;
}

/** Health of one target. */
export class TargetHealth {
  #breaker: 'closed' | 'open' | 'half-open' = 'closed';
  #openUntilMs = 0;
  #closedSinceMs = -Infinity;
  #ejections = 0;
  #consecutiveFailures = 0;
  #lastPhase: FailurePhase = 'before-content';
  #reason = 'new';
  #trialRound = 0;
  #trials = 0;
  #trialsAnswered = 0;
  #slowStartMs: number | null;
  #restUntilMs = 0;
  #restIsLimit = false;
  #restIsTold = false;
  #rests = 0;
  #probeFailures = 0;
  // Not told yet to the node's other processes.
  #newAnswered = 0;
  #newFailed = 0;
  #newTrailing = 0;
  #isOpenNew = false;
  #isBackNew = false;
  #isRestNew = false;
  readonly #answered = Array.from({ length: WINDOW_BUCKETS }, () => 0);
  readonly #failed = Array.from({ length: WINDOW_BUCKETS }, () => 0);
  #bucket = 0;

  /** `joinedMs`: it joined targets that already serve: slow start; null: all begin together. */
  constructor(joinedMs: number | null) {
    this.#slowStartMs = joinedMs;
  }

  /** What brought it into its state. */
  get reason(): string {
    return this.#reason;
  }

  get consecutiveFailures(): number {
    return this.#consecutiveFailures;
  }

  /** True while it may take one more trial. */
  get hasTrialRoom(): boolean {
    return this.#trials < TRIALS_MAX;
  }

  /** Until when it asked for rest. `isTold`: it said so itself; else the rest is our guess. */
  rest(): { readonly untilMs: number; readonly isTold: boolean } {
    return { untilMs: this.#restUntilMs, isTold: this.#restIsTold };
  }

  /** It rests because requests to it are over a limit. */
  isOverLimit(nowMs: number): boolean {
    return this.#restIsLimit && nowMs < this.#restUntilMs;
  }

  /** When an ejection ends; null where there is none. */
  openUntilMs(): number | null {
    return this.#breaker === 'open' ? this.#openUntilMs : null;
  }

  /** The state at `nowMs`; an ejection whose time is over has become half-open. */
  state(spec: HealthSpec, nowMs: number): HealthState {
    if (this.#probeFailures >= PROBE_FAILURES_MAX) return 'unreachable';
    if (this.#breaker === 'open' && nowMs < this.#openUntilMs) {
      return this.#lastPhase === 'connect' ? 'unreachable' : 'ejected';
    }
    if (this.#breaker !== 'closed') return 'half-open';
    if (nowMs < this.#restUntilMs) return 'resting';
    return this.slowStartShare(spec, nowMs) < 1 ? 'slow-start' : 'healthy';
  }

  /** Share of its weight, `SLOW_START_SHARE_MIN` to 1: a linear ramp. */
  slowStartShare(spec: HealthSpec, nowMs: number): number {
    if (this.#slowStartMs === null || spec.slowStartMs <= 0) return 1;
    const share = (nowMs - this.#slowStartMs) / spec.slowStartMs;
    return Math.min(1, Math.max(SLOW_START_SHARE_MIN, share));
  }

  /**
   * Share of its weight that recent outcomes leave it, above 0 to 1: smoothed success rate, divided
   * by 1 + failures in a row. It keeps traffic off a failing target before it is ejected.
   */
  successShare(nowMs: number): number {
    const { answered, failed } = this.window(nowMs);
    return (answered + 2) / (answered + failed + 2) / (1 + this.#consecutiveFailures);
  }

  /** Outcomes of the last minute. */
  window(nowMs: number): { readonly answered: number; readonly failed: number } {
    this.#turn(nowMs);
    let answered = 0;
    let failed = 0;
    for (let index = 0; index < WINDOW_BUCKETS; index += 1) {
      answered += this.#answered[index] ?? 0;
      failed += this.#failed[index] ?? 0;
    }
    return { answered, failed };
  }

  /**
   * An attempt begins. Above 0: it is a trial of that ejection (half-open, or in panic), and its
   * end must say so. Attempts from before the ejection prove nothing, whatever their end.
   */
  began(nowMs: number): number {
    if (this.#breaker === 'closed') return 0;
    if (nowMs >= this.#openUntilMs) this.#breaker = 'half-open';
    this.#trials += 1;
    return this.#trialRound;
  }

  /** A trial of `round` is over, whatever its end. */
  trialEnded(round: number): void {
    if (round === this.#trialRound && this.#trials > 0) this.#trials -= 1;
  }

  /** The first content came. Enough trials of the present ejection close the breaker. */
  sawContent(round: number, nowMs: number): void {
    this.#rests = 0;
    if (this.#breaker === 'closed' || round !== this.#trialRound) return;
    this.#trialsAnswered += 1;
    if (this.#trialsAnswered >= TRIALS_ANSWERED_MIN) this.#close(nowMs, 'trials were answered');
  }

  /** A whole answer, or a refusal that was the client's fault. */
  succeeded(nowMs: number): void {
    this.#turn(nowMs);
    const slot = this.#bucket % WINDOW_BUCKETS;
    this.#answered[slot] = (this.#answered[slot] ?? 0) + 1;
    this.#newAnswered += 1;
    this.#newTrailing = 0;
    this.#consecutiveFailures = 0;
    this.#probeFailures = 0; // Traffic knows better than a probe.
  }

  /** A failure of the target: enough in a row, or one in a trial of `round`, take it out. */
  failed(phase: FailurePhase, round: number, spec: HealthSpec, nowMs: number): void {
    this.#turn(nowMs);
    const slot = this.#bucket % WINDOW_BUCKETS;
    this.#failed[slot] = (this.#failed[slot] ?? 0) + 1;
    this.#consecutiveFailures += 1;
    this.#newFailed += 1;
    this.#newTrailing += 1;
    if (this.#breaker === 'open') return; // A straggler, or a try in panic: judged already.
    this.#lastPhase = phase;
    if (this.#breaker === 'half-open') {
      if (round === this.#trialRound) this.#open(spec, nowMs, `a trial failed (${phase})`);
      return;
    }
    this.#openAfterRow(spec, nowMs);
  }

  /** A stream of it stalled: it gets less work, but no row of failures ejects it. */
  stalled(nowMs: number): void {
    this.#turn(nowMs);
    const slot = this.#bucket % WINDOW_BUCKETS;
    this.#failed[slot] = (this.#failed[slot] ?? 0) + 1;
  }

  /** Taken out by comparison with the others. */
  ejectOutlier(spec: HealthSpec, nowMs: number, reason: string): void {
    if (this.#breaker === 'closed') this.#open(spec, nowMs, reason);
  }

  /**
   * It asked for rest; null: it did not say how long. No blame (H1). `isOverLimit`: a limit of
   * ours at the target (429), not its own overload.
   */
  restFor(retryAfterMs: number | null, nowMs: number, isOverLimit = false): void {
    this.#restIsLimit = isOverLimit;
    const wasResting = nowMs < this.#restUntilMs;
    const untoldMs = Math.min(REST_UNTOLD_MS_MAX, REST_BASE_MS * 2 ** Math.min(this.#rests, 10));
    const ms = Math.min(retryAfterMs ?? untoldMs, ROUTING_LIMITS.restMsMax);
    // Answers to requests that were sent together count as one.
    if (!wasResting) this.#rests += 1;
    this.#restIsTold = retryAfterMs !== null || (wasResting && this.#restIsTold);
    this.#restUntilMs = Math.max(this.#restUntilMs, nowMs + ms);
    this.#reason = `it asked for rest (${Math.round(ms)} ms)`;
    this.#isRestNew = true;
  }

  /** What the node's other processes have not been told; null: nothing. */
  takeNews(nowMs: number): HealthNews | null {
    const hasEvents = this.#isOpenNew || this.#isBackNew || this.#isRestNew;
    if (!hasEvents && this.#newAnswered === 0 && this.#newFailed === 0) return null;
    const isOpen = this.#isOpenNew && this.#breaker === 'open';
    const news: HealthNews = {
      answered: this.#newAnswered,
      failed: this.#newFailed,
      trailing: this.#newTrailing,
      phase: this.#lastPhase,
      openMs: isOpen ? Math.max(0, this.#openUntilMs - nowMs) : null,
      ejections: this.#ejections,
      isBack: this.#isBackNew && this.#breaker === 'closed',
      restMs: this.#isRestNew ? Math.max(0, this.#restUntilMs - nowMs) : null,
      isRestTold: this.#restIsTold,
      isRestLimit: this.#restIsLimit,
      probesFailed: 0,
      reason: this.#reason,
    };
    this.#newAnswered = this.#newFailed = this.#newTrailing = 0;
    this.#isOpenNew = this.#isBackNew = this.#isRestNew = false;
    return news;
  }

  /** What a process that begins has to know; null: nothing. */
  standing(nowMs: number): HealthNews | null {
    const isOpen = this.#breaker === 'open' && nowMs < this.#openUntilMs;
    const isResting = nowMs < this.#restUntilMs;
    if (!isOpen && !isResting && this.#probeFailures === 0) return null;
    return {
      answered: 0,
      failed: 0,
      trailing: 0,
      phase: this.#lastPhase,
      openMs: isOpen ? this.#openUntilMs - nowMs : null,
      ejections: this.#ejections,
      isBack: false,
      restMs: isResting ? this.#restUntilMs - nowMs : null,
      isRestTold: this.#restIsTold,
      isRestLimit: this.#restIsLimit,
      probesFailed: this.#probeFailures,
      reason: this.#reason,
    };
  }

  /** Takes what another process of the node saw (H5). It is not told on. */
  hear(news: HealthNews, spec: HealthSpec, nowMs: number): void {
    this.#turn(nowMs);
    const slot = this.#bucket % WINDOW_BUCKETS;
    this.#answered[slot] = (this.#answered[slot] ?? 0) + news.answered;
    this.#failed[slot] = (this.#failed[slot] ?? 0) + news.failed;
    if (news.failed > 0) this.#lastPhase = news.phase;
    if (news.answered > 0) this.#probeFailures = 0;
    this.#probeFailures = Math.max(this.#probeFailures, news.probesFailed);
    this.#consecutiveFailures =
      news.answered > 0 ? news.trailing : this.#consecutiveFailures + news.failed;
    if (news.restMs !== null) this.#hearRest(news, news.restMs, nowMs);
    if (news.isBack && this.#breaker !== 'closed') {
      this.#close(nowMs, news.reason);
      this.#isBackNew = false;
    }
    if (news.openMs !== null) this.#hearOpen(news, nowMs + news.openMs);
    else if (this.#breaker === 'closed' && news.failed > 0) this.#openAfterRow(spec, nowMs);
  }

  #hearOpen(news: HealthNews, untilMs: number): void {
    this.#lastPhase = news.phase;
    this.#ejections = Math.max(this.#ejections, news.ejections);
    if (this.#breaker === 'open') {
      this.#openUntilMs = Math.max(this.#openUntilMs, untilMs);
    } else {
      this.#openUntil(untilMs, news.reason);
    }
  }

  #hearRest(news: HealthNews, restMs: number, nowMs: number): void {
    const isResting = nowMs < this.#restUntilMs;
    this.#restIsLimit = news.isRestLimit;
    this.#restIsTold = news.isRestTold || (isResting && this.#restIsTold);
    this.#restUntilMs = Math.max(this.#restUntilMs, nowMs + restMs);
    this.#reason = news.reason;
  }

  #openAfterRow(spec: HealthSpec, nowMs: number): void {
    if (this.#consecutiveFailures < spec.consecutiveFailuresMax) return;
    this.#open(spec, nowMs, `${this.#consecutiveFailures} failures in a row (${this.#lastPhase})`);
  }

  /** The result of an active probe. */
  probed(isHealthy: boolean, nowMs: number): void {
    if (!isHealthy) {
      this.#probeFailures += 1;
      if (this.#probeFailures === PROBE_FAILURES_MAX) {
        this.#reason = `${PROBE_FAILURES_MAX} probes failed`;
      }
      return;
    }
    const wasOut = this.#probeFailures >= PROBE_FAILURES_MAX;
    this.#probeFailures = 0;
    // A probe proves that somebody listens, not that generation works: it ends an ejection for
    // refused connections (Envoy's successful_active_health_check_uneject_host), no other.
    const isBack = this.#breaker === 'closed' ? wasOut : this.#lastPhase === 'connect';
    if (isBack) this.#close(nowMs, 'a probe was answered');
  }

  #open(spec: HealthSpec, nowMs: number, reason: string): void {
    const quietMs = nowMs - this.#closedSinceMs;
    if (this.#breaker === 'closed' && spec.ejectBaseMs > 0) {
      this.#ejections = Math.max(0, this.#ejections - Math.floor(quietMs / spec.ejectBaseMs));
    }
    const ms = Math.min(spec.ejectMaxMs, spec.ejectBaseMs * 2 ** Math.min(this.#ejections, 30));
    this.#ejections += 1;
    this.#openUntil(nowMs + ms, reason);
    this.#isOpenNew = true;
  }

  #openUntil(untilMs: number, reason: string): void {
    this.#breaker = 'open';
    this.#trialRound += 1;
    this.#openUntilMs = untilMs;
    this.#trials = 0;
    this.#trialsAnswered = 0;
    this.#reason = reason;
  }

  #close(nowMs: number, reason: string): void {
    this.#breaker = 'closed';
    this.#closedSinceMs = nowMs;
    this.#slowStartMs = nowMs;
    this.#isBackNew = true;
    this.#consecutiveFailures = 0;
    this.#trials = 0;
    this.#trialsAnswered = 0;
    this.#reason = reason;
    // The failures that led here are judged; only what comes now counts.
    this.#answered.fill(0);
    this.#failed.fill(0);
  }

  /** Moves the window to `nowMs`, emptying the buckets that it passes. */
  #turn(nowMs: number): void {
    const bucket = Math.floor(Math.max(0, nowMs) / WINDOW_BUCKET_MS);
    const steps = Math.min(bucket - this.#bucket, WINDOW_BUCKETS);
    for (let step = 0; step < steps; step += 1) {
      const slot = (bucket - step + WINDOW_BUCKETS) % WINDOW_BUCKETS;
      this.#answered[slot] = 0;
      this.#failed[slot] = 0;
    }
    this.#bucket = Math.max(this.#bucket, bucket);
  }
}
