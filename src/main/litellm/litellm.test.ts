/** With `BANYAN_REWRITE=1` the golden files are written anew, for review as a diff. */

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import fc from 'fast-check';
import { stringify } from 'yaml';

import { parseConfig } from '../config/load.ts';
import { convertLitellm, type Imported } from './convert.ts';
import { NOTES, noteText } from './notes.ts';
import { LITELLM_PROVIDERS } from './providers.ts';
import { renderImported } from './render.ts';
import { readLitellm } from './source.ts';

const FOLDER = join(import.meta.dirname, 'testdata');
const FILES = readdirSync(FOLDER).filter((name) => /^[\w-]+\.yaml$/.test(name));

function take(text: string, language: 'en' | 'zh' = 'en'): { imported: Imported; yaml: string } {
  const source = readLitellm(text);
  assert.ok(source.ok, source.ok ? '' : source.error.message);
  const imported = convertLitellm(source.value, text);
  return { imported, yaml: renderImported(imported, { file: 'in.yaml', region: 'a', language }) };
}

function load(yaml: string, imported: Imported) {
  const env = Object.fromEntries(
    imported.variables.map(({ name, isAddress }) => [name, isAddress ? 'http://127.0.0.1:1' : 'x']),
  );
  return parseConfig(yaml, 'banyan.yaml', env);
}

for (const name of FILES) {
  test(`${name} becomes what its golden files say, and that loads`, () => {
    const { imported, yaml } = take(readFileSync(join(FOLDER, name), 'utf8'));
    const notes = imported.notes.map(
      (note) =>
        `${note.place.line}:${note.place.column} ${NOTES[note.code].kind} ${note.path}: ` +
        `${noteText(note, 'en')}\n`,
    );
    const golden = join(FOLDER, `${name.replace(/\.yaml$/, '')}.golden.txt`);
    const text = `${yaml}---- notes\n${notes.join('')}`;
    if (process.env['BANYAN_REWRITE'] === '1') writeFileSync(golden, text);
    assert.equal(text, readFileSync(golden, 'utf8'));
    const loaded = load(yaml, imported);
    assert.ok(loaded.ok, JSON.stringify(loaded.ok ? [] : loaded.error));
  });
}

test('no secret of a file is written or told, in either language', () => {
  const text = readFileSync(join(FOLDER, 'careless.yaml'), 'utf8');
  for (const language of ['en', 'zh'] as const) {
    const { imported, yaml } = take(text, language);
    assert.doesNotMatch(yaml, /do-not-show/);
    assert.doesNotMatch(JSON.stringify(imported), /do-not-show/);
  }
});

test('two keys in plain text get two variables, the same key one', () => {
  const { imported } = take(readFileSync(join(FOLDER, 'careless.yaml'), 'utf8'));
  const names = imported.variables.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  const keys = imported.targets.map(({ draft }) => draft.apiKey);
  assert.equal(new Set(keys).size, 2);
});

test('what is no YAML or no mapping is refused with its place and none of its text', () => {
  for (const text of ['a: [sk-secret', 'sk-secret', '- a', 'a: *nowhere', '']) {
    const read = readLitellm(text);
    assert.ok(!read.ok, text);
    assert.doesNotMatch(read.error.message, /sk-secret/);
    assert.ok(read.error.place.line >= 1);
  }
});

/** Text with what breaks lines, comments, references and quoting. */
const oddText = fc.oneof(
  fc.string({ maxLength: 20 }),
  fc.constantFrom('${HOME}', '$${', 'a\nb: c', '# no', '\u0007', 'os.environ/', 'os.environ/A-B'),
);
const someNumber = fc.oneof(
  fc.integer({ min: -5, max: 5_000_000 }),
  fc.double({ noNaN: true }),
  fc.constantFrom('30', '', null, 'many', 0.3, 1e300),
);
const model = fc.oneof(
  fc
    .tuple(fc.constantFrom(...LITELLM_PROVIDERS.keys(), 'bedrock', 'x'), oddText)
    .map(([prefix, name]) => `${prefix}/${name}`),
  fc.constantFrom('gpt-4o', 'claude-3', '*', 'openai/*', 'azure/a'),
  oddText,
);
const base = fc.oneof(
  fc.webUrl({ withQueryParameters: true, withFragments: true }),
  fc.constantFrom(
    'os.environ/BASE',
    'http://10.0.0.1:8000',
    'https://a.b/openai/v1',
    'ftp://x',
    '',
  ),
  fc.constantFrom('http://h/{model}', 'http://h/${A}', 'http://u:p@h/'),
  oddText,
);
const params = fc.record(
  {
    model,
    api_base: base,
    api_key: fc.oneof(oddText, fc.constantFrom('os.environ/K', 'sk-1', 'sk-2', '1abc')),
    api_version: fc.oneof(oddText, fc.constantFrom('2024-10-21', 'os.environ/V')),
    custom_llm_provider: fc.constantFrom('openai', 'azure', 'anthropic', ''),
    organization: oddText,
    extra_headers: fc.oneof(
      oddText,
      fc.dictionary(fc.oneof(oddText, fc.constantFrom('x-a', 'Authorization', '1-key')), oddText),
    ),
    weight: someNumber,
    rpm: someNumber,
    tpm: someNumber,
    order: someNumber,
    max_parallel_requests: someNumber,
    timeout: someNumber,
    stream_timeout: someNumber,
    max_retries: someNumber,
    temperature: someNumber,
  },
  { requiredKeys: ['model'] },
);
const name = fc.oneof(fc.constantFrom('m', 'n', 'o/p', '*', 'two words'), oddText);
const fallbacks = fc.oneof(
  fc.array(fc.dictionary(fc.oneof(name, fc.constant('*')), fc.array(name))),
  someNumber,
);
const shared = {
  num_retries: someNumber,
  fallbacks,
  allowed_fails: someNumber,
  cooldown_time: someNumber,
  default_fallbacks: fc.oneof(fc.array(name), oddText),
};
const file = fc.record(
  {
    model_list: fc.oneof(
      { weight: 9, arbitrary: fc.array(fc.record({ model_name: name, litellm_params: params })) },
      { weight: 1, arbitrary: fc.jsonValue() },
    ),
    router_settings: fc.record(
      {
        ...shared,
        timeout: someNumber,
        model_group_alias: fc.dictionary(name, name),
        routing_strategy: fc.constantFrom('least-busy', 'simple-shuffle', 'x', 3),
      },
      { requiredKeys: [] },
    ),
    litellm_settings: fc.oneof(fc.record(shared, { requiredKeys: [] }), fc.jsonValue()),
    general_settings: fc.record(
      {
        master_key: fc.oneof(oddText, fc.constant('os.environ/M')),
        max_parallel_requests: someNumber,
      },
      { requiredKeys: [] },
    ),
    environment_variables: fc.dictionary(oddText, oddText),
  },
  { requiredKeys: ['model_list'] },
);

test('whatever a file holds, what is written loads (400 files)', () => {
  fc.assert(
    fc.property(file, (root) => {
      const source = readLitellm(stringify(root));
      if (!source.ok) return; // Some keys cannot be written as YAML that reads back.
      const imported = convertLitellm(source.value, stringify(root));
      const yaml = renderImported(imported, { file: 'a\nb', region: 'a', language: 'zh' });
      const loaded = load(yaml, imported);
      assert.ok(loaded.ok, `${JSON.stringify(loaded.ok ? [] : loaded.error)}\n${yaml}`);
    }),
    { numRuns: 400 },
  );
});

test('every field of a file is used or noted', () => {
  const text = stringify({
    model_list: [
      {
        model_name: 'm',
        litellm_params: { model: 'gpt-4o', api_key: 'os.environ/K', mystery_one: 1 },
        mystery_two: 2,
      },
    ],
    router_settings: { mystery_three: 3 },
    litellm_settings: { mystery_four: 4 },
    general_settings: { mystery_five: 5 },
    mystery_six: 6,
  });
  const told = take(text).imported.notes.map(({ path }) => path);
  for (const word of ['one', 'two', 'three', 'four', 'five', 'six']) {
    assert.ok(
      told.some((path) => path.endsWith(`mystery_${word}`)),
      word,
    );
  }
});
