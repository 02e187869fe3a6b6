import assert from 'node:assert/strict';
import { test } from 'node:test';

import { parseDuration, parseHttpDate, parseRfc3339, retryAfterOf } from './retryAfter.ts';

test('times read as Date reads them (1970 to 2099, every 41 days and some seconds)', () => {
  for (let ms = 0; ms < 4_100_000_000_000; ms += 41 * 86_400_000 + 12_345_000) {
    const date = new Date(ms);
    assert.equal(parseHttpDate(date.toUTCString()), ms);
    assert.equal(parseRfc3339(date.toISOString()), ms);
  }
  assert.equal(parseRfc3339('2026-11-23T04:00:00+08:00'), Date.parse('2026-11-22T20:00:00Z'));
  assert.equal(parseHttpDate('tomorrow'), null);
  assert.equal(parseRfc3339('2026-11-23'), null);
});

test('spans of OpenAI are read', () => {
  assert.equal(parseDuration('20ms'), 20);
  assert.equal(parseDuration('6m0s'), 360_000);
  assert.equal(parseDuration('1h2m3.5s'), 3_723_500);
  assert.equal(parseDuration('12'), 12_000);
  assert.equal(parseDuration('soon'), null);
  assert.equal(parseDuration('1s1s1s1s1s1s1s'), null);
});

test('the most exact field wins, and no wait is longer than a day', () => {
  assert.equal(retryAfterOf(429, ['retry-after', '2', 'retry-after-ms', '1500.5']), 1501);
  assert.equal(retryAfterOf(503, ['retry-after', '999999999']), 86_400_000);
  assert.equal(retryAfterOf(503, ['retry-after', '-1']), null);
  assert.equal(retryAfterOf(503, []), null);
});

test('a date is read against the date of the response, never against a clock', () => {
  const until = 'Mon, 23 Nov 2026 04:00:30 GMT';
  assert.equal(retryAfterOf(503, ['retry-after', until]), null);
  assert.equal(
    retryAfterOf(503, ['date', 'Mon, 23 Nov 2026 04:00:00 GMT', 'retry-after', until]),
    30_000,
  );
  const past = ['date', 'Mon, 23 Nov 2026 05:00:00 GMT', 'retry-after', until];
  assert.equal(retryAfterOf(503, past), 0);
});
