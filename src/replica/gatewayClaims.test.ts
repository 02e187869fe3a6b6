/** Requests with an `Idempotency-Key` through the gateway: what they cost, and when. */

import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';

import { failure } from '../base/errors.ts';
import type { KeyConfig, NodeConfig } from './config.ts';
import type { ClaimTold } from './idempotency.ts';
import { configOf, isBalanced, open, send, type World } from './testkit.ts';

const headers = ['idempotency-key', 'k'];

function keysWith(more: Partial<KeyConfig>): readonly KeyConfig[] {
  return configOf().keys.map((key) => ({ ...key, ...more }));
}

/** A gateway whose claims are answered when the test says so. */
function openClaiming(more: Partial<NodeConfig> = {}) {
  const asked: ((told: ClaimTold) => void)[] = [];
  const over: (string | null)[] = [];
  const world: World = open(configOf(more), undefined, undefined, (_request, done) => {
    asked.push(done);
  });
  const won: ClaimTold = { kind: 'yours', over: (result) => over.push(result) };
  return { world, asked, over, won };
}

test('who is over its limits takes up no room among the claims', () => {
  const { world, asked } = openClaiming();
  const clients = Array.from({ length: 5 }, () => send(world, { key: 'small-key', headers }));
  equal(asked.length, 2, 'its limit is 2 a minute');
  equal(clients.filter(({ status }) => status === 429).length, 3);
});

test('requests that wait for a claim are under way: admission counts them and their bodies', () => {
  for (const limit of [{ exchangesMax: 4 }, { requestBodiesBytesMax: 1_000 }]) {
    const { world, asked, won } = openClaiming(limit);
    const clients = Array.from({ length: 40 }, () => send(world, { headers }));
    const waiting = asked.length;
    ok(waiting > 0 && waiting < 40, `${waiting} wait (${JSON.stringify(limit)})`);
    const shed = clients.filter(({ status }) => status === 503);
    equal(shed.length, 40 - waiting, 'the others are refused');
    equal(world.gateway.inFlightAll, waiting, 'a stop waits for them');
    for (const answer of asked) answer(won);
    world.time.advance(100);
    equal(world.gateway.inFlightAll, 0);
    equal(world.gateway.bodiesBytes, 0);
    equal(clients.filter(({ state }) => state === 'ended').length, 40);
    ok(isBalanced(world));
  }
});

test('a request whose key is taken, and one whose client leaves, give back their slots', () => {
  const { world, asked, over, won } = openClaiming({ keys: keysWith({ inFlightMax: 1 }) });
  const taken = send(world, { headers });
  equal(send(world, { headers }).status, 429, 'one at a time');
  asked.shift()?.({ kind: 'refused', failure: failure('idempotency_in_progress') });
  equal(taken.status, 409);
  const left = send(world, { headers });
  left.events?.onGone();
  asked.shift()?.(won);
  deepEqual(over, [null], 'its key is given back');
  const last = send(world, { headers });
  asked.shift()?.(won);
  world.time.advance(100);
  equal(last.status, 200);
  deepEqual(over, [null, 'answered 200']);
  ok(isBalanced(world));
});
