/**
 * The gateway's view of other regions: what `regions/` knows of them, priced by `routing/`. One
 * chooser for each model, so that the hysteresis of one does not move another.
 *
 * K1: a chooser exists only for models that some region tells of: names that clients make up leave
 * nothing behind. Held by `knownRegions.test.ts`.
 */

import { parseRegionName } from '../base/names.ts';
import type { ModelDigest as PeerModelDigest, RegionDigest } from '../protocol/peer/digest.ts';
import type { RegionDirectory, RegionView as KnownRegion } from '../regions/directory.ts';
import { wishOf } from '../regions/desired.ts';
import { mayServe } from '../regions/residency.ts';
import type { RegionHealth } from '../regions/health.ts';
import type { Priority } from '../routing/admission.ts';
import { RegionChooser, type RegionCandidate, type RegionRow } from '../routing/regionChoice.ts';
import {
  noRegion,
  type RegionCandidate as ShownCandidate,
  type RegionChoice,
  type RegionQuery,
  type RegionView,
} from './regionView.ts';
import type { Serving } from './serving.ts';

/** Assumed before a round trip was measured, ms: far, so that a measured region goes first. */
const RTT_MS_UNKNOWN = 500;

/** A region still `unknown` has a link but few heartbeats: better than none, worse than any other. */
const STATES: Readonly<Record<RegionHealth, RegionCandidate['state']>> = {
  healthy: 'up',
  slow: 'up',
  suspect: 'suspect',
  unknown: 'suspect',
  cut: 'down',
  paused: 'down',
  down: 'down',
};

/** What is known of the others: a directory, or what another process of the node told of its own. */
export type RegionSource = Pick<RegionDirectory, 'views'>;

/** Makes the view over a directory. */
export function createRegionView(directory: RegionSource): RegionView {
  return new PricedRegions(directory);
}

class PricedRegions implements RegionView {
  readonly #directory: RegionSource;
  readonly #choosers = new Map<string, RegionChooser>();

  constructor(directory: RegionSource) {
    this.#directory = directory;
  }

  choose(query: RegionQuery, nowMs: number): RegionChoice {
    const known = this.#directory.views(nowMs);
    const chooser = this.#chooserOf(query.model, known);
    if (chooser === null) return noRegion('no other region tells of it');
    const candidates = candidatesOf(query, known);
    const pick = chooser.choose(candidates, requestOf(query), nowMs);
    if (pick !== null) {
      const { region, reason: why, isLastResort } = pick;
      return { region, why, isLastResort };
    }
    const rows = chooser.explain(candidates, requestOf(query), nowMs);
    const why = rows.map((row) => `${row.region}: ${row.excluded ?? 'not chosen'}`).join(', ');
    return noRegion(why);
  }

  knows(model: string, nowMs: number): boolean {
    return this.#chooserOf(model, this.#directory.views(nowMs)) !== null;
  }

  candidates(query: RegionQuery, nowMs: number): readonly ShownCandidate[] {
    const known = this.#directory.views(nowMs);
    const chooser = this.#chooserOf(query.model, known) ?? new RegionChooser();
    const rows = chooser.explain(candidatesOf(query, known), requestOf(query), nowMs);
    return rows.map((row) => shown(row, known));
  }

  started(region: string, promptTokens: number, nowMs: number): void {
    const name = parseRegionName(region);
    if (!name.ok) return;
    // A destination serves all its models with the same machines: each chooser counts all of it.
    for (const chooser of this.#choosers.values()) chooser.started(name.value, promptTokens, nowMs);
  }

  finished(
    region: string,
    _promptTokens: number,
    outcome: Parameters<RegionView['finished']>[2],
    nowMs: number,
    priority?: Priority,
  ): void {
    const name = parseRegionName(region);
    if (!name.ok) return;
    for (const chooser of this.#choosers.values()) {
      chooser.finished(name.value, outcome, nowMs, priority);
    }
  }

  /** Null: no region tells of the model (K1). */
  #chooserOf(model: string, known: readonly KnownRegion[]): RegionChooser | null {
    const found = this.#choosers.get(model);
    if (found !== undefined) return found;
    if (!known.some(({ digest }) => modelOf(digest, model) !== null)) return null;
    const made = new RegionChooser();
    this.#choosers.set(model, made);
    return made;
  }
}

function requestOf({ promptTokens, excluded, priority = 'interactive' }: RegionQuery) {
  // The gateway asks for a region where it cannot serve here, or only badly.
  return { promptTokens, excluded, localCostMs: null, priority };
}

/** What a region told of a model; null: nothing. */
function modelOf(digest: RegionDigest | null, model: string): PeerModelDigest | null {
  if (digest === null || !Object.hasOwn(digest.models, model)) return null;
  return digest.models[model] ?? null;
}

function candidatesOf(
  { model, wishes, residency }: RegionQuery,
  known: readonly KnownRegion[],
): readonly RegionCandidate[] {
  return known.flatMap((view) => {
    const name = parseRegionName(view.region);
    if (!name.ok) return [];
    const told = modelOf(view.digest, model);
    const { desired, weight } = wishOf(wishes, view.region);
    return [
      {
        region: name.value,
        rttMs: view.rttMs ?? RTT_MS_UNKNOWN,
        state: STATES[view.health],
        phi: view.phi,
        isReachable: view.link.kind === 'up',
        isDraining: view.digest?.isDraining ?? false,
        isDrained: desired === 'drained',
        isAllowed: mayServe(residency, wishes, view.region),
        weight,
        healthyTargets: told?.healthy ?? 0,
        inFlight: told?.inFlight ?? 0,
        queuedTokens: told?.queuedTokens ?? 0,
        prefillTokensPerMs: null,
        digestAgeMs: view.digestAgeMs,
      },
    ];
  });
}

function shown(row: RegionRow, known: readonly KnownRegion[]): ShownCandidate {
  const view = known.find(({ region }) => region === row.region);
  return {
    region: row.region,
    costMs: row.costMs,
    rttMs: view?.rttMs ?? null,
    state: view?.health ?? row.state,
    healthyTargets: row.healthyTargets,
    excludedBecause: row.excluded,
    isLastResort: row.lastResort !== null,
  };
}

/** What this node tells the others of itself. `seq` grows by one with each digest. */
export function ownDigest(
  serving: Serving,
  directory: RegionDirectory,
  now: {
    readonly seq: number;
    readonly inFlight: number;
    readonly isDraining: boolean;
    readonly nowMs: number;
  },
): RegionDigest {
  const models: Record<string, PeerModelDigest> = {};
  for (const { config, router } of serving.models.values()) {
    const { healthy, total, inFlight, queuedTokens } = router.digest(now.nowMs);
    models[config.name] = { healthy, total, inFlight, queuedTokens: Math.round(queuedTokens) };
  }
  return {
    region: serving.config.region,
    node: serving.config.node,
    seq: now.seq,
    models,
    inFlight: now.inFlight,
    views: directory.digestViews(now.nowMs),
    isDraining: now.isDraining,
  };
}
