/** Spans of whole exchanges, through a whole gateway (tracing.ts). */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { headerValue, headerValues } from '../base/headers.ts';
import type { RegionName } from '../base/names.ts';
import {
  ANSWER,
  CHAT,
  chatText,
  configOf,
  dieAfter,
  model,
  open,
  refuse,
  send,
  serve,
  target,
  type World,
} from './testkit.ts';
import type { RegionView } from './regionView.ts';
import type { Span, Tracer } from './tracing.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const CALLER = '00f067aa0ba902b7';
const PARENT = `00-${TRACE}-${CALLER}-01`;
const UNSAMPLED = `00-${TRACE}-${CALLER}-00`;

interface Traced {
  readonly world: World;
  readonly spans: Span[];
}

function traced(sampleRatio = 1, config = configOf(), regions?: RegionView): Traced {
  const spans: Span[] = [];
  const tracer: Tracer = { sampleRatio, take: (more) => void spans.push(...more) };
  return { world: open(config, regions, tracer), spans };
}

/** The attributes of a span as an object. */
function of(span: Span | undefined): Readonly<Record<string, unknown>> {
  return Object.fromEntries(span?.attributes ?? []);
}

test('an exchange is a server span with a client span for its attempt, in one trace', () => {
  const { world, spans } = traced();
  const client = send(world);
  world.time.advance(1_000);
  assert.equal(chatText(client.body).text, ANSWER);
  const [server, attempt] = spans;
  assert.equal(spans.length, 2);
  assert.equal(server?.kind, 'server');
  assert.equal(server.name, 'POST /v1/chat/completions');
  assert.equal(server.parentSpanId, null);
  assert.match(server.traceId, /^[0-9a-f]{32}$/);
  assert.match(server.spanId, /^[0-9a-f]{16}$/);
  assert.equal(attempt?.kind, 'client');
  assert.equal(attempt.name, 'chat m');
  assert.equal(attempt.traceId, server.traceId);
  assert.equal(attempt.parentSpanId, server.spanId);
  assert.equal(server.startMs, world.time.wallMs() - world.time.nowMs() + 1_000);
  assert.ok(server.startMs <= attempt.startMs && attempt.endMs <= server.endMs);
  const told = of(server);
  assert.equal(told['http.response.status_code'], 200);
  assert.equal(told['gen_ai.operation.name'], 'chat');
  assert.equal(told['gen_ai.request.model'], 'm');
  assert.equal(told['gen_ai.usage.output_tokens'], world.records[0]?.usage?.outputTokens);
  assert.equal(told['gen_ai.response.time_to_first_chunk'], 0.001);
  assert.equal(told['banyan.key'], 'demo');
  const called = of(attempt);
  assert.equal(called['gen_ai.provider.name'], 'llama');
  assert.equal(called['server.port'], 80);
  assert.equal(called['banyan.attempt'], 'first');
  const [call] = world.servers.calls;
  const sent = headerValue(call?.headers ?? [], 'traceparent');
  assert.equal(sent, `00-${server.traceId}-${attempt.spanId}-01`);
});

test("a caller's sampled flag decides, whatever the ratio says", () => {
  for (const [ratio, parent, isTraced] of [
    [0, PARENT, true],
    [1, PARENT, true],
    [1, UNSAMPLED, false],
    [0, null, false],
    [1, null, true],
    [1, 'malformed', true],
  ] as const) {
    const { world, spans } = traced(ratio);
    send(world, { headers: parent === null ? [] : ['traceparent', parent, 'tracestate', 'a=1'] });
    world.time.advance(1_000);
    const what = `${ratio} ${parent}`;
    assert.equal(spans.length > 0, isTraced, what);
    const [call] = world.servers.calls;
    const sent = headerValues(call?.headers ?? [], 'traceparent');
    if (parent === UNSAMPLED) assert.deepEqual(sent, [UNSAMPLED], what);
    if (parent !== PARENT) continue;
    assert.equal(spans[0]?.traceId, TRACE);
    assert.equal(spans[0]?.parentSpanId, CALLER);
    assert.equal(spans[0]?.isParentRemote, true);
    assert.equal(spans[0]?.traceState, 'a=1');
    assert.deepEqual(sent, [`00-${TRACE}-${spans[1]?.spanId}-01`]);
    assert.deepEqual(headerValues(call?.headers ?? [], 'tracestate'), ['a=1']);
  }
});

test('of many requests about the sampled share is recorded (1,000 at 20 %)', () => {
  const { world, spans } = traced(0.2);
  for (let count = 0; count < 1_000; count += 1) {
    send(world);
    world.time.advance(10);
  }
  const servers = spans.filter(({ kind }) => kind === 'server');
  assert.ok(servers.length > 150 && servers.length < 250, `${servers.length}`);
  assert.equal(new Set(servers.map(({ traceId }) => traceId)).size, servers.length);
});

test('a continuation is an event of the server span and a mode of the attempt', () => {
  const config = configOf({ retryBudgetPercent: 100 });
  const { world, spans } = traced(1, config);
  let isFirst = true;
  for (const origin of ['http://a', 'http://b']) {
    world.servers.scripts.set(origin, (call, handler) => {
      const script = isFirst ? dieAfter(900) : serve;
      isFirst = false;
      script(call, handler);
    });
  }
  const client = send(world);
  world.time.advance(5_000);
  assert.equal(chatText(client.body).text, ANSWER);
  const [server, first, second] = spans;
  assert.equal(spans.length, 3);
  assert.equal(server?.isError, false);
  assert.equal(first?.isError, true);
  assert.equal(of(first)['error.type'], 'reset');
  assert.equal(of(second)['banyan.attempt'], 'continuation');
  assert.equal(of(second)['banyan.continuation'], 'prefill');
  assert.equal(of(server)['banyan.continuations'], 1);
  const [event] = server?.events ?? [];
  assert.equal(event?.name, 'banyan.continuation');
  assert.equal(event.atMs, second?.startMs);
  assert.deepEqual(Object.fromEntries(event.attributes), {
    'banyan.target': of(second)['banyan.target'],
    'banyan.continuation': 'prefill',
    'banyan.from.target': of(first)['banyan.target'],
    'banyan.reason': 'reset',
  });
  // Every call carried the span of its own attempt.
  assert.deepEqual(
    world.servers.calls.map(({ headers }) => headerValue(headers, 'traceparent')?.slice(36, 52)),
    [first?.spanId, second?.spanId],
  );
});

test('a failover and a hedge are told apart from the first attempt', () => {
  const refused = traced(1, configOf({ retryBudgetPercent: 100 }));
  refused.world.servers.scripts.set('http://a', refuse);
  refused.world.servers.scripts.set('http://b', refuse);
  send(refused.world);
  refused.world.time.advance(10_000);
  const [server, ...attempts] = refused.spans;
  assert.equal(server?.isError, true);
  assert.equal(of(server)['error.type'], 'upstream_unreachable');
  assert.ok(attempts.length >= 2);
  assert.equal(server.events[0]?.name, 'banyan.failover');

  const hedge = { afterMs: 200, afterPercentile: null, budgetPercent: 100 };
  const raced = traced(1, configOf({ models: [{ ...model('m', ['a', 'b']), hedge }] }));
  for (const origin of ['http://a', 'http://b']) {
    raced.world.servers.scripts.set(origin, (call, handler) => {
      raced.world.time.after(500, () => serve(call, handler));
    });
  }
  send(raced.world);
  raced.world.time.advance(5_000);
  const loser = raced.spans.find((span) => of(span)['banyan.end'] === 'cancelled');
  assert.equal(raced.spans[0]?.events[0]?.name, 'banyan.hedge');
  assert.equal(of(raced.spans[0])['banyan.hedge'], 'lost');
  assert.equal(of(loser)['banyan.attempt'], 'hedge');
  assert.equal(of(loser)['banyan.reason'], 'outraced');
  assert.equal(loser?.isError, false);
});

test('a request that another region forwarded begins no trace of its own', () => {
  const { world, spans } = traced();
  send(world, { forwardedFrom: 'there-1', headers: ['x-banyan-model', 'm'] });
  world.time.advance(1_000);
  assert.equal(spans.length, 0);
  send(world, { forwardedFrom: 'there-1', headers: ['traceparent', PARENT] });
  world.time.advance(1_000);
  assert.equal(spans[0]?.parentSpanId, CALLER);
  assert.equal(of(spans[0])['banyan.region.from'], 'there-1');
});

test('a refused request of a known key leaves one span, a stranger none', () => {
  const { world, spans } = traced();
  send(world, { key: 'wrong', headers: ['traceparent', PARENT] });
  send(world, { key: null });
  assert.equal(spans.length, 0);
  send(world, { body: { ...CHAT, model: 'absent' } });
  const [span] = spans;
  assert.equal(spans.length, 1);
  assert.equal(of(span)['http.response.status_code'], 404);
  assert.equal(of(span)['error.type'], 'model_not_found');
  assert.equal(span?.isError, false, 'it is the fault of the client');
});

test('no prompt, no answer and no key is in a span (chat, tools, errors)', () => {
  const { world, spans } = traced(1, configOf({ retryBudgetPercent: 100 }));
  const secrets = ['hunter2-prompt', 'hunter2-system', 'hunter2-tool', 'hunter2-user'];
  const body = {
    ...CHAT,
    user: secrets[3],
    messages: [
      { role: 'system', content: secrets[1] },
      { role: 'user', content: secrets[0] },
    ],
    tools: [{ type: 'function', function: { name: secrets[2], parameters: {} } }],
  };
  send(world, { body });
  world.time.advance(1_000);
  world.servers.scripts.set('http://a', dieAfter(700));
  world.servers.scripts.set('http://b', (call, handler) => {
    handler.onHead(400, ['content-type', 'application/json']);
    handler.onBody(call.body); // Says the request back in its error.
    handler.onEnd();
  });
  for (let count = 0; count < 4; count += 1) {
    send(world, { body });
    world.time.advance(20_000);
  }
  const text = JSON.stringify(spans);
  assert.ok(spans.length >= 10);
  for (const secret of [...secrets, 'parcel', 'demo-key']) {
    assert.ok(!text.includes(secret), secret);
  }
});

test('the hop to another region carries the span of the attempt', () => {
  const regions: RegionView = {
    choose: () => ({ region: 'there-1' as RegionName, why: 'the only one', isLastResort: false }),
    candidates: () => [],
    knows: () => true,
    started: () => {},
    finished: () => {},
  };
  const config = configOf({ targets: [target('a')], models: [model('m', ['a'])] });
  const { world, spans } = traced(1, config, regions);
  world.servers.scripts.set('http://a', refuse);
  world.servers.scripts.set('region:there-1', serve);
  const client = send(world);
  world.time.advance(5_000);
  assert.equal(client.state, 'ended');
  const hop = spans.find(({ name }) => name === 'forward there-1');
  const call = world.servers.calls.find(({ origin }) => origin === 'region:there-1');
  const { traceId = '', spanId = '' } = hop ?? {};
  assert.deepEqual(headerValues(call?.headers ?? [], 'traceparent'), [
    `00-${traceId}-${spanId}-01`,
  ]);
  assert.equal(of(hop)['banyan.region'], 'there-1');
  assert.equal(of(hop)['banyan.attempt'], 'failover');
});
