/**
 * The configuration that three real regions share: pushed anywhere it goes out region by region,
 * halts where it does harm, and outlives the death of whoever drives it.
 */

import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import { runBanyan, type Run } from '../support/banyan.ts';

const ROOT = join(import.meta.dirname, '../..');
const CLI = join(ROOT, 'src/main/cli.ts');
const MODEL_FILE = process.env['BANYAN_TEST_MODEL'] ?? join(ROOT, 'models/banyan-support.gguf');
const skip = existsSync(MODEL_FILE) ? false : `no model file ${MODEL_FILE}`;
const BASE = 18_500;
const SERVER = `http://127.0.0.1:${BASE}`;
const REGIONS = ['us-east-2', 'eu-central-1', 'ap-northeast-1'] as const;
type Region = (typeof REGIONS)[number];

function banyan(args: readonly string[], input = ''): Promise<Run> {
  return runBanyan(args, { input, env: { BANYAN_SERVER: SERVER } });
}

async function verb(...args: readonly string[]): Promise<string> {
  const run = await banyan(args);
  assert.equal(run.code, 0, `${args.join(' ')}: ${run.stderr}`);
  return run.stdout;
}

interface Config {
  readonly newest: number;
  readonly base: number;
  readonly rollout: {
    readonly version: number;
    readonly region: string | null;
    readonly done: readonly string[];
    readonly halted: string | null;
  } | null;
  readonly items: readonly {
    readonly region: string;
    readonly assigned: number;
    readonly applied: number | null;
    readonly state: string;
  }[];
}

interface Leader {
  readonly leader: Region | null;
}

/** What `banyan get config` shows, asked for without a process: this is polled. */
async function config(): Promise<Config> {
  const response = await fetch(`${SERVER}/admin/v1/config`);
  assert.equal(response.status, 200);
  return (await response.json()) as Config;
}

const portOf = (region: Region, base: number) => BASE + base + REGIONS.indexOf(region);

/** Asks a node's admin API itself: no process start in what is measured. */
async function admin(region: Region, path: string, body?: object) {
  const response = await fetch(
    `http://127.0.0.1:${portOf(region, 11)}${path}`,
    body === undefined
      ? {}
      : {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(body),
        },
  );
  return { status: response.status, text: await response.text() };
}

/** The status of a chat with this model. */
async function chat(region: Region, model: string, key = 'banyan-demo'): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${portOf(region, 1)}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model, messages: [{ role: 'user', content: 'hi' }] }),
  });
  await response.arrayBuffer();
  return response.status;
}

/** True where the region's own node serves the model, not another region for it. */
async function serves(region: Region, model: string): Promise<boolean> {
  const { status, text } = await admin(region, `/admin/v1/explain?model=${model}`);
  const { chosen } = JSON.parse(text) as { chosen?: string };
  return status === 200 && chosen === 'fake' && (await chat(region, model)) === 200;
}

async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  limitMs: number,
): Promise<number> {
  const startMs = performance.now();
  while (!(await condition())) {
    assert.ok(performance.now() - startMs < limitMs, `${what} within ${limitMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return performance.now() - startMs;
}

const everywhere = async (model: string, regions: readonly Region[] = REGIONS) => {
  const all = await Promise.all(regions.map((region) => serves(region, model).catch(() => false)));
  return all.every(Boolean);
};

describe('shared configuration', { skip }, () => {
  let data: string;
  let up: ChildProcess;
  let fake: Server;
  let target = 0;
  let output = '';

  const textOf = (more: { bakeMs?: number; model?: string; port?: number; order?: string }) => {
    const { bakeMs = 500, model = 'shared', port = target, order = '' } = more;
    return [
      `rollout: { bakeMs: ${bakeMs}, order: [${order}] }`,
      `targets: [{ name: fake, kind: openai, baseUrl: "http://127.0.0.1:${port}/v1" }]`,
      `models: [{ name: ${model}, targets: [fake] }]`,
      '',
    ].join('\n');
  };
  const push = async (text: string, ...args: readonly string[]) => {
    const run = await banyan(['config', 'push', '-', ...args], text);
    assert.equal(run.code, 0, run.stderr);
    return run.stdout;
  };
  const leader = async () => {
    const { leader: led } = (await (await fetch(`${SERVER}/admin/v1/leader`)).json()) as Leader;
    return led ?? assert.fail('a region leads');
  };

  before(async () => {
    fake = createServer((request, response) => {
      request.resume();
      response.setHeader('content-type', 'application/json');
      const message = { role: 'assistant', content: 'hi' };
      const choices = [{ index: 0, message, finish_reason: 'stop' }];
      response.end(JSON.stringify({ id: 'x', object: 'chat.completion', created: 1, choices }));
    }).listen(0, '127.0.0.1');
    await once(fake, 'listening');
    const address = fake.address();
    target = typeof address === 'object' && address !== null ? address.port : 0;
    data = await mkdtemp(join(tmpdir(), 'banyan-shared-'));
    const args = ['up', '--base-port', String(BASE), '--data', data, '--model-file', MODEL_FILE];
    up = spawn(process.execPath, [CLI, ...args, '--model-servers', '1'], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    up.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
    up.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString()));
    await until(
      'a leader that is one of us',
      async () => {
        const response = await fetch(`${SERVER}/admin/v1/leader`).catch(() => null);
        if (response?.ok !== true) return false;
        const led = ((await response.json()) as Leader).leader;
        return REGIONS.some((region) => region === led);
      },
      90_000,
    ).catch((cause: unknown) => assert.fail(`${String(cause)}\n${output}`));
  });

  after(async () => {
    const exited = new Promise((resolve) => up.once('exit', resolve));
    up.kill('SIGTERM');
    if (up.exitCode === null) await exited;
    fake.closeAllConnections();
    fake.close();
    await rm(data, { recursive: true, force: true });
  });

  it('a new target serves in all regions within 2 s of an emergency push', async () => {
    assert.match(await verb('get', 'config'), /Nothing was pushed yet/);
    const body = { action: 'push', text: textOf({}), emergency: true, who: 'ann', why: 'first' };
    const startMs = performance.now();
    const { status, text } = await admin('ap-northeast-1', '/admin/v1/config', body);
    assert.equal(status, 200, text);
    const answeredMs = performance.now() - startMs;
    const tookMs = await until('serves everywhere', () => everywhere('shared'), 2_000);
    console.log(
      `# push answered after ${Math.round(answeredMs)} ms; served everywhere ${Math.round(tookMs)} ms later`,
    );
  });

  it('what would not work in some region is refused with its line, and nothing is kept', async () => {
    const bad = textOf({ model: 'other' }).replace('targets: [fake]', 'targets: [fake, nowhere]');
    const run = await banyan(['config', 'push', '-'], bad);
    assert.equal(run.code, 2, run.stderr);
    assert.match(run.stderr, /stdin:3:41: models\[0\]\.targets\[1\]: no target "nowhere"/);
    const file = join(data, 'bad.yaml');
    await writeFile(file, textOf({}).replace('name: fake', 'name: llama-a'));
    const collision = await banyan(['config', 'push', file]);
    assert.equal(collision.code, 2);
    for (const region of REGIONS) {
      const place = `"llama-a" stands in the node's own file too (${join(data, region, 'banyan.yaml')}:`;
      assert.ok(collision.stderr.includes(place), collision.stderr);
    }
    const misspelt = `${textOf({})}regions: { us-east-3: {} }\n`;
    assert.match((await banyan(['config', 'push', '-'], misspelt)).stderr, /mean "us-east-2"/);
    assert.equal((await config()).newest, 1);
  });

  it('--dry-run says the way that it would take; diff says what would change', async () => {
    const file = join(data, 'next.yaml');
    await writeFile(file, textOf({ model: 'second' }));
    const dry = await verb('config', 'push', file, '--dry-run');
    const last = await leader();
    assert.match(dry, new RegExp(`config push 2: to .* then ${last}; 0\\.5 s in each`));
    const diff = await verb('config', 'diff', file);
    assert.match(diff, /^-models: \[\{ name: shared/m);
    assert.match(diff, /^\+models: \[\{ name: second/m);
    assert.equal((await config()).newest, 1);
  });

  it('a push goes through the regions one by one, the leader last', async () => {
    const last = await leader();
    const startMs = performance.now();
    await push(textOf({ model: 'second', bakeMs: 1_000 }), '--why', 'a new name');
    const order: string[] = [];
    await until(
      'it is everywhere',
      async () => {
        const { text } = await admin(last, '/admin/v1/config');
        const { rollout, base, items } = JSON.parse(text) as Config;
        const region = rollout?.region ?? null;
        if (region !== null && !order.includes(region)) order.push(region);
        const having = items.filter(({ assigned }) => assigned === 2).length;
        if (rollout !== null) assert.ok(having <= rollout.done.length + 1, text);
        return base === 2 && rollout === null;
      },
      60_000,
    );
    assert.ok(performance.now() - startMs > 3_000, 'it baked in each region');
    assert.equal(order.length, 3);
    assert.equal(order.at(-1), last);
    assert.ok(await everywhere('second'));
    const audit = await verb('get', 'audit', '-o', 'json');
    assert.match(audit, /"what": "config push 2",\s+"why": "a new name"/);
    assert.match(audit, /config roll-out of 2: goes to/);
    assert.match(audit, /config roll-out of 2: everywhere/);
    assert.match(await verb('config', 'history'), /^2 .* push +everywhere +\d+ +a new name$/m);
  });

  it('a stage has the target within 2 s of its start', async () => {
    const first = (await leader()) === 'us-east-2' ? 'eu-central-1' : 'us-east-2';
    await push(textOf({ model: 'third', bakeMs: 60_000, order: first }));
    await until('it goes out', async () => (await config()).rollout?.region === first, 20_000);
    const tookMs = await until('it serves there', () => serves(first, 'third'), 2_000);
    console.log(`# served in the stage's region ${Math.round(tookMs)} ms after its stage was seen`);
    const { rollout } = await config();
    assert.equal(rollout?.done.length, 0);
    const refused = await banyan(['config', 'push', '-'], textOf({ model: 'fourth' }));
    assert.equal(refused.code, 5);
    assert.match(refused.stderr, /Version 3 is on its way/);
    await verb('config', 'rollback');
    await until('it is back', () => everywhere('second'), 5_000);
    assert.match(await verb('config', 'history'), /^3 .* rolled-back/m);
  });

  it('it halts by itself where the version does harm, says why, and goes back', async () => {
    const first = (await leader()) === 'us-east-2' ? 'eu-central-1' : 'us-east-2';
    await push(textOf({ model: 'second', bakeMs: 60_000, port: 9, order: first }));
    await until(
      'it halts',
      async () => {
        await chat(first, 'second');
        return ((await config()).rollout?.halted ?? null) !== null;
      },
      40_000,
    );
    const shown = await verb('get', 'config');
    assert.match(
      shown,
      new RegExp(`Version 4 is HALTED: ${first}: (targets fail: fake|errors rose)`),
    );
    const { text: metrics } = await admin(first, '/metrics');
    assert.match(metrics, /^banyan_config_rollout_halted 1$/m);
    const { text: ready } = await admin(first, '/readyz');
    assert.match(ready, /^ok\nshared configuration: roll-out halted: /);
    await verb('config', 'rollback', '--why', 'it does harm');
    await until('it serves again', () => everywhere('second'), 15_000);
    const { items } = JSON.parse(await verb('get', 'config', '-o', 'json')) as Config;
    assert.deepEqual(
      items.map(({ applied }) => applied),
      [2, 2, 2],
    );
  });

  it('it halts where the errors of clients rise, and goes on where an operator says so', async () => {
    const key = `keys: [{ name: app, sha256: ${createHash('sha256').update('app').digest('hex')} }]\n`;
    await push(`${textOf({ model: 'second', bakeMs: 500 })}${key}`, '--emergency');
    const first = (await leader()) === 'us-east-2' ? 'eu-central-1' : 'us-east-2';
    // Nobody meant to take the key away.
    await push(textOf({ model: 'second', bakeMs: 4_000, order: first }));
    const isBaking = ({ region, state }: Config['items'][number]) =>
      region === first && state === 'baking';
    await until('it bakes', async () => (await config()).items.some(isBaking), 20_000);
    for (let count = 0; count < 30; count += 1) await chat(first, 'second', 'app');
    const halts = async () => ((await config()).rollout?.halted ?? null) !== null;
    const tookMs = await until('it halts', halts, 5_000);
    console.log(`# halted ${Math.round(tookMs)} ms after the last error`);
    const { rollout, newest } = await config();
    assert.match(rollout?.halted ?? '', /errors rose to \d+\.\d % \(\d+ of \d+\)/);
    assert.match(await verb('config', 'resume', '--dry-run'), /config resume \d+, halted in/);
    await verb('config', 'resume', '--why', 'the key was given up');
    await until('it is everywhere', async () => (await config()).base === newest, 60_000);
  });

  it('requests go on while a version goes through the regions', async () => {
    const { newest } = await config();
    const statuses: number[] = [];
    let isOver = false;
    const client = async (region: Region) => {
      while (!isOver) statuses.push(await chat(region, 'second'));
    };
    const clients = REGIONS.map(client);
    await push(textOf({ model: 'second', bakeMs: 300 }));
    await until('it is everywhere', async () => (await config()).base === newest + 1, 60_000);
    isOver = true;
    await Promise.all(clients);
    assert.deepEqual(
      statuses.filter((status) => status !== 200),
      [],
    );
    console.log(`# ${statuses.length} requests during the roll-out, all answered`);
  });

  it('of two pushes at once one is told of a conflict', async () => {
    const { newest } = await config();
    const bodies = ['us-east-2', 'ap-northeast-1'].map((region) => ({
      region: region as Region,
      body: {
        action: 'push',
        text: textOf({ model: `from-${region}` }),
        expect: newest,
        emergency: true,
      },
    }));
    const answers = await Promise.all(
      bodies.map(({ region, body }) => admin(region, '/admin/v1/config', body)),
    );
    const statuses = answers.map(({ status }) => status).toSorted((a, b) => a - b);
    assert.deepEqual(statuses, [200, 409]);
    assert.match(answers.find(({ status }) => status === 409)?.text ?? '', /version_conflict/);
    assert.equal((await config()).newest, newest + 1);
  });

  it('a rollback is a new version with the old text', async () => {
    await verb('config', 'rollback', '2', '--emergency');
    await until('it serves', () => everywhere('second'), 5_000);
    const { newest } = await config();
    assert.equal(
      await verb('get', 'config', '--version', String(newest)),
      textOf({ model: 'second', bakeMs: 1_000 }),
    );
    const row = new RegExp(`^${newest} .* rollback 2 --emergency +everywhere`, 'm');
    assert.match(await verb('config', 'history'), row);
  });

  it('the leader dies in the middle: the roll-out goes on, and the dead one takes it up', async () => {
    const killed = await leader();
    const { newest } = await config();
    const alive = REGIONS.filter((region) => region !== killed);
    await push(textOf({ model: 'seventh', bakeMs: 3_000 }));
    await until(
      'it bakes',
      async () => (await config()).items.some(({ state }) => state === 'baking'),
      20_000,
    );
    await verb('fault', 'kill', killed);
    const tookMs = await until(
      'it is everywhere',
      async () => (await config()).base === newest + 1,
      60_000,
    );
    console.log(`# everywhere ${Math.round(tookMs)} ms after the leader's death`);
    assert.ok(await everywhere('seventh', alive));
    await verb('fault', 'heal');
    await until('it has it, too', () => everywhere('seventh'), 30_000);
  });

  it('without a quorum a node starts with what it had; nothing can be pushed', async () => {
    const { newest } = await config();
    await verb('fault', 'kill', 'us-east-2');
    await verb('fault', 'kill', 'eu-central-1');
    await verb('fault', 'kill', 'ap-northeast-1');
    await verb('fault', 'restart', 'ap-northeast-1');
    await until('it serves', () => serves('ap-northeast-1', 'seventh').catch(() => false), 20_000);
    const body = { action: 'push', text: textOf({ model: 'eighth' }), emergency: true };
    const { status, text } = await admin('ap-northeast-1', '/admin/v1/config', body);
    assert.equal(status, 503, text);
    assert.match(text, /no_quorum/);
    await verb('fault', 'heal');
    await until('all are back', () => everywhere('seventh'), 30_000);
    assert.equal((await config()).newest, newest);
  });
});

describe('shared configuration of a node with workers', () => {
  it('reaches every worker, and is there from the start after a restart', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'banyan-shared-workers-'));
    const file = join(folder, 'banyan.yaml');
    const [api, adminPort] = [BASE + 41, BASE + 42];
    const node = [
      'region: here',
      'workers: 2',
      `listen: { api: 127.0.0.1:${api}, admin: 127.0.0.1:${adminPort} }`,
      'control: { electionMs: 100, heartbeatMs: 20 }',
      'targets: [{ name: t, kind: openai, baseUrl: "http://127.0.0.1:9/v1" }]',
      'models: [{ name: own, targets: [t] }]',
      '',
    ].join('\n');
    await writeFile(file, node);
    const key = createHash('sha256').update('secret').digest('hex');
    const text = `keys: [{ name: app, sha256: ${key} }]\nmodels: [{ name: shared, targets: [t] }]\n`;
    // A connection each, so that the kernel deals them out to the workers.
    const models = async () => {
      const headers = { authorization: 'Bearer secret', connection: 'close' };
      const url = `http://127.0.0.1:${api}/v1/models`;
      const all = await Promise.all(
        Array.from({ length: 20 }, async () => (await fetch(url, { headers })).text()),
      );
      return all.every((told) => told.includes('"shared"'));
    };
    const start = () =>
      spawn(process.execPath, [CLI, 'serve', '-c', file], { cwd: ROOT, stdio: 'ignore' });
    const stop = async (child: ChildProcess) => {
      if (child.exitCode !== null) return;
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      await exited;
    };
    const ask = (path: string, body?: object) =>
      fetch(`http://127.0.0.1:${adminPort}${path}`, {
        ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
        headers: { 'content-type': 'application/json' },
      });
    let child = start();
    try {
      const pushes = async () =>
        (await ask('/admin/v1/config', { action: 'push', text, emergency: true })).status === 200;
      await until('it takes a push', () => pushes().catch(() => false), 30_000);
      await until('all workers have it', () => models().catch(() => false), 5_000);
      await stop(child);
      child = start();
      const isReady = async () => (await ask('/readyz')).status === 200;
      await until('it is ready again', () => isReady().catch(() => false), 30_000);
      assert.ok(await models(), 'from its first request on');
    } finally {
      await stop(child);
      await rm(folder, { recursive: true, force: true });
    }
  });
});
