/** From rounds to a table: medians, ratios within each round, and what was expected. */

import type { Row } from './rounds.ts';
import type { Part } from './scenarios.ts';

/** The middle of the rounds and how far they spread. */
export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

export function spreadOf(values: readonly number[]): Spread | null {
  const sorted = values.filter(Number.isFinite).toSorted((one, other) => one - other);
  const [least, most] = [sorted[0], sorted.at(-1)];
  if (least === undefined || most === undefined) return null;
  const middle = sorted.length / 2;
  const low = sorted[Math.ceil(middle) - 1] ?? least;
  const high = sorted[Math.floor(middle)] ?? most;
  return { median: (low + high) / 2, least, most };
}

export function figureOf(row: Row, name: string): Spread | null {
  return spreadOf(row.rounds.map((figures) => figures?.[name] ?? Number.NaN));
}

/** `row`'s figure over `base`'s in the same round: load of others on the machine falls on both. */
export function ratioOf(row: Row, base: Row, name: string): Spread | null {
  return spreadOf(
    row.rounds.map((figures, round) => {
      const [own, other] = [figures?.[name], base.rounds[round]?.[name]];
      return own === undefined || other === undefined ? Number.NaN : own / other;
    }),
  );
}

interface Column {
  readonly head: string;
  readonly cell: (row: Row, rows: readonly Row[]) => string;
}

const figure = (head: string, name: string, digits: number): Column => ({
  head,
  cell: (row) => show(figureOf(row, name)?.median, digits),
});

const againstNginx = (head: string, name: string): Column => ({
  head,
  cell(row, rows) {
    const nginx = rows.find(({ system }) => system === 'nginx');
    const ratio = nginx === undefined ? null : ratioOf(row, nginx, name);
    if (ratio === null) return '-';
    if (row === nginx) return '1';
    const digits = ratio.median < 0.1 ? 3 : 2;
    return `${show(ratio.median, digits)} (${show(ratio.least, digits)}–${show(ratio.most, digits)})`;
  },
});

const SPEED: readonly Column[] = [
  againstNginx('× nginx', 'perSecond'),
  figure('CPU µs each', 'cpuMicrosEach', 1),
  againstNginx('CPU × nginx', 'cpuMicrosEach'),
  figure('core busy %', 'busyPercent', 0),
];

const COLUMNS: Readonly<Record<Part['kind'], readonly Column[]>> = {
  throughput: [
    figure('requests/s', 'perSecond', 0),
    ...SPEED,
    figure('p50 ms', 'latencyMsP50', 2),
    figure('p99 ms', 'latencyMsP99', 2),
  ],
  streams: [
    figure('chunks/s', 'perSecond', 0),
    ...SPEED,
    figure('first byte p50 ms', 'firstByteMsP50', 1),
    figure('p99 ms', 'firstByteMsP99', 1),
    againstNginx('p99 × nginx', 'firstByteMsP99'),
  ],
  memory: [
    figure('RSS KB a stream', 'rssKbPerStream', 1),
    figure('PSS KB a stream', 'pssKbPerStream', 1),
    figure('CPU µs a chunk', 'cpuMicrosEach', 1),
    againstNginx('CPU × nginx', 'cpuMicrosPerStreamSecond'),
    figure('core busy %', 'busyPercent', 1),
    figure('RSS MB before', 'rssMbBefore', 0),
  ],
  added: [
    figure('at requests/s', 'perSecond', 0),
    figure('added p50 ms', 'addedMsP50', 3),
    figure('added p99 ms', 'addedMsP99', 3),
    figure('through p50', 'throughMsP50', 3),
    figure('through p99', 'throughMsP99', 3),
    figure('direct p50', 'directMsP50', 3),
    figure('direct p99', 'directMsP99', 3),
    figure('core busy %', 'busyPercent', 0),
  ],
  cores: [
    figure('requests/s', 'perSecond', 0),
    figure('CPU µs each', 'cpuMicrosEach', 1),
    figure('cores busy %', 'busyPercent', 0),
    figure('capacity by CPU time', 'capacityPerSecond', 0),
    figure('p50 ms', 'latencyMsP50', 2),
    figure('p99 ms', 'latencyMsP99', 2),
  ],
};

/** A table of text cells, the first line its head. */
export function tableOf(part: Part, rows: readonly Row[]): readonly (readonly string[])[] {
  const columns = COLUMNS[part.kind];
  const lines = rows.map((row) => {
    const isVoid = row.rounds.every((figures) => figures === null);
    const cells = columns.map(({ cell }) => (isVoid ? '-' : cell(row, rows)));
    return [row.system, ...cells, row.wrong ?? ''];
  });
  return [['system', ...columns.map(({ head }) => head), 'remarks'], ...lines];
}

/** The table with padded columns, for a terminal. */
export function renderTable(table: readonly (readonly string[])[]): string {
  const head = table[0] ?? [];
  const widths = head.map((_, column) => {
    return Math.max(...table.map((line) => (column === head.length - 1 ? 0 : width(line[column]))));
  });
  return table
    .map((line) => {
      const cells = line.map((cell, column) => {
        const gap = ' '.repeat(Math.max(0, (widths[column] ?? 0) - width(cell)));
        return column === 0 || column === line.length - 1 ? cell + gap : gap + cell;
      });
      return `  ${cells.join('  ')}`.trimEnd();
    })
    .join('\n');
}

/** The table for a page. */
export function renderMarkdown(table: readonly (readonly string[])[]): string {
  const [head = [], ...lines] = table;
  const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const rule = head.map((_, column) =>
    column === 0 || column === head.length - 1 ? '---' : '--:',
  );
  return [row(head), `|${rule.join('|')}|`, ...lines.map(row)].join('\n');
}

function width(cell: string | undefined): number {
  return (cell ?? '').length;
}

function show(value: number | undefined, digits: number): string {
  if (value === undefined || !Number.isFinite(value)) return '-';
  return value.toLocaleString('en-US', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

/** What was expected of one figure, and what was seen. */
export interface Verdict {
  readonly part: string;
  readonly claim: string;
  readonly seen: number | null;
  readonly isMet: boolean;
}

interface Claim {
  readonly part: string;
  readonly claim: string;
  readonly isMet: (seen: number) => boolean;
  readonly seen: (find: (system: string) => Row) => number | undefined;
}

const atLeast =
  (bound: number) =>
  (seen: number): boolean =>
    seen >= bound;
const atMost =
  (bound: number) =>
  (seen: number): boolean =>
    seen <= bound;
const over = (name: string, base: string) => (find: (system: string) => Row) =>
  ratioOf(find('banyan'), find(base), name)?.median;
const own = (name: string) => (find: (system: string) => Row) =>
  figureOf(find('banyan'), name)?.median;

/** The claims of the product; `docs/internals/performance.md` tells why where one is not met. */
const CLAIMS: readonly Claim[] = [
  { part: 'a', claim: '≥ 0.45 × nginx', isMet: atLeast(0.45), seen: over('perSecond', 'nginx') },
  { part: 'a', claim: '≥ 25 × Portkey', isMet: atLeast(25), seen: over('perSecond', 'portkey') },
  { part: 'b', claim: '≥ 0.40 × nginx', isMet: atLeast(0.4), seen: over('perSecond', 'nginx') },
  ...['c', 'c16'].flatMap((part): readonly Claim[] => [
    {
      part,
      claim: "≥ 0.85 × nginx's chunks/s",
      isMet: atLeast(0.85),
      seen: over('perSecond', 'nginx'),
    },
    {
      part,
      claim: "first byte p99 ≤ 3 × nginx's",
      isMet: atMost(3),
      seen: over('firstByteMsP99', 'nginx'),
    },
  ]),
  { part: 'd', claim: '≤ 30 KB a stream', isMet: atMost(30), seen: own('rssKbPerStream') },
  {
    part: 'd',
    claim: "≤ 2 × nginx's CPU",
    isMet: atMost(2),
    seen: over('cpuMicrosPerStreamSecond', 'nginx'),
  },
  ...['e-json', 'e-token'].flatMap((part): readonly Claim[] => [
    { part, claim: 'added p50 ≤ 0.2 ms', isMet: atMost(0.2), seen: own('addedMsP50') },
    { part, claim: 'added p99 ≤ 1 ms', isMet: atMost(1), seen: own('addedMsP99') },
  ]),
  {
    part: 'f',
    claim: 'two workers ≥ 1.8 × one (capacity by CPU time)',
    isMet: atLeast(1.8),
    seen: (find) => ratioOf(find('2 workers'), find('1 worker'), 'capacityPerSecond')?.median,
  },
];

/** The claims about the parts that were measured. */
export function verdictsOf(rows: readonly Row[]): readonly Verdict[] {
  return CLAIMS.filter(({ part }) => rows.some((row) => row.part === part)).map((claim) => {
    const find = (system: string): Row =>
      rows.find((row) => row.part === claim.part && row.system === system) ?? {
        part: claim.part,
        system,
        rounds: [],
        wrong: 'not measured',
      };
    const seen = claim.seen(find) ?? null;
    const isMet = seen !== null && claim.isMet(seen);
    return { part: claim.part, claim: claim.claim, seen, isMet };
  });
}

/** The verdicts as text. */
export function renderVerdicts(verdicts: readonly Verdict[]): string {
  const table = verdicts.map(({ part, claim, seen, isMet }) => {
    const mark = seen === null ? 'not measured' : isMet ? 'ok' : 'short';
    return [`(${part})`, claim, seen === null ? '-' : show(seen, 3), mark];
  });
  return renderTable([['part', 'expected of Banyan', 'seen', ''], ...table]);
}
