/**
 * Runs testdata/*.txt: what the control state answers against what is written there.
 * `node src/replica/control/scenario.test.ts --rewrite` writes what it answers now; review the diff.
 */

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseScenario, rewriteScenario } from '../../base/scenarioText.ts';
import { ControlWorld } from './scenarioWorld.ts';

const FOLDER = join(import.meta.dirname, 'testdata');

for (const file of readdirSync(FOLDER).toSorted()) {
  const path = join(FOLDER, file);
  const text = readFileSync(path, 'utf8');
  const world = new ControlWorld();
  if (process.argv.includes('--rewrite')) {
    writeFileSync(
      path,
      rewriteScenario(text, (step) => world.run(step.command)),
    );
    continue;
  }
  test(`control scenario ${file}`, () => {
    const steps = parseScenario(text);
    assert.ok(steps.length > 0);
    for (const step of steps) {
      assert.equal(world.run(step.command), step.expected, `${file}:${step.line} ${step.command}`);
    }
  });
}
