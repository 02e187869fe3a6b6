import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createPrng } from './prng.ts';
import { Roster, type RosterEntry } from './roster.ts';

interface Entry extends RosterEntry {
  readonly name: number;
}

test('a roster holds what a set would, over 5,000 random comings and goings', () => {
  const seed = 20_261_128;
  const prng = createPrng(seed);
  const roster = new Roster<Entry>();
  const wanted = new Set<Entry>();
  const all = Array.from({ length: 40 }, (_, name): Entry => ({ name, rosterIndex: -1 }));
  for (let step = 0; step < 5_000; step += 1) {
    const entry = all[prng.nextBelow(all.length)];
    assert.ok(entry !== undefined);
    if (wanted.delete(entry)) roster.delete(entry);
    else {
      wanted.add(entry);
      roster.add(entry);
    }
    assert.equal(roster.size, wanted.size, `seed ${seed}, step ${step}`);
    for (const each of all) assert.equal(each.rosterIndex !== -1, wanted.has(each));
  }
  const names = (entries: Iterable<Entry>): number[] =>
    [...entries].map(({ name }) => name).toSorted((a, b) => a - b);
  assert.deepEqual(names(roster.all()), names(wanted));
});

test('members may leave while all are gone through', () => {
  const roster = new Roster<Entry>();
  for (let name = 0; name < 5; name += 1) roster.add({ name, rosterIndex: -1 });
  for (const entry of roster.all()) roster.delete(entry);
  assert.equal(roster.size, 0);
});

test('who is not in cannot leave, and nobody is in twice', () => {
  const roster = new Roster<Entry>();
  const entry = { name: 1, rosterIndex: -1 };
  assert.throws(() => roster.delete(entry));
  roster.add(entry);
  assert.throws(() => roster.add(entry));
});
