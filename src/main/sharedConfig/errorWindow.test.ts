import { deepEqual } from 'node:assert/strict';
import { test } from 'node:test';

import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import type { MetricSamples } from '../../io/observe/mergedMetrics.ts';
import { countsOf, ErrorWindow } from './errorWindow.ts';

test('before is what came in the last minutes', () => {
  const window = new ErrorWindow();
  deepEqual(window.before({ requests: 9, errors: 9 }), { requests: 0, errors: 0 });
  window.add(0, { requests: 100, errors: 50 });
  window.add(1_000, { requests: 110, errors: 50 });
  deepEqual(window.before({ requests: 120, errors: 51 }), { requests: 20, errors: 1 });
  window.add(SHARED_CONFIG_LIMITS.beforeMs + 500, { requests: 130, errors: 51 });
  deepEqual(window.before({ requests: 130, errors: 51 }), { requests: 20, errors: 1 });
});

test('errors are what a configuration can cause, of all processes together', () => {
  const row = (end: string, status: number, value: number) => ({
    labels: { operation: 'chat', end, status },
    value,
  });
  const metric = (name: string, ...values: readonly ReturnType<typeof row>[]) => ({
    name,
    help: '',
    type: 'counter',
    aggregator: 'sum',
    values,
  });
  const samples: MetricSamples = [
    metric('banyan_exchanges_total', row('answered', 200, 10), row('failed', 502, 1)),
    metric('banyan_exchanges_total', row('refused', 404, 2), row('refused', 429, 4)),
    metric('banyan_exchanges_total', row('refused', 503, 8), row('client-gone', 499, 16)),
    metric('banyan_attempts_total', row('failed', 500, 32)),
  ];
  deepEqual(countsOf(samples), { requests: 41, errors: 11 });
});
