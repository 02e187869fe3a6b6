import assert from 'node:assert/strict';
import { globSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const FOLDER = import.meta.dirname;
const SPEC = readFileSync(join(FOLDER, 'SPEC.md'), 'utf8');

test('SPEC.md names every scenario file, and no file that is not there', () => {
  const files = readdirSync(join(FOLDER, 'testdata')).map((file) => file.replace('.txt', ''));
  const named = new Set([...SPEC.matchAll(/`([a-z_]+)`/g)].map((match) => match[1] ?? ''));
  assert.deepEqual(
    files.filter((file) => !named.has(file)),
    [],
  );
  // A name with an underscore can only be a scenario.
  const dangling = [...named].filter((name) => name.includes('_') && !files.includes(name));
  assert.deepEqual(dangling, []);
});

test('the invariants of SPEC.md and those that the code states are the same', () => {
  const inSpec = new Set([...SPEC.matchAll(/^\| ([A-Z]\d) \|/gm)].map((match) => match[1] ?? ''));
  const inCode = new Set<string>();
  for (const path of globSync(join(FOLDER, '*.ts'))) {
    if (path.endsWith('.test.ts')) continue;
    for (const match of readFileSync(path, 'utf8').matchAll(/^ \* ([A-Z]\d): /gm)) {
      inCode.add(match[1] ?? '');
    }
  }
  const host = [...inSpec].filter((name) => name.startsWith('H'));
  assert.equal(host.length, 7);
  const rules = [...inSpec].filter((name) => !name.startsWith('H'));
  assert.deepEqual(rules.toSorted(), [...inCode].toSorted());
});
