/** Costs, exclusions, hysteresis and the correction for own traffic. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseRegionName, type RegionName } from '../base/names.ts';
import { PRIORITIES, type Priority } from './admission.ts';
import {
  isWorthMoving,
  RegionChooser,
  type RegionCandidate,
  type RegionRequest,
} from './regionChoice.ts';

function regionName(text: string): RegionName {
  const parsed = parseRegionName(text);
  assert.ok(parsed.ok);
  return parsed.value;
}

function region(name: string, rttMs: number, more: Partial<RegionCandidate> = {}): RegionCandidate {
  return {
    region: regionName(name),
    rttMs,
    state: 'up',
    phi: 0.1,
    isReachable: true,
    isDraining: false,
    isDrained: false,
    isAllowed: true,
    weight: 100,
    healthyTargets: 2,
    inFlight: 0,
    queuedTokens: 0,
    prefillTokensPerMs: 10,
    digestAgeMs: 100,
    ...more,
  };
}

const ASK: RegionRequest = { promptTokens: 100, excluded: new Set(), localCostMs: null };

function chosen(candidates: readonly RegionCandidate[], ask: Partial<RegionRequest> = {}): string {
  const pick = new RegionChooser().choose(candidates, { ...ASK, ...ask }, 10_000);
  return pick?.region ?? 'none';
}

describe('the choice of a region', () => {
  test('with equal load the nearest', () => {
    assert.equal(chosen([region('far', 228), region('near', 104)]), 'near');
  });

  test('a queue that costs more than the way sends it further', () => {
    const near = region('near', 15, { queuedTokens: 5_000 }); // 500 ms of waiting.
    assert.equal(chosen([near, region('far', 228)]), 'far');
  });

  const out: readonly (readonly [string, Partial<RegionCandidate>, string])[] = [
    ['down', { state: 'down' }, 'it is down'],
    ['a cut link', { isReachable: false }, 'the link to it is down'],
    ['draining', { isDraining: true }, 'it is draining'],
    ['no target', { healthyTargets: 0 }, 'it has no healthy target for the model'],
  ];
  for (const [name, more, why] of out) {
    test(`never chosen: ${name}`, () => {
      const bad = region('bad', 10, more);
      assert.equal(chosen([bad, region('good', 900)]), 'good');
      assert.equal(chosen([bad]), 'none');
      const row = new RegionChooser().explain([bad], ASK, 0)[0];
      assert.deepEqual([row?.excluded, row?.costMs], [why, null]);
    });
  }

  test('a drained one only where no other is left, and it is told that it is the last resort', () => {
    const drained = region('drained', 10, { isDrained: true });
    assert.equal(chosen([drained, region('good', 900)]), 'good');
    const last = new RegionChooser().choose([drained], ASK, 0);
    assert.deepEqual([last?.region, last?.isLastResort], ['drained', true]);
    const good = new RegionChooser().choose([region('good', 900)], ASK, 0);
    assert.equal(good?.isLastResort, false);
  });

  test('a weight of 50 counts a cost twice, one of 200 half (C5)', () => {
    const cost = (weight: number) =>
      new RegionChooser().explain([region('a', 100, { weight })], ASK, 0)[0]?.costMs ?? 0;
    assert.ok(cost(100) > 0);
    assert.equal(cost(50), cost(100) * 2);
    assert.equal(cost(200), cost(100) / 2);
  });

  test('never chosen: tried already', () => {
    const excluded = new Set(['near']);
    assert.equal(chosen([region('near', 1), region('far', 200)], { excluded }), 'far');
  });

  const last: readonly (readonly [string, Partial<RegionCandidate>])[] = [
    ['suspect', { state: 'suspect' }],
    ['without a digest', { digestAgeMs: null, healthyTargets: 0 }],
    ['with a digest of 4 s', { digestAgeMs: 4_000 }],
  ];
  for (const [name, more] of last) {
    test(`chosen only where nothing better is left: ${name}`, () => {
      const doubtful = region('doubtful', 10, more);
      assert.equal(chosen([doubtful, region('good', 900)]), 'good');
      assert.equal(chosen([doubtful]), 'doubtful');
    });
  }

  test('an older digest costs half a ms a ms beyond 300 ms', () => {
    const chooser = new RegionChooser();
    const rows = chooser.explain([region('a', 10, { digestAgeMs: 1_300 })], ASK, 0);
    assert.equal(rows[0]?.agePenaltyMs, 500);
  });

  test('hysteresis: 30 ms and 15 % keep the last choice, more moves it', () => {
    const chooser = new RegionChooser();
    const pick = (aMs: number, bMs: number): string | undefined =>
      chooser.choose([region('a', aMs), region('b', bMs)], ASK, 0)?.region;
    assert.equal(pick(100, 120), 'a');
    assert.equal(pick(120, 100), 'a');
    assert.equal(pick(200, 160), 'b');
    assert.equal(isWorthMoving(100, 71), false);
    assert.equal(isWorthMoving(100, 69), true);
    assert.equal(isWorthMoving(1_000, 851), false);
  });

  test('it stays here while here is not worse by enough', () => {
    const candidates = [region('near', 50)];
    assert.equal(chosen(candidates, { localCostMs: 80 }), 'none');
    assert.equal(chosen(candidates, { localCostMs: 300 }), 'near');
  });

  test('(a) a burst between two digests spreads: own traffic is counted', () => {
    const chooser = new RegionChooser();
    const counts = new Map<string, number>();
    const candidates = ['a', 'b', 'c'].map((name, index) => region(name, 50 + index));
    for (let index = 0; index < 300; index += 1) {
      const pick = chooser.choose(candidates, { ...ASK, promptTokens: 1_000 }, 10_000);
      assert.ok(pick !== null);
      chooser.started(pick.region, 1_000, 10_000);
      counts.set(pick.region, (counts.get(pick.region) ?? 0) + 1);
    }
    const most = Math.max(...counts.values());
    assert.equal(counts.size, 3);
    assert.ok(most < 180, `one region got ${most} of 300`);
  });

  test('what a digest can know is not counted again', () => {
    const chooser = new RegionChooser();
    const candidate = region('a', 100, { digestAgeMs: 100 });
    chooser.started(candidate.region, 5_000, 9_000);
    const waitMs = (nowMs: number): number | null =>
      chooser.explain([candidate], ASK, nowMs)[0]?.waitMs ?? null;
    // Sent after what the digest can know: 5000 and own 100 tokens at 10 a ms, 1 ms of crowd.
    assert.equal(waitMs(9_149), 511);
    assert.equal(waitMs(9_150), 10);
  });

  test('requests that fail together are one failure: a node that dies costs its region a moment', () => {
    const chooser = new RegionChooser();
    const isAvoided = (nowMs: number): boolean => {
      return chooser.explain([region('a', 10)], ASK, nowMs)[0]?.lastResort !== null;
    };
    for (let count = 0; count < 100; count += 1) {
      chooser.finished(regionName('a'), { kind: 'failed', phase: 'mid-stream' }, count);
    }
    assert.equal(isAvoided(499), true);
    assert.equal(isAvoided(500), false);
    chooser.finished(regionName('a'), { kind: 'failed', phase: 'connect' }, 600);
    assert.equal(isAvoided(1_599), true, 'another failure, after that: twice as long');
    assert.equal(isAvoided(1_600), false);
  });

  test('a region that failed us waits 0.5, 1, 2 … s for its next turn; an answer clears it', () => {
    const chooser = new RegionChooser();
    const candidates = [region('a', 10), region('b', 500)];
    const pick = (nowMs: number): string | undefined =>
      chooser.choose(candidates, ASK, nowMs)?.region;
    chooser.finished(regionName('a'), { kind: 'failed', phase: 'connect' }, 0);
    assert.equal(pick(499), 'b');
    assert.equal(pick(500), 'a');
    chooser.finished(regionName('a'), { kind: 'failed', phase: 'connect' }, 500);
    assert.equal(pick(1_499), 'b');
    chooser.finished(regionName('a'), { kind: 'answered' }, 1_499);
    assert.equal(pick(1_499), 'a');
  });

  test('a region that asks for rest is not asked before', () => {
    const chooser = new RegionChooser();
    chooser.finished(regionName('a'), { kind: 'rate-limited', retryAfterMs: 2_000 }, 0);
    assert.equal(chooser.choose([region('a', 10)], ASK, 1_999), null);
    assert.equal(chooser.choose([region('a', 10)], ASK, 2_000)?.region, 'a');
  });

  test('a region too busy for a class is asked for higher ones, not for lower ones', () => {
    const chooser = new RegionChooser();
    const busy = { kind: 'overloaded', retryAfterMs: 2_000 } as const;
    chooser.finished(regionName('a'), busy, 0, 'standard');
    const ask = (priority: Priority): string | undefined =>
      chooser.choose([region('a', 10)], { ...ASK, priority }, 1_000)?.region;
    assert.deepEqual(PRIORITIES.map(ask), [undefined, undefined, 'a']);
    chooser.finished(regionName('a'), { kind: 'rate-limited', retryAfterMs: 2_000 }, 0, 'batch');
    assert.equal(ask('interactive'), undefined, 'a rate limit is of the region, not of a class');
  });
});
