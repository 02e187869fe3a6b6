import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createPrng } from '../base/prng.ts';
import { bytes, open, SSE, type Call, type World } from './testkit.ts';

/** An exchange whose first attempt is slow enough for a second one. */
function race(more: Parameters<typeof open>[0] = {}): World {
  const world = open({ hedgeMs: 300, ...more });
  world.time.advance(301);
  return world;
}

function call(world: World, index: number): Call {
  const found = world.upstream.calls[index];
  assert.ok(found !== undefined, `call ${index} was made`);
  return found;
}

function answer(world: World, index: number, text: string): void {
  call(world, index).handler.onHead(200, SSE);
  call(world, index).handler.onBody(bytes(text));
}

function reset(world: World, index: number): void {
  call(world, index).handler.onFailure({ kind: 'reset', bytesSent: 9, detail: '' });
}

test('a first token within the delay is not hedged', () => {
  const world = open({ hedgeMs: 300 });
  world.time.advance(299);
  answer(world, 0, 'x\n');
  world.time.advance(1_000);
  assert.equal(world.upstream.calls.length, 1);
  assert.equal(world.exchange.race.end, null);
});

for (const [winner, loser, end] of [
  [0, 1, 'lost'],
  [1, 0, 'won'],
] as const) {
  test(`of two attempts the first with content answers, the other one is cancelled (hedge ${end})`, () => {
    const world = race();
    assert.equal(world.upstream.calls.length, 2);
    assert.notEqual(call(world, 0).call.origin, call(world, 1).call.origin, 'two places');
    answer(world, loser, 'role\n'); // A head and lifecycle are no content.
    assert.equal(world.reply.status, 0);
    answer(world, winner, 'role\nhello\n');
    assert.equal(call(world, loser).isCancelled, true, 'in the same step');
    assert.equal(call(world, winner).isCancelled, false);
    // What is still on its way from the loser is nobody's.
    call(world, loser).handler.onBody(bytes('late\ndone\n'));
    call(world, loser).handler.onEnd();
    call(world, winner).handler.onBody(bytes('world\ndone\n'));
    assert.equal(world.reply.body, 'role\nhello\nworld\ndone\n');
    assert.equal(world.reply.end_, 'ended');
    assert.equal(world.exchange.race.end, end);
    assert.equal(world.exchange.attempts, 2);
    assert.deepEqual(world.outcomes, [{ kind: 'outraced' }, { kind: 'answered' }]);
    assert.deepEqual(
      world.reports.map((report) => [report.end, report.reason, report.isRetry]),
      [
        ['cancelled', 'outraced', false],
        ['answered', '', false],
      ],
    );
    assert.deepEqual(world.ends, [{ end: 'answered', code: null }]);
    assert.equal(world.exchange.account.waitedMs, 301, 'two that wait at a time wait once');
  });
}

test('after content nothing is hedged, however slow it goes on', () => {
  const world = open({ hedgeMs: 300 });
  answer(world, 0, 'x\n');
  world.time.advance(1_900);
  assert.equal(world.upstream.calls.length, 1);
});

test('when one of two dies the other one answers, without a retry', () => {
  for (const [dead, alive, end] of [
    [0, 1, 'won'],
    [1, 0, 'failed'],
  ] as const) {
    const world = race({ retries: 0 });
    reset(world, dead);
    assert.equal(world.ends.length, 0);
    answer(world, alive, 'x\ndone\n');
    assert.equal(world.reply.body, 'x\ndone\n');
    assert.equal(world.exchange.race.end, end);
    assert.equal(world.upstream.calls.length, 2);
  }
});

test('when both die the next place is tried, and not either of them again', () => {
  const world = race();
  reset(world, 1);
  reset(world, 0);
  assert.equal(world.upstream.calls.length, 3);
  const origins = new Set(world.upstream.calls.map((one) => one.call.origin));
  assert.equal(origins.size, 3);
  answer(world, 2, 'x\ndone\n');
  assert.equal(world.reply.end_, 'ended');
  assert.equal(world.exchange.race.end, 'failed');
});

test('an exchange is hedged once', () => {
  const world = race();
  reset(world, 0);
  reset(world, 1);
  world.time.advance(2_000);
  assert.equal(world.upstream.calls.length, 3);
});

test('a client that leaves cancels both', () => {
  const world = race();
  world.exchange.onGone();
  assert.deepEqual(
    world.upstream.calls.map((one) => one.isCancelled),
    [true, true],
  );
  assert.deepEqual(world.outcomes, [{ kind: 'cancelled' }, { kind: 'cancelled' }]);
  assert.equal(world.exchange.race.end, 'cancelled');
  assert.deepEqual(world.ends, [{ end: 'client-gone', code: null }]);
  assert.equal(world.time.pendingCount, 0);
});

test('with the budget spent the first attempt goes on alone', () => {
  const world = race({ hedges: 0 });
  assert.equal(world.upstream.calls.length, 1);
  assert.equal(world.exchange.race.end, 'suppressed');
  answer(world, 0, 'x\ndone\n');
  assert.equal(world.reply.end_, 'ended');
});

test('where nobody else can take the request nothing is taken from the budget', () => {
  const world = race({ places: ['a'], hedges: 0 });
  assert.equal(world.upstream.calls.length, 1);
  assert.equal(world.exchange.race.end, 'no-place');
});

test('a request that is the client\u2019s fault is not decided by the other attempt', () => {
  const world = race();
  call(world, 0).handler.onHead(400, []);
  call(world, 0).handler.onEnd();
  assert.equal(call(world, 1).isCancelled, true);
  assert.equal(world.reply.status, 400);
  assert.deepEqual(world.ends, [{ end: 'refused', code: 'upstream_rejected' }]);
});

test('what a hedge is refused does not stop the first attempt', () => {
  const world = race();
  call(world, 1).handler.onHead(400, []);
  call(world, 1).handler.onEnd();
  answer(world, 0, 'x\ndone\n');
  assert.equal(world.reply.status, 200);
});

test('each of two attempts has its own first-byte deadline', () => {
  const world = race();
  world.time.advance(4_750);
  assert.equal(call(world, 0).isCancelled, true, '5 s after its start');
  assert.equal(call(world, 1).isCancelled, false);
  answer(world, 1, 'x\ndone\n');
  assert.equal(world.reply.end_, 'ended');
});

test('a race loses to the lost place at once', () => {
  const world = race();
  world.exchange.placeLost('target', 'b');
  world.exchange.placeLost('target', 'a');
  assert.equal(world.upstream.calls.length, 3, 'both are gone: the third place');
});

test('a whole answer is not hedged: its time says how long it is', () => {
  const world = race({ isStream: false });
  assert.equal(world.upstream.calls.length, 1);
});

test('whatever two attempts do in whatever order, the exchange ends once (400 seeds)', () => {
  for (let seed = 1; seed <= 400; seed += 1) {
    const prng = createPrng(seed);
    const world = open({ hedgeMs: 1 + Math.floor(prng.nextFloat() * 400) });
    for (let step = 0; step < 40; step += 1) {
      const index = Math.floor(prng.nextFloat() * world.upstream.calls.length);
      const one = call(world, index);
      const dice = prng.nextFloat();
      if (dice < 0.3 || one.isCancelled) world.time.advance(prng.nextFloat() * 400);
      else if (dice < 0.5) one.handler.onHead(200, SSE);
      else if (dice < 0.7) one.handler.onBody(bytes('x\n'));
      else if (dice < 0.8) one.handler.onBody(bytes('done\n'));
      else if (dice < 0.95) reset(world, index);
      else if (world.ends.length === 0) world.exchange.onGone();
    }
    if (world.ends.length === 0) world.exchange.onGone();
    assert.equal(world.ends.length, 1, `seed ${seed}`);
    assert.equal(world.outcomes.length, world.upstream.calls.length, `seed ${seed}`);
  }
});
