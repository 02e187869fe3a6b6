/**
 * One node of several processes that share its port: limits hold over all of them, what one learns
 * the others know, a worker that dies or hangs takes nothing with it but its own connections.
 */

import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';
import { stringify } from 'yaml';

import { answerText, ask, errorOf, type Question, type Reply } from '../support/client.ts';
import { DEFAULT_WORDS, startFakeUpstream, type FakeUpstream } from '../support/fakeUpstream.ts';
import {
  atEnd,
  cleanUp,
  keyHash,
  startNode,
  startRegions,
  TEST_KEY,
  until,
  type NodeSpec,
  type TestNode,
} from '../support/node.ts';

const WHOLE_TEXT = DEFAULT_WORDS.join('');
const STREAM: Question = { dialect: 'openai', model: 'm', isStream: true };
const WHOLE: Question = { ...STREAM, isStream: false };
const DIALECTS = ['openai', 'anthropic'] as const;
/** What a node says is at most so old, ms: two exchanges of news, and a machine with other work. */
const SETTLED_MS = 300;

interface WorkerRow {
  readonly worker: number;
  readonly pid: number;
  readonly state: string;
  readonly restarts: number;
  readonly inFlight: number;
}

afterEach(cleanUp);

async function fake(name = 'fake'): Promise<FakeUpstream> {
  const started = await startFakeUpstream(name);
  atEnd(() => started.close());
  return started;
}

function specOf(fakes: readonly FakeUpstream[], more: object = {}): NodeSpec {
  const targets = fakes.map(({ origin }, index) => {
    return { name: `t${index}`, kind: 'openai', baseUrl: `${origin}/v1` };
  });
  const names = targets.map(({ name }) => name);
  return { targets, models: [{ name: 'm', targets: names }], workers: 2, ...more };
}

async function workersOf(node: TestNode): Promise<readonly WorkerRow[]> {
  const { workers } = (await node.admin('/admin/v1/status')) as unknown as {
    workers: readonly WorkerRow[];
  };
  return workers;
}

/** The sum of a metric's samples whose labels hold `label`. */
async function metric(node: TestNode, name: string, label = ''): Promise<number> {
  const text = await (await fetch(`${node.adminUrl}/metrics`)).text();
  let sum = 0;
  for (const line of text.split('\n')) {
    const isIt = line.startsWith(`${name}{`) || line.startsWith(`${name} `);
    if (isIt && line.includes(label)) sum += Number(line.slice(line.lastIndexOf(' ')));
  }
  return sum;
}

/** Which workers answered, by the log. */
function servedBy(node: TestNode): ReadonlySet<number> {
  const lines = node.logs().split('\n');
  const workers = lines.flatMap((line) => {
    if (!line.includes('"event":"exchange"')) return [];
    return [(JSON.parse(line) as { worker: number }).worker];
  });
  return new Set(workers);
}

/** Asks `count` times at once, each over a connection of its own. */
function askMany(node: TestNode, question: Question, count: number): Promise<Reply[]> {
  return Promise.all(Array.from({ length: count }, () => ask(node.apiUrl, question)));
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test('all workers serve both SDKs, and the metrics are one sum without a series twice', async () => {
  const target = await fake();
  const node = await startNode(specOf([target]));
  const openai = new OpenAI({ apiKey: TEST_KEY, baseURL: `${node.apiUrl}/v1`, maxRetries: 0 });
  const anthropic = new Anthropic({ apiKey: TEST_KEY, baseURL: node.apiUrl, maxRetries: 0 });
  const messages = [{ role: 'user' as const, content: 'Hello?' }];
  for (let turn = 0; turn < 4; turn += 1) {
    const whole = await openai.chat.completions.create({ model: 'm', messages });
    assert.equal(whole.choices[0]?.message.content, WHOLE_TEXT);
    const stream = anthropic.messages.stream({ model: 'm', max_tokens: 64, messages });
    assert.equal(await stream.finalText(), WHOLE_TEXT);
  }
  for (const reply of await askMany(node, STREAM, 24)) {
    assert.equal(answerText('openai', true, reply.body), WHOLE_TEXT);
  }
  await until('the log tells of all', () => node.logs().split('"event":"exchange"').length > 32);
  assert.deepEqual(
    [...servedBy(node)].toSorted((one, other) => one - other),
    [1, 2],
  );
  assert.equal(await metric(node, 'banyan_exchanges_total', 'end="answered"'), 32);
  assert.equal(await metric(node, 'banyan_exchanges_in_flight'), 0);
  assert.equal(await metric(node, 'banyan_workers'), 2);
  const text = await (await fetch(`${node.adminUrl}/metrics`)).text();
  const series = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  const names = series.map((line) => line.slice(0, line.lastIndexOf(' ')));
  assert.equal(new Set(names).size, names.length);
  assert.equal(names.filter((name) => name.startsWith('banyan_build_info')).length, 1);
});

test('requests under way of a key never exceed its limit over 3 workers, and reach it', async () => {
  const target = await fake();
  const keys = [{ name: 'k', sha256: keyHash(TEST_KEY), inFlightMax: 10 }];
  const node = await startNode(specOf([target], { keys, workers: 3 }));
  target.setFault({ kind: 'slow-drip', gapMs: 120 });
  for (let turn = 0; turn < 2; turn += 1) {
    const replies = await askMany(node, STREAM, 60);
    const statuses = replies.map(({ status }) => status);
    assert.equal(statuses.filter((status) => status === 200).length, 10, statuses.join(' '));
    assert.equal(statuses.filter((status) => status === 429).length, 50);
    const refused = replies.find(({ status }) => status === 429);
    assert.equal(errorOf(refused?.body ?? '')?.code, 'too_many_requests');
    assert.match(String(refused?.headers['retry-after']), /^\d+$/);
  }
  // One after another, each over whichever worker: none is refused for a slot that idles elsewhere.
  target.setFault({ kind: 'none' });
  for (let turn = 0; turn < 30; turn += 1) {
    assert.equal((await ask(node.apiUrl, WHOLE)).status, 200);
  }
});

test('a rate over 3 workers: not one more than limit * (1 + (t + 0.1 s) / minute), none lost', async () => {
  const target = await fake();
  const limit = 120;
  const keys = [{ name: 'k', sha256: keyHash(TEST_KEY), requestsPerMinute: limit }];
  const node = await startNode(specOf([target], { keys, workers: 3 }));
  const startMs = performance.now();
  const replies: Reply[] = [];
  for (let turn = 0; turn < 6; turn += 1) replies.push(...(await askMany(node, WHOLE, 50)));
  const tookMs = performance.now() - startMs;
  const answered = replies.filter(({ status }) => status === 200).length;
  const most = limit * (1 + (tookMs + 100) / 60_000);
  assert.ok(answered <= most, `${answered} of at most ${most} within ${tookMs} ms`);
  assert.ok(answered >= limit, `${answered} of ${limit}: what is left in one worker is not lost`);
  const refused = replies.find(({ status }) => status === 429);
  assert.equal(errorOf(refused?.body ?? '')?.code, 'rate_limited');
  assert.equal(refused?.headers['x-ratelimit-limit-requests'], String(limit));
  assert.equal(refused?.headers['x-ratelimit-remaining-requests'], '0');
});

test('a target is taken out after 5 failures of the node, not 5 of each worker', async () => {
  const [bad, good] = [await fake('bad'), await fake('good')];
  bad.setFault({ kind: 'reset' });
  const spec = specOf([bad, good], { workers: 4, retryBudgetPercent: 0 });
  const node = await startNode({
    ...spec,
    models: [
      { name: 'm', targets: [{ target: 't0' }, { target: 't1', priority: 1 }], attemptsMax: 1 },
    ],
  });
  const stateOf = async (): Promise<string | undefined> => {
    const { items } = (await node.admin('/admin/v1/targets')) as unknown as {
      items: { target: string; state: string }[];
    };
    return items.find(({ target }) => target === 't0')?.state;
  };
  const question = { ...WHOLE, headers: { connection: 'close' } };
  for (let turn = 0; turn < 5; turn += 1) {
    assert.equal(await stateOf(), 'healthy');
    assert.equal((await ask(node.apiUrl, question)).status, 502);
    await pause(SETTLED_MS);
  }
  assert.equal(await stateOf(), 'ejected');
  for (let turn = 0; turn < 24; turn += 1) {
    const reply = await ask(node.apiUrl, question);
    assert.equal(reply.headers['x-banyan-target'], 't1');
  }
  assert.equal(bad.seen.length, 5, 'no worker asked it again');
  await until('the log tells of all', () => node.logs().split('"event":"exchange"').length > 29);
  assert.equal(servedBy(node).size, 4);
});

test('a worker that is killed under load: only its connections break, and it comes back', async () => {
  const target = await fake();
  const node = await startNode(specOf([target]));
  target.setFault({ kind: 'slow-drip', gapMs: 20 });
  const [victim, other] = await workersOf(node);
  assert.ok(victim !== undefined && other !== undefined);
  let isOver = false;
  const statuses: number[] = [];
  let broken = 0;
  const client = async (): Promise<void> => {
    while (!isOver) {
      try {
        const reply = await ask(node.apiUrl, { ...STREAM, headers: { connection: 'close' } });
        statuses.push(reply.status);
        if (reply.end === 'aborted') broken += 1;
        else assert.equal(answerText('openai', true, reply.body), WHOLE_TEXT);
      } catch {
        broken += 1; // No response at all.
      }
    }
  };
  const clients = Array.from({ length: 16 }, () => client());
  await until('both have work', async () => {
    return (await workersOf(node)).every(({ inFlight }) => inFlight > 0);
  });
  process.kill(victim.pid, 'SIGKILL');
  await until('it is started again', async () => {
    const row = (await workersOf(node)).find(({ worker }) => worker === victim.worker);
    return row?.state === 'running' && row.pid !== victim.pid;
  });
  await pause(SETTLED_MS);
  isOver = true;
  await Promise.all(clients);
  assert.ok(statuses.every((status) => status === 200));
  assert.ok(broken > 0 && broken <= 16, `${broken} of 16 clients`);
  const after = await workersOf(node);
  assert.equal(after.find(({ worker }) => worker === other.worker)?.pid, other.pid);
  await until('nothing is under way', async () => {
    return (await node.admin('/admin/v1/status'))['inFlight'] === 0;
  });
  // The books (G1): what a client saw whole is counted, what broke is lost, nothing else is missing.
  const answered = await metric(node, 'banyan_exchanges_total', 'end="answered"');
  const lost = await metric(node, 'banyan_worker_exchanges_lost_total');
  const whole = statuses.length + broken;
  assert.ok(lost > 0 && lost <= 16, `${lost} were lost`);
  assert.ok(answered + lost <= whole + 16, `${answered} + ${lost} of ${whole}`);
  assert.equal(await metric(node, 'banyan_exchanges_in_flight'), 0);
  assert.equal(await metric(node, 'banyan_worker_restarts_total'), 1);
  await askMany(node, WHOLE, 16);
  assert.equal(await metric(node, 'banyan_exchanges_total', 'end="answered"'), answered + 16);
});

test('a worker that hangs is found out and replaced; the others serve meanwhile', async () => {
  const node = await startNode(specOf([await fake()]));
  const [victim] = await workersOf(node);
  assert.ok(victim !== undefined);
  process.kill(victim.pid, 'SIGSTOP');
  const row = await until(
    'another one stands in its place',
    async () => {
      const now = (await workersOf(node)).find(({ worker }) => worker === victim.worker);
      return now?.state === 'running' && now.pid !== victim.pid ? now : null;
    },
    20_000,
  );
  assert.equal(row.restarts, 1);
  assert.equal(isAlive(victim.pid), false);
  for (const reply of await askMany(node, WHOLE, 16)) assert.equal(reply.status, 200);
});

test('a configuration reaches all workers or none', async () => {
  const target = await fake();
  const node = await startNode(specOf([target], { workers: 3 }));
  const withModels = (names: readonly string[]): NodeSpec => ({
    ...specOf([target], { workers: 3 }),
    models: names.map((name) => ({ name, targets: ['t0'] })),
  });
  await node.rewrite(withModels(['m', 'two']));
  await until('it is in force', () => node.logs().includes('"event":"config-applied"'));
  for (const { status } of await askMany(node, { ...WHOLE, model: 'two' }, 24)) {
    assert.equal(status, 200);
  }
  await node.rewriteText(stringify({ ...withModels(['three']), region: 'us-east-2', modles: [] }));
  await until('it is refused', () => node.logs().includes('"event":"config-refused"'));
  for (const { status } of await askMany(node, { ...WHOLE, model: 'three' }, 24)) {
    assert.equal(status, 404);
  }
  assert.equal((await ask(node.apiUrl, { ...WHOLE, model: 'two' })).status, 200);
});

test('a graceful stop drains all workers, and leaves no process behind', async () => {
  const target = await fake();
  const node = await startNode(specOf([target]));
  target.setFault({ kind: 'slow-drip', gapMs: 150 });
  const streams = Array.from({ length: 12 }, () => ask(node.apiUrl, STREAM));
  await until('all are under way', () => target.seen.length === 12);
  const pids = (await workersOf(node)).map(({ pid }) => pid);
  const stopped = node.stop();
  await until('readiness flips', async () => {
    return (await fetch(`${node.apiUrl}/readyz`)).status === 503;
  });
  for (const dialect of DIALECTS) {
    const refused = await ask(node.apiUrl, { ...WHOLE, dialect });
    assert.equal(refused.status, 503);
    assert.match(String(refused.headers['retry-after']), /^\d+$/);
  }
  for (const reply of await Promise.all(streams)) {
    assert.equal(reply.end, 'clean');
    assert.equal(answerText('openai', true, reply.body), WHOLE_TEXT);
  }
  assert.equal(await stopped, 0);
  assert.deepEqual(pids.map(isAlive), [false, false]);
});

test('workers end with the first process, however it dies', async () => {
  const node = await startNode(specOf([await fake()]));
  const pids = (await workersOf(node)).map(({ pid }) => pid);
  await node.kill9();
  await until('they are gone', () => !pids.some(isAlive));
});

test('workers with work end with the first process too, their last lines read by nobody', async () => {
  const target = await fake();
  for (let turn = 0; turn < 3; turn += 1) {
    const node = await startNode(specOf([target]));
    const pids = (await workersOf(node)).map(({ pid }) => pid);
    const asked = Array.from({ length: 200 }, () => ask(node.apiUrl, WHOLE));
    await Promise.race(asked);
    await node.kill9();
    await Promise.allSettled(asked);
    await until('they are gone', () => !pids.some(isAlive));
  }
});

test('a second node at the same address is refused, not given a part of the connections', async () => {
  const target = await fake();
  const node = await startNode(specOf([target]));
  const address = new URL(node.apiUrl).host;
  const second = startNode({ ...specOf([target]), api: address });
  await assert.rejects(second, ({ cause }: Error) => String(cause).includes('EADDRINUSE'));
});

test('another region serves what a worker cannot, and its death is moved on from', async () => {
  const [near, far] = [await fake('near'), await fake('far')];
  const regions = ['us-east-2', 'eu-central-1', 'ap-northeast-1'] as const;
  const [first, second, third] = await startRegions([
    { ...specOf([]), models: [{ name: 'm', targets: [] }], region: regions[0] },
    { ...specOf([near]), region: regions[1] },
    { ...specOf([far]), region: regions[2], workers: 1 },
  ]);
  assert.ok(first !== undefined && second !== undefined && third !== undefined);
  for (const dialect of DIALECTS) {
    for (const isStream of [true, false]) {
      for (const reply of await askMany(first, { dialect, model: 'm', isStream }, 8)) {
        assert.equal(reply.status, 200, reply.body);
        assert.equal(answerText(dialect, isStream, reply.body), WHOLE_TEXT);
        assert.notEqual(reply.headers['x-banyan-region'], regions[0]);
      }
    }
  }
  near.setFault({ kind: 'slow-drip', gapMs: 60 });
  far.setFault({ kind: 'slow-drip', gapMs: 60 });
  const before = near.seen.length + far.seen.length;
  const streams = Array.from({ length: 12 }, () => ask(first.apiUrl, STREAM));
  await until('all are under way', () => near.seen.length + far.seen.length >= before + 12);
  await second.kill9();
  for (const reply of await Promise.all(streams)) {
    assert.equal(reply.end, 'clean', reply.body);
    assert.equal(answerText('openai', true, reply.body), WHOLE_TEXT);
  }
});
