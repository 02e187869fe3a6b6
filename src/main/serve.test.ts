import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, afterEach, before, test } from 'node:test';

import { SIGNAL_ECHO_MS } from './serve.ts';

/** A line of the log. */
type Line = Readonly<Record<string, unknown>>;

let folder = '';
let file = '';
/** Answers a chat only when the test says so. */
let target: Server;
let port = 0;
const arrivals: (() => void)[] = [];
let release = () => {};
const processes: ChildProcess[] = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'banyan-serve-'));
  file = join(folder, 'banyan.yaml');
  target = createServer((request, response) => {
    request.resume();
    release = () => {
      response.setHeader('content-type', 'application/json');
      const message = { role: 'assistant', content: 'hi' };
      const choices = [{ index: 0, message, finish_reason: 'stop' }];
      response.end(JSON.stringify({ id: 'x', object: 'chat.completion', created: 1, choices }));
    };
    for (const arrived of arrivals.splice(0)) arrived();
  }).listen(0, '127.0.0.1');
  await once(target, 'listening');
  const address = target.address();
  port = typeof address === 'object' && address !== null ? address.port : 0;
});
after(async () => {
  target.closeAllConnections();
  target.close();
  await rm(folder, { recursive: true });
});
afterEach(() => {
  for (const child of processes.splice(0)) child.kill('SIGKILL');
});

async function write(more = ''): Promise<void> {
  const sha256 = createHash('sha256').update('k').digest('hex');
  await writeFile(
    file,
    'region: eu-central-1\nworkers: 1\nlisten: { api: 127.0.0.1:0, admin: 127.0.0.1:0 }\n' +
      `keys: [{ name: app, sha256: ${sha256} }]\n` +
      `targets: [{ name: t, kind: openai, baseUrl: "http://127.0.0.1:${port}/v1" }]\n` +
      `models: [{ name: m, targets: [t] }]\n${more}`,
  );
}

/** The real process, its log read line by line. */
async function serve() {
  const child = spawn(
    process.execPath,
    [join(import.meta.dirname, 'cli.ts'), 'serve', '--config', file],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, NODE_NO_WARNINGS: '1' } },
  );
  processes.push(child);
  const lines: Line[] = [];
  let wake = () => {};
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(JSON.parse(line));
    wake();
  });
  let complaint = '';
  child.stderr.on('data', (chunk) => (complaint += String(chunk)));
  const exit = once(child, 'close').then(([code]: unknown[]) => {
    wake();
    return code;
  });
  /** The first line of an event, from now or before. */
  async function logged(event: string): Promise<Line> {
    for (;;) {
      const line = lines.find((each) => each['event'] === event);
      if (line !== undefined) return line;
      assert.equal(child.exitCode, null, `still running: ${complaint}`);
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }
  return { child, exit, logged, complaint: () => complaint };
}

function chat(api: unknown): Promise<Response> {
  return fetch(`${String(api)}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: 'Bearer k', 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'a prompt' }] }),
  });
}

function arrival(): Promise<void> {
  return new Promise((resolve) => arrivals.push(resolve));
}

test('SIGTERM: new requests get 503, what runs finishes, the exit code is 0', async () => {
  await write();
  const { child, exit, logged } = await serve();
  const { api } = await logged('ready');
  const arrived = arrival();
  const running = chat(api);
  await arrived;
  child.kill('SIGTERM');
  assert.equal((await logged('stopping'))['inFlight'], 1);
  const refused = await chat(api);
  assert.equal(refused.status, 503);
  assert.ok(Number(refused.headers.get('retry-after')) >= 1);
  release();
  assert.equal((await running).status, 200);
  await logged('stopped');
  assert.equal(await exit, 0);
  assert.equal((await logged('exchange'))['status'], 503);
});

test('a second signal ends it at once', async () => {
  await write();
  const { child, exit, logged } = await serve();
  const { api } = await logged('ready');
  const arrived = arrival();
  const running = chat(api).catch(() => null);
  await arrived;
  child.kill('SIGINT');
  await logged('stopping');
  child.kill('SIGINT'); // As when a whole process group is signalled, and then its leader.
  const again = setInterval(() => child.kill('SIGINT'), 200);
  const signalledMs = performance.now();
  assert.equal(await exit, 130);
  clearInterval(again);
  assert.ok(performance.now() - signalledMs >= SIGNAL_ECHO_MS - 100, 'an echo is no second signal');
  await running;
});

test('a changed file is applied, a wrong one refused with its reason; SIGHUP asks again', async () => {
  await write();
  const { child, logged } = await serve();
  const { admin, configRevision } = await logged('ready');
  const status = async (): Promise<Line> =>
    JSON.parse(await (await fetch(`${String(admin)}/admin/v1/status`)).text());
  await write('retryBudgetPercent: 20\n');
  const applied = await logged('config-applied');
  assert.notEqual(applied['configRevision'], configRevision);
  await write('retryBudget: 20\n');
  child.kill('SIGHUP');
  const refused = await logged('config-refused');
  assert.match(String(refused['problems']), /7:1: unknown key "retryBudget"; did you mean "retry/);
  const { configRefused, configRevision: inForce } = await status();
  assert.match(String(configRefused), /unknown key/);
  assert.equal(inForce, applied['configRevision']);
  const metrics = await (await fetch(`${String(admin)}/metrics`)).text();
  assert.match(metrics, /banyan_config_reloads_total\{result="applied"\} 1/);
  assert.match(metrics, /banyan_config_reloads_total\{result="refused"\} 1/);
});

test('a wrong file ends it with 2, a taken port with 1, each told in words', async () => {
  await write('nope: 1\n');
  const wrong = await serve();
  assert.equal(await wrong.exit, 2);
  assert.match(wrong.complaint(), /banyan\.yaml:7:1: unknown key "nope"/);
  await write();
  const text = `listen: { api: 127.0.0.1:${port}, admin: off }`;
  await writeFile(file, (await readFile(file, 'utf8')).replace(/^listen:.*$/m, text));
  const taken = await serve();
  assert.equal(await taken.exit, 1);
  assert.match(taken.complaint(), /could not start: .*EADDRINUSE/);
});
