import assert from 'node:assert/strict';
import { test } from 'node:test';

import { encodeUtf8 } from '../base/bytes.ts';
import type { Failure } from '../base/errors.ts';
import type { ParsedRequest } from './adapter.ts';
import type { Operation } from './dialect.ts';
import { parseRequest } from './request.ts';

const USER = [{ role: 'user', content: 'Hello' }];

function read(json: unknown, operation: Operation = 'chat', headers: string[] = []): ParsedRequest {
  const parsed = parseRequest(operation, headers, encodeUtf8(JSON.stringify(json)));
  if (!parsed.ok) assert.fail(`${parsed.error.code} ${parsed.error.detail}`);
  return parsed.value;
}

function refused(json: unknown, operation: Operation = 'chat'): Failure {
  const parsed = parseRequest(operation, [], encodeUtf8(JSON.stringify(json)));
  assert.ok(!parsed.ok, 'the request is refused');
  return parsed.error;
}

test('the members that a gateway needs are found wherever they stand', () => {
  const request = read({
    messages: USER,
    n: 3,
    stream_options: { include_usage: true },
    stream: true,
    max_completion_tokens: 7,
    max_tokens: 9,
    fallbacks: ['b', 'c'],
    models: ['m', 'd'],
    model: 'm',
  });
  assert.equal(request.model, 'm');
  assert.equal(request.isStream, true);
  assert.equal(request.wantsUsage, true);
  assert.equal(request.choicesCount, 3);
  assert.equal(request.outputTokensMax, 7);
  assert.deepEqual(request.fallbacks, ['b', 'c', 'd']);
  assert.equal(request.dialect, 'openai');
});

test('null counts as not set', () => {
  const request = read({
    model: 'm',
    messages: USER,
    stream: null,
    n: null,
    max_tokens: null,
    stream_options: null,
    fallbacks: null,
  });
  assert.equal(request.isStream, false);
  assert.equal(request.choicesCount, 1);
  assert.equal(request.outputTokensMax, null);
});

test('the first of `models` stands in for a missing model', () => {
  const request = read({ models: ['a', 'b'], messages: USER });
  assert.equal(request.model, 'a');
  assert.deepEqual(request.fallbacks, ['b']);
});

test('a wrong field is refused by its name', () => {
  const cases: readonly (readonly [unknown, string])[] = [
    [{ messages: USER }, 'model'],
    [{ model: 1, messages: USER }, 'model'],
    [{ model: '', messages: USER }, 'model'],
    [{ model: 'a\nb', messages: USER }, 'model'],
    [{ model: 'x'.repeat(300), messages: USER }, 'model'],
    [{ model: 'm' }, 'messages'],
    [{ model: 'm', messages: 'hi' }, 'messages'],
    [{ model: 'm', messages: USER, stream: 'yes' }, 'stream'],
    [{ model: 'm', messages: USER, max_tokens: -1 }, 'max_tokens'],
    [{ model: 'm', messages: USER, max_tokens: 1.5 }, 'max_tokens'],
    [{ model: 'm', messages: USER, max_tokens: '5' }, 'max_tokens'],
    [{ model: 'm', messages: USER, n: 0 }, 'n'],
    [{ model: 'm', messages: USER, n: 129 }, 'n'],
    [{ model: 'm', messages: USER, stream_options: 1 }, 'stream_options'],
    [{ model: 'm', messages: USER, fallbacks: 'x' }, 'fallbacks'],
    [{ model: 'm', messages: USER, fallbacks: [1] }, 'fallbacks'],
    [{ model: 'm', messages: USER, models: [{ a: 1 }] }, 'models'],
    [{ model: 'm', messages: USER, fallbacks: 'a b c d e f g h i'.split(' ') }, 'fallbacks'],
  ];
  for (const [json, param] of cases) {
    const found = refused(json);
    assert.equal(found.code, 'invalid_request', JSON.stringify(json));
    assert.equal(found.param, param, JSON.stringify(json));
  }
  assert.equal(refused({ model: 'm' }, 'completions').param, 'prompt');
  assert.equal(refused({ model: 'm' }, 'embeddings').param, 'input');
});

test('a session is named by the first of its hints', () => {
  const all = {
    model: 'm',
    messages: USER,
    prompt_cache_key: 'cache',
    user: 'user',
    metadata: { session_id: 'session', user_id: 'meta-user' },
  };
  assert.equal(read(all).sessionKey, 'cache');
  const { prompt_cache_key: _, ...rest } = all;
  assert.equal(read(rest, 'chat', ['x-litellm-session-id', 'header']).sessionKey, 'header');
  assert.equal(read(rest).sessionKey, 'session');
  assert.equal(read({ ...rest, metadata: {} }).sessionKey, 'user');
  const claude = { model: 'm', messages: USER, metadata: { user_id: 'meta-user' } };
  assert.equal(read(claude, 'messages').sessionKey, 'meta-user');
  assert.equal(read({ model: 'm', messages: USER }).sessionKey, null);
  assert.equal(read({ ...claude, user: 'x'.repeat(999) }).sessionKey?.length, 256);
});

test('all turns of a conversation share their prefix hash, other conversations do not', () => {
  const turn = (messages: unknown[]): number => read({ model: 'm', messages }).prefixHash;
  const system = { role: 'system', content: 'Be kind.' };
  const first = { role: 'user', content: 'What is a banyan?' };
  const later = [
    { role: 'assistant', content: 'A tree.' },
    { role: 'user', content: 'More.' },
  ];
  assert.equal(turn([system, first]), turn([system, first, ...later]));
  assert.equal(turn([first]), turn([first, ...later]));
  assert.notEqual(turn([system, first]), turn([system, { ...first, content: 'What is a fig?' }]));
  const long = { role: 'system', content: 'x'.repeat(4000) };
  assert.equal(turn([long, first]), turn([long, { role: 'user', content: 'other' }]));
  assert.notEqual(turn([first]), 0);
  assert.equal(read({ model: 'm', input: 'x' }, 'embeddings').prefixHash, 0);
});

test('a prefix hash does not depend on where the body lies in memory', () => {
  const bytes = encodeUtf8(JSON.stringify({ model: 'm', messages: USER }));
  const hashes = [0, 1, 2, 3].map((offset) => {
    const room = new Uint8Array(bytes.length + 4);
    room.set(bytes, offset);
    const parsed = parseRequest('chat', [], room.subarray(offset, offset + bytes.length));
    return parsed.ok ? parsed.value.prefixHash : null;
  });
  assert.equal(new Set(hashes).size, 1);
});

test('a token is about four letters or one character of Chinese; images are not text', () => {
  const tokens = (content: unknown): number =>
    read({ model: 'm', messages: [{ role: 'user', content }] }).promptTokensEstimate;
  const none = tokens('');
  assert.ok(Math.abs(tokens('word '.repeat(800)) - none - 1000) < 20);
  assert.ok(Math.abs(tokens('你'.repeat(1000)) - none - 1000) < 20);
  const url = `data:image/png;base64,${'iVBORw0KGgo'.repeat(100_000)}`;
  assert.ok(tokens([{ type: 'image_url', image_url: { url } }]) < 1100);
  const data = 'iVBORw0KGgo'.repeat(100_000);
  assert.ok(tokens([{ type: 'image', source: { type: 'base64', data } }]) < 1100);
});

test('only fields of the provider of the dialect go with a request', () => {
  const headers = ['anthropic-beta', 'a', 'openai-beta', 'o', 'authorization', 'secret'];
  assert.deepEqual(read({ model: 'm', messages: USER }, 'chat', headers).providerHeaders, [
    'openai-beta',
    'o',
  ]);
  assert.deepEqual(read({ model: 'm', messages: USER }, 'messages', headers).providerHeaders, [
    'anthropic-beta',
    'a',
  ]);
});

test('a request of the Anthropic dialect always wants usage', () => {
  assert.equal(read({ model: 'm', messages: USER, max_tokens: 1 }, 'messages').wantsUsage, true);
  assert.equal(read({ model: 'm', messages: USER, stream: true }).wantsUsage, false);
});
