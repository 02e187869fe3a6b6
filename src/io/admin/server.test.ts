import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { after, before, test } from 'node:test';

import { z } from 'zod';

import { ADMIN_LIMITS } from '../../base/adminLimits.ts';
import { OBSERVE_LIMITS } from '../../base/limits.ts';
import { err, ok } from '../../base/result.ts';
import type { AccessRules } from './access.ts';
import { openapiDocument } from './openapi.ts';
import { named, serveRoutes, type AdminRoutes } from './route.ts';
import { startAdminServer, type AdminServer, type AdminViews } from './server.ts';

let isReady = true;
const views: AdminViews = {
  isReady: () => isReady,
  metrics: () => Promise.resolve({ contentType: 'text/plain; version=0.0.4', text: 'up 1\n' }),
  warnings: () => [],
};
const ROUTES = {
  list: {
    method: 'GET',
    path: '/admin/v1/list',
    role: 'viewer',
    summary: 'A list',
    answer: named('TestList', z.strictObject({ items: z.array(z.string()) })),
  },
  change: {
    method: 'POST',
    path: '/admin/v1/list',
    role: 'operator',
    summary: 'Changes the list',
    body: named('TestChange', z.strictObject({ add: z.string(), times: z.int().default(1) })),
    answer: named('TestChanged', z.strictObject({ told: z.string() })),
  },
  find: {
    method: 'GET',
    path: '/admin/v1/find',
    role: 'viewer',
    summary: 'Finds one',
    query: z.strictObject({ name: z.string().min(1), place: z.string().optional() }),
    answer: named('TestFound', z.looseObject({})),
    refusals: { 404: ['not_there'] },
  },
  broken: {
    method: 'GET',
    path: '/admin/v1/broken',
    role: 'viewer',
    summary: 'Has a bug',
    answer: named('TestBroken', z.strictObject({})),
  },
} as const satisfies AdminRoutes;
const routes = serveRoutes(ROUTES, {
  list: () => ok({ items: ['t'] }),
  change: ({ body }) => ok({ told: JSON.stringify(body) }),
  find: ({ query }) =>
    query.name === 'm'
      ? ok({ ...query })
      : err({ status: 404, code: 'not_there', message: 'No such thing.' }),
  broken: () => Promise.reject(new Error('a bug with a secret')),
});
const OPEN: AccessRules = { keys: [], clients: [], isOpen: true };
let nowMs = 0;
const errors: unknown[] = [];
let server: AdminServer;
let base = '';

before(async () => {
  server = await startAdminServer({
    host: '127.0.0.1',
    port: 0,
    views,
    routes,
    access: () => OPEN,
    nowMs: () => nowMs,
    onError: (cause) => errors.push(cause),
    pages: (incoming, response) => {
      if (incoming.url !== '/') return false;
      response.end('page');
      return true;
    },
  });
  base = `http://127.0.0.1:${server.port}`;
});
after(() => server.close());

async function get(path: string, init: RequestInit = {}) {
  const response = await fetch(`${base}${path}`, init);
  return { status: response.status, text: await response.text(), headers: response.headers };
}

function post(body: string, headers: Record<string, string> = {}) {
  return get('/admin/v1/list', {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json', ...headers },
  });
}

/** With a Host header of our choice, which fetch does not allow. */
function getAs(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const outgoing = request(`${base}/admin/v1/list`, { headers: { host } }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    outgoing.on('error', reject);
    outgoing.end();
  });
}

test('liveness is always good; readiness flips, under both names', async () => {
  for (const path of ['/livez', '/health/liveliness', '/readyz', '/health/readiness']) {
    assert.equal((await get(path)).status, 200, path);
  }
  isReady = false;
  try {
    assert.equal((await get('/livez')).status, 200);
    assert.equal((await get('/health/liveliness')).status, 200);
    const answer = await get('/readyz');
    assert.equal(answer.status, 503);
    assert.equal(answer.headers.get('retry-after'), '1');
    assert.equal((await get('/health/readiness')).status, 503);
  } finally {
    isReady = true;
  }
});

test('metrics, answers and pages are served', async () => {
  assert.equal((await get('/metrics')).text, 'up 1\n');
  assert.equal((await get('/admin/v1/list')).text, '{"items":["t"]}');
  assert.equal((await get('/admin/v1/list', { method: 'HEAD' })).status, 200);
  assert.equal((await get('/')).text, 'page');
});

test('a query is checked by the schema of its row; refusals of the handler pass', async () => {
  assert.equal((await get('/admin/v1/find')).status, 400);
  assert.equal((await get('/admin/v1/find?name=m&plaec=r')).status, 400);
  assert.equal((await get('/admin/v1/find?name=m&place=r')).text, '{"name":"m","place":"r"}');
  const refusal = await get('/admin/v1/find?name=x');
  assert.equal(refusal.status, 404);
  assert.match(refusal.text, /"code":"not_there"/);
});

test('every row and every probe is in the document, under the schemas that check it', () => {
  const document = openapiDocument(ROUTES, '1');
  assert.deepEqual(Object.keys(document.paths).toSorted(), [
    '/admin/v1/broken',
    '/admin/v1/find',
    '/admin/v1/list',
    '/health/liveliness',
    '/health/readiness',
    '/livez',
    '/metrics',
    '/readyz',
  ]);
  const list = document.paths['/admin/v1/list'];
  assert.equal(list?.['post']?.['x-required-role'], 'operator');
  const text = JSON.stringify(document);
  assert.match(text, /"TestChange":\{"type":"object","properties":\{"add":/);
  assert.match(text, /"required":\["add"\]/, 'what has a default need not be sent');
  assert.match(text, /"name":"place","in":"query","required":false/);
  assert.match(text, /"404":\{"description":"not_there"/);
});

test('a view that fails is a 500 without its message, and is told', async () => {
  const answer = await get('/admin/v1/broken');
  assert.equal(answer.status, 500);
  assert.doesNotMatch(answer.text, /secret/);
  assert.equal(errors.length, 1);
});

test('unknown paths are 404, other methods 405', async () => {
  assert.equal((await get('/admin/v1/nothing')).status, 404);
  assert.equal((await get('/nothing')).status, 404);
  const answer = await get('/admin/v1/list', { method: 'DELETE' });
  assert.equal(answer.status, 405);
  assert.equal(answer.headers.get('allow'), 'GET, HEAD, POST');
  assert.equal((await get('/livez', { method: 'POST' })).headers.get('allow'), 'GET, HEAD');
  assert.equal((await get('/admin/v1/find', { method: 'POST' })).status, 405);
});

test('a change is JSON by POST, bounded, checked, and not from another origin', async () => {
  assert.equal((await post('{"add":"a"}')).text, '{"told":"{\\"add\\":\\"a\\",\\"times\\":1}"}');
  assert.equal((await post('{')).status, 400);
  assert.equal((await post('{}')).status, 400);
  assert.match((await post('{"add":1}')).text, /"code":"invalid_request"/);
  assert.equal((await post('{"add":"a","tiems":2}')).status, 400);
  assert.equal((await post('{}', { 'content-type': 'text/plain' })).status, 415);
  assert.equal((await post('{}', { origin: 'http://evil.example' })).status, 403);
  assert.equal((await post('{"add":"a"}', { origin: base })).status, 200);
  const large = JSON.stringify('x'.repeat(OBSERVE_LIMITS.adminBodyBytesMax));
  assert.equal((await post(large)).status, 413);
});

test('a name that somebody points at this machine is refused (DNS rebinding)', async () => {
  assert.equal(await getAs('evil.example:8100'), 421);
  assert.equal(await getAs('localhost:8100'), 200);
  assert.equal(await getAs('[::1]:8100'), 200);
  assert.equal(await getAs('127.0.0.1.evil.example'), 421);
});

test('where credentials are asked for, each row has its role, before a body is read', async () => {
  const rules: AccessRules = {
    keys: [{ name: 'reader', sha256: hash('sha256', 'secret'), role: 'viewer' }],
    clients: [],
    isOpen: false,
  };
  const told: string[] = [];
  const guarded = await startAdminServer({
    host: '127.0.0.1',
    port: 0,
    views: { ...views, warnings: () => ['the quorum is gone'] },
    routes,
    access: () => rules,
    nowMs: () => nowMs,
    onChange: ({ caller, path }) => told.push(`${caller.who} ${path}`),
    onRefused: ({ code }, remote) => told.push(`${code} ${remote}`),
  });
  const url = `http://127.0.0.1:${guarded.port}`;
  const authorization = 'Bearer secret';
  try {
    const none = await fetch(`${url}/admin/v1/list`);
    assert.equal(none.status, 401);
    assert.equal(none.headers.get('www-authenticate'), 'Bearer realm="banyan-admin"');
    const large = 'x'.repeat(2 * OBSERVE_LIMITS.adminBodyBytesMax);
    const init = { method: 'POST', body: large, headers: { authorization } };
    const change = await fetch(`${url}/admin/v1/list`, init);
    assert.equal(change.status, 403);
    assert.equal((await fetch(`${url}/admin/v1/list`, { headers: { authorization } })).status, 200);
    assert.equal((await fetch(`${url}/metrics`)).status, 401);
    assert.equal(await (await fetch(`${url}/readyz`)).text(), 'ok\n');
    const ready = await fetch(`${url}/readyz`, { headers: { authorization } });
    assert.equal(await ready.text(), 'ok\nthe quorum is gone\n');
    const [first, second] = told;
    assert.equal(first, 'no_credentials 127.0.0.1');
    assert.equal(second, 'role_too_low 127.0.0.1');
  } finally {
    await guarded.close();
  }
});

test('who comes too often gets 429 and is told when to come again', async () => {
  const { burstMax, requestsPerSecondMax } = ADMIN_LIMITS;
  nowMs += 60_000;
  for (let count = 0; count < burstMax; count += 1) {
    assert.equal((await get('/admin/v1/list')).status, 200, `request ${count + 1}`);
  }
  const refused = await get('/admin/v1/list');
  assert.equal(refused.status, 429);
  assert.equal(refused.headers.get('retry-after'), '1');
  nowMs += 1_000 / requestsPerSecondMax;
  assert.equal((await get('/admin/v1/list')).status, 200);
  assert.equal((await get('/livez')).status, 429, 'probes count, too');
  nowMs += 60_000;
});

test('one address holds so many connections and no more', async () => {
  const { connectionsPerAddressMax } = ADMIN_LIMITS;
  const small = await startAdminServer({
    host: '127.0.0.1',
    port: 0,
    views,
    routes,
    access: null,
    nowMs: () => 0,
  });
  const open = (from: string): Promise<Socket> =>
    new Promise((resolve, reject) => {
      const socket = connect({ port: small.port, host: '127.0.0.1', localAddress: from });
      socket.once('error', reject);
      // What is broken at once still connects: an answer tells that it was taken.
      socket.once('connect', () => socket.write('GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n'));
      socket.once('data', () => resolve(socket));
      socket.once('close', () => reject(new Error('broken')));
    });
  const sockets: Socket[] = [];
  try {
    for (let count = 0; count < connectionsPerAddressMax; count += 1) {
      sockets.push(await open('127.0.0.1'));
    }
    await assert.rejects(open('127.0.0.1'));
    sockets.push(await open('127.0.0.2'));
    const [first] = sockets;
    assert.ok(first !== undefined);
    first.destroy();
    await new Promise((resolve) => first.once('close', resolve));
    let again: Socket | null = null;
    for (let tries = 0; again === null && tries < 100; tries += 1) {
      again = await open('127.0.0.1').catch(() => null);
    }
    assert.ok(again !== null, 'a place that is free is given');
    sockets.push(again);
  } finally {
    for (const socket of sockets) socket.destroy();
    await small.close();
  }
});

test('a taken port is an error and no crash', async () => {
  await assert.rejects(
    startAdminServer({
      host: '127.0.0.1',
      port: server.port,
      views,
      routes,
      access: null,
      nowMs: () => 0,
    }),
  );
});
