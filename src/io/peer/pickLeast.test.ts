import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { pickLeast } from './pickLeast.ts';

test('what is picked can be picked, and nothing lighter is left (K1, K2)', () => {
  const weight = fc.oneof(fc.nat(5), fc.constant(Infinity));
  fc.assert(
    fc.property(fc.array(weight, { maxLength: 6 }), fc.nat(), (weights, turn) => {
      const able = weights.filter((one) => one < Infinity);
      const picked = pickLeast(weights, (one) => one, turn);
      assert.equal(picked, able.length === 0 ? undefined : Math.min(...able));
    }),
  );
});

test('equals take turns', () => {
  const weights = new Map([
    ['a', 1],
    ['b', 1],
    ['c', 9],
    ['d', Infinity],
  ]);
  const names = [...weights.keys()];
  const picked = [0, 1, 2, 3].map((turn) => {
    return pickLeast(names, (name) => weights.get(name) ?? Infinity, turn);
  });
  assert.deepEqual(picked, ['a', 'b', 'a', 'a']);
});
