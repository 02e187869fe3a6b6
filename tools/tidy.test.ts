import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tidyFile } from './tidy.ts';

test('an import that points up, or out of src, or to a package from a core is refused', () => {
  const bad = (path: string, specifier: string): readonly string[] =>
    tidyFile(path, `import { x } from '${specifier}';\n`);
  assert.equal(bad('src/routing/a.ts', '../io/b.ts').length, 1);
  assert.equal(bad('src/routing/a.ts', '../providers/b.ts').length, 1);
  assert.equal(bad('src/base/a.ts', 'node:fs').length, 1);
  assert.equal(bad('src/exchange/a.ts', '../../tools/tidy.ts').length, 1);
  assert.equal(bad('src/newroom/a.ts', './b.ts').length, 1);
  assert.deepEqual(bad('src/routing/a.ts', '../base/b.ts'), []);
  assert.deepEqual(bad('src/io/a.ts', 'node:fs'), []);
  assert.deepEqual(bad('src/routing/a.test.ts', 'node:test'), []);
});

test('long files and long lines are named with their place', () => {
  assert.match(
    tidyFile('src/base/a.ts', 'x\n'.repeat(501))[0] ?? '',
    /^src\/base\/a\.ts:1: 502 lines/,
  );
  assert.match(
    tidyFile('src/base/a.ts', `x\n${'y'.repeat(111)}\n`)[0] ?? '',
    /a\.ts:2: line is over/,
  );
});
