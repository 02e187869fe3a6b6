import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { encodeUtf8 } from '../../base/bytes.ts';
import {
  DESIRED_STATES,
  drainRefusal,
  usualWish,
  type RegionDesired,
  type RegionWish,
} from '../../regions/desired.ts';
import { decodeReply, encodeCommand } from './codec.ts';
import { ControlMachine } from './machine.ts';
import { listRegions, putRegion, readRegion, type StoredRegion } from './regions.ts';
import type { Transaction } from './types.ts';

const AUDIT = { who: 'ops', from: 'here', what: 'test', why: '' };
const NAMES = ['ap', 'eu', 'us'] as const;

class World {
  readonly machine = new ControlMachine();
  #index = 0;

  run(transaction: Transaction): boolean {
    this.#index += 1;
    const reply = decodeReply(this.machine.apply(this.#index, 0, encodeCommand(transaction)));
    ok(reply?.kind === 'done', JSON.stringify(reply));
    return reply.isSuccess;
  }

  read(region: string): StoredRegion {
    const stored = readRegion(this.machine, region);
    ok(stored !== null);
    return stored;
  }

  /** A put as it was decided by what is there now: the caller runs it when it likes. */
  decided(wish: RegionWish): Transaction {
    const others = NAMES.filter((name) => name !== wish.region).map((name) => this.read(name));
    return putRegion(wish, this.read(wish.region), others, AUDIT);
  }

  active(): readonly string[] {
    return NAMES.filter((name) => this.read(name).wish.desired === 'active');
  }
}

const label = fc.stringMatching(/^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/);

test('every wish that may be put is read back, with the versions of its record counted', () => {
  const wish = fc.record({
    region: fc.constantFrom(...NAMES),
    desired: fc.constantFrom(...DESIRED_STATES),
    weight: fc.integer({ min: 1, max: 1_000 }),
    residency: fc.option(label),
  });
  fc.assert(
    fc.property(fc.array(wish, { maxLength: 8 }), (wishes) => {
      const world = new World();
      const expected = new Map<string, { readonly wish: RegionWish; readonly version: number }>();
      for (const each of wishes) {
        equal(world.run(world.decided(each)), true);
        const version = (expected.get(each.region)?.version ?? 0) + 1;
        expected.set(each.region, { wish: each, version });
      }
      for (const [region, { wish: last, version }] of expected) {
        const stored = world.read(region);
        deepEqual([stored.wish, stored.version], [{ ...last }, version]);
      }
      const listed = listRegions(world.machine).map(({ region }) => region);
      deepEqual(listed, [...expected.keys()].toSorted());
    }),
  );
});

test('a region without a record is as usual, and its first record has version 1', () => {
  const world = new World();
  deepEqual(world.read('eu'), { wish: usualWish('eu'), modRevision: 0, version: 0 });
  deepEqual(listRegions(world.machine), []);
});

test('what is no record of this version is not read as one, nor written over', () => {
  const put = (key: string, type: string, value: string): Transaction => ({
    kind: 'transaction',
    audit: AUDIT,
    compares: [],
    success: [{ kind: 'put', key, type, value: encodeUtf8(value) }],
    failure: [],
  });
  const good = JSON.stringify(usualWish('eu'));
  const bad: readonly (readonly [string, string])[] = [
    ['region/2', good],
    ['region/1', '{'],
    ['region/1', 'null'],
    ['region/1', JSON.stringify(usualWish('us'))],
    ['region/1', JSON.stringify({ ...usualWish('eu'), desired: 'gone' })],
    ['region/1', JSON.stringify({ ...usualWish('eu'), weight: 0 })],
    ['region/1', JSON.stringify({ ...usualWish('eu'), weight: 1_001 })],
    ['region/1', JSON.stringify({ ...usualWish('eu'), residency: '-' })],
    ['region/1', JSON.stringify({ ...usualWish('eu'), residency: 'x'.repeat(64) })],
  ];
  for (const [type, value] of bad) {
    const world = new World();
    world.run(put('regions/eu', type, value));
    equal(readRegion(world.machine, 'eu'), null, `${type} ${value}`);
    deepEqual(listRegions(world.machine), []);
  }
  const world = new World();
  world.run(put('regions/eu', 'region/1', good.replace('}', ',"more":1}')));
  deepEqual(world.read('eu').wish, usualWish('eu'), 'fields of a later program are let be');
});

test('operators who drain at the same time never leave less than two of three active (RR1)', () => {
  const step = fc.record({
    region: fc.constantFrom(...NAMES),
    desired: fc.constantFrom<RegionDesired>(...DESIRED_STATES),
    /** Carried out now, or after the steps that follow. */
    isLate: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const world = new World();
      const late: Transaction[] = [];
      const run = (transaction: Transaction): void => {
        world.run(transaction);
        ok(world.active().length >= 2, world.active().join());
      };
      for (const { region, desired, isLate } of steps) {
        const others = NAMES.filter((name) => name !== region).map((name) => {
          const { wish } = world.read(name);
          return { region: name, desired: wish.desired, isHeard: true };
        });
        if (desired === 'drained' && drainRefusal(others) !== null) continue;
        const transaction = world.decided({ ...usualWish(region), desired });
        if (isLate) late.push(transaction);
        else run(transaction);
      }
      for (const transaction of late) run(transaction);
    }),
  );
});
