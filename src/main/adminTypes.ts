/**
 * The JSON of the admin API, `/admin/v1/...`: one set of shapes for two servers. A node answers for
 * itself; the demo's supervisor answers for all regions by asking each node and joining the rows.
 * The command line and the status page read only these. Which path gives which: `adminRoutes.ts`.
 *
 * A failure is `{"error":{"code","message"}}` with a fitting HTTP status. Times are milliseconds;
 * `*At` is ISO 8601 in UTC. Null always means "not known" or "none", never zero.
 */

import { z } from 'zod';

import { named } from '../io/admin/route.ts';
import { DESIRED_STATES } from '../regions/desired.ts';

const count = z.int().min(0);
const texts = z.array(z.string()).readonly();

/** Every list: rows, and the regions that could not be asked. */
export interface List<Row> {
  readonly items: readonly Row[];
  /** Regions that gave no answer; empty from a node. */
  readonly unreachable: readonly string[];
}

/** The schema of a `List`. */
export function listOf<Row extends z.ZodType>(
  id: string,
  row: Row,
): z.ZodType<List<z.output<Row>>> {
  return named(
    id,
    z.strictObject({
      items: z.array(row).readonly(),
      unreachable: texts.describe('regions that gave no answer; empty from a node'),
    }),
  );
}

/** A list that comes in pages. */
interface PagedList<Row> extends List<Row> {
  readonly next: string | null;
}

/** The schema of a `PagedList`. */
export function pagesOf<Row extends z.ZodType>(
  id: string,
  row: Row,
): z.ZodType<PagedList<z.output<Row>>> {
  return named(
    id,
    z.strictObject({
      items: z.array(row).readonly().describe('in the order of their names'),
      next: z.string().nullable().describe('give it as "after" for the next page; null: no more'),
      unreachable: texts.describe('regions that gave no answer; empty from a node'),
    }),
  );
}

const nodeState = z.enum(['starting', 'ready', 'draining']);
const processState = z.enum(['starting', 'running', 'paused', 'backing-off', 'held', 'stopped']);
/** How far a node is: only `ready` takes new requests. */
export type NodeState = z.output<typeof nodeState>;
/** A process as its parent sees it. `held` is down until someone says `restart`. */
export type ProcessState = z.output<typeof processState>;

const workerRow = named(
  'Worker',
  z
    .strictObject({
      worker: z.int().min(1),
      state: processState,
      pid: z.int().nullable(),
      restarts: count.describe('starts after the first'),
      lastEnd: z.string().nullable().describe('why it ended last; null: it never did'),
      inFlight: count.describe('exchanges under way'),
    })
    .describe('One worker process of a node.'),
);
export type WorkerRow = z.output<typeof workerRow>;

const nodeStatus = named(
  'NodeStatus',
  z
    .strictObject({
      kind: z.literal('node'),
      region: z.string(),
      node: z.string(),
      state: nodeState,
      version: z.string().describe("Banyan's"),
      nodeVersion: z.string().describe('of the Node.js that runs it'),
      pid: z.int(),
      startedAt: z.string(),
      uptimeMs: count,
      configRevision: z
        .string()
        .describe('twelve hex digits; changes with every applied configuration'),
      configLoadedAt: z.string(),
      configRefused: z
        .string()
        .nullable()
        .describe('why the newest file was refused; null where it is in force'),
      inFlight: count.describe('exchanges under way'),
      workers: z.array(workerRow).readonly().describe('empty: the node is one process'),
      listen: z.strictObject({
        api: z.string().describe('http://host:port or https://host:port'),
        admin: z.string().nullable(),
        peers: z.string().nullable().describe('host:port; null where the node has no peers'),
      }),
    })
    .describe('One node.'),
);
/** `GET /admin/v1/status` of a node. */
export type NodeStatus = z.output<typeof nodeStatus>;

const clusterStatus = named(
  'ClusterStatus',
  z
    .strictObject({
      kind: z.literal('cluster'),
      version: z.string(),
      startedAt: z.string(),
      uptimeMs: count,
      regions: z
        .array(
          z.strictObject({
            region: z.string(),
            api: z.string(),
            admin: z.string(),
            process: processState.describe('of the process of the operating system'),
            pid: z.int().nullable(),
            status: nodeStatus.nullable().describe('null where the node did not answer'),
          }),
        )
        .readonly(),
      cuts: z
        .array(z.tuple([z.string(), z.string()]).readonly())
        .readonly()
        .describe('peer links that a fault has cut, as pairs of regions'),
    })
    .describe("The demo's regions."),
);
/** `GET /admin/v1/status` of the demo's supervisor. */
export type ClusterStatus = z.output<typeof clusterStatus>;

export const statusAnswer = named(
  'Status',
  z.discriminatedUnion('kind', [nodeStatus, clusterStatus]),
);

const regionSighting = named(
  'RegionSighting',
  z
    .strictObject({
      by: z.string().describe('the region that looks'),
      state: z.string().describe('healthy, slow, suspect, cut, paused, down or unknown'),
      reason: z.string().describe('in a few words; empty where all is well'),
      phi: z.number().nullable().describe('suspicion of the phi-accrual detector'),
      rttMs: z.number().nullable().describe('round trip'),
      heardMs: z.number().nullable().describe('since the last heartbeat'),
    })
    .describe('How one region looks from another.'),
);
export type RegionSighting = z.output<typeof regionSighting>;

const regionNode = named(
  'RegionNode',
  z.strictObject({
    name: z.string().describe('its peer name: of the first node that of the region'),
    state: z.enum(['up', 'draining', 'down']).describe('down: the link to it is'),
    detail: z.string().describe('why it is down; of the node that answers empty'),
    rttMs: z.number().nullable().describe('round trip'),
    heardMs: z.number().nullable().describe('since its last heartbeat'),
    inFlight: count.nullable(),
  }),
);
export type RegionNode = z.output<typeof regionNode>;

const regionRow = named(
  'Region',
  z.strictObject({
    region: z.string(),
    state: z
      .string()
      .describe(
        'from a node: of itself healthy or draining, of others its own sighting; from the ' +
          'supervisor: the worst of the sightings, or down',
      ),
    api: z.string().nullable().describe('base of the public API; null: not known here'),
    inFlight: count.nullable(),
    targetsHealthy: count.nullable(),
    targetsCount: count.nullable(),
    sightings: z.array(regionSighting).readonly(),
    nodes: z
      .array(regionNode)
      .readonly()
      .describe(
        'those that the node which answers knows; from the supervisor: as each knows its own',
      ),
    desired: z.enum(DESIRED_STATES).describe('what operators want of it'),
    weight: z.int().min(1).describe('others count its cost 100 / weight times'),
    residency: z.string().nullable().describe('label of where its data may be; null: none'),
  }),
);
/** One region. From a node: one sighting each, its own. From the supervisor: one for each node. */
export type RegionRow = z.output<typeof regionRow>;
export const regionsAnswer = listOf('Regions', regionRow);

const nodeRow = named(
  'Node',
  z.strictObject({
    region: z.string(),
    node: z.string(),
    state: z.enum([...nodeState.options, 'down']),
    version: z.string().nullable(),
    pid: z.int().nullable(),
    uptimeMs: count.nullable(),
    inFlight: count.nullable(),
    configRevision: z.string().nullable(),
  }),
);
export type NodeRow = z.output<typeof nodeRow>;
export const nodesAnswer = listOf('Nodes', nodeRow);

const targetRow = named(
  'Target',
  z.strictObject({
    region: z.string(),
    target: z.string(),
    kind: z.string().describe('of the provider: openai, anthropic, llama'),
    origin: z.string(),
    models: texts.describe('that run there'),
    state: z.string().describe('healthy, slow-start, ejected, open, half-open, unused'),
    reason: z.string(),
    inFlight: count,
    process: processState.nullable().describe('of an embedded target; null for every other kind'),
    pid: z.int().nullable(),
    restarts: count.nullable(),
  }),
);
export type TargetRow = z.output<typeof targetRow>;
export const targetsAnswer = listOf('Targets', targetRow);

const modelRow = named(
  'Model',
  z
    .strictObject({
      region: z.string(),
      model: z.string(),
      algorithm: z.string(),
      targets: texts,
      targetsHealthy: count,
      fallbacks: texts,
    })
    .describe('One model as one region serves it.'),
);
export type ModelRow = z.output<typeof modelRow>;
export const modelsAnswer = listOf('Models', modelRow);

const explainCandidate = named(
  'ExplainCandidate',
  z
    .strictObject({
      kind: z.enum(['target', 'region']),
      name: z.string(),
      rank: z.int().min(1).nullable().describe('in the order of choice; null: excluded'),
      score: z
        .number()
        .nullable()
        .describe("the algorithm's figure; lower is better unless scoreMeaning says else"),
      scoreMeaning: z.string(),
      weight: z.number().nullable(),
      priority: z.number().nullable(),
      inFlight: count.nullable(),
      state: z.string(),
      excluded: z.string().nullable().describe('why; null where it is eligible'),
    })
    .describe('One place considered for a request.'),
);
export type ExplainCandidate = z.output<typeof explainCandidate>;

export const explainQuery = z.strictObject({
  model: z.string().min(1),
  region: z.string().optional().describe('absent: the one that is asked'),
  key: z
    .string()
    .optional()
    .describe('name of the API key that asks; absent: one that is not bound'),
});
export type ExplainQuery = z.output<typeof explainQuery>;

export const explanation = named(
  'Explanation',
  z
    .strictObject({
      model: z.string(),
      region: z.string().describe('that was asked'),
      algorithm: z.string(),
      chosen: z.string().nullable().describe('the first choice; null where there is none'),
      candidates: z.array(explainCandidate).readonly(),
      notes: texts,
    })
    .describe('Where a request of this model would go now, and why.'),
);
/** `GET /admin/v1/explain`. */
export type Explanation = z.output<typeof explanation>;

export const faultRequest = named(
  'FaultRequest',
  z
    .discriminatedUnion('action', [
      z.strictObject({
        action: z.enum(['kill', 'pause', 'resume', 'restart']),
        region: z.string(),
        target: z.string().nullable().describe("null: the region's node process (supervisor only)"),
      }),
      z.strictObject({ action: z.literal('cut'), a: z.string(), b: z.string() }),
      z.strictObject({ action: z.literal('heal') }),
    ])
    .describe(
      'A node takes kill, pause, resume and restart of its own embedded targets, and cut and heal ' +
        'of its own links. The supervisor takes all.',
    ),
);
/** `POST /admin/v1/faults`. */
export type FaultRequest = z.output<typeof faultRequest>;

export const faultReply = named(
  'FaultReply',
  z.strictObject({ done: texts.describe('what was done, one sentence each') }),
);
export type FaultReply = z.output<typeof faultReply>;
