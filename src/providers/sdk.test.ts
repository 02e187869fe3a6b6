/** The official SDKs read translated answers: their accumulators check order, indices and blocks. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

import { decodeUtf8, encodeUtf8 } from '../base/bytes.ts';
import type { Operation } from '../protocol/dialect.ts';
import { parseRequest } from '../protocol/request.ts';
import { adapterOf } from './registry.ts';

/** The inputs of the golden streams of one file. */
function streamsOf(name: string): readonly string[] {
  const text = readFileSync(join(import.meta.dirname, 'testdata', name), 'utf8');
  return text
    .split(/^== /m)
    .slice(1)
    .map((block) => block.slice(block.indexOf('\n') + 1).split(/^----\n/m)[0] ?? '');
}

/** A `fetch` that answers each call as a target of `kind` would, translated for the client. */
function fetchFrom(kind: string, operation: Operation, stream: string): typeof fetch {
  return async (_url, init) => {
    const parsed = parseRequest(
      operation,
      [],
      encodeUtf8(typeof init?.body === 'string' ? init.body : ''),
    );
    assert.ok(parsed.ok);
    const adapter = adapterOf(kind);
    assert.ok(adapter !== null);
    assert.equal(adapter.refusal(parsed.value, TARGET), null);
    const reader = adapter.openStream(parsed.value, parsed.value.model, 1_700_000_000);
    const body = decodeUtf8(reader.push(encodeUtf8(stream)).bytes) + decodeUtf8(reader.end().bytes);
    return Promise.resolve(
      new Response(body, { headers: { 'content-type': 'text/event-stream' } }),
    );
  };
}

const TARGET = {
  model: 'up',
  pathPrefix: '/v1',
  apiKey: null,
  headers: [],
  query: '',
  options: {},
};

test('the OpenAI SDK reads a stream of an Anthropic target: reasoning, text, two calls, usage', async () => {
  const [stream = ''] = streamsOf('anthropic-to-openai-streams.txt');
  const client = new OpenAI({ apiKey: 'k', fetch: fetchFrom('anthropic', 'chat', stream) });
  const final = await client.chat.completions
    .stream({
      model: 'asked',
      messages: [{ role: 'user', content: 'hi' }],
      stream_options: { include_usage: true },
    })
    .finalChatCompletion();
  const [choice] = final.choices;
  assert.equal(final.model, 'asked');
  assert.equal(final.id, 'chatcmpl-01Ab');
  assert.equal(choice?.message.content, '我看看');
  assert.equal(choice?.finish_reason, 'tool_calls');
  const calls = choice?.message.tool_calls?.map((call) =>
    call.type === 'function' ? [call.id, call.function.name, call.function.arguments] : null,
  );
  assert.deepEqual(calls, [
    ['toolu_1', 'weather', '{"city":"Paris"}'],
    ['toolu_2', 'now', '{}'],
  ]);
  assert.equal(final.usage?.total_tokens, 33);
});

test('the Anthropic SDK reads streams of an OpenAI target: thinking, text, interleaved calls', async () => {
  const [first = '', second = ''] = streamsOf('openai-to-anthropic-streams.txt');
  const read = async (stream: string): Promise<Anthropic.Message> => {
    const client = new Anthropic({ apiKey: 'k', fetch: fetchFrom('openai', 'messages', stream) });
    return client.messages
      .stream({ model: 'asked', max_tokens: 9, messages: [{ role: 'user', content: 'hi' }] })
      .finalMessage();
  };
  const text = await read(first);
  assert.equal(text.model, 'asked');
  assert.equal(text.stop_reason, 'stop_sequence');
  assert.equal(text.stop_sequence, 'END');
  assert.deepEqual(
    text.content.map((block) => block.type),
    ['thinking', 'text'],
  );
  assert.equal(text.usage.output_tokens, 3);
  assert.equal(text.usage.cache_read_input_tokens, 8);
  const calls = await read(second);
  assert.equal(calls.stop_reason, 'tool_use');
  assert.deepEqual(
    calls.content.map((block) => (block.type === 'tool_use' ? block.input : null)),
    [{ city: 'Paris' }, { city: 'Rome' }],
  );
});
