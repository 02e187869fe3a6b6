/** The reference pages name what the code knows, in both languages. */

import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';

import { configJsonSchema } from '../src/main/config/schema.ts';
import { INTERNAL_FIELDS, REQUEST_FIELDS, RESPONSE_FIELDS } from './headersReference.ts';
import { CONFIG_ZH } from './zh/config.ts';

const ROOT = dirname(import.meta.dirname);

/** `x-banyan-` fields in the code, tests left out. */
function fieldsInCode(): ReadonlySet<string> {
  const files = globSync('src/**/*.{ts,html}', { cwd: ROOT }).filter(
    (path) => !path.includes('.test.') && !path.includes('testdata'),
  );
  const found = files.flatMap((path) => {
    const text = readFileSync(join(ROOT, path), 'utf8');
    return [...text.matchAll(/['"`](x-banyan-[a-z][a-z-]*[a-z])['"`]/g)].map((hit) => hit[1] ?? '');
  });
  return new Set(found);
}

test('every x-banyan- field of the code is in the table, and every one of the table is in the code', () => {
  const rows = [...REQUEST_FIELDS, ...RESPONSE_FIELDS, ...INTERNAL_FIELDS];
  const listed = rows
    .flatMap(({ name }) => name.split(', '))
    .filter((name) => name.startsWith('x-banyan-'));
  assert.deepEqual([...new Set(listed)].toSorted(), [...fieldsInCode()].toSorted());
});

test('every description of the configuration has a Chinese text, and no text is left over', () => {
  const told = new Set<string>();
  const { properties } = configJsonSchema() as { readonly properties?: unknown };
  JSON.stringify(properties, (key, value: unknown) => {
    if (key === 'description' && typeof value === 'string') told.add(value);
    return value;
  });
  assert.deepEqual(Object.keys(CONFIG_ZH).toSorted(), [...told].toSorted());
});
