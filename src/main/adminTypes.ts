/**
 * The JSON of the admin API, `/admin/v1/...`: one set of shapes for two servers. A node answers for
 * itself; the demo's supervisor answers for all regions by asking each node and joining the rows.
 * The command line and the status page read only these.
 *
 * | path | answer |
 * |---|---|
 * | `GET /admin/v1/status` | `NodeStatus` (node), `ClusterStatus` (supervisor) |
 * | `GET /admin/v1/regions` | `List<RegionRow>` |
 * | `GET /admin/v1/nodes` | `List<NodeRow>` |
 * | `GET /admin/v1/targets` | `List<TargetRow>` |
 * | `GET /admin/v1/models` | `List<ModelRow>` |
 * | `GET /admin/v1/explain?model=M[&region=R]` | `Explanation` |
 * | `POST /admin/v1/faults` (demo only) | `FaultRequest` in, `FaultReply` out |
 *
 * A failure is `{"error":{"code","message"}}` with a fitting HTTP status. Times are milliseconds;
 * `*At` is ISO 8601 in UTC. Null always means "not known" or "none", never zero.
 */

/** Every list: rows, and the regions that could not be asked. */
export interface List<Row> {
  readonly items: readonly Row[];
  /** Regions that gave no answer; empty from a node. */
  readonly unreachable: readonly string[];
}

/** How far a node is: only `ready` takes new requests. */
export type NodeState = 'starting' | 'ready' | 'draining';

/** `GET /admin/v1/status` of a node. */
export interface NodeStatus {
  readonly kind: 'node';
  readonly region: string;
  readonly node: string;
  readonly state: NodeState;
  /** Banyan's version and that of the Node that runs it. */
  readonly version: string;
  readonly nodeVersion: string;
  readonly pid: number;
  readonly startedAt: string;
  readonly uptimeMs: number;
  /** Twelve hex digits; changes with every applied configuration. */
  readonly configRevision: string;
  readonly configLoadedAt: string;
  /** Why the newest file was refused; null where the newest is the one in force. */
  readonly configRefused: string | null;
  /** Exchanges under way. */
  readonly inFlight: number;
  /** Its worker processes; empty: the node is one process. */
  readonly workers: readonly WorkerRow[];
  readonly listen: {
    /** `http://host:port` or `https://host:port`. */
    readonly api: string;
    readonly admin: string | null;
    /** `host:port`; null where the node has no peers. */
    readonly peers: string | null;
  };
}

/** `GET /admin/v1/status` of the demo's supervisor. */
export interface ClusterStatus {
  readonly kind: 'cluster';
  readonly version: string;
  readonly startedAt: string;
  readonly uptimeMs: number;
  /** Null where the region's node did not answer. */
  readonly regions: readonly {
    readonly region: string;
    readonly api: string;
    readonly admin: string;
    /** The state of the operating-system process. */
    readonly process: ProcessState;
    readonly pid: number | null;
    readonly status: NodeStatus | null;
  }[];
  /** Peer links that a fault has cut, as pairs of regions. */
  readonly cuts: readonly (readonly [string, string])[];
}

/** One worker process of a node. */
export interface WorkerRow {
  /** From 1. */
  readonly worker: number;
  readonly state: ProcessState;
  readonly pid: number | null;
  /** Starts after the first. */
  readonly restarts: number;
  /** Why it ended last: `exit 1`, `SIGKILL`; null: it never did. */
  readonly lastEnd: string | null;
  /** Exchanges under way. */
  readonly inFlight: number;
}

/** A process as its parent sees it. `held` is down until someone says `restart`. */
export type ProcessState = 'starting' | 'running' | 'paused' | 'backing-off' | 'held' | 'stopped';

/** How one region looks from one other, or from itself. */
export interface RegionSighting {
  /** The region that looks. */
  readonly by: string;
  /** `healthy`, `slow`, `suspect`, `cut`, `paused`, `down`, `unknown`: the words of `regions/`. */
  readonly state: string;
  /** Why, in a few words; empty where all is well. */
  readonly reason: string;
  /** Suspicion of the phi-accrual detector; null where there is none (itself). */
  readonly phi: number | null;
  /** Round trip, ms. */
  readonly rttMs: number | null;
  /** Since the last heartbeat, ms. */
  readonly heardMs: number | null;
}

/** One region. From a node: one sighting each, its own. From the supervisor: one for each node. */
export interface RegionRow {
  readonly region: string;
  /**
   * From a node: of itself `healthy` or `draining`, of others its own sighting. From the supervisor:
   * the worst of the sightings, or `down` where its process is not running.
   */
  readonly state: string;
  /** Base of the public API; null where the answering node does not know it. */
  readonly api: string | null;
  readonly inFlight: number | null;
  readonly targetsHealthy: number | null;
  readonly targetsCount: number | null;
  readonly sightings: readonly RegionSighting[];
}

/** One node. */
export interface NodeRow {
  readonly region: string;
  readonly node: string;
  readonly state: NodeState | 'down';
  readonly version: string | null;
  readonly pid: number | null;
  readonly uptimeMs: number | null;
  readonly inFlight: number | null;
  readonly configRevision: string | null;
}

/** One target. */
export interface TargetRow {
  readonly region: string;
  readonly target: string;
  /** The provider's kind: `openai`, `anthropic`, `llama`. */
  readonly kind: string;
  readonly origin: string;
  /** Models that run there. */
  readonly models: readonly string[];
  /** `healthy`, `slow-start`, `ejected`, `open`, `half-open`…: the words of `routing/`. */
  readonly state: string;
  readonly reason: string;
  readonly inFlight: number;
  /** The process of an embedded target; null for every other kind. */
  readonly process: ProcessState | null;
  readonly pid: number | null;
  readonly restarts: number | null;
}

/** One model as one region serves it. */
export interface ModelRow {
  readonly region: string;
  readonly model: string;
  readonly algorithm: string;
  readonly targets: readonly string[];
  readonly targetsHealthy: number;
  readonly fallbacks: readonly string[];
}

/** One place considered for a request of a model. */
export interface ExplainCandidate {
  readonly kind: 'target' | 'region';
  readonly name: string;
  /** Position in the order of choice, from 1; null where it is excluded. */
  readonly rank: number | null;
  /** The algorithm's figure (lower is better unless `scoreMeaning` says else); null: none. */
  readonly score: number | null;
  readonly scoreMeaning: string;
  readonly weight: number | null;
  readonly priority: number | null;
  readonly inFlight: number | null;
  readonly state: string;
  /** Why it is excluded; null where it is eligible. */
  readonly excluded: string | null;
}

/** `GET /admin/v1/explain`: where a request of this model would go now, and why. */
export interface Explanation {
  readonly model: string;
  /** The region that was asked. */
  readonly region: string;
  readonly algorithm: string;
  /** Name of the first choice; null where there is none. */
  readonly chosen: string | null;
  readonly candidates: readonly ExplainCandidate[];
  readonly notes: readonly string[];
}

/**
 * `POST /admin/v1/faults`. A node takes `kill`, `pause`, `resume` and `restart` of its own embedded
 * targets (`region` its own, `target` set), and `cut` and `heal` of its own links. The supervisor
 * takes all; with `target` null the region's node process is meant.
 */
export type FaultRequest =
  | {
      readonly action: 'kill' | 'pause' | 'resume' | 'restart';
      readonly region: string;
      readonly target: string | null;
    }
  | { readonly action: 'cut'; readonly a: string; readonly b: string }
  | { readonly action: 'heal' };

/** What was done, one sentence each. */
export interface FaultReply {
  readonly done: readonly string[];
}
