import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { createPrng } from '../base/prng.ts';
import { PHI_MAX, PHI_SETTINGS, PhiAccrual } from './phiAccrual.ts';

/** A detector that heard a heartbeat every `stepMs` from 0 to `untilMs`. */
function beating(stepMs: number, untilMs: number): PhiAccrual {
  const detector = new PhiAccrual();
  for (let at = 0; at <= untilMs; at += stepMs) detector.heartbeat(at);
  return detector;
}

function crossingMs(detector: PhiAccrual, fromMs: number, phi: number): number {
  let at = fromMs;
  while (detector.phi(at) < phi) at += 1;
  return at - fromMs;
}

test('before the first heartbeat there is no suspicion', () => {
  const detector = new PhiAccrual();
  assert.equal(detector.phi(0), 0);
  assert.equal(detector.phi(1e9), 0);
  assert.equal(detector.heardMs, null);
});

test('one heartbeat is enough to suspect a silence after it', () => {
  const detector = new PhiAccrual();
  detector.heartbeat(1_000);
  assert.ok(detector.phi(1_100) < 0.5);
  assert.ok(detector.phi(4_000) > 12);
});

test('steady heartbeats every 100 ms: phi 8 after 1.0 to 1.4 s, phi 12 within 0.3 s more', () => {
  const detector = beating(100, 20_000);
  const suspectMs = crossingMs(detector, 20_000, 8);
  const certainMs = crossingMs(detector, 20_000, 12);
  assert.ok(suspectMs > 1_000 && suspectMs < 1_400, `${suspectMs}`);
  assert.ok(certainMs > suspectMs && certainMs < suspectMs + 300, `${certainMs}`);
});

test('jitter of a WAN (up to 300 ms late) raises no suspicion in an hour of heartbeats', () => {
  const prng = createPrng(7);
  const detector = new PhiAccrual();
  let worst = 0;
  let at = 0;
  for (let beat = 0; beat < 36_000; beat += 1) {
    at += 60 + prng.nextBelow(prng.nextBelow(50) === 0 ? 340 : 80);
    worst = Math.max(worst, detector.phi(at));
    detector.heartbeat(at);
  }
  assert.ok(worst < 3, `phi rose to ${worst}`);
});

test('an outage is not learnt: the next silence is seen as fast as the first', () => {
  const detector = beating(100, 10_000);
  const firstMs = crossingMs(detector, 10_000, 8);
  detector.heartbeat(70_000);
  for (let at = 70_100; at <= 75_000; at += 100) detector.heartbeat(at);
  assert.ok(Math.abs(crossingMs(detector, 75_000, 8) - firstMs) <= 20);
});

test('a clock that steps back harms nothing', () => {
  const detector = beating(100, 10_000);
  detector.heartbeat(4_000);
  assert.ok(detector.phi(3_000) < 0.5);
  assert.ok(detector.phi(4_050) < 0.5);
  assert.ok(detector.phi(7_000) > 12);
});

test('a stall of our own is forgiven, and no more than it', () => {
  const detector = beating(100, 10_000);
  assert.ok(detector.phi(40_000) > 12);
  detector.forgive(30_000, 40_000);
  assert.ok(detector.phi(40_050) < 0.5);
  assert.ok(detector.phi(43_000) > 12);
  detector.heartbeat(43_000);
  detector.forgive(10_000, 43_000);
  assert.equal(detector.heardMs, 43_000);
});

test('phi is finite, never negative, and never falls while nothing comes', () => {
  const gap = fc.integer({ min: 0, max: 5_000 });
  fc.assert(
    fc.property(
      fc.array(gap, { maxLength: 60 }),
      fc.array(gap, { minLength: 1 }),
      (beats, looks) => {
        const detector = new PhiAccrual();
        let at = 0;
        for (const each of beats) {
          at += each;
          detector.heartbeat(at);
        }
        let before = 0;
        for (const each of looks) {
          at += each;
          const phi = detector.phi(at);
          assert.ok(Number.isFinite(phi) && phi <= PHI_MAX);
          assert.ok(phi >= before, `${phi} after ${before}`);
          before = phi;
        }
        detector.heartbeat(at);
        assert.ok(detector.phi(at) < 0.5);
      },
    ),
  );
});

test('the window forgets: the mean follows a new pace within its 200 samples', () => {
  const detector = beating(100, 10_000);
  for (let at = 10_300; at <= 10_000 + 300 * 210; at += 300) detector.heartbeat(at);
  assert.ok(Math.abs(detector.meanMs - 300) < 1);
  assert.ok(PHI_SETTINGS.sigmaMsMin >= 100);
});
