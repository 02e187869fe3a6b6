import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { ADMISSION_LIMITS } from '../base/limits.ts';
import { createPrng } from '../base/prng.ts';
import { AdmissionGate, lowerPriority, parsePriority, PRIORITIES } from './admission.ts';
import type { AdmissionLimits, NodeLoad, Priority } from './admission.ts';

const MIB = 1024 * 1024;
const LIMITS: AdmissionLimits = {
  exchangesMax: 100,
  requestBodiesBytesMax: 100 * MIB,
  loopLagMsMax: 100,
};
const BUSY: NodeLoad = { exchanges: 50, bodiesBytes: 0 };
const id = (number: number): string => `req_${number}`;

/** Of 1,000 requests of a class, how many are let in. */
function taken(gate: AdmissionGate, priority: Priority, load: NodeLoad = BUSY): number {
  let count = 0;
  for (let number = 0; number < 1_000; number += 1) {
    if (gate.judge(priority, load, 0, id(number)) === null) count += 1;
  }
  return count;
}

function pressed(pressure: number): AdmissionGate {
  const gate = new AdmissionGate(LIMITS);
  while (gate.pressure < pressure) gate.onLag(LIMITS.loopLagMsMax);
  while (gate.pressure > pressure + 1e-9) gate.onLag(0);
  return gate;
}

test('with little to do every class is let in', () => {
  const gate = new AdmissionGate(LIMITS);
  for (const priority of PRIORITIES) assert.equal(taken(gate, priority), 1_000);
});

test('bounds keep a reserve for higher classes: each at and past its own', () => {
  const gate = new AdmissionGate(LIMITS);
  const rows: readonly (readonly [Priority, number])[] = [
    ['batch', 80],
    ['standard', 95],
    ['interactive', 100],
  ];
  for (const [priority, most] of rows) {
    const at = (exchanges: number, bodiesBytes: number): string | undefined =>
      gate.judge(priority, { exchanges, bodiesBytes }, MIB, id(1))?.reason;
    assert.equal(at(most - 1, 0), undefined, priority);
    assert.equal(at(most, 0), 'exchanges', priority);
    assert.equal(at(1, (most - 1) * MIB), undefined, priority);
    assert.equal(at(1, (most - 1) * MIB + 1), 'bodies', priority);
    assert.equal(at(0, most * MIB), undefined, 'one alone is let in');
  }
});

test('a bound of one exchange is one for every class', () => {
  const gate = new AdmissionGate({ ...LIMITS, exchangesMax: 1 });
  for (const priority of PRIORITIES) {
    assert.equal(gate.judge(priority, { exchanges: 0, bodiesBytes: 0 }, 0, id(1)), null);
    assert.equal(
      gate.judge(priority, { exchanges: 1, bodiesBytes: 0 }, 0, id(1))?.retryAfterMs,
      1_000,
    );
  }
});

test('a standing lag refuses the lowest class first, part by part', () => {
  const half = pressed(0.5);
  assert.ok(taken(half, 'batch') > 400 && taken(half, 'batch') < 600, `${taken(half, 'batch')}`);
  assert.equal(taken(half, 'standard'), 1_000);
  const more = pressed(1.5);
  assert.equal(taken(more, 'batch'), 0);
  assert.ok(taken(more, 'standard') > 400 && taken(more, 'standard') < 600);
  assert.equal(taken(more, 'interactive'), 1_000);
  const most = pressed(3);
  for (const priority of PRIORITIES) assert.equal(taken(most, priority), 0);
});

test('with next to nothing under way no lag refuses: it is not theirs', () => {
  const gate = pressed(3);
  assert.equal(taken(gate, 'batch', { exchanges: 3, bodiesBytes: 0 }), 1_000);
  assert.equal(taken(gate, 'batch', { exchanges: 4, bodiesBytes: 0 }), 0);
  assert.equal(taken(gate, 'interactive', { exchanges: 15, bodiesBytes: 0 }), 1_000);
});

test('a request that one gate let in is let in by another under no more pressure', () => {
  const first = pressed(0.6);
  const second = pressed(0.5);
  for (let number = 0; number < 1_000; number += 1) {
    if (first.judge('batch', BUSY, 0, id(number)) !== null) continue;
    assert.equal(second.judge('batch', BUSY, 0, id(number)), null, id(number));
  }
});

test('pressure rises above the limit, falls below half of it, and stays between', () => {
  const gate = new AdmissionGate(LIMITS);
  gate.onLag(99);
  assert.equal(gate.pressure, 0);
  gate.onLag(100);
  const once = gate.pressure;
  assert.ok(once > 0);
  gate.onLag(50);
  assert.equal(gate.pressure, once);
  gate.onLag(49);
  assert.ok(gate.pressure < once);
  gate.onLag(1_000_000);
  assert.ok(gate.pressure <= once + ADMISSION_LIMITS.pressureRiseMax);
});

test('after the load goes every class is let in again, and when Retry-After said', () => {
  const gate = pressed(3);
  const told = gate.judge('batch', BUSY, 0, id(1))?.retryAfterMs ?? 0;
  let passedMs = 0;
  while (taken(gate, 'batch') < 1_000) {
    gate.onLag(0);
    passedMs += ADMISSION_LIMITS.intervalMs;
    assert.ok(passedMs <= 6_000, 'recovery takes 6 s at most');
  }
  assert.ok(Math.abs(passedMs - told) <= ADMISSION_LIMITS.intervalMs, `${passedMs} for ${told}`);
});

test('in any state a class is refused only if every lower class is (A1, fast-check)', () => {
  const lags = fc.array(fc.integer({ min: 0, max: 2_000 }), { maxLength: 40 });
  const load = fc.record({
    exchanges: fc.integer({ min: 0, max: 120 }),
    bodiesBytes: fc.integer({ min: 0, max: 120 * MIB }),
  });
  const property = fc.property(
    lags,
    load,
    fc.nat(2 * MIB),
    fc.string(),
    (seen, at, bytes, name) => {
      const gate = new AdmissionGate(LIMITS);
      for (const lagMs of seen) gate.onLag(lagMs);
      const verdicts = PRIORITIES.map((priority) => gate.judge(priority, at, bytes, name) === null);
      const about = `${gate.pressure} ${JSON.stringify(at)}`;
      assert.ok(
        verdicts.lastIndexOf(false) < verdicts.indexOf(true) || !verdicts.includes(true),
        about,
      );
    },
  );
  fc.assert(property, { numRuns: 5_000, seed: 20_261_123 });
});

/** A node that does 100 requests an interval; what it has not done makes it lag. */
function simulate(offered: number, seed: number): Readonly<Record<Priority, number>> {
  const prng = createPrng(seed);
  const gate = new AdmissionGate({ ...LIMITS, exchangesMax: 10_000 });
  const done = { batch: 0, standard: 0, interactive: 0 };
  const asked = { batch: 0, standard: 0, interactive: 0 };
  let queue = 0;
  let worst = 0;
  for (let interval = 0; interval < 1_000; interval += 1) {
    for (let number = 0; number < offered; number += 1) {
      const priority = PRIORITIES[prng.nextBelow(3)] ?? 'batch';
      asked[priority] += 1;
      const shed = gate.judge(
        priority,
        { exchanges: queue, bodiesBytes: 0 },
        0,
        id(prng.nextUint32()),
      );
      queue += shed === null ? 1 : 0.02; // A refusal is not free.
      if (shed === null) done[priority] += 1;
    }
    queue = Math.max(0, queue - 100);
    gate.onLag(queue * 2);
    if (interval > 100) worst = Math.max(worst, queue);
  }
  assert.ok(worst < 1_000, `the queue stays short: ${worst}`);
  return {
    batch: done.batch / asked.batch,
    standard: done.standard / asked.standard,
    interactive: done.interactive / asked.interactive,
  };
}

for (const offered of [90, 150, 300, 900]) {
  test(`offered ${offered} % of capacity: higher classes fare better, the queue stays short`, () => {
    const { batch, standard, interactive } = simulate(offered, 7);
    assert.ok(interactive >= standard && standard >= batch, JSON.stringify([batch, standard]));
    if (offered < 100) assert.equal(batch, 1);
    if (offered === 150) assert.ok(interactive > 0.95 && batch < 0.6, `${interactive} ${batch}`);
    if (offered === 300) assert.ok(interactive > 0.6 && batch < 0.1, `${interactive} ${batch}`);
  });
}

test('a class is named by its word, and only lowered', () => {
  assert.equal(parsePriority('batch'), 'batch');
  for (const word of ['', 'Batch', 'critical', 'constructor'])
    assert.equal(parsePriority(word), null);
  assert.equal(lowerPriority('standard', 'interactive'), 'standard');
  assert.equal(lowerPriority('standard', 'batch'), 'batch');
});
