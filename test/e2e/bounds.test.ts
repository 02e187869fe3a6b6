/**
 * Too many and too slow, on a real node: what a key and the node may have under way, at the limit and
 * past it; and readers that take nothing, which hold back their own model servers and nobody else.
 */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { describe, test } from 'node:test';

import { ask, errorOf, questionBody, type ClientDialect, type Reply } from '../support/client.ts';
import { startFakeUpstream } from '../support/fakeUpstream.ts';
import { atEnd, keyHash, startNode, TEST_KEY, until } from '../support/node.ts';

const DIALECTS = ['openai', 'anthropic'] as const;
const MIB = 1024 * 1024;
const upstream = await startFakeUpstream('fake');
atEnd(() => upstream.close());
upstream.chooseFaults(({ body }) => {
  if (body.includes('"wait')) return { kind: 'stall-before-head' };
  if (body.includes('"flood')) return { kind: 'flood', bytes: 50 * MIB };
  return { kind: 'none' };
});

const deadlines = { firstByteMs: 60_000, idleMs: 60_000, totalMs: 120_000 };
const node = await startNode({
  targets: DIALECTS.map((kind) => ({
    name: kind,
    kind,
    baseUrl: `http://127.0.0.1:${upstream.port}/v1`,
  })),
  models: ['plain', 'wait', 'flood'].flatMap((name) =>
    DIALECTS.map((kind) => ({ name: `${name}-${kind}`, targets: [kind], deadlines })),
  ),
  keys: [
    { name: 'test', sha256: keyHash(TEST_KEY) },
    { name: 'three', sha256: keyHash('sk-three'), inFlightMax: 3 },
    { name: 'batch', sha256: keyHash('sk-batch'), priority: 'batch' },
  ],
  limits: { exchangesMax: 40, requestBodiesBytesMax: 2 * MIB },
});

/** Asks a model that never answers; the controller takes the client away. */
async function hold(key: string, more: object = {}): Promise<AbortController> {
  const controller = new AbortController();
  const seen = upstream.seen.length;
  void ask(node.apiUrl, {
    dialect: 'openai',
    model: 'wait-openai',
    isStream: true,
    headers: { authorization: `Bearer ${key}` },
    more,
    signal: controller.signal,
  }).catch(() => null); // It is taken away.
  await until('the model server has the request', () => upstream.seen.length > seen);
  return controller;
}

function quick(key: string, dialect: ClientDialect = 'openai', more: object = {}): Promise<Reply> {
  const headers = { authorization: `Bearer ${key}` };
  const model = `plain-${dialect}`;
  return ask(node.apiUrl, { dialect, model, isStream: false, headers, more });
}

/** The value of a metric without labels. */
async function metric(name: string): Promise<number> {
  const text = await (await fetch(`${node.adminUrl}/metrics`)).text();
  return Number(new RegExp(`^${name} (.+)`, 'm').exec(text)?.[1]);
}

function inFlight(): Promise<number> {
  return metric('banyan_exchanges_in_flight');
}

async function release(held: readonly AbortController[]): Promise<void> {
  for (const controller of held) controller.abort();
  await until('nothing is under way', async () => (await inFlight()) === 0);
}

describe('too many', () => {
  test('a key at its bound is served, past it gets 429, and is served again', async () => {
    const held = [await hold('sk-three'), await hold('sk-three')];
    assert.equal((await quick('sk-three')).status, 200, 'the third place');
    held.push(await hold('sk-three'));
    for (const dialect of DIALECTS) {
      const reply = await quick('sk-three', dialect);
      assert.equal(reply.status, 429, reply.body);
      assert.equal(reply.headers['retry-after'], '1');
      assert.equal(errorOf(reply.body)?.type, 'rate_limit_error');
    }
    assert.equal((await quick(TEST_KEY)).status, 200, 'other keys are not held back');
    await release(held);
    assert.equal((await quick('sk-three')).status, 200);
  });

  test('the node keeps a reserve for higher classes, and is full at its bound', async () => {
    const held: AbortController[] = [];
    while (held.length < 32) held.push(await hold(TEST_KEY));
    assert.equal((await quick('sk-batch')).status, 503, 'four fifths are for batch');
    while (held.length < 37) held.push(await hold(TEST_KEY));
    assert.equal((await quick(TEST_KEY)).status, 200, 'the 38th');
    held.push(await hold(TEST_KEY));
    for (const dialect of DIALECTS) {
      const reply = await quick(TEST_KEY, dialect);
      assert.equal(reply.status, 503, reply.body);
      assert.equal(reply.headers['retry-after'], '1');
      const type = dialect === 'openai' ? 'server_error' : 'overloaded_error';
      assert.equal(errorOf(reply.body)?.type, type);
    }
    assert.equal((await fetch(`${node.apiUrl}/readyz`)).status, 200);
    await release(held);
    assert.equal((await quick('sk-batch')).status, 200);
  });

  test('the bodies of all requests together are bounded', async () => {
    const held = [await hold(TEST_KEY, { user: 'x'.repeat(1.5 * MIB) })];
    const refused = await quick(TEST_KEY, 'openai', { user: 'x'.repeat(MIB) });
    assert.equal(refused.status, 503, refused.body);
    assert.equal((await quick(TEST_KEY)).status, 200, 'a small one fits');
    await release(held);
    assert.equal((await quick(TEST_KEY, 'openai', { user: 'x'.repeat(MIB) })).status, 200);
  });
});

/** Asks for 50 MiB and reads nothing of them. */
function openDeaf(dialect: ClientDialect, provider: ClientDialect): Socket {
  const { hostname, port } = new URL(node.apiUrl);
  const socket = connect(Number(port), hostname);
  socket.pause();
  socket.on('error', () => {}); // Closed by the test.
  const path = dialect === 'openai' ? '/v1/chat/completions' : '/v1/messages';
  const body = questionBody({ dialect, model: `flood-${provider}`, isStream: true });
  socket.write(
    `POST ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TEST_KEY}\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
  return socket;
}

function residentBytes(): number {
  const kib = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${node.pid}/status`, 'utf8'))?.[1];
  return Number(kib) * 1024;
}

const skip = process.platform === 'linux' ? false : 'memory of another process is read from /proc';
test(
  '16 deaf readers of 50 MiB each hold their own servers, not memory or others',
  { skip },
  async () => {
    for (let turn = 0; turn < 50; turn += 1) await quick(TEST_KEY);
    const beforeBytes = residentBytes();
    const sockets = Array.from({ length: 16 }, (_, index) =>
      openDeaf(DIALECTS[index % 2] ?? 'openai', DIALECTS[(index >> 1) % 2] ?? 'openai'),
    );
    let last = -1;
    await until(
      'all model servers are held back',
      async () => {
        await new Promise((resolve) => setTimeout(resolve, 400));
        const isStill = upstream.floodedBytes > 16 * MIB && upstream.floodedBytes === last;
        last = upstream.floodedBytes;
        return isStill;
      },
      30_000,
    );
    assert.ok(last < 400 * MIB, `half of all is on its way: ${last / MIB} MiB`);
    const grownBytes = residentBytes() - beforeBytes;
    assert.ok(
      grownBytes < 160 * MIB,
      `memory grew by ${grownBytes / MIB} MiB for 800 MiB of answers`,
    );
    // Where other work fills the machine, the flood itself may have been too much for a moment.
    await until('no load stands', async () => (await metric('banyan_shed_pressure')) === 0);
    for (const dialect of DIALECTS) {
      for (let turn = 0; turn < 20; turn += 1) {
        const reply = await quick(TEST_KEY, dialect);
        assert.equal(reply.status, 200, reply.body);
        assert.ok(reply.totalMs < 2_000, `${reply.totalMs} ms`);
      }
    }
    for (const socket of sockets) socket.destroy();
    await until('nothing is under way', async () => (await inFlight()) === 0);
  },
);
