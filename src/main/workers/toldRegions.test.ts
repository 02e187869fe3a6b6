import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { RegionView as KnownRegion } from '../../regions/directory.ts';
import { ToldRegions } from './toldRegions.ts';

test('what was told of regions grows older until it is told again', () => {
  let nowMs = 1_000;
  const regions = new ToldRegions({ nowMs: () => nowMs, wallMs: () => 0 });
  const eu = { region: 'eu', forMs: 10, heardMs: 50, digestAgeMs: null } as unknown as KnownRegion;
  assert.deepEqual(regions.views(nowMs), []);
  regions.told([eu]);
  nowMs += 70;
  assert.deepEqual(regions.views(nowMs), [{ ...eu, forMs: 80, heardMs: 120 }]);
  regions.told([eu]);
  assert.deepEqual(regions.views(nowMs), [eu]);
});
