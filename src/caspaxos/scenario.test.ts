/**
 * Runs testdata/*.txt: what the core gives out, step by step, against what is written there.
 * `node src/caspaxos/scenario.test.ts --rewrite` writes what it gives out now; review it as a diff.
 */

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseScenario, rewriteScenario } from '../base/scenarioText.ts';
import { ScenarioWorld } from './scenarioWorld.ts';

const FOLDER = join(import.meta.dirname, 'testdata');

for (const file of readdirSync(FOLDER).toSorted()) {
  const path = join(FOLDER, file);
  const text = readFileSync(path, 'utf8');
  if (process.argv.includes('--rewrite')) {
    const world = new ScenarioWorld();
    writeFileSync(
      path,
      rewriteScenario(text, (step) => world.run(step.command)),
    );
    continue;
  }
  test(`scenario ${file}`, () => {
    const world = new ScenarioWorld();
    const steps = parseScenario(text);
    assert.ok(steps.length > 0);
    for (const step of steps) {
      assert.equal(world.run(step.command), step.expected, `${file}:${step.line} ${step.command}`);
    }
  });
}
