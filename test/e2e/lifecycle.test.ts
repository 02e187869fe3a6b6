/** The life of one node: graceful stop, hot reload, health, and what it leaves behind. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { stringify } from 'yaml';

import { answerText, ask, errorOf, type Question, type Reply } from '../support/client.ts';
import { DEFAULT_WORDS, startFakeUpstream, type FakeUpstream } from '../support/fakeUpstream.ts';
import { atEnd, startNode, until, type NodeSpec, type TestNode } from '../support/node.ts';

const WHOLE_TEXT = DEFAULT_WORDS.join('');
const STREAM: Question = { dialect: 'openai', model: 'one', isStream: true };
const WHOLE: Question = { ...STREAM, isStream: false };

function specOf(fake: FakeUpstream, models: readonly string[], more: object = {}): NodeSpec {
  return {
    targets: [{ name: 'fake', kind: 'openai', baseUrl: `${fake.origin}/v1` }],
    models: models.map((name) => ({ name, targets: ['fake'] })),
    ...more,
  };
}

async function start(
  models: readonly string[],
  more: object = {},
): Promise<[TestNode, FakeUpstream]> {
  const fake = await startFakeUpstream();
  atEnd(() => fake.close());
  return [await startNode(specOf(fake, models, more)), fake];
}

/** Begins a stream that takes a second, and waits until it is under way. */
async function beginStream(
  node: TestNode,
  fake: FakeUpstream,
): Promise<{ stream: Promise<Reply> }> {
  const seen = fake.seen.length;
  fake.queueFaults([{ kind: 'slow-drip', gapMs: 120 }]);
  const stream = ask(node.apiUrl, STREAM);
  await until('the stream is under way', () => fake.seen.length > seen);
  return { stream };
}

async function statusOf(url: string): Promise<number> {
  return (await fetch(url)).status;
}

test('a graceful stop: readiness flips, streams finish, new requests get 503 with Retry-After', async () => {
  const [node, fake] = await start(['one']);
  const { stream } = await beginStream(node, fake);
  const stopped = node.stop();
  await until('readiness flips', async () => (await statusOf(`${node.apiUrl}/readyz`)) === 503);
  assert.equal(await statusOf(`${node.apiUrl}/livez`), 200, 'it still lives');
  for (const dialect of ['openai', 'anthropic'] as const) {
    const refused = await ask(node.apiUrl, { ...WHOLE, dialect });
    assert.equal(refused.status, 503, refused.body);
    assert.match(String(refused.headers['retry-after']), /^\d+$/);
    const error = errorOf(refused.body);
    if (dialect === 'openai') assert.equal(error?.code, 'draining');
    else assert.equal(error?.type, 'overloaded_error');
  }
  const reply = await stream;
  assert.equal(reply.end, 'clean');
  assert.equal(answerText('openai', true, reply.body), WHOLE_TEXT);
  assert.equal(await stopped, 0);
  await assert.rejects(fetch(`${node.apiUrl}/livez`), 'nothing listens any more');
});

test('past the limit of the drain a stream is broken off, honestly', async () => {
  const [node, fake] = await start(['one'], { limits: { drainMs: 300 } });
  fake.queueFaults([{ kind: 'stall-mid-stream', events: 4 }]);
  let isBegun = false;
  const began = (): void => {
    isBegun = true;
  };
  const stream = ask(node.apiUrl, { ...STREAM, began });
  await until('content has come', () => isBegun);
  const startMs = performance.now();
  assert.equal(await node.stop(), 0);
  assert.ok(performance.now() - startMs < 5_000);
  const reply = await stream;
  assert.equal(reply.status, 200);
  assert.equal(reply.end, 'aborted');
  assert.equal(errorOf(reply.body)?.code, 'draining');
  assert.ok(WHOLE_TEXT.startsWith(answerText('openai', true, reply.body)));
});

test('a good file is applied whole, a bad one refused whole with the reason; streams go on', async () => {
  const [node, fake] = await start(['one']);
  const before = await node.admin('/admin/v1/status');
  const { stream } = await beginStream(node, fake);

  await node.rewrite(specOf(fake, ['one', 'two']));
  await until('the new model is served', async () => {
    const reply = await ask(node.apiUrl, { ...WHOLE, model: 'two' });
    return reply.status === 200;
  });
  const applied = await node.admin('/admin/v1/status');
  assert.notEqual(applied['configRevision'], before['configRevision']);
  assert.equal(applied['configRefused'], null);

  // One good change and one bad one: neither is applied.
  const bad = { ...specOf(fake, ['three']), region: 'us-east-2', modles: [] };
  await node.rewriteText(stringify(bad));
  const reason = await until('the file is refused', async () => {
    const { configRefused } = await node.admin('/admin/v1/status');
    return typeof configRefused === 'string' ? configRefused : null;
  });
  assert.match(reason, /modles/);
  assert.equal((await ask(node.apiUrl, { ...WHOLE, model: 'three' })).status, 404);
  assert.equal((await ask(node.apiUrl, { ...WHOLE, model: 'two' })).status, 200);
  const refused = await node.admin('/admin/v1/status');
  assert.equal(refused['configRevision'], applied['configRevision']);

  await node.rewrite(specOf(fake, ['two', 'three']));
  await until('a good file is applied again', async () => {
    const reply = await ask(node.apiUrl, { ...WHOLE, model: 'three' });
    return reply.status === 200;
  });
  assert.equal((await ask(node.apiUrl, WHOLE)).status, 404, 'the model that is gone is gone');
  assert.equal((await node.admin('/admin/v1/status'))['configRefused'], null);

  const reply = await stream;
  assert.equal(answerText('openai', true, reply.body), WHOLE_TEXT, 'it kept what it began with');
});

test('SIGHUP reads the file again', async () => {
  const [node, fake] = await start(['one']);
  const before = (await node.admin('/admin/v1/status'))['configLoadedAt'];
  await node.rewrite(specOf(fake, ['one', 'two']));
  node.signal('SIGHUP');
  await until('it is applied', async () => {
    const { configLoadedAt } = await node.admin('/admin/v1/status');
    return configLoadedAt !== before;
  });
  assert.equal((await ask(node.apiUrl, { ...WHOLE, model: 'two' })).status, 200);
});

test('health under all of its names, and metrics that add up', async () => {
  const [node, fake] = await start(['one']);
  for (const path of ['/livez', '/readyz', '/health/liveliness', '/health/readiness']) {
    assert.equal(await statusOf(`${node.apiUrl}${path}`), 200, path);
  }
  for (let count = 0; count < 5; count += 1) await ask(node.apiUrl, STREAM);
  fake.queueFaults([{ kind: 'status', status: 400 }]);
  await ask(node.apiUrl, WHOLE);
  const text = await (await fetch(`${node.adminUrl}/metrics`)).text();
  assert.match(text, /gen_ai_/);
  const total = (end: string): number =>
    [...text.matchAll(/^banyan_exchanges_total\{([^}]*)\} (\d+)$/gm)]
      .filter(([, labels]) => labels?.includes(`"${end}"`))
      .reduce((sum, [, , value]) => sum + Number(value), 0);
  assert.equal(total('answered'), 5, text);
  assert.equal(total('refused'), 1, text);
});

test('no prompt, no answer and no key is in the log', async () => {
  const [node, fake] = await start(['one']);
  fake.setWords(['secret-answer']);
  await ask(node.apiUrl, { ...STREAM, text: 'secret-question' });
  await ask(node.apiUrl, { ...WHOLE, headers: { authorization: 'Bearer sk-secret-key' } });
  fake.queueFaults([{ kind: 'status', status: 500, body: '{"error":"secret-answer"}' }]);
  await ask(node.apiUrl, { ...WHOLE, text: 'secret-question' });
  await until('three requests are logged', () => node.logs().split('"exchange"').length > 3);
  assert.doesNotMatch(node.logs(), /secret-|sk-banyan-test/);
});
