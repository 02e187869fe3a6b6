import assert from 'node:assert/strict';
import { test } from 'node:test';

import { WORKER_LIMITS } from '../../base/workerLimits.ts';
import { workerCount } from './count.ts';

test('auto is one a core up to its limit; a number is what it says; without Linux it is one', () => {
  assert.equal(workerCount('auto', 'linux', 1), 1);
  assert.equal(workerCount('auto', 'linux', 4), 4);
  assert.equal(workerCount('auto', 'linux', 128), WORKER_LIMITS.autoMax);
  assert.equal(workerCount(16, 'linux', 2), 16);
  assert.equal(workerCount('auto', 'darwin', 8), 1);
  assert.equal(workerCount(4, 'win32', 8), 1);
});
