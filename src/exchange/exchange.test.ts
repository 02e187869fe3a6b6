import assert from 'node:assert/strict';
import { test } from 'node:test';

import { headerValue } from '../base/headers.ts';
import { EXCHANGE_LIMITS } from '../base/limits.ts';
import type { ParsedRequest } from '../protocol/adapter.ts';
import { Continuation } from './continuation.ts';
import { SSE, breakOff, bytes, feed, last, open, text } from './testkit.ts';
test('a stream passes through and ends cleanly when its dialect says that it is done', () => {
  const world = open();
  feed(world, 'role\n', 'hel', 'lo\nwor', 'ld\ndone\n');
  last(world).handler.onEnd();
  assert.equal(world.reply.status, 200);
  assert.equal(world.reply.body, 'role\nhello\nworld\ndone\n');
  assert.equal(world.reply.end_, 'ended');
  assert.deepEqual(world.outcomes, [{ kind: 'answered' }]);
  assert.deepEqual(world.ends, [{ end: 'answered', code: null }]);
  assert.equal(world.time.pendingCount, 0, 'no timer outlives the answer');
  world.time.advance(5_000);
  assert.equal(last(world).isCancelled, false, 'a connection that ended by itself is kept');
  assert.equal(world.time.pendingCount, 0);
});

test('a connection that lingers after the end of the dialect is closed', () => {
  const world = open();
  feed(world, 'x\ndone\n');
  assert.equal(world.reply.end_, 'ended');
  world.time.advance(1_500);
  assert.equal(last(world).isCancelled, true);
});

for (const kind of [
  'refused',
  'unresolved',
  'tls',
  'connect-timeout',
  'pool-full',
  'reset',
  'truncated',
  'malformed',
  'too-large',
  'link-down',
] as const) {
  test(`a failure before the first content moves on unseen: ${kind}`, () => {
    const world = open();
    feed(world, 'role\n');
    breakOff(world, kind);
    assert.equal(world.upstream.calls.length, 2);
    assert.equal(world.reply.status, 0, 'nothing was sent');
    feed(world, 'role\nfine\ndone\n');
    assert.equal(world.reply.body, 'role\nfine\ndone\n');
    assert.equal(headerValue(world.reply.headers, 'x-banyan-attempts'), '2');
    assert.equal(world.reports[1]?.isRetry, true);
  });
}

for (const status of [401, 404, 429, 500, 529]) {
  test(`status ${status} moves on, and its body is waited for`, () => {
    const world = open();
    last(world).handler.onHead(status, []);
    last(world).handler.onBody(bytes('why'));
    assert.equal(world.upstream.calls.length, 1);
    last(world).handler.onEnd();
    assert.equal(world.upstream.calls.length, 2);
  });
}

test('a client mistake is passed on at once and blames no target', () => {
  const world = open();
  last(world).handler.onHead(400, []);
  last(world).handler.onEnd();
  assert.equal(world.upstream.calls.length, 1);
  assert.equal(world.reply.status, 400);
  assert.deepEqual(world.outcomes, [{ kind: 'rejected' }]);
  assert.equal(world.ends[0]?.end, 'refused');
});

test('a prompt too long for the model goes on with another model only', () => {
  const world = open({ places: ['a', 'b'] });
  feed(world, 'error context-length\n');
  assert.equal(last(world).call.origin, 'http://other');
});

test('an in-band error before content moves on; after content it breaks the stream', () => {
  const world = open();
  feed(world, 'role\n', 'error overloaded\n');
  assert.equal(world.upstream.calls.length, 2);
  feed(world, 'text\n', 'error server\n');
  assert.equal(world.upstream.calls.length, 2);
  assert.equal(world.reply.end_, 'aborted');
  assert.match(world.reply.body, /^text\ndata: \{"error"/);
  assert.doesNotMatch(world.reply.body, /\[DONE\]/);
  assert.deepEqual(world.ends, [{ end: 'failed', code: 'stream_broken' }]);
});

test('a stream cut at any byte never ends cleanly and never shows a refused attempt', () => {
  const whole = 'role\nalpha\nbeta\ndone\n';
  for (let cut = 0; cut < whole.length; cut += 1) {
    const world = open({ places: ['a'], attemptsMax: 1 });
    feed(world, whole.slice(0, cut));
    last(world).handler.onEnd();
    const hasContent = cut >= 'role\nalpha\n'.length;
    assert.notEqual(world.reply.end_, 'open');
    if (hasContent) {
      assert.equal(world.reply.end_, 'aborted', `cut at ${cut}`);
      assert.ok(world.reply.body.startsWith('role\nalpha\n'));
    } else {
      assert.equal(world.reply.status, 502, `cut at ${cut}`);
      assert.equal(world.reply.end_, 'ended');
    }
    assert.equal(world.ends.length, 1);
  }
});

test('a response that is no event stream, and a redirect, are not passed on', () => {
  const world = open();
  last(world).handler.onHead(200, ['content-type', 'text/html']);
  assert.equal(world.upstream.calls.length, 2);
  assert.equal(world.upstream.calls[0]?.isCancelled, true);
  last(world).handler.onHead(302, ['location', 'http://elsewhere.example/']);
  assert.equal(world.upstream.calls.length, 3);
  assert.ok(!last(world).call.origin.includes('elsewhere'));
});

test('the first-byte deadline moves on, the idle deadline breaks a stream', () => {
  const world = open();
  last(world).handler.onHead(200, SSE);
  world.time.advance(4_999);
  assert.equal(world.upstream.calls.length, 1);
  world.time.advance(2);
  assert.equal(world.upstream.calls.length, 2);
  assert.equal(world.upstream.calls[0]?.isCancelled, true);
  feed(world, 'one\n');
  world.time.advance(1_500);
  last(world).handler.onBody(bytes('two\n'));
  world.time.advance(1_999);
  assert.equal(world.reply.end_, 'open');
  world.time.advance(2);
  assert.equal(world.reply.end_, 'aborted');
});

test('the total deadline ends everything', () => {
  const world = open();
  feed(world, 'one\n');
  for (let index = 0; index < 70 && world.reply.end_ === 'open'; index += 1) {
    world.time.advance(1_000);
    last(world).handler.onBody(bytes('more\n'));
  }
  assert.equal(world.reply.end_, 'aborted');
  assert.equal(world.time.nowMs() - 1_000, 60_000);
});

test('a whole answer has half of the total for its first byte', () => {
  const world = open({ isStream: false });
  world.time.advance(29_000);
  assert.equal(world.upstream.calls.length, 1);
  world.time.advance(1_001);
  assert.equal(world.upstream.calls.length, 2);
  last(world).handler.onHead(200, []);
  last(world).handler.onBody(bytes('{"a":'));
  last(world).handler.onBody(bytes('1}'));
  last(world).handler.onEnd();
  assert.equal(world.reply.body, '{"a":1}');
  assert.deepEqual(world.reply.framing, { kind: 'length', bytes: 7 });
});

test('a whole answer that was cut is not shown', () => {
  const world = open({ isStream: false, places: ['a', 'b'] });
  last(world).handler.onHead(200, []);
  last(world).handler.onBody(bytes('{"a":'));
  last(world).handler.onEnd();
  assert.equal(world.upstream.calls.length, 2);
  assert.equal(world.reply.status, 0);
});

test('comments keep a waiting client awake, and failover still works after them', () => {
  const world = open({ places: ['a', 'b', 'c', 'd'] });
  const everyMs = EXCHANGE_LIMITS.keepAliveCommentMs;
  world.time.advance(4_000);
  last(world).handler.onHead(200, SSE);
  // The first two attempts pass their deadlines; the third is running when the comment is due.
  world.time.advance(everyMs - 4_000 + 10);
  assert.equal(world.reply.status, 200);
  assert.match(world.reply.body, /^: /);
  breakOff(world, 'reset');
  feed(world, 'fine\ndone\n');
  assert.match(world.reply.body, /fine\ndone\n$/);
  assert.equal(world.reply.end_, 'ended');
});

test('a client that leaves cancels the attempt at once and is counted', () => {
  const world = open();
  feed(world, 'one\n');
  world.exchange.onGone();
  assert.equal(last(world).isCancelled, true);
  assert.deepEqual(world.outcomes, [{ kind: 'cancelled' }]);
  assert.deepEqual(world.ends, [{ end: 'client-gone', code: null }]);
  assert.equal(world.time.pendingCount, 0);
  last(world).handler.onBody(bytes('late\n'));
  last(world).handler.onEnd();
  assert.equal(world.ends.length, 1);
});

test('a slow client holds back its own upstream, and its pause is not the idle of the target', () => {
  const world = open();
  world.reply.accepts = false;
  feed(world, 'one\n');
  assert.equal(last(world).pauses, 1);
  world.time.advance(10_000);
  assert.equal(world.reply.end_, 'open');
  world.reply.accepts = true;
  world.exchange.onDrain();
  assert.equal(last(world).resumes, 1);
  last(world).handler.onBody(bytes('done\n'));
  assert.equal(world.reply.end_, 'ended');
});

test('beyond the budget only what cannot have run, and one lost connection, move on', () => {
  const world = open({ retries: 0, places: ['a', 'b', 'c', 'd'] });
  breakOff(world, 'refused', 0);
  assert.equal(world.upstream.calls.length, 2);
  breakOff(world, 'reset', 100);
  assert.equal(world.upstream.calls.length, 3);
  breakOff(world, 'reset', 100);
  assert.equal(world.upstream.calls.length, 3);
  assert.equal(world.reply.status, 502);
  assert.ok(world.exchange.trace.includes('retry budget spent'));
});

test('when every place has failed, the next round waits with jitter and within its attempts', () => {
  const world = open({ places: ['a', 'b'], attemptsMax: 3 });
  breakOff(world, 'refused', 0);
  breakOff(world, 'refused', 0);
  assert.equal(world.upstream.calls.length, 2);
  world.time.advance(60);
  assert.equal(world.upstream.calls.length, 3);
  breakOff(world, 'refused', 0);
  assert.equal(world.reply.status, 503);
  assert.match(world.reply.body, /No model server could be reached/);
});

test('a place known to be lost is left at once', () => {
  const world = open();
  world.exchange.placeLost('target', 'b');
  assert.equal(world.upstream.calls.length, 1);
  world.exchange.placeLost('target', 'a');
  assert.equal(world.upstream.calls.length, 2);
  assert.equal(world.upstream.calls[0]?.isCancelled, true);
});

test('no place at all is told with the reason in the trace', () => {
  const world = open({ places: [] });
  assert.equal(world.reply.status, 503);
  assert.deepEqual(world.ends, [{ end: 'refused', code: 'no_target' }]);
  assert.deepEqual(world.exchange.trace, ['none left']);
});

test('a paused stream costs no timers of its own, however long it pauses', () => {
  const world = open();
  world.reply.accepts = false;
  feed(world, 'one\n');
  let timers = 0;
  const after = world.time.after.bind(world.time);
  world.time.after = (delayMs, fire) => {
    timers += 1;
    return after(delayMs, fire);
  };
  world.time.advance(50_000);
  assert.ok(timers < 100, `${timers} timers in 50 s`);
  world.reply.accepts = true;
  world.exchange.onDrain();
  assert.equal(last(world).resumes, 1);
  last(world).handler.onBody(bytes('done\n'));
  assert.equal(world.reply.end_, 'ended');
});

test('an error body without end is not waited for', () => {
  const world = open({ isStream: false });
  const first = last(world);
  first.handler.onHead(500, []);
  const piece = 'x'.repeat(16 * 1024);
  for (let sent = 0; sent <= EXCHANGE_LIMITS.errorBodyBytesMax; sent += piece.length) {
    if (first.isCancelled) break;
    first.handler.onBody(bytes(piece));
  }
  assert.ok(first.isCancelled);
  assert.equal(world.upstream.calls.length, 2, 'the exchange has moved on');
});

test('a tool call that begins where the limit of kept bytes is passed keeps its place', () => {
  const request = { operation: 'chat', dialect: 'openai', isStream: true, choicesCount: 1 };
  const continuation = new Continuation(request as ParsedRequest, [], {
    bytes: 0,
    bytesMax: Infinity,
  });
  const tool = 'data: {"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}\n\n';
  const pieces = [
    `data: ${'x'.repeat(EXCHANGE_LIMITS.continuationBytesMax - 20)}\n\n`,
    `data: ${'y'.repeat(40)}\n\n${tool}`,
    `data: after\n\n`,
  ];
  const passed = pieces.map((piece) => text(continuation.pass(bytes(piece))));
  passed.push(text(continuation.release()));
  assert.equal(passed.join(''), pieces.join(''));
});

test('past the limit of all answers together a new one is passed on but not kept', () => {
  const bytesMax = EXCHANGE_LIMITS.continuationBytesAllMax;
  const total = { bytes: bytesMax, bytesMax };
  const request = { operation: 'chat', dialect: 'openai', isStream: true, choicesCount: 1 };
  const continuation = new Continuation(request as ParsedRequest, [], total);
  const piece = bytes('data: {"choices":[]}\n\n');
  assert.equal(text(continuation.pass(piece)), text(piece));
  assert.equal(continuation.cut(null).kind, 'impossible');
  continuation.dispose();
  assert.equal(total.bytes, EXCHANGE_LIMITS.continuationBytesAllMax, 'nothing is left of it');
});

test('a model that cannot hold the request is not asked again in the next round', () => {
  const world = open({ places: ['a'], attemptsMax: 3 });
  feed(world, 'error context-length\n');
  assert.equal(last(world).call.origin, 'http://other');
  breakOff(world, 'reset');
  world.time.advance(5_000);
  assert.deepEqual(
    world.upstream.calls.map((one) => one.call.origin),
    ['http://a', 'http://other', 'http://other'],
  );
});
