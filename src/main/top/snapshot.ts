/** One look at all nodes: what their admin APIs and metrics say at one moment. */

import { askAdmin, askAdminText } from '../adminClient.ts';
import { CliError } from '../exitCodes.ts';
import { isRow, type JsonRow } from '../json.ts';
import { parsePromText, type PromSamples } from './promText.ts';

/** What one node said. */
export interface NodeSnapshot {
  /** Of its admin API. */
  readonly url: string;
  readonly region: string;
  readonly node: string;
  readonly status: JsonRow;
  readonly targets: readonly JsonRow[];
  readonly models: readonly JsonRow[];
  readonly regions: readonly JsonRow[];
  readonly metrics: PromSamples;
}

/** What all of them said. */
export interface Snapshot {
  /** Of a monotonic clock, for rates. */
  readonly nowMs: number;
  readonly wallMs: number;
  readonly nodes: readonly NodeSnapshot[];
  readonly regions: readonly JsonRow[];
  /** Addresses and regions that gave no answer. */
  readonly unreachable: readonly string[];
}

/**
 * Looks at every node behind `servers`: nodes, or supervisors that name nodes. Throws `CliError`
 * where none of the servers answers.
 */
export async function takeSnapshot(servers: readonly string[], limitMs: number): Promise<Snapshot> {
  const asked = await Promise.all(servers.map((server) => readServer(server, limitMs)));
  const failures = asked.flatMap((one) => (one instanceof CliError ? [one] : []));
  const found = asked.flatMap((one) => (one instanceof CliError ? [] : [one]));
  const [failure] = failures;
  if (found.length === 0 && failure !== undefined) throw failure;
  const unreachable = asked.flatMap((one, index) =>
    one instanceof CliError ? [servers[index] ?? ''] : one.unreachable,
  );
  const nodes = found.flatMap((one) => one.nodes);
  return {
    nowMs: performance.now(),
    wallMs: Date.now(),
    nodes,
    regions: mergeRegions(
      found.flatMap((one) => one.regions),
      nodes,
    ),
    unreachable,
  };
}

interface Found {
  readonly nodes: readonly NodeSnapshot[];
  readonly regions: readonly JsonRow[];
  readonly unreachable: readonly string[];
}

async function readServer(server: string, limitMs: number): Promise<Found | CliError> {
  try {
    const [status, regions] = await Promise.all([
      askAdmin(server, '/admin/v1/status', undefined, limitMs),
      askAdmin(server, '/admin/v1/regions', undefined, limitMs),
    ]);
    const items = rowsOf(regions['items']);
    if (status['kind'] !== 'cluster') {
      return {
        nodes: [await readNode(server, status, items, limitMs)],
        regions: items,
        unreachable: [],
      };
    }
    const members = await Promise.all(
      rowsOf(status['regions']).map(async (row) => {
        const nodeStatus = row['status'];
        if (!isRow(nodeStatus)) return cellText(row, 'region');
        return readNode(cellText(row, 'admin'), nodeStatus, [], limitMs).catch((cause: unknown) => {
          if (cause instanceof CliError) return cellText(row, 'region');
          throw cause;
        });
      }),
    );
    return {
      nodes: members.flatMap((member) => (typeof member === 'string' ? [] : [member])),
      regions: items,
      unreachable: members.flatMap((member) => (typeof member === 'string' ? [member] : [])),
    };
  } catch (cause) {
    if (cause instanceof CliError) return cause;
    throw cause;
  }
}

async function readNode(
  url: string,
  status: JsonRow,
  regions: readonly JsonRow[],
  limitMs: number,
): Promise<NodeSnapshot> {
  const [targets, models, text] = await Promise.all([
    askAdmin(url, '/admin/v1/targets', undefined, limitMs),
    askAdmin(url, '/admin/v1/models', undefined, limitMs),
    askAdminText(url, '/metrics', limitMs),
  ]);
  return {
    url,
    region: cellText(status, 'region'),
    node: cellText(status, 'node'),
    status,
    targets: rowsOf(targets['items']),
    models: rowsOf(models['items']),
    regions,
    metrics: parsePromText(text),
  };
}

/** One row a region: its own word where a node of it was asked, else the first other's. */
function mergeRegions(
  rows: readonly JsonRow[],
  nodes: readonly NodeSnapshot[],
): readonly JsonRow[] {
  const asked = new Set(nodes.map(({ region }) => region));
  const merged = new Map<string, JsonRow>();
  const sightings = new Map<string, JsonRow[]>();
  for (const row of rows) {
    const region = cellText(row, 'region');
    const isOwn = rowsOf(row['sightings']).length === 0;
    const known = merged.get(region);
    sightings.set(region, [...(sightings.get(region) ?? []), ...rowsOf(row['sightings'])]);
    if (known === undefined || (isOwn && asked.has(region))) merged.set(region, row);
  }
  return [...merged].map(([region, row]) => ({ ...row, sightings: sightings.get(region) ?? [] }));
}

/** The objects of a JSON array. */
export function rowsOf(value: unknown): readonly JsonRow[] {
  return Array.isArray(value) ? value.filter(isRow) : [];
}

/** A field that is text; empty where it is none. */
export function cellText(row: JsonRow, name: string): string {
  const value = row[name];
  return typeof value === 'string' ? value : '';
}

/** A field that is a number; null where it is none. */
export function cellNumber(row: JsonRow, name: string): number | null {
  const value = row[name];
  return typeof value === 'number' ? value : null;
}
