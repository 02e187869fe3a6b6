import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { SlotTable } from './slotTable.ts';
import type { Ballot, Slot } from './types.ts';

const PLAIN = { noNullPrototype: true } as const;
const number = fc.oneof(fc.nat(300), fc.maxSafeNat());
const ballot: fc.Arbitrary<Ballot> = fc.record(
  { epoch: number, counter: number, proposer: number },
  PLAIN,
);
const text = fc.oneof(fc.string({ maxLength: 40 }), fc.string({ unit: 'binary', maxLength: 90 }));
const register = fc.record(
  {
    version: number,
    value: fc.uint8Array({ maxLength: 300 }),
    recent: fc.array(text, { maxLength: 8 }),
  },
  PLAIN,
);
const slot: fc.Arbitrary<Slot> = fc.record({ promised: ballot, accepted: ballot, register }, PLAIN);
const name = fc.oneof(
  fc.nat(30).map((at) => `claim/${at}`),
  fc.string({ unit: 'binary', minLength: 1, maxLength: 8 }),
);

function inOrder(named: Iterable<readonly [string, Slot]>): readonly (readonly [string, Slot])[] {
  return [...named].toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

test('a slot reads as it was set, packed or not, in the order of names from any of them (T1)', () => {
  const sets = fc.array(fc.tuple(name, slot), { maxLength: 120 });
  fc.assert(
    fc.property(sets, fc.nat(6), name, (changes, liveMax, from) => {
      const table = new SlotTable(liveMax);
      const model = new Map<string, Slot>();
      for (const [each, value] of changes) {
        equal(table.has(each), model.has(each));
        table.set(each, value);
        model.set(each, value);
        deepEqual(table.get(each), value);
      }
      equal(table.size, model.size);
      for (const [each, value] of model) deepEqual(table.get(each), value);
      equal(table.get('claim/none'), undefined);
      deepEqual([...table], inOrder(model));
      const behind = inOrder([...model].filter(([each]) => each > from));
      deepEqual([...table.after(from)], behind);
      deepEqual([...table.copy()], inOrder(model));
    }),
  );
});

test('ballots are those of each slot, and of nothing that was never set', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(name, slot), { maxLength: 60 }), (changes) => {
      const table = new SlotTable(3);
      for (const [each, value] of changes) table.set(each, value);
      const textOf = (ballots: unknown): string => JSON.stringify(ballots);
      const ever = new Set(
        changes.map(([, { promised, accepted }]) => textOf([promised, accepted])),
      );
      const told = new Set([...table.ballots()].map(textOf));
      for (const one of told) ok(ever.has(one));
      for (const [, { promised, accepted }] of table) ok(told.has(textOf([promised, accepted])));
    }),
  );
});

function claimed(at: number, recentCount: number): Slot {
  const promised = { epoch: 3, counter: 2 * at + 2, proposer: 1_234_567 };
  const accepted = { ...promised, counter: 2 * at + 1 };
  const recent = Array.from({ length: recentCount }, () => `claim 0 eu-central-1/req_${at}`);
  return {
    promised,
    accepted,
    register: { version: recentCount, value: new Uint8Array(150), recent },
  };
}

test('leaves are cut, names come in order, and what is given back is used again', () => {
  const table = new SlotTable(16);
  const count = 20_000;
  const nameOf = (at: number): string => `claim/request/key-${(at * 7_919) % count}`;
  for (let at = 0; at < count; at += 1) table.set(nameOf(at), claimed(at, 1));
  const { bytes } = table;
  ok(bytes / count < 400, `${bytes / count} bytes a slot`);
  for (let round = 0; round < 4; round += 1) {
    for (let at = 0; at < count; at += 1) table.set(nameOf(at), claimed(at, 1 + (round % 2)));
  }
  ok(table.bytes < bytes * 2.5, `${table.bytes} of ${bytes} bytes after four changes of each`);
  equal(table.size, count);
  let before = '';
  let seen = 0;
  for (const [each] of table) {
    ok(before < each, `${before} before ${each}`);
    before = each;
    seen += 1;
  }
  equal(seen, count);
  deepEqual(table.get(nameOf(77)), claimed(77, 2));
});
