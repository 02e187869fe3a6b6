/** Hedging of the first token, through a whole gateway. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { HedgeSpec } from '../routing/hedge.ts';
import { ANSWER, chatText, configOf, model, open, send, serve, type Script } from './testkit.ts';

const HEDGE: HedgeSpec = { afterMs: 200, afterPercentile: null, budgetPercent: 10 };

/** Answers after `delayMs` of the world's time. */
function slow(world: ReturnType<typeof open>, delayMs: number): Script {
  return (call, handler) => {
    world.time.after(delayMs, () => serve(call, handler));
  };
}

function world(more: Partial<HedgeSpec> = {}): ReturnType<typeof open> {
  const own = { ...model('m', ['a', 'b']), hedge: { ...HEDGE, ...more } };
  return open(configOf({ models: [own] }));
}

test('a slow first token is raced by another target, and the record tells it', () => {
  const self = world({ budgetPercent: 100 });
  self.servers.scripts.set('http://a', slow(self, 1_500));
  self.servers.scripts.set('http://b', slow(self, 1_500));
  const client = send(self);
  const first = self.servers.calls[0]?.origin;
  const other = first === 'http://a' ? 'http://b' : 'http://a';
  self.servers.scripts.set(other, serve);
  self.time.advance(1_000);
  assert.equal(client.state, 'ended');
  assert.equal(chatText(client.body).text, ANSWER);
  const [record] = self.records;
  assert.equal(record?.hedge, 'won');
  assert.equal(record?.attempts, 2);
  assert.equal(`http://${record?.target}`, other);
  assert.equal(record?.outracedUsage?.isExact, false);
  assert.ok((record?.outracedUsage?.inputTokens ?? 0) > 0, 'its prompt was read for nothing');
  assert.equal(record?.usage?.inputTokens, 3, 'and is no part of the answer');
  assert.equal(self.servers.cancelled, 1);
});

test('no more requests are hedged than the budget says, however slow all are', () => {
  const self = world({ budgetPercent: 10 });
  for (const origin of ['http://a', 'http://b']) self.servers.scripts.set(origin, slow(self, 500));
  for (let request = 0; request < 100; request += 1) {
    send(self);
    self.time.advance(2_000);
  }
  const hedged = self.records.filter((record) => record.attempts === 2).length;
  const suppressed = self.records.filter((record) => record.hedge === 'suppressed').length;
  assert.equal(hedged, 10);
  assert.equal(suppressed, 90);
  assert.ok(self.records.every((record) => record.end === 'answered'));
});

test('a target that is outraced is not blamed: it stays healthy', () => {
  const self = world({ budgetPercent: 100 });
  self.servers.scripts.set('http://a', slow(self, 1_500));
  for (let request = 0; request < 30; request += 1) {
    send(self);
    self.time.advance(2_000);
  }
  const router = self.gateway.serving.models.get('m')?.router;
  const request = { sessionKey: null, prefixHash: 0, promptTokens: 1, excluded: new Set<never>() };
  const rows = router?.explain(request, self.time.nowMs()) ?? [];
  assert.deepEqual(
    rows.map((row) => row.state),
    ['healthy', 'healthy'],
  );
});

test('x-banyan-hedge: off keeps a request to one attempt', () => {
  const self = world({ budgetPercent: 100 });
  for (const origin of ['http://a', 'http://b']) self.servers.scripts.set(origin, slow(self, 500));
  const client = send(self, { headers: ['x-banyan-hedge', 'off'] });
  self.time.advance(2_000);
  assert.equal(client.state, 'ended');
  assert.equal(self.servers.calls.length, 1);
});

test('a percentile is learned from the target’s own first tokens', () => {
  const self = world({ afterMs: null, afterPercentile: 95, budgetPercent: 100 });
  for (const origin of ['http://a', 'http://b']) self.servers.scripts.set(origin, slow(self, 50));
  for (let request = 0; request < 60; request += 1) {
    send(self);
    self.time.advance(500);
  }
  assert.ok(
    self.records.every((record) => record.attempts === 1),
    'all are alike',
  );
  for (const origin of ['http://a', 'http://b']) self.servers.scripts.set(origin, slow(self, 400));
  send(self);
  self.time.advance(2_000);
  assert.equal(self.records.at(-1)?.attempts, 2);
});
