import assert from 'node:assert/strict';
import { test } from 'node:test';

import { concatBytes, encodeUtf8 } from '../base/bytes.ts';
import { createPrng } from '../base/prng.ts';
import { EventStore } from './eventStore.ts';

const ENVELOPE = {
  id: 'chatcmpl-8f2a6c0d1b',
  object: 'chat.completion.chunk',
  created: 1_767_225_600,
};

function openaiEvent(delta: unknown): Uint8Array {
  const choices = [{ index: 0, delta, logprobs: null, finish_reason: null }];
  return encodeUtf8(`data: ${JSON.stringify({ ...ENVELOPE, model: 'support', choices })}\n\n`);
}

function anthropicEvent(text: string): Uint8Array {
  const data = { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } };
  return encodeUtf8(`event: content_block_delta\ndata: ${JSON.stringify(data)}\n\n`);
}

/** Words of four letters or so, some Chinese, some escaped. */
function token(prng: ReturnType<typeof createPrng>): string {
  const letters = 'etaoinshrdlu';
  const dice = prng.nextFloat();
  if (dice < 0.05) return '"\n';
  if (dice < 0.1) return '退货';
  let word = ' ';
  const length = 2 + Math.floor(prng.nextFloat() * 3);
  for (let at = 0; at < length; at += 1) word += letters[Math.floor(prng.nextFloat() * 12)];
  return word;
}

for (const [name, start, event] of [
  [
    'OpenAI',
    openaiEvent({ role: 'assistant', content: '' }),
    (text: string) => openaiEvent({ content: text }),
  ],
  [
    'Anthropic',
    encodeUtf8('event: message_start\ndata: {"type":"message_start"}\n\n'),
    anthropicEvent,
  ],
] as const) {
  test(`2,000 tokens of about 4 characters are kept in 16 KiB (${name})`, () => {
    const prng = createPrng(5);
    const store = new EventStore();
    const pieces = [start];
    for (let count = 0; count < 2_000; count += 1) pieces.push(event(token(prng)));
    for (const piece of pieces) store.add(piece);
    assert.deepEqual(store.read(), concatBytes(pieces));
    assert.ok(store.length > 200_000, `${store.length} bytes came`);
    assert.ok(store.bytesHeld <= 16 * 1024, `${store.bytesHeld} bytes held`);
  });
}

test('whatever comes in whatever pieces is read back to the byte (S1, 400 seeds)', () => {
  for (let seed = 1; seed <= 400; seed += 1) {
    const prng = createPrng(seed);
    const store = new EventStore();
    const all: Uint8Array[] = [];
    const count = Math.floor(prng.nextFloat() * 60);
    for (let index = 0; index < count; index += 1) {
      const events: Uint8Array[] = [];
      for (let more = 0; more < 1 + Math.floor(prng.nextFloat() * 3); more += 1) {
        const dice = prng.nextFloat();
        if (dice < 0.5) events.push(openaiEvent({ content: token(prng) }));
        else if (dice < 0.7) events.push(anthropicEvent(token(prng).repeat(100)));
        else if (dice < 0.8) events.push(encodeUtf8(': comment\r\n\r\n'));
        else if (dice < 0.9) events.push(encodeUtf8('data: [DONE]\n\n'));
        else {
          const noise = new Uint8Array(Math.floor(prng.nextFloat() * 40));
          for (let at = 0; at < noise.length; at += 1) noise[at] = prng.nextFloat() * 256;
          events.push(noise);
        }
      }
      const piece = concatBytes(events);
      store.add(piece);
      all.push(piece);
      if (prng.nextFloat() < 0.1) assert.deepEqual(store.read(), concatBytes(all), `seed ${seed}`);
    }
    assert.deepEqual(store.read(), concatBytes(all), `seed ${seed}`);
    store.clear();
    assert.equal(store.bytesHeld, 0);
    store.add(openaiEvent({ content: 'x' }));
    assert.deepEqual(store.read(), openaiEvent({ content: 'x' }));
  }
});

test('a borrowed piece may change after it was added, a Buffer too', () => {
  const store = new EventStore();
  const first = openaiEvent({ content: 'x' });
  const second = openaiEvent({ content: 'y' });
  // Buffers are what sockets give, and `slice` of a Buffer copies nothing.
  const borrowed = Buffer.from(first);
  store.add(borrowed);
  borrowed.set(second);
  store.add(borrowed);
  assert.deepEqual(store.read(), concatBytes([first, second]));
});
