/** What a node shows on its admin listener: the shapes of `adminTypes.ts` from its live parts. */

import { err, ok } from '../base/result.ts';
import type { LlamaChildRow } from '../io/llamaChildren.ts';
import type { AdminAnswer } from '../io/admin/route.ts';
import type { Gateway } from '../replica/gateway.ts';
import type { Candidate } from '../routing/router.ts';
import type {
  ExplainCandidate,
  Explanation,
  ExplainQuery,
  List,
  ModelRow,
  NodeRow,
  NodeState,
  NodeStatus,
  RegionNode,
  RegionRow,
  TargetRow,
  WorkerRow,
} from './adminTypes.ts';
import type { NodeView } from '../regions/nodes.ts';
import { isDrained, wishOf } from '../regions/desired.ts';
import { mayServe } from '../regions/residency.ts';
import { VERSION } from './version.ts';

/** Another region as this node knows it. */
export interface OtherRegion {
  readonly region: string;
  readonly state: string;
  readonly reason: string;
  readonly phi: number | null;
  readonly rttMs: number | null;
  readonly heardMs: number | null;
  readonly inFlight: number | null;
  readonly targetsHealthy: number | null;
  readonly targetsCount: number | null;
}

/** The live parts that the views read. */
export interface NodeSources {
  readonly gateway: Gateway;
  readonly nowMs: () => number;
  readonly startedWallMs: number;
  readonly state: () => NodeState;
  readonly children: () => readonly LlamaChildRow[];
  readonly others: () => readonly OtherRegion[];
  /** Every other node, those of this region too. */
  readonly nodes: () => readonly NodeView[];
  readonly listen: () => NodeStatus['listen'];
  readonly workers: () => readonly WorkerRow[];
  readonly config: () => {
    readonly revision: string;
    readonly loadedWallMs: number;
    readonly refusal: string | null;
  };
}

/** Health states in which a target serves. */
const SERVING_STATES: ReadonlySet<string> = new Set(['healthy', 'slow-start', 'half-open']);

/** `GET /admin/v1/status`. */
export function nodeStatus(sources: NodeSources): NodeStatus {
  const { region, node } = sources.gateway.serving.config;
  const { revision, loadedWallMs, refusal } = sources.config();
  return {
    kind: 'node',
    region,
    node,
    state: sources.state(),
    version: VERSION,
    nodeVersion: process.version,
    pid: process.pid,
    startedAt: new Date(sources.startedWallMs).toISOString(),
    uptimeMs: Math.round(Date.now() - sources.startedWallMs),
    configRevision: revision,
    configLoadedAt: new Date(loadedWallMs).toISOString(),
    configRefused: refusal,
    inFlight: sources.gateway.inFlightAll,
    workers: sources.workers(),
    listen: sources.listen(),
  };
}

/** `GET /admin/v1/nodes`: this one. */
export function nodeRows(sources: NodeSources): List<NodeRow> {
  const status = nodeStatus(sources);
  const { region, node, state, version, pid, uptimeMs, inFlight, configRevision } = status;
  const row = { region, node, state, version, pid, uptimeMs, inFlight, configRevision };
  return { items: [row], unreachable: [] };
}

/** `GET /admin/v1/regions`: this one, then the others as they look from here. */
export function regionRows(sources: NodeSources): List<RegionRow> {
  const { region: own, peer, wishes } = sources.gateway.serving.config;
  const wished = (region: string) => {
    const { desired, weight, residency } = wishOf(wishes, region);
    return { desired, weight, residency };
  };
  const targets = targetRows(sources).items;
  const isDraining = sources.state() === 'draining';
  const nodes = sources.nodes();
  const nodesOf = (region: string) => {
    return nodes.filter((node) => node.region === region).map(regionNode);
  };
  const self: RegionRow = {
    region: own,
    state: isDraining ? 'draining' : 'healthy',
    api: sources.listen().api,
    inFlight: sources.gateway.inFlightAll,
    targetsHealthy: targets.filter(({ state }) => SERVING_STATES.has(state)).length,
    targetsCount: targets.length,
    sightings: [],
    nodes: [ownNode(peer, sources), ...nodesOf(own)],
    ...wished(own),
  };
  const others = sources.others().map((other): RegionRow => {
    const { state, reason, phi, rttMs, heardMs } = other;
    return {
      region: other.region,
      state,
      api: null,
      inFlight: other.inFlight,
      targetsHealthy: other.targetsHealthy,
      targetsCount: other.targetsCount,
      sightings: [{ by: own, state, reason, phi, rttMs, heardMs }],
      nodes: nodesOf(other.region),
      ...wished(other.region),
    };
  });
  return { items: [self, ...others], unreachable: [] };
}

function ownNode(name: string, sources: NodeSources): RegionNode {
  const state = sources.state() === 'draining' ? 'draining' : 'up';
  const inFlight = sources.gateway.inFlightAll;
  return { name, state, detail: '', rttMs: null, heardMs: null, inFlight };
}

function regionNode({ peer, link, isDraining, rttMs, heardMs, inFlight }: NodeView): RegionNode {
  if (link.kind === 'down') {
    const { detail } = link;
    return { name: peer, state: 'down', detail, rttMs: null, heardMs: null, inFlight: null };
  }
  const state = isDraining ? 'draining' : 'up';
  return { name: peer, state, detail: '', rttMs, heardMs, inFlight };
}

/** `GET /admin/v1/targets`: each once, in the worst state that it has for any model. */
export function targetRows(sources: NodeSources): List<TargetRow> {
  const { serving } = sources.gateway;
  const children = new Map(sources.children().map((child) => [child.name, child]));
  const seen = new Map<string, Candidate[]>();
  const models = new Map<string, string[]>();
  for (const model of serving.models.values()) {
    for (const candidate of explainModel(sources, model.config.name)) {
      const name: string = candidate.target;
      seen.set(name, [...(seen.get(name) ?? []), candidate]);
      models.set(name, [...(models.get(name) ?? []), model.config.name]);
    }
  }
  const items = serving.config.targets.map((target): TargetRow => {
    const candidates = seen.get(target.name) ?? [];
    const worst =
      candidates.find(({ state }) => !SERVING_STATES.has(state)) ??
      candidates.find(({ state }) => state !== 'healthy') ??
      candidates[0];
    const child = children.get(target.name);
    return {
      region: serving.config.region,
      target: target.name,
      kind: target.kind,
      origin: target.origin,
      models: models.get(target.name) ?? [],
      state: worst?.state ?? 'unused',
      reason: worst?.state === 'healthy' ? '' : (worst?.stateReason ?? ''),
      inFlight: candidates.reduce((sum, { inFlight }) => sum + inFlight, 0),
      process: child?.state ?? null,
      pid: child?.pid ?? null,
      restarts: child?.restarts ?? null,
    };
  });
  return { items, unreachable: [] };
}

/** Targets that take no requests because of their health; a process that starts is no failure. */
export function targetsOut(sources: NodeSources): readonly string[] {
  return targetRows(sources)
    .items.filter(({ state, process }) => {
      const isWanted = state !== 'unused' && state !== 'held';
      return isWanted && process !== 'starting' && !SERVING_STATES.has(state);
    })
    .map(({ target }) => target);
}

/** `GET /admin/v1/models`. */
export function modelRows(sources: NodeSources): List<ModelRow> {
  const { serving } = sources.gateway;
  const items = [...serving.models.values()].map(({ config, router }): ModelRow => ({
    region: serving.config.region,
    model: config.name,
    algorithm: config.route.algorithm,
    targets: config.route.targets.map(({ target }) => target),
    targetsHealthy: router.digest(sources.nowMs()).healthy,
    fallbacks: config.fallbacks,
  }));
  return { items, unreachable: [] };
}

function explainModel(sources: NodeSources, model: string): readonly Candidate[] {
  const router = sources.gateway.serving.models.get(model)?.router;
  const request = { sessionKey: null, prefixHash: 0, promptTokens: 0, excluded: new Set<never>() };
  return router?.explain(request, sources.nowMs()) ?? [];
}

/** `GET /admin/v1/explain`: targets here first, then other regions. */
export function explainRoute(
  sources: NodeSources,
  { model, region, key }: ExplainQuery,
): AdminAnswer<Explanation> {
  const { gateway } = sources;
  const own = gateway.serving.config.region;
  if (region !== undefined && region !== own) {
    const message = `This node is in ${own}; ask a node of that region.`;
    return err({ status: 404, code: 'region_not_found', message });
  }
  const { wishes, keys } = gateway.serving.config;
  const found = keys.find(({ name }) => name === key);
  if (key !== undefined && found === undefined) {
    return err({ status: 404, code: 'unknown_key', message: `No key "${key}" is known here.` });
  }
  const residency = found?.residency ?? null;
  const isAllowed = mayServe(residency, wishes, own);
  const serving = gateway.serving.models.get(model);
  const targets = explainModel(sources, model).map((candidate) => ({
    ...targetCandidate(candidate, serving?.router.scoreMeaning ?? ''),
    ...(isAllowed ? {} : { excluded: "this region's residency label is none of the key" }),
  }));
  const query = { model, promptTokens: 0, excluded: new Set<string>(), wishes, residency };
  const regions = gateway.regions.candidates(query, sources.nowMs());
  if (serving === undefined && regions.every(({ excludedBecause }) => excludedBecause !== null)) {
    const message = 'No such model is configured here or known elsewhere.';
    return err({ status: 404, code: 'model_not_found', message });
  }
  const byCost = regions.toSorted(
    (left, right) => (left.costMs ?? Infinity) - (right.costMs ?? Infinity),
  );
  const good = byCost.filter(({ isLastResort }) => !isLastResort).map(regionCandidate);
  const doubtful = byCost.filter(({ isLastResort }) => isLastResort).map(regionCandidate);
  // In the order that `replica/choose.ts` decides.
  const isSickHere = !isAllowed || serving?.router.isAvailable(sources.nowMs()) !== true;
  const isLeaving = isDrained(wishes, own);
  const before = [...(isLeaving || isSickHere ? good : []), ...(isSickHere ? doubtful : [])];
  const after = [...good, ...doubtful].filter((place) => !before.includes(place));
  const candidates = ranked([...before, ...targets, ...after]);
  const explanation: Explanation = {
    model,
    region: own,
    algorithm: serving?.config.route.algorithm ?? 'none here',
    chosen: candidates.find(({ rank }) => rank === 1)?.name ?? null,
    candidates,
    notes: [
      ...(residency === null ? [] : [`The key is bound to: ${residency.join(', ')}.`]),
      ...explainNotes(sources, serving?.config.fallbacks ?? []),
    ],
  };
  return ok(explanation);
}

function targetCandidate(candidate: Candidate, scoreMeaning: string): ExplainCandidate {
  return {
    kind: 'target',
    name: candidate.target,
    rank: candidate.rank,
    score: candidate.score,
    scoreMeaning,
    weight: candidate.weight,
    priority: candidate.priority,
    inFlight: candidate.inFlight,
    state: candidate.state,
    excluded: candidate.excluded,
  };
}

function regionCandidate(
  candidate: ReturnType<Gateway['regions']['candidates']>[number],
): ExplainCandidate {
  return {
    kind: 'region',
    name: candidate.region,
    rank: null,
    score: candidate.costMs,
    scoreMeaning: 'cost, ms: round trip, wait and age of what is known',
    weight: null,
    priority: null,
    inFlight: null,
    state: candidate.state,
    excluded: candidate.excludedBecause,
  };
}

/** Ranks from 1 over all eligible places; the excluded stand last. */
function ranked(places: readonly ExplainCandidate[]): readonly ExplainCandidate[] {
  const eligible = places.filter(({ excluded }) => excluded === null);
  const others = places.filter(({ excluded }) => excluded !== null);
  return [
    ...eligible.map((place, index) => ({ ...place, rank: index + 1 })),
    ...others.map((place) => ({ ...place, rank: null })),
  ];
}

function explainNotes(sources: NodeSources, fallbacks: readonly string[]): readonly string[] {
  const notes: string[] = [];
  const { region, wishes } = sources.gateway.serving.config;
  if (isDrained(wishes, region)) notes.push('An operator has drained this region.');
  if (sources.state() === 'draining') notes.push('This node is draining: new requests get 503.');
  if (fallbacks.length > 0) notes.push(`If nothing serves it: ${fallbacks.join(', ')}.`);
  return notes;
}
