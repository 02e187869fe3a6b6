/** The Vercel AI SDK, with each of its providers that Banyan serves, against a real node. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import {
  APICallError,
  embedMany,
  generateText,
  jsonSchema,
  Output,
  stepCountIs,
  streamText,
  tool,
  type LanguageModel,
} from 'ai';

import { PROMPT_TOKENS, REASONING, STRUCTURED_JSON, TOOL_JSON } from '../support/fakeAnswers.ts';
import { DEFAULT_WORDS, startFakeUpstream } from '../support/fakeUpstream.ts';
import { atEnd, startNode, TEST_KEY } from '../support/node.ts';

const fake = await startFakeUpstream('fake-model');
atEnd(() => fake.close());

const PROVIDERS = ['openai', 'anthropic'] as const;
const WHOLE_TEXT = DEFAULT_WORDS.join('');
const models = PROVIDERS.flatMap((kind) =>
  ['over', 'cut', 'broken'].map((name) => ({
    name: `${name}-${kind}`,
    targets: [`fake-${kind}`],
    attemptsMax: 1,
    health: { ejectBaseMs: 0, ejectMaxMs: 0, panicPercent: 0 },
  })),
);
for (const kind of PROVIDERS) {
  fake.setFaultOf(`cut-${kind}`, { kind: 'reset-after-events', events: 4 });
  fake.setFaultOf(`broken-${kind}`, { kind: 'status', status: 500 });
}
const node = await startNode({
  targets: PROVIDERS.map((kind) => ({ name: `fake-${kind}`, kind, baseUrl: `${fake.origin}/v1` })),
  models,
});

const baseURL = `${node.apiUrl}/v1`;
const openai = createOpenAI({ baseURL, apiKey: TEST_KEY });
const compatible = createOpenAICompatible({ name: 'banyan', baseURL, apiKey: TEST_KEY });
const anthropic = createAnthropic({ baseURL, apiKey: TEST_KEY });
const CLIENTS: Readonly<Record<string, (model: string) => LanguageModel>> = {
  '@ai-sdk/openai': (model) => openai.chat(model),
  '@ai-sdk/openai-compatible': (model) => compatible.chatModel(model),
  '@ai-sdk/anthropic': (model) => anthropic(model),
};

for (const [client, modelOf] of Object.entries(CLIENTS)) {
  for (const provider of PROVIDERS) {
    describe(`${client} over a provider of ${provider}`, () => {
      const model = modelOf(`over-${provider}`);

      test('generateText: text, usage, the reason to stop', async () => {
        const result = await generateText({ model, prompt: 'Hello?' });
        assert.equal(result.text, WHOLE_TEXT);
        assert.equal(result.finishReason, 'stop');
        assert.equal(result.usage.inputTokens, PROMPT_TOKENS);
        assert.equal(result.usage.outputTokens, DEFAULT_WORDS.length);
      });

      test('streamText: word by word', async () => {
        const result = streamText({ model, prompt: 'Hello?' });
        const words: string[] = [];
        for await (const word of result.textStream) words.push(word);
        assert.deepEqual(
          words.filter((word) => word !== ''),
          DEFAULT_WORDS,
        );
        assert.equal(await result.finishReason, 'stop');
      });

      test('tools: two calls at once, then the answer', async () => {
        const seen: unknown[] = [];
        const inputSchema = jsonSchema<object>({ type: 'object', properties: { city: {} } });
        const one = tool({
          description: 'one of two',
          inputSchema,
          execute: (input) => {
            seen.push(input);
            return '21 degrees';
          },
        });
        const result = streamText({
          model,
          prompt: 'Hello?',
          tools: { weather: one, time: one },
          stopWhen: stepCountIs(2),
        });
        const steps = await result.steps;
        assert.deepEqual(
          steps[0]?.toolCalls.map(({ toolName }) => toolName),
          ['weather', 'time'],
        );
        assert.deepEqual(seen, [JSON.parse(TOOL_JSON), JSON.parse(TOOL_JSON)]);
        assert.equal(await result.text, WHOLE_TEXT);
      });

      test('an answer that breaks off is an error part of the stream, not an end', async () => {
        const errors: unknown[] = [];
        const result = streamText({
          model: modelOf(`cut-${provider}`),
          prompt: 'Hello?',
          maxRetries: 0,
          onError: ({ error }) => void errors.push(error),
        });
        let text = '';
        try {
          for await (const part of result.textStream) text += part;
        } catch (cause) {
          errors.push(cause); // Some versions throw where others tell.
        }
        assert.ok(errors.length > 0);
        assert.ok(WHOLE_TEXT.startsWith(text), text);
      });

      test('an error is APICallError with the status', async () => {
        await assert.rejects(
          generateText({
            model: modelOf(`broken-${provider}`),
            prompt: 'Hello?',
            maxRetries: 0,
          }),
          (cause) => APICallError.isInstance(cause) && cause.statusCode === 502,
        );
      });
    });
  }
}

test('structured output by schema', async () => {
  const schema = jsonSchema<{ city: string; degrees: number }>({
    type: 'object',
    properties: { city: { type: 'string' }, degrees: { type: 'number' } },
    required: ['city', 'degrees'],
    additionalProperties: false,
  });
  for (const provider of PROVIDERS) {
    const model = openai.chat(`over-${provider}`);
    const { output } = await generateText({
      model,
      prompt: 'Hello?',
      output: Output.object({ schema }),
    });
    assert.deepEqual(output, JSON.parse(STRUCTURED_JSON));
  }
});

test('reasoning of an OpenAI-compatible provider, and of Anthropic', async () => {
  for (const provider of PROVIDERS) {
    for (const client of ['@ai-sdk/openai-compatible', '@ai-sdk/anthropic']) {
      const model = CLIENTS[client]?.(`over-${provider}`);
      assert.ok(model !== undefined);
      const { reasoningText, text } = await generateText({ model, prompt: 'Please think.' });
      assert.equal(reasoningText, REASONING.join(''));
      assert.equal(text, WHOLE_TEXT);
    }
  }
});

test('embeddings', async () => {
  const model = openai.embedding('over-openai');
  const { embeddings } = await embedMany({ model, values: ['one', 'two'] });
  assert.deepEqual(embeddings, [
    [0.25, -0.5],
    [0.25, -0.5],
  ]);
});
