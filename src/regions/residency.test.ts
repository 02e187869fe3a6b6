import { equal, deepEqual, ok } from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { usualWish } from './desired.ts';
import { mayServe, narrower } from './residency.ts';

const label = fc.constantFrom('eu', 'ch', 'us', 'cn');
const residency = fc.option(fc.uniqueArray(label));

test('a region fits only by a label of its own that the key names (RS1, RS3)', () => {
  const wishes = [
    { ...usualWish('a'), residency: 'eu' },
    { ...usualWish('b'), residency: 'us' },
  ];
  equal(mayServe(['eu', 'ch'], wishes, 'a'), true);
  equal(mayServe(['eu', 'ch'], wishes, 'b'), false);
  equal(mayServe(['eu'], [...wishes, usualWish('c')], 'c'), false, 'it has no label');
  equal(mayServe(['eu'], wishes, 'd'), false, 'nothing is said of it');
  equal(mayServe(['eu'], null, 'a'), false, 'nothing is known yet');
  equal(mayServe([], wishes, 'a'), false);
  equal(mayServe(null, null, 'd'), true, 'who is not bound is served anywhere');
});

test('of two words on a request a region must fit both', () => {
  fc.assert(
    fc.property(residency, residency, fc.option(label), (left, right, own) => {
      const wishes = [{ ...usualWish('a'), residency: own }];
      const both = mayServe(left, wishes, 'a') && mayServe(right, wishes, 'a');
      equal(mayServe(narrower(left, right), wishes, 'a'), both);
      deepEqual(
        new Set(narrower(left, right) ?? ['any']),
        new Set(narrower(right, left) ?? ['any']),
      );
      ok(narrower(null, null) === null);
    }),
  );
});
