/**
 * `kill -9` of a real model server (llama.cpp) at a random moment of an answer: the answer goes on at
 * the other one, and the client's text equals the uninterrupted one, in both dialects, streamed and
 * whole.
 *
 * `npm run kills` is the long form: 100 kills of each kind; `npm run kills -- COUNT SEED` another one.
 * The seed is printed. What came out stands in docs/internals/continuation.md.
 */

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { setTimeout } from 'node:timers/promises';

import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

import { createPrng } from '../../src/base/prng.ts';
import { startNode, TEST_KEY, until, type TestNode } from '../support/node.ts';

const MODEL_FILE = join(import.meta.dirname, '../../models/banyan-support.gguf');
const skip = existsSync(MODEL_FILE) ? false : `no model file ${MODEL_FILE}`;
const [KILLS, SEED] = [Number(process.argv[2] ?? 4), Number(process.argv[3] ?? Date.now() % 1e6)];
/** A model server that dies again and again is started ever later: the long form takes turns. */
const SERVERS = KILLS > 10 ? 6 : 4;
const LIMIT_MS = 120_000 + KILLS * 60_000;
const QUESTIONS = [
  'How do I return an item?',
  '怎么申请退货？',
  'How long does delivery take?',
  '发票怎么开',
];

interface Row {
  readonly target: string;
  readonly pid: number;
  readonly inFlight: number;
  readonly process: string;
}

/** Streams an answer and calls `onPiece` with the number of each piece and the target's name. */
type Ask = (
  node: TestNode,
  question: string,
  onPiece: (count: number, target: string) => void,
) => Promise<string>;

const askOpenai: Ask = async (node, question, onPiece) => {
  const client = new OpenAI({ apiKey: TEST_KEY, baseURL: `${node.apiUrl}/v1`, maxRetries: 0 });
  const { data, response } = await client.chat.completions
    .create({ model: 'm', stream: true, messages: [{ role: 'user', content: question }] })
    .withResponse();
  let text = '';
  let count = 0;
  let finish: string | null = null;
  const ids = new Set<string>();
  for await (const chunk of data) {
    ids.add(chunk.id);
    finish = chunk.choices[0]?.finish_reason ?? finish;
    const piece = chunk.choices[0]?.delta.content ?? '';
    if (piece === '') continue;
    text += piece;
    count += 1;
    onPiece(count, response.headers.get('x-banyan-target') ?? '');
  }
  assert.equal(finish, 'stop');
  assert.equal(ids.size, 1, 'one id from beginning to end');
  return text;
};

const askAnthropic: Ask = async (node, question, onPiece) => {
  const client = new Anthropic({ apiKey: TEST_KEY, baseURL: node.apiUrl, maxRetries: 0 });
  const { data, response } = await client.messages
    .create({
      model: 'm',
      max_tokens: 200,
      stream: true,
      messages: [{ role: 'user', content: question }],
    })
    .withResponse();
  let text = '';
  let count = 0;
  const lifecycle: string[] = [];
  for await (const event of data) {
    if (event.type !== 'content_block_delta') lifecycle.push(event.type);
    else if (event.delta.type === 'text_delta') {
      text += event.delta.text;
      count += 1;
      onPiece(count, response.headers.get('x-banyan-target') ?? '');
    }
  }
  assert.deepEqual(lifecycle, [
    'message_start',
    'content_block_start',
    'content_block_stop',
    'message_delta',
    'message_stop',
  ]);
  return text;
};

async function rows(node: TestNode): Promise<readonly Row[]> {
  const { items } = await node.admin('/admin/v1/targets');
  return items as readonly Row[];
}

/** A whole answer, not streamed. */
type AskWhole = (node: TestNode, question: string) => Promise<string>;

const askWholeOpenai: AskWhole = async (node, question) => {
  const client = new OpenAI({ apiKey: TEST_KEY, baseURL: `${node.apiUrl}/v1`, maxRetries: 0 });
  const messages = [{ role: 'user', content: question } as const];
  const { choices } = await client.chat.completions.create({ model: 'm', messages });
  assert.equal(choices[0]?.finish_reason, 'stop');
  return choices[0].message.content ?? '';
};

const askWholeAnthropic: AskWhole = async (node, question) => {
  const client = new Anthropic({ apiKey: TEST_KEY, baseURL: node.apiUrl, maxRetries: 0 });
  const messages = [{ role: 'user', content: question } as const];
  const { content } = await client.messages.create({ model: 'm', max_tokens: 200, messages });
  return content.map((block) => (block.type === 'text' ? block.text : '')).join('');
};

/** Processes that were killed: on a busy machine a node may hear of it late. */
const dead = new Set<number>();

function kill9(pid: number): void {
  dead.add(pid);
  process.kill(pid, 'SIGKILL');
}

/** Two can be told to serve. One that was killed may still be ejected: then it serves in panic. */
function twoRun(node: TestNode): () => Promise<boolean> {
  return async () => {
    const all = await rows(node);
    return all.filter((row) => row.process === 'running' && !dead.has(row.pid)).length >= 2;
  };
}

describe('an answer whose model server is killed', { skip, timeout: LIMIT_MS }, () => {
  let node: TestNode;
  before(async () => {
    const llama = { kind: 'llama', modelFile: MODEL_FILE, tokensPerSecondMax: 60 };
    const names = Array.from({ length: SERVERS }, (_, index) => `llama-${index}`);
    node = await startNode({
      targets: names.map((name) => ({ name, ...llama })),
      models: [{ name: 'm', targets: names }],
      retryBudgetPercent: 100,
    });
    await until('two model servers', twoRun(node), 60_000);
  });

  for (const [name, ask] of [
    ['OpenAI', askOpenai],
    ['Anthropic', askAnthropic],
  ] as const) {
    it(`has the same text as an uninterrupted one (${name}, ${KILLS} kills, seed ${SEED})`, async () => {
      const prng = createPrng(SEED);
      const whole = new Map<string, { readonly text: string; readonly pieces: number }>();
      for (const question of QUESTIONS) {
        let pieces = 0;
        const text = await ask(node, question, (count) => {
          pieces = count;
        });
        assert.ok(pieces > 5, `${question}: ${text}`);
        whole.set(question, { text, pieces });
      }
      const before = dead.size;
      for (let index = 0; index < KILLS; index += 1) {
        const question = QUESTIONS[index % QUESTIONS.length] ?? '';
        const wanted = whole.get(question);
        assert.ok(wanted !== undefined);
        const at = 1 + prng.nextBelow(wanted.pieces - 1);
        const pids = new Map((await rows(node)).map(({ target, pid }) => [target, pid]));
        const text = await ask(node, question, (count, target) => {
          if (count === at) kill9(pids.get(target) ?? assert.fail(`${target} has a process`));
        });
        assert.equal(dead.size, index + 1 + before, 'a process was killed');
        assert.equal(text, wanted.text, `kill ${index}, after piece ${at} of "${question}"`);
        await until('two model servers again', twoRun(node), 30_000);
      }
    });
  }

  for (const [name, ask] of [
    ['OpenAI', askWholeOpenai],
    ['Anthropic', askWholeAnthropic],
  ] as const) {
    it(`is whole where it is not streamed (${name}, ${KILLS} kills, seed ${SEED})`, async () => {
      const prng = createPrng(SEED);
      const before = dead.size;
      // A kill comes too late where the answer was quicker than our look at who is busy.
      for (let round = 0; dead.size < before + KILLS && round < 4 * KILLS; round += 1) {
        const question = QUESTIONS[round % QUESTIONS.length] ?? '';
        const startedMs = performance.now();
        const wanted = await ask(node, question);
        const delayMs = prng.nextFloat() * (performance.now() - startedMs);
        const asked = ask(node, question);
        await setTimeout(delayMs);
        const busy = (await rows(node)).find(({ inFlight }) => inFlight > 0);
        if (busy !== undefined) kill9(busy.pid);
        assert.equal(await asked, wanted, `kill ${dead.size}, ${delayMs} ms into "${question}"`);
        await until('two model servers again', twoRun(node), 30_000);
      }
      assert.equal(dead.size, before + KILLS, 'enough kills came in time');
    });
  }
});
