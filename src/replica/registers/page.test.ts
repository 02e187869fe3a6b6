import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { PageBuilder, type Page } from './page.ts';

function pageOf(names: readonly string[], after: string, limit: number): Page<string> {
  const builder = new PageBuilder<string>({ after, limit });
  for (const name of names) builder.add(name, () => name);
  return builder.page();
}

test('pages together are all rows once, in order, in whatever order they are kept', () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ minLength: 1 })),
      fc.integer({ min: 1, max: 7 }),
      (names, limit) => {
        const all: string[] = [];
        let after: string | null = '';
        for (let pages = 0; after !== null && pages <= names.length; pages += 1) {
          const page: Page<string> = pageOf(names, after, limit);
          equal(page.items.length <= limit, true);
          all.push(...page.items);
          after = page.next;
        }
        equal(after, null);
        deepEqual(
          all,
          [...new Set(names)].toSorted((a, b) => (a < b ? -1 : 1)),
        );
      },
    ),
  );
});

test('a list that just fits is one page, one more row makes a second', () => {
  const names = Array.from({ length: 1_000 }, (_, at) => `k${String(at).padStart(4, '0')}`);
  equal(pageOf(names, '', 1_000).next, null);
  const more = [...names, 'k9999'];
  const first = pageOf(more, '', 1_000);
  deepEqual([first.items.length, first.next], [1_000, 'k0999']);
  deepEqual(pageOf(more, 'k0999', 1_000), { items: ['k9999'], next: null });
  deepEqual(pageOf(more, 'k9999', 1_000), { items: [], next: null });
});

test('of two rows of one name the first counts, and one that is none hides no other', () => {
  const builder = new PageBuilder<number>({ after: '', limit: 2 });
  builder.add('a', () => null);
  builder.add('b', () => 1);
  builder.add('b', () => 2);
  builder.add('a', () => 3);
  deepEqual(builder.page(), { items: [3, 1], next: null });
});

test('of rows that come in order no more are read than two pages hold', () => {
  let read = 0;
  const builder = new PageBuilder<number>({ after: '', limit: 10 });
  for (let at = 0; at < 10_000; at += 1) {
    const isInReach = builder.add(`k${at + 10_000}`, () => (read += 1));
    if (!isInReach) break;
  }
  equal(read, 22);
  deepEqual(builder.page().next, 'k10009');
});
