/**
 * Two nodes in one region and one in another, as real processes: what is to happen once happens once in
 * both, and a shared configuration takes both along, or goes on without the one that died.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ask as asked, type Reply } from '../support/client.ts';
import { startFakeUpstream } from '../support/fakeUpstream.ts';
import {
  atEnd,
  startRegions,
  TEST_KEY,
  until,
  type RegionSpec,
  type TestNode,
} from '../support/node.ts';

const [US, EU, FURTHER] = ['us-east-2', 'eu-central-1', 'eu-2'] as const;
const TWO = `${EU}/${FURTHER}`;

const fake = await startFakeUpstream();
atEnd(() => fake.close());

function specOf(region: string, further?: string): RegionSpec {
  return {
    region,
    ...(further === undefined ? {} : { further }),
    targets: [{ name: 'one', kind: 'openai', baseUrl: `${fake.origin}/v1` }],
    models: [{ name: 'm', targets: ['one'] }],
    control: { heartbeatMs: 50, electionMs: 500, registers: { idempotency: true } },
  };
}

const [us, eu, eu2] = await startRegions([specOf(US), specOf(EU), specOf(EU, FURTHER)]);
assert.ok(us !== undefined && eu !== undefined && eu2 !== undefined);
/** The further node, also after it was killed. */
let back = eu2;

function reply(node: TestNode, key: string): Promise<Reply> {
  const headers = { 'idempotency-key': key };
  return asked(node.apiUrl, { dialect: 'openai', model: 'm', isStream: false, text: key, headers });
}

async function ask(node: TestNode, key: string): Promise<number> {
  return (await reply(node, key)).status;
}

interface SharedConfig {
  readonly base: number;
  readonly newest: number;
  readonly rollout: { readonly region: string | null; readonly halted: string | null } | null;
  readonly items: readonly {
    readonly region: string;
    readonly state: string;
    readonly applied: number | null;
    readonly nodes: readonly { readonly peer: string; readonly applied: number | null }[];
  }[];
}

async function config(): Promise<SharedConfig> {
  return (await us?.admin('/admin/v1/config')) as unknown as SharedConfig;
}

async function push(model: string, bakeMs: number, order: readonly string[]): Promise<void> {
  const text = JSON.stringify({
    rollout: { bakeMs, order },
    targets: [{ name: 'shared', kind: 'openai', baseUrl: `${fake.origin}/v1` }],
    models: [{ name: model, targets: ['shared'] }],
  });
  const response = await fetch(`${us?.adminUrl}/admin/v1/config`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ action: 'push', text }),
  });
  const told = await response.text();
  assert.equal(response.status, 200, told);
  assert.deepEqual(
    (JSON.parse(told) as { unchecked: unknown }).unchecked,
    [],
    'every node was asked',
  );
}

/** Versions in force at the nodes of the region of two. */
async function appliedInEu(): Promise<readonly (readonly [string, number | null])[]> {
  const row = (await config()).items.find(({ region }) => region === EU);
  return row?.nodes.map(({ peer, applied }) => [peer, applied] as const) ?? [];
}

async function hasModel(node: TestNode, model: string): Promise<boolean> {
  const headers = { authorization: `Bearer ${TEST_KEY}` };
  const response = await fetch(`${node.apiUrl}/v1/models`, { headers });
  return (await response.text()).includes(`"${model}"`);
}

test('a key that two nodes of a region get at once runs once, and each claims under its name', async () => {
  for (const [at, node] of [us, eu, eu2].entries()) {
    let tries = 0;
    await until(
      'it takes claims',
      async () => (await ask(node, `warm-${at}-${(tries += 1)}`)) === 200,
      20_000,
    );
  }
  fake.setFault({ kind: 'late', delayMs: 300 });
  const before = fake.seen.length;
  const asked = Array.from({ length: 5 }, (_, at) => `at-once-${at}`);
  const statuses = await Promise.all(
    asked.map(async (key) => {
      const both = await Promise.all([ask(eu, key), ask(eu2, key)]);
      return both.toSorted((a, b) => a - b);
    }),
  );
  fake.setFault({ kind: 'none' });
  assert.deepEqual(
    statuses,
    asked.map(() => [200, 409]),
  );
  assert.equal(fake.seen.length - before, asked.length, 'no model server was asked twice');
  assert.equal(await ask(eu2, 'at the further one'), 200);
  const { items } = (await eu.admin('/admin/v1/claims?after=request/&limit=1000')) as {
    items: { key: string; owner: string }[];
  };
  const claim = items.find(({ key }) => key.endsWith('/at the further one'));
  assert.match(claim?.owner ?? '', /^eu-central-1\/eu-2\/req_/);
  const refused = await fetch(`${eu2.adminUrl}/admin/v1/claims`);
  assert.equal(refused.status, 409);
  assert.match(await refused.text(), /not_kept_here.*ask one of eu-central-1, us-east-2/);
});

test('a version reaches both nodes of a region, and waits for one that is silent a moment', async () => {
  await until('a version can be pushed', async () => (await config()).newest === 0);
  await push('first', 0, [US, EU]);
  eu2.signal('SIGSTOP');
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  assert.equal(await hasModel(eu, 'first'), false, 'its region is not begun without it');
  eu2.signal('SIGCONT');
  await until('it counts everywhere', async () => (await config()).base === 1);
  assert.deepEqual(await appliedInEu(), [
    [EU, 1],
    [TWO, 1],
  ]);
  for (const node of [us, eu, eu2]) assert.ok(await hasModel(node, 'first'));
});

test('a node killed while its region bakes stops no roll-out, and takes it when it is back', async () => {
  await push('second', 1_000, [EU, US]);
  await until('it bakes at both', async () => {
    return (await config()).items.some(({ region, state }) => region === EU && state === 'baking');
  });
  await eu2.kill9();
  await until('it counts everywhere', async () => (await config()).base === 2, 30_000);
  assert.deepEqual(await appliedInEu(), [
    [EU, 2],
    [TWO, null],
  ]);
  back = await eu2.again();
  await until('it has the version', () => hasModel(back, 'second'), 20_000);
});

test('where the vote of a region moves, its claims move along, and the node of before may go', async () => {
  const rows = async (): Promise<readonly { id: number; peer: string }[]> => {
    const { items } = (await us.admin('/admin/v1/members')) as {
      items: { id: number; peer: string }[];
    };
    return items;
  };
  const idOf = async (peer: string) => (await rows()).find((row) => row.peer === peer)?.id ?? 0;
  const change = async (body: object): Promise<number> => {
    const response = await fetch(`${us.adminUrl}/admin/v1/members`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    await response.arrayBuffer();
    return response.status;
  };
  const listed = async (node: TestNode): Promise<number> =>
    (await fetch(`${node.adminUrl}/admin/v1/claims`)).status;
  const id = await idOf(TWO);
  const promote = { action: 'promote', id, replace: true };
  await until('it votes', async () => (await change(promote)) === 200, 20_000);
  await until('it keeps the claims, and the first node does not', async () => {
    return (await listed(back)) === 200 && (await listed(eu)) === 409;
  });
  const first = await idOf(EU);
  await eu.kill9();
  assert.equal(await change({ action: 'remove', id: first }), 200);
  await until('what was known of it is gone', () =>
    [us, back].some((node) => node.logs().includes('"what":"forget"')),
  );
  await until('what was claimed before is claimed', async () => {
    const { status, headers, body } = await reply(back, 'at-once-0');
    const isToComeAgain = status === 503 && headers['retry-after'] !== undefined;
    assert.ok(status === 409 || isToComeAgain, `${status} ${body}`);
    return status === 409;
  });
});
