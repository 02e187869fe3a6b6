import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { parseConfig } from './load.ts';
import { renderProblems } from './render.ts';

const file = join(import.meta.dirname, 'testdata/problems.txt');
const env = { API_KEY: 'sk-environment-secret', EMPTY: '', NAME: 'environment-name' };

/** What `config check` prints for a file's text. */
function check(text: string): string {
  const parsed = parseConfig(text, 'banyan.yaml', env);
  return renderProblems('banyan.yaml', parsed.ok ? parsed.value.warnings : parsed.error);
}

const [preamble = '', ...scenarios] = readFileSync(file, 'utf8').split(/^==== /m);
const rewritten = [preamble];
for (const scenario of scenarios) {
  const titleEnd = scenario.indexOf('\n') + 1;
  const title = scenario.slice(0, titleEnd).trim();
  const divider = scenario.indexOf('----\n', titleEnd);
  const input = scenario.slice(titleEnd, divider);
  const wanted = scenario.slice(divider + '----\n'.length);
  const found = check(input);
  rewritten.push(`${scenario.slice(0, titleEnd)}${input}----\n${found}`);
  test(`problems: ${title}`, () => {
    assert.ok(divider !== -1, 'a scenario has a line of ----');
    assert.equal(found, wanted);
  });
  test(`no secret in the problems: ${title}`, () => {
    assert.doesNotMatch(found, /sk-|environment-name/);
  });
}
if (process.env['REWRITE'] === '1') writeFileSync(file, rewritten.join('==== '));
