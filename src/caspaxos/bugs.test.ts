/**
 * Each planted bug must be found: by random runs within a number of seeds, by the model checker
 * within a number of states. A checker that finds none of them would prove nothing.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AssertionError } from '../base/assert.ts';
import { parseScenario } from '../base/scenarioText.ts';
import { BUGS, NO_BUGS, type Bug, type Bugs } from './bugs.ts';
import { checkInstance } from './modelChecker.ts';
import type { Instance } from './modelInstance.ts';
import { ScenarioWorld } from './scenarioWorld.ts';
import { runSeed } from './testRun.ts';

/** Seeds within which random runs find it; null: only the model checker does. */
const SEEDS: Readonly<Record<Bug, number | null>> = {
  'equal-ballot': 300,
  'early-answer': null,
  'stale-cache': 20,
  'phantom-read': 120,
  'first-promise': 20,
  'old-epoch': 120,
  'epoch-blind': null,
  'half-joint': 120,
  'no-rescan': 60,
  'reopened-bucket': 120,
  'early-conflict': 30,
  'unknown-as-failure': 30,
  'quorum-of-one': 5,
};

for (const bug of BUGS) {
  const seeds = SEEDS[bug];
  if (seeds === null) continue;
  test(`the planted bug ${bug} is found within ${seeds} random runs`, () => {
    assert.notEqual(firstFailure(bug, seeds), null);
  });
}

/** The first seed whose run does not end well, or null. */
function firstFailure(bug: Bug, seeds: number): number | null {
  for (let seed = 1; seed <= seeds; seed += 1) {
    try {
      runSeed(seed, { bugs: new Set([bug]) });
    } catch (cause) {
      assert.ok(cause instanceof AssertionError, 'a checker has seen it');
      return seed;
    }
  }
  return null;
}

const SMALL: Omit<Instance, 'name' | 'scripts'> = {
  acceptors: [1, 2, 3],
  first: [1, 2, 3],
  log: [],
  deaf: [],
  acceptorCrashes: 0,
  proposerCrashes: 0,
  ticks: 0,
  roundsMax: 1,
  cacheMax: 1,
  isSyncSplit: false,
};

interface Hunt {
  readonly name: Bug | 'a proposer id that is used again after a restart';
  readonly states: number;
  readonly instance: Partial<Instance> & Pick<Instance, 'scripts'>;
}

const HUNTS: readonly Hunt[] = [
  {
    name: 'early-answer',
    states: 40_000,
    instance: { scripts: [['change'], ['change']], acceptorCrashes: 1 },
  },
  {
    name: 'a proposer id that is used again after a restart',
    states: 10_000,
    instance: {
      scripts: [['change', 'change'], ['read']],
      proposerCrashes: 1,
      cacheMax: 0,
      isProposerReused: true,
    },
  },
  { name: 'phantom-read', states: 2_000, instance: { scripts: [['change'], ['read', 'read']] } },
  {
    name: 'no-rescan',
    states: 5_000,
    instance: {
      scripts: [['change'], ['read']],
      acceptors: [1, 2, 3, 4, 5],
      log: [{ kind: 'begin', acceptors: [3, 4, 5] }, { kind: 'finish' }],
      deaf: [0],
    },
  },
  { name: 'unknown-as-failure', states: 1_000, instance: { scripts: [['change'], ['change']] } },
  { name: 'quorum-of-one', states: 1_000, instance: { scripts: [['change'], ['change']] } },
];

for (const { name, states, instance } of HUNTS) {
  test(`the model checker finds ${name} within ${states} states`, () => {
    const bugs = new Set(BUGS.filter((bug) => bug === name));
    const report = checkInstance({ ...SMALL, ...instance, name, bugs }, states);
    assert.notEqual(report.violation, null);
  });
}

test('the planted bug epoch-blind brings back what an older set left with a minority', () => {
  const text = readFileSync(join(import.meta.dirname, 'testdata', 'leftover.txt'), 'utf8');
  const lastOf = (bugs: Bugs): string => {
    const world = new ScenarioWorld(bugs);
    return parseScenario(text)
      .map(({ command }) => world.run(command))
      .join('\n');
  };
  assert.match(lastOf(NO_BUGS), /reply 8 value v1=new/);
  assert.match(lastOf(new Set(['epoch-blind'])), /reply 8 value v1=old/);
});

test('every planted bug is looked for', () => {
  const hunted = new Set(['epoch-blind', ...HUNTS.map(({ name }) => String(name))]);
  for (const bug of BUGS) assert.ok(SEEDS[bug] !== null || hunted.has(bug), bug);
});
