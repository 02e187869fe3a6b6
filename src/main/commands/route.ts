/** `banyan route explain`: where a request would go now, and why. */

import type { Command } from 'commander';

import { askAdmin } from '../adminClient.ts';
import type { JsonRow } from '../json.ts';
import { printable, renderTable, type OutputFormat } from '../output.ts';
import { print, say, withOutput, withServer } from '../verb.ts';
import { cell, rows } from './get.ts';

interface ExplainOptions {
  readonly output: OutputFormat;
  readonly server: string;
  readonly model: string;
  readonly region?: string;
  readonly key?: string;
}

/** Adds the verbs. */
export function registerRoute(program: Command): void {
  const route = program.command('route').description(say('route.about'));
  withServer(withOutput(route.command('explain').description(say('route.explain'))))
    .requiredOption('--model <model>', say('route.model'))
    .option('--region <region>', say('route.region'))
    .option('--key <name>', say('route.key'))
    .action(explain);
}

async function explain(options: ExplainOptions): Promise<void> {
  const query = new URLSearchParams({ model: options.model });
  if (options.region !== undefined) query.set('region', options.region);
  if (options.key !== undefined) query.set('key', options.key);
  const answer = await askAdmin(options.server, `/admin/v1/explain?${query.toString()}`);
  print(options.output, answer, () => renderExplanation(answer));
}

/** The explanation for people: one sentence, the candidates in order, the notes. */
export function renderExplanation(answer: JsonRow): string {
  const chosen = cell(answer, 'chosen');
  const sentence = say(chosen === null ? 'route.none' : 'route.chosen', {
    model: cell(answer, 'model') ?? '',
    region: cell(answer, 'region') ?? '',
    algorithm: cell(answer, 'algorithm') ?? '',
    chosen: chosen ?? '',
  });
  const candidates = rows(answer['candidates']);
  const header = [
    'head.rank',
    'head.place',
    'head.kind',
    'head.state',
    'head.score',
    'head.weight',
    'head.inFlight',
    'head.reason',
  ] as const;
  const table = renderTable(
    header.map((key) => say(key)),
    candidates.map((row) => [
      cell(row, 'rank'),
      cell(row, 'name'),
      cell(row, 'kind'),
      cell(row, 'state'),
      score(row),
      cell(row, 'weight'),
      cell(row, 'inFlight'),
      cell(row, 'excluded') ?? cell(row, 'scoreMeaning'),
    ]),
  );
  const notes = Array.isArray(answer['notes'])
    ? answer['notes'].map((line) => `${printable(String(line))}\n`).join('')
    : '';
  return `${printable(sentence)}\n\n${table}${notes === '' ? '' : `\n${notes}`}`;
}

function score(row: JsonRow): string | null {
  const value = row['score'];
  if (typeof value !== 'number') return null;
  return Number.isInteger(value) ? String(value) : value.toPrecision(4);
}
