import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';

import { createPrng } from '../base/prng.ts';
import { createClock, createTimers } from '../io/clock.ts';
import { watchLoop } from '../io/loopLag.ts';
import { createLog } from '../io/observe/log.ts';
import { parseConfig } from './config/load.ts';
import { renderProblems } from './config/render.ts';
import { startNode, type RunningNode } from './node.ts';
import type { Platform } from './platform.ts';
import { listenApi, openUpstream } from './realPlatform.ts';

/** A model server that answers at once, streams that wait for `release`, and a health that flips. */
interface FakeTarget {
  readonly server: Server;
  readonly port: number;
  isWell: boolean;
  probes: number;
  /** Called when a request for a stream has arrived. */
  arrived: () => void;
  release: () => void;
}

async function fakeTarget(): Promise<FakeTarget> {
  const fake = {
    isWell: true,
    probes: 0,
    arrived: () => {},
    release: () => {},
  };
  const server = createServer((request, response) => {
    if (request.url === '/health') {
      fake.probes += 1;
      response.writeHead(fake.isWell ? 200 : 500).end();
      return;
    }
    let body = '';
    request.on('data', (chunk) => (body += String(chunk)));
    request.on('end', () => {
      response.setHeader('content-type', 'application/json');
      const answer = JSON.stringify({
        id: 'x',
        object: 'chat.completion',
        created: 1,
        model: 'm',
        choices: [
          { index: 0, message: { role: 'assistant', content: 'hi' }, finish_reason: 'stop' },
        ],
        usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
      });
      if (!body.includes('wait')) return void response.end(answer);
      fake.release = () => void response.end(answer);
      fake.arrived();
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  return Object.assign(fake, { server, port: address.port });
}

let target: FakeTarget;
const nodes: RunningNode[] = [];
beforeEach(async () => {
  target = await fakeTarget();
});
afterEach(async () => {
  await Promise.all(nodes.splice(0).map((node) => node.stop()));
  target.server.closeAllConnections();
  target.server.close();
});

function textOf(more = '', model = 'm'): string {
  return `
region: eu-central-1
listen: { api: 127.0.0.1:0, admin: 127.0.0.1:0 }
keys: [{ name: app, key: "\${KEY}" }]
targets:
  - name: t
    kind: openai
    baseUrl: http://127.0.0.1:${target.port}/v1
    probePath: /health
models:
  - { name: ${model}, targets: [t], health: { probeIntervalMs: 100 } }
limits: { drainMs: 5000 }
${more}`;
}

function parse(text: string) {
  const parsed = parseConfig(text, '/tmp/banyan.yaml', { KEY: 'k' });
  if (!parsed.ok) assert.fail(renderProblems('banyan.yaml', parsed.error));
  return parsed.value.config;
}

/** The real outside, without other regions. */
function testPlatform(): Platform {
  const clock = createClock();
  return {
    clock,
    timers: createTimers(),
    prng: createPrng(1),
    openUpstream: (origins) => openUpstream(origins, clock),
    listenApi: (options) => listenApi(options, clock),
    openPeers: () => Promise.reject(new Error('these nodes stand alone')),
    watchLoop: (report) => watchLoop(clock, report),
  };
}

async function start(text = textOf()): Promise<RunningNode> {
  const node = await startNode({
    loaded: parse(text),
    platform: testPlatform(),
    log: createLog('silent', {}, { write: () => {} }),
    childCommand: ({ port }) => ({
      file: process.execPath,
      args: [join(import.meta.dirname, '../io/testdata/fakeModelServer.mjs'), String(port)],
    }),
    workers: null,
    refusal: () => null,
  });
  nodes.push(node);
  return node;
}

function chat(node: RunningNode, content = 'hi', model = 'm'): Promise<Response> {
  return fetch(`${node.listen.api}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: 'Bearer k', 'content-type': 'application/json' },
    body: JSON.stringify({ model, messages: [{ role: 'user', content }] }),
  });
}

async function admin(node: RunningNode, path: string) {
  const response = await fetch(`${node.listen.admin}${path}`);
  const text = await response.text();
  return { status: response.status, text, json: (): Record<string, unknown> => JSON.parse(text) };
}

/** Asks again until it is true; fails after 5 s. */
async function until(isTrue: () => Promise<boolean>, what: string): Promise<void> {
  const endMs = performance.now() + 5_000;
  while (!(await isTrue())) {
    assert.ok(performance.now() < endMs, what);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test('a node answers a chat, and its admin listener tells of it', async () => {
  const node = await start();
  const response = await chat(node);
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('x-banyan-target'), 't');
  await response.text();
  const metrics = await admin(node, '/metrics');
  assert.match(
    metrics.text,
    /banyan_exchanges_total\{operation="chat",end="answered",status="200"\} 1/,
  );
  const status = await admin(node, '/admin/v1/status');
  assert.match(
    status.text,
    /^\{"kind":"node","region":"eu-central-1","node":"eu-central-1-1","state":"ready"/,
  );
  const targets = await admin(node, '/admin/v1/targets');
  assert.deepEqual(targets.json(), {
    items: [
      {
        region: 'eu-central-1',
        target: 't',
        kind: 'openai',
        origin: `http://127.0.0.1:${target.port}`,
        models: ['m'],
        state: 'healthy',
        reason: '',
        inFlight: 0,
        process: null,
        pid: null,
        restarts: null,
      },
    ],
    unreachable: [],
  });
  assert.match((await admin(node, '/admin/v1/models')).text, /"targetsHealthy":1/);
  assert.match((await admin(node, '/admin/v1/regions')).text, /"state":"healthy"/);
  const fault = await fetch(`${node.listen.admin}/admin/v1/faults`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"action":"heal"}',
  });
  assert.equal(fault.status, 403);
  assert.match(await fault.text(), /"faults_disabled"/);
});

test('explain: the choice, and refusals for unknown models and other regions', async () => {
  const node = await start();
  const answer = await admin(node, '/admin/v1/explain?model=m');
  assert.match(answer.text, /"chosen":"t"/);
  assert.equal((await admin(node, '/admin/v1/explain?model=x')).status, 404);
  assert.equal((await admin(node, '/admin/v1/explain?model=m&region=us-east-2')).status, 404);
  assert.equal((await admin(node, '/admin/v1/explain?model=m&region=eu-central-1')).status, 200);
});

test('failed probes take a target out, a good one brings it back', async () => {
  const node = await start();
  const state = async () => (await admin(node, '/admin/v1/targets')).text;
  target.isWell = false;
  await until(async () => /"state":"unreachable"/.test(await state()), 'the target is out');
  target.isWell = true;
  await until(async () => !/"state":"unreachable"/.test(await state()), 'the target is back');
  assert.ok(target.probes >= 3);
});

test('a stop flips readiness, refuses with 503 and Retry-After, and lets what runs finish', async () => {
  const node = await start();
  const arrived = new Promise<void>((resolve) => {
    target.arrived = resolve;
  });
  const running = chat(node, 'wait');
  await arrived;
  const stopped = node.stop();
  nodes.splice(0);
  assert.equal((await admin(node, '/readyz')).status, 503);
  assert.equal((await fetch(`${node.listen.api}/readyz`)).status, 503);
  assert.equal((await admin(node, '/livez')).status, 200);
  const refused = await chat(node);
  assert.equal(refused.status, 503);
  assert.equal(refused.headers.get('retry-after'), '1');
  target.release();
  assert.equal((await running).status, 200);
  assert.match(await (await running).text(), /"hi"/);
  await stopped;
  await assert.rejects(fetch(`${node.listen.api}/livez`));
});

test('a stop breaks off what does not finish within the drain limit, and says so', async () => {
  const node = await start(textOf().replace('drainMs: 5000', 'drainMs: 50'));
  const arrived = new Promise<void>((resolve) => {
    target.arrived = resolve;
  });
  const running = chat(node, 'wait');
  await arrived;
  nodes.splice(0);
  const [response] = await Promise.all([running, node.stop()]);
  assert.equal(response.status, 503);
});

test('a new configuration is in force for new requests; running ones keep theirs', async () => {
  const node = await start();
  const arrived = new Promise<void>((resolve) => {
    target.arrived = resolve;
  });
  const running = chat(node, 'wait');
  await arrived;
  const before = (await admin(node, '/admin/v1/status')).json()['configRevision'];
  await node.apply(parse(textOf('', 'other')));
  assert.equal((await chat(node)).status, 404);
  assert.equal((await chat(node, 'hi', 'other')).status, 200);
  target.release();
  assert.equal((await running).status, 200);
  const after = (await admin(node, '/admin/v1/status')).json()['configRevision'];
  assert.notEqual(after, before);
});

test('embedded targets are children: faults act on them, and they end with the node', async () => {
  const text = textOf('demo: { faults: true }').replace(
    'models:',
    `  - { name: l, kind: llama, modelFile: x.gguf }\nmodels:\n  - { name: small, targets: [l] }`,
  );
  const node = await start(text);
  const row = async () =>
    (
      (await admin(node, '/admin/v1/targets')).json()['items'] as { pid: number; process: string }[]
    )[1];
  const fault = (action: string) =>
    fetch(`${node.listen.admin}/admin/v1/faults`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ action, region: 'eu-central-1', target: 'l' }),
    });
  await until(async () => (await row())?.process === 'running', 'the child runs');
  assert.equal((await fault('resume')).status, 409);
  assert.equal((await fault('kill')).status, 200);
  await until(async () => (await row())?.process === 'held', 'the child is down');
  assert.match((await admin(node, '/admin/v1/models')).text, /"targetsHealthy":0/);
  assert.equal((await fault('restart')).status, 200);
  await until(async () => (await row())?.process === 'running', 'the child is back');
  const { pid } = (await row()) ?? assert.fail();
  nodes.splice(0);
  await node.stop();
  assert.throws(() => process.kill(pid, 0), /ESRCH/);
});

test('a node that cannot listen closes what it had opened', async () => {
  const text = textOf().replace('api: 127.0.0.1:0', `api: 127.0.0.1:${target.port}`);
  await assert.rejects(start(text), /EADDRINUSE/);
});
