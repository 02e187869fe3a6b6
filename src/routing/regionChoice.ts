/**
 * Which other region takes a request: a cost in ms for each, the lowest wins, with hysteresis.
 *
 *   cost = round trip + (tokens queued there + sent by us since its digest + own) / prefill speed
 *        + crowd + age penalty
 *
 * C1: a region that is down, draining, without healthy targets, tried already or that the request
 *     may not be inferred in is never chosen.
 * C2: a suspect region, one with an old digest, one that just failed us, and one that an operator
 *     has drained are chosen only where no better one is left.
 * C3: own traffic that a digest cannot know yet counts, so that a burst does not follow a stale
 *     view to one region (Mitzenmacher's herding; correction as in `docs/internals/balancing.md`).
 * C4: the last choice is kept until another is better by more than `HYSTERESIS_MS` and
 *     `HYSTERESIS_SHARE`: caches stay warm and small noise moves nothing.
 * C5: the cost of a region counts 100 / weight times.
 * Held by `regionChoice.test.ts`.
 */

import { ROUTING_LIMITS } from '../base/limits.ts';
import { REGION_RECORD_LIMITS } from '../base/regionLimits.ts';
import type { RegionName } from '../base/names.ts';
import { PRIORITIES, rankOf, type Priority } from './admission.ts';
import type { AttemptOutcome } from './outcome.ts';

/** What is known of one region, for one model. */
export interface RegionCandidate {
  readonly region: RegionName;
  /** Round trip, ms. */
  readonly rttMs: number;
  /** The failure detector's word. */
  readonly state: 'up' | 'suspect' | 'down';
  /** Its phi, for `explain`; null where it has none. */
  readonly phi: number | null;
  /** The link to it is there. */
  readonly isReachable: boolean;
  /** It stops: it takes nothing new. */
  readonly isDraining: boolean;
  /** An operator wants others to have its work: it takes what nobody else can. */
  readonly isDrained: boolean;
  /** The request may be inferred there. */
  readonly isAllowed: boolean;
  readonly weight: number;
  readonly healthyTargets: number;
  readonly inFlight: number;
  readonly queuedTokens: number;
  /** Of its healthy targets together, tokens per ms; null: not known yet. */
  readonly prefillTokensPerMs: number | null;
  /** Age of the figures when read, network delay included, ms; null: no digest has come. */
  readonly digestAgeMs: number | null;
}

/** One request, as far as the choice of a region is concerned. */
export interface RegionRequest {
  readonly promptTokens: number;
  /** Regions that this exchange has tried already. */
  readonly excluded: ReadonlySet<string>;
  /** Cost of serving here, ms; null: it cannot be served here. */
  readonly localCostMs: number | null;
  /** Its class under load; absent: the highest. */
  readonly priority?: Priority;
}

/** A chosen region. */
export interface RegionPick {
  readonly region: RegionName;
  readonly costMs: number;
  readonly reason: string;
  /** No better one was left (C2). */
  readonly isLastResort: boolean;
}

/** One region as `explain` shows it. */
export interface RegionRow {
  readonly region: RegionName;
  readonly rttMs: number;
  readonly state: RegionCandidate['state'];
  readonly phi: number | null;
  readonly healthyTargets: number;
  readonly digestAgeMs: number | null;
  /** Cost, ms, and its parts; null where it is excluded for good. */
  readonly costMs: number | null;
  readonly waitMs: number | null;
  readonly agePenaltyMs: number | null;
  /** Why it is not chosen whatever its cost; null: it is a candidate. */
  readonly excluded: string | null;
  /** Why it is chosen last (C2); null: it is as good as any. */
  readonly lastResort: string | null;
}

const RANK_MAX = PRIORITIES.length - 1;
/** A move must gain more than this, ms. */
export const HYSTERESIS_MS = 30;
/** And more than this share of the cost that it leaves. */
export const HYSTERESIS_SHARE = 0.15;
/** Digests come every 100 ms; older than this they are worth less, ms. */
const AGE_FREE_MS = 300;
/** Cost per ms of age beyond that. */
const AGE_PENALTY = 0.5;
/** Figures older than this are hardly worth more than none, ms. */
const AGE_STALE_MS = 3_000;
/** Assumed prefill speed of one target before it is known, tokens per ms (one L4 with 8B). */
const PREFILL_TOKENS_PER_MS_DEFAULT = 1.7;
/** One more request in flight on each target costs about this, ms. */
const CROWD_MS = 2;
/** A region that failed us is chosen last for this long, doubling to the maximum, ms. */
const AVOID_BASE_MS = 500;
const AVOID_MS_MAX = 30_000;

interface Send {
  readonly atMs: number;
  readonly tokens: number;
}

interface Own {
  /** Requests that we sent, oldest first, bounded. */
  readonly sends: Send[];
  failures: number;
  avoidUntilMs: number;
  /** By class: a region that refuses a class refuses those below it, not those above. */
  readonly restUntilMs: number[];
}

/** Chooses among regions for one model, from one node. */
export class RegionChooser {
  readonly #own = new Map<string, Own>();
  #last: RegionName | null = null;

  /** The region to send to; null: none, or here is better. */
  choose(
    candidates: readonly RegionCandidate[],
    request: RegionRequest,
    nowMs: number,
  ): RegionPick | null {
    const rows = this.explain(candidates, request, nowMs);
    const able = rows.filter((row) => row.excluded === null);
    const good = able.filter((row) => row.lastResort === null);
    const pool = good.length > 0 ? good : able;
    const best = cheapest(pool);
    if (best === null) return null;
    const last = pool.find((row) => row.region === this.#last);
    const isKept = last !== undefined && !isWorthMoving(last.costMs ?? 0, best.costMs ?? 0);
    const chosen = isKept ? last : best;
    const costMs = chosen.costMs ?? 0;
    if (request.localCostMs !== null && !isWorthMoving(request.localCostMs, costMs)) return null;
    this.#last = chosen.region;
    const why = isKept && chosen !== best ? 'kept: no other is better by enough' : 'lowest cost';
    const { region, lastResort: bad } = chosen;
    return { region, costMs, reason: bad ?? why, isLastResort: bad !== null };
  }

  /** Every region with its cost, or why it is out, cheapest first. */
  explain(
    candidates: readonly RegionCandidate[],
    request: RegionRequest,
    nowMs: number,
  ): readonly RegionRow[] {
    return candidates
      .map((candidate) => this.#row(candidate, request, nowMs))
      .toSorted((a, b) => (a.costMs ?? Infinity) - (b.costMs ?? Infinity) || order(a, b));
  }

  /** A request of `promptTokens` was sent to `region`. */
  started(region: RegionName, promptTokens: number, nowMs: number): void {
    const own = this.#ownOf(region);
    own.sends.push({ atMs: nowMs, tokens: promptTokens });
    if (own.sends.length > ROUTING_LIMITS.sendsPerRegionMax) own.sends.shift();
  }

  /** How it ended, as far as the region is concerned. */
  finished(
    region: RegionName,
    outcome: AttemptOutcome,
    nowMs: number,
    priority: Priority = 'interactive',
  ): void {
    const own = this.#ownOf(region);
    if (outcome.kind === 'answered' || outcome.kind === 'rejected') {
      own.failures = 0;
      own.avoidUntilMs = 0;
    } else if (outcome.kind === 'failed') {
      // What was under way together fails together, once.
      if (nowMs < own.avoidUntilMs) return;
      own.failures += 1;
      const ms = Math.min(AVOID_MS_MAX, AVOID_BASE_MS * 2 ** Math.min(own.failures - 1, 16));
      own.avoidUntilMs = nowMs + ms;
    } else if (outcome.kind === 'rate-limited' || outcome.kind === 'overloaded') {
      const ms = Math.min(outcome.retryAfterMs ?? AVOID_BASE_MS, ROUTING_LIMITS.restMsMax);
      const highest = outcome.kind === 'overloaded' ? rankOf(priority) : RANK_MAX;
      for (let rank = 0; rank <= highest; rank += 1) {
        own.restUntilMs[rank] = Math.max(own.restUntilMs[rank] ?? 0, nowMs + ms);
      }
    }
  }

  #row(candidate: RegionCandidate, request: RegionRequest, nowMs: number): RegionRow {
    const own = this.#ownOf(candidate.region);
    const excluded = exclusion(candidate, request, own, nowMs);
    const waitMs = this.#waitMs(candidate, request, own, nowMs);
    const ageMs = candidate.digestAgeMs ?? AGE_STALE_MS;
    const agePenaltyMs = AGE_PENALTY * Math.max(0, ageMs - AGE_FREE_MS);
    const isOut = excluded !== null;
    const { weightUsual } = REGION_RECORD_LIMITS;
    const { weight } = candidate;
    return {
      region: candidate.region,
      rttMs: candidate.rttMs,
      state: candidate.state,
      phi: candidate.phi,
      healthyTargets: candidate.healthyTargets,
      digestAgeMs: candidate.digestAgeMs,
      costMs: isOut ? null : ((candidate.rttMs + waitMs + agePenaltyMs) * weightUsual) / weight,
      waitMs: isOut ? null : waitMs,
      agePenaltyMs: isOut ? null : agePenaltyMs,
      excluded,
      lastResort: lastResort(candidate, own, nowMs),
    };
  }

  #waitMs(candidate: RegionCandidate, request: RegionRequest, own: Own, nowMs: number): number {
    const targets = Math.max(1, candidate.healthyTargets);
    const speed = candidate.prefillTokensPerMs ?? targets * PREFILL_TOKENS_PER_MS_DEFAULT;
    // The digest holds what had arrived when it was made: it misses what was sent up to half a
    // round trip before that.
    const since = nowMs - (candidate.digestAgeMs ?? AGE_STALE_MS) - candidate.rttMs / 2;
    let sent = 0;
    let count = 0;
    for (let index = own.sends.length - 1; index >= 0; index -= 1) {
      const send = own.sends[index];
      if (send === undefined || send.atMs <= since) break;
      sent += send.tokens;
      count += 1;
    }
    const tokens = candidate.queuedTokens + sent + request.promptTokens;
    return tokens / speed + (CROWD_MS * (candidate.inFlight + count)) / targets;
  }

  #ownOf(region: string): Own {
    const before = this.#own.get(region);
    if (before !== undefined) return before;
    const made: Own = { sends: [], failures: 0, avoidUntilMs: 0, restUntilMs: [] };
    this.#own.set(region, made);
    return made;
  }
}

/** True where leaving `fromMs` for `toMs` gains enough (C4). */
export function isWorthMoving(fromMs: number, toMs: number): boolean {
  return fromMs > toMs + Math.max(HYSTERESIS_MS, HYSTERESIS_SHARE * fromMs);
}

function cheapest(rows: readonly RegionRow[]): RegionRow | null {
  let best: RegionRow | null = null;
  for (const row of rows) {
    if (best === null || (row.costMs ?? Infinity) < (best.costMs ?? Infinity)) best = row;
  }
  return best;
}

function order(a: RegionRow, b: RegionRow): number {
  return a.region < b.region ? -1 : 1;
}

function exclusion(
  candidate: RegionCandidate,
  request: RegionRequest,
  own: Own,
  nowMs: number,
): string | null {
  if (!candidate.isAllowed) return 'its residency label is none of the key';
  if (request.excluded.has(candidate.region)) return 'tried already';
  if (candidate.state === 'down') return 'it is down';
  if (!candidate.isReachable) return 'the link to it is down';
  if (candidate.isDraining) return 'it is draining';
  if (candidate.digestAgeMs !== null && candidate.healthyTargets <= 0) {
    return 'it has no healthy target for the model';
  }
  const restUntilMs = own.restUntilMs[rankOf(request.priority ?? 'interactive')] ?? 0;
  if (nowMs < restUntilMs) return 'it asked for rest';
  return null;
}

function lastResort(candidate: RegionCandidate, own: Own, nowMs: number): string | null {
  if (candidate.isDrained) return 'it is drained';
  if (candidate.state === 'suspect') return 'it is suspect';
  if (candidate.digestAgeMs === null) return 'no digest has come from it';
  if (candidate.digestAgeMs > AGE_STALE_MS) return 'its digest is old';
  if (nowMs < own.avoidUntilMs) return 'it failed a moment ago';
  return null;
}
