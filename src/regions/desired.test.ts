import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import {
  DESIRED_STATES,
  drainRefusal,
  isDrained,
  usualWish,
  wishOf,
  type OtherStanding,
} from './desired.ts';

function other(region: string, more: Partial<OtherStanding> = {}): OtherStanding {
  return { region, desired: 'active', isHeard: true, ...more };
}

test('a region is drained where all others are active and heard', () => {
  equal(drainRefusal([other('ap')]), null);
  equal(drainRefusal([other('ap'), other('us')]), null);
});

test('the last region that serves is not drained (D1)', () => {
  const last = { code: 'last_active_region' };
  deepEqual(drainRefusal([]), last);
  deepEqual(drainRefusal([other('ap', { desired: 'drained' })]), last);
  const silent = other('us', { isHeard: false });
  deepEqual(drainRefusal([other('ap', { desired: 'drained' }), silent]), last);
});

test('none is drained beside one that is drained or silent, and it is named (D2)', () => {
  for (const out of [other('ap', { desired: 'drained' }), other('ap', { isHeard: false })]) {
    deepEqual(drainRefusal([out, other('us')]), { code: 'another_region_out', out: [out] });
  }
});

test('what nobody has said anything of is active with the usual weight', () => {
  const drained = { ...usualWish('eu'), desired: 'drained' as const };
  deepEqual(wishOf([drained], 'us'), usualWish('us'));
  equal(isDrained([drained], 'us'), false);
  equal(isDrained([drained], 'eu'), true);
});

test('whatever is refused and let, an active region that is heard is left', () => {
  const standing = fc.record({
    region: fc.constantFrom('a', 'b', 'c'),
    desired: fc.constantFrom(...DESIRED_STATES),
    isHeard: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(standing, { maxLength: 6 }), (others) => {
      const serving = others.filter(({ desired, isHeard }) => desired === 'active' && isHeard);
      const isLet = drainRefusal(others) === null;
      equal(isLet, others.length > 0 && serving.length === others.length);
    }),
  );
});
