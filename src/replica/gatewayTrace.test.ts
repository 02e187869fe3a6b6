import assert from 'node:assert/strict';
import { test } from 'node:test';

import { headerValues } from '../base/headers.ts';
import { ANSWER, chatText, configOf, open, refuse, send, serve } from './testkit.ts';

const PARENT = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';

test("a client's trace goes on with every attempt, at each target once", () => {
  const world = open(configOf({ retryBudgetPercent: 100 }));
  let isFirst = true;
  for (const origin of ['http://a', 'http://b']) {
    world.servers.scripts.set(origin, (call, handler) => {
      const chosen = isFirst ? refuse : serve;
      isFirst = false;
      chosen(call, handler);
    });
  }
  const client = send(world, { headers: ['traceparent', PARENT, 'tracestate', 'a=1'] });
  world.time.advance(1_000);
  assert.equal(chatText(client.body).text, ANSWER);
  assert.equal(world.servers.calls.length, 2);
  for (const call of world.servers.calls) {
    assert.deepEqual(headerValues(call.headers, 'traceparent'), [PARENT]);
    assert.deepEqual(headerValues(call.headers, 'tracestate'), ['a=1']);
  }
});

test('a malformed or repeated traceparent reaches no target, and the request is served', () => {
  for (const headers of [
    ['traceparent', 'x\u0001', 'tracestate', 'a=1'],
    ['traceparent', PARENT, 'traceparent', PARENT],
    ['tracestate', 'a=1'],
  ]) {
    const world = open();
    const client = send(world, { headers });
    world.time.advance(10);
    assert.equal(chatText(client.body).text, ANSWER);
    const [call] = world.servers.calls;
    assert.deepEqual(headerValues(call?.headers ?? [], 'traceparent'), []);
    assert.deepEqual(headerValues(call?.headers ?? [], 'tracestate'), []);
  }
});
