import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { createServer as createNetServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { initCerts } from '../io/certs.ts';
import { createLog } from '../io/observe/log.ts';
import { parseConfig } from './config/load.ts';
import { renderProblems } from './config/render.ts';
import { startNode, type RunningNode } from './node.ts';
import { createPlatform } from './serve.ts';

const REGIONS = ['ap-northeast-1', 'eu-central-1', 'us-east-2'] as const;
type Region = (typeof REGIONS)[number];

let folder = '';
const targets = new Map<Region, Server>();
const nodes = new Map<Region, RunningNode>();

async function listening(server: Server): Promise<number> {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function freePort(): Promise<number> {
  const server = createNetServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** A model server whose answer is the name of its region. */
function targetOf(region: Region): Server {
  return createServer((request, response) => {
    request.resume();
    request.on('end', () => {
      response.setHeader('content-type', 'application/json');
      const message = { role: 'assistant', content: region };
      const choices = [{ index: 0, message, finish_reason: 'stop' }];
      response.end(JSON.stringify({ id: 'x', object: 'chat.completion', created: 1, choices }));
    });
  });
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'banyan-regions-'));
  const made = await initCerts({
    dir: folder,
    cluster: 'test',
    nodes: REGIONS.map((region) => ({ region, node: `${region}-1` })),
    days: 1,
    isForced: false,
    wallMs: Date.now(),
  });
  assert.ok(made.ok, JSON.stringify(made));
  const ports = new Map(
    await Promise.all(REGIONS.map(async (each) => [each, await freePort()] as const)),
  );
  for (const region of REGIONS) {
    const server = targetOf(region);
    targets.set(region, server);
    const port = await listening(server);
    const others = REGIONS.filter((each) => each !== region)
      .map((each) => `    - { name: ${each}, address: 127.0.0.1:${ports.get(each)}, delayMs: 20 }`)
      .join('\n');
    const text = `
region: ${region}
listen: { api: 127.0.0.1:0, admin: 127.0.0.1:0 }
peers:
  cluster: test
  listen: 127.0.0.1:${ports.get(region)}
  tls: { ca: ca.pem, cert: ${region}.pem, key: ${region}.key }
  regions:
${others}
keys: [{ name: app, key: "\${KEY}" }]
targets: [{ name: t, kind: openai, baseUrl: "http://127.0.0.1:${port}/v1" }]
models: [{ name: m, targets: [t], health: { consecutiveFailuresMax: 1, ejectBaseMs: 300000 } }]
limits: { drainMs: 100 }
demo: { faults: true }
`;
    const parsed = parseConfig(text, join(folder, 'banyan.yaml'), { KEY: 'k' });
    if (!parsed.ok) assert.fail(renderProblems(region, parsed.error));
    const node = await startNode({
      loaded: parsed.value.config,
      platform: createPlatform(),
      log: createLog('silent', {}, { write: () => {} }),
      childCommand: () => assert.fail('no target is embedded'),
      workers: null,
      refusal: () => null,
    });
    nodes.set(region, node);
  }
  for (const region of REGIONS) await allSeen(region, 'healthy');
});
after(async () => {
  await Promise.all([...nodes.values()].map((node) => node.stop()));
  for (const server of targets.values()) {
    server.closeAllConnections();
    server.close();
  }
  await rm(folder, { recursive: true });
});

function nodeOf(region: Region): RunningNode {
  return nodes.get(region) ?? assert.fail('the node runs');
}

async function admin(region: Region, path: string): Promise<Record<string, unknown>> {
  return JSON.parse(await (await fetch(`${nodeOf(region).listen.admin}${path}`)).text());
}

/** The states in which `region` sees the others, in the order of the list. */
async function seen(region: Region): Promise<readonly unknown[]> {
  const { items } = await admin(region, '/admin/v1/regions');
  assert.ok(Array.isArray(items));
  return items.slice(1).map((row: { state: unknown }) => row.state);
}

async function allSeen(region: Region, state: string): Promise<void> {
  await until(
    async () => (await seen(region)).every((each) => each === state),
    `${region} sees all others ${state}`,
  );
}

async function until(isTrue: () => Promise<boolean>, what: string): Promise<void> {
  const endMs = performance.now() + 15_000;
  while (!(await isTrue())) {
    assert.ok(performance.now() < endMs, what);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function chat(region: Region): Promise<{ status: number; region: string | null }> {
  const response = await fetch(`${nodeOf(region).listen.api}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: 'Bearer k', 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'where?' }] }),
  });
  await response.text();
  return { status: response.status, region: response.headers.get('x-banyan-region') };
}

function fault(region: Region, body: object): Promise<Response> {
  return fetch(`${nodeOf(region).listen.admin}/admin/v1/faults`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
}

test('each region serves its own requests while it can', async () => {
  for (const region of REGIONS) assert.deepEqual(await chat(region), { status: 200, region });
});

test('regions see one another with their round trips, in JSON and in metrics', async () => {
  const { items } = await admin('eu-central-1', '/admin/v1/regions');
  assert.ok(Array.isArray(items));
  const sighting = items[1].sightings[0];
  assert.equal(sighting.by, 'eu-central-1');
  // The link's own delay is the least; a busy machine adds to it.
  assert.ok(sighting.rttMs >= 20, `${sighting.rttMs} ms`);
  const metrics = await (await fetch(`${nodeOf('eu-central-1').listen.admin}/metrics`)).text();
  assert.match(metrics, /banyan_region_state\{region="us-east-2",state="healthy"\} 1/);
  assert.match(metrics, /banyan_region_rtt_seconds\{region="us-east-2"\} 0\.\d/);
});

test('a cut link is seen as cut from both ends, and heals', async () => {
  const body = { action: 'cut', a: 'eu-central-1', b: 'us-east-2' };
  assert.equal((await fault('eu-central-1', body)).status, 200);
  assert.equal((await fault('us-east-2', body)).status, 200);
  assert.equal((await fault('ap-northeast-1', body)).status, 404);
  await until(async () => (await seen('eu-central-1'))[1] === 'cut', 'eu sees us as cut');
  await until(async () => (await seen('us-east-2'))[1] === 'cut', 'us sees eu as cut');
  assert.deepEqual(await seen('ap-northeast-1'), ['healthy', 'healthy']);
  for (const region of ['eu-central-1', 'us-east-2'] as const) {
    assert.equal((await fault(region, { action: 'heal' })).status, 200);
  }
  for (const region of REGIONS) await allSeen(region, 'healthy');
});

test('with no healthy target here, every request is served by another region', async () => {
  const server = targets.get('eu-central-1') ?? assert.fail('the target runs');
  server.closeAllConnections();
  server.close();
  const served = new Set<string | null>();
  for (let count = 0; count < 50; count += 1) {
    const { status, region } = await chat('eu-central-1');
    assert.equal(status, 200);
    served.add(region);
  }
  assert.ok(!served.has('eu-central-1'));
  // It is out for longer than this file runs: a target whose time is over is on trial, and first.
  const { candidates, chosen } = await admin('eu-central-1', '/admin/v1/explain?model=m');
  assert.ok(Array.isArray(candidates));
  assert.equal(candidates[0].kind, 'region');
  assert.equal(candidates[0].name, chosen);
  assert.equal(candidates.at(-1).state, 'unreachable');
});

test('a region that stops is passed over at once', async () => {
  nodes.get('us-east-2')?.gateway.drain();
  await nodeOf('us-east-2').stop();
  nodes.delete('us-east-2');
  for (let count = 0; count < 20; count += 1) {
    assert.deepEqual(await chat('eu-central-1'), { status: 200, region: 'ap-northeast-1' });
  }
});
