/**
 * The suite's own test: bugs that other systems had, planted one at a time, are found within a few
 * seeds; and without a bug the same runs object to nothing. `PLANTED=name` runs one.
 */

import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';

import { PLANTED_BUGS } from './bugs.ts';
import { loadSimulator } from './plant.ts';

const only = process.env['PLANTED'];

for (const bug of PLANTED_BUGS) {
  if (only !== undefined && only !== bug.name) continue;
  test(`${bug.about}: found within ${bug.seedsMax} seeds (${bug.name})`, async () => {
    const { drawPlan, runPlan } = await loadSimulator(bug);
    for (let seed = 1; seed <= bug.seedsMax; seed += 1) {
      if (runPlan(drawPlan(seed, bug.profile)).violation !== null) return;
    }
    ok(false, `${bug.name} was not found within ${bug.seedsMax} seeds`);
  });
}

test('without a bug the same runs object to nothing', async () => {
  const { drawPlan, runPlan } = await loadSimulator(null);
  for (const [place, profile] of [...new Set(PLANTED_BUGS.map((bug) => bug.profile))].entries()) {
    for (const seed of [place + 1, place + 40]) {
      const { violation } = runPlan(drawPlan(seed, profile));
      equal(violation, null, `${violation?.checker}: ${violation?.text}`);
    }
  }
});

test('there are at least twenty bugs, each with a name of its own', () => {
  ok(PLANTED_BUGS.length >= 20);
  equal(new Set(PLANTED_BUGS.map(({ name }) => name)).size, PLANTED_BUGS.length);
});

test('a bug whose text is gone from the source is told', async () => {
  const [first] = PLANTED_BUGS;
  ok(first !== undefined);
  const gone = { ...first, name: 'gone', edits: [{ file: 'raft/log.ts', find: '§', replace: '' }] };
  await loadSimulator(gone).then(
    () => ok(false),
    (cause: unknown) => ok(String(cause).includes('the text to replace is there 0 times')),
  );
});
