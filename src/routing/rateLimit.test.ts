/** The buckets of a key and the header fields that clients see. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { headerValue } from '../base/headers.ts';
import { formatReset, RateLimiter } from './rateLimit.ts';

function limiter(requestsPerMinute: number | null, tokensPerMinute: number | null): RateLimiter {
  return new RateLimiter({ requestsPerMinute, tokensPerMinute });
}

describe('requests', () => {
  test('60 a minute: a burst of 60, then one a second', () => {
    const limits = limiter(60, null);
    for (let count = 0; count < 60; count += 1) assert.equal(limits.reserve(1, 0).ok, true);
    const refused = limits.reserve(1, 0);
    assert.deepEqual(refused, { ok: false, error: { limited: 'requests', retryAfterMs: 1_000 } });
    assert.equal(limits.reserve(1, 999).ok, false);
    assert.equal(limits.reserve(1, 1_000).ok, true);
    assert.equal(limits.reserve(1, 1_000).ok, false);
  });

  test('after exactly the told wait the same request is let in (property)', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5_000 }),
        fc.array(fc.tuple(fc.nat(3_000), fc.nat(700)), { maxLength: 80 }),
        (limit, steps) => {
          const limits = limiter(limit, limit * 3);
          let nowMs = 1_000;
          for (const [gapMs, tokens] of steps) {
            nowMs += gapMs;
            const first = limits.reserve(tokens, nowMs);
            if (first.ok) continue;
            nowMs += first.error.retryAfterMs;
            assert.equal(limits.reserve(tokens, nowMs).ok, true);
          }
        },
      ),
    );
  });

  test('over any time t at most limit * (1 + t / minute) are let in (property)', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 300 }),
        fc.array(fc.nat(2_000), { maxLength: 200 }),
        (limit, gaps) => {
          const limits = limiter(limit, null);
          let nowMs = 0;
          let count = 0;
          for (const gapMs of gaps) {
            nowMs += gapMs;
            if (limits.reserve(1, nowMs).ok) count += 1;
            assert.ok(count <= limit * (1 + nowMs / 60_000) + 1e-6);
          }
        },
      ),
    );
  });

  test('a refused request takes nothing of the other bucket', () => {
    const limits = limiter(10, 100);
    assert.equal(limits.reserve(100, 0).ok, true);
    const refused = limits.reserve(50, 0);
    assert.deepEqual(refused, { ok: false, error: { limited: 'tokens', retryAfterMs: 30_000 } });
    assert.equal(limits.requests(0)?.remaining, 9);
  });
});

describe('tokens', () => {
  test('an estimate is settled with the real count, once', () => {
    const limits = limiter(null, 1_000);
    const reserved = limits.reserve(600, 0);
    assert.ok(reserved.ok);
    assert.equal(limits.tokens(0)?.remaining, 400);
    limits.settle(reserved.value, 100, 0);
    limits.settle(reserved.value, 0, 0);
    assert.equal(limits.tokens(0)?.remaining, 900);
  });

  test('an answer longer than estimated leaves a debt that is worked off first', () => {
    const limits = limiter(null, 600);
    const reserved = limits.reserve(100, 0);
    assert.ok(reserved.ok);
    limits.settle(reserved.value, 900, 0);
    assert.equal(limits.tokens(0)?.remaining, 0);
    const refused = limits.reserve(100, 0);
    assert.ok(!refused.ok);
    assert.equal(refused.error.retryAfterMs, 40_000); // 300 of debt and 100: 400 at 10 a second.
  });

  test('a request larger than the limit is let in by a full bucket only', () => {
    const limits = limiter(null, 1_000);
    assert.equal(limits.reserve(5_000, 0).ok, true);
    assert.equal(limits.reserve(1, 60_000).ok, false);
    assert.equal(limits.reserve(1, 4 * 60_000 + 1_000).ok, true);
  });

  test('a refund never lifts the bucket above its limit', () => {
    const limits = limiter(null, 1_000);
    const reserved = limits.reserve(500, 0);
    assert.ok(reserved.ok);
    limits.settle(reserved.value, 0, 60_000);
    assert.equal(limits.tokens(60_000)?.remaining, 1_000);
  });

  test('a new limit keeps what was used: it gives nothing at once, and takes what is over (L4)', () => {
    const limits = limiter(60, null);
    for (let count = 0; count < 50; count += 1) limits.reserve(1, 0);
    limits.setLimits({ requestsPerMinute: 120, tokensPerMinute: 10 }, 0);
    assert.deepEqual([limits.requests(0)?.remaining, limits.tokens(0)?.remaining], [10, 10]);
    assert.equal(limits.requests(5_000)?.remaining, 20, 'it fills at the new rate');
    limits.setLimits({ requestsPerMinute: 6, tokensPerMinute: null }, 5_000);
    assert.deepEqual([limits.requests(5_000)?.remaining, limits.tokens(5_000)], [6, null]);
    limits.setLimits({ requestsPerMinute: 0, tokensPerMinute: null }, 5_000);
    limits.setLimits({ requestsPerMinute: 60, tokensPerMinute: null }, 65_000);
    assert.equal(limits.requests(65_000)?.remaining, 0, 'nothing came while there was none');
  });

  test('a limit of 0 lets nothing in and says a minute', () => {
    const refused = limiter(0, null).reserve(1, 0);
    assert.deepEqual(refused, { ok: false, error: { limited: 'requests', retryAfterMs: 60_000 } });
  });
});

describe('header fields', () => {
  test('limit, remaining and reset of both buckets, in the form of OpenAI', () => {
    const limits = limiter(60, 6_000);
    limits.reserve(1_500, 0);
    const headers = limits.headers(0);
    assert.equal(headerValue(headers, 'x-ratelimit-limit-requests'), '60');
    assert.equal(headerValue(headers, 'x-ratelimit-remaining-requests'), '59');
    assert.equal(headerValue(headers, 'x-ratelimit-reset-requests'), '1s');
    assert.equal(headerValue(headers, 'x-ratelimit-limit-tokens'), '6000');
    assert.equal(headerValue(headers, 'x-ratelimit-remaining-tokens'), '4500');
    assert.equal(headerValue(headers, 'x-ratelimit-reset-tokens'), '15s');
  });

  test('an unlimited bucket has none', () => {
    assert.deepEqual(limiter(null, null).headers(0), []);
    assert.equal(limiter(5, null).headers(0).length, 6);
  });

  test('durations: 0ms, 120ms, 8.64s, 1m0s, 6m30.5s', () => {
    const texts = [0, 120, 8_640, 60_000, 390_500].map(formatReset);
    assert.deepEqual(texts, ['0ms', '120ms', '8.64s', '1m0s', '6m30.5s']);
  });
});
