/**
 * The official SDKs against a real node: what an application that points its SDK at Banyan sees.
 * Each client dialect over each provider dialect; the model servers are fakes, so that tools,
 * reasoning and forms can be asked for at will.
 */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

import { ask, post } from '../support/client.ts';
import { PROMPT_TOKENS, REASONING, STRUCTURED_JSON, TOOL_JSON } from '../support/fakeAnswers.ts';
import {
  DEFAULT_WORDS,
  startFakeUpstream,
  type Fault,
  type SeenRequest,
} from '../support/fakeUpstream.ts';
import { atEnd, keyHash, startNode, TEST_KEY } from '../support/node.ts';

const fake = await startFakeUpstream('fake-model');
atEnd(() => fake.close());

const PROVIDERS = ['openai', 'anthropic'] as const;
const WHOLE_TEXT = DEFAULT_WORDS.join('');
const BUSY: Fault = { kind: 'status', status: 429, headers: ['retry-after: 3'] };
const FAULTS: Readonly<Record<string, Fault>> = {
  broken: { kind: 'status', status: 500 },
  // A model each: who was asked for rest once is not asked again for a while.
  busy: BUSY,
  'busy-2': BUSY,
  'busy-3': BUSY,
  wrong: { kind: 'status', status: 400 },
  cut: { kind: 'reset-after-events', events: 4 },
  shaky: { kind: 'status', status: 500 },
};
const MODELS = ['over-openai', 'over-anthropic', 'spare', ...Object.keys(FAULTS)];
for (const [model, fault] of Object.entries(FAULTS)) fake.setFaultOf(model, fault);

const TARGETS: Readonly<Record<string, string>> = {
  'over-anthropic': 'fake-anthropic',
  spare: 'spare-openai',
};
const remote = (name: string, kind: string): object => ({
  name,
  kind,
  baseUrl: `${fake.origin}/v1`,
  apiKey: '${UPSTREAM_KEY}',
});
const node = await startNode({
  region: 'eu-central-1',
  targets: [
    remote('fake-openai', 'openai'),
    remote('fake-anthropic', 'anthropic'),
    remote('spare-openai', 'openai'),
  ],
  models: MODELS.map((name) => ({
    name,
    targets: [TARGETS[name] ?? 'fake-openai'],
    attemptsMax: name === 'shaky' ? 2 : 1,
    health: { ejectBaseMs: 0, ejectMaxMs: 0, panicPercent: 0 },
  })),
  keys: [
    { name: 'test', sha256: keyHash(TEST_KEY) },
    { name: 'narrow', sha256: keyHash('sk-narrow'), models: ['over-openai'] },
    { name: 'limited', sha256: keyHash('sk-limited'), requestsPerMinute: 2 },
    { name: 'few-tokens', sha256: keyHash('sk-few-tokens'), tokensPerMinute: 100 },
  ],
  env: { UPSTREAM_KEY: 'sk-upstream-secret' },
});

const openaiWith = (apiKey: string): OpenAI =>
  new OpenAI({ apiKey, baseURL: `${node.apiUrl}/v1`, maxRetries: 0 });
const anthropicWith = (apiKey: string, path = ''): Anthropic =>
  new Anthropic({ apiKey, baseURL: `${node.apiUrl}${path}`, maxRetries: 0 });
const openai = openaiWith(TEST_KEY);
const anthropic = anthropicWith(TEST_KEY);

const question = { role: 'user', content: 'Hello?' } as const;
const PARAMETERS = {
  type: 'object',
  properties: { city: { type: 'string' }, unit: { type: 'string' } },
} as const;
const PIXEL =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

/** The last request that the fake saw for `model`. */
function lastSeen(model: string): SeenRequest {
  const request = fake.seen.findLast(({ body }) => body.includes(`"${model}"`));
  assert.ok(request !== undefined, `no request for ${model}`);
  return request;
}

function usageOf(words: number): object {
  return {
    prompt_tokens: PROMPT_TOKENS,
    completion_tokens: words,
    total_tokens: PROMPT_TOKENS + words,
  };
}

function counts(usage: OpenAI.CompletionUsage | null | undefined): object {
  assert.ok(usage, 'usage is told');
  const { prompt_tokens, completion_tokens, total_tokens } = usage;
  return { prompt_tokens, completion_tokens, total_tokens };
}

for (const provider of PROVIDERS) {
  const model = `over-${provider}`;

  describe(`openai SDK over a provider of ${provider}`, () => {
    test('a whole answer with usage and the headers that say who served it', async () => {
      const { data, response, request_id } = await openai.chat.completions
        .create({ model, messages: [question] })
        .withResponse();
      assert.equal(data.choices[0]?.message.content, WHOLE_TEXT);
      assert.equal(data.choices[0]?.finish_reason, 'stop');
      assert.deepEqual(counts(data.usage), usageOf(DEFAULT_WORDS.length));
      assert.match(request_id ?? '', /^\S{8,}$/);
      assert.equal(response.headers.get('x-banyan-region'), 'eu-central-1');
      assert.equal(response.headers.get('x-banyan-target'), `fake-${provider}`);
      assert.equal(response.headers.get('x-banyan-attempts'), '1');
      assert.match(response.headers.get('x-banyan-overhead-ms') ?? '', /^\d+\.\d+$/);
    });

    test('a stream, word by word, usage at its end when asked for', async () => {
      const stream = await openai.chat.completions.create({
        model,
        messages: [question],
        stream: true,
        stream_options: { include_usage: true },
      });
      const words: string[] = [];
      let usage: OpenAI.CompletionUsage | null | undefined;
      let finish: string | null | undefined;
      for await (const chunk of stream) {
        const word = chunk.choices[0]?.delta.content;
        if (typeof word === 'string' && word !== '') words.push(word);
        finish = chunk.choices[0]?.finish_reason ?? finish;
        usage = chunk.usage ?? usage;
      }
      assert.deepEqual(words, DEFAULT_WORDS);
      assert.equal(finish, 'stop');
      assert.deepEqual(counts(usage), usageOf(DEFAULT_WORDS.length));
    });

    test('without include_usage no chunk tells usage', async () => {
      const stream = await openai.chat.completions.create({
        model,
        messages: [question],
        stream: true,
      });
      for await (const chunk of stream) {
        assert.ok((chunk.usage ?? null) === null, JSON.stringify(chunk));
        assert.equal(chunk.choices.length, 1, JSON.stringify(chunk));
      }
    });

    test('parallel tool calls, whole and streamed, and the answer after their results', async () => {
      const tools = ['weather', 'time'].map((name) => ({
        type: 'function' as const,
        function: { name, description: name, parameters: PARAMETERS },
      }));
      const whole = await openai.chat.completions.create({ model, messages: [question], tools });
      const message = whole.choices[0]?.message;
      assert.equal(whole.choices[0]?.finish_reason, 'tool_calls');
      const calls = (message?.tool_calls ?? []).filter((call) => call.type === 'function');
      assert.deepEqual(
        calls.map((call) => [call.id, call.function.name, JSON.parse(call.function.arguments)]),
        [
          ['call_0', 'weather', JSON.parse(TOOL_JSON)],
          ['call_1', 'time', JSON.parse(TOOL_JSON)],
        ],
      );
      const streamed = await openai.chat.completions
        .stream({ model, messages: [question], tools })
        .finalChatCompletion();
      assert.deepEqual(
        (streamed.choices[0]?.message.tool_calls ?? []).map((call) =>
          call.type === 'function' ? [call.function.name, call.function.arguments] : call.type,
        ),
        [
          ['weather', TOOL_JSON],
          ['time', TOOL_JSON],
        ],
      );
      assert.ok(message !== undefined);
      const after = await openai.chat.completions.create({
        model,
        tools,
        messages: [
          question,
          message,
          ...calls.map(({ id }) => ({
            role: 'tool' as const,
            tool_call_id: id,
            content: '21 degrees',
          })),
        ],
      });
      assert.equal(after.choices[0]?.message.content, WHOLE_TEXT);
    });

    test('an image reaches the provider in its own form', async () => {
      await openai.chat.completions.create({
        model,
        messages: [
          {
            role: 'user',
            content: [
              { type: 'text', text: 'What is this?' },
              { type: 'image_url', image_url: { url: `data:image/png;base64,${PIXEL}` } },
            ],
          },
        ],
      });
      assertImage(provider, lastSeen(model));
    });

    test('structured output is the form that was asked for', async () => {
      const completion = await openai.chat.completions.create({
        model,
        messages: [question],
        response_format: {
          type: 'json_schema',
          json_schema: { name: 'weather', strict: true, schema: PARAMETERS },
        },
      });
      assert.equal(completion.choices[0]?.message.content, STRUCTURED_JSON);
    });

    test('reasoning comes beside the content', async () => {
      const stream = await openai.chat.completions.create({
        model,
        messages: [{ role: 'user', content: 'Please think.' }],
        stream: true,
      });
      let reasoning = '';
      let content = '';
      for await (const chunk of stream) {
        const delta = chunk.choices[0]?.delta as
          | { content?: string | null; reasoning_content?: string }
          | undefined;
        reasoning += delta?.reasoning_content ?? '';
        content += delta?.content ?? '';
      }
      assert.equal(reasoning, REASONING.join(''));
      assert.equal(content, WHOLE_TEXT);
    });

    test('stop sequences and the limit of tokens end the answer', async () => {
      const stopped = await openai.chat.completions.create({
        model,
        messages: [question],
        stop: [' the', '模型'],
      });
      assert.match(stopped.choices[0]?.message.content ?? '', /^Hello from/);
      assert.equal(stopped.choices[0]?.finish_reason, 'stop');
      const limited = await openai.chat.completions.create({
        model,
        messages: [question],
        max_tokens: 2,
      });
      assert.equal(limited.choices[0]?.message.content, 'Hello from');
      assert.equal(limited.choices[0]?.finish_reason, 'length');
    });
  });

  describe(`anthropic SDK over a provider of ${provider}`, () => {
    const base = { model, max_tokens: 64, messages: [question] };

    test('a whole message with usage, below / and below /anthropic', async () => {
      for (const path of ['', '/anthropic']) {
        const { data, response, request_id } = await anthropicWith(TEST_KEY, path)
          .messages.create(base)
          .withResponse();
        assert.deepEqual(data.content.map(textOf), [WHOLE_TEXT]);
        assert.equal(data.stop_reason, 'end_turn');
        assert.equal(data.usage.input_tokens, PROMPT_TOKENS);
        assert.equal(data.usage.output_tokens, DEFAULT_WORDS.length);
        assert.equal(response.headers.get('x-banyan-target'), `fake-${provider}`);
        assert.match(request_id ?? '', /^\S{8,}$/);
        assert.equal(request_id, response.headers.get('x-request-id'));
      }
    });

    test('a stream, word by word, usage at its end', async () => {
      const stream = anthropic.messages.stream(base);
      const words: string[] = [];
      stream.on('text', (word) => words.push(word));
      const message = await stream.finalMessage();
      assert.deepEqual(words, DEFAULT_WORDS);
      assert.deepEqual(message.content.map(textOf), [WHOLE_TEXT]);
      assert.equal(message.stop_reason, 'end_turn');
      assert.equal(message.usage.output_tokens, DEFAULT_WORDS.length);
    });

    test('parallel tool use, whole and streamed, and the answer after the results', async () => {
      const tools = ['weather', 'time'].map((name) => ({ name, input_schema: PARAMETERS }));
      const whole = await anthropic.messages.create({ ...base, tools });
      const streamed = await anthropic.messages.stream({ ...base, tools }).finalMessage();
      for (const message of [whole, streamed]) {
        assert.equal(message.stop_reason, 'tool_use');
        const uses = message.content.filter((block) => block.type === 'tool_use');
        assert.deepEqual(
          uses.map(({ id, name, input }) => [id, name, input]),
          [
            ['call_0', 'weather', JSON.parse(TOOL_JSON)],
            ['call_1', 'time', JSON.parse(TOOL_JSON)],
          ],
        );
      }
      const after = await anthropic.messages.create({
        ...base,
        tools,
        messages: [
          question,
          { role: 'assistant', content: whole.content },
          {
            role: 'user',
            content: ['call_0', 'call_1'].map((id) => ({
              type: 'tool_result' as const,
              tool_use_id: id,
              content: '21 degrees',
            })),
          },
        ],
      });
      assert.deepEqual(after.content.map(textOf), [WHOLE_TEXT]);
    });

    test('an image reaches the provider in its own form', async () => {
      await anthropic.messages.create({
        ...base,
        messages: [
          {
            role: 'user',
            content: [
              { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PIXEL } },
              { type: 'text', text: 'What is this?' },
            ],
          },
        ],
      });
      assertImage(provider, lastSeen(model));
    });

    test('thinking comes as a block before the text', async () => {
      const messages = [{ role: 'user' as const, content: 'Please think.' }];
      const whole = await anthropic.messages.create({ ...base, messages });
      const streamed = await anthropic.messages.stream({ ...base, messages }).finalMessage();
      for (const { content } of [whole, streamed]) {
        assert.deepEqual(
          content.map(({ type }) => type),
          ['thinking', 'text'],
        );
        assert.deepEqual(content.map(textOf), [REASONING.join(''), WHOLE_TEXT]);
      }
    });

    test('structured output, stop sequences and the limit of tokens', async () => {
      const formed = await anthropic.messages.create({
        ...base,
        output_config: { format: { type: 'json_schema', schema: PARAMETERS } },
      });
      assert.deepEqual(formed.content.map(textOf), [STRUCTURED_JSON]);
      const stopped = await anthropic.messages.create({ ...base, stop_sequences: [' the'] });
      assert.deepEqual(stopped.content.map(textOf), ['Hello from 假模型 🌳.'.split(' the')[0]]);
      const limited = await anthropic.messages.create({ ...base, max_tokens: 2 });
      assert.deepEqual(limited.content.map(textOf), ['Hello from']);
      assert.equal(limited.stop_reason, 'max_tokens');
    });

    test('tokens are counted, by the provider or as an estimate that says so', async () => {
      const { data, response } = await anthropic.messages
        .countTokens({ model, messages: [question] })
        .withResponse();
      const header = response.headers.get('x-banyan-token-count');
      if (provider === 'anthropic') {
        assert.equal(data.input_tokens, 42);
        assert.equal(header, null);
      } else {
        assert.ok(data.input_tokens > 0 && data.input_tokens < 42);
        assert.equal(header, 'estimate');
      }
    });
  });
}

function textOf(block: Anthropic.ContentBlock): string {
  if (block.type === 'text') return block.text;
  return block.type === 'thinking' ? block.thinking : block.type;
}

function assertImage(provider: (typeof PROVIDERS)[number], request: SeenRequest): void {
  const body = JSON.parse(request.body) as { messages: { content: { type: string }[] }[] };
  const image = body.messages[0]?.content.find(({ type }) => type.startsWith('image'));
  assert.deepEqual(
    image,
    provider === 'openai'
      ? { type: 'image_url', image_url: { url: `data:image/png;base64,${PIXEL}` } }
      : { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PIXEL } },
  );
}

describe('what only OpenAI has', () => {
  const model = 'over-openai';

  test('several choices and log probabilities, whole and streamed', async () => {
    const request = { model, messages: [question], n: 2, logprobs: true, top_logprobs: 1 };
    const whole = await openai.chat.completions.create(request);
    assert.deepEqual(
      whole.choices.map(({ message }) => message.content),
      [WHOLE_TEXT, WHOLE_TEXT],
    );
    assert.equal(whole.choices[1]?.logprobs?.content?.[0]?.token, 'Hello');
    const texts = ['', ''];
    let logprobs = 0;
    for await (const chunk of await openai.chat.completions.create({ ...request, stream: true })) {
      for (const { index, delta, logprobs: told } of chunk.choices) {
        texts[index] += delta.content ?? '';
        logprobs += told?.content?.length ?? 0;
      }
    }
    assert.deepEqual(texts, [WHOLE_TEXT, WHOLE_TEXT]);
    assert.equal(logprobs, 2 * DEFAULT_WORDS.length);
  });

  test('a provider of the other dialect refuses them by name', async () => {
    const told = await rejection(
      openai.chat.completions.create({ model: 'over-anthropic', messages: [question], n: 2 }),
    );
    assert.ok(told instanceof OpenAI.BadRequestError, String(told));
    assert.equal(told.code, 'unsupported_feature');
    assert.equal(told.param, 'n');
  });

  test('embeddings, of one text and of several, as floats and in base64', async () => {
    for (const input of ['one', ['one', 'two']]) {
      const result = await openai.embeddings.create({ model, input });
      assert.equal(result.data.length, Array.isArray(input) ? 2 : 1);
      assert.deepEqual([...(result.data[0]?.embedding ?? [])], [0.25, -0.5]);
      assert.equal(result.usage.prompt_tokens, 3);
    }
    const floats = await openai.embeddings.create({
      model,
      input: 'one',
      encoding_format: 'float',
    });
    assert.deepEqual(floats.data[0]?.embedding, [0.25, -0.5]);
  });

  test('completions, whole and streamed', async () => {
    const whole = await openai.completions.create({ model, prompt: 'Hello?' });
    assert.equal(whole.choices[0]?.text, WHOLE_TEXT);
    let text = '';
    const stream = await openai.completions.create({ model, prompt: 'Hello?', stream: true });
    for await (const chunk of stream) text += chunk.choices[0]?.text ?? '';
    assert.equal(text, WHOLE_TEXT);
  });
});

describe('models', () => {
  test('both SDKs list and retrieve what the key may use', async () => {
    const listed: string[] = [];
    for await (const { id } of openai.models.list()) listed.push(id);
    assert.deepEqual(listed.toSorted(), MODELS.toSorted());
    assert.equal((await openai.models.retrieve('over-openai')).id, 'over-openai');
    for (const client of [anthropic, anthropicWith(TEST_KEY, '/anthropic')]) {
      const theirs: string[] = [];
      for await (const { id } of client.models.list()) theirs.push(id);
      assert.deepEqual(theirs.toSorted(), MODELS.toSorted());
      const one = await client.models.retrieve('over-openai');
      assert.equal(one.display_name, 'over-openai');
      assert.ok(!Number.isNaN(Date.parse(one.created_at)));
    }
    const narrow: string[] = [];
    for await (const { id } of openaiWith('sk-narrow').models.list()) narrow.push(id);
    assert.deepEqual(narrow, ['over-openai']);
  });
});

/** What a promise was rejected with. */
async function rejection(promise: PromiseLike<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (cause) {
    return cause;
  }
  return assert.fail('it was not rejected');
}

describe("errors arrive as the SDKs' own classes, with a request id", () => {
  const chat = (client: OpenAI, model: string, more: object = {}): PromiseLike<unknown> =>
    client.chat.completions.create({ model, messages: [question], ...more });
  const message = (client: Anthropic, model: string, more: object = {}): PromiseLike<unknown> =>
    client.messages.create({ model, max_tokens: 8, messages: [question], ...more });

  const CASES = [
    ['an unknown key', 'sk-unknown', 'over-openai', {}, 'AuthenticationError', 401, 'unknown_key'],
    ['an unknown model', TEST_KEY, 'nobody', {}, 'NotFoundError', 404, 'model_not_found'],
    [
      'a model of others',
      'sk-narrow',
      'spare',
      {},
      'PermissionDeniedError',
      403,
      'model_not_allowed',
    ],
    [
      'a malformed request',
      TEST_KEY,
      'over-openai',
      { stream: 7 },
      'BadRequestError',
      400,
      'invalid_request',
    ],
    ["the provider's refusal", TEST_KEY, 'wrong', {}, 'BadRequestError', 400, 'upstream_rejected'],
    ['a busy provider', TEST_KEY, 'busy', {}, 'RateLimitError', 429, 'upstream_rate_limited'],
    [
      'a provider that fails',
      TEST_KEY,
      'broken',
      {},
      'InternalServerError',
      502,
      'upstream_failed',
    ],
  ] as const;
  for (const [name, key, model, more, kind, status, code] of CASES) {
    test(`${name}: ${kind}`, async () => {
      const ours = await rejection(chat(openaiWith(key), model, more));
      assert.ok(ours instanceof OpenAI[kind], String(ours));
      assert.equal(ours.status, status);
      assert.equal(ours.code, code);
      assert.match(ours.requestID ?? '', /^\S{8,}$/);
      const theirs = await rejection(
        message(anthropicWith(key), model === 'busy' ? 'busy-2' : model, more),
      );
      assert.ok(theirs instanceof Anthropic[kind], String(theirs));
      assert.equal(theirs.status, status);
      assert.match(theirs.requestID ?? '', /^\S{8,}$/);
      const told = theirs.error as { type: string; error: { type: string }; request_id: string };
      assert.equal(told.type, 'error');
      assert.equal(told.request_id, theirs.requestID);
      for (const text of [ours.message, theirs.message]) {
        assert.doesNotMatch(text, /sk-upstream-secret|sk-unknown/);
      }
    });
  }

  test('a provider that asks for rest gets it, and Retry-After says for how long', async () => {
    const told = await rejection(chat(openai, 'busy-3'));
    assert.ok(told instanceof OpenAI.RateLimitError, String(told));
    assert.equal(told.headers.get('retry-after'), '3');
    const seen = fake.seen.length;
    const later = await rejection(chat(openai, 'busy-3'));
    assert.ok(later instanceof OpenAI.APIError, String(later));
    assert.match(later.headers?.get('retry-after') ?? '', /^[1-3]$/);
    assert.equal(fake.seen.length, seen, 'the provider was not asked again');
  });

  test('an answer that breaks off is an error in the middle of the stream', async () => {
    const stream = await openai.chat.completions.create({
      model: 'cut',
      messages: [question],
      stream: true,
    });
    let text = '';
    const ours = await rejection(
      (async () => {
        for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
      })(),
    );
    assert.ok(ours instanceof OpenAI.APIError, String(ours));
    assert.equal(ours.code, 'stream_broken');
    assert.ok(text !== '' && WHOLE_TEXT.startsWith(text), text);

    const theirs = await rejection(
      anthropic.messages
        .stream({ model: 'cut', max_tokens: 8, messages: [question] })
        .finalMessage(),
    );
    assert.ok(theirs instanceof Anthropic.APIError, String(theirs));
    assert.match(theirs.message, /broke off/);
  });

  test('no key, a path that is none and a method that is none', async () => {
    const none = await fetch(`${node.apiUrl}/v1/models`);
    assert.equal(none.status, 401);
    assert.equal(((await none.json()) as { error: { code: string } }).error.code, 'missing_key');
    const lost = await fetch(`${node.apiUrl}/v1/nothing`);
    assert.equal(lost.status, 404);
    assert.equal(((await lost.json()) as { error: { code: string } }).error.code, 'not_found');
    const wrong = await fetch(`${node.apiUrl}/v1/chat/completions`);
    assert.equal(wrong.status, 405);
    assert.equal(wrong.headers.get('allow'), 'POST');
    const below = await fetch(`${node.apiUrl}/anthropic/v1/messages`, { method: 'POST' });
    assert.equal(below.status, 401);
    assert.equal(((await below.json()) as { type: string }).type, 'error');
  });
});

describe('keys and their limits', () => {
  test('either header carries the key', async () => {
    for (const headers of [{ authorization: `Bearer ${TEST_KEY}` }, { 'x-api-key': TEST_KEY }]) {
      const response = await fetch(`${node.apiUrl}/v1/models`, { headers: new Headers(headers) });
      assert.equal(response.status, 200);
    }
  });

  test('requests a minute: what is left is told, past it 429 with Retry-After', async () => {
    const client = openaiWith('sk-limited');
    const model = 'over-openai';
    const left: (string | null)[] = [];
    for (let count = 0; count < 2; count += 1) {
      const { response } = await client.chat.completions
        .create({ model, messages: [question] })
        .withResponse();
      assert.equal(response.headers.get('x-ratelimit-limit-requests'), '2');
      left.push(response.headers.get('x-ratelimit-remaining-requests'));
    }
    assert.deepEqual(left, ['1', '0']);
    const told = await rejection(client.chat.completions.create({ model, messages: [question] }));
    assert.ok(told instanceof OpenAI.RateLimitError, String(told));
    assert.equal(told.code, 'rate_limited');
    const seconds = Number(told.headers.get('retry-after'));
    assert.ok(seconds >= 1 && seconds <= 30, `${seconds} s`);
    assert.equal(told.headers.get('x-ratelimit-remaining-requests'), '0');
    assert.match(told.headers.get('x-ratelimit-reset-requests') ?? '', /^\d+(?:\.\d+)?(?:ms|s)$|m/);
    const theirs = await rejection(
      anthropicWith('sk-limited').messages.create({ model, max_tokens: 8, messages: [question] }),
    );
    assert.ok(theirs instanceof Anthropic.RateLimitError, String(theirs));
  });

  test('tokens a minute: an answer takes what it used, and the estimate above it comes back', async () => {
    const client = openaiWith('sk-few-tokens');
    const body = { model: 'over-openai', messages: [question], max_tokens: 60 };
    const first = await client.chat.completions.create(body).withResponse();
    assert.equal(first.response.headers.get('x-ratelimit-limit-tokens'), '100');
    // 60 were reserved and 13 used: a second one fits, which it would not otherwise.
    const second = await client.chat.completions.create(body).withResponse();
    const left = Number(second.response.headers.get('x-ratelimit-remaining-tokens'));
    assert.ok(left < 40, `${left} left while 60 are reserved`);
  });
});

describe('what is passed on', () => {
  test('the same dialect goes to the provider byte for byte, unknown fields included', async () => {
    const body =
      '{ "model" : "over-openai",\n  "x_future": {"deep": [1, 2.50, 1e3, "\\u00e9"]},\n' +
      '  "messages":[ {"role":"user","content":"h\\u0069", "odd": null} ], "temperature": 0.70 }';
    const reply = await post(`${node.apiUrl}/v1/chat/completions`, body);
    assert.equal(reply.status, 200);
    assert.equal(lastSeen('over-openai').body, body);
    const message = body.replace('over-openai', 'over-anthropic').replace('{', '{"max_tokens":9,');
    const version = { 'anthropic-version': '2023-06-01', 'anthropic-beta': 'future-2030' };
    const theirs = await post(`${node.apiUrl}/v1/messages`, message, version);
    assert.equal(theirs.status, 200);
    const seen = lastSeen('over-anthropic');
    assert.equal(seen.body, message);
    assert.equal(seen.headers.get('anthropic-beta'), 'future-2030');
  });

  test("the provider gets the gateway's key in its own header, never the client's", async () => {
    await openai.chat.completions.create({ model: 'over-openai', messages: [question] });
    const ours = lastSeen('over-openai').headers;
    assert.equal(ours.get('authorization'), 'Bearer sk-upstream-secret');
    await anthropic.messages.create({
      model: 'over-anthropic',
      max_tokens: 8,
      messages: [question],
    });
    const theirs = lastSeen('over-anthropic').headers;
    assert.equal(theirs.get('x-api-key'), 'sk-upstream-secret');
    for (const headers of [ours, theirs]) {
      assert.ok(![...headers.values()].some((value) => value.includes(TEST_KEY)));
    }
  });

  test('fallbacks and models are honoured, and kept from the provider', async () => {
    for (const more of [{ fallbacks: ['spare'] }, { models: ['shaky', 'spare'] }]) {
      const reply = await ask(node.apiUrl, {
        dialect: 'openai',
        model: 'shaky',
        isStream: false,
        more,
      });
      assert.equal(reply.status, 200, reply.body);
      assert.equal(reply.headers['x-banyan-target'], 'spare-openai');
      assert.doesNotMatch(lastSeen('shaky').body, /spare/);
      assert.doesNotMatch(lastSeen('spare').body, /fallbacks|models|shaky/);
    }
    const unknown = await ask(node.apiUrl, {
      dialect: 'openai',
      model: 'nobody',
      isStream: false,
      more: { fallbacks: ['nobody-else', 'spare'] },
    });
    assert.equal(unknown.status, 200, unknown.body);
    const seen = lastSeen('spare');
    assert.doesNotMatch(seen.body, /fallbacks|nobody/);
    assert.equal((JSON.parse(seen.body) as { model: string }).model, 'spare');
  });
});
