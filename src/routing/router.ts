/**
 * The router of one model in one region: which target takes a request. Eligibility first (holds,
 * health, rest, limits, tiers), then an algorithm among those that are left.
 *
 * R1: an excluded, held, resting (told so) or full target is never picked.
 * R2: the lowest tier with a usable target serves; a target of another tier is not even compared.
 * R3: with no healthy target the router panics rather than refuse: it picks a sick one and says
 *     so (`isPanic`), so that the caller can prefer another region.
 * R4: counters and health survive a reload for targets that stay.
 * R5: what the node's other processes have under way counts in every choice, as they told it last.
 * Held by `router.test.ts`.
 */

import { assert, unreachable } from '../base/assert.ts';
import { ROUTING_LIMITS } from '../base/limits.ts';
import { parseTargetName, type TargetName } from '../base/names.ts';
import type { Prng } from '../base/prng.ts';
import type { Algorithm, AlgorithmRequest } from './algorithms/algorithm.ts';
import { ALGORITHMS } from './algorithms/registry.ts';
import {
  eligible,
  exclusion,
  isSick,
  isUsable,
  stateOf,
  waitMs,
  type Entry,
  type EntryState,
} from './eligibility.ts';
import type { HealthNews } from './health.ts';
import type { AttemptOutcome } from './outcome.ts';
import { isOutlier, outliersMax } from './outliers.ts';
import type { Pace } from './pace.ts';
import { FAILURE_PENALTY_MS } from './peakEwma.ts';
import type { RouteSpec, RouteTarget } from './spec.ts';
import { TargetState, type AttemptToken } from './target.ts';

export type { AttemptToken } from './target.ts';

/** What the router is asked. */
export interface RouteRequest extends AlgorithmRequest {
  /** Targets that this exchange has tried already. */
  readonly excluded: ReadonlySet<TargetName>;
}

/** A pick. */
export interface Pick {
  readonly target: TargetName;
  /** For the trace. */
  readonly reason: string;
  /** The target is not healthy: another region may be the better choice. */
  readonly isPanic: boolean;
  /** Estimated tokens to prefill there, less what a session's cache holds: for `started`. */
  readonly prefillTokens: number;
}

/** One target as `explain` shows it. */
export interface Candidate {
  readonly target: TargetName;
  readonly priority: number;
  /** Configured. */
  readonly weight: number;
  /** After slow start and recent failures. */
  readonly weightEffective: number;
  readonly inFlight: number;
  readonly inFlightMax: number | null;
  readonly queuedTokens: number;
  /** Peak EWMA of the time to first content, ms; null before the first sample. */
  readonly ttftMs: number | null;
  readonly state: EntryState;
  /** What brought it into that state. */
  readonly stateReason: string;
  /** The algorithm's figure, lower is better; null: it has none. */
  readonly score: number | null;
  /** From 1 in the order of score among the eligible; null where it is excluded. */
  readonly rank: number | null;
  /** Why it cannot be picked now; null where it can. */
  readonly excluded: string | null;
}

/** Load and health in few numbers, for other regions. */
export interface ModelDigest {
  /** Targets that can take work now or soon: not held, not ejected. */
  readonly healthy: number;
  readonly total: number;
  readonly inFlight: number;
  readonly queuedTokens: number;
  /** In-flight room left on healthy targets; null: at least one has no limit. */
  readonly roomCount: number | null;
  /** Learned prefill speed of the healthy targets together, tokens per ms; null: not known yet. */
  readonly prefillTokensPerMs: number | null;
  /** Mean time to first content of the healthy targets, ms; null: not known yet. */
  readonly ttftMeanMs: number | null;
}

/** A change of one target's health, for the observer. */
export interface HealthEvent {
  readonly target: TargetName;
  readonly state: EntryState;
  readonly reason: string;
}

/** Probes are due within this share of the interval around it, so that nodes do not march. */
const PROBE_JITTER_SHARE = 0.2;

/** Routes one model's requests. All times are ms of one monotonic clock. */
export class ModelRouter {
  readonly spec: RouteSpec;
  readonly #onHealth: (event: HealthEvent) => void;
  readonly #entries: readonly Entry[];
  readonly #byTarget: ReadonlyMap<TargetName, Entry>;
  readonly #tiers: readonly (readonly Entry[])[];
  readonly #algorithm: Algorithm;

  /**
   * `previous`: the router of the configuration before; targets that stay keep counters and health.
   * `nowMs` begins the slow start of targets that join those; `onHealth` hears every change of
   * health when it is noticed; `algorithm` stands in for the named one, for measurements.
   */
  constructor(
    spec: RouteSpec,
    previous?: ModelRouter,
    nowMs = 0,
    onHealth: (event: HealthEvent) => void = () => {},
    algorithm: Algorithm | null = null,
  ) {
    assert(
      spec.targets.length <= ROUTING_LIMITS.targetsPerModelMax,
      'the configuration bounds the targets of a model',
    );
    this.spec = spec;
    this.#onHealth = onHealth;
    // A newcomer joins others that carry load; at the start all are equally cold.
    const hasVeterans = spec.targets.some((route) => previous?.has(route.target) === true);
    const joinedMs = hasVeterans ? nowMs : null;
    this.#entries = spec.targets.map((route) => ({
      route,
      state: previous?.stateOf(route.target) ?? new TargetState(route.target, joinedMs),
    }));
    this.#byTarget = new Map(this.#entries.map((entry) => [entry.route.target, entry]));
    assert(this.#byTarget.size === this.#entries.length, 'the targets of a model are distinct');
    const priorities = [...new Set(spec.targets.map((route) => route.priority))];
    this.#tiers = priorities
      .toSorted((a, b) => a - b)
      .map((priority) => this.#entries.filter((entry) => entry.route.priority === priority));
    const isSame = previous !== undefined && previous.spec.algorithm === spec.algorithm;
    const kept = isSame ? previous.algorithm : ALGORITHMS[spec.algorithm]();
    this.#algorithm = algorithm ?? kept;
  }

  /** The algorithm with its memory, for the router that replaces this one. */
  get algorithm(): Algorithm {
    return this.#algorithm;
  }

  /** The state of a target, for the router that replaces this one. */
  stateOf(target: TargetName): TargetState | undefined {
    return this.#byTarget.get(target)?.state;
  }

  /** How the streams of a target go; null: there is no such target. */
  paceOf(target: string): Pace | null {
    const name = parseTargetName(target);
    return name.ok ? (this.stateOf(name.value)?.pace ?? null) : null;
  }

  has(target: TargetName): boolean {
    return this.#byTarget.has(target);
  }

  /** Picks a target; null: none can take the request (see `earliestRetryMs`). */
  pick(request: RouteRequest, nowMs: number, prng: Prng): Pick | null {
    const found = eligible(this.#tiers, this.spec.health, request.excluded, nowMs);
    if (found === null) return null;
    const members: TargetState[] = [];
    for (const { route, state } of found.entries) {
      this.#weigh(route, state, nowMs);
      members.push(state);
    }
    const choice = this.#algorithm.pick(request, members, nowMs, prng);
    const { target } = choice.member;
    const entry = this.#byTarget.get(target);
    assert(entry !== undefined, 'an algorithm picks one of the members it was given');
    const isPanic = found.isPanic && !isUsable(entry, this.spec.health, nowMs);
    return {
      target,
      reason: isPanic ? `panic: ${choice.reason}` : choice.reason,
      isPanic,
      prefillTokens: choice.prefillTokens,
    };
  }

  /**
   * An attempt begins. `promptTokens`: the pick's `prefillTokens`, or the whole prompt.
   * `isStream`: its first content is a first token, not a whole answer.
   */
  started(target: TargetName, promptTokens: number, nowMs: number, isStream = false): AttemptToken {
    const entry = this.#byTarget.get(target);
    assert(entry !== undefined, 'an attempt goes to a target of this model');
    const { state } = entry;
    const trialRound = state.health.began(nowMs);
    state.ownInFlight += 1;
    state.ownQueuedTokens += promptTokens;
    this.#tell(state, nowMs);
    return {
      state,
      promptTokens,
      tokensAhead: state.queuedTokens,
      startedMs: nowMs,
      trialRound,
      isStream,
      hasContent: false,
      isFinished: false,
    };
  }

  /** The first content came. Further calls for the same attempt do nothing. */
  firstContent(token: AttemptToken, nowMs: number): void {
    if (token.hasContent || token.isFinished) return;
    token.hasContent = true;
    const { state } = token;
    state.unqueue(token.promptTokens);
    const ttftMs = Math.max(0, nowMs - token.startedMs);
    state.learn(ttftMs, token.tokensAhead, nowMs);
    if (token.isStream) state.pace.firstTokens.observe(ttftMs);
    state.health.sawContent(token.trialRound, nowMs);
    this.#tell(state, nowMs);
  }

  /** The attempt is over. Exactly once for each `started`. */
  finished(token: AttemptToken, outcome: AttemptOutcome, nowMs: number): void {
    assert(!token.isFinished, 'an attempt ends once');
    // An answer that was not streamed has its first content with its end.
    if (outcome.kind === 'answered') this.firstContent(token, nowMs);
    token.isFinished = true;
    const { state } = token;
    state.ownInFlight -= 1;
    assert(state.ownInFlight >= 0, 'what ends was started');
    if (!token.hasContent) state.unqueue(token.promptTokens);
    if (token.trialRound > 0) state.health.trialEnded(token.trialRound);
    this.#judge(token, outcome, nowMs);
    this.#tell(state, nowMs);
  }

  /** Every target with its figures and why it cannot be picked, the likeliest first. */
  explain(request: RouteRequest, nowMs: number): readonly Candidate[] {
    const found = eligible(this.#tiers, this.spec.health, request.excluded, nowMs);
    const candidates = found?.entries ?? [];
    for (const { route, state } of this.#entries) this.#weigh(route, state, nowMs);
    const members = candidates.map(({ state }) => state);
    const rows = this.#entries.map((entry) => {
      const { route, state } = entry;
      const isEligible = candidates.includes(entry);
      return {
        target: route.target,
        priority: route.priority,
        weight: route.weight,
        weightEffective: state.weight,
        inFlight: state.inFlight,
        inFlightMax: route.inFlightMax,
        queuedTokens: state.queuedTokens,
        ttftMs: state.ttft.samples === 0 ? null : state.ttft.valueMs(nowMs),
        state: stateOf(entry, this.spec.health, nowMs),
        stateReason: state.health.reason,
        score:
          isEligible || route.weight > 0
            ? this.#algorithm.score(request, state, isEligible ? members : [state], nowMs)
            : null,
        excluded: isEligible ? null : exclusion(entry, this.spec.health, request.excluded, nowMs),
      };
    });
    const order = rows
      .filter((row) => row.excluded === null)
      .toSorted((a, b) => (a.score ?? -a.weightEffective) - (b.score ?? -b.weightEffective));
    const ranked = order.map((row, index) => ({ ...row, rank: index + 1 }));
    const others = rows.filter((row) => row.excluded !== null);
    return [...ranked, ...others.map((row) => ({ ...row, rank: null }))];
  }

  /** What a score of `explain` means. */
  get scoreMeaning(): string {
    return this.#algorithm.scoreMeaning;
  }

  /** True while a request would find a target that is not sick. */
  isAvailable(nowMs: number): boolean {
    return this.#entries.some((entry) => isUsable(entry, this.spec.health, nowMs));
  }

  /** Every target rests because requests to it are over a limit: the client's turn to wait. */
  isOverLimit(nowMs: number): boolean {
    const entries = this.#entries;
    return entries.length > 0 && entries.every(({ state }) => state.health.isOverLimit(nowMs));
  }

  /** Ms until a target may take work again, for Retry-After; 0: now; null: there is no target. */
  earliestRetryMs(nowMs: number): number | null {
    let earliest: number | null = null;
    for (const entry of this.#entries) {
      if (entry.route.weight <= 0) continue;
      const ms = waitMs(entry, this.spec.health, nowMs);
      if (earliest === null || ms < earliest) earliest = ms;
    }
    return earliest;
  }

  /** Load and health in few numbers. */
  digest(nowMs: number): ModelDigest {
    let healthy = 0;
    let inFlight = 0;
    let queuedTokens = 0;
    let room = 0;
    let hasLimits = true;
    let speed = 0;
    let ttftSum = 0;
    let ttftCount = 0;
    for (const entry of this.#entries) {
      const { route, state } = entry;
      this.#tell(state, nowMs);
      inFlight += state.inFlight;
      queuedTokens += state.queuedTokens;
      const health = stateOf(entry, this.spec.health, nowMs);
      if (isSick(health) || health === 'held' || route.weight <= 0) continue;
      healthy += 1;
      if (route.inFlightMax === null) hasLimits = false;
      else room += Math.max(0, route.inFlightMax - state.inFlight);
      speed += state.prefillTokensPerMs ?? 0;
      if (state.ttftMeanMs === null) continue;
      ttftSum += state.ttftMeanMs;
      ttftCount += 1;
    }
    return {
      healthy,
      total: this.#entries.length,
      inFlight,
      queuedTokens,
      roomCount: hasLimits ? room : null,
      prefillTokensPerMs: speed > 0 ? speed : null,
      ttftMeanMs: ttftCount > 0 ? ttftSum / ttftCount : null,
    };
  }

  /** Targets whose active probe is due now; each is due again after the interval, with jitter. */
  probesDue(nowMs: number, prng: Prng): readonly TargetName[] {
    const intervalMs = this.spec.health.probeIntervalMs;
    if (intervalMs <= 0) return [];
    const due: TargetName[] = [];
    for (const { route, state } of this.#entries) {
      this.#tell(state, nowMs);
      if (nowMs < state.probeDueMs) continue;
      const jitter = 1 + PROBE_JITTER_SHARE * (2 * prng.nextFloat() - 1);
      // The first probe of a target comes at a random time of the interval.
      const isFirst = state.probeDueMs === -Infinity;
      state.probeDueMs = nowMs + intervalMs * (isFirst ? prng.nextFloat() : jitter);
      if (!isFirst) due.push(route.target);
    }
    return due;
  }

  /** The result of an active probe. Unknown targets are ignored: a reload may have come between. */
  setProbe(target: TargetName, isHealthy: boolean, nowMs: number): void {
    const state = this.stateOf(target);
    if (state === undefined) return;
    state.health.probed(isHealthy, nowMs);
    this.#tell(state, nowMs);
  }

  /** The operator takes a target out (`isHeld`) or puts it back. False: there is no such target. */
  hold(target: TargetName, isHeld: boolean, nowMs: number): boolean {
    const state = this.stateOf(target);
    if (state === undefined) return false;
    state.isHeld = isHeld;
    this.#tell(state, nowMs);
    return true;
  }

  /** What this process has under way at targets, where it changed since it was asked last. */
  eachNewLoad(visit: (target: TargetName, inFlight: number, queuedTokens: number) => void): void {
    for (const { state } of this.#entries) {
      const { ownInFlight, ownQueuedTokens } = state;
      const isSame =
        ownInFlight === state.toldInFlight && ownQueuedTokens === state.toldQueuedTokens;
      if (isSame) continue;
      state.toldInFlight = ownInFlight;
      state.toldQueuedTokens = ownQueuedTokens;
      visit(state.target, ownInFlight, ownQueuedTokens);
    }
  }

  /** What the node's other processes have under way there (R5). Unknown targets are ignored. */
  setElsewhere(target: TargetName, inFlight: number, queuedTokens: number): void {
    const state = this.stateOf(target);
    if (state === undefined) return;
    state.elsewhereInFlight = inFlight;
    state.elsewhereQueuedTokens = queuedTokens;
  }

  /** What this process has learned of the targets' health since it was asked last. */
  eachNews(visit: (target: TargetName, news: HealthNews) => void, nowMs: number): void {
    for (const { state } of this.#entries) {
      const news = state.health.takeNews(nowMs);
      if (news !== null) visit(state.target, news);
    }
  }

  /** What a process of the node that begins has to know of the targets. */
  eachStanding(visit: (target: TargetName, news: HealthNews) => void, nowMs: number): void {
    for (const { state } of this.#entries) {
      const news = state.health.standing(nowMs);
      if (news !== null) visit(state.target, news);
    }
  }

  /** What another process of the node has learned. Unknown targets are ignored. */
  hearNews(target: TargetName, news: HealthNews, nowMs: number): void {
    const state = this.stateOf(target);
    if (state === undefined) return;
    state.health.hear(news, this.spec.health, nowMs);
    if (news.failed > 0) this.#judgeOutlier(state, nowMs);
    this.#tell(state, nowMs);
  }

  #weigh(route: RouteTarget, state: TargetState, nowMs: number): void {
    state.baseWeight = Math.max(1, route.weight);
    const share = state.health.slowStartShare(this.spec.health, nowMs);
    state.weight = state.baseWeight * share * state.health.successShare(nowMs);
  }

  #judge(token: AttemptToken, outcome: AttemptOutcome, nowMs: number): void {
    const { state } = token;
    switch (outcome.kind) {
      case 'answered':
      case 'rejected':
        state.health.succeeded(nowMs);
        return;
      case 'rate-limited':
      case 'overloaded':
        state.health.restFor(outcome.retryAfterMs, nowMs, outcome.kind === 'rate-limited');
        return;
      case 'failed':
        state.ttft.observe(Math.max(nowMs - token.startedMs, FAILURE_PENALTY_MS), nowMs);
        state.health.failed(outcome.phase, token.trialRound, this.spec.health, nowMs);
        this.#judgeOutlier(state, nowMs);
        return;
      case 'stalled':
        state.health.stalled(nowMs);
        return;
      case 'outraced':
        // Left out, the slow ones would be missing from what is known of the target.
        state.ttft.observe(Math.max(0, nowMs - token.startedMs), nowMs);
        state.pace.firstTokens.observe(Math.max(0, nowMs - token.startedMs));
        return;
      case 'cancelled':
        return;
      default:
        return unreachable(outcome);
    }
  }

  /** Ejects a target that fails more than the others, unless enough are out by comparison. */
  #judgeOutlier(state: TargetState, nowMs: number): void {
    const own = state.health.window(nowMs);
    const others = this.#entries.filter((entry) => entry.state !== state);
    const windows = others.map((entry) => entry.state.health.window(nowMs));
    if (!isOutlier(own, windows)) return;
    const out = others.filter((entry) => isSick(stateOf(entry, this.spec.health, nowMs))).length;
    if (out >= outliersMax(this.#entries.length, this.spec.health.ejectedPercentMax)) return;
    const percent = Math.round((100 * own.failed) / (own.answered + own.failed));
    state.health.ejectOutlier(this.spec.health, nowMs, `${percent} % failures: an outlier`);
  }

  #tell(state: TargetState, nowMs: number): void {
    const now = state.isHeld ? 'held' : state.health.state(this.spec.health, nowMs);
    if (now === state.stateTold) return;
    state.stateTold = now;
    const reason = now === 'held' ? 'held by the operator' : state.health.reason;
    this.#onHealth({ target: state.target, state: now, reason });
  }
}
