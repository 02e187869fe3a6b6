/** The budget and the backoff. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { createPrng } from '../base/prng.ts';
import { BACKOFF_BASE_MS, BACKOFF_CAP_MS, backoffMs, RetryBudget } from './retry.ts';

describe('retry budget', () => {
  test('10 % of the requests of 10 s, plus the floor', () => {
    const budget = new RetryBudget({ percent: 10, floorPerSecond: 0 });
    for (let index = 0; index < 100; index += 1) budget.onRequest(index * 10);
    let taken = 0;
    while (budget.tryTake(1_000)) taken += 1;
    assert.equal(taken, 10);
    assert.equal(budget.suppressed, 1);
    assert.equal(new RetryBudget({ percent: 10, floorPerSecond: 3 }).balance(0), 30);
  });

  test('what it earned and spent is forgotten after 10 s', () => {
    const budget = new RetryBudget({ percent: 100, floorPerSecond: 0 });
    for (let index = 0; index < 5; index += 1) budget.onRequest(0);
    assert.equal(budget.balance(9_999), 5);
    assert.equal(budget.balance(10_000), 0);
    budget.onRequest(20_000);
    assert.equal(budget.tryTake(20_000), true);
    assert.equal(budget.tryTake(20_001), false);
  });

  test('a percent of 0 allows none, the floor included; a reload changes it', () => {
    const budget = new RetryBudget({ percent: 0 });
    assert.equal(budget.tryTake(0), false);
    budget.setPercent(10);
    assert.equal(budget.tryTake(0), true);
  });

  test('in any 10 s retries stay below percent * requests + floor (property)', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(400), fc.boolean()), { maxLength: 300 }),
        fc.integer({ min: 1, max: 100 }),
        (steps, percent) => {
          const budget = new RetryBudget({ percent, floorPerSecond: 1 });
          const requests: number[] = [];
          const retries: number[] = [];
          let nowMs = 0;
          for (const [gapMs, isRetry] of steps) {
            nowMs += gapMs;
            if (!isRetry) {
              budget.onRequest(nowMs);
              requests.push(nowMs);
            } else if (budget.tryTake(nowMs)) {
              retries.push(nowMs);
              const from = nowMs - 9_000;
              const earned = requests.filter((atMs) => atMs >= nowMs - 10_000).length;
              const spent = retries.filter((atMs) => atMs > from).length;
              assert.ok(spent <= (earned * percent) / 100 + 10);
            }
          }
        },
      ),
    );
  });

  test('(g) when everything fails, load grows by the percent and not by the attempts', () => {
    const budget = new RetryBudget({ percent: 10, floorPerSecond: 1 });
    let sent = 0;
    for (let index = 0; index < 10_000; index += 1) {
      budget.onRequest(index * 10); // 100 s at 100 a second.
      sent += 1;
      for (let made = 1; made < 4; made += 1) {
        if (!budget.tryTake(index * 10)) break;
        sent += 1;
      }
    }
    assert.ok(sent <= 10_000 * 1.1 + 110, `${sent} sent for 10000`);
  });
});

test('retries of what may have run are counted apart', () => {
  const budget = new RetryBudget({ percent: 10 });
  budget.tryTake(0, true);
  budget.tryTake(0);
  assert.equal(budget.possiblyDoubleCharged, 1);
});

describe('backoff', () => {
  test('it is drawn from [0, min(cap, base * 2^n))', () => {
    const prng = createPrng(3);
    for (let index = 0; index < 40; index += 1) {
      const bound = Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** index);
      const draws = Array.from({ length: 200 }, () => backoffMs(index, prng));
      assert.ok(Math.max(...draws) < bound);
      assert.ok(Math.max(...draws) > 0.9 * bound && Math.min(...draws) < 0.1 * bound);
    }
  });
});
