import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import type { ModelDigest, RegionDigest } from '../protocol/peer/digest.ts';
import type { LinkState } from '../protocol/peer/linkState.ts';
import { combineDigests, combineLinks, combineProbes } from './combine.ts';
import { RegionDirectory } from './directory.ts';
import { RegionNodes } from './nodes.ts';

const UP: LinkState = { kind: 'up', node: 'n' };
const down = (cause: 'refused' | 'silent' | 'unreachable'): LinkState => {
  return { kind: 'down', cause, detail: cause };
};

function digest(more: Partial<RegionDigest> = {}): RegionDigest {
  const node = { region: 'eu', node: 'n', seq: 1, models: {}, inFlight: 0, views: {} };
  return { ...node, isDraining: false, ...more };
}

const model = (healthy: number, inFlight = 0): ModelDigest => {
  return { healthy, total: 4, inFlight, queuedTokens: 10 * inFlight };
};

test('load is summed, of health the best node counts, models are those of any', () => {
  const one = digest({ inFlight: 3, models: { m: model(1, 3), only: model(2) } });
  const other = digest({ inFlight: 4, models: { m: model(2, 4) } });
  const { models, inFlight, isDraining } = combineDigests(one, [one, other]);
  assert.deepEqual(models, { m: model(2, 7), only: model(2) });
  assert.equal(inFlight, 7);
  assert.equal(isDraining, false);
});

test('a region drains where all of its nodes do; who drains tells nothing of targets', () => {
  const leaving = digest({ inFlight: 2, models: { m: model(4, 2) }, isDraining: true });
  const staying = digest({ inFlight: 1, models: { m: model(1, 1) } });
  const mixed = combineDigests(leaving, [leaving, staying]);
  assert.deepEqual([mixed.isDraining, mixed.inFlight], [false, 3]);
  assert.deepEqual(mixed.models, { m: model(1, 1) });
  const all = combineDigests(leaving, [leaving, leaving]);
  assert.deepEqual([all.isDraining, all.models['m']?.inFlight], [true, 4]);
});

test('the freshest sighting of another region counts', () => {
  const views = (ageMs: number | null) => ({ us: { state: `heard ${ageMs}`, ageMs } });
  const old = digest({ views: views(900) });
  const never = digest({ views: views(null) });
  const young = digest({ views: views(30) });
  for (const order of [
    [old, never, young],
    [young, old, never],
  ]) {
    assert.deepEqual(combineDigests(old, order).views, views(30));
  }
});

test('a link that is up counts; of those that are down the one with the most sign of life', () => {
  assert.equal(combineLinks([]), null);
  assert.deepEqual(combineLinks([down('refused'), UP, down('silent')]), UP);
  const lost = [down('unreachable'), down('silent'), down('refused')];
  assert.deepEqual(combineLinks(lost), down('silent'));
  assert.equal(combineProbes(['unreachable', 'accepted', 'refused']), 'accepted');
  assert.equal(combineProbes(['unreachable', null]), null, 'one was heard: nothing is silent');
  assert.equal(combineProbes([]), null);
});

/** Two nodes of `eu`, one of our own region, and a directory, all by hand. */
class World {
  nowMs = 0;
  readonly directory = new RegionDirectory({ region: 'us', peers: [] }, 0);
  readonly nodes = new RegionNodes('us', this.directory);

  constructor(peers: readonly string[] = ['eu', 'eu/b', 'us/b']) {
    this.nodes.setPeers(peers, 0);
  }

  link(peer: string, state: LinkState): void {
    this.nodes.onLink(peer, state, this.nowMs);
  }

  /** Lets time pass: a beat of each of `peers` every 100 ms, at different moments. */
  beats(ms: number, peers: Readonly<Record<string, RegionDigest>>): string[] {
    const changed: string[] = [];
    for (const endMs = this.nowMs + ms; this.nowMs < endMs; this.nowMs += 10) {
      for (const [index, [peer, told]] of Object.entries(peers).entries()) {
        if ((this.nowMs / 10 + index * 3) % 10 !== 0) continue;
        this.nodes.onDigest(peer, told, this.nowMs);
        this.nodes.onRtt(peer, peer === 'eu' ? 30 : 20, this.nowMs);
      }
      if (this.nowMs % 100 !== 0) continue;
      for (const { region, to } of this.directory.tick(this.nowMs)) changed.push(`${region} ${to}`);
    }
    return changed;
  }

  get eu() {
    return this.directory.view('eu', this.nowMs) ?? assert.fail('eu is a region');
  }
}

const BOTH = { eu: digest({ inFlight: 1 }), 'eu/b': digest({ inFlight: 2 }) };

test('nodes of our own region are no region', () => {
  const world = new World();
  world.link('us/b', UP);
  world.beats(500, { 'us/b': digest({ region: 'us', inFlight: 7 }) });
  assert.deepEqual(
    world.directory.views(500).map(({ region }) => region),
    ['eu'],
  );
  const own = world.nodes.views(500).find(({ peer }) => peer === 'us/b');
  assert.deepEqual([own?.link.kind, own?.inFlight], ['up', 7]);
});

test('a node that dies leaves its region healthy, without its load; the last one takes it down', () => {
  const world = new World();
  world.link('eu', UP);
  world.link('eu/b', UP);
  assert.deepEqual(world.beats(1_000, BOTH), ['eu healthy']);
  assert.equal(world.eu.digest?.inFlight, 3);
  assert.ok((world.eu.rttMs ?? Infinity) < 25, 'the round trip of the best');
  for (const [dead, alive] of [
    ['eu', 'eu/b'],
    ['eu/b', 'eu'],
  ] as const) {
    world.link(dead, down('refused'));
    assert.deepEqual(world.beats(5_000, { [alive]: BOTH[alive] }), []);
    assert.equal(world.eu.digest?.inFlight, BOTH[alive].inFlight);
    assert.ok(world.nodes.isAvoided(dead, null) && !world.nodes.isAvoided(alive, null));
    world.link(dead, UP);
    assert.deepEqual(world.beats(2_000, BOTH), []);
    assert.equal(world.eu.digest?.inFlight, 3);
  }
  world.link('eu', down('refused'));
  world.link('eu/b', down('refused'));
  assert.equal(world.eu.effective.isEligible, false, 'at once');
  assert.deepEqual(world.beats(3_000, {}), ['eu suspect', 'eu down']);
});

test('a node that falls silent with its link up harms no region, whichever beat it gave', () => {
  for (const alive of ['eu', 'eu/b'] as const) {
    const world = new World();
    world.link('eu', UP);
    world.link('eu/b', UP);
    world.beats(1_000, BOTH);
    assert.deepEqual(world.beats(4_000, { [alive]: BOTH[alive] }), [], `${alive} is heard`);
    assert.equal(world.eu.digest?.inFlight, BOTH[alive].inFlight, 'what is old counts no more');
    world.nodes.onProbe(alive === 'eu' ? 'eu/b' : 'eu', 'unreachable');
    assert.deepEqual(world.beats(500, { [alive]: BOTH[alive] }), []);
  }
});

test('for a model a node comes last that does not have it, or has no target of it that is well', () => {
  const world = new World();
  world.link('eu', UP);
  world.link('eu/b', UP);
  const well = { healthy: 1, total: 1, inFlight: 0, queuedTokens: 0 };
  const ill = { ...well, healthy: 0 };
  world.beats(500, {
    eu: digest({ models: { small: well, large: ill } }),
    'eu/b': digest({ models: { small: well, large: well, own: well } }),
  });
  const avoided = (model: string | null): readonly boolean[] =>
    ['eu', 'eu/b'].map((peer) => world.nodes.isAvoided(peer, model));
  assert.deepEqual(avoided(null), [false, false]);
  assert.deepEqual(avoided('small'), [false, false]);
  assert.deepEqual(avoided('large'), [true, false]);
  assert.deepEqual(avoided('own'), [true, false]);
  assert.deepEqual(avoided('none'), [true, true], 'neither before the other');
});

test('a node that is taken away takes its part along; a region without nodes is none', () => {
  const world = new World();
  world.link('eu', UP);
  world.beats(1_000, { eu: BOTH.eu });
  world.nodes.setPeers(['eu/b', 'ap/x'], world.nowMs);
  assert.equal(world.eu.link.kind, 'down');
  const regions = world.directory.views(world.nowMs).map(({ region }) => region);
  assert.deepEqual(regions.toSorted(), ['ap', 'eu']);
});

test('a node speaks for its own region only', () => {
  const world = new World();
  world.link('eu', UP);
  world.beats(500, { eu: digest({ region: 'ap' }) });
  assert.equal(world.eu.digest, null);
});

test('whatever the links do: a region is linked exactly while one of its nodes is', () => {
  const peer = fc.constantFrom('eu', 'eu/b', 'ap', 'ap/b', 'ap/c');
  const step = fc.record({ peer, isUp: fc.boolean(), beat: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const world = new World(['eu', 'eu/b', 'ap', 'ap/b', 'ap/c']);
      const up = new Set<string>();
      for (const { peer: name, isUp, beat } of steps) {
        world.nowMs += 20;
        const region = name.slice(0, 2);
        world.link(name, isUp ? UP : down('refused'));
        if (isUp) up.add(name);
        else up.delete(name);
        const isLinked = [...up].some((each) => each.startsWith(region));
        assert.equal(world.directory.view(region, world.nowMs)?.link.kind === 'up', isLinked);
        if (isUp && beat) {
          world.nodes.onDigest(name, digest({ region, inFlight: 1 }), world.nowMs);
        }
        const told = world.directory.view(region, world.nowMs)?.digest?.inFlight ?? 0;
        assert.ok(told <= (region === 'eu' ? 2 : 3), 'no node counts twice');
      }
    }),
    { numRuns: 200 },
  );
});
