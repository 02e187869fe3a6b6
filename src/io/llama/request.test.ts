import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { readChatRequest, readCompletionRequest } from './request.ts';

const MESSAGES = [{ role: 'user', content: 'hi' }];

describe('readChatRequest', () => {
  it('reads what it knows, ignores the rest, and is greedy unless told otherwise', () => {
    const read = readChatRequest({
      model: 'm',
      messages: [
        { role: 'developer', content: 'be kind' },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'a' },
            { type: 'text', text: 'b' },
          ],
        },
        { role: 'assistant', content: null, tool_calls: [] },
        { role: 'tool', content: 'x', tool_call_id: '1' },
      ],
      max_completion_tokens: 7,
      max_tokens: 9,
      stop: 'END',
      user: 'u',
      metadata: { a: 1 },
    });
    assert.ok(read.ok);
    assert.deepEqual(read.value.messages, [
      { role: 'system', content: 'be kind' },
      { role: 'user', content: 'ab' },
    ]);
    const { tokensMax, temperature, stops, isStream, seed } = read.value;
    assert.deepEqual(
      { tokensMax, temperature, stops, isStream, seed },
      { tokensMax: 7, temperature: 0, stops: ['END'], isStream: false, seed: null },
    );
  });

  const refused: readonly (readonly [string, object, string | null])[] = [
    ['no model', { messages: MESSAGES }, 'model'],
    ['no messages', { model: 'm', messages: [] }, 'messages'],
    [
      'an image',
      { model: 'm', messages: [{ role: 'user', content: [{ type: 'image_url' }] }] },
      'messages.0.content',
    ],
    [
      'a strange role',
      { model: 'm', messages: [{ role: 'robot', content: '' }] },
      'messages.0.role',
    ],
    ['two choices', { model: 'm', messages: MESSAGES, n: 2 }, 'n'],
    ['logprobs', { model: 'm', messages: MESSAGES, logprobs: true }, 'logprobs'],
    [
      'a schema',
      { model: 'm', messages: MESSAGES, response_format: { type: 'json_schema' } },
      'response_format',
    ],
    ['a forced tool', { model: 'm', messages: MESSAGES, tool_choice: 'required' }, 'tool_choice'],
    ['a half token', { model: 'm', messages: MESSAGES, max_tokens: 0.5 }, 'max_tokens'],
    ['too hot', { model: 'm', messages: MESSAGES, temperature: 3 }, 'temperature'],
    ['17 stops', { model: 'm', messages: MESSAGES, stop: Array(17).fill('x') }, 'stop'],
  ];
  for (const [name, body, param] of refused) {
    it(`refuses ${name} and names ${param}`, () => {
      const read = readChatRequest(body);
      assert.ok(!read.ok);
      assert.equal(read.error.param, param);
    });
  }
});

describe('readCompletionRequest', () => {
  it('takes one text, 16 tokens by default', () => {
    const read = readCompletionRequest({ model: 'm', prompt: ['abc'] });
    assert.ok(read.ok);
    assert.equal(read.value.prompt, 'abc');
    assert.equal(read.value.tokensMax, 16);
    assert.ok(!readCompletionRequest({ model: 'm', prompt: ['a', 'b'] }).ok);
    assert.ok(!readCompletionRequest({ model: 'm', prompt: '' }).ok);
  });
});
