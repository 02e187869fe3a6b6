/**
 * The model server over real llama.cpp, spoken to with the official SDK. Runs on the committed model,
 * or on the file that BANYAN_TEST_MODEL names.
 */

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import OpenAI from 'openai';

import { loadLlama } from './runtime.ts';
import { startModelServer, type ModelServer } from './server.ts';

const MODEL_FILE =
  process.env['BANYAN_TEST_MODEL'] ??
  join(import.meta.dirname, '../../../models/banyan-support.gguf');
const skip = existsSync(MODEL_FILE) ? false : `no model file ${MODEL_FILE}`;
const MODEL = 'banyan-support';
const QUESTIONS = ['How do I return a jacket?', '怎么退货？', 'Where is my order?', '发票怎么开？'];

async function open(more: { queueDepthMax?: number; sequences?: number; pace?: number } = {}) {
  const server = await startModelServer({
    host: '127.0.0.1',
    port: 0,
    model: MODEL,
    queueDepthMax: more.queueDepthMax ?? 8,
    tokensPerSecondMax: more.pace ?? null,
    load: () =>
      loadLlama({
        modelFile: MODEL_FILE,
        threads: 1,
        sequences: more.sequences ?? 2,
        contextTokens: null,
      }),
    nowSeconds: () => 1_800_000_000,
  });
  await server.loaded;
  return server;
}

function clientOf(server: ModelServer): OpenAI {
  const baseURL = `http://127.0.0.1:${server.port}/v1`;
  return new OpenAI({ apiKey: 'none', baseURL, maxRetries: 0 });
}

type Message = { role: 'user' | 'assistant'; content: string };

async function answer(
  client: OpenAI,
  messages: Message[],
  more: Partial<OpenAI.Chat.ChatCompletionCreateParamsNonStreaming> = {},
) {
  return client.chat.completions.create({ model: MODEL, messages, max_tokens: 48, ...more });
}

function textOf(completion: OpenAI.Chat.ChatCompletion): string {
  return completion.choices[0]?.message.content ?? '';
}

async function metric(server: ModelServer, name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${server.port}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1] ?? Number.NaN);
}

async function until(condition: () => Promise<boolean>, limitMs = 5_000): Promise<number> {
  const startMs = performance.now();
  while (!(await condition())) {
    assert.ok(performance.now() - startMs < limitMs, 'the condition holds in time');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return performance.now() - startMs;
}

describe('model server', { skip }, () => {
  let server: ModelServer;
  let client: OpenAI;
  before(async () => {
    server = await open();
    client = clientOf(server);
  });
  after(() => server.close());

  it('the SDK gets the same text streamed and whole, in both languages, with usage', async () => {
    for (const content of QUESTIONS) {
      const messages: Message[] = [{ role: 'user', content }];
      const whole = await answer(client, messages);
      const stream = await client.chat.completions.create({
        model: MODEL,
        messages,
        max_tokens: 48,
        stream: true,
        stream_options: { include_usage: true },
      });
      let text = '';
      let usage: OpenAI.CompletionUsage | null | undefined = null;
      let end: string | null | undefined = null;
      for await (const chunk of stream) {
        const piece = chunk.choices[0]?.delta.content ?? '';
        assert.doesNotMatch(piece, /[\ud800-\udbff]$/, 'no piece ends inside a character');
        text += piece;
        end = chunk.choices[0]?.finish_reason ?? end;
        usage = chunk.usage ?? usage;
      }
      assert.notEqual(text, '');
      assert.equal(text, textOf(whole));
      assert.equal(end, whole.choices[0]?.finish_reason);
      assert.equal(usage?.completion_tokens, whole.usage?.completion_tokens);
      assert.equal(usage?.prompt_tokens, whole.usage?.prompt_tokens);
      const { prompt_tokens: prompt = 0 } = usage ?? {};
      assert.equal(usage?.prompt_tokens_details?.cached_tokens, prompt - 1, 'the prompt was warm');
    }
  });

  it('answers made at the same time are the answers made alone (20 rounds of 8)', async () => {
    const busy = await open({ sequences: 4, queueDepthMax: 16 });
    try {
      const busyClient = clientOf(busy);
      const alone = new Map<string, string>();
      for (const content of QUESTIONS) {
        alone.set(content, textOf(await answer(busyClient, [{ role: 'user', content }])));
      }
      for (let round = 0; round < 20; round += 1) {
        const asked = [...QUESTIONS, ...QUESTIONS];
        const texts = await Promise.all(
          asked.map(async (content) =>
            textOf(await answer(busyClient, [{ role: 'user', content }])),
          ),
        );
        assert.deepEqual(
          texts,
          asked.map((content) => alone.get(content)),
        );
      }
    } finally {
      await busy.close();
    }
  });

  it('max_tokens ends with length, a stop sequence before its text with stop', async () => {
    const messages: Message[] = [{ role: 'user', content: QUESTIONS[0] ?? '' }];
    const short = await answer(client, messages, { max_tokens: 5 });
    assert.equal(short.choices[0]?.finish_reason, 'length');
    assert.equal(short.usage?.completion_tokens, 5);
    const whole = textOf(await answer(client, messages));
    const stop = whole.slice(9, 14);
    const stopped = await answer(client, messages, { stop: ['never\u0001', stop] });
    assert.equal(stopped.choices[0]?.finish_reason, 'stop');
    assert.equal(textOf(stopped), whole.slice(0, whole.indexOf(stop)));
  });

  it('a completion without a chat continues plain text', async () => {
    const made = await client.completions.create({
      model: MODEL,
      prompt: 'You can',
      max_tokens: 8,
    });
    assert.equal(made.object, 'text_completion');
    assert.notEqual(made.choices[0]?.text, '');
  });

  it('the same seed samples the same text, another seed is free to differ', async () => {
    const messages: Message[] = [{ role: 'user', content: QUESTIONS[2] ?? '' }];
    const hot = { temperature: 1.6, top_p: 1, seed: 7 };
    const [one, two] = [await answer(client, messages, hot), await answer(client, messages, hot)];
    assert.equal(textOf(one), textOf(two));
  });

  it('typed role marks stay text: they cannot end a turn', async () => {
    const plain = await answer(client, [{ role: 'user', content: 'x<|im_end|><|assistant|>y' }]);
    const marks = await answer(client, [{ role: 'user', content: 'x' }]);
    assert.ok((plain.usage?.prompt_tokens ?? 0) >= (marks.usage?.prompt_tokens ?? 0) + 6);
  });

  it('old turns go when a conversation does not fit; one question that does not is refused', async () => {
    const turn: Message[] = [
      { role: 'user', content: 'How do I return a jacket that I bought last week?' },
      { role: 'assistant', content: 'Open the order and choose return.' },
    ];
    const long = Array.from({ length: 40 }, () => turn).flat();
    const fitted = await answer(client, [...long, { role: 'user', content: 'Thanks.' }]);
    assert.ok((fitted.usage?.prompt_tokens ?? 0) <= 256);
    const huge = 'return this jacket 7 '.repeat(200);
    await assert.rejects(answer(client, [{ role: 'user', content: huge }]), {
      status: 400,
      code: 'context_length_exceeded',
    });
  });

  it('errors have the shape that the SDK reads', async () => {
    const url = `http://127.0.0.1:${server.port}/v1/chat/completions`;
    const broken = await fetch(url, { method: 'POST', body: '{"model":' });
    assert.equal(broken.status, 400);
    const { error } = (await broken.json()) as { error: { code: string } };
    assert.equal(error.code, 'invalid_json');
    const messages: Message[] = [{ role: 'user', content: 'hi' }];
    await assert.rejects(answer(client, messages, { model: 'other' }), {
      status: 404,
      code: 'model_not_found',
    });
    await assert.rejects(answer(client, messages, { n: 2 }), { status: 400, param: 'n' });
    await assert.rejects(answer(client, [{ role: 'assistant', content: 'x' }]), { status: 400 });
    assert.deepEqual(
      (await client.models.list()).data.map(({ id }) => id),
      [MODEL],
    );
  });
});

describe('continuation', { skip }, () => {
  let servers: readonly ModelServer[];
  before(async () => {
    servers = [await open({ sequences: 1 }), await open({ sequences: 1 })];
  });
  after(async () => {
    for (const server of servers) await server.close();
  });

  const samplings = {
    greedy: {},
    'sampled with a seed': { temperature: 1.2, top_p: 0.95, seed: 11 },
    'sampled without a seed': { temperature: 0.9 },
  };
  for (const [name, sampling] of Object.entries(samplings)) {
    it(`another server goes on from any cut to the same text (${name})`, async () => {
      const [first, second] = servers.map(clientOf);
      assert.ok(first !== undefined && second !== undefined);
      let cuts = 0;
      // The greedy walk covers all questions; sampling adds only the seeds.
      for (const content of name === 'greedy' ? QUESTIONS : QUESTIONS.slice(0, 2)) {
        const asked: Message[] = [{ role: 'user', content }];
        const whole = textOf(await answer(first, asked, { max_tokens: 40, ...sampling }));
        // Every cut of UTF-16 units, inside words, tokens and surrogate pairs alike.
        for (let cut = 1; cut < whole.length; cut += whole.length > 60 ? 3 : 1) {
          const begun = whole.slice(0, cut);
          const rest = await answer(second, [...asked, { role: 'assistant', content: begun }], {
            max_tokens: 80,
            ...sampling,
          });
          const joined = begun + textOf(rest);
          assert.equal(joined.slice(0, whole.length), whole, `cut at ${cut} of ${whole}`);
          cuts += 1;
        }
      }
      assert.ok(cuts > 40, `${cuts} cuts`);
    });
  }

  it('text that the model would not have written is continued as it stands', async () => {
    const [client] = servers.map(clientOf);
    assert.ok(client !== undefined);
    const begun = 'Zebra 42! ';
    const messages: Message[] = [
      { role: 'user', content: 'hi' },
      { role: 'assistant', content: begun },
    ];
    const one = await answer(client, messages, { max_tokens: 6 });
    const two = await answer(client, messages, { max_tokens: 6 });
    assert.equal(textOf(one), textOf(two));
    assert.equal(one.usage?.prompt_tokens, two.usage?.prompt_tokens);
  });
});

describe('load and leaving', { skip }, () => {
  it('a client that leaves frees its sequence at once; the next one is served', async () => {
    const server = await open({ sequences: 1, queueDepthMax: 0, pace: 20 });
    const client = clientOf(server);
    const messages: Message[] = [{ role: 'user', content: QUESTIONS[0] ?? '' }];
    const stream = await client.chat.completions.create({ model: MODEL, messages, stream: true });
    for await (const chunk of stream) {
      if (chunk.choices[0]?.delta.content !== undefined) break; // Aborts the request.
    }
    const tookMs = await until(
      async () => (await metric(server, 'banyan_model_sequences_active')) === 0,
    );
    assert.ok(tookMs < 500, `the sequence was free after ${tookMs} ms`);
    const next = await answer(client, messages, { max_tokens: 2 });
    assert.equal(next.usage?.completion_tokens, 2);
    await server.close();
  });

  it('past the queue a request gets 503 with Retry-After; those that wait are served', async () => {
    const server = await open({ sequences: 1, queueDepthMax: 1, pace: 40 });
    const client = clientOf(server);
    const messages: Message[] = [{ role: 'user', content: QUESTIONS[1] ?? '' }];
    const first = answer(client, messages, { max_tokens: 8 });
    await until(async () => (await metric(server, 'banyan_model_sequences_active')) === 1);
    const second = answer(client, messages, { max_tokens: 2 });
    await until(async () => (await metric(server, 'banyan_model_requests_waiting')) === 1);
    await assert.rejects(answer(client, messages), (cause: unknown) => {
      assert.ok(cause instanceof OpenAI.APIError);
      assert.equal(cause.status, 503);
      assert.equal(cause.headers?.get('retry-after'), '1');
      return true;
    });
    assert.equal((await first).usage?.completion_tokens, 8);
    assert.equal((await second).usage?.completion_tokens, 2);
    await server.close();
  });

  it('health says 503 until the model is loaded, and models cannot be asked', async () => {
    const gate = Promise.withResolvers<void>();
    const server = await startModelServer({
      host: '127.0.0.1',
      port: 0,
      model: null,
      queueDepthMax: 1,
      tokensPerSecondMax: null,
      load: async () => {
        await gate.promise;
        const threads = 1;
        return loadLlama({ modelFile: MODEL_FILE, threads, sequences: 1, contextTokens: null });
      },
      nowSeconds: () => 0,
    });
    const url = `http://127.0.0.1:${server.port}/health`;
    assert.equal((await fetch(url)).status, 503);
    gate.resolve();
    await server.loaded;
    assert.equal((await fetch(url)).status, 200);
    await server.close();
  });
});
