/**
 * One set of metrics from the processes of a node: sums, where a gauge is no sum the largest.
 *
 * M1: no series appears twice. M2: a counter never goes back because a process died: what it had
 * counted, as it told last, stays in the sum.
 */

import { AggregatorRegistry, type Registry } from 'prom-client';

import type { Sample } from './series.ts';

/** Every metric with its values, for the process that shows the sum of several. */
export type MetricSamples = readonly {
  readonly name: string;
  readonly help: string;
  /** `counter`, `gauge`, `histogram`, `summary`. */
  readonly type: string;
  /** How the values of several processes become one: `sum`, `max`, `first`, `average`, `omit` … */
  readonly aggregator: string;
  readonly values: readonly Sample[];
}[];

/** Facts of the node, which each process knows: only the first process tells them. */
const NODE_METRICS: ReadonlySet<string> = new Set([
  'banyan_build_info',
  'banyan_config_reloads_total',
  'banyan_config_rollout_halted',
  'banyan_config_shared_refused',
  'banyan_config_shared_version',
  'banyan_control_feature_level',
  'banyan_control_leader_known',
  'banyan_control_revision',
  'banyan_region_drained',
  'banyan_region_phi',
  'banyan_region_rtt_seconds',
  'banyan_region_state',
  'banyan_target_state',
  'banyan_target_state_changes_total',
  'banyan_worker_exchanges_lost_total',
  'banyan_worker_restarts_total',
  'banyan_workers',
]);

/** So many that are gone are kept apart; then they are summed. */
const GONE_MAX = 16;

/** The metrics of the processes that were and are. */
export class MergedMetrics {
  readonly #living = new Map<number, MetricSamples>();
  /** Counters of those that are gone. */
  #gone: readonly MetricSamples[] = [];
  #isSumming = false;

  /** What a process told. */
  told(id: number, samples: MetricSamples): void {
    this.#living.set(
      id,
      samples.filter(({ name }) => !NODE_METRICS.has(name)),
    );
  }

  /** A process is gone: its gauges go, its counters stay (M2). */
  async left(id: number): Promise<void> {
    const last = this.#living.get(id) ?? [];
    this.#living.delete(id);
    const counted = last.filter(({ type }) => type === 'counter' || type === 'histogram');
    this.#gone = [...this.#gone, counted];
    if (this.#isSumming || this.#gone.length < GONE_MAX) return;
    this.#isSumming = true;
    const summed = this.#gone;
    const sum = await metricSamples(merge(summed));
    this.#gone = [sum, ...this.#gone.slice(summed.length)];
    this.#isSumming = false;
  }

  /** Everything, process by process. */
  all(own: MetricSamples): MetricSamples {
    return [own, ...this.#living.values(), ...this.#gone].flat();
  }

  /** Everything as text, `own` being those of the first process. */
  async render(
    own: MetricSamples,
  ): Promise<{ readonly contentType: string; readonly text: string }> {
    // Facts of one process that have no sum (its start, its open files) are shown of the first.
    const first = own.map((metric) =>
      metric.aggregator === 'omit' ? { ...metric, aggregator: 'first' } : metric,
    );
    const registry = merge([first, ...this.#living.values(), ...this.#gone]);
    return { contentType: registry.contentType, text: await registry.metrics() };
  }
}

function merge(all: readonly MetricSamples[]): Registry {
  return AggregatorRegistry.aggregate(all.map((each) => [...each]));
}

/** prom-client's own type names the kinds by number; what it gives are words. */
export function metricSamples(registry: Registry): Promise<MetricSamples> {
  return registry.getMetricsAsJSON() as unknown as Promise<MetricSamples>;
}
