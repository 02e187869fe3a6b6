/**
 * All regions of the demo as one: asks each node and joins the rows. A region that does not answer
 * costs one time limit, not a failure: it is shown as its process and the other regions see it.
 */

import { err, ok } from '../../base/result.ts';
import { serveRoutes, type AdminAnswer, type ServedRoute } from '../../io/admin/route.ts';
import type { AdminViews } from '../../io/admin/server.ts';
import { adminDocument, NODE_ROUTES } from '../adminRoutes.ts';
import type {
  ClusterStatus,
  Explanation,
  ExplainQuery,
  FaultReply,
  FaultRequest,
  List,
  ModelRow,
  NodeRow,
  NodeStatus,
  RegionRow,
  RegionSighting,
  TargetRow,
} from '../adminTypes.ts';
import { CONTROL_ROUTES } from '../control/controlRoutes.ts';
import { REGISTER_ROUTES } from '../registers/registerRoutes.ts';
import { OPS_ROUTES } from '../control/opsRoutes.ts';
import { REGION_ROUTES } from '../control/regionRoutes.ts';
import { isRow } from '../json.ts';
import { usualWish } from '../../regions/desired.ts';
import { CONFIG_ROUTES } from '../sharedConfig/configRoutes.ts';
import { VERSION } from '../version.ts';
import { ask, askForAnswer } from './ask.ts';
import { passOn } from './clusterControl.ts';
import type { RegionProcess } from './regionProcess.ts';

/** The live parts. */
export interface ClusterParts {
  readonly regions: readonly RegionProcess[];
  /** Pairs that a fault has cut. */
  readonly cuts: () => readonly (readonly [string, string])[];
  readonly startedWallMs: number;
  readonly isReady: () => boolean;
}

/**
 * States from best to worst: those of `regions/health.ts`, and what a supervisor knows beside them.
 * What is not here stands with `unknown`.
 */
const BADNESS: readonly string[] = [
  'up',
  'healthy',
  'draining',
  'slow',
  'unknown',
  'suspect',
  'cut',
  'paused',
  'down',
];

/** Asks one region; null where its node cannot answer. */
async function askRegion(region: RegionProcess, path: string): Promise<unknown> {
  // A process that is known to be down or frozen is not waited for.
  if (region.pid === null || region.state === 'paused') return null;
  const reply = await ask(region.plan.adminPort, path);
  if (reply === null || reply.status !== 200) return null;
  try {
    return JSON.parse(reply.text);
  } catch {
    return null; // Somebody else listens there; the region is shown as not answering.
  }
}

async function lists<Row>(
  parts: ClusterParts,
  path: string,
): Promise<{ readonly items: readonly Row[]; readonly by: string }[]> {
  const answers = await Promise.all(
    parts.regions.map(async (region) => {
      const answer = await askRegion(region, path);
      const items = isRow(answer) && Array.isArray(answer['items']) ? answer['items'] : null;
      // The rows come from our own nodes of the same version: their shape is that of adminTypes.ts.
      return { items: items as readonly Row[] | null, by: region.plan.region };
    }),
  );
  return answers.flatMap(({ items, by }) => (items === null ? [] : [{ items, by }]));
}

function silent(parts: ClusterParts, answered: readonly { readonly by: string }[]): string[] {
  const names = new Set(answered.map(({ by }) => by));
  return parts.regions.map(({ plan }) => plan.region).filter((name) => !names.has(name));
}

/** `GET /admin/v1/regions`: each region with how every other sees it. */
export async function clusterRegions(parts: ClusterParts): Promise<List<RegionRow>> {
  const answers = await lists<RegionRow>(parts, '/admin/v1/regions');
  const items = parts.regions.map((region): RegionRow => {
    const { region: name, apiPort } = region.plan;
    const own = answers.find(({ by }) => by === name)?.items.find((row) => row.region === name);
    const sightings = answers
      .filter(({ by }) => by !== name)
      .flatMap(({ items: rows }) => rows.filter((row) => row.region === name))
      .flatMap((row) => row.sightings);
    return {
      region: name,
      state: regionState(region, own, sightings),
      api: `http://127.0.0.1:${apiPort}`,
      inFlight: own?.inFlight ?? null,
      targetsHealthy: own?.targetsHealthy ?? null,
      targetsCount: own?.targetsCount ?? null,
      sightings,
      nodes: own?.nodes ?? [],
      ...wishIn(answers, name),
    };
  });
  return { items, unreachable: silent(parts, answers) };
}

/** As the region itself says; where it does not answer, as any other does. */
function wishIn(
  answers: readonly { readonly items: readonly RegionRow[]; readonly by: string }[],
  name: string,
): Pick<RegionRow, 'desired' | 'weight' | 'residency'> {
  const told = answers.find(({ by }) => by === name) ?? answers[0];
  const { desired, weight, residency } =
    told?.items.find(({ region }) => region === name) ?? usualWish(name);
  return { desired, weight, residency };
}

function regionState(
  region: RegionProcess,
  own: RegionRow | undefined,
  sightings: readonly RegionSighting[],
): string {
  if (region.state === 'paused') return 'paused';
  if (region.pid === null) return 'down';
  const states = [own?.state ?? 'unknown', ...sightings.map(({ state }) => state)];
  const worst = states.reduce((bad, state) => (badness(state) > badness(bad) ? state : bad));
  return worst === 'healthy' ? 'up' : worst;
}

function badness(state: string): number {
  const at = BADNESS.indexOf(state);
  return at === -1 ? BADNESS.indexOf('unknown') : at;
}

/** `GET /admin/v1/nodes`. */
async function clusterNodes(parts: ClusterParts): Promise<List<NodeRow>> {
  const answers = await lists<NodeRow>(parts, '/admin/v1/nodes');
  const items = parts.regions.flatMap((region): readonly NodeRow[] => {
    const name = region.plan.region;
    const own = answers.find(({ by }) => by === name);
    if (own !== undefined) return own.items;
    const unknown = { version: null, uptimeMs: null, inFlight: null, configRevision: null };
    return [{ region: name, node: `${name}-1`, state: 'down', pid: region.pid, ...unknown }];
  });
  return { items, unreachable: silent(parts, answers) };
}

/** `GET /admin/v1/targets`. */
export async function clusterTargets(parts: ClusterParts): Promise<List<TargetRow>> {
  const answers = await lists<TargetRow>(parts, '/admin/v1/targets');
  return { items: answers.flatMap(({ items }) => items), unreachable: silent(parts, answers) };
}

/** `GET /admin/v1/models`. */
async function clusterModels(parts: ClusterParts): Promise<List<ModelRow>> {
  const answers = await lists<ModelRow>(parts, '/admin/v1/models');
  return { items: answers.flatMap(({ items }) => items), unreachable: silent(parts, answers) };
}

/** `GET /admin/v1/status`. */
export async function clusterStatus(parts: ClusterParts): Promise<ClusterStatus> {
  const regions = await Promise.all(
    parts.regions.map(async (region) => {
      const status = await askRegion(region, '/admin/v1/status');
      const { region: name, apiPort, adminPort } = region.plan;
      return {
        region: name,
        api: `http://127.0.0.1:${apiPort}`,
        admin: `http://127.0.0.1:${adminPort}`,
        process: region.state,
        pid: region.pid,
        // As above: our own node's answer.
        status: isRow(status) ? (status as unknown as NodeStatus) : null,
      };
    }),
  );
  return {
    kind: 'cluster',
    version: VERSION,
    startedAt: new Date(parts.startedWallMs).toISOString(),
    uptimeMs: Math.max(0, Math.round(Date.now() - parts.startedWallMs)),
    regions,
    cuts: parts.cuts(),
  };
}

/** `GET /admin/v1/explain`: of the region that is named, else of the first that answers. */
async function clusterExplain(
  parts: ClusterParts,
  { model, region, key }: ExplainQuery,
): Promise<AdminAnswer<Explanation>> {
  const asked = parts.regions.filter(({ plan }) => region === undefined || plan.region === region);
  if (asked.length === 0) return err(regionNotFound(region ?? ''));
  const query = new URLSearchParams({ model, ...(key === undefined ? {} : { key }) }).toString();
  for (const { plan, pid, state } of asked) {
    if (pid === null || state === 'paused') continue;
    const path = `${NODE_ROUTES.explainRoute.path}?${query}`;
    const answer = await askForAnswer<Explanation>(plan.adminPort, path);
    if (answer !== null) return answer;
  }
  const message = `${region ?? 'No region'} does not answer.`;
  return err({ status: 503, code: 'region_unreachable', message });
}

/** The refusal of a region's name that is none. */
export function regionNotFound(region: string): {
  readonly status: number;
  readonly code: string;
  readonly message: string;
} {
  const message = `There is no region "${region.slice(0, 64)}".`;
  return { status: 404, code: 'region_not_found', message };
}

/** The probes of the supervisor. */
export function clusterViews(parts: ClusterParts): AdminViews {
  return {
    isReady: parts.isReady,
    warnings: () => [],
    metrics: () => {
      const lines = parts.regions.map(
        ({ plan, state }) =>
          `banyan_demo_region_running{region="${plan.region}"} ${state === 'running' ? 1 : 0}\n`,
      );
      const text = `# TYPE banyan_demo_region_running gauge\n${lines.join('')}`;
      return Promise.resolve({ contentType: 'text/plain; version=0.0.4; charset=utf-8', text });
    },
  };
}

/** The supervisor's admin API: what regions know is joined, what they agree on is passed on. */
export function clusterRoutes(
  parts: ClusterParts,
  fault: (request: FaultRequest) => Promise<AdminAnswer<FaultReply>>,
): readonly ServedRoute[] {
  const own = serveRoutes(NODE_ROUTES, {
    getStatus: async () => ok(await clusterStatus(parts)),
    getRegions: async () => ok(await clusterRegions(parts)),
    getNodes: async () => ok(await clusterNodes(parts)),
    getTargets: async () => ok(await clusterTargets(parts)),
    getModels: async () => ok(await clusterModels(parts)),
    explainRoute: ({ query }) => clusterExplain(parts, query),
    injectFault: ({ body }) => fault(body),
    getDocument: () => ok(adminDocument()),
  });
  const agreed = {
    ...CONTROL_ROUTES,
    ...CONFIG_ROUTES,
    ...REGISTER_ROUTES,
    ...OPS_ROUTES,
    ...REGION_ROUTES,
  };
  return [...own, ...passOn(agreed, parts.regions)];
}
