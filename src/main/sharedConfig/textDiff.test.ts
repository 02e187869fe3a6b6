import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { diffLines, unifiedDiff } from './textDiff.ts';

const line = fc.constantFrom('a', 'b', 'c', '', ' x');
const text = fc
  .array(line, { maxLength: 30 })
  .map((lines) => lines.map((each) => `${each}\n`).join(''));

test('what is kept and taken is the one text, what is kept and added the other', () => {
  fc.assert(
    fc.property(text, text, (from, to) => {
      const lines = diffLines(from, to);
      const side = (out: string) =>
        lines.filter(({ kind }) => kind !== out).map((each) => `${each.text}\n`);
      equal(side('+').join(''), from);
      equal(side('-').join(''), to);
      equal(unifiedDiff(from, to, 'a', 'b') === '', from === to);
    }),
  );
});

test('no shorter way leads from one to the other', () => {
  const changes = (from: string, to: string) =>
    diffLines(from, to).filter(({ kind }) => kind !== ' ').length;
  equal(changes('a\nb\nc\n', 'a\nc\nb\n'), 2);
  equal(changes('a\nb\n', 'b\na\n'), 2);
  equal(changes('', 'a\n'), 1);
});

test('a change is shown with the lines around it', () => {
  const numbers = Array.from({ length: 20 }, (_, at) => `line ${at}`);
  const from = `${numbers.join('\n')}\n`;
  const to = from.replace('line 10', 'ten').replace('line 0\n', '');
  const diff = unifiedDiff(from, to, 'version 1', 'version 2');
  deepEqual(diff.split('\n').slice(0, 8), [
    '--- version 1',
    '+++ version 2',
    '@@ -1,4 +1,3 @@',
    '-line 0',
    ' line 1',
    ' line 2',
    ' line 3',
    '@@ -8,7 +7,7 @@',
  ]);
});

/** Applies a difference as patch(1) does: each part at the line that it names. */
function patched(from: string, diff: string): string {
  const lines = from.split('\n').slice(0, -1);
  const out: string[] = [];
  let at = 0;
  for (const line of diff.split('\n').slice(2, -1)) {
    const part = /^@@ -(\d+),(\d+) \+\d+,\d+ @@$/.exec(line);
    if (part !== null) {
      // A part without lines of the one text stands behind the line that it names.
      const start = Number(part[1]) - (part[2] === '0' ? 0 : 1);
      out.push(...lines.slice(at, start));
      at = start;
    } else if (line.startsWith('+')) out.push(line.slice(1));
    else {
      equal(lines[at], line.slice(1), 'what it says of the one text is there');
      if (line.startsWith(' ')) out.push(line.slice(1));
      at += 1;
    }
  }
  return [...out, ...lines.slice(at)].map((line) => `${line}\n`).join('');
}

test('a difference that is applied to the one text gives the other', () => {
  const long = fc
    .array(line, { maxLength: 200 })
    .map((lines) => lines.map((each) => `${each}\n`).join(''));
  fc.assert(
    fc.property(
      long,
      fc.array(fc.tuple(fc.nat(), fc.constantFrom('', 'x\n', 'x\ny\n'))),
      (from, edits) => {
        const lines = from
          .split('\n')
          .slice(0, -1)
          .map((each) => `${each}\n`);
        for (const [place, by] of edits) if (lines.length > 0) lines[place % lines.length] = by;
        const to = lines.join('');
        const diff = unifiedDiff(from, to, 'a', 'b');
        equal(diff === '' ? from : patched(from, diff), to);
      },
    ),
  );
});

test('texts that differ all over are shown as one change, and soon', () => {
  const many = (word: string) =>
    Array.from({ length: 4_000 }, (_, at) => `${word} ${at}\n`).join('');
  const startMs = performance.now();
  const lines = diffLines(many('a'), many('b'));
  equal(lines.length, 8_000);
  ok(performance.now() - startMs < 1_000);
});
