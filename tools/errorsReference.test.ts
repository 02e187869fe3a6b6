import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ERRORS } from '../src/base/errors.ts';
import { renderErrorsReference } from './errorsReference.ts';

const page = readFileSync(new URL('../docs/reference/errors.md', import.meta.url), 'utf8');

test('docs/reference/errors.md is what the catalogue says', () => {
  assert.equal(page, renderErrorsReference());
});

test('the page and the catalogue name the same codes, both ways', () => {
  const listed = new Set(
    [...page.matchAll(/^\| `([a-z_]+)` \| \d{3} \|/gm)].map((match) => match[1]),
  );
  assert.deepEqual(listed, new Set(Object.keys(ERRORS)));
});

test('each entry has a fitting status, a sentence and an action', () => {
  for (const [code, entry] of Object.entries(ERRORS)) {
    assert.ok(entry.status >= 400 && entry.status < 600, code);
    assert.match(entry.sentence, /^[A-Z].*\.$/, code);
    assert.match(entry.action, /^[A-Z].*\.$|^[A-Z].*$/, code);
    // A 429 or 503 promises that nothing ran: a client may repeat it blindly.
    if (entry.status === 429 || entry.status === 503) assert.equal(entry.definite, true, code);
  }
});
