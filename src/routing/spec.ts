/**
 * What routing is told: the targets of one model in one region, the algorithm, and the rules of
 * health. Pure data; `replica/config.ts` holds it, the composition root parses it.
 */

import type { ModelName, TargetName } from '../base/names.ts';

/** The algorithms by name. `least-tokens` is the default; the measurement stands in docs. */
export type AlgorithmName =
  | 'least-tokens' // argmin (queued prefill tokens + own + 1) * (in flight + 1) / weight^2
  | 'smooth-weighted-round-robin'
  | 'weighted-least-connections'
  | 'p2c-peak-ewma'
  | 'bounded-load-consistent-hash'
  | 'weighted-random';

/** One way to run a model. */
export interface RouteTarget {
  readonly target: TargetName;
  /** 1 to 1000. 0 takes no new work. */
  readonly weight: number;
  /** Tiers: the lowest number with a healthy target serves. */
  readonly priority: number;
  /** In-flight limit; null: none. */
  readonly inFlightMax: number | null;
}

/** Health rules; defaults in `routing/health.ts`, each with its source. */
export interface HealthSpec {
  readonly consecutiveFailuresMax: number;
  readonly ejectBaseMs: number;
  readonly ejectMaxMs: number;
  /** Never eject below this share of a model's targets, 0 to 100. */
  readonly ejectedPercentMax: number;
  /** Below this share of healthy targets all are used (panic), 0 to 100. */
  readonly panicPercent: number;
  readonly slowStartMs: number;
  readonly probeIntervalMs: number;
}

/** One model's routing in this region. */
export interface RouteSpec {
  readonly model: ModelName;
  readonly algorithm: AlgorithmName;
  readonly targets: readonly RouteTarget[];
  readonly health: HealthSpec;
}
