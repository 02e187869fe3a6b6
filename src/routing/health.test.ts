/** The breaker's table, and the comparison between targets. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  HEALTH_DEFAULTS,
  SLOW_START_SHARE_MIN,
  TargetHealth,
  TRIALS_ANSWERED_MIN,
  TRIALS_MAX,
} from './health.ts';
import { isOutlier, outliersMax } from './outliers.ts';

const SPEC = HEALTH_DEFAULTS;

function failTimes(health: TargetHealth, times: number, nowMs: number): void {
  for (let count = 0; count < times; count += 1) {
    health.failed('before-content', 0, SPEC, nowMs);
  }
}

/** Lets the trials of a half-open target be answered. */
function passTrials(health: TargetHealth, nowMs: number): void {
  for (let count = 0; count < TRIALS_ANSWERED_MIN; count += 1) {
    const round = health.began(nowMs);
    assert.ok(round > 0);
    health.sawContent(round, nowMs);
    health.trialEnded(round);
    health.succeeded(nowMs);
  }
}

describe('circuit breaker', () => {
  test('it opens at the 5th failure in a row, not at the 4th, and a success starts anew', () => {
    const health = new TargetHealth(null);
    failTimes(health, 4, 0);
    assert.equal(health.state(SPEC, 0), 'healthy');
    health.succeeded(0);
    failTimes(health, 4, 0);
    assert.equal(health.state(SPEC, 0), 'healthy');
    failTimes(health, 1, 0);
    assert.equal(health.state(SPEC, 0), 'ejected');
  });

  test('open, half-open with at most 2 trials, closed with slow start, healthy', () => {
    const health = new TargetHealth(null);
    failTimes(health, 5, 0);
    assert.equal(health.state(SPEC, SPEC.ejectBaseMs - 1), 'ejected');
    assert.equal(health.state(SPEC, SPEC.ejectBaseMs), 'half-open');
    const rounds = Array.from({ length: TRIALS_MAX }, () => health.began(10_000));
    assert.ok(rounds.every((round) => round > 0));
    assert.equal(health.hasTrialRoom, false);
    health.sawContent(1, 10_100);
    assert.equal(health.state(SPEC, 10_100), 'half-open');
    health.sawContent(1, 10_200);
    assert.equal(health.state(SPEC, 10_200), 'slow-start');
    assert.equal(health.state(SPEC, 10_200 + SPEC.slowStartMs), 'healthy');
  });

  test('a cancelled trial frees its place and decides nothing', () => {
    const health = new TargetHealth(null);
    failTimes(health, 5, 0);
    const first = health.began(10_000);
    health.began(10_000);
    health.trialEnded(first);
    assert.equal(health.hasTrialRoom, true);
    assert.equal(health.state(SPEC, 10_001), 'half-open');
  });

  test('ejections double from 10 s to at most 300 s', () => {
    const health = new TargetHealth(null);
    failTimes(health, 5, 0);
    let nowMs = 0;
    for (const lengthMs of [10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]) {
      assert.equal(health.openUntilMs(), nowMs + lengthMs);
      nowMs += lengthMs;
      const round = health.began(nowMs);
      health.trialEnded(round);
      health.failed('connect', round, SPEC, nowMs);
    }
  });

  test('each quiet base time takes one step off the doubling', () => {
    const health = new TargetHealth(null);
    failTimes(health, 5, 0); // 10 s.
    passTrials(health, 10_000);
    failTimes(health, 5, 11_000); // Only 1 s of quiet: 20 s.
    assert.equal(health.openUntilMs(), 31_000);
    passTrials(health, 31_000);
    failTimes(health, 5, 31_000 + 20_000); // Two steps off: 10 s again.
    assert.equal(health.openUntilMs(), 61_000);
  });

  test('a straggler of before neither extends an ejection nor counts as a trial', () => {
    const health = new TargetHealth(null);
    failTimes(health, 5, 0);
    failTimes(health, 3, 9_000);
    assert.equal(health.openUntilMs(), 10_000);
    health.began(10_000);
    health.failed('mid-stream', 0, SPEC, 10_001);
    assert.equal(health.state(SPEC, 10_001), 'half-open');
  });

  test('answers to requests from before the ejection do not end it', () => {
    const health = new TargetHealth(null);
    failTimes(health, 5, 0);
    for (let count = 0; count < 9; count += 1) {
      health.sawContent(0, 1);
      health.succeeded(1);
    }
    assert.equal(health.state(SPEC, 2), 'ejected');
  });

  test('streams that break in the middle eject: first contents do not clear the count', () => {
    const health = new TargetHealth(null);
    for (let count = 0; count < 5; count += 1) {
      health.sawContent(0, count);
      health.failed('mid-stream', 0, SPEC, count);
    }
    assert.equal(health.state(SPEC, 5), 'ejected');
  });

  test('refused connections make it unreachable, and a probe brings it back at once', () => {
    const health = new TargetHealth(null);
    for (let count = 0; count < 5; count += 1) health.failed('connect', 0, SPEC, 0);
    assert.equal(health.state(SPEC, 0), 'unreachable');
    health.probed(true, 1_000);
    assert.equal(health.state(SPEC, 1_000), 'slow-start');
  });

  test('a probe does not end an ejection for bad answers', () => {
    const health = new TargetHealth(null);
    failTimes(health, 5, 0);
    health.probed(true, 1_000);
    assert.equal(health.state(SPEC, 1_000), 'ejected');
  });

  test('two failed probes take it out, one does not; a good one brings it back', () => {
    const health = new TargetHealth(null);
    health.probed(false, 0);
    assert.equal(health.state(SPEC, 0), 'healthy');
    health.probed(false, 1);
    assert.equal(health.state(SPEC, 1), 'unreachable');
    health.probed(true, 2);
    assert.equal(health.state(SPEC, 2), 'slow-start');
  });

  test('answered traffic outweighs failed probes', () => {
    const health = new TargetHealth(null);
    health.probed(false, 0);
    health.probed(false, 0);
    health.succeeded(1);
    assert.equal(health.state(SPEC, 1), 'healthy');
  });
});

describe('the window of outcomes', () => {
  test('it holds the last minute, in steps of ten seconds', () => {
    const health = new TargetHealth(null);
    health.succeeded(5_000);
    health.failed('connect', 0, SPEC, 15_000);
    assert.deepEqual(health.window(59_999), { answered: 1, failed: 1 });
    assert.deepEqual(health.window(60_000), { answered: 0, failed: 1 });
    assert.deepEqual(health.window(70_000), { answered: 0, failed: 0 });
    health.succeeded(1_000_000);
    assert.deepEqual(health.window(1_000_000), { answered: 1, failed: 0 });
    assert.deepEqual(health.window(999_000), { answered: 1, failed: 0 }, 'time never goes back');
  });
});

describe('rest', () => {
  test('a 429 rests it for Retry-After without blame, then it is healthy at once', () => {
    const health = new TargetHealth(null);
    for (let count = 0; count < 50; count += 1) health.restFor(5_000, 0);
    assert.equal(health.state(SPEC, 4_999), 'resting');
    assert.equal(health.state(SPEC, 5_000), 'healthy');
    assert.deepEqual(health.window(5_000), { answered: 0, failed: 0 });
  });

  test('without Retry-After it rests 1, 2, 4 … 30 s; an answer starts anew', () => {
    const health = new TargetHealth(null);
    let nowMs = 0;
    for (const restMs of [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]) {
      health.restFor(null, nowMs);
      assert.equal(health.rest().untilMs - nowMs, restMs);
      nowMs += restMs;
    }
    health.sawContent(0, nowMs);
    health.restFor(null, nowMs);
    assert.equal(health.rest().untilMs - nowMs, 1_000);
  });

  test('Retry-After is believed up to 300 s', () => {
    const health = new TargetHealth(null);
    health.restFor(86_400_000, 0);
    assert.equal(health.rest().untilMs, 300_000);
  });
});

describe('slow start', () => {
  test('the share of its weight rises linearly from 10 % to 100 % over 30 s', () => {
    const health = new TargetHealth(1_000);
    const table: readonly (readonly [number, number])[] = [
      [1_000, SLOW_START_SHARE_MIN],
      [4_000, 0.1],
      [7_000, 0.2],
      [16_000, 0.5],
      [31_000, 1],
      [90_000, 1],
    ];
    for (const [nowMs, share] of table) assert.equal(health.slowStartShare(SPEC, nowMs), share);
  });
});

describe('outliers', () => {
  test('one bad target is found among 2 to 8, which mean + 1.9 sigma over all cannot do', () => {
    for (let count = 2; count <= 8; count += 1) {
      const others = Array.from({ length: count - 1 }, () => ({ answered: 40, failed: 0 }));
      assert.equal(isOutlier({ answered: 20, failed: 20 }, others), true, `n=${count}`);
    }
    const shares = [1, 0, 0, 0];
    const mean = 0.25;
    const sigma = Math.sqrt(shares.reduce((sum, share) => sum + (share - mean) ** 2, 0) / 4);
    assert.ok(!(1 > mean + 1.9 * sigma), 'the textbook rule misses even 100 % failures at n=4');
  });

  test('no outlier: too few samples, all equally bad, alone, a gap of noise', () => {
    const good = { answered: 40, failed: 0 };
    assert.equal(isOutlier({ answered: 9, failed: 10 }, [good, good]), false);
    const bad = { answered: 20, failed: 20 };
    assert.equal(isOutlier(bad, [bad, bad, { answered: 18, failed: 22 }]), false);
    assert.equal(isOutlier({ answered: 0, failed: 40 }, []), false);
    assert.equal(isOutlier({ answered: 37, failed: 3 }, [good, good, good]), false);
  });

  test('the share that may be out by comparison: 50 % of 1, 2, 3, 4, 10 is 0, 1, 1, 2, 5', () => {
    const counts = [1, 2, 3, 4, 10].map((total) => outliersMax(total, 50));
    assert.deepEqual(counts, [0, 1, 1, 2, 5]);
    assert.equal(outliersMax(4, 10), 1); // Envoy's 10 % of a pool of 4 would be none.
    assert.equal(outliersMax(4, 0), 0);
  });
});

describe('processes of one node', () => {
  /** Each hears what the other has to tell. */
  function exchange(one: TargetHealth, other: TargetHealth, nowMs: number): void {
    const [ofOne, ofOther] = [one.takeNews(nowMs), other.takeNews(nowMs)];
    if (ofOther !== null) one.hear(ofOther, SPEC, nowMs);
    if (ofOne !== null) other.hear(ofOne, SPEC, nowMs);
  }

  test('H5: 3 failures here and 2 there take a target out in both, as 5 in one would', () => {
    const [one, other] = [new TargetHealth(null), new TargetHealth(null)];
    failTimes(one, 3, 0);
    failTimes(other, 2, 0);
    exchange(one, other, 0);
    assert.equal(one.state(SPEC, 0), 'ejected');
    assert.equal(other.state(SPEC, 0), 'ejected');
  });

  test('H5: failures of one with answers between them take it out in neither', () => {
    const [one, other] = [new TargetHealth(null), new TargetHealth(null)];
    for (let turn = 0; turn < 20; turn += 1) {
      failTimes(one, 1, turn);
      one.succeeded(turn);
      exchange(one, other, turn);
    }
    assert.equal(other.consecutiveFailures, 0);
    assert.equal(other.state(SPEC, 20), 'healthy');
    assert.deepEqual(other.window(20), one.window(20));
  });

  test('an ejection and its end are heard, and for how long; it is told once, not on', () => {
    const [one, other] = [new TargetHealth(null), new TargetHealth(null)];
    failTimes(one, 5, 0);
    exchange(one, other, 1_000);
    assert.equal(other.state(SPEC, SPEC.ejectBaseMs - 1), 'ejected');
    assert.equal(other.state(SPEC, SPEC.ejectBaseMs), 'half-open');
    assert.equal(other.takeNews(1_000), null);
    passTrials(one, SPEC.ejectBaseMs);
    exchange(one, other, SPEC.ejectBaseMs);
    assert.equal(other.state(SPEC, SPEC.ejectBaseMs), 'slow-start');
  });

  test('the second ejection in a row is twice as long wherever its trial failed', () => {
    const [one, other] = [new TargetHealth(null), new TargetHealth(null)];
    failTimes(one, 5, 0);
    exchange(one, other, 0);
    const againMs = SPEC.ejectBaseMs;
    const round = other.began(againMs);
    other.failed('connect', round, SPEC, againMs);
    exchange(one, other, againMs);
    assert.equal(one.openUntilMs(), againMs + 2 * SPEC.ejectBaseMs);
    assert.equal(one.state(SPEC, againMs), 'unreachable');
  });

  test('a rest that a target asked for holds in all, and a newcomer hears of all of it', () => {
    const [one, other] = [new TargetHealth(null), new TargetHealth(null)];
    one.restFor(3_000, 0, true);
    exchange(one, other, 500);
    assert.deepEqual(other.rest(), { untilMs: 3_000, isTold: true });
    assert.equal(other.isOverLimit(500), true);
    one.probed(false, 600);
    one.probed(false, 600);
    const newcomer = new TargetHealth(null);
    const standing = one.standing(600);
    assert.ok(standing !== null);
    newcomer.hear(standing, SPEC, 600);
    assert.equal(newcomer.state(SPEC, 600), 'unreachable');
    assert.equal(newcomer.rest().untilMs, 3_000);
  });
});
