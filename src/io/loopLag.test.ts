import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ADMISSION_LIMITS } from '../base/limits.ts';
import { watchLoop } from './loopLag.ts';

const clock = { nowMs: () => performance.now(), wallMs: () => Date.now() };

function block(forMs: number): void {
  const endMs = performance.now() + forMs;
  while (performance.now() < endMs);
}

/** The next `count` reports while `work` runs once in every turn of the loop. */
function reports(
  count: number,
  work: () => void,
  busyShare?: () => number,
): Promise<readonly number[]> {
  return new Promise((resolve) => {
    const told: number[] = [];
    // The watch itself keeps nothing alive.
    const turns = setInterval(work, 1);
    const tell = (lagMs: number): void => {
      told.push(lagMs);
      if (told.length < count) return;
      clearInterval(turns);
      void watch.close();
      resolve(told);
    };
    const watch = watchLoop(clock, tell, busyShare);
  });
}

test('a loop that is busy every turn lags by about a turn', async () => {
  const [lagMs = 0] = await reports(1, () => block(150));
  assert.ok(lagMs >= 150 - 2 * ADMISSION_LIMITS.sampleMs, `${lagMs}`);
});

test('one long turn among short ones is no lag', async () => {
  let isFirst = true;
  const [lagMs = 0] = await reports(1, () => {
    if (isFirst) block(150);
    isFirst = false;
  });
  assert.ok(lagMs < 100, `${lagMs}`);
});

test('a loop that is late but mostly waits has no lag of its own', async () => {
  const [lagMs] = await reports(
    1,
    () => block(150),
    () => 0.5,
  );
  assert.equal(lagMs, 0);
});
