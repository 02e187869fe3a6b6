import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { RateLimiter } from '../../routing/rateLimit.ts';
import {
  areShares,
  divide,
  partOf,
  readAllotment,
  shareInForce,
  taken,
  waitsFor,
  type Allotment,
  type Shares,
} from './allotments.ts';
import { decodeReply, encodeCommand } from './codec.ts';
import { API_KEYS, keysAwaiting, keysInForce } from './keys.ts';
import { createSecret, findSecret, replaceOwn, type StoredSecret } from './keyStore.ts';
import { ControlMachine } from './machine.ts';
import type { Transaction } from './types.ts';

const PLACES = ['ap', 'eu', 'us', 'us/us-2'] as const;
const AUDIT = { who: 'ops', from: 'here', what: 'test', why: '' };

/** Shares of some places, 100 together at most. */
const shares: fc.Arbitrary<Shares> = fc
  .array(fc.integer({ min: 0, max: 100 }), { minLength: 4, maxLength: 4 })
  .map((wanted) => {
    const sum = Math.max(
      100,
      wanted.reduce((all, one) => all + one, 0),
    );
    const parts = wanted.map((one) => Math.floor((one * 100) / sum));
    const entries = PLACES.map((place, at) => [place, parts[at] ?? 0] as const);
    return Object.fromEntries(entries.filter(([, share]) => share > 0));
  });

test('a first division counts at once where it is heard, and grows nowhere', () => {
  const first = divide(null, { eu: 60, us: 40 }, PLACES, false);
  deepEqual(waitsFor(first), ['ap', 'eu', 'us', 'us/us-2']);
  deepEqual(
    PLACES.map((place) => shareInForce(first, place)),
    [0, 60, 40, 0],
  );
});

test('a larger share waits for those that shrink, and counts once they have said so', () => {
  let allotment = divide(null, { eu: 60, us: 40 }, PLACES, false);
  for (const place of PLACES) allotment = taken(allotment, place);
  deepEqual(waitsFor(allotment), []);
  const moved = divide(allotment, { eu: 20, us: 40, ap: 40 }, PLACES, false);
  deepEqual(waitsFor(moved), ['eu']);
  equal(shareInForce(moved, 'eu'), 20);
  equal(shareInForce(moved, 'ap'), 0);
  equal(taken(moved, 'us'), moved, 'nobody waits for it');
  const done = taken(moved, 'eu');
  equal(shareInForce(done, 'ap'), 40);
  equal(shareInForce(divide(allotment, { ap: 100 }, PLACES, true), 'ap'), 100, 'by force');
});

test('who has not heard of two divisions in a row is waited for by the first of its shares', () => {
  const now = divide(divide(null, { eu: 100 }, [], true), { eu: 100 }, [], true);
  const first = divide(now, { eu: 20, us: 80 }, PLACES, false);
  const second = divide(first, { eu: 30, us: 70 }, PLACES, false);
  deepEqual(waitsFor(second), ['eu'], 'it may be using 100 still');
  equal(shareInForce(second, 'us'), 0);
  equal(shareInForce(taken(second, 'eu'), 'us'), 70);
});

test('what is not named has nothing (AL3)', () => {
  const allotment = divide(null, { eu: 100 }, ['eu'], true);
  for (const place of ['us', 'eu/eu-2', '', '__proto__', 'constructor'])
    equal(shareInForce(allotment, place), 0);
});

test('parts of a rate never come to more than the rate', () => {
  fc.assert(
    fc.property(shares, fc.integer({ min: 1, max: 1_000_000_000 }), (each, rate) => {
      const parts = Object.values(each).map((share) => partOf(rate, share) ?? 0);
      ok(parts.reduce((all, one) => all + one, 0) <= rate);
      equal(partOf(null, 50), null);
    }),
  );
});

test('every allotment is read back from JSON; what is none is not read', () => {
  fc.assert(
    fc.property(shares, shares, fc.subarray([...PLACES]), (first, second, who) => {
      let allotment = divide(null, first, PLACES, false);
      for (const place of who) allotment = taken(allotment, place);
      allotment = divide(allotment, second, PLACES, false);
      deepEqual(readAllotment(JSON.parse(JSON.stringify(allotment))), allotment);
    }),
  );
  const good = { shares: { eu: 60 }, before: { eu: 100 }, taken: [] };
  ok(readAllotment(good) !== null);
  const bad: readonly unknown[] = [
    null,
    'eu',
    { ...good, shares: { eu: 60, us: 41 } },
    { ...good, shares: { eu: 0 } },
    { ...good, shares: { eu: 1.5 } },
    { ...good, shares: { EU: 60 } },
    { ...good, before: { eu: 101 } },
    { ...good, taken: [1] },
    { shares: good.shares },
  ];
  for (const value of bad) equal(readAllotment(value), null, JSON.stringify(value));
  equal(areShares({ eu: 50, us: 50 }), true);
  equal(areShares({ eu: 50, us: 51 }), false);
});

/** A place with its own copy of the state, which hears of changes when it hears of them. */
class Place {
  readonly name: string;
  readonly machine = new ControlMachine();
  applied = 0;
  /** Percent that it lets in by. */
  inForce = 100;

  constructor(name: string) {
    this.name = name;
  }

  hear(log: readonly Transaction[], count: number): void {
    for (let turn = 0; turn < count && this.applied < log.length; turn += 1) {
      const next = log[this.applied];
      ok(next !== undefined);
      this.applied += 1;
      this.machine.apply(this.applied, 0, encodeCommand(next));
    }
  }

  /** What it knows counts in all of its processes. */
  settle(): void {
    const [key] = keysInForce(this.machine, 0, this.name).keys;
    this.inForce = key === undefined ? this.inForce : (key.share?.percent ?? 100);
  }

  /** What it would say now (AL2). */
  take(): Transaction | null {
    this.settle();
    const [stored] = keysAwaiting(this.machine, this.name);
    return stored === undefined ? null : changed(stored, (old) => taken(old, this.name));
  }
}

function changed(
  stored: StoredSecret<NonNullable<ReturnType<typeof API_KEYS.read>>>,
  change: (allotment: Allotment) => Allotment,
): Transaction {
  const { allotment } = stored.record;
  ok(allotment !== null);
  return replaceOwn(API_KEYS, stored, { allotment: change(allotment) }, AUDIT);
}

/** Operators, places and the log that they share. */
class World {
  readonly log: Transaction[] = [];
  readonly leader = new ControlMachine();
  readonly places = PLACES.map((name) => new Place(name));

  constructor() {
    const key = {
      name: 'shop',
      sha256: 'a'.repeat(64),
      createdMs: 1,
      previous: null,
      models: ['*'],
      requestsPerMinute: 1_000,
      tokensPerMinute: null,
      inFlightMax: null,
      residency: null,
      priority: 'standard' as const,
      allotment: null,
    };
    this.commit(createSecret(API_KEYS, key, AUDIT));
  }

  /** In the log either way; only where its comparison holds it changes anything. */
  commit(transaction: Transaction): boolean {
    this.log.push(transaction);
    const reply = decodeReply(this.leader.apply(this.log.length, 0, encodeCommand(transaction)));
    ok(reply?.kind === 'done');
    return reply.isSuccess;
  }

  divide(next: Shares): Transaction {
    const stored = findSecret(API_KEYS, this.leader, 'shop');
    ok(stored !== null);
    const { allotment } = stored.record;
    const own = { allotment: divide(allotment, next, PLACES, false) };
    return replaceOwn(API_KEYS, stored, own, AUDIT);
  }

  allTaken(): boolean {
    const allotment = findSecret(API_KEYS, this.leader, 'shop')?.record.allotment ?? null;
    return allotment !== null && waitsFor(allotment).length === 0;
  }

  /** Everybody hears of everything and says what it has to, until there is nothing more. */
  settleAll(): void {
    for (let isMoving = true; isMoving;) {
      isMoving = false;
      for (const place of this.places) {
        place.hear(this.log, Infinity);
        const take = place.take();
        if (take !== null) isMoving = this.commit(take) || isMoving;
      }
    }
    for (const place of this.places) {
      place.hear(this.log, Infinity);
      place.settle();
    }
  }

  sum(): number {
    return this.places.reduce((all, { inForce }) => all + inForce, 0);
  }
}

type Step =
  | { readonly kind: 'divide'; readonly shares: Shares; readonly isLate: boolean }
  | { readonly kind: 'hear'; readonly at: number; readonly count: number }
  | { readonly kind: 'settle'; readonly at: number }
  /** A place that is in touch: it hears of everything, and says what it has to. */
  | { readonly kind: 'keep-up'; readonly at: number }
  | { readonly kind: 'take'; readonly at: number; readonly isLate: boolean };

const at = fc.nat(PLACES.length - 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant('divide' as const), shares, isLate: fc.boolean() }),
  fc.record({ kind: fc.constant('hear' as const), at, count: fc.integer({ min: 1, max: 4 }) }),
  fc.record({ kind: fc.constant('settle' as const), at }),
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('keep-up' as const), at }) },
  fc.record({ kind: fc.constant('take' as const), at, isLate: fc.boolean() }),
);

const steps = fc.array(step, { minLength: 20, maxLength: 60 });

test('in whatever order places hear of changes, they use no more than the whole together (AL1)', () => {
  let moved = 0;
  fc.assert(
    fc.property(shares, steps, fc.option(at), (first, all, cut) => {
      const world = new World();
      world.commit(world.divide(first));
      world.settleAll();
      ok(world.allTaken() && world.sum() <= 100, `${world.sum()} after the first division`);
      const late: Transaction[] = [];
      const say = (transaction: Transaction | null, isLate: boolean): void => {
        if (transaction === null) return;
        if (isLate) late.push(transaction);
        else world.commit(transaction);
      };
      for (const each of all) {
        if (each.kind === 'divide') say(world.divide(each.shares), each.isLate);
        else if (each.at !== cut) {
          const place = world.places[each.at];
          ok(place !== undefined);
          if (each.kind === 'hear') place.hear(world.log, each.count);
          else if (each.kind === 'settle') place.settle();
          else if (each.kind === 'keep-up') {
            place.hear(world.log, Infinity);
            say(place.take(), false);
          } else say(place.take(), each.isLate);
        }
        if (late.length > 3) say(late.shift() ?? null, false);
        ok(world.sum() <= 100, `${world.sum()} after ${each.kind}`);
      }
      world.settleAll();
      // Once all have heard, what was asked for last is what each of them uses.
      const last = findSecret(API_KEYS, world.leader, 'shop')?.record.allotment?.shares ?? {};
      for (const { name, inForce } of world.places) equal(inForce, last[name] ?? 0, name);
      if (JSON.stringify(last) !== JSON.stringify(first)) moved += 1;
    }),
    { numRuns: 300 },
  );
  ok(moved > 100, 'most runs moved something');
});

test('while shares move, all places together let in no more than one bucket of the whole (L4)', () => {
  const rate = 60;
  const move = fc.record({ shares, waitMs: fc.nat(30_000), asks: fc.array(at, { maxLength: 80 }) });
  fc.assert(
    fc.property(shares, fc.array(move, { minLength: 1, maxLength: 8 }), (first, moves) => {
      const limit = (each: Shares, place: string) => partOf(rate, each[place] ?? 0);
      const limiters = PLACES.map((place) => {
        return new RateLimiter({ requestsPerMinute: limit(first, place), tokensPerMinute: null });
      });
      let nowMs = 0;
      let count = 0;
      let current = first;
      for (const { shares: next, waitMs, asks } of moves) {
        // As AL1 orders it: what shrinks, then what grows.
        for (const isGrowing of [false, true]) {
          PLACES.forEach((place, index) => {
            const [from, to] = [limit(current, place) ?? 0, limit(next, place) ?? 0];
            if (to > from !== isGrowing) return;
            const limits = { requestsPerMinute: to, tokensPerMinute: null };
            limiters[index]?.setLimits(limits, nowMs);
          });
        }
        current = next;
        for (const index of asks) if (limiters[index]?.reserve(0, nowMs).ok === true) count += 1;
        ok(count <= rate * (1 + nowMs / 60_000) + 1e-6, `${count} in ${nowMs} ms`);
        nowMs += waitMs;
      }
    }),
  );
});
