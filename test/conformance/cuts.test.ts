/**
 * A target that dies at every byte of its answer, in a simulated world: whatever the client speaks,
 * whatever the target speaks, whatever the answer is made of, streamed or whole, the client gets it
 * whole, in one envelope, and no tool call twice.
 */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import type { UpstreamCall, UpstreamHandler } from '../../src/base/ports.ts';
import { configOf, decode, encode, open, send, target } from '../../src/replica/testkit.ts';
import {
  REASONING,
  STRUCTURED_JSON,
  streamEvents,
  TOOL_JSON,
  unaryBody,
  type SeenRequest,
} from '../support/fakeAnswers.ts';
import { DEFAULT_WORDS } from '../support/fakeUpstream.ts';

type Dialect = 'openai' | 'anthropic';
type Loose = Readonly<Record<string, unknown>>;

const DIALECTS = ['openai', 'anthropic'] as const;
const KINDS = ['text', 'parallel tools', 'reasoning', 'structured output'] as const;
type Kind = (typeof KINDS)[number];

const SCHEMA = { type: 'object', properties: {} };
const TOOLS = ['weather', 'clock', 'map'];

/** The body of the question for an answer of `kind`. */
function bodyOf(client: Dialect, kind: Kind, isStream: boolean): Loose {
  const question = kind === 'reasoning' ? 'think about it' : 'Hello?';
  const isOpenai = client === 'openai';
  const tools = TOOLS.map((name) =>
    isOpenai
      ? { type: 'function', function: { name, parameters: SCHEMA } }
      : { name, input_schema: SCHEMA },
  );
  const form = { type: 'json_schema', schema: SCHEMA };
  const structured = isOpenai
    ? { response_format: { type: 'json_schema', json_schema: { name: 'n', schema: SCHEMA } } }
    : { output_config: { format: form } };
  return {
    model: 'm',
    messages: [{ role: 'user', content: question }],
    ...(isOpenai ? {} : { max_tokens: 500 }),
    ...(isOpenai && isStream ? { stream_options: { include_usage: true } } : {}),
    ...(isStream ? { stream: true } : {}),
    ...(kind === 'parallel tools' ? { tools } : {}),
    ...(kind === 'structured output' ? structured : {}),
  };
}

/** The answer of the fake model server to a call. */
function answerTo(call: UpstreamCall, isStream: boolean): Uint8Array {
  const request: SeenRequest = {
    method: call.method,
    path: call.path,
    headers: new Map(),
    body: decode(call.body),
  };
  const text = isStream
    ? streamEvents(request, DEFAULT_WORDS, 'm').join('')
    : unaryBody(request, DEFAULT_WORDS, 'm');
  return encode(text);
}

/** What the client made of the answer. */
interface Seen {
  text: string;
  reasoning: string;
  readonly calls: { id: string; name: string; json: string }[];
  /** Ids, starts, ends, counts: what must be one. */
  readonly ids: Set<string>;
  starts: number;
  finishes: string[];
  usages: number;
  /** Blocks of Anthropic's dialect in the order of their starts and stops. */
  blocks: string[];
  isDone: boolean;
}

function nothing(): Seen {
  return {
    text: '',
    reasoning: '',
    calls: [],
    ids: new Set(),
    starts: 0,
    finishes: [],
    usages: 0,
    blocks: [],
    isDone: false,
  };
}

interface Delta {
  readonly role?: string;
  readonly content?: string | null;
  readonly reasoning_content?: string;
  readonly tool_calls?: readonly {
    readonly index: number;
    readonly id?: string;
    readonly function: { readonly name?: string; readonly arguments?: string };
  }[];
}

interface Chunk {
  readonly id: string;
  readonly created: number;
  readonly choices: readonly { readonly delta: Delta; readonly finish_reason: string | null }[];
  readonly usage?: object | null;
}

function readOpenai(body: string): Seen {
  const seen = nothing();
  for (const event of body.split('\n\n')) {
    if (event === '' || event.startsWith(':')) continue;
    const data = event.replace(/^data: /u, '');
    assert.ok(!seen.isDone, 'nothing after the end');
    if (data === '[DONE]') {
      seen.isDone = true;
      continue;
    }
    const chunk = JSON.parse(data) as Chunk;
    seen.ids.add(`${chunk.id} ${chunk.created}`);
    if (chunk.usage !== undefined && chunk.usage !== null) seen.usages += 1;
    for (const { delta, finish_reason: reason } of chunk.choices) {
      if (delta.role !== undefined) seen.starts += 1;
      if (reason !== null) seen.finishes.push(reason);
      seen.text += delta.content ?? '';
      seen.reasoning += delta.reasoning_content ?? '';
      for (const { index, id, function: call } of delta.tool_calls ?? []) {
        if (id !== undefined) {
          assert.equal(index, seen.calls.length, 'calls are numbered in their order');
          seen.calls.push({ id, name: call.name ?? '', json: '' });
        }
        const own = seen.calls[index];
        assert.ok(own !== undefined, 'arguments belong to a call that has begun');
        own.json += call.arguments ?? '';
      }
    }
  }
  return seen;
}

interface AnthropicEvent {
  readonly type: string;
  readonly index: number;
  readonly message?: { readonly id: string };
  readonly content_block?: { readonly type: string; readonly id?: string; readonly name?: string };
  readonly delta?: Readonly<Record<string, string>>;
  readonly usage?: object;
}

function readAnthropic(body: string): Seen {
  const seen = nothing();
  let isOpen = false;
  for (const text of body.split('\n\n')) {
    const line = text.split('\n').find((one) => one.startsWith('data: '));
    if (line === undefined) continue;
    assert.ok(!seen.isDone, 'nothing after the end');
    const event = JSON.parse(line.slice(6)) as AnthropicEvent;
    const { type, index, delta } = event;
    if (type === 'message_start') {
      seen.starts += 1;
      seen.ids.add(event.message?.id ?? '');
    } else if (type === 'content_block_start') {
      assert.ok(!isOpen, 'one block at a time');
      isOpen = true;
      const block = event.content_block;
      assert.equal(index, seen.blocks.length, 'blocks are numbered in their order');
      seen.blocks.push(block?.type ?? '');
      if (block?.type !== 'tool_use') continue;
      seen.calls.push({ id: block.id ?? '', name: block.name ?? '', json: '' });
    } else if (type === 'content_block_delta') {
      assert.ok(isOpen && index === seen.blocks.length - 1, 'a delta is of the open block');
      seen.text += delta?.['text'] ?? '';
      seen.reasoning += delta?.['thinking'] ?? '';
      const call = seen.calls.at(-1);
      if (call !== undefined) call.json += delta?.['partial_json'] ?? '';
    } else if (type === 'content_block_stop') {
      assert.ok(isOpen, 'a block that ends was open');
      isOpen = false;
    } else if (type === 'message_delta') {
      assert.ok(!isOpen, 'all blocks have ended');
      seen.finishes.push(delta?.['stop_reason'] ?? '');
      if (event.usage !== undefined) seen.usages += 1;
    } else if (type === 'message_stop') seen.isDone = true;
  }
  return seen;
}

/** Asks once; the first target dies after `cut` bytes of its answer, all others are well. */
function askCut(
  client: Dialect,
  provider: Dialect,
  kind: Kind,
  isStream: boolean,
  cut: number,
): { readonly body: string; readonly state: string; readonly calls: number } {
  const world = open(
    configOf({ targets: [target('a', provider), target('b', provider)], retryBudgetPercent: 100 }),
  );
  const serve = (call: UpstreamCall, handler: UpstreamHandler): void => {
    const isFirst = world.servers.calls.length === 1;
    const whole = answerTo(call, isStream);
    const type = isStream ? 'text/event-stream' : 'application/json';
    handler.onHead(200, ['content-type', type]);
    handler.onBody(isFirst ? whole.subarray(0, cut) : whole);
    if (isFirst) handler.onFailure({ kind: 'reset', bytesSent: 9, detail: 'killed' });
    else handler.onEnd();
  };
  for (const origin of ['http://a', 'http://b']) world.servers.scripts.set(origin, serve);
  const path = client === 'openai' ? '/v1/chat/completions' : '/v1/messages';
  const reply = send(world, { path, body: bodyOf(client, kind, isStream) });
  world.time.advance(1_000);
  return { body: reply.body, state: reply.state, calls: world.servers.calls.length };
}

/** Bytes of the whole answer that the target would have sent. */
function lengthOf(client: Dialect, provider: Dialect, kind: Kind, isStream: boolean): number {
  const world = open(configOf({ targets: [target('a', provider), target('b', provider)] }));
  let length = 0;
  for (const origin of ['http://a', 'http://b']) {
    world.servers.scripts.set(origin, (call) => {
      length = answerTo(call, isStream).length;
    });
  }
  const path = client === 'openai' ? '/v1/chat/completions' : '/v1/messages';
  send(world, { path, body: bodyOf(client, kind, isStream) });
  world.time.advance(10);
  return length;
}

const TEXT_OF: Readonly<Record<Kind, string>> = {
  text: DEFAULT_WORDS.join(''),
  'parallel tools': '',
  reasoning: DEFAULT_WORDS.join(''),
  'structured output': STRUCTURED_JSON,
};

function checkStream(client: Dialect, kind: Kind, body: string, about: string): void {
  const seen = client === 'openai' ? readOpenai(body) : readAnthropic(body);
  const isTools = kind === 'parallel tools';
  assert.equal(seen.text, TEXT_OF[kind], about);
  assert.deepEqual(
    seen.calls.map(({ name, json }) => [name, json]),
    isTools ? TOOLS.map((name) => [name, TOOL_JSON]) : [],
    about,
  );
  assert.equal(new Set(seen.calls.map(({ id }) => id)).size, seen.calls.length, about);
  // What the client has of the thinking stays; the rest of it is not thought again for show.
  const thought = REASONING.join('');
  assert.ok((kind === 'reasoning' ? thought : '').startsWith(seen.reasoning), about);
  assert.equal(seen.ids.size, 1, `one id, ${about}`);
  assert.equal(seen.starts, 1, `one start, ${about}`);
  assert.equal(seen.usages, 1, `one count, ${about}`);
  const ends = client === 'openai' ? ['stop', 'tool_calls'] : ['end_turn', 'tool_use'];
  assert.deepEqual(seen.finishes, [ends[isTools ? 1 : 0]], about);
  assert.ok(seen.isDone, about);
}

describe('a target that dies at any byte', () => {
  for (const client of DIALECTS) {
    for (const provider of DIALECTS) {
      for (const kind of KINDS) {
        test(`${client} client, ${provider} target: ${kind}, streamed`, () => {
          const length = lengthOf(client, provider, kind, true);
          assert.ok(length > 900, `${length} bytes`);
          for (let cut = 0; cut < length; cut += 1) {
            const { body, state, calls } = askCut(client, provider, kind, true, cut);
            const about = `cut at ${cut} of ${length}: ${body}`;
            assert.equal(state, 'ended', about);
            assert.ok(calls <= 3, about);
            checkStream(client, kind, body, about);
          }
        });

        test(`${client} client, ${provider} target: ${kind}, whole`, () => {
          const length = lengthOf(client, provider, kind, false);
          const proper = askCut(client, provider, kind, false, 0);
          for (let cut = 0; cut < length; cut += 1) {
            const { body, state, calls } = askCut(client, provider, kind, false, cut);
            assert.equal(state, 'ended', `cut at ${cut}`);
            assert.equal(calls, 2, `cut at ${cut}`);
            assert.equal(told(body), told(proper.body), `cut at ${cut}`);
          }
          assert.match(proper.body, kind === 'parallel tools' ? /"map"/u : /"(?:text|content)"/u);
        });
      }
    }
  }
});

/** The answer without what differs from one run to the next where ids are made here. */
function told(body: string): string {
  const { created: _, ...rest } = JSON.parse(body) as Loose;
  return JSON.stringify(rest);
}
