import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import fc from 'fast-check';

import { OBSERVE_LIMITS } from '../../base/limits.ts';
import type { AttemptRecord, ExchangeRecord } from '../../replica/observer.ts';
import { createLog, createLogObserver, joinObservers } from './log.ts';
import { createMetrics } from './metrics.ts';
import { METRICS, type MetricSpec } from './metricTable.ts';
import { metricsReference } from './reference.ts';
import { Family, HistogramSeries, NumberSeries } from './series.ts';

const BUILD = { version: '1.2.3', nodeVersion: 'v26', region: 'eu-central-1', node: 'eu-1' };

const EXCHANGE: ExchangeRecord = {
  requestId: 'req-1',
  operation: 'chat',
  model: 'qwen',
  modelServed: 'qwen',
  keyName: 'app',
  isStream: true,
  end: 'answered',
  status: 200,
  errorCode: null,
  providerKind: 'openai',
  target: 'vllm',
  servedRegion: 'eu-central-1',
  forwardedFrom: '',
  attempts: 2,
  tries: [],
  hedge: null,
  outracedUsage: null,
  usage: {
    inputTokens: 100,
    outputTokens: 11,
    cachedInputTokens: 0,
    cacheWriteTokens: 0,
    reasoningTokens: 0,
    isExact: true,
  },
  totalMs: 1_050,
  firstContentMs: 50,
  overheadMs: 0.3,
  requestBytes: 400,
  responseBytes: 900,
  trace: ['llama-a: reset', 'vllm: answered'],
};

const ATTEMPT: AttemptRecord = {
  requestId: 'req-1',
  model: 'qwen',
  target: 'vllm',
  region: 'eu-central-1',
  providerKind: 'openai',
  end: 'failed',
  reason: 'reset',
  status: 0,
  firstContentMs: null,
  totalMs: 12,
  isRetry: true,
  isHedge: false,
  mode: null,
  usage: null,
};

async function lines(metrics: ReturnType<typeof createMetrics>): Promise<readonly string[]> {
  const { text } = await metrics.render();
  return text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
}

test('an answered stream is counted under the OpenTelemetry names and our own', async () => {
  const metrics = createMetrics(BUILD, false);
  metrics.setKnown(['qwen'], ['vllm']);
  metrics.exchangeStarted('chat', 'qwen');
  assert.equal(metrics.inFlight(), 1);
  metrics.attemptDone(ATTEMPT);
  const usage = EXCHANGE.usage;
  metrics.attemptDone({ ...ATTEMPT, end: 'answered', reason: '', mode: 'prefill', usage });
  metrics.attemptDone({ ...ATTEMPT, end: 'answered', reason: '', firstContentMs: 30 });
  metrics.exchangeDone(EXCHANGE);
  assert.equal(metrics.inFlight(), 0);
  const found = new Set(await lines(metrics));
  const genAi =
    'gen_ai_operation_name="chat",gen_ai_provider_name="openai",' +
    'gen_ai_request_model="qwen",gen_ai_response_model="qwen"';
  for (const line of [
    `gen_ai_server_request_duration_seconds_sum{${genAi},error_type=""} 1.05`,
    `gen_ai_server_request_duration_seconds_bucket{${genAi},error_type="",le="0.64"} 0`,
    `gen_ai_server_request_duration_seconds_bucket{${genAi},error_type="",le="1.28"} 1`,
    `gen_ai_server_request_duration_seconds_bucket{${genAi},error_type="",le="+Inf"} 1`,
    `gen_ai_server_time_to_first_token_seconds_sum{${genAi}} 0.05`,
    `gen_ai_server_time_per_output_token_seconds_sum{${genAi}} 0.1`,
    `gen_ai_client_token_usage_sum{${genAi},gen_ai_token_type="input"} 100`,
    `gen_ai_client_token_usage_sum{${genAi},gen_ai_token_type="output"} 11`,
    'banyan_exchanges_total{operation="chat",end="answered",status="200"} 1',
    'banyan_exchanges_recovered_total{model="qwen"} 1',
    'banyan_overhead_seconds_bucket{operation="chat",le="0.0002"} 0',
    'banyan_overhead_seconds_bucket{operation="chat",le="0.0005"} 1',
    'banyan_attempts_total{target="vllm",region="eu-central-1",end="failed",reason="reset"} 1',
    'banyan_attempts_total{target="vllm",region="eu-central-1",end="answered",reason=""} 2',
    'banyan_target_tokens_total{target="vllm",gen_ai_token_type="output"} 11',
    'banyan_continuations_total{model="qwen",mode="prefill",end="answered"} 1',
    'gen_ai_client_operation_time_to_first_chunk_seconds_count{gen_ai_provider_name="openai",' +
      'gen_ai_request_model="qwen",target="vllm"} 1',
    'banyan_retries_total{model="qwen"} 3',
    'banyan_key_tokens_total{key="app",gen_ai_token_type="output"} 11',
    'banyan_request_bytes_total 400',
    'banyan_build_info{version="1.2.3",node_version="v26",region="eu-central-1",node="eu-1"} 1',
  ]) {
    assert.ok(found.has(line), line);
  }
});

test('model names that are not configured are counted as other, however many', async () => {
  const metrics = createMetrics(BUILD, false);
  metrics.setKnown(['qwen'], []);
  for (let index = 0; index < 1_000; index += 1) {
    const model = `made-up-${index}`;
    metrics.exchangeDone({ ...EXCHANGE, model, modelServed: '', errorCode: 'model_not_found' });
  }
  const { text } = await metrics.render();
  assert.doesNotMatch(text, /made-up/);
  assert.match(text, /banyan_exchange_errors_total\{code="model_not_found"\} 1000/);
  assert.match(text, /request_duration_seconds_count\{.*gen_ai_request_model="other".*\} 1000/);
});

test('a family past its limit counts new label values as other and says so', () => {
  const spec: MetricSpec = {
    type: 'counter',
    help: '',
    labels: ['a'],
    buckets: [],
    convention: null,
  };
  let merged = 0;
  const family = new Family(
    'x',
    spec,
    () => new NumberSeries(),
    () => {
      merged += 1;
    },
  );
  for (let index = 0; index < OBSERVE_LIMITS.seriesPerMetricMax + 5; index += 1) {
    family.get(String(index)).value += 1;
  }
  const samples = family.samples();
  assert.equal(samples.length, OBSERVE_LIMITS.seriesPerMetricMax + 1);
  assert.deepEqual(samples.at(-1), { labels: { a: 'other' }, value: 5 });
  assert.equal(merged, 5);
});

test('a histogram counts a value in the first bucket whose bound is not below it', () => {
  const bounds = [1, 2, 5, 10];
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 12, noNaN: true })), (values) => {
      const series = new HistogramSeries(bounds);
      for (const value of values) series.observe(value);
      let count = 0;
      bounds.forEach((bound, index) => {
        count += series.counts[index] ?? 0;
        assert.equal(count, values.filter((value) => value <= bound).length);
      });
      assert.equal(count + (series.counts[bounds.length] ?? 0), values.length);
    }),
  );
});

test('a target is in one state at a time, and is forgotten with its model', async () => {
  const metrics = createMetrics(BUILD, false);
  metrics.setKnown(['qwen'], ['vllm']);
  metrics.targetHealth('qwen', 'vllm', 'ejected', 'reset');
  metrics.targetHealth('qwen', 'vllm', 'healthy', 'probe');
  const state = (await lines(metrics)).filter((line) => line.startsWith('banyan_target_state{'));
  assert.deepEqual(state, ['banyan_target_state{model="qwen",target="vllm",state="healthy"} 1']);
  metrics.setKnown(['other-model'], ['vllm']);
  assert.ok(!(await lines(metrics)).some((line) => line.startsWith('banyan_target_state{')));
});

test('regions are asked for at every scrape', async () => {
  const metrics = createMetrics(BUILD, false);
  metrics.setRegions(() => [{ region: 'us-east-2', state: 'up', rttMs: 104, phi: 0.2 }]);
  assert.ok((await lines(metrics)).includes('banyan_region_rtt_seconds{region="us-east-2"} 0.104'));
  metrics.setRegions(() => []);
  assert.ok(!(await lines(metrics)).some((line) => line.startsWith('banyan_region_')));
});

test('label values are escaped', async () => {
  const metrics = createMetrics(BUILD, false);
  metrics.retrySuppressed('', 'a"b\\c\nd');
  const { text } = await metrics.render();
  assert.ok(text.includes('reason="a\\"b\\\\c\\nd"'));
});

test('metrics of the process stand beside ours', async () => {
  const { text } = await createMetrics(BUILD).render();
  assert.match(text, /^process_cpu_user_seconds_total /m);
  assert.match(text, /^nodejs_eventloop_lag_seconds /m);
});

test('the table: buckets ascend, counters end in _total, every metric is documented', () => {
  for (const [name, spec] of Object.entries<MetricSpec>(METRICS)) {
    const ascending = spec.buckets.toSorted((left, right) => left - right);
    assert.deepEqual(spec.buckets, ascending, name);
    assert.equal(spec.type === 'histogram', spec.buckets.length > 0, name);
    assert.equal(spec.type === 'counter', name.endsWith('_total'), name);
  }
  const page = join(import.meta.dirname, '../../../docs/reference/metrics.md');
  assert.equal(readFileSync(page, 'utf8'), metricsReference(), 'run node tools/generate.ts');
});

function capture(level: 'debug' | 'info' | 'silent' = 'info') {
  const written: string[] = [];
  const log = createLog(level, { region: 'eu-central-1' }, { write: (line) => written.push(line) });
  return { log, parsed: () => written.map((line): unknown => JSON.parse(line)) };
}

test('one line for an exchange at info, with the region, and none for its attempts', () => {
  const { log, parsed } = capture();
  const observer = joinObservers([createLogObserver(log)]);
  observer.exchangeStarted('chat', 'qwen');
  observer.attemptDone(ATTEMPT);
  observer.exchangeDone(EXCHANGE);
  const [line, ...more] = parsed();
  assert.deepEqual(more, []);
  assert.ok(typeof line === 'object' && line !== null && 'time' in line);
  const { time: _, ...rest } = line;
  assert.deepEqual(rest, {
    level: 'info',
    event: 'exchange',
    region: 'eu-central-1',
    requestId: 'req-1',
    operation: 'chat',
    model: 'qwen',
    keyName: 'app',
    isStream: true,
    end: 'answered',
    status: 200,
    target: 'vllm',
    servedRegion: 'eu-central-1',
    attempts: 2,
    inputTokens: 100,
    outputTokens: 11,
    cachedInputTokens: 0,
    isUsageExact: true,
    totalMs: 1050,
    firstContentMs: 50,
    overheadMs: 0.3,
    requestBytes: 400,
    responseBytes: 900,
    trace: 'llama-a: reset; vllm: answered',
  });
});

test('whatever the text of a record, its line is one line of valid JSON, bounded', () => {
  const any = fc.string({ unit: 'binary', maxLength: 40 });
  fc.assert(
    fc.property(any, any, any, (model, keyName, told) => {
      const { log, parsed } = capture();
      const record = { ...EXCHANGE, model, keyName, modelServed: told, trace: [told, told] };
      createLogObserver(log).exchangeDone(record);
      const [line] = parsed();
      assert.ok(typeof line === 'object' && line !== null);
      assert.equal(Reflect.get(line, 'model'), model.toWellFormed());
      assert.equal(Reflect.get(line, 'keyName'), keyName.toWellFormed());
    }),
  );
  const { log, parsed } = capture();
  const refused = { ...EXCHANGE, usage: null, firstContentMs: null, model: 'x'.repeat(9_000) };
  createLogObserver(log).exchangeDone({ ...refused, errorCode: 'invalid_json', totalMs: 1 / 3 });
  assert.ok(JSON.stringify(parsed()).length < 2_000);
});

test('attempts and suppressed retries are told at debug', () => {
  const { log, parsed } = capture('debug');
  const observer = createLogObserver(log);
  observer.attemptDone(ATTEMPT);
  observer.retrySuppressed('qwen', 'budget');
  assert.equal(parsed().length, 2);
});

test('a field named like a secret is redacted, and long text is cut', () => {
  const { log, parsed } = capture();
  log.info('x', { apiKey: 'sk-secret', detail: 'y'.repeat(5_000) });
  const text = JSON.stringify(parsed());
  assert.doesNotMatch(text, /sk-secret/);
  assert.ok(text.length < 1_300);
});

test('the level can change while running', () => {
  const { log, parsed } = capture('silent');
  log.error('unseen');
  log.setLevel('debug');
  assert.ok(log.isDebug);
  log.debug('seen');
  assert.equal(parsed().length, 1);
});
