/**
 * Where an exchange has been and where it may go next: places that failed, the model of the list it
 * has come to, rounds of waiting, and what a retry costs.
 */

import type { Failure } from '../base/errors.ts';
import { EXCHANGE_LIMITS } from '../base/limits.ts';
import { backoffMs } from '../routing/retry.ts';
import { keyOf, type ExchangeHost, type Place, type PlaceQuery } from './place.ts';
import { isConnectionLoss, type Verdict } from './verdict.ts';

const NOWHERE: ReadonlySet<string> = new Set();

/** The search of one exchange. */
export class Search {
  /** Of the list [model asked for, its fallbacks …]. */
  modelIndex = 0;
  private readonly host: ExchangeHost;
  /** Places that failed since the last round; null: none. */
  private excluded: Set<string> | null = null;
  private round = 0;
  private modelIndexMin = 0;
  private hasLost = false;
  private isPaid = false;

  constructor(host: ExchangeHost) {
    this.host = host;
  }

  /** Has any place failed since the last round? */
  get hasExcluded(): boolean {
    return this.excluded !== null;
  }

  /** The model cannot take the request at any place. */
  passOverModel(): void {
    this.modelIndex += 1;
    this.modelIndexMin = this.modelIndex;
  }

  exclude(place: Place): void {
    this.excluded ??= new Set();
    this.excluded.add(keyOf(place));
  }

  /** The question for the next place. */
  query(lastFailure: Failure | null, isSameModel: boolean, nowMs: number): PlaceQuery {
    const { modelIndex } = this;
    const excluded = this.excluded ?? NOWHERE;
    return { excluded, modelIndex, lastFailure, isSameModel, isHealthy: false, nowMs };
  }

  /** The question for a healthy place that runs the same model beside `first`, or in its stead. */
  otherQuery(first: Place, nowMs: number): PlaceQuery {
    const excluded = new Set(this.excluded ?? NOWHERE).add(keyOf(first));
    const { modelIndex } = this;
    return {
      excluded,
      modelIndex,
      lastFailure: null,
      isSameModel: true,
      isHealthy: true,
      nowMs,
    };
  }

  /** Takes the retry for an attempt that is to be given up only if there is one; else false. */
  prepays(nowMs: number): boolean {
    this.isPaid = this.host.takeRetry(nowMs, true, false);
    return this.isPaid;
  }

  /** Takes the retry out of the budget where it costs one; false: it is spent. */
  takesRetry(verdict: Verdict, nowMs: number): boolean {
    if (this.isPaid) {
      this.isPaid = false;
      return true;
    }
    // An overloaded target did not run it, but a retry is load where load is the trouble.
    const isFree = verdict.isDefinite && verdict.outcome.kind !== 'overloaded';
    // A target that dies takes its requests down once: each may move on once, whatever the budget.
    const isFirstLoss = isConnectionLoss(verdict) && !this.hasLost;
    this.hasLost ||= isFirstLoss;
    return isFree || this.host.takeRetry(nowMs, !verdict.isDefinite, isFirstLoss);
  }

  /**
   * Every place has failed once: how long to wait with full jitter (AWS, "Exponential backoff and
   * jitter"), no less than Retry-After, before all of them may be tried again. Null: too long.
   */
  nextRoundMs(last: Failure, leftMs: number): number | null {
    const jitterMs = Math.ceil(backoffMs(this.round, this.host.prng));
    const waitMs = Math.max(jitterMs, last.retryAfterMs ?? 0);
    if (waitMs > EXCHANGE_LIMITS.retryWaitMsMax || waitMs >= leftMs) return null;
    this.round += 1;
    this.excluded = null;
    this.modelIndex = this.modelIndexMin;
    return waitMs;
  }
}
