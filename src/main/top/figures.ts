/** From what nodes said, twice, to the figures of the screen. Pure. */

import { cellNumber, cellText, rowsOf, type NodeSnapshot, type Snapshot } from './snapshot.ts';
import { bucketsOf, quantileOf, sumOf, type PromSample } from './promText.ts';

/** Traffic of one thing. Rates are of the last seconds; null: not known. */
export interface Traffic {
  readonly requestsPerSecond: number | null;
  readonly errorsPerSecond: number | null;
  readonly outputTokensPerSecond: number | null;
  readonly firstTokenMsP50: number | null;
  readonly firstTokenMsP99: number | null;
}

export interface RegionFigures extends Traffic {
  readonly region: string;
  readonly state: string;
  readonly inFlight: number | null;
  readonly targetsHealthy: number | null;
  readonly targetsCount: number | null;
  /** `us-east-2: healthy 104 ms; …`. */
  readonly seenBy: string;
}

export interface TargetFigures extends Traffic {
  readonly region: string;
  readonly target: string;
  readonly kind: string;
  readonly state: string;
  readonly reason: string;
  readonly inFlight: number | null;
}

export interface ModelFigures extends Traffic {
  readonly model: string;
  readonly regions: number;
  readonly targetsHealthy: number;
  readonly targetsCount: number;
}

export interface NodeFigures {
  readonly region: string;
  readonly node: string;
  readonly state: string;
  readonly inFlight: number | null;
  readonly cpuPercent: number | null;
  readonly memoryBytes: number | null;
  readonly loopLagMs: number | null;
  readonly connections: number | null;
  readonly shedPerSecond: number | null;
  readonly uptimeMs: number | null;
}

/** All of it; what `-o json` prints. */
export interface TopFigures {
  readonly at: string;
  /** What the rates are measured over, ms; null with a single look. */
  readonly windowMs: number | null;
  readonly total: Traffic & { readonly inFlight: number };
  readonly regions: readonly RegionFigures[];
  readonly targets: readonly TargetFigures[];
  readonly models: readonly ModelFigures[];
  readonly nodes: readonly NodeFigures[];
  readonly unreachable: readonly string[];
}

type Labels = PromSample['labels'];
type Wanted = (labels: Labels) => boolean;

const FIRST_TOKEN = 'gen_ai_server_time_to_first_token_seconds';
const FIRST_CHUNK = 'gen_ai_client_operation_time_to_first_chunk_seconds';
const ALL: Wanted = () => true;

/** The figures of `now`; rates against `rates`, quantiles against the older `quantiles`. */
export function figuresOf(
  now: Snapshot,
  rates: Snapshot | null,
  quantiles: Snapshot | null,
): TopFigures {
  const view = new Compared(now, rates, quantiles);
  const all = now.nodes;
  return {
    at: new Date(now.wallMs).toISOString(),
    windowMs: rates === null ? null : Math.round(now.nowMs - rates.nowMs),
    total: {
      ...view.served(all),
      inFlight: all.reduce(
        (sum, node) => sum + sumOf(node.metrics, 'banyan_exchanges_in_flight'),
        0,
      ),
    },
    regions: now.regions.map((row) => {
      const region = cellText(row, 'region');
      return {
        region,
        state: cellText(row, 'state'),
        inFlight: cellNumber(row, 'inFlight'),
        targetsHealthy: cellNumber(row, 'targetsHealthy'),
        targetsCount: cellNumber(row, 'targetsCount'),
        seenBy: rowsOf(row['sightings']).map(sighting).join('; '),
        ...view.served(all.filter((node) => node.region === region)),
      };
    }),
    targets: targetFigures(view, all),
    models: modelFigures(view, all),
    nodes: all.map((node) => view.load(node)),
    unreachable: now.unreachable,
  };
}

function sighting(row: Readonly<Record<string, unknown>>): string {
  const rttMs = cellNumber(row, 'rttMs');
  const trip = rttMs === null ? '' : ` ${Math.round(rttMs)} ms`;
  return `${cellText(row, 'by')}: ${cellText(row, 'state')}${trip}`;
}

/** By region and target; several nodes of a region are one row. */
function targetFigures(view: Compared, nodes: readonly NodeSnapshot[]): readonly TargetFigures[] {
  const found = new Map<string, { row: TargetFigures; nodes: NodeSnapshot[] }>();
  for (const node of nodes) {
    for (const row of node.targets) {
      const target = cellText(row, 'target');
      const key = `${node.region} ${target}`;
      const known = found.get(key);
      const inFlight = (known?.row.inFlight ?? 0) + (cellNumber(row, 'inFlight') ?? 0);
      const process = cellText(row, 'process');
      const state = cellText(row, 'state');
      const figures = {
        region: node.region,
        target,
        kind: cellText(row, 'kind'),
        state: process === '' || process === 'running' ? state : `${state}, ${process}`,
        reason: cellText(row, 'reason'),
      };
      const seen = [...(known?.nodes ?? []), node];
      found.set(key, { row: { ...figures, inFlight, ...view.tried(seen, target) }, nodes: seen });
    }
  }
  return [...found.values()].map(({ row }) => row);
}

function modelFigures(view: Compared, nodes: readonly NodeSnapshot[]): readonly ModelFigures[] {
  const names = [
    ...new Set(nodes.flatMap(({ models }) => models.map((row) => cellText(row, 'model')))),
  ];
  return names.map((model) => {
    // Nodes of one region tell the same of its targets: the first one's word counts.
    const rows = new Map<string, Readonly<Record<string, unknown>>>();
    for (const node of nodes) {
      const row = node.models.find((each) => cellText(each, 'model') === model);
      if (row !== undefined && !rows.has(node.region)) rows.set(node.region, row);
    }
    const each = [...rows.values()];
    return {
      model,
      regions: rows.size,
      targetsHealthy: each.reduce((sum, row) => sum + (cellNumber(row, 'targetsHealthy') ?? 0), 0),
      targetsCount: each.reduce(
        (sum, row) => sum + (Array.isArray(row['targets']) ? row['targets'].length : 0),
        0,
      ),
      ...view.served(nodes, (labels) => labels['gen_ai_request_model'] === model),
    };
  });
}

/** A look and the looks before it. */
class Compared {
  readonly #now: Snapshot;
  readonly #rates: Snapshot | null;
  readonly #quantiles: Snapshot | null;

  constructor(now: Snapshot, rates: Snapshot | null, quantiles: Snapshot | null) {
    this.#now = now;
    this.#rates = rates;
    this.#quantiles = quantiles;
  }

  /** What clients got. */
  served(nodes: readonly NodeSnapshot[], isWanted: Wanted = ALL): Traffic {
    const requests = 'gen_ai_server_request_duration_seconds_count';
    return {
      requestsPerSecond: this.#rate(nodes, requests, isWanted),
      errorsPerSecond: this.#rate(
        nodes,
        requests,
        (labels) => isWanted(labels) && labels['error_type'] !== '',
      ),
      outputTokensPerSecond: this.#rate(
        nodes,
        'gen_ai_client_token_usage_sum',
        (labels) => isWanted(labels) && labels['gen_ai_token_type'] === 'output',
      ),
      ...this.#firstToken(nodes, FIRST_TOKEN, isWanted),
    };
  }

  /** What attempts at one target gave. */
  tried(nodes: readonly NodeSnapshot[], target: string): Traffic {
    const isOfTarget: Wanted = (labels) => labels['target'] === target;
    return {
      requestsPerSecond: this.#rate(nodes, 'banyan_attempts_total', isOfTarget),
      errorsPerSecond: this.#rate(
        nodes,
        'banyan_attempts_total',
        (labels) => isOfTarget(labels) && labels['end'] === 'failed',
      ),
      outputTokensPerSecond: this.#rate(
        nodes,
        'banyan_target_tokens_total',
        (labels) => isOfTarget(labels) && labels['gen_ai_token_type'] === 'output',
      ),
      ...this.#firstToken(nodes, FIRST_CHUNK, isOfTarget),
    };
  }

  load(node: NodeSnapshot): NodeFigures {
    const gauge = (name: string): number | null => node.metrics.get(name)?.[0]?.value ?? null;
    const cpu = this.#rate([node], 'process_cpu_seconds_total', ALL);
    const lagSeconds = gauge('banyan_loop_lag_seconds');
    return {
      region: node.region,
      node: node.node,
      state: cellText(node.status, 'state'),
      inFlight: cellNumber(node.status, 'inFlight'),
      cpuPercent: cpu === null ? null : cpu * 100,
      memoryBytes: gauge('process_resident_memory_bytes'),
      loopLagMs: lagSeconds === null ? null : lagSeconds * 1_000,
      connections: gauge('banyan_http_connections'),
      shedPerSecond: this.#rate([node], 'banyan_shed_total', ALL),
      uptimeMs: cellNumber(node.status, 'uptimeMs'),
    };
  }

  /** Of counters: growth a second over the nodes that both looks saw; null without two looks. */
  #rate(nodes: readonly NodeSnapshot[], name: string, isWanted: Wanted): number | null {
    const before = this.#rates;
    if (before === null || this.#now.nowMs <= before.nowMs) return null;
    let growth = 0;
    let pairs = 0;
    for (const node of nodes) {
      const old = before.nodes.find(({ url }) => url === node.url);
      if (old === undefined) continue;
      pairs += 1;
      const value = sumOf(node.metrics, name, isWanted);
      const valueOld = sumOf(old.metrics, name, isWanted);
      growth += value < valueOld ? value : value - valueOld; // It restarted.
    }
    return pairs === 0 ? null : growth / ((this.#now.nowMs - before.nowMs) / 1_000);
  }

  #firstToken(nodes: readonly NodeSnapshot[], name: string, isWanted: Wanted) {
    const buckets = new Map<number, number>();
    for (const node of nodes) {
      const old = this.#quantiles?.nodes.find(({ url }) => url === node.url);
      const before = old === undefined ? null : bucketsOf(old.metrics, name, isWanted);
      const after = bucketsOf(node.metrics, name, isWanted);
      const isRestarted = (before?.get(Infinity) ?? 0) > (after.get(Infinity) ?? 0);
      for (const [bound, count] of after) {
        const growth = count - (isRestarted ? 0 : (before?.get(bound) ?? 0));
        buckets.set(bound, (buckets.get(bound) ?? 0) + growth);
      }
    }
    const inMs = (seconds: number | null): number | null =>
      seconds === null ? null : seconds * 1_000;
    return {
      firstTokenMsP50: inMs(quantileOf(buckets, 0.5)),
      firstTokenMsP99: inMs(quantileOf(buckets, 0.99)),
    };
  }
}
