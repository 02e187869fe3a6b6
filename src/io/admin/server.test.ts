import assert from 'node:assert/strict';
import { request } from 'node:http';
import { after, before, test } from 'node:test';

import { OBSERVE_LIMITS } from '../../base/limits.ts';
import { err, ok } from '../../base/result.ts';
import { startAdminServer, type AdminServer, type AdminViews } from './server.ts';

let isReady = true;
const views: AdminViews = {
  isReady: () => isReady,
  metrics: () => Promise.resolve({ contentType: 'text/plain; version=0.0.4', text: 'up 1\n' }),
  status: () => Promise.resolve({ kind: 'node' }),
  regions: () => Promise.resolve({ items: [], unreachable: [] }),
  nodes: () => Promise.reject(new Error('a bug with a secret')),
  targets: () => Promise.resolve({ items: ['t'], unreachable: [] }),
  models: () => Promise.resolve({ items: ['m'], unreachable: [] }),
  control: null,
  warnings: () => [],
  explain: (model, region) =>
    model === 'm'
      ? ok({ model, region })
      : err({ status: 404, code: 'model_not_found', message: 'No such model.' }),
  fault: (body) => ok({ done: [JSON.stringify(body)] }),
};
const errors: unknown[] = [];
let server: AdminServer;
let base = '';

before(async () => {
  server = await startAdminServer({
    host: '127.0.0.1',
    port: 0,
    views,
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
  return get('/admin/v1/faults', {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json', ...headers },
  });
}

/** With a Host header of our choice, which fetch does not allow. */
function getAs(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const outgoing = request(`${base}/admin/v1/status`, { headers: { host } }, (response) => {
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

test('metrics and the lists are served as the views give them', async () => {
  assert.equal((await get('/metrics')).text, 'up 1\n');
  assert.equal((await get('/admin/v1/status')).text, '{"kind":"node"}');
  assert.equal((await get('/admin/v1/regions')).text, '{"items":[],"unreachable":[]}');
  assert.equal((await get('/admin/v1/targets')).status, 200);
  assert.equal((await get('/admin/v1/models')).status, 200);
  assert.equal((await get('/')).text, 'page');
});

test('explain needs a model and passes refusals on', async () => {
  assert.equal((await get('/admin/v1/explain')).status, 400);
  const answer = await get('/admin/v1/explain?model=m&region=r');
  assert.equal(answer.text, '{"model":"m","region":"r"}');
  const refusal = await get('/admin/v1/explain?model=x');
  assert.equal(refusal.status, 404);
  assert.match(refusal.text, /"code":"model_not_found"/);
});

test('a view that fails is a 500 without its message, and is told', async () => {
  const answer = await get('/admin/v1/nodes');
  assert.equal(answer.status, 500);
  assert.doesNotMatch(answer.text, /secret/);
  assert.equal(errors.length, 1);
});

test('unknown paths are 404, other methods 405', async () => {
  assert.equal((await get('/admin/v1/nothing')).status, 404);
  assert.equal((await get('/nothing')).status, 404);
  const answer = await get('/admin/v1/status', { method: 'DELETE' });
  assert.equal(answer.status, 405);
  assert.equal(answer.headers.get('allow'), 'GET, HEAD');
  assert.equal((await get('/admin/v1/faults')).status, 405);
});

test('a fault is JSON by POST, bounded, and not from another origin', async () => {
  assert.equal((await post('{"action":"heal"}')).text, '{"done":["{\\"action\\":\\"heal\\"}"]}');
  assert.equal((await post('{')).status, 400);
  assert.equal((await post('{}', { 'content-type': 'text/plain' })).status, 415);
  assert.equal((await post('{}', { origin: 'http://evil.example' })).status, 403);
  assert.equal((await post('{}', { origin: base })).status, 200);
  const large = JSON.stringify('x'.repeat(OBSERVE_LIMITS.adminBodyBytesMax));
  assert.equal((await post(large)).status, 413);
});

test('a name that somebody points at this machine is refused (DNS rebinding)', async () => {
  assert.equal(await getAs('evil.example:8100'), 421);
  assert.equal(await getAs('localhost:8100'), 200);
  assert.equal(await getAs('[::1]:8100'), 200);
  assert.equal(await getAs('127.0.0.1.evil.example'), 421);
});

test('faults are refused where they are not allowed', async () => {
  const strict = await startAdminServer({
    host: '127.0.0.1',
    port: 0,
    views: { ...views, fault: null },
  });
  try {
    const response = await fetch(`http://127.0.0.1:${strict.port}/admin/v1/faults`, {
      method: 'POST',
      body: '{}',
    });
    assert.equal(response.status, 403);
  } finally {
    await strict.close();
  }
});

test('a taken port is an error and no crash', async () => {
  await assert.rejects(startAdminServer({ host: '127.0.0.1', port: server.port, views }));
});
