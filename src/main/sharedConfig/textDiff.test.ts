import { deepEqual, equal, ok } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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

test('a change is shown with the lines around it, as patch(1) reads it', () => {
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
  const folder = mkdtempSync(join(tmpdir(), 'banyan-diff-'));
  try {
    const file = join(folder, 'text');
    writeFileSync(file, from);
    const patched = spawnSync('patch', ['-s', '-o', '-', file], { input: diff, encoding: 'utf8' });
    // Where there is no patch(1), the lines above have to do.
    if (patched.error === undefined) equal(patched.stdout, to, patched.stderr);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('texts that differ all over are shown as one change, and soon', () => {
  const many = (word: string) =>
    Array.from({ length: 4_000 }, (_, at) => `${word} ${at}\n`).join('');
  const startMs = performance.now();
  const lines = diffLines(many('a'), many('b'));
  equal(lines.length, 8_000);
  ok(performance.now() - startMs < 1_000);
});
