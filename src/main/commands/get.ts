/** `banyan get regions|nodes|targets|models`, and what the control state holds (controlGet.ts). */

import type { Command } from 'commander';

import { askAdmin } from '../adminClient.ts';
import { isRow, type JsonRow } from '../json.ts';
import type { MessageKey } from '../messages.ts';
import { renderDuration, renderTable, type OutputFormat } from '../output.ts';
import { note, print, say, withOutput, withServer } from '../verb.ts';
import { registerGetConfig } from './configShared.ts';
import { registerControlGet } from './controlGet.ts';

type Cell = string | number | null;

/** One list: its columns, and how a row becomes cells. */
interface Listing {
  readonly about: MessageKey;
  readonly header: readonly MessageKey[];
  readonly cells: (row: JsonRow) => readonly Cell[];
}

/** How many of the nodes are up, of how many; null: none is known. */
function nodesUp(nodes: readonly JsonRow[]): Cell {
  const up = nodes.filter((node) => node['state'] !== 'down');
  return nodes.length === 0 ? null : `${up.length}/${nodes.length}`;
}

const LISTINGS: Readonly<Record<'regions' | 'nodes' | 'targets' | 'models', Listing>> = {
  regions: {
    about: 'get.regions',
    header: [
      'head.region',
      'head.state',
      'head.desired',
      'head.weight',
      'head.residency',
      'head.api',
      'head.inFlight',
      'head.targets',
      'head.nodes',
      'head.seenBy',
    ],
    cells: (row) => [
      cell(row, 'region'),
      cell(row, 'state'),
      cell(row, 'desired'),
      cell(row, 'weight'),
      cell(row, 'residency'),
      cell(row, 'api'),
      cell(row, 'inFlight'),
      row['targetsCount'] === null
        ? null
        : `${cell(row, 'targetsHealthy')}/${cell(row, 'targetsCount')}`,
      nodesUp(rows(row['nodes'])),
      rows(row['sightings']).map(sighting).join('; '),
    ],
  },
  nodes: {
    about: 'get.nodes',
    header: [
      'head.region',
      'head.node',
      'head.state',
      'head.version',
      'head.pid',
      'head.uptime',
      'head.inFlight',
      'head.config',
    ],
    cells: (row) => [
      cell(row, 'region'),
      cell(row, 'node'),
      cell(row, 'state'),
      cell(row, 'version'),
      cell(row, 'pid'),
      duration(row, 'uptimeMs'),
      cell(row, 'inFlight'),
      cell(row, 'configRevision'),
    ],
  },
  targets: {
    about: 'get.targets',
    header: [
      'head.region',
      'head.target',
      'head.kind',
      'head.state',
      'head.inFlight',
      'head.pid',
      'head.origin',
      'head.models',
      'head.reason',
    ],
    cells: (row) => [
      cell(row, 'region'),
      cell(row, 'target'),
      cell(row, 'kind'),
      [cell(row, 'state'), cell(row, 'process')]
        .filter((word) => word !== null && word !== 'running')
        .join(', '),
      cell(row, 'inFlight'),
      cell(row, 'pid'),
      cell(row, 'origin'),
      words(row['models']),
      cell(row, 'reason'),
    ],
  },
  models: {
    about: 'get.models',
    header: [
      'head.region',
      'head.model',
      'head.algorithm',
      'head.targets',
      'head.origin',
      'head.fallbacks',
    ],
    cells: (row) => [
      cell(row, 'region'),
      cell(row, 'model'),
      cell(row, 'algorithm'),
      `${cell(row, 'targetsHealthy')}/${list(row['targets']).length}`,
      words(row['targets']),
      words(row['fallbacks']),
    ],
  },
};

/** Adds the verbs. */
export function registerGet(program: Command): void {
  const get = program.command('get').description(say('get.about'));
  for (const [name, listing] of Object.entries(LISTINGS)) {
    withServer(withOutput(get.command(name).description(say(listing.about))))
      .option('--region <region>', say('get.region'))
      .action((options: { output: OutputFormat; server: string; region?: string }) =>
        run(name, listing, options),
      );
  }
  registerControlGet(get);
  registerGetConfig(get);
}

async function run(
  name: string,
  listing: Listing,
  options: { output: OutputFormat; server: string; region?: string },
): Promise<void> {
  const answer = await askAdmin(options.server, `/admin/v1/${name}`);
  const items = rows(answer['items']).filter(
    (row) => options.region === undefined || row['region'] === options.region,
  );
  const unreachable = words(answer['unreachable']);
  if (unreachable !== '') note(say('client.partial', { regions: unreachable }));
  print(options.output, { ...answer, items }, () =>
    renderTable(
      listing.header.map((key) => say(key)),
      items.map(listing.cells),
    ),
  );
}

/** The objects of a JSON array. */
export function rows(value: unknown): readonly JsonRow[] {
  return Array.isArray(value) ? value.filter(isRow) : [];
}

/** A field as a cell: text and numbers as they are, all else as none. */
export function cell(row: JsonRow, name: string): Cell {
  const value = row[name];
  return typeof value === 'string' || typeof value === 'number' ? value : null;
}

function list(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}

function words(value: unknown): string {
  return list(value).join(', ');
}

function duration(row: JsonRow, name: string): string | null {
  const value = row[name];
  return typeof value === 'number' ? renderDuration(value) : null;
}

/** `us-east-2: up 104 ms`, or with its reason. */
function sighting(row: JsonRow): string {
  const rttMs = row['rttMs'];
  const trip = typeof rttMs === 'number' ? ` ${Math.round(rttMs)} ms` : '';
  const reason = cell(row, 'reason') ?? '';
  return `${cell(row, 'by')}: ${cell(row, 'state')}${trip}${reason === '' ? '' : ` (${reason})`}`;
}
