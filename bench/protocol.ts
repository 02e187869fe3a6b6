/**
 * What the protocol costs on the path of a request, in isolation: reading 2 KB and 50 KB bodies,
 * splicing the model's name, metering one chunk of a stream, usage from the end of an answer.
 * `node bench/protocol.ts`. JSON.parse stands beside each for scale.
 */

import { bench, do_not_optimize, group, run } from 'mitata';

import { decodeUtf8, encodeUtf8 } from '../src/base/bytes.ts';
import type { AdapterTarget, ParsedRequest } from '../src/protocol/adapter.ts';
import { parseRequest } from '../src/protocol/request.ts';
import { passUnary } from '../src/protocol/unary.ts';
import { adapterOf } from '../src/providers/registry.ts';

const TARGET: AdapterTarget = {
  model: 'upstream-model',
  pathPrefix: '/v1',
  apiKey: 'key',
  headers: [],
  query: '',
  options: {},
};

/** A conversation of about `bytes`, in turns of about 400 characters. */
function bodyOf(bytes: number, sentence: string): Uint8Array {
  const messages = [{ role: 'system', content: 'You are a kind assistant of a shop.' }];
  while (JSON.stringify(messages).length < bytes) {
    const role = messages.length % 2 === 1 ? 'user' : 'assistant';
    messages.push({ role, content: sentence.repeat(Math.ceil(400 / sentence.length)) });
  }
  const json = { model: 'banyan-support', messages, stream: false, temperature: 0.7 };
  // A view of a larger buffer, as a socket's read buffer gives it.
  const room = new Uint8Array(bytes * 4 + 64);
  const body = encodeUtf8(JSON.stringify(json));
  room.set(body, 13);
  return room.subarray(13, 13 + body.length);
}

function parsed(body: Uint8Array): ParsedRequest {
  const request = parseRequest('chat', [], body);
  if (!request.ok) throw new Error(request.error.detail);
  return request.value;
}

const openai = adapterOf('openai');
const anthropic = adapterOf('anthropic');
if (openai === null || anthropic === null) throw new Error('the providers are there');

const BODIES: readonly (readonly [name: string, body: Uint8Array])[] = [
  ['2 KB', bodyOf(2000, 'Where is my parcel? ')],
  ['50 KB', bodyOf(50_000, 'Where is my parcel? ')],
  ['50 KB with escapes', bodyOf(50_000, 'He said "no".\nThen left. ')],
  ['50 KB Chinese', bodyOf(17_000, '我的包裹在哪里？')],
];
for (const [name, body] of BODIES) {
  const request = parsed(body);
  group(`request, ${name} (${body.length} bytes)`, () => {
    bench('scan', () => do_not_optimize(parseRequest('chat', [], body)));
    bench('splice the model', () => do_not_optimize(openai.prepare(request, TARGET)));
    bench('decode and JSON.parse', () => do_not_optimize(JSON.parse(decodeUtf8(body))));
  });
}
{
  const request = parsed(BODIES[0]?.[1] ?? new Uint8Array(0));
  bench('prefix hash of 2 KB', () => {
    const fresh = parsed(request.body);
    do_not_optimize(fresh.prefixHash);
  });
}

const CHUNK = encodeUtf8(
  'data: {"id":"chatcmpl-9aXyz0123456789abcdefghij","object":"chat.completion.chunk",' +
    '"created":1700000000,"model":"banyan-support","choices":[{"index":0,"delta":' +
    '{"content":" parcel"},"logprobs":null,"finish_reason":null}]}\n\n',
);
const DELTA = encodeUtf8(
  'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":' +
    '{"type":"text_delta","text":" parcel"}}\n\n',
);
group(`stream, one chunk of ${CHUNK.length} bytes`, () => {
  const request = parsed(encodeUtf8('{"model":"m","messages":[],"stream":true}'));
  const reader = openai.openStream(request, 'm');
  reader.push(CHUNK);
  bench('meter OpenAI', () => do_not_optimize(reader.push(CHUNK)));
  const sixteen = new Uint8Array(CHUNK.length * 16);
  for (let index = 0; index < 16; index += 1) sixteen.set(CHUNK, index * CHUNK.length);
  bench('meter OpenAI, 16 chunks in one', () => do_not_optimize(reader.push(sixteen)));
  const message = parseRequest('messages', [], request.body);
  if (!message.ok) throw new Error(message.error.detail);
  const other = anthropic.openStream(message.value, 'm');
  other.push(DELTA);
  bench('meter Anthropic', () => do_not_optimize(other.push(DELTA)));
  const translated = openai.openStream(message.value, 'm');
  bench('translate OpenAI to Anthropic', () => do_not_optimize(translated.push(CHUNK)));
  const back = anthropic.openStream(request, 'm');
  bench('translate Anthropic to OpenAI', () => do_not_optimize(back.push(DELTA)));
  const json = decodeUtf8(CHUNK).slice(6);
  bench('JSON.parse', () => do_not_optimize(JSON.parse(json)));
});

const ANSWER = encodeUtf8(
  JSON.stringify({
    id: 'chatcmpl-9aXyz0123456789abcdefghij',
    object: 'chat.completion',
    created: 1_700_000_000,
    model: 'banyan-support',
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: 'word '.repeat(120) },
        finish_reason: 'stop',
      },
    ],
    usage: { prompt_tokens: 500, completion_tokens: 120, total_tokens: 620 },
    system_fingerprint: 'fp_1',
  }),
);
group(`answer of ${ANSWER.length} bytes`, () => {
  bench('check and usage from the tail', () => do_not_optimize(passUnary([], ANSWER)));
  bench('decode and JSON.parse', () => do_not_optimize(JSON.parse(decodeUtf8(ANSWER))));
});

await run();
