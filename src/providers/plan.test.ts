import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { decodeUtf8, encodeUtf8 } from '../base/bytes.ts';
import type { AdapterTarget } from '../protocol/adapter.ts';
import { parseRequest } from '../protocol/request.ts';
import { adapterOf, checkOptions, optionsOf, PROVIDER_KINDS } from './registry.ts';

const TARGET: AdapterTarget = {
  model: 'up"stream/模型',
  pathPrefix: '/v1',
  apiKey: null,
  headers: [],
  query: '',
  options: {},
};

function prepared(body: string, target: AdapterTarget = TARGET): { path: string; json: unknown } {
  const parsed = parseRequest('chat', [], encodeUtf8(body));
  assert.ok(parsed.ok, body);
  const call = adapterOf('openai')?.prepare(parsed.value, target);
  assert.ok(call?.ok === true);
  return { path: call.value.path, json: JSON.parse(decodeUtf8(call.value.body)) };
}

const MEMBERS = [
  'model',
  'models',
  'fallbacks',
  'stream',
  'max_tokens',
  'messages',
  'x',
  'y',
] as const;

test('a call differs from the request by the named members only, in any order (fast-check)', () => {
  const values: Readonly<Record<(typeof MEMBERS)[number], fc.Arbitrary<unknown>>> = {
    model: fc.constant('asked'),
    models: fc.constant(['asked', 'b']),
    fallbacks: fc.constant(['c']),
    stream: fc.boolean(),
    max_tokens: fc.nat(100),
    messages: fc.constant([{ role: 'user', content: 'hi' }]),
    x: fc.jsonValue(),
    y: fc.jsonValue(),
  };
  const order = fc.shuffledSubarray([...MEMBERS], { minLength: 2 });
  const any = order.chain((names) =>
    fc.tuple(
      fc.tuple(...names.map((name) => values[name].map((value) => [name, value] as const))),
      fc.constantFrom(0, 2),
    ),
  );
  fc.assert(
    fc.property(any, ([entries, indent]) => {
      // Through text once: JSON has no -0.
      const written = JSON.stringify(Object.fromEntries(entries));
      const sent = JSON.parse(written) as Record<string, unknown>;
      if (!('messages' in sent) || !('model' in sent || 'models' in sent)) return;
      const { json } = prepared(JSON.stringify(sent, null, indent), {
        ...TARGET,
        options: { maxTokensField: 'max_completion_tokens' },
      });
      const { fallbacks: _f, models: _m, max_tokens: limit, ...rest } = sent;
      assert.deepEqual(json, {
        ...rest,
        model: TARGET.model,
        ...(limit === undefined ? {} : { max_completion_tokens: limit }),
        ...(sent['stream'] === true ? { stream_options: { include_usage: true } } : {}),
      });
    }),
    { numRuns: 2000 },
  );
});

test('unknown members keep their bytes: spaces, escapes, order and the form of numbers', () => {
  const body = '{ "b" : 1.0e2 ,\n"model":"asked", "a":"\\u00e9\\/", "messages":[ ], "z":0.10 }';
  const parsed = parseRequest('chat', [], encodeUtf8(body));
  assert.ok(parsed.ok);
  const call = adapterOf('openai')?.prepare(parsed.value, { ...TARGET, model: 'short' });
  assert.ok(call?.ok === true);
  assert.equal(decodeUtf8(call.value.body), body.replace('"asked"', '"short"'));
});

test('a body that already names the model of the target is sent as it is, not copied', () => {
  const body = encodeUtf8('{"model":"same","messages":[]}');
  const parsed = parseRequest('chat', [], body);
  assert.ok(parsed.ok);
  const call = adapterOf('llama')?.prepare(parsed.value, { ...TARGET, model: 'same' });
  assert.ok(call?.ok === true);
  assert.equal(call.value.body, body);
});

test('Azure is configuration: key field, version in the query, deployment in the path', () => {
  const parsed = parseRequest('chat', [], encodeUtf8('{"model":"m","messages":[]}'));
  assert.ok(parsed.ok);
  const call = adapterOf('openai')?.prepare(parsed.value, {
    model: 'my deployment',
    pathPrefix: '/openai/deployments/{model}',
    apiKey: 'key',
    headers: ['x-own', '1', 'content-type', 'application/json; charset=utf-8'],
    query: 'api-version=2024-10-21',
    options: { authHeader: 'api-key' },
  });
  assert.ok(call?.ok === true);
  assert.equal(
    call.value.path,
    '/openai/deployments/my%20deployment/chat/completions?api-version=2024-10-21',
  );
  assert.deepEqual(call.value.headers, [
    'api-key',
    'key',
    'x-own',
    '1',
    'content-type',
    'application/json; charset=utf-8',
  ]);
});

test("the client's beta fields join those of the configuration, its version replaces ours", () => {
  const headers = ['anthropic-beta', 'from-client', 'anthropic-version', '2099-01-01'];
  const body = encodeUtf8('{"model":"m","messages":[],"max_tokens":1}');
  const parsed = parseRequest('messages', headers, body);
  assert.ok(parsed.ok);
  const target = { ...TARGET, headers: ['anthropic-beta', 'ours'] };
  const call = adapterOf('anthropic')?.prepare(parsed.value, target);
  assert.ok(call?.ok === true);
  const fields = call.value.headers;
  assert.equal(fields[fields.indexOf('anthropic-beta') + 1], 'ours,from-client');
  assert.equal(fields[fields.indexOf('anthropic-version') + 1], '2099-01-01');
});

test('options are checked by kind, with the nearest name', () => {
  for (const kind of PROVIDER_KINDS) {
    assert.equal(checkOptions(kind, {}), null);
    assert.equal(adapterOf(kind)?.kind, kind);
    for (const spec of Object.values(optionsOf(kind) ?? {})) assert.ok(spec.about.endsWith('.'));
  }
  assert.match(checkOptions('opnai', {}) ?? '', /known are openai, anthropic, llama/);
  assert.match(checkOptions('openai', { maxTokenField: 'x' }) ?? '', /nearest .* maxTokensField/);
  assert.match(checkOptions('openai', { maxTokensField: 'x' }) ?? '', /one of max_tokens/);
  assert.match(checkOptions('openai', { streamUsage: 'yes' }) ?? '', /true or false/);
  assert.match(checkOptions('anthropic', { maxTokensDefault: 0 }) ?? '', /above 0/);
  assert.match(checkOptions('openai', { constructor: 'x' }) ?? '', /Unknown option/);
  assert.equal(checkOptions('anthropic', { thinking: 'adaptive', maxTokensDefault: 9 }), null);
  assert.equal(adapterOf('__proto__'), null);
});
