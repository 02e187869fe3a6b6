/**
 * What the gateway asks of the knowledge about other regions. `regions/` keeps that knowledge from
 * heartbeats and digests; the composition joins it to the cost function of `routing/`.
 */

import type { RegionWish } from '../regions/desired.ts';
import type { Residency } from '../regions/residency.ts';
import type { Priority } from '../routing/admission.ts';
import type { AttemptOutcome } from '../routing/outcome.ts';

/** What matters for choosing a region for one request. */
export interface RegionQuery {
  readonly model: string;
  readonly promptTokens: number;
  /** Regions that already failed this exchange. */
  readonly excluded: ReadonlySet<string>;
  /** What operators want of regions. */
  readonly wishes: readonly RegionWish[] | null;
  /** Where it may be inferred. */
  readonly residency: Residency;
  /** Its class under load; absent: the highest. */
  readonly priority?: Priority;
}

/** What was chosen, and why. */
export interface RegionChoice {
  /** Null: none can serve now. */
  readonly region: string | null;
  readonly why: string;
  /** It is in doubt, or drained: no better one is left. */
  readonly isLastResort: boolean;
}

export function noRegion(why: string): RegionChoice {
  return { region: null, why, isLastResort: false };
}

/** One region as a candidate, for `explain`. */
export interface RegionCandidate {
  readonly region: string;
  /** Cost in ms: round trip, estimated wait and the age of what is known. */
  readonly costMs: number | null;
  readonly rttMs: number | null;
  readonly state: string;
  readonly healthyTargets: number;
  /** Null: eligible. Else why not. */
  readonly excludedBecause: string | null;
  /** It is in doubt, or drained: it comes after the others. */
  readonly isLastResort: boolean;
}

/** Chooses among other regions. */
export interface RegionView {
  /** The best region that can serve now, or null with the reason in `why`. */
  choose(query: RegionQuery, nowMs: number): RegionChoice;
  /** Does any region run `model`, or did it before it was lost? */
  knows(model: string, nowMs: number): boolean;
  candidates(query: RegionQuery, nowMs: number): readonly RegionCandidate[];
  /** Own traffic since the last digest, so that a burst does not follow a stale view. */
  started(region: string, promptTokens: number, nowMs: number): void;
  /** `priority`: the class of the request; absent: the highest. */
  finished(
    region: string,
    promptTokens: number,
    outcome: AttemptOutcome,
    nowMs: number,
    priority?: Priority,
  ): void;
}

/** No other region: a node on its own. */
export const NO_REGIONS: RegionView = {
  choose: () => noRegion('no other region is configured'),
  knows: () => false,
  candidates: () => [],
  started: () => {},
  finished: () => {},
};
