/**
 * The figures of the soak: what a node's metrics say, whether the accounts of node and clients are
 * the same, and whether memory is flat.
 */

import type { Tally } from './load.ts';

/** What one scrape of `GET /metrics` says. */
export interface NodeSample {
  readonly rssBytes: number;
  readonly heapUsedBytes: number;
  readonly openFds: number;
  readonly connections: number;
  readonly inFlight: number;
  /** Requests of clients and regions by how they ended. */
  readonly ends: Readonly<Record<string, number>>;
  /** Of those, what other regions forwarded. */
  readonly forwarded: number;
  /** Requests refused before the gateway saw them. */
  readonly httpRefused: number;
  readonly seriesMerged: number;
}

/** Reads the metrics that the soak needs. */
export function readSample(text: string): NodeSample {
  const ends: Record<string, number> = { answered: 0, refused: 0, failed: 0, 'client-gone': 0 };
  const sums = new Map<string, number>();
  for (const [, name = '', labels = '', value = ''] of text.matchAll(
    /^([a-z_]+)(\{[^}]*\})? (\S+)$/gm,
  )) {
    sums.set(name, (sums.get(name) ?? 0) + Number(value));
    if (name !== 'banyan_exchanges_total') continue;
    const end = /end="([^"]*)"/.exec(labels)?.[1] ?? '';
    ends[end] = (ends[end] ?? 0) + Number(value);
  }
  const sum = (name: string): number => sums.get(name) ?? 0;
  return {
    rssBytes: sum('process_resident_memory_bytes'),
    heapUsedBytes: sum('nodejs_heap_size_used_bytes'),
    openFds: sum('process_open_fds'),
    connections: sum('banyan_http_connections'),
    inFlight: sum('banyan_exchanges_in_flight'),
    ends,
    forwarded: sum('banyan_exchanges_forwarded_total'),
    httpRefused: sum('banyan_http_refused_total'),
    seriesMerged: sum('banyan_metric_series_merged_total'),
  };
}

/**
 * What does not add up between a node and its clients when nothing is under way; empty: all does.
 * A client that left has seen no end, so it may stand in any class, but in exactly one. The same
 * holds for what was forwarded.
 */
export function unaccounted(sample: NodeSample, tally: Tally): readonly string[] {
  const { ends, forwarded } = sample;
  const { answered, error, broken, left, transport } = tally.byOutcome;
  const faults: string[] = [];
  const end = (name: string): number => ends[name] ?? 0;
  const done = Object.values(ends).reduce((sum, count) => sum + count, 0);
  const equal = (what: string, found: number, wanted: number): void => {
    if (found !== wanted) faults.push(`${what}: ${found}, not ${wanted}`);
  };
  const between = (what: string, found: number, low: number, high: number): void => {
    if (found < low || found > high) faults.push(`${what}: ${found}, not ${low} to ${high}`);
  };
  equal('under way', sample.inFlight, 0);
  equal('in = answered + refused + failed + client gone', done - forwarded, tally.sent - transport);
  equal('refused by the transport', sample.httpRefused, transport);
  equal('sent = seen', answered + error + broken + left + transport, tally.sent);
  const any = left + forwarded;
  between('answered', end('answered'), answered, answered + any);
  between(
    'refused and failed',
    end('refused') + end('failed'),
    error + broken,
    error + broken + any,
  );
  between('client gone', end('client-gone'), 0, any);
  return faults;
}

/** The middle value; of an even count the upper one. NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** The Theil-Sen slope: the median of the slopes of all pairs, so that single outliers do not count. */
export function slope(points: readonly (readonly [number, number])[]): number {
  const slopes: number[] = [];
  points.forEach(([x1, y1], index) => {
    for (const [x2, y2] of points.slice(index + 1)) {
      if (x2 !== x1) slopes.push((y2 - y1) / (x2 - x1));
    }
  });
  return median(slopes);
}

/** The least-squares slope. */
export function leastSquares(points: readonly (readonly [number, number])[]): number {
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / points.length;
  const meanY = points.reduce((sum, [, y]) => sum + y, 0) / points.length;
  let over = 0;
  let under = 0;
  for (const [x, y] of points) {
    over += (x - meanX) * (y - meanY);
    under += (x - meanX) ** 2;
  }
  return over / under;
}

/** Growth of memory over the second and last thirds of a run. */
export interface Growth {
  /** Whether the run is long enough to say. */
  readonly isJudged: boolean;
  readonly isFlat: boolean;
  /** Median of the last third less that of the second, of the second's, percent. */
  readonly thirdsPercent: number;
  /** Theil-Sen and least-squares slopes after the first third, percent of the median an hour. */
  readonly theilSenPercentHour: number;
  readonly leastSquaresPercentHour: number;
}

/** Memory may grow by so much from the second third of a run to its last, percent. */
export const GROWTH_PERCENT_MAX = 2;
/** Minutes of a run below which its growth says nothing: memory is still warming up. */
export const JUDGED_MINUTES_MIN = 20;

/** Judges samples of (minute, bytes). The first third is warm-up. */
export function growthOf(points: readonly (readonly [number, number])[]): Growth {
  const lastMinute = points.at(-1)?.[0] ?? 0;
  const isJudged = lastMinute >= JUDGED_MINUTES_MIN;
  const settled = points.filter(([minute]) => minute > lastMinute / 3);
  const second = settled.filter(([minute]) => minute <= (lastMinute * 2) / 3);
  const last = settled.filter(([minute]) => minute > (lastMinute * 2) / 3);
  const before = median(second.map(([, bytes]) => bytes));
  const after = median(last.map(([, bytes]) => bytes));
  const thirdsPercent = ((after - before) / before) * 100;
  const all = median(settled.map(([, bytes]) => bytes));
  return {
    isJudged,
    isFlat: !isJudged || thirdsPercent < GROWTH_PERCENT_MAX,
    thirdsPercent,
    theilSenPercentHour: ((slope(settled) * 60) / all) * 100,
    leastSquaresPercentHour: ((leastSquares(settled) * 60) / all) * 100,
  };
}
