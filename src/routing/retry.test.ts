/** The budget, the backoff, and the table of decisions. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { createPrng } from '../base/prng.ts';
import {
  BACKOFF_BASE_MS,
  BACKOFF_CAP_MS,
  backoffMs,
  mayRetry,
  RetryBudget,
  type RetryQuestion,
} from './retry.ts';

const QUESTION: RetryQuestion = {
  outcome: { kind: 'failed', phase: 'before-content' },
  bytesSent: 100,
  hasContent: false,
  isIdempotent: true,
  attemptsMade: 1,
  attemptsMax: 4,
  hasOtherPlace: true,
  leftMs: 60_000,
};

function decide(more: Partial<RetryQuestion>, budget = new RetryBudget({ percent: 10 })): string {
  const decision = mayRetry({ ...QUESTION, ...more }, budget, 0, createPrng(1));
  if (decision.kind === 'stop') return decision.why;
  return decision.isPossiblyDoubleCharged ? 'retry, maybe charged twice' : 'retry';
}

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
        const question = { ...QUESTION, attemptsMade: made };
        if (mayRetry(question, budget, index * 10, createPrng(index)).kind === 'stop') break;
        sent += 1;
      }
    }
    assert.ok(sent <= 10_000 * 1.1 + 110, `${sent} sent for 10000`);
  });
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

describe('the decision', () => {
  const table: readonly (readonly [string, Partial<RetryQuestion>, string])[] = [
    ['an answer', { outcome: { kind: 'answered' } }, 'answered'],
    ['a client fault', { outcome: { kind: 'rejected' } }, 'rejected'],
    ['a cancelled attempt', { outcome: { kind: 'cancelled' } }, 'cancelled'],
    ['a refused connection', { outcome: { kind: 'failed', phase: 'connect' } }, 'retry'],
    ['a 5xx before content', {}, 'retry, maybe charged twice'],
    ['a reset before a byte was sent', { bytesSent: 0 }, 'retry'],
    ['a reset after it was sent', { bytesSent: 9 }, 'retry, maybe charged twice'],
    ['the same, not safe to repeat', { bytesSent: 9, isIdempotent: false }, 'may-have-run'],
    [
      'refused, not safe to repeat',
      { outcome: { kind: 'failed', phase: 'connect' }, isIdempotent: false },
      'retry',
    ],
    [
      'a cut stream that the client saw',
      { outcome: { kind: 'failed', phase: 'mid-stream' }, hasContent: true },
      'content-sent',
    ],
    ['a 429, another place', { outcome: { kind: 'rate-limited', retryAfterMs: 60_000 } }, 'retry'],
    [
      'a 429 with a short wait, no other place',
      { outcome: { kind: 'rate-limited', retryAfterMs: 500 }, hasOtherPlace: false },
      'retry',
    ],
    [
      'a 429 with a long wait, no other place',
      { outcome: { kind: 'rate-limited', retryAfterMs: 60_000 }, hasOtherPlace: false },
      'wait-too-long',
    ],
    [
      'a wait past the deadline of the exchange',
      { outcome: { kind: 'rate-limited', retryAfterMs: 500 }, hasOtherPlace: false, leftMs: 400 },
      'wait-too-long',
    ],
    ['the last attempt', { attemptsMade: 4 }, 'attempts-spent'],
  ];
  for (const [name, more, wanted] of table) {
    test(`${name}: ${wanted}`, () => assert.equal(decide(more), wanted));
  }

  test('a spent budget stops 5xx and overload, not what certainly did not run', () => {
    const spent = new RetryBudget({ percent: 0 });
    assert.equal(decide({}, spent), 'budget-spent');
    assert.equal(
      decide({ outcome: { kind: 'overloaded', retryAfterMs: null } }, spent),
      'budget-spent',
    );
    assert.equal(decide({ outcome: { kind: 'failed', phase: 'connect' } }, spent), 'retry');
    assert.equal(decide({ outcome: { kind: 'rate-limited', retryAfterMs: null } }, spent), 'retry');
  });

  test('requests that may be charged twice are counted', () => {
    const budget = new RetryBudget({ percent: 10 });
    decide({}, budget);
    decide({ bytesSent: 0 }, budget);
    assert.equal(budget.possiblyDoubleCharged, 1);
  });

  test('elsewhere the first retry is at once and later ones wait; here it waits as told', () => {
    const budget = new RetryBudget({ percent: 10 });
    const delay = (more: Partial<RetryQuestion>): number => {
      const decision = mayRetry({ ...QUESTION, ...more }, budget, 0, createPrng(2));
      return decision.kind === 'retry' ? decision.delayMs : -1;
    };
    assert.equal(delay({}), 0);
    assert.ok(delay({ attemptsMade: 3 }) > 0);
    const told = delay({
      outcome: { kind: 'overloaded', retryAfterMs: 700 },
      hasOtherPlace: false,
    });
    assert.ok(told >= 700 && told < 700 + BACKOFF_BASE_MS);
  });
});
