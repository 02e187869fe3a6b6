import assert from 'node:assert/strict';
import { test } from 'node:test';

import { headerValue } from '../base/headers.ts';
import type { UpstreamCall } from '../base/ports.ts';
import { createPrng } from '../base/prng.ts';
import { VirtualTime } from '../base/virtualTime.ts';
import type { ExchangeRecord } from './observer.ts';
import { noRegion, type RegionView } from './regionView.ts';
import {
  ANSWER,
  CHAT,
  Client,
  SSE,
  TOKENS,
  answerEvents,
  chatText,
  configOf,
  decode,
  dieAfter,
  encode,
  isBalanced,
  model,
  open,
  refuse,
  send,
  serve,
  target,
  type Script,
} from './testkit.ts';

test('a stream is served, and told which region and target served it', () => {
  const world = open();
  const client = send(world);
  world.time.advance(10);
  assert.equal(client.state, 'ended');
  assert.equal(chatText(client.body).text, ANSWER);
  assert.equal(client.header('x-banyan-region'), 'here-1');
  assert.match(client.header('x-banyan-target') ?? '', /^[ab]$/);
  assert.equal(client.header('x-banyan-attempts'), '1');
  assert.match(client.header('x-request-id') ?? '', /^req_/);
  assert.match(client.header('x-banyan-overhead-ms') ?? '', /^\d+\.\d\d$/);
  assert.equal(world.records[0]?.usage?.outputTokens, TOKENS.length);
  assert.ok(isBalanced(world));
});

test('an answer goes on in one envelope whatever byte its target dies at', () => {
  const whole = encode(
    answerEvents({ body: encode(JSON.stringify(CHAT)) } as UpstreamCall).join(''),
  ).length;
  for (let cut = 0; cut <= whole; cut += 1) {
    const world = open(configOf({ retryBudgetPercent: 100 }));
    // Whichever is asked first dies; the other is healthy.
    let isFirst = true;
    const script: Script = (call, handler) => {
      const chosen = isFirst ? dieAfter(cut) : serve;
      isFirst = false;
      chosen(call, handler);
    };
    for (const origin of ['http://a', 'http://b']) world.servers.scripts.set(origin, script);
    const client = send(world);
    world.time.advance(100);
    const seen = chatText(client.body);
    assert.equal(client.state, 'ended', `cut at ${cut}: ${client.body}`);
    assert.equal(seen.text, ANSWER, `cut at ${cut}`);
    assert.deepEqual([...seen.ids], ['chatcmpl-1']);
    assert.equal(seen.roles, 1, `one role, cut at ${cut}`);
    assert.equal(seen.done, 1);
    assert.equal(world.records.length, 1);
    assert.ok(isBalanced(world));
  }
});

test('an answer in Anthropic dialect goes on with one lifecycle whatever byte is the last', () => {
  const body = { ...CHAT, max_tokens: 500 };
  for (let cut = 0; cut < 4_000; cut += 7) {
    const world = open(configOf({ retryBudgetPercent: 100 }));
    let isFirst = true;
    const script: Script = (call, handler) => {
      const chosen = isFirst ? dieAfter(cut) : serve;
      isFirst = false;
      chosen(call, handler);
    };
    for (const origin of ['http://a', 'http://b']) world.servers.scripts.set(origin, script);
    const client = send(world, { path: '/v1/messages', body });
    world.time.advance(100);
    const types: string[] = [];
    let text = '';
    for (const event of client.body.split('\n\n')) {
      const data = event.split('\n').find((line) => line.startsWith('data: '));
      if (data === undefined) continue;
      const json = JSON.parse(data.slice(6)) as { type: string; delta?: { text?: string } };
      if (json.type === 'content_block_delta') text += json.delta?.text ?? '';
      else types.push(json.type);
    }
    assert.equal(client.state, 'ended', `cut at ${cut}: ${client.body}`);
    assert.equal(text, ANSWER, `cut at ${cut}`);
    assert.deepEqual(types, [
      'message_start',
      'content_block_start',
      'content_block_stop',
      'message_delta',
      'message_stop',
    ]);
  }
});

test('a limit of tokens holds across the seam', () => {
  const world = open(configOf({ retryBudgetPercent: 100 }));
  let isFirst = true;
  const script: Script = (call, handler) => {
    const chosen = isFirst ? dieAfter(900) : serve;
    isFirst = false;
    chosen(call, handler);
  };
  for (const origin of ['http://a', 'http://b']) world.servers.scripts.set(origin, script);
  const client = send(world, { body: { ...CHAT, max_tokens: 12 } });
  world.time.advance(100);
  assert.equal(client.state, 'ended');
  assert.equal(chatText(client.body).text, TOKENS.slice(0, 12).join(''));
  assert.match(client.body, /"finish_reason":"length"/);
});

test('with continuation off a cut answer ends with an error and an aborted connection', () => {
  const world = open();
  for (const origin of ['http://a', 'http://b']) world.servers.scripts.set(origin, dieAfter(900));
  const client = send(world, { headers: ['x-banyan-continue', 'off'] });
  world.time.advance(100);
  assert.equal(client.state, 'aborted');
  assert.match(client.body, /data: \{"error":\{/);
  assert.doesNotMatch(client.body, /\[DONE\]/);
  assert.equal(world.records[0]?.end, 'failed');
});

test('a half-streamed tool call is never seen, and a repeated one is seen once', () => {
  const base = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 5, model: 'm' };
  const chunk = (delta: unknown, reason: string | null = null): string =>
    `data: ${JSON.stringify({ ...base, choices: [{ index: 0, delta, finish_reason: reason }] })}\n\n`;
  const call = (part: unknown): string =>
    chunk({ tool_calls: [{ index: 0, ...(part as object) }] });
  const events = [
    chunk({ role: 'assistant', content: '' }),
    chunk({ content: 'Let me look.' }),
    call({ id: 'call_1', type: 'function', function: { name: 'track', arguments: '' } }),
    call({ function: { arguments: '{"order":' } }),
    call({ function: { arguments: '"42"}' } }),
    chunk({}, 'tool_calls'),
    'data: [DONE]\n\n',
  ];
  const whole = events.join('');
  for (let cut = 0; cut < whole.length; cut += 1) {
    const world = open(configOf({ retryBudgetPercent: 100 }));
    let isFirst = true;
    const script: Script = (request, handler) => {
      const body = JSON.parse(decode(request.body)) as { messages: { role: string }[] };
      const isRest = body.messages.at(-1)?.role === 'assistant';
      const mine = isRest ? [events[0], ...events.slice(2)].join('') : whole;
      handler.onHead(200, SSE);
      handler.onBody(encode(isFirst ? mine.slice(0, cut) : mine));
      if (isFirst) handler.onFailure({ kind: 'reset', bytesSent: 9, detail: '' });
      else handler.onEnd();
      isFirst = false;
    };
    for (const origin of ['http://a', 'http://b']) world.servers.scripts.set(origin, script);
    const client = send(world, { body: { ...CHAT, tools: [] } });
    world.time.advance(100);
    assert.equal(client.state, 'ended', `cut at ${cut}`);
    assert.equal(chatText(client.body).text, 'Let me look.', `cut at ${cut}`);
    assert.equal(client.body.split('call_1').length, 2, `one call, cut at ${cut}: ${client.body}`);
    const args = [...client.body.matchAll(/"arguments":"((?:[^"\\]|\\.)*)"/g)].map((one) => one[1]);
    assert.equal(args.join(''), String.raw`{\"order\":\"42\"}`, `cut at ${cut}`);
  }
});

test('keys: none, unknown, not for this model, and known', () => {
  const world = open();
  const statuses = [
    send(world, { key: null }).status,
    send(world, { key: 'nope' }).status,
    send(world, { key: 'small-key', body: { ...CHAT, model: 'other' } }).status,
  ];
  assert.deepEqual(statuses, [401, 401, 403]);
  const client = send(world, { key: 'small-key' });
  world.time.advance(10);
  assert.equal(client.status, 200);
  assert.ok(isBalanced(world));
});

test('a rate limit is told in x-ratelimit fields and 429 with Retry-After', () => {
  const world = open();
  const clients = [1, 2, 3].map(() => send(world, { key: 'small-key' }));
  world.time.advance(10);
  assert.deepEqual(
    clients.map((client) => client.status),
    [200, 200, 429],
  );
  assert.equal(clients[0]?.header('x-ratelimit-limit-requests'), '2');
  assert.ok(Number(clients[2]?.header('retry-after')) >= 1);
  assert.match(clients[2]?.body ?? '', /"code":"rate_limited"/);
});

test('unknown paths, methods and models are answered in the dialect of the path', () => {
  const world = open();
  const missing = send(world, { path: '/nope' });
  assert.equal(missing.status, 404);
  assert.match(missing.body, /^\{"error":\{/);
  const method = send(world, { path: '/v1/messages', method: 'GET' });
  assert.equal(method.status, 405);
  assert.equal(method.header('allow'), 'POST');
  assert.match(method.body, /^\{"type":"error"/);
  const unknown = send(world, { path: '/anthropic/v1/messages', body: { ...CHAT, model: 'x' } });
  assert.equal(unknown.status, 404);
  assert.match(unknown.body, /^\{"type":"error"/);
});

test('the models of a key are listed in both dialects', () => {
  const world = open(configOf({ models: [model('m', ['a']), model('n', ['b'])] }));
  const list = send(world, { path: '/v1/models', method: 'GET', key: 'small-key' });
  assert.deepEqual(JSON.parse(list.body), {
    object: 'list',
    data: [{ id: 'm', object: 'model', created: 1_700_000_000, owned_by: 'banyan' }],
  });
  const headers = ['anthropic-version', '2023-06-01'];
  const one = send(world, { path: '/v1/models/n', method: 'GET', headers });
  assert.deepEqual(JSON.parse(one.body), {
    type: 'model',
    id: 'n',
    display_name: 'n',
    created_at: '2023-11-14T22:13:20Z',
  });
});

test('fallbacks of the request and of the configuration are tried in order', () => {
  const config = configOf({
    targets: [target('a'), target('b'), target('c')],
    models: [model('m', ['a'], ['last']), model('n', ['b']), model('last', ['c'])],
  });
  const world = open(config);
  world.servers.scripts.set('http://a', refuse);
  const client = send(world, { body: { ...CHAT, fallbacks: ['n'] } });
  world.time.advance(10);
  assert.equal(client.header('x-banyan-target'), 'b');
  world.servers.scripts.set('http://b', refuse);
  const second = send(world, { body: { ...CHAT, fallbacks: ['n'] } });
  world.time.advance(10);
  assert.equal(second.header('x-banyan-target'), 'c');
  assert.ok(!decode(world.servers.calls.at(-1)?.body ?? new Uint8Array()).includes('fallbacks'));
});

function oneRegion(name: string): RegionView {
  return {
    choose: (query) =>
      query.excluded.has(name)
        ? noRegion('tried')
        : { region: name, why: 'near', isLastResort: false },
    knows: () => true,
    candidates: () => [],
    started: () => {},
    finished: () => {},
  };
}

test('a model that only a lost region runs is unavailable, not unknown', () => {
  const lost = { ...oneRegion('there-1'), choose: () => noRegion('down') };
  const world = open(configOf(), { ...lost, knows: (model) => model === 'far' });
  const unavailable = send(world, { body: { ...CHAT, model: 'far' } });
  assert.equal(unavailable.status, 503);
  assert.notEqual(unavailable.header('retry-after'), null);
  assert.equal(send(world, { body: { ...CHAT, model: 'nowhere' } }).status, 404);
  assert.ok(isBalanced(world));
});

test('without a target here the request goes to another region, once, and its names are shown', () => {
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
  const world = open(configOf(), oneRegion('there-1'));
  for (const origin of ['http://a', 'http://b']) world.servers.scripts.set(origin, refuse);
  world.servers.scripts.set('region:there-1', (call, handler) => {
    assert.equal(headerValue(call.headers, 'x-banyan-key-name'), 'demo');
    assert.equal(headerValue(call.headers, 'x-banyan-model'), 'm');
    assert.equal(headerValue(call.headers, 'traceparent'), traceparent);
    handler.onHead(200, [...SSE, 'x-banyan-region', 'there-1', 'x-banyan-target', 'z']);
    for (const event of answerEvents(call)) handler.onBody(encode(event));
    handler.onEnd();
  });
  const client = send(world, { headers: ['traceparent', traceparent] });
  world.time.advance(10);
  assert.equal(chatText(client.body).text, ANSWER);
  assert.equal(client.header('x-banyan-region'), 'there-1');
  assert.equal(client.header('x-banyan-target'), 'z');
  assert.equal(client.header('x-banyan-forwarded-by'), 'here-1');
});

test('a forwarded request is not forwarded again (G3)', () => {
  const world = open(configOf(), oneRegion('there-1'));
  for (const origin of ['http://a', 'http://b']) world.servers.scripts.set(origin, refuse);
  const client = send(world, { forwardedFrom: 'there-1', key: null });
  world.time.advance(60_000);
  assert.equal(client.status, 503);
  assert.ok(world.servers.calls.every((call) => !call.origin.startsWith('region:')));
});

test('a client of another region that was sent by no peer cannot pose as one', () => {
  const world = open();
  const headers = ['x-banyan-key-name', 'demo', 'x-banyan-model', 'm'];
  assert.equal(send(world, { key: null, headers }).status, 401);
});

test('draining: readiness flips, new requests get 503 with Retry-After, old ones go on', () => {
  const world = open();
  const old = send(world);
  world.gateway.drain();
  const fresh = send(world);
  assert.equal(fresh.status, 503);
  assert.equal(fresh.header('retry-after'), '1');
  assert.equal(send(world, { path: '/readyz', method: 'GET' }).status, 503);
  assert.equal(send(world, { path: '/livez', method: 'GET' }).status, 200);
  world.time.advance(10);
  assert.equal(old.state, 'ended');
});

test('past the limit of exchanges requests are shed', () => {
  const world = open(configOf({ exchangesMax: 1 }));
  send(world);
  const second = send(world);
  assert.equal(second.status, 503);
  assert.match(second.body, /"code":"overloaded"/);
});

test('a new configuration serves new requests, an old exchange keeps its own (G2)', () => {
  const world = open();
  const old = send(world);
  world.gateway.reconfigure(configOf({ targets: [target('c')], models: [model('new', ['c'])] }));
  world.servers.scripts.set('http://c', serve);
  assert.equal(send(world).status, 404);
  const fresh = send(world, { body: { ...CHAT, model: 'new' } });
  world.time.advance(10);
  assert.equal(fresh.header('x-banyan-target'), 'c');
  assert.equal(old.state, 'ended');
});

test('count_tokens is estimated, and said to be, where no target counts', () => {
  const world = open();
  const body = { model: 'm', messages: [{ role: 'user', content: 'How long is this?' }] };
  const client = send(world, { path: '/v1/messages/count_tokens', body });
  assert.equal(client.status, 200);
  assert.equal(client.header('x-banyan-token-count'), 'estimate');
  assert.ok((JSON.parse(client.body) as { input_tokens: number }).input_tokens > 0);
  assert.ok(isBalanced(world));
});

test('a client that leaves is counted, and its attempt is cancelled', () => {
  const world = open();
  for (const origin of ['http://a', 'http://b']) world.servers.scripts.set(origin, () => {});
  const client = send(world);
  world.time.advance(5);
  client.events?.onGone();
  assert.equal(world.servers.cancelled, 1);
  assert.equal(world.gateway.counts.clientGone, 1);
  assert.ok(isBalanced(world));
});

test('a forwarded request earns its share of a retry like any other', () => {
  const world = open(configOf({ retryBudgetPercent: 100 }));
  let calls = 0;
  const script: Script = (call, handler) => {
    calls += 1;
    if (calls % 2 === 0) serve(call, handler);
    else handler.onFailure({ kind: 'reset', bytesSent: 9, detail: '' });
  };
  for (const origin of ['http://a', 'http://b']) world.servers.scripts.set(origin, script);
  // More than the floor of 100 in ten seconds.
  for (let count = 0; count < 150; count += 1) {
    const client = send(world, { forwardedFrom: 'there-1', key: null });
    world.time.advance(20);
    assert.equal(client.state, 'ended', `request ${count}: ${client.body}`);
    assert.equal(client.status, 200, `request ${count}: ${client.body}`);
  }
});

test('while every target rests after its 429, clients are told 429 with the time to wait', () => {
  const world = open();
  const limited: Script = (_call, handler) => {
    handler.onHead(429, ['retry-after', '7']);
    handler.onEnd();
  };
  for (const origin of ['http://a', 'http://b']) world.servers.scripts.set(origin, limited);
  const first = send(world);
  world.time.advance(10);
  assert.equal(first.status, 429);
  const second = send(world);
  world.time.advance(10);
  assert.equal(second.status, 429);
  assert.equal(second.header('retry-after'), '7');
  assert.match(second.body, /"code":"upstream_rate_limited"/);
  assert.equal(world.servers.calls.length, 2, 'nobody was asked again');
});

const CHUNK = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 5, model: 'm' };

/** One chunk of a chat as `JSON.stringify` writes it. */
function chunkOf(delta: unknown, reason: string | null = null): string {
  const choices = [{ index: 0, delta, finish_reason: reason }];
  return `data: ${JSON.stringify({ ...CHUNK, choices })}\n\n`;
}

/** The first call gets `first` bytes of `whole` and dies; every later one gets all. */
function cutOnce(whole: string, first: number): Script {
  let isFirst = true;
  return (_call, handler) => {
    handler.onHead(200, SSE);
    handler.onBody(encode(isFirst ? whole.slice(0, first) : whole));
    if (isFirst) handler.onFailure({ kind: 'reset', bytesSent: 9, detail: '' });
    else handler.onEnd();
    isFirst = false;
  };
}

test('an answer that begins with a tool call is given anew when it is cut, however it is spaced', () => {
  const tool = { index: 0, id: 'call_1', type: 'function' };
  const named = { ...tool, function: { name: 'track', arguments: '' } };
  const args = { index: 0, function: { arguments: '{"order":"42"}' } };
  const tight = [
    chunkOf({ role: 'assistant', content: null, tool_calls: [named] }),
    chunkOf({ tool_calls: [args] }),
    chunkOf({}, 'tool_calls'),
    'data: [DONE]\n\n',
  ].join('');
  for (const whole of [tight, tight.replaceAll('":', '": ').replaceAll(',"', ', "')]) {
    for (let cut = 0; cut < whole.length; cut += 1) {
      const world = open(configOf({ retryBudgetPercent: 100 }));
      const script = cutOnce(whole, cut);
      for (const origin of ['http://a', 'http://b']) world.servers.scripts.set(origin, script);
      const client = send(world, { body: { ...CHAT, tools: [] } });
      world.time.advance(100);
      assert.equal(client.state, 'ended', `cut at ${cut}: ${client.body}`);
      assert.equal(client.body, whole, `cut at ${cut}`);
      assert.ok(isBalanced(world));
    }
  }
});

test('an empty list of tool calls in every event holds no text back', () => {
  const world = open();
  const delta = { content: 'Hello', tool_calls: [] };
  world.servers.scripts.set('http://a', (_call, handler) => {
    handler.onHead(200, SSE);
    handler.onBody(encode(chunkOf({ role: 'assistant', content: '', tool_calls: [] })));
    handler.onBody(encode(chunkOf(delta)));
  });
  world.servers.scripts.set('http://b', world.servers.scripts.get('http://a') ?? refuse);
  const client = send(world);
  world.time.advance(10);
  assert.match(client.soFar, /Hello/);
});

test('tokens of every attempt are counted once, whether the answer fails, is left or is broken off', () => {
  const tokensOf = (ends: 'failed' | 'gone' | 'stopped'): ExchangeRecord['usage'] => {
    const world = open(configOf({ retryBudgetPercent: 100 }));
    let calls = 0;
    const script: Script = (_call, handler) => {
      calls += 1;
      if (ends !== 'failed' && calls > 1) return; // The second attempt never answers.
      handler.onHead(200, SSE);
      const usage = { prompt_tokens: 10, completion_tokens: 1 };
      const choices = [{ index: 0, delta: { content: 'x' }, finish_reason: null }];
      handler.onBody(encode(`data: ${JSON.stringify({ ...CHUNK, choices, usage })}\n\n`));
      handler.onFailure({ kind: 'reset', bytesSent: 9, detail: '' });
    };
    for (const origin of ['http://a', 'http://b']) world.servers.scripts.set(origin, script);
    const client = send(world);
    world.time.advance(ends === 'failed' ? 20_000 : 10);
    if (ends === 'gone') client.events?.onGone();
    if (ends === 'stopped') world.gateway.abortAll();
    assert.ok(isBalanced(world));
    return world.records[0]?.usage ?? null;
  };
  const countOf = (usage: ExchangeRecord['usage']) => [usage?.inputTokens, usage?.outputTokens];
  assert.deepEqual(countOf(tokensOf('gone')), [10, 1]);
  assert.deepEqual(countOf(tokensOf('stopped')), [10, 1]);
  assert.deepEqual(countOf(tokensOf('failed')), [40, 4], 'four attempts');
});

test('a region goes on with an answer in the way that the targets of the model can', () => {
  for (const [kind, role] of [
    ['llama', 'assistant'],
    ['openai', 'user'],
  ] as const) {
    const targets = [target('a', kind), target('b', kind)];
    const world = open(configOf({ targets, retryBudgetPercent: 100 }), oneRegion('there-1'));
    let calls = 0;
    const script: Script = (call, handler) => {
      calls += 1;
      (calls === 1 ? dieAfter(900) : refuse)(call, handler);
    };
    for (const origin of ['http://a', 'http://b']) world.servers.scripts.set(origin, script);
    let asked = '';
    world.servers.scripts.set('region:there-1', (call) => {
      const { messages } = JSON.parse(decode(call.body)) as { messages: { role: string }[] };
      asked = messages.at(-1)?.role ?? '';
    });
    send(world);
    world.time.advance(100);
    assert.equal(asked, role, kind);
  }
});

test('a stream cut between its last count and its end tells that count once', () => {
  const body = { ...CHAT, stream_options: { include_usage: true } };
  const world = open();
  const script: Script = (call, handler) => {
    handler.onHead(200, SSE);
    handler.onBody(encode(answerEvents(call).slice(0, -1).join('')));
    handler.onFailure({ kind: 'reset', bytesSent: 9, detail: '' });
  };
  for (const origin of ['http://a', 'http://b']) world.servers.scripts.set(origin, script);
  const client = send(world, { body });
  world.time.advance(100);
  assert.equal(client.state, 'ended');
  assert.equal(chatText(client.body).text, ANSWER);
  assert.equal(client.body.split('"prompt_tokens"').length - 1, 1, client.body);
  assert.equal(chatText(client.body).done, 1);
});

test('the rest of an answer is shown whole though its server gives no reason to finish', () => {
  const world = open(configOf({ targets: [target('a', 'openai'), target('b', 'openai')] }));
  let calls = 0;
  const script: Script = (call, handler) => {
    calls += 1;
    if (calls === 1) return dieAfter(900)(call, handler);
    handler.onHead(200, SSE);
    handler.onBody(encode(`${chunkOf({ content: 'the short rest' })}data: [DONE]\n\n`));
    handler.onEnd();
  };
  for (const origin of ['http://a', 'http://b']) world.servers.scripts.set(origin, script);
  const client = send(world);
  world.time.advance(100);
  assert.equal(client.state, 'ended');
  assert.match(chatText(client.body).text, /the short rest$/);
});

/** A server that does anything that a server may do, by chance. */
function chaos(prng: ReturnType<typeof createPrng>, time: VirtualTime): Script {
  const dice = (sides: number): number => Math.floor(prng.nextFloat() * sides);
  return (call, handler) => {
    const kind = dice(9);
    if (kind === 0) return; // Silence.
    if (kind === 1) return refuse(call, handler);
    if (kind === 2) return serve(call, handler);
    if (kind === 3) {
      handler.onHead([400, 429, 500, 302, 529][dice(5)] ?? 500, ['retry-after', '1']);
      return handler.onEnd();
    }
    if (kind === 4) return dieAfter(dice(4000))(call, handler);
    // Slowly, event by event, then an end, a death or silence.
    handler.onHead(200, SSE);
    const events = answerEvents(call);
    const count = kind < 7 ? events.length : dice(events.length);
    const ending = kind < 7 ? 0 : dice(3);
    const step = 1 + dice(3_000);
    for (let index = 0; index <= count; index += 1) {
      time.after(1 + index * step, () => {
        const event = events[index];
        if (index < count && event !== undefined) handler.onBody(encode(event));
        else if (ending === 0) handler.onEnd();
        else if (ending === 1) handler.onFailure({ kind: 'reset', bytesSent: 9, detail: '' });
      });
    }
  };
}

test('whatever servers, clients and regions do, every exchange ends once and nothing is left (G1)', () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const prng = createPrng(seed);
    const dice = (sides: number): number => Math.floor(prng.nextFloat() * sides);
    const world = open(configOf(), seed % 2 === 0 ? oneRegion('there-1') : undefined);
    const script = chaos(prng, world.time);
    for (const origin of ['http://a', 'http://b', 'region:there-1']) {
      world.servers.scripts.set(origin, script);
    }
    const clients: Client[] = [];
    for (let turn = 0; turn < 60; turn += 1) {
      const client = send(world, { body: { ...CHAT, stream: dice(4) > 0 } });
      client.takes = () => dice(5) > 0;
      clients.push(client);
      world.time.advance(dice(1_500));
      const other = clients[dice(clients.length)];
      const deed = dice(8);
      if (deed < 3) other?.events?.onDrain();
      else if (deed === 3 && other?.state === 'open') {
        other.state = 'aborted';
        other.events?.onGone();
      } else if (deed === 4) world.gateway.placeLost('target', dice(2) === 0 ? 'a' : 'b');
      else if (deed === 5) world.gateway.placeLost('region', 'there-1');
      assert.ok(isBalanced(world), `seed ${seed}, turn ${turn}`);
    }
    if (seed % 3 === 0) world.gateway.abortAll();
    world.time.advance(120_000);
    assert.equal(world.gateway.inFlight, 0, `seed ${seed}`);
    assert.ok(isBalanced(world), `seed ${seed}`);
    assert.equal(world.records.length, clients.length, `seed ${seed}: one record each`);
    for (const client of clients) {
      assert.notEqual(client.state, 'open', `seed ${seed}`);
      if (client.state !== 'ended' || !client.body.startsWith('data: ')) continue;
      const { text, done, roles, ids } = chatText(client.body);
      assert.deepEqual([text, done, roles, ids.size], [ANSWER, 1, 1, 1], `seed ${seed}`);
    }
    const { router } = world.gateway.serving.models.get('m') ?? {};
    const load = router?.digest(world.time.nowMs());
    assert.deepEqual([load?.inFlight, load?.queuedTokens], [0, 0], `seed ${seed}`);
  }
});
