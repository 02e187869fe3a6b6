import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ROUTING_LIMITS } from '../base/limits.ts';
import type { TargetName } from '../base/names.ts';
import { createHomes, createPopularity } from './algorithms/affinity.ts';

const TARGET = 'a' as TargetName;
const { sessionHomeMs, sessionHomesMax } = ROUTING_LIMITS;

test('homes past their time leave the memory: a steady flow of new sessions keeps it flat', () => {
  const homes = createHomes();
  let most = 0;
  for (let index = 0; index < 20_000; index += 1) {
    homes.remember(`session-${index}`, 1, TARGET, index * 100); // Ten a second.
    most = Math.max(most, homes.count());
  }
  assert.ok(most <= sessionHomeMs / 100 + 2, `${most} homes were kept`);
});

test('after a burst the memory shrinks again, and what is in use stays', () => {
  const homes = createHomes();
  for (let index = 0; index < 10_000; index += 1) homes.remember(`burst-${index}`, 1, TARGET, 0);
  const afterMs = sessionHomeMs + 1;
  for (let index = 0; index < 10_000; index += 1) {
    homes.remember(`later-${index % 3}`, 7, TARGET, afterMs);
  }
  assert.equal(homes.count(), 3);
  assert.equal(homes.of('later-1', afterMs)?.tokens, 7);
});

test('past the limit the oldest home goes first', () => {
  const homes = createHomes();
  for (let index = 0; index <= sessionHomesMax; index += 1) {
    homes.remember(`${index}`, 1, TARGET, 0);
  }
  assert.equal(homes.count(), sessionHomesMax);
  assert.equal(homes.of('0', 0), undefined);
  assert.notEqual(homes.of('1', 0), undefined);
});

test('of more prefixes than are counted the one unseen for longest goes', () => {
  const popularity = createPopularity();
  const { prefixesMax } = ROUTING_LIMITS;
  for (let round = 0; round < 3; round += 1) {
    for (let prefix = 1; prefix <= prefixesMax; prefix += 1) {
      popularity.count(round * prefixesMax + prefix, 0);
      popularity.count(0, 0); // In use all the time.
    }
  }
  assert.ok(popularity.share(0, 0) > 0.4);
  assert.equal(popularity.share(2 * prefixesMax, 0), 0);
  assert.ok(popularity.share(3 * prefixesMax, 0) > 0);
});
