/**
 * Series as plain numbers: the request path adds to a field of an object that it already holds, and
 * labels, text and prom-client are touched only when somebody scrapes. Every family is bounded: past
 * its limit new label values are counted together under `other`.
 */

import { assert } from '../../base/assert.ts';
import { OBSERVE_LIMITS } from '../../base/limits.ts';
import type { MetricSpec } from './metricTable.ts';

/** A counter or a gauge. @hot */
export class NumberSeries {
  value = 0;
}

/** A histogram: `counts[i]` is of bucket i alone; the last is above all bounds. @hot */
export class HistogramSeries {
  readonly #bounds: readonly number[];
  readonly counts: Float64Array;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    const bounds = this.#bounds;
    let low = 0;
    let high = bounds.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const bound = bounds[middle];
      if (bound !== undefined && value > bound) low = middle + 1;
      else high = middle;
    }
    this.counts[low] = (this.counts[low] ?? 0) + 1;
    this.sum += value;
  }
}

/** One sample as prom-client prints it. */
export interface Sample {
  readonly labels: Record<string, string | number>;
  readonly value: number;
  readonly metricName?: string;
}

/** The label value that stands for all that a family has no room for. */
export const OTHER = 'other';

/** All series of one metric. */
export class Family<Series extends NumberSeries | HistogramSeries> {
  readonly name: string;
  readonly spec: MetricSpec;
  readonly #make: () => Series;
  readonly #onMerge: (name: string) => void;
  readonly #series = new Map<string, { readonly values: readonly string[]; series: Series }>();

  constructor(
    name: string,
    spec: MetricSpec,
    make: () => Series,
    onMerge: (name: string) => void = () => {},
  ) {
    this.name = name;
    this.spec = spec;
    this.#make = make;
    this.#onMerge = onMerge;
  }

  /** The series of these label values, in the order of the table; made where there is none. */
  get(...values: readonly string[]): Series {
    assert(values.length === this.spec.labels.length, 'one value for each label');
    const key = values.join('\u0000');
    const found = this.#series.get(key);
    if (found !== undefined) return found.series;
    if (this.#series.size >= OBSERVE_LIMITS.seriesPerMetricMax) {
      this.#onMerge(this.name);
      const others = values.map(() => OTHER);
      const otherKey = others.join('\u0000');
      const other = this.#series.get(otherKey)?.series;
      return other ?? this.#add(otherKey, others);
    }
    return this.#add(key, values);
  }

  /** Drops all series, for gauges that are filled at every scrape. */
  clear(): void {
    this.#series.clear();
  }

  /** Drops the series of these label values. */
  remove(...values: readonly string[]): void {
    this.#series.delete(values.join('\u0000'));
  }

  /** Everything, as prom-client prints it. */
  samples(): Sample[] {
    return [...this.#series.values()].flatMap(({ values, series }) => {
      const labels = Object.fromEntries(
        this.spec.labels.map((label, index) => [label, values[index] ?? '']),
      );
      if (series instanceof NumberSeries) return [{ labels, value: series.value }];
      return histogramSamples(this.name, labels, this.spec.buckets, series);
    });
  }

  #add(key: string, values: readonly string[]): Series {
    const series = this.#make();
    this.#series.set(key, { values, series });
    return series;
  }
}

function histogramSamples(
  name: string,
  labels: Record<string, string>,
  bounds: readonly number[],
  series: HistogramSeries,
): Sample[] {
  let count = 0;
  const samples: Sample[] = [...bounds, '+Inf'].map((bound, index) => {
    count += series.counts[index] ?? 0;
    return { metricName: `${name}_bucket`, labels: { ...labels, le: bound }, value: count };
  });
  samples.push({ metricName: `${name}_sum`, labels, value: series.sum });
  samples.push({ metricName: `${name}_count`, labels, value: count });
  return samples;
}
