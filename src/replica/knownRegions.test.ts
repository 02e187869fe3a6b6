import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { ModelDigest, RegionDigest } from '../protocol/peer/digest.ts';
import { usualWish, type RegionWish } from '../regions/desired.ts';
import type { Residency } from '../regions/residency.ts';
import { RegionDirectory } from '../regions/directory.ts';
import { createRegionView } from './knownRegions.ts';

const IDLE: ModelDigest = { healthy: 2, total: 2, inFlight: 0, queuedTokens: 0 };

function digestOf(
  region: string,
  models: RegionDigest['models'],
  isDraining = false,
): RegionDigest {
  return { region, node: `${region}-1`, seq: 1, models, inFlight: 0, views: {}, isDraining };
}

/** Two other regions, healthy after a second of heartbeats: `near` at 20 ms, `far` at 200 ms. */
function regions(near: RegionDigest['models'], far: RegionDigest['models'], isDraining = false) {
  const directory = new RegionDirectory({ region: 'own', peers: ['near', 'far'] }, 0);
  for (const region of ['near', 'far']) directory.onLink(region, { kind: 'up', node: 'n' }, 0);
  for (let nowMs = 100; nowMs <= 1_000; nowMs += 100) {
    directory.onRtt('near', 20, nowMs);
    directory.onRtt('far', 200, nowMs);
    directory.onDigest('near', digestOf('near', near, isDraining), nowMs);
    directory.onDigest('far', digestOf('far', far), nowMs);
    directory.tick(nowMs);
  }
  return { directory, view: createRegionView(directory), nowMs: 1_000 };
}

function query(
  model: string,
  excluded: readonly string[] = [],
  wishes: readonly RegionWish[] = [],
  residency: Residency = null,
) {
  return { model, promptTokens: 100, excluded: new Set(excluded), wishes, residency };
}

test('the region that costs least is chosen, and the next where it was tried already', () => {
  const { view, nowMs } = regions({ m: IDLE }, { m: IDLE });
  assert.equal(view.choose(query('m'), nowMs).region, 'near');
  assert.equal(view.choose(query('m', ['near']), nowMs).region, 'far');
  const none = view.choose(query('m', ['near', 'far']), nowMs);
  assert.equal(none.region, null);
  assert.match(none.why, /near: .*, far: |far: .*, near: /);
});

test('a region without healthy targets, or draining, or cut off is not chosen', () => {
  const sick = regions({ m: { ...IDLE, healthy: 0 } }, { m: IDLE });
  assert.equal(sick.view.choose(query('m'), sick.nowMs).region, 'far');
  const draining = regions({ m: IDLE }, { m: IDLE }, true);
  assert.equal(draining.view.choose(query('m'), draining.nowMs).region, 'far');
  const cut = regions({ m: IDLE }, { m: IDLE });
  const down = { kind: 'down', cause: 'unreachable', detail: 'cut' } as const;
  cut.directory.onLink('near', down, cut.nowMs);
  assert.equal(cut.view.choose(query('m'), cut.nowMs).region, 'far');
  const row = cut.view.candidates(query('m'), cut.nowMs).find(({ region }) => region === 'near');
  assert.notEqual(row?.excludedBecause, null);
});

test('a model that no region tells of has nowhere to go, whatever it is called', () => {
  const { view, nowMs } = regions({ m: IDLE }, {});
  for (const model of ['x', '__proto__', 'constructor', '']) {
    const choice = view.choose(query(model), nowMs);
    assert.deepEqual(choice, {
      region: null,
      why: 'no other region tells of it',
      isLastResort: false,
    });
    const rows = view.candidates(query(model), nowMs);
    assert.ok(rows.every(({ excludedBecause }) => excludedBecause !== null));
  }
});

test('own traffic counts before a digest can know of it: a burst does not go to one region', () => {
  const { view, nowMs } = regions({ m: IDLE }, { m: IDLE });
  const chosen = new Map<string | null, number>();
  for (let count = 0; count < 200; count += 1) {
    const { region } = view.choose(query('m'), nowMs + 1);
    chosen.set(region, (chosen.get(region) ?? 0) + 1);
    if (region !== null) view.started(region, 1_000, nowMs + 1);
  }
  assert.ok((chosen.get('near') ?? 0) > 0);
  assert.ok((chosen.get('far') ?? 0) > 50, `${chosen.get('far')} of 200 went to the far region`);
});

test('a region that failed us is avoided for a while', () => {
  const { view, nowMs } = regions({ m: IDLE }, { m: IDLE });
  assert.equal(view.choose(query('m'), nowMs).region, 'near');
  const outcome = { kind: 'failed', phase: 'connect' } as const;
  view.finished('near', 100, outcome, nowMs);
  assert.equal(view.choose(query('m'), nowMs + 1).region, 'far');
});

test('a region that the key may not be served in is never chosen, drained ones before it', () => {
  const wishes: readonly RegionWish[] = [
    { ...usualWish('near'), residency: 'us' },
    { ...usualWish('far'), residency: 'eu', desired: 'drained' },
  ];
  const { view, nowMs } = regions({ m: IDLE }, { m: IDLE });
  assert.equal(view.choose(query('m', [], wishes, ['eu']), nowMs).region, 'far');
  const none = view.choose(query('m', ['far'], wishes, ['eu']), nowMs);
  assert.equal(none.region, null);
  assert.match(none.why, /near: its residency label is none of the key/);
  const rows = view.candidates(query('m', [], wishes, ['eu']), nowMs);
  const row = rows.find(({ region }) => region === 'near');
  assert.equal(row?.excludedBecause, 'its residency label is none of the key');
  assert.equal(view.choose(query('m', [], wishes, null), nowMs).region, 'near');
});

test('a drained region is chosen where no other is left; one of little weight looks further away', () => {
  const { view, nowMs } = regions({ m: IDLE }, { m: IDLE });
  const drained: RegionWish = { ...usualWish('near'), desired: 'drained' };
  const chosen = view.choose(query('m', [], [drained]), nowMs);
  assert.deepEqual([chosen.region, chosen.isLastResort], ['far', false]);
  const last = view.choose(query('m', ['far'], [drained]), nowMs);
  assert.deepEqual([last.region, last.why, last.isLastResort], ['near', 'it is drained', true]);
  const { view: other } = regions({ m: IDLE }, { m: IDLE });
  const light: RegionWish = { ...usualWish('near'), weight: 5 };
  assert.equal(other.choose(query('m', [], [light]), nowMs).region, 'far');
});
