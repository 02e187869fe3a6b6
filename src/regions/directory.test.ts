import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { RegionDigest } from '../protocol/peer/digest.ts';
import type { LinkState } from '../protocol/peer/linkState.ts';
import { RegionDirectory } from './directory.ts';
import type { RegionHealth } from './health.ts';
import { RttEstimate } from './rtt.ts';

const UP: LinkState = { kind: 'up', node: 'n-1' };
const NAMES = ['a', 'b', 'c'];

function down(cause: (LinkState & { kind: 'down' })['cause']): LinkState {
  return { kind: 'down', cause, detail: cause };
}

/**
 * Three regions, a directory each, and a network between them that a test can hurt. Heartbeats take
 * 50 ms one way; time is virtual.
 */
class World {
  nowMs = 0;
  readonly directories = new Map<string, RegionDirectory>();
  readonly changes: string[] = [];
  private readonly paused = new Set<string>();
  private readonly broken = new Set<string>();
  private readonly flying: { atMs: number; from: string; to: string; digest: RegionDigest }[] = [];
  private seq = 0;

  constructor() {
    for (const region of NAMES) {
      const peers = NAMES.filter((name) => name !== region);
      this.directories.set(region, new RegionDirectory({ region, peers }, 0));
    }
    for (const from of NAMES) {
      for (const to of NAMES) if (from !== to) this.get(from).onLink(to, UP, 0);
    }
  }

  get(region: string): RegionDirectory {
    const directory = this.directories.get(region);
    assert.ok(directory !== undefined);
    return directory;
  }

  /** Stops a region's process: it sends and does nothing. */
  pause(region: string, isPaused: boolean): void {
    if (isPaused) this.paused.add(region);
    else this.paused.delete(region);
  }

  /** Loses the link of a pair; each side sees `cause`. */
  cut(one: string, other: string, cause: (LinkState & { kind: 'down' })['cause']): void {
    this.broken.add([one, other].toSorted().join());
    this.get(one).onLink(other, down(cause), this.nowMs);
    this.get(other).onLink(one, down(cause), this.nowMs);
  }

  heal(one: string, other: string): void {
    this.broken.delete([one, other].toSorted().join());
    this.get(one).onLink(other, UP, this.nowMs);
    this.get(other).onLink(one, UP, this.nowMs);
  }

  run(forMs: number): void {
    const untilMs = this.nowMs + forMs;
    for (; this.nowMs < untilMs; this.nowMs += 10) {
      this.deliver();
      if (this.nowMs % 100 === 0) this.beat();
    }
  }

  health(by: string, of: string): RegionHealth | undefined {
    return this.get(by).view(of, this.nowMs)?.health;
  }

  private beat(): void {
    for (const from of NAMES) {
      if (this.paused.has(from)) continue;
      for (const change of this.get(from).tick(this.nowMs)) {
        this.changes.push(`${from} sees ${change.region}: ${change.from} > ${change.to}`);
      }
      this.seq += 1;
      const digest = {
        region: from,
        node: `${from}-1`,
        seq: this.seq,
        models: { m: { healthy: 1, total: 2, inFlight: 0, queuedTokens: 0 } },
        inFlight: 0,
        views: this.get(from).digestViews(this.nowMs),
        isDraining: false,
      };
      for (const to of NAMES) {
        if (to !== from && !this.broken.has([from, to].toSorted().join())) {
          this.flying.push({ atMs: this.nowMs + 50, from, to, digest });
        }
      }
    }
  }

  private deliver(): void {
    while (this.flying[0] !== undefined && this.flying[0].atMs <= this.nowMs) {
      const next = this.flying.shift();
      if (next === undefined || this.paused.has(next.to)) continue;
      if (this.broken.has([next.from, next.to].toSorted().join())) continue;
      this.get(next.to).onDigest(next.from, next.digest, this.nowMs);
      this.get(next.to).onRtt(next.from, 100, this.nowMs);
    }
  }
}

function healthyWorld(): World {
  const world = new World();
  world.run(2_000);
  for (const by of NAMES) {
    for (const of of NAMES) if (by !== of) assert.equal(world.health(by, of), 'healthy');
  }
  world.changes.length = 0;
  return world;
}

test('three regions find one another healthy, and stay so for ten minutes', () => {
  const world = healthyWorld();
  world.run(600_000);
  assert.deepEqual(world.changes, []);
  const view = world.get('a').view('b', world.nowMs);
  assert.equal(view?.effective.isEligible, true);
  assert.ok(view !== null && view.digestAgeMs !== null && view.digestAgeMs <= 160);
  assert.ok(view.rttMs !== null && Math.abs(view.rttMs - 100) < 1);
});

test('a paused process is paused within 1.6 s to both others, never down, and comes back', () => {
  const world = healthyWorld();
  world.pause('b', true);
  world.run(1_000);
  for (const by of ['a', 'c']) world.get(by).onProbe('b', 'accepted');
  world.run(600);
  assert.equal(world.health('a', 'b'), 'paused');
  assert.equal(world.health('c', 'b'), 'paused');
  assert.equal(world.get('a').view('b', world.nowMs)?.effective.isEligible, false);
  world.run(10_000);
  assert.equal(world.health('a', 'b'), 'paused');
  world.pause('b', false);
  world.run(1_000);
  assert.equal(world.health('a', 'b'), 'healthy');
  assert.ok(!world.changes.some((change) => change.includes('> down')));
});

test('who was paused does not accuse the others when it wakes', () => {
  const world = healthyWorld();
  world.pause('b', true);
  world.run(8_000);
  world.changes.length = 0;
  world.pause('b', false);
  world.run(2_000);
  assert.deepEqual(
    world.changes.filter((change) => change.startsWith('b sees')),
    [],
  );
});

test('a cut link is cut to both ends within 2 s, never down; the third sees all as healthy', () => {
  const world = healthyWorld();
  world.cut('a', 'b', 'reset');
  assert.equal(world.get('a').view('b', world.nowMs)?.effective.isEligible, false);
  world.run(2_000);
  assert.equal(world.health('a', 'b'), 'cut');
  assert.equal(world.health('b', 'a'), 'cut');
  world.run(20_000);
  assert.deepEqual(
    world.changes.filter((change) => !/> (suspect|cut)$/.test(change)),
    [],
  );
  assert.ok(!world.changes.some((change) => change.startsWith('c')));
  assert.match(world.get('a').view('b', world.nowMs)?.reason ?? '', /c hears it/);
  world.heal('a', 'b');
  world.run(1_000);
  assert.equal(world.health('a', 'b'), 'healthy');
});

test('a dead region is down to both within 2 s, never cut', () => {
  const world = healthyWorld();
  world.pause('b', true);
  world.cut('a', 'b', 'refused');
  world.cut('c', 'b', 'refused');
  world.run(2_000);
  assert.equal(world.health('a', 'b'), 'down');
  assert.equal(world.health('c', 'b'), 'down');
  assert.ok(!world.changes.some((change) => change.includes('> cut')));
});

test('a region that returns to one before the other is not cut to the other meanwhile', () => {
  const world = healthyWorld();
  world.pause('b', true);
  world.cut('a', 'b', 'silent');
  world.run(8_000);
  assert.equal(world.health('a', 'b'), 'paused');
  world.pause('b', false);
  world.run(4_000);
  assert.equal(world.health('c', 'b'), 'healthy');
  assert.equal(world.health('a', 'b'), 'paused');
  world.heal('a', 'b');
  world.run(1_000);
  assert.equal(world.health('a', 'b'), 'healthy');
  assert.ok(!world.changes.some((change) => change.startsWith('a') && change.includes('> cut')));
});

test('a region that was down and returns to one only is cut to the other', () => {
  const world = healthyWorld();
  world.pause('b', true);
  world.cut('a', 'b', 'unreachable');
  world.cut('c', 'b', 'refused');
  world.run(5_000);
  assert.equal(world.health('a', 'b'), 'down');
  world.pause('b', false);
  world.heal('c', 'b');
  world.run(8_000);
  assert.equal(world.health('c', 'b'), 'healthy');
  assert.equal(world.health('a', 'b'), 'cut');
});

test('who is cut off from all calls it a cut; the others know that it is gone from both', () => {
  const world = healthyWorld();
  world.cut('a', 'b', 'unreachable');
  world.cut('a', 'c', 'unreachable');
  world.run(3_000);
  assert.equal(world.health('a', 'b'), 'cut');
  assert.equal(world.health('a', 'c'), 'cut');
  assert.equal(world.health('b', 'a'), 'down');
  assert.equal(world.health('b', 'c'), 'healthy');
});

test('a link that flaps gives no healthy verdict before three heartbeats in a row', () => {
  const world = healthyWorld();
  world.cut('a', 'b', 'reset');
  world.run(3_000);
  world.changes.length = 0;
  for (let round = 0; round < 5; round += 1) {
    world.heal('a', 'b');
    world.run(200);
    world.cut('a', 'b', 'reset');
    world.run(1_000);
  }
  assert.ok(
    !world.changes.some((change) => change.includes('> healthy')),
    world.changes.join('\n'),
  );
});

test('a slow region is slow, still eligible, and recovers', () => {
  const directory = new RegionDirectory({ region: 'a', peers: ['b'] }, 0);
  directory.onLink('b', UP, 0);
  const digest = digestOf('b', {});
  let nowMs = 0;
  const beat = (count: number, rttMs: number): void => {
    for (let index = 0; index < count; index += 1) {
      nowMs += 100;
      directory.onDigest('b', digest, nowMs);
      directory.onRtt('b', rttMs, nowMs);
      directory.tick(nowMs);
    }
  };
  beat(20, 100);
  assert.equal(directory.view('b', nowMs)?.health, 'healthy');
  beat(40, 900);
  assert.equal(directory.view('b', nowMs)?.health, 'slow');
  assert.equal(directory.view('b', nowMs)?.effective.isEligible, true);
  beat(60, 100);
  assert.equal(directory.view('b', nowMs)?.health, 'healthy');
});

function digestOf(region: string, more: Partial<RegionDigest>): RegionDigest {
  return {
    region,
    node: `${region}-1`,
    seq: 1,
    models: {},
    inFlight: 0,
    views: {},
    isDraining: false,
    ...more,
  };
}

test('a draining region is healthy and not eligible', () => {
  const directory = new RegionDirectory({ region: 'a', peers: ['b'] }, 0);
  directory.onLink('b', UP, 0);
  for (let nowMs = 100; nowMs <= 1_000; nowMs += 100) {
    directory.onDigest('b', digestOf('b', { isDraining: true }), nowMs);
    directory.tick(nowMs);
  }
  const view = directory.view('b', 1_000);
  assert.equal(view?.health, 'healthy');
  assert.deepEqual(view?.effective, { isEligible: false, reason: 'it is draining' });
});

test('a region speaks for itself only, and strangers are passed over', () => {
  const directory = new RegionDirectory({ region: 'a', peers: ['b'] }, 0);
  directory.onDigest('b', digestOf('c', {}), 10);
  directory.onDigest('z', digestOf('z', {}), 10);
  assert.equal(directory.view('b', 10)?.digest, null);
  assert.equal(directory.view('z', 10), null);
});

test('peers that stay keep what is known of them', () => {
  const world = healthyWorld();
  world.get('a').setPeers(['b', 'd'], world.nowMs);
  assert.equal(world.health('a', 'b'), 'healthy');
  assert.equal(world.health('a', 'd'), 'unknown');
  assert.equal(world.get('a').view('c', world.nowMs), null);
});

test('the least round trip is forgotten after minutes, so that a longer way becomes the norm', () => {
  const rtt = new RttEstimate();
  for (let nowMs = 0; nowMs < 100_000; nowMs += 100) rtt.sample(100, nowMs);
  for (let nowMs = 100_000; nowMs < 200_000; nowMs += 100) rtt.sample(240, nowMs);
  assert.equal(rtt.rttMsMin, 100);
  for (let nowMs = 200_000; nowMs < 460_000; nowMs += 100) rtt.sample(240, nowMs);
  assert.equal(rtt.rttMsMin, 240);
  rtt.sample(Number.NaN, 460_000);
  rtt.sample(-3, 460_000);
  assert.ok(Math.abs((rtt.rttMs ?? 0) - 240) < 1);
});
