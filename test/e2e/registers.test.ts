/**
 * Leases, claims and idempotency keys of three real regions, while any one of them is killed, paused,
 * cut off or loses its disk.
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';

import { createPrng } from '../../src/base/prng.ts';
import type { Operation, Outcome } from '../../src/sim/checkers/history.ts';
import { KV_MODEL, type KvInput, type KvOutput } from '../../src/sim/checkers/kvModel.ts';
import { checkLinearizability, describeRefusal } from '../../src/sim/checkers/linearizability.ts';
import { startFakeUpstream, type FakeUpstream } from '../support/fakeUpstream.ts';
import {
  atEnd,
  cleanUp,
  startNode,
  startRegions,
  TEST_KEY,
  until,
  untilSeen,
  type RegionSpec,
  type TestNode,
} from '../support/node.ts';

const REGIONS = ['us-east-2', 'eu-central-1', 'ap-northeast-1'] as const;

function specOf(region: string, fake: FakeUpstream, registers: object = {}): RegionSpec {
  return {
    region,
    targets: [{ name: 'one', kind: 'openai', baseUrl: `${fake.origin}/v1` }],
    models: [{ name: 'm', targets: ['one'] }],
    demo: { faults: true },
    control: { heartbeatMs: 50, electionMs: 500, registers },
  };
}

interface World {
  readonly fake: FakeUpstream;
  /** Replaced where one is started again. */
  readonly nodes: TestNode[];
}

async function startWorld(registers: object = {}): Promise<World> {
  const fake = await startFakeUpstream('fake');
  atEnd(() => fake.close());
  const specs = REGIONS.map((region) => specOf(region, fake, registers));
  const nodes = [...(await startRegions(specs))];
  for (const node of nodes) await ready(node);
  return { fake, nodes };
}

async function metric(node: TestNode, name: string): Promise<number | null> {
  const text = await (await fetch(`${node.adminUrl}/metrics`)).text();
  const found = new RegExp(`^${name} (.*)$`, 'm').exec(text);
  return found === null ? null : Number(found[1]);
}

function ready(node: TestNode): Promise<unknown> {
  const look = async () => (await metric(node, 'banyan_registers_ready')) === 1;
  return until(`${node.region} takes claims`, look, 30_000).catch((cause: unknown) => {
    throw new Error(node.logs().slice(-4_000), { cause });
  });
}

interface Told {
  readonly status: number;
  readonly won?: boolean;
  readonly place?: readonly number[];
  readonly claim?: { readonly owner: string; readonly result: string | null };
  readonly error?: { readonly code: string; readonly message: string };
}

async function post(node: TestNode, path: string, body: object, limitMs = 20_000): Promise<Told> {
  const response = await fetch(`${node.adminUrl}/admin/v1/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(limitMs),
  });
  return { status: response.status, ...((await response.json()) as object) };
}

function claim(node: TestNode, key: string, owner: string, limitMs?: number): Promise<Told> {
  return post(node, 'claims', { action: 'claim', key, owner }, limitMs);
}

interface LeaseRow {
  readonly name: string;
  readonly holder: string;
  readonly fence: number;
}

/** The lease of whoever changes generations: each region wants it. */
async function generations(node: TestNode): Promise<LeaseRow | null> {
  const { items } = (await node.admin('/admin/v1/leases')) as { items: LeaseRow[] };
  return items.find(({ name }) => name === 'registers/generations') ?? null;
}

/** The region that holds it now, by its own word. */
async function holderOf(nodes: readonly TestNode[]) {
  for (const [index, node] of nodes.entries()) {
    const row = await generations(node);
    const isOwn = row?.holder.startsWith(`${node.region}/`) === true;
    if (isOwn && (await metric(node, 'banyan_registers_leases_held')) === 1) return { index, row };
  }
  return null;
}

function at<T>(list: readonly T[], index: number): T {
  const one = list[index];
  assert.ok(one !== undefined);
  return one;
}

/** A request of the public API with a key. */
async function chat(
  node: TestNode,
  key: string,
  more: { readonly text?: string; readonly isStream?: boolean; readonly model?: string } = {},
): Promise<{ readonly status: number; readonly body: string }> {
  const { text = 'hello', isStream = false, model = 'm' } = more;
  const response = await fetch(`${node.apiUrl}/v1/chat/completions`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: `Bearer ${TEST_KEY}`,
      'idempotency-key': key,
    },
    body: JSON.stringify({
      model,
      stream: isStream,
      messages: [{ role: 'user', content: text }],
    }),
  });
  return { status: response.status, body: await response.text() };
}

describe('claims over three regions', async () => {
  after(cleanUp);
  const { nodes, fake } = await startWorld();

  test('of claims of one key in all regions at once one wins, and all are told of the same', async () => {
    for (let round = 0; round < 20; round += 1) {
      const told = await Promise.all(
        nodes.map((node) => claim(node, `race-${round}`, `${node.region}-${round}`)),
      );
      const winners = told.filter(({ won }) => won === true);
      assert.equal(winners.length, 1, JSON.stringify(told));
      const owners = new Set(told.flatMap((one) => one.claim?.owner ?? []));
      assert.equal(owners.size, 1, JSON.stringify(told));
    }
  });

  test('a request with a key runs once in all regions together, streamed or not', async () => {
    for (const isStream of [false, true]) {
      const key = `once-${isStream}`;
      const before = fake.seen.length;
      const replies = await Promise.all(nodes.map((node) => chat(node, key, { isStream })));
      const statuses = replies.map(({ status }) => status).toSorted((a, b) => a - b);
      assert.deepEqual(statuses, [200, 409, 409], JSON.stringify(replies));
      assert.equal(fake.seen.length - before, 1);
      await until('its result is known', async () => {
        const { status, body } = await chat(at(nodes, 0), key, { isStream });
        assert.equal(status, 409, body);
        return body.includes('idempotency_done') && body.includes('answered 200');
      });
      const other = await chat(at(nodes, 1), key, { isStream, text: 'another' });
      assert.equal(other.status, 422, other.body);
      assert.match(other.body, /idempotency_mismatch/);
      assert.equal(fake.seen.length - before, 1, 'nothing ran again');
    }
  });

  test('a request that was refused gives its key back', async () => {
    const refused = await chat(at(nodes, 0), 'back', { model: 'no-such-model' });
    assert.equal(refused.status, 404, refused.body);
    assert.equal((await chat(at(nodes, 1), 'back')).status, 200);
  });

  test('an error is told in the dialect of the request', async () => {
    const ask = () =>
      fetch(`${at(nodes, 0).apiUrl}/v1/messages`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'x-api-key': TEST_KEY,
          'anthropic-version': '2023-06-01',
          'idempotency-key': 'claude',
        },
        body: JSON.stringify({
          model: 'm',
          max_tokens: 9,
          messages: [{ role: 'user', content: 'hi' }],
        }),
      });
    assert.equal((await ask()).status, 200);
    const again = await ask();
    assert.equal(again.status, 409);
    const { type, error } = (await again.json()) as { type: string; error: { message: string } };
    assert.equal(type, 'error');
    assert.match(error.message, /Idempotency-Key/);
  });

  test('leases and claims are listed; a freed lease goes on under a higher number', async () => {
    const [node] = nodes;
    assert.ok(node !== undefined);
    const before = await until('somebody holds it', () => generations(node));
    const { status } = await post(node, 'leases', {
      action: 'free',
      name: before.name,
      who: 'test',
    });
    assert.equal(status, 200);
    await until(
      'a new holder',
      async () => ((await generations(node))?.fence ?? 0) > before.fence,
      20_000,
    );
    const { items } = (await node.admin('/admin/v1/audit')) as { items: { what: string }[] };
    assert.ok(items.some(({ what }) => what === `leases free ${before.name}`));
    const claims = (await node.admin('/admin/v1/claims')) as { items: { key: string }[] };
    assert.ok(claims.items.some(({ key }) => key === 'job/race-0'));
    const long = encodeURIComponent('é'.repeat(150));
    const refused = await fetch(`${node.adminUrl}/admin/v1/claims?key=${long}`);
    assert.equal(refused.status, 400, 'more bytes than a key has');
  });

  test('any one region is killed: the others claim on at once; it comes back and knows all', async () => {
    const tookMs: number[] = [];
    for (let dead = 0; dead < 3; dead += 1) {
      await claim(at(nodes, dead), `before-${dead}`, 'a');
      await at(nodes, dead).kill9();
      for (let count = 0; count < 20; count += 1) {
        const node = at(nodes, (dead + 1 + (count % 2)) % 3);
        const beginMs = performance.now();
        const told = await claim(node, `dead-${dead}-${count}`, 'b');
        tookMs.push(performance.now() - beginMs);
        assert.equal(told.won, true, JSON.stringify(told));
      }
      const taken = await claim(at(nodes, (dead + 1) % 3), `before-${dead}`, 'b');
      assert.equal(taken.claim?.owner, 'a');
      nodes[dead] = await at(nodes, dead).again();
      await ready(at(nodes, dead));
      assert.equal((await claim(at(nodes, dead), `dead-${dead}-7`, 'c')).claim?.owner, 'b');
    }
    const most = Math.max(...tookMs);
    console.log(
      `# the slowest of ${tookMs.length} claims after a kill took ${Math.round(most)} ms`,
    );
    assert.ok(most < 2_500, `one retry at most: ${most} ms`);
  });

  test('the holder of a lease is paused: another holds it under a higher number', async () => {
    const held = await until('a living region holds it', () => holderOf(nodes), 40_000);
    const { index, row: before } = held;
    const holder = at(nodes, index);
    const other = at(nodes, (index + 1) % 3);
    holder.signal('SIGSTOP');
    const pausedMs = performance.now();
    const after = await until(
      'another holder',
      async () => {
        const row = await generations(other);
        return row !== null && row.fence > before.fence ? row : null;
      },
      40_000,
    );
    assert.ok(!after.holder.startsWith(`${holder.region}/`), JSON.stringify(after));
    const leftMs = performance.now() - pausedMs;
    assert.ok(leftMs > 7_000, `its time was not over after ${leftMs} ms`);
    holder.signal('SIGCONT');
    await until(
      'it lets go',
      async () => (await metric(holder, 'banyan_registers_leases_held')) === 0,
    );
    assert.equal((await generations(other))?.holder, after.holder);
  });

  test('a region that is cut off refuses in time, the others go on, then it heals', async () => {
    const [a, b, c] = nodes;
    assert.ok(a !== undefined && b !== undefined && c !== undefined);
    await a.fault({ action: 'cut', a: a.region, b: b.region });
    await a.fault({ action: 'cut', a: a.region, b: c.region });
    await b.fault({ action: 'cut', a: b.region, b: a.region });
    await c.fault({ action: 'cut', a: c.region, b: a.region });
    const [refused, reply, won] = await Promise.all([
      claim(a, 'cut', 'a'),
      chat(a, 'cut'),
      claim(b, 'cut-b', 'b'),
    ]);
    assert.equal(refused.status, 503, JSON.stringify(refused));
    assert.equal(reply.status, 503, reply.body);
    assert.match(reply.body, /idempotency_unavailable/);
    assert.equal(won.won, true);
    for (const node of nodes) await node.fault({ action: 'heal' });
    await until(
      'it claims again',
      async () => (await claim(a, 'cut-b', 'a')).status === 200,
      20_000,
    );
    assert.equal((await claim(a, 'cut-b', 'a')).claim?.owner, 'b');
  });

  test('a node that stops finishes what it has, and the others know what it came to', async () => {
    const [node, other] = nodes;
    assert.ok(node !== undefined && other !== undefined);
    fake.queueFaults([{ kind: 'late', delayMs: 700 }]);
    const before = fake.seen.length;
    const asked = chat(node, 'last');
    await until('it is under way', () => fake.seen.length > before);
    assert.match((await chat(other, 'last')).body, /idempotency_in_progress/);
    const [reply] = await Promise.all([asked, node.stop()]);
    assert.equal(reply.status, 200, reply.body);
    assert.match((await chat(other, 'last')).body, /answered 200/);
    nodes[0] = await node.again();
    await ready(at(nodes, 0));
  });

  test('a lost disk comes back under a new number and is filled; another may then be lost', async () => {
    const [, lost, killed] = nodes;
    assert.ok(lost !== undefined && killed !== undefined);
    for (let count = 0; count < 100; count += 1) await claim(at(nodes, 0), `kept-${count}`, 'a');
    const epoch = (await metric(at(nodes, 0), 'banyan_registers_epoch')) ?? 0;
    await lost.kill9();
    await rm(join(lost.dir, 'data', 'registers'), { recursive: true });
    nodes[1] = await lost.again();
    await ready(at(nodes, 1));
    await until(
      'the change of acceptors is over',
      async () => ((await metric(at(nodes, 0), 'banyan_registers_epoch')) ?? 0) >= epoch + 2,
      30_000,
    );
    await killed.kill9();
    for (let count = 0; count < 100; count += 1) {
      const told = await claim(at(nodes, 1), `kept-${count}`, 'b');
      assert.equal(told.claim?.owner, 'a', JSON.stringify(told));
    }
    nodes[2] = await killed.again();
    await ready(at(nodes, 2));
    await untilSeen(at(nodes, 0), REGIONS[2], ['healthy'], 20_000);
  });
});

test('two regions and a witness that keeps registers: either region dies, the other claims on', async (t) => {
  t.after(cleanUp);
  const fake = await startFakeUpstream('fake');
  atEnd(() => fake.close());
  const specs = REGIONS.map((region) => specOf(region, fake));
  const witness = at(specs, 2);
  specs[2] = { ...witness, control: { ...witness.control, isWitness: true } };
  const nodes = [...(await startRegions(specs))];
  for (const node of nodes) await ready(node);
  for (const dead of [0, 1]) {
    await until('all three are acceptors', async () => {
      return (await metric(at(nodes, dead), 'banyan_registers_acceptors')) === 3;
    });
    await at(nodes, dead).kill9();
    assert.equal((await chat(at(nodes, 1 - dead), `dead-${dead}`)).status, 200);
    assert.equal((await chat(at(nodes, 1 - dead), `dead-${dead}`)).status, 409);
    nodes[dead] = await at(nodes, dead).again();
    await ready(at(nodes, dead));
    assert.equal((await chat(at(nodes, dead), `dead-${dead}`)).status, 409);
  }
});

test('a node of several processes claims the same: what one worker took no other runs', async (t) => {
  t.after(cleanUp);
  const fake = await startFakeUpstream('fake');
  atEnd(() => fake.close());
  const node = await startNode({ ...specOf(REGIONS[0], fake), workers: 2 });
  await ready(node);
  const replies = await Promise.all(Array.from({ length: 8 }, () => chat(node, 'team')));
  const answered = replies.filter(({ status }) => status === 200);
  assert.equal(answered.length, 1, JSON.stringify(replies));
  assert.equal(fake.seen.length, 1);
  await until('it is settled', async () =>
    (await chat(node, 'team')).body.includes('idempotency_done'),
  );
});

test('two regions and a witness: either region may die, and the other claims on', async (t) => {
  t.after(cleanUp);
  const { nodes } = await startWorld();
  const [node, killed, third] = nodes;
  assert.ok(node !== undefined && killed !== undefined && third !== undefined);
  // The third place, empty, as a witness: by the same file, with another command.
  await third.stop();
  await rm(join(third.dir, 'data'), { recursive: true });
  const cli = join(import.meta.dirname, '../../src/main/cli.ts');
  const witness = spawn(process.execPath, [cli, 'witness', '-c', third.configFile], {
    cwd: third.dir,
    stdio: 'ignore',
  });
  const exited = once(witness, 'exit');
  atEnd(async () => {
    witness.kill('SIGKILL');
    await exited;
  });
  await until(
    'it is an acceptor',
    async () => ((await metric(node, 'banyan_registers_epoch')) ?? 0) >= 3,
    40_000,
  );
  await killed.kill9();
  assert.equal((await claim(node, 'with-a-witness', 'a')).won, true);
});

/** Claims and lookups of a few keys, as one client after the other saw them. */
class Recorder {
  readonly operations: Operation<KvInput, KvOutput>[] = [];
  answered = 0;

  async run(client: string, input: KvInput, node: TestNode): Promise<void> {
    const calledAtMs = performance.now();
    const outcome = await outcomeOf(input, node).catch((): Outcome<KvOutput> => ({
      kind: 'unknown',
    }));
    if (outcome.kind === 'answered') this.answered += 1;
    this.operations.push({ client, input, calledAtMs, outcome });
  }
}

/** A claim is a compare-and-set of a key that holds nothing. */
async function outcomeOf(input: KvInput, node: TestNode): Promise<Outcome<KvOutput>> {
  if (input.kind === 'get') {
    const query = `claims?key=${encodeURIComponent(`job/${input.key}`)}`;
    const response = await fetch(`${node.adminUrl}/admin/v1/${query}`, {
      signal: AbortSignal.timeout(12_000),
    });
    if (!response.ok) return { kind: 'refused' };
    const { items } = (await response.json()) as { items: { owner: string }[] };
    const value = items[0]?.owner ?? null;
    return { kind: 'answered', atMs: performance.now(), output: { kind: 'value', value } };
  }
  assert.ok(input.kind === 'cas');
  const told = await claim(node, input.key, input.value, 12_000);
  if (told.status === 503) return { kind: 'refused' };
  if (told.status !== 200) return { kind: 'unknown' };
  const isSwapped = told.won === true;
  return { kind: 'answered', atMs: performance.now(), output: { kind: 'swapped', isSwapped } };
}

test('under kills, pauses and cut links the history of claims is linearizable', async (t) => {
  t.after(cleanUp);
  // Short, so that generations change meanwhile; no key is used for as long as that.
  const { nodes } = await startWorld({ claimMs: 12_000 });
  const seed = Number(process.env['CHAOS_SEED'] ?? Date.now() % 100_000);
  t.diagnostic(`CHAOS_SEED=${seed}`);
  const prng = createPrng(seed);
  const recorder = new Recorder();
  const endMs = performance.now() + 10_000;
  let round = 0;
  const clients = [0, 1, 2, 3, 4, 5].map(async (client) => {
    for (let count = 0; performance.now() < endMs; count += 1) {
      const node = at(nodes, prng.nextBelow(3));
      const key = `k${round}-${prng.nextBelow(4)}`;
      const input: KvInput =
        prng.nextBelow(3) === 0
          ? { kind: 'get', key }
          : { kind: 'cas', key, expected: null, value: `c${client}-${count}` };
      await recorder.run(`c${client}`, input, node);
      await new Promise((resolve) => setTimeout(resolve, prng.nextBelow(30)));
    }
  });
  const faults: string[] = [];
  while (performance.now() < endMs) {
    const index = prng.nextBelow(3);
    const node = at(nodes, index);
    const other = at(nodes, (index + 1 + prng.nextBelow(2)) % 3);
    const forMs = 300 + prng.nextBelow(1_500);
    const wait = () => new Promise((resolve) => setTimeout(resolve, forMs));
    const what = ['kill', 'pause', 'cut'][prng.nextBelow(3)] ?? 'kill';
    faults.push(`${what} ${node.region}`);
    if (what === 'kill') {
      await node.kill9();
      await wait();
      nodes[index] = await node.again();
    } else if (what === 'pause') {
      node.signal('SIGSTOP');
      await wait();
      node.signal('SIGCONT');
    } else {
      await node.fault({ action: 'cut', a: node.region, b: other.region });
      await wait();
      await node.fault({ action: 'heal' });
    }
    await wait();
    round += 1;
  }
  await Promise.all(clients);
  const epoch = await metric(at(nodes, 0), 'banyan_registers_epoch');
  const told = `epoch ${epoch}, ${recorder.operations.length} operations, ${recorder.answered} answered`;
  t.diagnostic(`${told}; ${faults.join(', ')}`);
  const verdict = checkLinearizability(KV_MODEL, recorder.operations);
  const why =
    verdict.kind === 'refused' ? describeRefusal(KV_MODEL, verdict.refusal) : verdict.kind;
  assert.equal(verdict.kind, 'linearizable', `${why}\nCHAOS_SEED=${seed}`);
  assert.ok(recorder.answered > 200, told);
});
