/**
 * Random runs (testRun.ts). `CASPAXOS_SEEDS=10000 node --test …` runs more seeds, `CASPAXOS_SEED`
 * says the first.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runSeed, type RunCount } from './testRun.ts';

const SEEDS = Number(process.env['CASPAXOS_SEEDS'] ?? 100);
const FIRST_SEED = Number(process.env['CASPAXOS_SEED'] ?? 1);

test(`random runs keep every register linearizable and end well (${SEEDS} seeds)`, () => {
  const sum: Record<string, number> = {};
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed += 1) {
    const count = runOne(seed);
    for (const [name, value] of Object.entries(count)) sum[name] = (sum[name] ?? 0) + value;
  }
  if (SEEDS > 100) console.log(sum);
  if (SEEDS < 100) return;
  // What never happens in a hundred runs is not tested by them.
  for (const [name, value] of Object.entries(sum)) assert.ok(value > 0, `${name} never happened`);
});

function runOne(seed: number): RunCount {
  try {
    return runSeed(seed);
  } catch (cause) {
    throw new Error(`CASPAXOS_SEED=${seed} CASPAXOS_SEEDS=1 repeats this`, { cause });
  }
}
