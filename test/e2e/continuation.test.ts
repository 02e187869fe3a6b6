/**
 * `kill -9` of a real model server (llama.cpp) at a random token of an answer: the answer goes on at
 * the other one, and the client's text equals the uninterrupted one, in both dialects.
 *
 * `BANYAN_KILLS=100 node --test test/e2e/continuation.test.ts` runs the long form; a seed is printed
 * and taken from `BANYAN_SEED`.
 */

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

import { createPrng } from '../../src/base/prng.ts';
import { startNode, TEST_KEY, until, type TestNode } from '../support/node.ts';

const MODEL_FILE = join(import.meta.dirname, '../../models/banyan-support.gguf');
const skip = existsSync(MODEL_FILE) ? false : `no model file ${MODEL_FILE}`;
const KILLS = Number(process.env['BANYAN_KILLS'] ?? 4);
const SEED = Number(process.env['BANYAN_SEED'] ?? Date.now() % 1_000_000);
const QUESTIONS = [
  'How do I return an item?',
  '怎么申请退货？',
  'How long does delivery take?',
  '发票怎么开',
];

interface Row {
  readonly target: string;
  readonly pid: number;
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

/** Both processes run; the one that was killed may still be ejected: then it serves in panic. */
function bothRun(node: TestNode): () => Promise<boolean> {
  return async () => {
    const all = await rows(node);
    return all.length === 2 && all.every((row) => row.process === 'running');
  };
}

describe('an answer whose model server is killed', { skip, timeout: 600_000 }, () => {
  let node: TestNode;
  before(async () => {
    const llama = { kind: 'llama', modelFile: MODEL_FILE, tokensPerSecondMax: 200 };
    node = await startNode({
      targets: [
        { name: 'llama-a', ...llama },
        { name: 'llama-b', ...llama },
      ],
      models: [{ name: 'm', targets: ['llama-a', 'llama-b'] }],
      retryBudgetPercent: 100,
    });
    await until('both model servers', bothRun(node), 60_000);
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
      for (let index = 0; index < KILLS; index += 1) {
        const question = QUESTIONS[index % QUESTIONS.length] ?? '';
        const wanted = whole.get(question);
        assert.ok(wanted !== undefined);
        const at = 1 + prng.nextBelow(wanted.pieces - 1);
        const pids = new Map((await rows(node)).map(({ target, pid }) => [target, pid]));
        const text = await ask(node, question, (count, target) => {
          if (count === at) process.kill(pids.get(target) ?? 0, 'SIGKILL');
        });
        assert.equal(text, wanted.text, `kill ${index}, after piece ${at} of "${question}"`);
        await until('both model servers again', bothRun(node), 30_000);
      }
    });
  }
});
