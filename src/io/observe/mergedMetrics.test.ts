import assert from 'node:assert/strict';
import { test } from 'node:test';

import { MergedMetrics } from './mergedMetrics.ts';
import { createMetrics, type Metrics } from './metrics.ts';

const BUILD = { version: '1', nodeVersion: 'v26', region: 'eu', node: 'eu-1' };

/** The metrics of one process that refused `refused` requests and has `inFlight` under way. */
function process(refused: number, inFlight: number, lagMs = 0): Metrics {
  const metrics = createMetrics(BUILD);
  for (let count = 0; count < refused; count += 1) metrics.httpRefused('bad_http');
  for (let count = 0; count < inFlight; count += 1) metrics.exchangeStarted('chat', 'm');
  metrics.loadMeasured(lagMs, 0);
  metrics.targetHealth('m', 't', 'ejected', 'why');
  return metrics;
}

function lineOf(text: string, name: string): string | undefined {
  return text
    .split('\n')
    .find((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
}

test('M1: counters and gauges are sums, a lag is the largest, facts stand once', async () => {
  const own = process(0, 1);
  const merged = new MergedMetrics();
  merged.told(1, await process(2, 3, 40).samples());
  merged.told(2, await process(5, 4, 10).samples());
  const { text } = await merged.render(await own.samples());
  assert.equal(
    lineOf(text, 'banyan_http_refused_total'),
    'banyan_http_refused_total{code="bad_http"} 7',
  );
  assert.equal(lineOf(text, 'banyan_exchanges_in_flight'), 'banyan_exchanges_in_flight 8');
  assert.equal(lineOf(text, 'banyan_loop_lag_seconds'), 'banyan_loop_lag_seconds 0.04');
  assert.match(lineOf(text, 'banyan_build_info') ?? '', / 1$/);
  assert.match(lineOf(text, 'banyan_target_state_changes_total') ?? '', / 1$/);
  const series = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  const names = series.map((line) => line.slice(0, line.lastIndexOf(' ')));
  assert.equal(new Set(names).size, names.length, 'no series twice');
});

test('M2: what a process counted stays when it is gone, what it had under way does not', async () => {
  const own = process(0, 0);
  const merged = new MergedMetrics();
  for (let generation = 0; generation < 40; generation += 1) {
    merged.told(1, await process(1, 2).samples());
    await merged.left(1);
  }
  merged.told(1, await process(1, 1).samples());
  const { text } = await merged.render(await own.samples());
  assert.equal(
    lineOf(text, 'banyan_http_refused_total'),
    'banyan_http_refused_total{code="bad_http"} 41',
  );
  assert.equal(lineOf(text, 'banyan_exchanges_in_flight'), 'banyan_exchanges_in_flight 1');
});
