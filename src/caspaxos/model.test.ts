/** The model checker over the core as it is; `npm run model` takes the larger instances too. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkInstance } from './modelChecker.ts';
import { INSTANCES } from './modelInstances.ts';

for (const instance of INSTANCES.filter(({ isQuick }) => isQuick)) {
  test(`every world of "${instance.name}" keeps the register linearizable`, () => {
    const report = checkInstance(instance, 200_000);
    assert.deepEqual(report.violation, null);
    assert.ok(report.isComplete, `${report.states} states are not all`);
    assert.ok(report.states > 1_000, 'something was looked at');
  });
}
