import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import { test } from 'node:test';

import { staleFiles } from './generate.ts';

test('every generated file is current', () => {
  assert.deepEqual(staleFiles(dirname(import.meta.dirname)), [], 'run node tools/generate.ts');
});
