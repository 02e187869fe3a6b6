/** Streams that go on far slower than their target's do, through a whole gateway. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { StallSpec } from '../exchange/stall.ts';
import {
  ANSWER,
  answerEvents,
  chatText,
  configOf,
  encode,
  model,
  open,
  send,
  SSE,
  type Script,
  type World,
} from './testkit.ts';

const STALL: StallSpec = { belowPercent: 10, windowMs: 1_000 };

/** Sends an event each `everyMs`, the first `quick` of them each 50 ms. */
function paced(world: World, everyMs: number, quick = 0): Script {
  return (call, handler) => {
    handler.onHead(200, SSE);
    const events = answerEvents(call);
    const step = (index: number): void => {
      const event = events[index];
      if (event === undefined) {
        handler.onEnd();
        return;
      }
      handler.onBody(encode(event));
      world.time.after(index < quick ? 50 : everyMs, () => step(index + 1));
    };
    step(0);
  };
}

function setAll(world: World, script: Script): void {
  for (const origin of ['http://a', 'http://b']) world.servers.scripts.set(origin, script);
}

/** A node whose targets are known to send an event each 50 ms, from `samples` answers. */
function learned(samples = 20, more: { stall?: StallSpec | null; targets?: string[] } = {}): World {
  const { stall = STALL, targets = ['a', 'b'] } = more;
  const world = open(configOf({ models: [{ ...model('m', targets), stall }] }));
  const router = world.gateway.serving.models.get('m')?.router;
  for (const name of targets) {
    for (let sample = 0; sample < samples; sample += 1)
      router?.paceOf(name)?.streamed(3_000, 1_000);
  }
  return world;
}

/** A request whose first target turns slow after ten events. */
function trickle(world: World): ReturnType<typeof send> {
  setAll(world, paced(world, 1_500, 10));
  const client = send(world);
  world.time.advance(10);
  const first = world.servers.calls.at(-1)?.origin;
  const other = first === 'http://a' ? 'http://b' : 'http://a';
  world.servers.scripts.set(other, paced(world, 50));
  return client;
}

test('a stream that has almost stopped goes on at another target, in one envelope', () => {
  const world = learned();
  const client = trickle(world);
  world.time.advance(8_000);
  assert.equal(client.state, 'ended');
  const seen = chatText(client.body);
  assert.deepEqual([seen.text, seen.ids.size, seen.roles, seen.done], [ANSWER, 1, 1, 1]);
  const record = world.records.at(-1);
  assert.equal(record?.attempts, 2);
  assert.match(record?.trace.join('; ') ?? '', /stalled/);
});

test('a stalled target is blamed mildly: it gets less work and is not ejected', () => {
  const world = learned();
  for (let count = 0; count < 6; count += 1) {
    trickle(world);
    world.time.advance(8_000);
  }
  const router = world.gateway.serving.models.get('m')?.router;
  const request = { sessionKey: null, prefixHash: 0, promptTokens: 1, excluded: new Set<never>() };
  const rows = router?.explain(request, world.time.nowMs()) ?? [];
  assert.ok(
    rows.some((row) => row.weightEffective < 1),
    'less work',
  );
  assert.ok(
    rows.every((row) => row.state === 'healthy'),
    'no ejection',
  );
});

test('without enough history, or where stalls are not watched for, a slow stream is left alone', () => {
  for (const world of [learned(10), learned(20, { stall: null })]) {
    const client = trickle(world);
    world.time.advance(60_000);
    assert.equal(chatText(client.body).text, ANSWER);
    assert.equal(world.records.at(-1)?.attempts, 1);
  }
});

test('a stalled stream is better than none: with nobody else it goes on', () => {
  const world = learned(20, { targets: ['a'] });
  const client = trickle(world);
  world.time.advance(60_000);
  assert.equal(client.state, 'ended');
  assert.equal(chatText(client.body).text, ANSWER);
  assert.equal(world.records.at(-1)?.attempts, 1);
});

test('a slow client is not a stalled target', () => {
  const world = learned();
  setAll(world, paced(world, 1_500, 10));
  const client = send(world);
  client.takes = () => false;
  world.time.advance(40_000);
  client.takes = () => true;
  client.events?.onDrain();
  world.time.advance(500);
  assert.equal(world.servers.calls.length, 1, 'one attempt');
});

test('the usual rate of a target is learned from whole answers', () => {
  const world = open(configOf({ models: [model('m', ['a'])] }));
  world.servers.scripts.set('http://a', paced(world, 50));
  for (let request = 0; request < 20; request += 1) {
    assert.equal(world.gateway.serving.models.get('m')?.router.paceOf('a')?.bytesPerSecond(), null);
    send(world);
    world.time.advance(3_000);
  }
  const rate = world.gateway.serving.models.get('m')?.router.paceOf('a')?.bytesPerSecond() ?? 0;
  assert.ok(rate > 2_000 && rate < 4_000, `${rate} bytes a second: 20 events of 150 bytes`);
});
