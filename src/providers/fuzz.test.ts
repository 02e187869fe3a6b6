/** Seeded noise: whatever a client or a provider sends, nothing throws and nothing is invented. */

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { decodeUtf8, encodeUtf8 } from '../base/bytes.ts';
import { createPrng, type Prng } from '../base/prng.ts';
import type { Adapter, AdapterTarget, ParsedRequest } from '../protocol/adapter.ts';
import type { Operation } from '../protocol/dialect.ts';
import { parseRequest } from '../protocol/request.ts';
import { adapterOf } from './registry.ts';

/** `FUZZ_ROUNDS` for the long command; the default runs with the other tests. */
const ROUNDS = Number(process.env['FUZZ_ROUNDS'] ?? 20_000);
const SEED = Number(process.env['FUZZ_SEED'] ?? 7);
const KINDS = ['openai', 'anthropic'] as const;
const OPERATIONS = ['chat', 'messages', 'completions', 'embeddings', 'count_tokens'] as const;
const TARGET: AdapterTarget = {
  model: 'up',
  pathPrefix: '/v1',
  apiKey: 'key',
  headers: [],
  query: '',
  options: {},
};

/** Inputs of the golden files: `prepare` for clients, the others for providers. */
function inputsOf(isWanted: (command: string) => boolean): readonly string[] {
  const folder = join(import.meta.dirname, 'testdata');
  const inputs: string[] = [];
  for (const name of readdirSync(folder)) {
    for (const block of readFileSync(join(folder, name), 'utf8').split(/^== /m).slice(1)) {
      const lineEnd = block.indexOf('\n');
      if (!isWanted(block.slice(0, lineEnd))) continue;
      inputs.push(block.slice(lineEnd + 1).split(/^----\n/m)[0] ?? '');
    }
  }
  assert.ok(inputs.length > 5, 'the golden files hold inputs');
  return inputs;
}

const TOKENS: readonly string[] = [
  'null',
  '{}',
  '[]',
  '""',
  '-1',
  '1e9',
  'true',
  '{"type":"text"}',
  '"__proto__":',
  '"type":"error",',
  '"error":{},',
  '"error":"x",',
  '\n',
  '\n\n',
  '\r\n\r\n',
  'data: ',
  'event: error\n',
  '"\\ud800"',
  '\u0000',
  '你',
];

function pick<T>(random: Prng, items: readonly T[]): T {
  const item = items[random.nextBelow(items.length)];
  assert.ok(item !== undefined);
  return item;
}

/** Cuts, doubles, or puts a token in place of a run; at most four times. */
function mutate(text: string, random: Prng): string {
  let out = text;
  for (let count = random.nextBelow(4); count >= 0; count -= 1) {
    const at = random.nextBelow(out.length + 1);
    const until = Math.min(out.length, at + random.nextBelow(12));
    const token = random.nextBelow(3) === 0 ? '' : pick(random, TOKENS);
    out = out.slice(0, at) + token + out.slice(until);
  }
  return out;
}

/** Puts a random value in place of a random member: JSON stays JSON, types do not hold. */
function mutateJson(text: string, random: Prng): string {
  const paths = [...text.matchAll(/:(?=["\d[{tfn])/g)].map((match) => match.index + 1);
  const at = paths.length === 0 ? 0 : pick(random, paths);
  const member = /^(?:"(?:[^"\\]|\\.)*"|[\w.+-]+|\[[^[\]]*\]|\{[^{}]*\})/.exec(text.slice(at))?.[0];
  return (
    text.slice(0, at) + pick(random, TOKENS.slice(0, 8)) + text.slice(at + (member?.length ?? 1))
  );
}

function adapter(random: Prng): Adapter {
  const found = adapterOf(pick(random, KINDS));
  assert.ok(found !== null);
  return found;
}

function anyRequest(random: Prng): ParsedRequest {
  const operation: Operation = random.nextBelow(2) === 0 ? 'chat' : 'messages';
  const n = random.nextBelow(2) === 0 ? '' : ',"n":2';
  const options = '"stream":true,"stream_options":{"include_usage":true}';
  const body = `{"model":"m","messages":[],${options}${n}}`;
  const parsed = parseRequest(operation, [], encodeUtf8(body));
  assert.ok(parsed.ok);
  return parsed.value;
}

test(`${ROUNDS} mutated requests are answered with a call or a refusal (seed ${SEED})`, () => {
  const random = createPrng(SEED);
  const inputs = inputsOf((command) => command.startsWith('prepare'));
  let calls = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    const input = pick(random, inputs);
    const text = random.nextBelow(3) === 0 ? mutate(input, random) : mutateJson(input, random);
    const parsed = parseRequest(pick(random, OPERATIONS), [], encodeUtf8(text));
    if (!parsed.ok) {
      assert.match(parsed.error.code, /^invalid_(?:json|request)$/);
      continue;
    }
    const request = parsed.value;
    assert.ok(Number.isSafeInteger(request.prefixHash) && request.promptTokensEstimate >= 0);
    const used = adapter(random);
    const refused = used.refusal(request, TARGET);
    const prepared = used.prepare(request, TARGET);
    assert.equal(prepared.ok, refused === null, text);
    if (!prepared.ok) continue;
    calls += 1;
    const body = JSON.parse(decodeUtf8(prepared.value.body)) as Record<string, unknown>;
    assert.equal(body['model'], 'up', text);
  }
  assert.ok(calls > ROUNDS / 20, `only ${calls} calls: the mutations are too rough`);
});

test(`${ROUNDS} mutated streams are read to an end without a throw (seed ${SEED})`, () => {
  const random = createPrng(SEED + 1);
  const inputs = inputsOf((command) => command.startsWith('stream'));
  for (let round = 0; round < ROUNDS; round += 1) {
    const bytes = encodeUtf8(mutate(pick(random, inputs), random));
    const reader = adapter(random).openStream(anyRequest(random), 'shown');
    let at = 0;
    let isOver = false;
    while (at < bytes.length && !isOver) {
      const next = at + 1 + random.nextBelow(400);
      const step = reader.push(bytes.slice(at, next));
      isOver = step.error !== null;
      at = next;
    }
    if (!isOver) {
      const step = reader.end();
      assert.ok(step.bytes.length >= 0);
    }
    const usage = reader.usage();
    if (usage !== null) assert.ok(usage.inputTokens >= 0 && usage.outputTokens >= 0);
  }
});

test(`${ROUNDS} mutated answers and errors are read without a throw (seed ${SEED})`, () => {
  const random = createPrng(SEED + 2);
  const inputs = inputsOf((command) => /^(?:unary|error)/.test(command));
  const statuses = [400, 401, 403, 404, 408, 413, 418, 422, 429, 498, 500, 502, 503, 504, 529, 599];
  for (let round = 0; round < ROUNDS; round += 1) {
    const input = pick(random, inputs);
    const body = encodeUtf8(
      random.nextBelow(2) === 0 ? mutate(input, random) : mutateJson(input, random),
    );
    const used = adapter(random);
    const answer = used.readUnary(anyRequest(random), [], body, 1);
    if (answer.ok) assert.ok(answer.value.body.length > 0);
    else assert.ok(answer.error.status >= 400);
    const retry = ['retry-after', decodeUtf8(body.subarray(0, 5))];
    const error = used.readError(pick(random, statuses), retry, body);
    assert.ok(error.message.length <= 2048);
  }
});
