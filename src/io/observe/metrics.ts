/**
 * Metrics as an `Observer`: what the gateway tells becomes numbers in series that were resolved
 * before, and text when somebody scrapes.
 *
 * O1: the request path allocates one key at most for each record. O2: label values that clients
 * choose (model names) are only ever those of the configuration, else `other`.
 */

import { collectDefaultMetrics, Registry } from 'prom-client';
import type { Metric } from 'prom-client';

import type { AttemptRecord, ExchangeRecord, Observer } from '../../replica/observer.ts';
import { metricSamples, type MetricSamples } from './mergedMetrics.ts';
import { METRICS, type MetricName, type MetricSpec } from './metricTable.ts';
import type { OtlpCounts } from './otlp.ts';
import { isSameAttempt, isSameExchange } from './sameSeries.ts';
import { Family, HistogramSeries, NumberSeries, OTHER } from './series.ts';

/** Another region, as seen when somebody scrapes. */
export interface RegionSample {
  readonly region: string;
  readonly state: string;
  readonly rttMs: number | null;
  readonly phi: number | null;
}

/** Spans, as counted when somebody scrapes. */
export interface SpanSample {
  readonly queuedSpans: number;
  readonly counts: Readonly<OtlpCounts>;
}

/** Labels of `banyan_trace_spans_total`. */
const SPAN_RESULTS: Readonly<Record<keyof OtlpCounts, string>> = {
  exported: 'exported',
  queueFull: 'queue-full',
  unreachable: 'unreachable',
  refused: 'refused',
  stopped: 'stopped',
};

/** What runs, for `banyan_build_info`. */
export interface BuildInfo {
  readonly version: string;
  readonly nodeVersion: string;
  readonly region: string;
  readonly node: string;
}

/** Metrics of one node. */
export interface Metrics extends Observer {
  /** The configuration's models and targets: all other names are counted as `other`. */
  setKnown(models: readonly string[], targets: readonly string[]): void;
  /** Asked for the regions at every scrape. */
  setRegions(sample: () => readonly RegionSample[]): void;
  /** Open connections of clients; asked at every scrape. */
  setConnections(count: () => number): void;
  /** A request was refused before the gateway saw it. */
  httpRefused(code: string): void;
  reloaded(result: 'applied' | 'refused'): void;
  /** Values of gauges without labels, asked at every scrape. */
  addGauges(sample: () => GaugeValues): void;
  /** A worker ended and took `exchanges` with it. */
  workerLost(exchanges: number): void;
  /** Log lines lost so far; asked at every scrape. */
  setLogDropped(count: () => number): void;
  /** What became of spans so far; asked at every scrape. Absent: none are made. */
  setSpans(sample: () => SpanSample): void;
  inFlight(): number;
  /** The same as `render`, not as text. */
  samples(): Promise<MetricSamples>;
  /** The text for Prometheus, and its content type. */
  render(): Promise<{ readonly contentType: string; readonly text: string }>;
}

export type GaugeValues = readonly (readonly [name: MetricName, value: number])[];

/** Gauges of which several processes show the largest, not the sum. */
const LARGEST: ReadonlySet<string> = new Set(['banyan_loop_lag_seconds', 'banyan_shed_pressure']);

/** `gen_ai.operation.name` for our operations. */
const OPERATION_NAMES: Readonly<Record<string, string>> = {
  chat: 'chat',
  messages: 'chat',
  completions: 'text_completion',
  embeddings: 'embeddings',
  count_tokens: 'count_tokens',
  models: 'models',
  other: OTHER,
};

/** The series that one kind of exchange adds to. */
interface ExchangeSeries {
  readonly duration: HistogramSeries;
  readonly firstToken: HistogramSeries;
  readonly perToken: HistogramSeries;
  readonly inputTokens: HistogramSeries;
  readonly outputTokens: HistogramSeries;
  readonly done: NumberSeries;
  readonly attempts: HistogramSeries;
  readonly overhead: HistogramSeries;
  readonly recovered: NumberSeries;
}

/** The series that one kind of attempt adds to. */
interface AttemptSeries {
  readonly duration: HistogramSeries;
  readonly firstChunk: HistogramSeries;
  readonly done: NumberSeries;
  readonly retries: NumberSeries;
  readonly inputTokens: NumberSeries;
  readonly outputTokens: NumberSeries;
}

/** The series that one key adds to. */
interface KeySeries {
  readonly requests: NumberSeries;
  readonly inputTokens: NumberSeries;
  readonly outputTokens: NumberSeries;
}

/** Makes the metrics of one node. `withProcess: false` leaves out those of the process, for tests. */
export function createMetrics(build: BuildInfo, withProcess = true): Metrics {
  return new NodeMetrics(build, withProcess);
}

class NodeMetrics implements Metrics {
  readonly #registry = new Registry();
  readonly #merged: Family<NumberSeries>;
  readonly #numbers = new Map<MetricName, Family<NumberSeries>>();
  readonly #histograms = new Map<MetricName, Family<HistogramSeries>>();
  readonly #exchanges = new Map<string, ExchangeSeries>();
  readonly #attempts = new Map<string, AttemptSeries>();
  readonly #keys = new Map<string, KeySeries>();
  /**
   * The last of each model and of each target: nearly always the next one is of the same kind, and
   * no key has to be made for it. Bounded by the configuration.
   */
  readonly #lastExchange = new Map<
    string,
    { readonly record: ExchangeRecord; readonly series: ExchangeSeries }
  >();
  readonly #lastAttempt = new Map<
    string,
    { readonly record: AttemptRecord; readonly series: AttemptSeries }
  >();
  readonly #targetStates = new Map<string, readonly [string, string, string]>();
  readonly #inFlight: NumberSeries;
  readonly #loopLag: NumberSeries;
  readonly #pressure: NumberSeries;
  readonly #requestBytes: NumberSeries;
  readonly #responseBytes: NumberSeries;
  #models: ReadonlySet<string> = new Set();
  #targets: ReadonlySet<string> = new Set();
  #regions: () => readonly RegionSample[] = () => [];
  #spans: (() => SpanSample) | null = null;
  #logDropped: () => number = () => 0;
  #connections: () => number = () => 0;
  readonly #gauges: (() => GaugeValues)[] = [];

  constructor(build: BuildInfo, withProcess: boolean) {
    const merged = METRICS.banyan_metric_series_merged_total;
    this.#merged = new Family<NumberSeries>(
      'banyan_metric_series_merged_total',
      merged,
      () => new NumberSeries(),
    );
    this.#register(this.#merged);
    for (const [name, spec] of Object.entries(METRICS) as [MetricName, MetricSpec][]) {
      if (name !== this.#merged.name) this.#addFamily(name, spec);
    }
    this.#inFlight = this.#number('banyan_exchanges_in_flight').get();
    this.#loopLag = this.#number('banyan_loop_lag_seconds').get();
    this.#pressure = this.#number('banyan_shed_pressure').get();
    this.#requestBytes = this.#number('banyan_request_bytes_total').get();
    this.#responseBytes = this.#number('banyan_response_bytes_total').get();
    const { version, nodeVersion, region, node } = build;
    this.#number('banyan_build_info').get(version, nodeVersion, region, node).value = 1;
    if (withProcess) collectDefaultMetrics({ register: this.#registry });
  }

  setKnown(models: readonly string[], targets: readonly string[]): void {
    this.#models = new Set(models);
    this.#targets = new Set(targets);
    // Bundles hold label values of the old configuration; their series stay, the lookup is redone.
    this.#exchanges.clear();
    this.#attempts.clear();
    this.#lastExchange.clear();
    this.#lastAttempt.clear();
    this.#keys.clear();
    const states = this.#number('banyan_target_state');
    for (const [key, labels] of this.#targetStates) {
      if (this.#models.has(labels[0]) && this.#targets.has(labels[1])) continue;
      states.remove(...labels);
      this.#targetStates.delete(key);
    }
  }

  setRegions(sample: () => readonly RegionSample[]): void {
    this.#regions = sample;
  }

  setLogDropped(count: () => number): void {
    this.#logDropped = count;
  }

  setSpans(sample: () => SpanSample): void {
    this.#spans = sample;
  }

  setConnections(count: () => number): void {
    this.#connections = count;
  }

  httpRefused(code: string): void {
    this.#number('banyan_http_refused_total').get(code).value += 1;
  }

  reloaded(result: 'applied' | 'refused'): void {
    this.#number('banyan_config_reloads_total').get(result).value += 1;
  }

  addGauges(sample: () => GaugeValues): void {
    this.#gauges.push(sample);
  }

  workerLost(exchanges: number): void {
    this.#number('banyan_worker_restarts_total').get().value += 1;
    this.#number('banyan_worker_exchanges_lost_total').get().value += exchanges;
  }

  inFlight(): number {
    return this.#inFlight.value;
  }

  exchangeStarted(): void {
    this.#inFlight.value += 1;
  }

  exchangeDone(record: ExchangeRecord): void {
    this.#inFlight.value -= 1;
    const series = this.#exchangeSeries(record);
    series.done.value += 1;
    series.duration.observe(record.totalMs / 1000);
    series.attempts.observe(record.attempts);
    series.overhead.observe(record.overheadMs / 1000);
    this.#requestBytes.value += record.requestBytes;
    this.#responseBytes.value += record.responseBytes;
    if (record.end === 'answered' && record.attempts > 1) series.recovered.value += 1;
    const { usage, firstContentMs } = record;
    if (record.isStream && firstContentMs !== null) {
      series.firstToken.observe(firstContentMs / 1000);
      if (usage !== null && usage.outputTokens > 1) {
        const restMs = Math.max(0, record.totalMs - firstContentMs);
        series.perToken.observe(restMs / 1000 / (usage.outputTokens - 1));
      }
    }
    if (usage !== null) {
      series.inputTokens.observe(usage.inputTokens);
      series.outputTokens.observe(usage.outputTokens);
    }
    if (record.hedge !== null) this.#countHedge(record, record.hedge);
    if (record.keyName !== '') this.#countKey(record);
    if (record.errorCode !== null) {
      this.#number('banyan_exchange_errors_total').get(record.errorCode).value += 1;
    }
    if (record.forwardedFrom !== '') {
      this.#number('banyan_exchanges_forwarded_total').get(record.forwardedFrom).value += 1;
    }
  }

  attemptDone(record: AttemptRecord): void {
    const series = this.#attemptSeries(record);
    series.done.value += 1;
    series.duration.observe(record.totalMs / 1000);
    if (record.firstContentMs !== null) series.firstChunk.observe(record.firstContentMs / 1000);
    if (record.isRetry) series.retries.value += 1;
    if (record.usage !== null) {
      series.inputTokens.value += record.usage.inputTokens;
      series.outputTokens.value += record.usage.outputTokens;
    }
    if (record.mode !== null) {
      const continuations = this.#number('banyan_continuations_total');
      continuations.get(this.#model(record.model), record.mode, record.end).value += 1;
    }
  }

  targetHealth(model: string, target: string, state: string, reason: string): void {
    const states = this.#number('banyan_target_state');
    const key = `${model}\u0000${target}`;
    const before = this.#targetStates.get(key);
    if (before !== undefined) states.remove(...before);
    this.#targetStates.set(key, [model, target, state]);
    states.get(model, target, state).value = 1;
    const changes = this.#number('banyan_target_state_changes_total');
    changes.get(model, target, state, reason).value += 1;
  }

  retrySuppressed(model: string, why: string): void {
    this.#number('banyan_retries_suppressed_total').get(this.#model(model), why).value += 1;
  }

  shed(priority: string, reason: string): void {
    this.#number('banyan_shed_total').get(priority, reason).value += 1;
  }

  loadMeasured(loopLagMs: number, pressure: number): void {
    this.#loopLag.value = loopLagMs / 1000;
    this.#pressure.value = pressure;
  }

  async samples(): Promise<MetricSamples> {
    this.#sample();
    return metricSamples(this.#registry);
  }

  async render(): Promise<{ readonly contentType: string; readonly text: string }> {
    this.#sample();
    return { contentType: this.#registry.contentType, text: await this.#registry.metrics() };
  }

  /** Asks for what is known only when somebody looks. */
  #sample(): void {
    for (const sample of this.#gauges) {
      for (const [name, value] of sample()) this.#number(name).get().value = value;
    }
    this.#number('banyan_log_lines_dropped_total').get().value = this.#logDropped();
    this.#number('banyan_http_connections').get().value = this.#connections();
    if (this.#spans !== null) this.#renderSpans(this.#spans());
    const state = this.#number('banyan_region_state');
    const rtt = this.#number('banyan_region_rtt_seconds');
    const phi = this.#number('banyan_region_phi');
    for (const family of [state, rtt, phi]) family.clear();
    for (const sample of this.#regions()) {
      state.get(sample.region, sample.state).value = 1;
      if (sample.rttMs !== null) rtt.get(sample.region).value = sample.rttMs / 1000;
      if (sample.phi !== null) phi.get(sample.region).value = sample.phi;
    }
  }

  #renderSpans({ counts, queuedSpans }: SpanSample): void {
    this.#number('banyan_trace_queue_spans').get().value = queuedSpans;
    const spans = this.#number('banyan_trace_spans_total');
    for (const [name, result] of Object.entries(SPAN_RESULTS) as [keyof OtlpCounts, string][]) {
      spans.get(result).value = counts[name];
    }
  }

  #countHedge(record: ExchangeRecord, outcome: string): void {
    const model = this.#model(record.model);
    this.#number('banyan_hedges_total').get(model, outcome).value += 1;
    const { outracedUsage } = record;
    if (outracedUsage === null) return;
    const tokens = this.#number('banyan_hedge_tokens_total');
    tokens.get(model, 'input').value += outracedUsage.inputTokens;
    tokens.get(model, 'output').value += outracedUsage.outputTokens;
  }

  #exchangeSeries(record: ExchangeRecord): ExchangeSeries {
    const last = this.#lastExchange.get(record.modelServed);
    if (last !== undefined && isSameExchange(last.record, record)) return last.series;
    const series = this.#findExchangeSeries(record);
    if (this.#isKnown(record.modelServed)) {
      this.#lastExchange.set(record.modelServed, { record, series });
    }
    return series;
  }

  #findExchangeSeries(record: ExchangeRecord): ExchangeSeries {
    const { operation, providerKind, model, modelServed, end, status } = record;
    const code = record.errorCode ?? '';
    const key = `${operation} ${providerKind} ${model} ${modelServed} ${end} ${status} ${code}`;
    const found = this.#exchanges.get(key);
    if (found !== undefined) return found;
    const genAi = [
      OPERATION_NAMES[operation] ?? OTHER,
      providerKind,
      this.#model(model),
      this.#model(modelServed),
    ] as const;
    const usage = this.#histogram('gen_ai_client_token_usage');
    const series: ExchangeSeries = {
      duration: this.#histogram('gen_ai_server_request_duration_seconds').get(...genAi, code),
      firstToken: this.#histogram('gen_ai_server_time_to_first_token_seconds').get(...genAi),
      perToken: this.#histogram('gen_ai_server_time_per_output_token_seconds').get(...genAi),
      inputTokens: usage.get(...genAi, 'input'),
      outputTokens: usage.get(...genAi, 'output'),
      done: this.#number('banyan_exchanges_total').get(operation, end, String(status)),
      attempts: this.#histogram('banyan_exchange_attempts').get(operation),
      overhead: this.#histogram('banyan_overhead_seconds').get(operation),
      recovered: this.#number('banyan_exchanges_recovered_total').get(this.#model(model)),
    };
    // Unknown models must not fill the lookup either (O2).
    if (this.#isKnown(model) && this.#isKnown(modelServed)) this.#exchanges.set(key, series);
    return series;
  }

  #attemptSeries(record: AttemptRecord): AttemptSeries {
    const last = this.#lastAttempt.get(record.target);
    if (last !== undefined && isSameAttempt(last.record, record)) return last.series;
    const series = this.#findAttemptSeries(record);
    this.#lastAttempt.set(record.target, { record, series });
    return series;
  }

  #findAttemptSeries(record: AttemptRecord): AttemptSeries {
    const { providerKind, target, region, end, reason } = record;
    const key = `${providerKind} ${record.model} ${target} ${region} ${end} ${reason}`;
    const found = this.#attempts.get(key);
    if (found !== undefined) return found;
    const model = this.#model(record.model);
    const genAi = [providerKind, model] as const;
    const errorType = end === 'answered' ? '' : reason;
    const tokens = this.#number('banyan_target_tokens_total');
    const series: AttemptSeries = {
      duration: this.#histogram('gen_ai_client_operation_duration_seconds').get(
        ...genAi,
        errorType,
      ),
      firstChunk: this.#histogram('gen_ai_client_operation_time_to_first_chunk_seconds').get(
        ...genAi,
        target,
      ),
      done: this.#number('banyan_attempts_total').get(target, region, end, reason),
      retries: this.#number('banyan_retries_total').get(model),
      inputTokens: tokens.get(target, 'input'),
      outputTokens: tokens.get(target, 'output'),
    };
    if (this.#isKnown(record.model)) this.#attempts.set(key, series);
    return series;
  }

  #countKey(record: ExchangeRecord): void {
    const { keyName, usage } = record;
    let series = this.#keys.get(keyName);
    if (series === undefined) {
      const tokens = this.#number('banyan_key_tokens_total');
      series = {
        requests: this.#number('banyan_key_requests_total').get(keyName),
        inputTokens: tokens.get(keyName, 'input'),
        outputTokens: tokens.get(keyName, 'output'),
      };
      this.#keys.set(keyName, series);
    }
    series.requests.value += 1;
    series.inputTokens.value += usage?.inputTokens ?? 0;
    series.outputTokens.value += usage?.outputTokens ?? 0;
    if (record.errorCode !== 'rate_limited') return;
    this.#number('banyan_rate_limited_total').get(keyName).value += 1;
  }

  #isKnown(model: string): boolean {
    return model === '' || this.#models.has(model);
  }

  #model(model: string): string {
    return this.#isKnown(model) ? model : OTHER;
  }

  #addFamily(name: MetricName, spec: MetricSpec): void {
    const onMerge = (metric: string) => {
      this.#merged.get(metric).value += 1;
    };
    if (spec.type === 'histogram') {
      const family = new Family(name, spec, () => new HistogramSeries(spec.buckets), onMerge);
      this.#histograms.set(name, family);
      this.#register(family);
    } else {
      const family = new Family(name, spec, () => new NumberSeries(), onMerge);
      this.#numbers.set(name, family);
      this.#register(family);
    }
  }

  #register(family: Family<NumberSeries> | Family<HistogramSeries>): void {
    const { name, spec } = family;
    const { help, type } = spec;
    const aggregator = LARGEST.has(name) ? 'max' : 'sum';
    const metric = {
      name,
      get: () => Promise.resolve({ name, help, type, aggregator, values: family.samples() }),
    };
    // The registry asks a metric for its name and for `get()` only; its type wants prom-client's
    // own classes, whose histograms cannot be filled from numbers counted elsewhere.
    this.#registry.registerMetric(metric as unknown as Metric);
  }

  #number(name: MetricName): Family<NumberSeries> {
    const family = this.#numbers.get(name);
    if (family === undefined) throw new Error(`no counter or gauge ${name}`);
    return family;
  }

  #histogram(name: MetricName): Family<HistogramSeries> {
    const family = this.#histograms.get(name);
    if (family === undefined) throw new Error(`no histogram ${name}`);
    return family;
  }
}
