import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import type { LinkDownCause } from '../protocol/peer/linkState.ts';
import { assessRegion, HEALTH_SETTINGS, type RegionEvidence, type RegionHealth } from './health.ts';

const WELL: RegionEvidence = {
  link: { kind: 'up', node: 'a-1' },
  linkForMs: 60_000,
  phi: 0.1,
  heardMs: 50,
  probe: null,
  rttMs: 105,
  rttMsMin: 104,
  heardBy: null,
  isAlone: false,
  wasSlow: false,
};

function lost(cause: LinkDownCause, more: Partial<RegionEvidence> = {}): RegionEvidence {
  const link = { kind: 'down', cause, detail: cause } as const;
  return { ...WELL, link, phi: 50, heardMs: 10_000, linkForMs: 10_000, ...more };
}

const TABLE: readonly [string, RegionEvidence, RegionHealth, RegExp][] = [
  ['all is well', WELL, 'healthy', /^$/],
  ['a little jitter', { ...WELL, rttMs: 300 }, 'healthy', /^$/],
  ['round trip 600 of 104 ms', { ...WELL, rttMs: 600 }, 'slow', /600 ms, at best 104 ms/],
  ['still above half the limit', { ...WELL, rttMs: 350, wasSlow: true }, 'slow', /350/],
  ['back below half the limit', { ...WELL, rttMs: 250, wasSlow: true }, 'healthy', /^$/],
  ['a little silence', { ...WELL, phi: 7, heardMs: 1_000 }, 'healthy', /^$/],
  ['silence', { ...WELL, phi: 9, heardMs: 1_250 }, 'suspect', /no heartbeat for 1250 ms/],
  ['silence, machine accepts', { ...WELL, phi: 9, probe: 'accepted' }, 'paused', /accepts/],
  ['silence for long, link up', { ...WELL, phi: 20, heardMs: 3_000 }, 'paused', /link is up/],
  ['silence, machine refuses', { ...WELL, phi: 20, probe: 'refused' }, 'down', /refused/],
  ['silence, no machine', { ...WELL, phi: 20, probe: 'unreachable' }, 'down', /not answer/],
  [
    'silence everywhere',
    { ...WELL, phi: 20, probe: 'unreachable', isAlone: true },
    'cut',
    /from here/,
  ],
  ['silence, another hears it', { ...WELL, phi: 9, heardBy: 'c' }, 'cut', /c hears it/],
  ['new link, no heartbeat yet', { ...WELL, heardMs: null, linkForMs: 100 }, 'unknown', /yet/],
  ['never a heartbeat', { ...WELL, heardMs: null }, 'paused', /never/],
  ['never one here', { ...WELL, heardMs: null, heardBy: 'c' }, 'cut', /only c hears it/],
  ['never one, refused', { ...WELL, heardMs: null, probe: 'refused' }, 'down', /refused now/],
  ['link just lost', lost('reset', { heardMs: 300, linkForMs: 250 }), 'suspect', /reset/],
  ['refused for a moment', lost('refused', { heardMs: 900 }), 'suspect', /refused/],
  ['refused', lost('refused'), 'down', /refused/],
  ['reset', lost('reset'), 'down', /reset/],
  ['unreachable', lost('unreachable'), 'down', /unreachable/],
  ['certificate', lost('rejected'), 'down', /rejected/],
  ['reset, another hears it', lost('reset', { heardBy: 'c' }), 'cut', /c hears it/],
  ['refused, another hears it', lost('refused', { heardBy: 'c' }), 'cut', /c hears it/],
  ['accepted, but silent', lost('silent'), 'paused', /silent/],
  ['nobody can be reached', lost('unreachable', { isAlone: true }), 'cut', /from here/],
  ['not tried', lost('starting', { heardMs: null }), 'unknown', /starting/],
  [
    'refused at our start',
    lost('refused', { heardMs: null, linkForMs: 900 }),
    'unknown',
    /refused/,
  ],
  ['refused since our start', lost('refused', { heardMs: null }), 'down', /refused/],
];

for (const [name, evidence, health, reason] of TABLE) {
  test(`${name}: ${health}`, () => {
    const verdict = assessRegion(evidence);
    assert.equal(verdict.health, health);
    assert.match(verdict.reason, reason);
  });
}

const evidence: fc.Arbitrary<RegionEvidence> = fc.record({
  link: fc.oneof(
    fc.constant({ kind: 'up' as const, node: 'n' }),
    fc.record({
      kind: fc.constant('down' as const),
      cause: fc.constantFrom<LinkDownCause>(
        'starting',
        'refused',
        'reset',
        'unreachable',
        'silent',
        'rejected',
      ),
      detail: fc.constant('why'),
    }),
  ),
  linkForMs: fc.nat(20_000),
  phi: fc.double({ min: 0, max: 100, noNaN: true }),
  heardMs: fc.option(fc.nat(20_000)),
  probe: fc.constantFrom(null, 'accepted', 'refused', 'unreachable'),
  rttMs: fc.option(fc.nat(5_000)),
  rttMsMin: fc.option(fc.nat(500)),
  heardBy: fc.constantFrom(null, 'c'),
  isAlone: fc.boolean(),
  wasSlow: fc.boolean(),
});

test('a region that another one hears is never called down (V1)', () => {
  fc.assert(
    fc.property(evidence, (seen) => {
      if (seen.heardBy !== null) assert.notEqual(assessRegion(seen).health, 'down');
    }),
    { numRuns: 5_000 },
  );
});

test('paused needs a sign of life of the machine (V2)', () => {
  fc.assert(
    fc.property(evidence, (seen) => {
      if (assessRegion(seen).health !== 'paused') return;
      const isLinked = seen.link.kind === 'up' && seen.probe !== 'refused';
      assert.ok(isLinked || (seen.link.kind === 'down' && seen.link.cause === 'silent'));
      assert.notEqual(seen.heardBy, 'c');
    }),
    { numRuns: 5_000 },
  );
});

test('only a linked region whose heartbeats come is healthy or slow, and others give a reason', () => {
  fc.assert(
    fc.property(evidence, (seen) => {
      const verdict = assessRegion(seen);
      if (verdict.health === 'healthy' || verdict.health === 'slow') {
        assert.ok(seen.link.kind === 'up' && seen.phi < HEALTH_SETTINGS.phiSuspect);
      }
      assert.equal(verdict.reason === '', verdict.health === 'healthy');
    }),
    { numRuns: 5_000 },
  );
});
