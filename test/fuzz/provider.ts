/**
 * What providers and clients say: mutated requests, streams, answers and errors of the golden files.
 * Nothing throws, nothing is invented, and a stream reads the same however it is cut.
 */

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { decodeUtf8, encodeUtf8 } from '../../src/base/bytes.ts';
import type { Prng } from '../../src/base/prng.ts';
import type { Adapter, AdapterTarget, ParsedRequest } from '../../src/protocol/adapter.ts';
import type { Operation } from '../../src/protocol/dialect.ts';
import { parseRequest } from '../../src/protocol/request.ts';
import { adapterOf } from '../../src/providers/registry.ts';
import { chance, cutsOf, mutateText, pick, pieces, type Area } from './area.ts';

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
  const root = dirname(dirname(import.meta.dirname));
  const folder = join(root, 'src/providers/testdata');
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

/** Puts a random value in place of a random member: JSON stays JSON, types do not hold. */
function mutateJson(random: Prng, text: string): string {
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

const STATUSES = [400, 401, 403, 404, 408, 413, 418, 422, 429, 498, 500, 502, 503, 504, 529, 599];

/** Three kinds of inputs, one a turn. */
export function providerArea(): Area {
  const requests = inputsOf((command) => command.startsWith('prepare'));
  const streams = inputsOf((command) => command.startsWith('stream'));
  const answers = inputsOf((command) => /^(?:unary|error)/.test(command));
  return {
    claim: 'requests, streams and answers are read without a throw, streams alike for every cut',
    one: (random) => {
      switch (random.nextBelow(3)) {
        case 0:
          return oneRequest(random, pick(random, requests));
        case 1:
          return oneStream(random, pick(random, streams));
        default:
          return oneAnswer(random, pick(random, answers));
      }
    },
  };
}

function oneRequest(random: Prng, input: string): boolean {
  const text = chance(random, 33) ? mutateText(random, input, TOKENS) : mutateJson(random, input);
  const parsed = parseRequest(pick(random, OPERATIONS), [], encodeUtf8(text));
  if (!parsed.ok) {
    assert.match(parsed.error.code, /^invalid_(?:json|request)$/, text);
    return false;
  }
  const request = parsed.value;
  assert.ok(Number.isSafeInteger(request.prefixHash) && request.promptTokensEstimate >= 0, text);
  const used = adapter(random);
  const refused = used.refusal(request, TARGET);
  const prepared = used.prepare(request, TARGET);
  assert.equal(prepared.ok, refused === null, text);
  if (!prepared.ok) return false;
  const body = JSON.parse(decodeUtf8(prepared.value.body)) as Record<string, unknown>;
  assert.equal(body['model'], 'up', text);
  return true;
}

/** What a reader writes for a stream that comes in `chunks`. */
function readStream(
  used: Adapter,
  request: ParsedRequest,
  chunks: readonly Uint8Array[],
): { readonly text: string; readonly isFailed: boolean; readonly usage: unknown } {
  const reader = used.openStream(request, 'shown');
  let text = '';
  let isFailed = false;
  for (const chunk of chunks) {
    const step = reader.push(chunk);
    text += Buffer.from(step.bytes).toString('latin1');
    isFailed = step.error !== null;
    if (isFailed) break;
  }
  if (!isFailed) {
    const step = reader.end();
    text += Buffer.from(step.bytes).toString('latin1');
    isFailed = step.error !== null;
  }
  return { text, isFailed, usage: reader.usage() };
}

function oneStream(random: Prng, input: string): boolean {
  const text = mutateText(random, input, TOKENS);
  const bytes = encodeUtf8(text);
  const used = adapter(random);
  const request = anyRequest(random);
  const cuts = cutsOf(random, bytes.length);
  const label = `${request.dialect} over ${used.dialect}, cut at ${cuts.join()}: ${text}`;
  const cut = readStream(used, request, pieces(bytes, cuts));
  const whole = readStream(used, request, pieces(bytes, []));
  assert.deepEqual(cut, whole, label);
  const usage = whole.usage as { inputTokens: number; outputTokens: number } | null;
  if (usage !== null) assert.ok(usage.inputTokens >= 0 && usage.outputTokens >= 0, label);
  return !whole.isFailed;
}

function oneAnswer(random: Prng, input: string): boolean {
  const text = chance(random, 50) ? mutateText(random, input, TOKENS) : mutateJson(random, input);
  const body = encodeUtf8(text);
  const used = adapter(random);
  const answer = used.readUnary(anyRequest(random), [], body, 1);
  if (answer.ok) assert.ok(answer.value.body.length > 0, text);
  else assert.ok(answer.error.status >= 400, text);
  const retry = ['retry-after', decodeUtf8(body.subarray(0, 5))];
  const error = used.readError(pick(random, STATUSES), retry, body);
  assert.ok(error.message.length <= 2048, text);
  return answer.ok;
}
