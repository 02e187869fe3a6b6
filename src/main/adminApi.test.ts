/**
 * The admin API of a real node against its table: what is served is documented, what is documented is
 * served, and real answers are as the document says.
 */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { z } from 'zod';

import { hashText } from '../base/prng.ts';
import { BODY_REFUSALS, COMMON_REFUSALS } from '../io/admin/openapi.ts';
import { PROBES } from '../io/admin/probes.ts';
import type { AdminRoute } from '../io/admin/route.ts';
import { createLog } from '../io/observe/log.ts';
import { adminDocument, ADMIN_ROUTES } from './adminRoutes.ts';
import { parseConfig } from './config/load.ts';
import { renderProblems } from './config/render.ts';
import { startNode, type RunningNode } from './node.ts';
import { createPlatform } from './serve.ts';
import { clusterRoutes } from './up/cluster.ts';

const CONFIG = `
region: eu-central-1
listen: { api: 127.0.0.1:0, admin: 127.0.0.1:0 }
control: { electionMs: 100, heartbeatMs: 20, registers: {} }
targets: [{ name: t, kind: openai, baseUrl: "http://127.0.0.1:9/v1" }]
models: [{ name: m, targets: [t] }]
keys: [{ name: filed, sha256: 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 }]
`;

/** Where the claim of the job `nightly` is won. */
const PLACE = [1, 1, hashText('1 1 a job/nightly')];

const SHARED = 'models: [{ name: shared, targets: [t] }]';

let folder = '';
let node: RunningNode;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'banyan-admin-'));
  const parsed = parseConfig(CONFIG, join(folder, 'banyan.yaml'), {});
  if (!parsed.ok) assert.fail(renderProblems('banyan.yaml', parsed.error));
  node = await startNode({
    loaded: parsed.value.config,
    platform: createPlatform(),
    log: createLog('silent', {}, { write: () => {} }),
    childCommand: () => assert.fail('there is no embedded target'),
    workers: null,
    refusal: () => null,
  });
  const endMs = performance.now() + 20_000;
  const leads = async () => ((await call('GET', '/admin/v1/leader')).json as Leader).leader;
  const wait = async (what: string) => {
    assert.ok(performance.now() < endMs, what);
    await new Promise((resolve) => setTimeout(resolve, 50)); // Calls are counted.
  };
  while ((await leads()) === null) await wait('it leads by itself');
  const claims = async () => (await call('GET', '/admin/v1/claims?key=k')).status;
  while ((await claims()) !== 200) await wait('it takes claims');
  const divided = async () => (await call('POST', '/admin/v1/keys', allot({}, 'none'))).status;
  while ((await divided()) !== 404) await wait('the feature level is raised');
});
after(async () => {
  await node.stop();
  await rm(folder, { recursive: true, force: true });
});

interface Leader {
  readonly leader: string | null;
}

async function call(method: string, path: string, body?: object) {
  const response = await fetch(`${node.listen.admin}${path}`, {
    method,
    ...(body === undefined
      ? {}
      : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  });
  const text = await response.text();
  const isJson = response.headers.get('content-type')?.includes('json') === true;
  const json: unknown = isJson && text !== '' ? JSON.parse(text) : null;
  return { status: response.status, json, allow: response.headers.get('allow') };
}

function allot(shares: object | null, name = 'rated') {
  return { action: 'allot', name, shares };
}

/** A call of each row: the query or the body that is known to be good, and what it comes to. */
const CALLS: Readonly<Record<keyof typeof ADMIN_ROUTES, readonly Call[]>> = {
  getStatus: [{}],
  getRegions: [{}],
  getNodes: [{}],
  getTargets: [{}],
  getModels: [{}],
  explainRoute: [
    { query: '?model=m' },
    { query: '?model=no', status: 404 },
    { query: '?model=m&key=none', status: 404 },
    { query: '', status: 400 },
  ],
  injectFault: [{ body: { action: 'heal' }, status: 403 }],
  getDocument: [{}],
  getMembers: [{}],
  getLeader: [{}],
  changeKeys: [
    { body: { action: 'create', name: 'shop', dryRun: true } },
    { body: { action: 'create', name: 'shop' } },
    { body: { action: 'create', name: 'shop' }, status: 409 },
    { body: { action: 'create', name: 'filed' }, status: 409 },
    { body: { action: 'rotate', name: 'shop' } },
    { body: { action: 'revoke', name: 'none' }, status: 404 },
    { body: { action: 'revoke', name: 'shop', dryRun: true } },
    { body: { action: 'revoke', nmae: 'shop' }, status: 400 },
    { body: { action: 'set', name: 'shop', residency: ['eu', 'ch'], dryRun: true } },
    { body: { action: 'set', name: 'shop', residency: ['eu', 'ch'] } },
    { body: { action: 'set', name: 'shop', residency: [] }, status: 400 },
    { body: { action: 'set', name: 'shop', residency: ['none'] }, status: 400 },
    { body: { action: 'set', name: 'none', residency: null }, status: 404 },
    { body: allot({ 'eu-central-1': 60 }, 'shop'), status: 400 },
    { body: { action: 'create', name: 'rated', requestsPerMinute: 10 } },
    { body: { ...allot({ 'eu-central-1': 60 }), dryRun: true } },
    { body: allot({ 'eu-central-1': 60 }) },
    { body: allot({ 'eu-central-1': 9 }), status: 400 },
    { body: allot({ 'eu-central-1': 101 }), status: 400 },
    { body: allot({ nowhere: 10 }), status: 404 },
    { body: allot({ 'eu-central-1': 60 }, 'none'), status: 404 },
    { body: { ...allot({}), force: true } },
    { body: allot(null) },
  ],
  getKeys: [{}],
  setRegion: [
    { body: { action: 'set', region: 'eu-central-1', weight: 50, residency: 'eu', dryRun: true } },
    { body: { action: 'set', region: 'eu-central-1', weight: 50, residency: 'eu' } },
    { body: { action: 'set', region: 'eu-central-1', weight: 0 }, status: 400 },
    { body: { action: 'set', region: 'eu-central-1', residency: '-' }, status: 400 },
    { body: { action: 'set', region: 'eu-central-1' }, status: 400 },
    { body: { action: 'set', region: 'none', weight: 50 }, status: 404 },
    { body: { action: 'set', region: 'eu-central-1', desired: 'drained' }, status: 409 },
    { body: { action: 'set', region: 'eu-central-1', desired: 'drained', force: true } },
  ],
  changeAdminKeys: [
    { body: { action: 'create', name: 'ops', role: 'operator', dryRun: true } },
    { body: { action: 'create', name: 'ops', role: 'operator' } },
    { body: { action: 'create', name: 'ops', role: 'viewer' }, status: 409 },
    { body: { action: 'create', name: 'root', role: 'root' }, status: 400 },
    { body: { action: 'rotate', name: 'ops', graceMs: 1 } },
    { body: { action: 'revoke', name: 'none' }, status: 404 },
  ],
  getAdminKeys: [{}],
  getAudit: [{}],
  getOutlook: [{}],
  beginBackup: [{ body: { dryRun: true } }, { body: {} }],
  readBackup: [{ query: '?backup=none&piece=0', status: 404 }],
  changeMembers: [
    { body: { action: 'remove', id: 1, dryRun: true }, status: 409 },
    { body: { action: 'remove', id: 1 }, status: 409 },
    { body: { action: 'promote', id: 9, replace: true }, status: 409 },
    { body: { action: 'add', peer: 'eu-central-1/eu-2', address: '10.0.0.2:8200', dryRun: true } },
    { body: { action: 'add', peer: 'eu-central-1/eu-2', address: '10.0.0.2:8200' } },
    { body: { action: 'add', peer: 'eu-central-1/eu-2', address: '10.0.0.2:8200' } },
    { body: { action: 'add', peer: 'eu-central-1/eu-2', address: '10.0.0.3:8200' }, status: 409 },
    { body: { action: 'add', peer: 'eu-central-1/eu-2', address: 'x:1', force: true } },
    { body: { action: 'add', peer: 'nowhere/a', address: '10.0.0.3:8200' }, status: 409 },
    { body: { action: 'add', peer: 'sa', address: 'no address' }, status: 400 },
    { body: { action: 'add', peer: 'SA', address: '10.0.0.3:8200' }, status: 400 },
    { body: { action: 'forget', peer: 'eu-central-1' }, status: 409 },
    { body: { action: 'forget', peer: 'sa' }, status: 404 },
    { body: { action: 'forget', peer: 'eu-central-1/eu-2', dryRun: true } },
    { body: { action: 'forget', peer: 'eu-central-1/eu-2' } },
  ],
  moveLeader: [
    { body: { region: 'eu-central-1', dryRun: true }, status: 409 },
    { body: { region: 'nowhere' }, status: 404 },
  ],
  changeConfig: [
    { body: { action: 'push', text: SHARED, dryRun: true } },
    { body: { action: 'push', text: SHARED, emergency: true } },
    { body: { action: 'push', text: SHARED }, status: 409 },
    { body: { action: 'push', text: `${SHARED}\n#`, expect: 0 }, status: 409 },
    { body: { action: 'push', text: 'models: [{ name: m }]' }, status: 400 },
    { body: { action: 'push', text: 'regions: { nowhere: {} }' }, status: 400 },
    { body: { action: 'rollback' }, status: 409 },
    { body: { action: 'rollback', version: 1, dryRun: true } },
    { body: { action: 'rollback', version: 1, emergency: true } },
    { body: { action: 'rollback', version: 9 }, status: 404 },
    { body: { action: 'resume' }, status: 409 },
    { body: { action: 'push', txt: '' }, status: 400 },
  ],
  getConfig: [
    {},
    { query: '?version=1' },
    { query: '?region=eu-central-1' },
    { query: '?version=9', status: 404 },
    { query: '?version=x', status: 400 },
    { query: '?region=nowhere', status: 404 },
  ],
  getConfigHistory: [{}],
  changeClaims: [
    { body: { action: 'claim', key: 'nightly', owner: 'a' } },
    { body: { action: 'claim', key: 'nightly', owner: 'b' } },
    { body: { action: 'settle', key: 'nightly', owner: 'a', place: PLACE, result: 'ok' } },
    {
      body: { action: 'release', key: 'other', owner: 'a', place: [1, 1] },
      status: 409,
    },
    { body: { action: 'claim', key: 'no spaces', owner: 'a' }, status: 400 },
  ],
  getClaims: [
    {},
    { query: '?key=job/nightly' },
    { query: '?key=', status: 400 },
    { query: '?after=job/nightly&limit=1000' },
    { query: '?limit=1001', status: 400 },
    { query: '?limit=0', status: 400 },
    { query: `?after=${'k'.repeat(201)}`, status: 400 },
  ],
  changeNames: [
    { body: { action: 'take', name: 'shop', owner: 'a' } },
    { body: { action: 'give', name: 'shop', owner: 'a' } },
  ],
  getName: [{ query: '?name=shop' }, { status: 400 }],
  changeLeases: [
    { body: { action: 'free', name: 'none', dryRun: true } },
    { body: { action: 'free', name: 'none' } },
  ],
  getLeases: [{}, { query: '?after=registers/&limit=1' }, { query: '?limit=1001', status: 400 }],
};

interface Call {
  readonly query?: string;
  readonly body?: object;
  readonly status?: number;
}

const refusal = z.strictObject({
  error: z.strictObject({ code: z.string(), message: z.string().min(1) }),
});

function codesOf(route: AdminRoute, status: number): readonly string[] {
  const lists = [COMMON_REFUSALS, route.body === undefined ? {} : BODY_REFUSALS, route.refusals];
  return lists.flatMap((list) => list?.[status] ?? []);
}

for (const [name, calls] of Object.entries(CALLS)) {
  const route: AdminRoute = ADMIN_ROUTES[name as keyof typeof ADMIN_ROUTES];
  test(`${name}: answers are as the document says`, async () => {
    for (const { query = '', body, status = 200 } of calls) {
      const answer = await call(route.method, route.path + query, body);
      const told = `${name}${query} ${JSON.stringify(body)}: ${JSON.stringify(answer)}`;
      assert.equal(answer.status, status, told);
      const schema = status === 200 ? route.answer : refusal;
      const parsed = schema.safeParse(answer.json);
      assert.ok(parsed.success, `${told}\n${parsed.error && z.prettifyError(parsed.error)}`);
      if (status === 200) continue;
      const { code } = refusal.parse(answer.json).error;
      assert.ok(codesOf(route, status).includes(code), `${told}: ${code} is documented`);
    }
  });
}

test('what is documented is served, what is served is documented, and nothing else', async () => {
  const { json } = await call('GET', '/admin/v1/openapi.json');
  const { paths } = json as ReturnType<typeof adminDocument>;
  const rows = Object.values<AdminRoute>(ADMIN_ROUTES);
  const known = [...rows.map(({ path }) => path), ...PROBES.map(({ path }) => path)];
  assert.deepEqual(Object.keys(paths).toSorted(), [...new Set(known)].toSorted());
  for (const [path, methods] of Object.entries(paths)) {
    // The server names the methods that it has where it is asked for one that nobody has.
    const { status, allow } = await call('DELETE', path);
    assert.equal(status, 405, path);
    const served = (allow ?? '').split(', ').filter((method) => method !== 'HEAD');
    const documented = Object.keys(methods).map((method) => method.toUpperCase());
    assert.deepEqual(served.toSorted(), documented.toSorted(), path);
  }
  assert.equal((await call('GET', '/admin/v1/nothing')).status, 404);
});

test("the demo's supervisor serves the whole table, too", () => {
  const parts = { regions: [], cuts: () => [], startedWallMs: 0, isReady: () => true };
  const served = clusterRoutes(parts, () => assert.fail('nothing is asked'));
  const rows = served.map(({ route }) => `${route.method} ${route.path}`);
  const known = Object.values<AdminRoute>(ADMIN_ROUTES).map(
    ({ method, path }) => `${method} ${path}`,
  );
  assert.deepEqual(rows.toSorted(), known.toSorted());
});

test('every reference of the document leads somewhere', () => {
  const document = adminDocument();
  const { schemas } = document['components'] as { readonly schemas: object };
  const texts = JSON.stringify(document).matchAll(/"\$ref":"([^"]*)"/g);
  const references = new Set([...texts].map(([, reference = '']) => reference));
  assert.ok(references.size > 20);
  for (const reference of references) {
    assert.ok(reference.replace('#/components/schemas/', '') in schemas, reference);
  }
});

test('the public listener serves nothing of it', async () => {
  for (const { method, path } of Object.values<AdminRoute>(ADMIN_ROUTES)) {
    const init = method === 'POST' ? { method, body: '{}' } : { method };
    const response = await fetch(`${node.listen.api}${path}`, init);
    await response.arrayBuffer();
    assert.ok(response.status === 401 || response.status === 404, `${path}: ${response.status}`);
  }
});
