/** From rounds to tables: medians, ratios within each round, and what was expected. */

import { spreadOf, type Spread } from '../http/report.ts';
import { SHAPES, type Figures } from './parts.ts';

/** One system in one part. */
export interface Row {
  readonly part: string;
  readonly system: string;
  readonly rounds: readonly (Figures | null)[];
  /** What was wrong in some round; null: all was right. */
  readonly wrong: string | null;
}

type Table = readonly (readonly string[])[];

function figureOf(row: Row | undefined, name: string): Spread | null {
  return spreadOf((row?.rounds ?? []).map((figures) => figures?.[name] ?? Number.NaN));
}

/** Banyan's figure over etcd's in the same round. */
function ratioOf(rows: readonly Row[], part: string, name: string): Spread | null {
  const [banyan, etcd] = ['banyan', 'etcd'].map((system) => {
    return rows.find((row) => row.part === part && row.system === system);
  });
  if (banyan === undefined || etcd === undefined) return null;
  return spreadOf(
    banyan.rounds.map((figures, round) => {
      const [own, other] = [figures?.[name], etcd.rounds[round]?.[name]];
      return own === undefined || other === undefined ? Number.NaN : own / other;
    }),
  );
}

/** The tables that there are figures for, each with its title. */
export function tablesOf(rows: readonly Row[]): readonly (readonly [string, Table])[] {
  const has = (prefix: string): boolean => rows.some(({ part }) => part.startsWith(prefix));
  return [
    ...(SHAPES.some(({ id }) => has(id)) ? [['rates', ratesTable(rows)] as const] : []),
    ...(has('outage') ? [['the leader is killed', outageTable(rows)] as const] : []),
    ...(has('recovery') ? [['a long log', recoveryTable(rows)] as const] : []),
    ...(has('claim-1') ? [['claims of new keys', claimsTable(rows)] as const] : []),
    ...(has('claims-kept') ? [['an acceptor with many claims', keptTable(rows)] as const] : []),
    ...(has('claim-wan')
      ? [['registers over the round trips of npm start', claimWanTable(rows)] as const]
      : []),
    ...(has('claim-outage')
      ? [['a region is killed under claims', claimOutageTable(rows)] as const]
      : []),
    ...(has('wan ')
      ? [['commits over the round trips of npm start', wanTable(rows)] as const]
      : []),
  ];
}

function ratesTable(rows: readonly Row[]): Table {
  const lines = SHAPES.flatMap(({ id, title }) => {
    return rows
      .filter(({ part }) => part === id)
      .map((row) => {
        const cell = (name: string, digits: number): string =>
          show(figureOf(row, name)?.median, digits);
        const isOwn = row.system === 'banyan';
        return [
          title,
          row.system,
          cell('perSecond', 0),
          isOwn ? showSpread(ratioOf(rows, id, 'perSecond')) : '',
          cell('latencyMsP50', 3),
          isOwn ? showSpread(ratioOf(rows, id, 'latencyMsP50')) : '',
          cell('latencyMsP99', 2),
          cell('cpuMicrosEach', 0),
          cell('coresBusy', 2),
          cell('generatorBusyPercent', 0),
          row.wrong ?? '',
        ];
      });
  });
  const head = ['what', 'system', 'per second', '× etcd', 'p50 ms', '× etcd', 'p99 ms'];
  return [[...head, 'CPU µs each', 'cores busy', 'generator %', 'remarks'], ...lines];
}

function claimsTable(rows: readonly Row[]): Table {
  const lines = rows
    .filter(({ part }) => /^claim-\d/.test(part))
    .map((row) => {
      const cell = (name: string, digits: number): string =>
        show(figureOf(row, name)?.median, digits);
      const isOwn = row.system === 'banyan';
      const clients = row.part.replace('claim-', '');
      return [
        clients,
        row.system,
        cell('perSecond', 0),
        isOwn ? showSpread(ratioOf(rows, row.part, 'perSecond')) : '',
        cell('latencyMsP50', 3),
        cell('latencyMsP99', 2),
        cell('cpuMicrosEach', 0),
        cell('coresBusy', 2),
        row.wrong ?? '',
      ];
    });
  const head = ['clients', 'system', 'claims per second', '× etcd', 'p50 ms', 'p99 ms'];
  return [[...head, 'CPU µs each', 'cores busy', 'remarks'], ...lines];
}

/** Of each figure: its name, what is shown of it, by what it is divided, and digits. */
const KEPT_COLUMNS = [
  ['bytesEach', 'bytes of memory each', 1, 0],
  ['rssBytes', 'process, MB', 1e6, 0],
  ['logBytes', 'log, MB', 1e6, 0],
  ['openMs', 'opening, s', 1e3, 1],
  ['digestMs', 'digest, s', 1e3, 1],
  ['digestPauseMs', 'its longest pause, ms', 1, 1],
  ['digestCommitMsMax', 'longest claim meanwhile, ms', 1, 1],
  ['scanPauseMs', 'longest page of a rescan, ms', 1, 1],
] as const;

function keptTable(rows: readonly Row[]): Table {
  const lines = rows
    .filter(({ part }) => part.startsWith('claims-kept '))
    .map((row) => {
      const cells = KEPT_COLUMNS.map(([name, , unit, digits]) => {
        const median = figureOf(row, name)?.median;
        return show(median === undefined ? undefined : median / unit, digits);
      });
      return [row.part.replace('claims-kept ', ''), ...cells, row.wrong ?? ''];
    });
  return [['claims', ...KEPT_COLUMNS.map(([, title]) => title), 'remarks'], ...lines];
}

function claimWanTable(rows: readonly Row[]): Table {
  const lines = rows
    .filter(({ part }) => part.startsWith('claim-wan '))
    .map((row) => {
      const cells = ['floorMs', 'warmMsP50', 'coldMsP50'].map((name) =>
        show(figureOf(row, name)?.median, 1),
      );
      return [row.part.replace('claim-wan ', ''), ...cells, row.wrong ?? ''];
    });
  return [['client in', 'nearest quorum ms', 'warm p50 ms', 'cold p50 ms', 'remarks'], ...lines];
}

function claimOutageTable(rows: readonly Row[]): Table {
  const lines = rows
    .filter(({ part }) => part.startsWith('claim-outage '))
    .map((row) => {
      const cells = ['calmMs', 'outageMs'].map((name) => show(figureOf(row, name)?.median, 0));
      return [row.part.replace('claim-outage ', ''), ...cells, row.wrong ?? ''];
    });
  const head = ['killed', 'longest without an answer before, ms', 'after, ms', 'remarks'];
  return [head, ...lines];
}

function outageTable(rows: readonly Row[]): Table {
  const lines = rows
    .filter(({ part }) => part === 'outage')
    .map((row) => {
      const seen = figureOf(row, 'outageMs');
      const [least, median, most] = [seen?.least, seen?.median, seen?.most];
      const ratio = row.system === 'banyan' ? showSpread(ratioOf(rows, 'outage', 'outageMs')) : '';
      return [row.system, show(median, 0), show(least, 0), show(most, 0), ratio, row.wrong ?? ''];
    });
  return [['system', 'no write for, ms', 'least', 'most', '× etcd', 'remarks'], ...lines];
}

function recoveryTable(rows: readonly Row[]): Table {
  const lines = rows
    .filter(({ part }) => part === 'recovery')
    .map((row) => {
      const cells = ['entries', 'recoveryMs'].map((name) => show(figureOf(row, name)?.median, 0));
      return [row.system, ...cells, row.wrong ?? ''];
    });
  return [['system', 'entries', 'start to first read, ms', 'remarks'], ...lines];
}

function wanTable(rows: readonly Row[]): Table {
  const lines = rows
    .filter(({ part }) => part.startsWith('wan '))
    .map((row) => {
      const cell = (name: string): string => show(figureOf(row, name)?.median, 1);
      const [, leader = '', from = ''] = row.part.split(' ');
      const cells = [cell('floorMs'), cell('commitMsP50'), cell('overMs')];
      return [leader, from, ...cells, row.wrong ?? ''];
    });
  return [['leader in', 'client in', 'floor ms', 'commit p50 ms', 'over ms', 'remarks'], ...lines];
}

/** What was expected of one figure, and what was seen. */
export interface Verdict {
  readonly claim: string;
  readonly seen: number | null;
  readonly isMet: boolean;
}

/** The claims about what was measured; `fsyncMs` is this disk's. */
export function verdictsOf(rows: readonly Row[], fsyncMs: number): readonly Verdict[] {
  const verdicts: Verdict[] = [];
  const claim = (text: string, spread: Spread | null, isMet: (seen: number) => boolean): void => {
    const seen = spread?.median ?? null;
    if (seen !== null) verdicts.push({ claim: text, seen, isMet: isMet(seen) });
  };
  const latency = ratioOf(rows, 'put-1', 'latencyMsP50');
  claim("put p50, 1 client: ≤ 1.5 × etcd's", latency, (seen) => seen <= 1.5);
  for (const clients of [1, 16, 256]) {
    const rate = ratioOf(rows, `put-${clients}`, 'perSecond');
    claim(`puts/s, ${clients} clients: ≥ 0.5 × etcd's`, rate, (seen) => seen >= 0.5);
  }
  const outage = ratioOf(rows, 'outage', 'outageMs');
  claim("outage when the leader dies: ≤ etcd's", outage, (seen) => seen <= 1);
  for (const row of rows) {
    const [kind, leader, from] = row.part.split(' ');
    if (kind !== 'wan' || leader !== from) continue;
    const floor = figureOf(row, 'floorMs')?.median ?? 0;
    const most = floor * 1.1 + fsyncMs;
    const text = `commit p50 led from ${leader}: ≤ 1.1 × ${floor} ms + fsync`;
    claim(text, figureOf(row, 'commitMsP50'), (seen) => seen <= most);
  }
  for (const row of rows) {
    const [kind, region] = row.part.split(' ');
    if (kind !== 'claim-wan') continue;
    const floor = figureOf(row, 'floorMs')?.median ?? 0;
    const text = `warm change p50 from ${region}: ≤ 1.1 × ${floor} ms + fsync`;
    claim(text, figureOf(row, 'warmMsP50'), (seen) => seen <= floor * 1.1 + fsyncMs);
  }
  return verdicts;
}

export function verdictsTable(verdicts: readonly Verdict[]): Table {
  const lines = verdicts.map(({ claim, seen, isMet }) => {
    return [claim, show(seen ?? undefined, 3), isMet ? 'ok' : 'short'];
  });
  return [['expected of Banyan', 'seen', ''], ...lines];
}

function showSpread(spread: Spread | null): string {
  if (spread === null) return '-';
  return `${show(spread.median, 2)} (${show(spread.least, 2)}–${show(spread.most, 2)})`;
}

function show(value: number | undefined, digits: number): string {
  if (value === undefined || !Number.isFinite(value)) return '-';
  return value.toLocaleString('en-US', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}
