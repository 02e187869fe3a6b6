import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ADMISSION_LIMITS } from '../base/limits.ts';
import { watchLoop, type LoopShares } from './loopLag.ts';

const clock = { nowMs: () => performance.now(), wallMs: () => Date.now() };

function block(forMs: number): void {
  const endMs = performance.now() + forMs;
  while (performance.now() < endMs);
}

/** The next `count` reports while `work` runs once in every turn of the loop. */
function reports(
  count: number,
  work: () => void,
  shares: LoopShares = { busy: 1, processor: 1 },
  waitMs?: () => number,
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
    const watch = watchLoop(clock, tell, () => shares, waitMs);
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
  const [lagMs] = await reports(1, () => block(150), { busy: 0.5, processor: 0.5 });
  assert.equal(lagMs, 0);
});

test('time in which others had the processor is no lag, but for a quarter', async () => {
  const stands = (): number => 400;
  const lags = async (processor: number): Promise<number | undefined> =>
    (await reports(1, () => {}, { busy: 1, processor }, stands))[0];
  assert.equal(await lags(1), 400);
  assert.equal(await lags(0.5), 200);
  assert.equal(await lags(0.01), 100);
});

test('the share of a processor is what the thread itself had', async () => {
  const startMs = performance.now();
  const startCpu = process.threadCpuUsage();
  const lagMs = await new Promise<number>((resolve) => {
    const turns = setInterval(() => block(20), 1);
    const tell = (told: number): void => {
      clearInterval(turns);
      void watch.close();
      resolve(told);
    };
    const watch = watchLoop(clock, tell, undefined, () => 1_000);
  });
  const { user, system } = process.threadCpuUsage(startCpu);
  const share = (user + system) / 1_000 / (performance.now() - startMs);
  const expectedMs = 1_000 * Math.min(1, Math.max(ADMISSION_LIMITS.processorShareMin, share));
  assert.ok(Math.abs(lagMs - expectedMs) < 150, `${lagMs} instead of ${expectedMs}`);
});

test('what a token waits for its turn is lag, if it stands', async () => {
  const waits = [300, 300, 120, 300];
  let index = 0;
  const next = (): number => waits[(index += 1) % waits.length] ?? 0;
  const [lagMs = 0] = await reports(1, () => {}, undefined, next);
  assert.ok(lagMs >= 120 && lagMs <= 300, `${lagMs}`);
});
