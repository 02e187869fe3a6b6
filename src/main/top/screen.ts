/**
 * The screen of `banyan top` as lines of text. Pure: figures, size and language in, lines out. Width
 * is counted in columns of the terminal, where a Chinese character takes two.
 */

import { text, type Language, type MessageKey } from '../messages.ts';
import { printable, renderDuration, textColumns } from '../output.ts';
import type { TopFigures, Traffic } from './figures.ts';

/** What a screen is drawn on. */
export interface ScreenOptions {
  readonly language: Language;
  /** Columns and rows; null: as many as it takes. */
  readonly columns: number | null;
  readonly rows: number | null;
  readonly isColoured: boolean;
  /** The last line, e.g. which key ends it; empty: none. */
  readonly footer: string;
}

type Tone = 'plain' | 'good' | 'warn' | 'bad' | 'head';

interface Cell {
  readonly text: string;
  readonly tone: Tone;
  readonly isNumber: boolean;
}

const CODES: Readonly<Record<Tone, string>> = {
  plain: '',
  good: '\u001b[32m',
  warn: '\u001b[33m',
  bad: '\u001b[31m',
  head: '\u001b[1m',
};
const GOOD = /^(healthy|up|ready)$/;
const WARN = /^(slow|slow-start|half-open|suspect|draining|starting|unused|unknown|rest)/;

/** The lines, each within `columns` and all within `rows`. */
export function renderScreen(figures: TopFigures, options: ScreenOptions): readonly string[] {
  const say = (key: MessageKey, values: Readonly<Record<string, string | number>> = {}): string =>
    text(options.language, key, values);
  const tables = [
    regionTable(figures, say),
    targetTable(figures, say),
    modelTable(figures, say),
    nodeTable(figures, say),
  ].filter((table) => table.length > 1);
  const head = headLines(figures, say);
  const foot = options.footer === '' ? [] : [options.footer];
  const room = options.rows === null ? null : options.rows - head.length - foot.length;
  const body = fitTables(tables.map(alignTable), room).flatMap((lines) => ['', ...lines]);
  const lines = [...head.map((line) => [cell(line, 'head')]), ...body.map(asCells)];
  const shown = lines.map((cells) => drawLine(cells, options));
  return [...shown, ...foot.map((line) => cutText(line, options.columns))];
}

type Say = (key: MessageKey, values?: Readonly<Record<string, string | number>>) => string;

function headLines(figures: TopFigures, say: Say): readonly string[] {
  const { total } = figures;
  const line = say('top.total', {
    time: figures.at.slice(11, 19),
    requests: rate(total.requestsPerSecond),
    errors: rate(total.errorsPerSecond),
    tokens: rate(total.outputTokensPerSecond),
    inFlight: total.inFlight,
    p50: ms(total.firstTokenMsP50),
    p99: ms(total.firstTokenMsP99),
  });
  if (figures.unreachable.length === 0) return [line];
  return [line, say('top.unreachable', { names: printable(figures.unreachable.join(', ')) })];
}

function regionTable(figures: TopFigures, say: Say): readonly (readonly Cell[])[] {
  return table(
    say,
    ['head.region', 'head.state', 'head.inFlight', 'head.targets'],
    ['head.seenBy'],
    figures.regions.map((row) => [
      cell(row.region),
      state(row.state),
      count(row.inFlight),
      count(row.targetsCount === null ? null : `${row.targetsHealthy ?? '-'}/${row.targetsCount}`),
      ...traffic(row),
      cell(row.seenBy),
    ]),
  );
}

function targetTable(figures: TopFigures, say: Say): readonly (readonly Cell[])[] {
  // The sick stand first: a low window must not hide them.
  const rows = figures.targets.toSorted(
    (left, right) => Number(GOOD.test(left.state)) - Number(GOOD.test(right.state)),
  );
  return table(
    say,
    ['head.target', 'head.state', 'head.inFlight', 'head.kind'],
    ['head.reason'],
    rows.map((row) => [
      cell(`${row.region}/${row.target}`),
      state(row.state),
      count(row.inFlight),
      cell(row.kind),
      ...traffic(row),
      cell(row.reason),
    ]),
  );
}

function modelTable(figures: TopFigures, say: Say): readonly (readonly Cell[])[] {
  return table(
    say,
    ['head.model', 'head.regions', 'head.targets'],
    [],
    figures.models.map((row) => [
      cell(row.model),
      count(row.regions),
      count(`${row.targetsHealthy}/${row.targetsCount}`),
      ...traffic(row),
    ]),
  );
}

function nodeTable(figures: TopFigures, say: Say): readonly (readonly Cell[])[] {
  const heads = [
    'head.node',
    'head.state',
    'head.inFlight',
    'head.cpu',
    'head.memory',
    'head.lag',
    'head.connections',
    'head.shed',
    'head.uptime',
  ] as const;
  const rows = figures.nodes.map((row) => [
    cell(row.node),
    state(row.state),
    count(row.inFlight),
    count(row.cpuPercent === null ? null : `${row.cpuPercent.toFixed(0)} %`),
    count(row.memoryBytes === null ? null : `${(row.memoryBytes / 1_048_576).toFixed(0)} MiB`),
    count(row.loopLagMs === null ? null : `${row.loopLagMs.toFixed(0)} ms`),
    count(row.connections),
    count(rate(row.shedPerSecond), row.shedPerSecond !== null && row.shedPerSecond > 0),
    count(row.uptimeMs === null ? null : renderDuration(row.uptimeMs)),
  ]);
  return [heads.map((key) => cell(say(key), 'head')), ...rows];
}

/** A table whose columns of traffic stand between `before` and `after`. */
function table(
  say: Say,
  before: readonly MessageKey[],
  after: readonly MessageKey[],
  rows: readonly (readonly Cell[])[],
): readonly (readonly Cell[])[] {
  const keys = [
    ...before,
    'head.requests',
    'head.errors',
    'head.tokens',
    'head.p50',
    'head.p99',
    ...after,
  ] as const;
  return [keys.map((key) => cell(say(key), 'head')), ...rows];
}

function traffic(row: Traffic): readonly Cell[] {
  return [
    count(rate(row.requestsPerSecond)),
    count(rate(row.errorsPerSecond), row.errorsPerSecond !== null && row.errorsPerSecond > 0),
    count(rate(row.outputTokensPerSecond)),
    count(ms(row.firstTokenMsP50)),
    count(ms(row.firstTokenMsP99)),
  ];
}

function cell(shown: string, tone: Tone = 'plain'): Cell {
  return { text: shown === '' ? '-' : printable(shown), tone, isNumber: false };
}

function count(shown: string | number | null, isBad = false): Cell {
  const tone = isBad ? 'bad' : 'plain';
  return { text: shown === null ? '-' : String(shown), tone, isNumber: true };
}

function state(word: string): Cell {
  return cell(word, GOOD.test(word) ? 'good' : WARN.test(word) ? 'warn' : 'bad');
}

function rate(value: number | null): string {
  if (value === null) return '-';
  return value >= 100 || value === 0 ? value.toFixed(0) : value.toFixed(1);
}

function ms(value: number | null): string {
  return value === null ? '-' : renderDuration(value);
}

/** Pads all cells of a column to one width; the last is left as it is. */
function alignTable(lines: readonly (readonly Cell[])[]): readonly (readonly Cell[])[] {
  const widths: number[] = [];
  const isNumber: boolean[] = [];
  for (const line of lines) {
    line.forEach((each, index) => {
      widths[index] = Math.max(widths[index] ?? 0, textColumns(each.text));
      isNumber[index] ||= each.isNumber;
    });
  }
  return lines.map((line) =>
    line.map((each, index) => {
      const gap = ' '.repeat((widths[index] ?? 0) - textColumns(each.text));
      if (isNumber[index] === true) return { ...each, text: gap + each.text };
      return index === line.length - 1 ? each : { ...each, text: each.text + gap };
    }),
  );
}

/** Takes rows off the longest table until all fit; a line tells how many. */
function fitTables(
  tables: readonly (readonly (readonly Cell[])[])[],
  room: number | null,
): readonly (readonly (readonly Cell[] | number)[])[] {
  const shown = tables.map((lines) => lines.length);
  const height = (): number => shown.reduce((sum, lines) => sum + lines + 1, 0);
  if (room === null) return tables;
  // The line that tells how many rows are missing takes the place of the last one kept.
  while (height() > room && Math.max(...shown) > 2) {
    const longest = shown.indexOf(Math.max(...shown));
    shown[longest] = (shown[longest] ?? 0) - 1;
  }
  const fitted = tables.map((lines, index) => {
    const kept = shown[index] ?? 0;
    if (kept >= lines.length) return lines;
    return [...lines.slice(0, kept - 1), lines.length - kept + 1];
  });
  while (fitted.reduce((sum, lines) => sum + lines.length + 1, 0) > room) {
    if (fitted.pop() === undefined) break; // A very low window: tables go from the last.
  }
  return fitted;
}

function asCells(line: readonly Cell[] | number | string): readonly Cell[] {
  if (typeof line === 'number') return [cell(`… +${line}`)];
  return typeof line === 'string' ? [] : line;
}

function drawLine(cells: readonly Cell[], options: ScreenOptions): string {
  let left = options.columns ?? Number.POSITIVE_INFINITY;
  let line = '';
  cells.forEach((each, index) => {
    const gap = index === 0 || left < 2 ? '' : '  ';
    const shown = cutText(each.text, left - gap.length);
    left -= gap.length + textColumns(shown);
    const code = options.isColoured && shown !== '' ? CODES[each.tone] : '';
    line += code === '' ? gap + shown : `${gap}${code}${shown}\u001b[0m`;
  });
  return options.isColoured ? line : line.trimEnd();
}

/** The beginning of `shown` that fits into `columns`, with `…` where something is missing. */
export function cutText(shown: string, columns: number | null): string {
  if (columns === null || textColumns(shown) <= columns) return shown;
  if (columns < 1) return '';
  let kept = '';
  let used = 1;
  for (const character of shown) {
    used += textColumns(character);
    if (used > columns) break;
    kept += character;
  }
  return `${kept}…`;
}
