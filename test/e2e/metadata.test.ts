/**
 * The official SDKs read a stream that ends with the gateway's metadata as if it were not there, and
 * whoever reads the bytes finds it; over a target that dies in the middle.
 */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

import { DEFAULT_WORDS, startFakeUpstream } from '../support/fakeUpstream.ts';
import { atEnd, startNode, TEST_KEY } from '../support/node.ts';

const fake = await startFakeUpstream('fake-model');
atEnd(() => fake.close());
fake.setFaultOf('cut', { kind: 'reset-after-events', events: 4 });

const remote = (name: string): object => ({
  name,
  kind: 'openai',
  baseUrl: `${fake.origin}/v1`,
  options: { continuation: 'regenerate' },
});
const node = await startNode({
  targets: [remote('dies'), remote('lives')],
  models: [
    {
      name: 'm',
      targets: [
        { target: 'dies', model: 'cut' },
        { target: 'lives', model: 'fake-model', priority: 1 },
      ],
      health: { ejectBaseMs: 0, ejectMaxMs: 0, panicPercent: 0 },
    },
  ],
});
const HEADERS = { 'x-banyan-metadata': 'on' };
const WHOLE = DEFAULT_WORDS.join('');
const MESSAGES = [{ role: 'user', content: 'hi' } as const];

describe('metadata at the end of a stream', () => {
  test('is invisible to the OpenAI SDK', async () => {
    const client = new OpenAI({
      apiKey: TEST_KEY,
      baseURL: `${node.apiUrl}/v1`,
      maxRetries: 0,
      defaultHeaders: HEADERS,
    });
    const stream = await client.chat.completions.create({
      model: 'm',
      stream: true,
      messages: MESSAGES,
    });
    let text = '';
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
    assert.equal(text, WHOLE);
  });

  test('is invisible to the Anthropic SDK', async () => {
    const client = new Anthropic({
      apiKey: TEST_KEY,
      baseURL: node.apiUrl,
      maxRetries: 0,
      defaultHeaders: HEADERS,
    });
    const message = await client.messages
      .stream({ model: 'm', max_tokens: 200, messages: MESSAGES })
      .finalMessage();
    const [block] = message.content;
    assert.equal(block?.type === 'text' ? block.text : '', WHOLE);
  });

  test('tells whoever reads the bytes which targets answered', async () => {
    const response = await fetch(`${node.apiUrl}/v1/chat/completions`, {
      method: 'POST',
      headers: {
        ...HEADERS,
        authorization: `Bearer ${TEST_KEY}`,
        'content-type': 'application/json',
      },
      body: JSON.stringify({ model: 'm', stream: true, messages: MESSAGES }),
    });
    const [, told = ''] = /\n: banyan-metadata (.*)\n\n$/u.exec(await response.text()) ?? [];
    const metadata = JSON.parse(told) as { attempts: { target: string }[]; continued: number };
    assert.deepEqual(
      metadata.attempts.map((one) => one.target),
      ['dies', 'lives'],
    );
    assert.equal(metadata.continued, 1);
  });
});
