import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createPrng } from '../base/prng.ts';
import { HEDGE_SAMPLES_MIN, HEDGE_SAVED_MAX, HedgeBudget, hedgeDelayMs } from './hedge.ts';
import { Digest } from './digest.ts';

test('hedges never exceed their share of the requests, whatever comes in whatever order (E1)', () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const prng = createPrng(seed);
    const percent = Math.round(prng.nextFloat() * 10_000) / 100;
    const budget = new HedgeBudget(percent);
    let requests = 0;
    for (let step = 0; step < 500; step += 1) {
      if (prng.nextFloat() < 0.5) {
        budget.onRequest();
        requests += 1;
      } else {
        budget.tryTake();
      }
      const most = (requests * percent) / 100;
      assert.ok(budget.taken <= most + 1e-9, `seed ${seed}: ${budget.taken} of ${most}`);
    }
  }
});

test('a budget that is always wanted is spent to the last hedge', () => {
  const budget = new HedgeBudget(5);
  for (let request = 0; request < 1_000; request += 1) {
    budget.onRequest();
    budget.tryTake();
  }
  assert.equal(budget.taken, 50);
  assert.equal(budget.suppressed, 950);
});

test('a quiet day saves up no more than a few hedges (E2)', () => {
  const budget = new HedgeBudget(100);
  for (let request = 0; request < 10_000; request += 1) budget.onRequest();
  let taken = 0;
  while (budget.tryTake()) taken += 1;
  assert.equal(taken, HEDGE_SAVED_MAX);
});

test('the delay is the fixed one, or the percentile once it is known, and no less than the fixed', () => {
  const digest = new Digest();
  const fixed = { afterMs: 300, afterPercentile: null, budgetPercent: 5 };
  const learned = { afterMs: null, afterPercentile: 95, budgetPercent: 5 };
  const both = { afterMs: 300, afterPercentile: 95, budgetPercent: 5 };
  assert.equal(hedgeDelayMs(fixed, digest), 300);
  assert.equal(hedgeDelayMs(learned, digest), null, 'nothing is known yet');
  assert.equal(hedgeDelayMs(both, digest), 300);
  for (let sample = 0; sample < HEDGE_SAMPLES_MIN; sample += 1) digest.observe(100);
  const slow = hedgeDelayMs(learned, digest) ?? 0;
  assert.ok(Math.abs(slow - 100) <= 5, String(slow));
  assert.equal(hedgeDelayMs(both, digest), 300);
  for (let sample = 0; sample < 200; sample += 1) digest.observe(1_000);
  assert.ok((hedgeDelayMs(both, digest) ?? 0) > 900);
});

test('percentiles of a digest are within 5 percent of the exact ones (seed 11)', () => {
  const prng = createPrng(11);
  const digest = new Digest();
  const values: number[] = [];
  for (let sample = 0; sample < 500; sample += 1) {
    const value = 2 + 2_000 * prng.nextFloat() ** 3;
    values.push(value);
    digest.observe(value);
  }
  values.sort((a, b) => a - b);
  for (const percent of [1, 10, 50, 90, 95, 99, 100]) {
    const exact = values[Math.ceil((values.length * percent) / 100) - 1] ?? 0;
    const told = digest.percentile(percent) ?? 0;
    assert.ok(Math.abs(told - exact) <= 0.05 * exact, `p${percent}: ${told} for ${exact}`);
  }
});

test('a digest follows a target that became fast: old samples fade', () => {
  const digest = new Digest();
  for (let sample = 0; sample < 500; sample += 1) digest.observe(2_000);
  for (let sample = 0; sample < 4_000; sample += 1) digest.observe(50);
  assert.ok((digest.percentile(95) ?? 0) < 60);
});

test('times at and beyond the ends of the scale are taken', () => {
  const digest = new Digest();
  for (const value of [0, 0.2, 1]) digest.observe(value);
  assert.equal(digest.percentile(100), 1);
  digest.observe(10_000_000);
  assert.ok((digest.percentile(100) ?? 0) > 600_000);
});
