import assert from 'node:assert/strict';
import { globSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const FOLDER = import.meta.dirname;
const SPEC = readFileSync(join(FOLDER, 'SPEC.md'), 'utf8');

test('SPEC.md of the control state names every scenario file', () => {
  const files = readdirSync(join(FOLDER, 'testdata')).map((file) => file.replace('.txt', ''));
  const named = new Set([...SPEC.matchAll(/`([a-z]+)`/g)].map((match) => match[1] ?? ''));
  const unnamed = files.filter((file) => !named.has(file));
  assert.deepEqual(unnamed, []);
});

test('the invariants of SPEC.md of the control state and those that its code states are the same', () => {
  const inSpec = [...SPEC.matchAll(/^\| ([A-Z]\d) \|/gm)].map((match) => match[1] ?? '');
  const inCode = new Set<string>();
  for (const path of globSync(join(FOLDER, '*.ts'))) {
    if (path.endsWith('.test.ts')) continue;
    for (const match of readFileSync(path, 'utf8').matchAll(/^ \* ([A-Z]\d): /gm)) {
      inCode.add(match[1] ?? '');
    }
  }
  assert.deepEqual(inSpec.toSorted(), [...inCode].toSorted());
});
