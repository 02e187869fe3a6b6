/**
 * The demo from start to stop, by its command line: three regions as real processes, every verb,
 * deaths and healing; and that nothing is left, however the supervisor ends.
 */

import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { streamText } from 'ai';
import OpenAI from 'openai';
import { chromium } from 'playwright-core';

import { runBanyan, type Run } from '../support/banyan.ts';
import { findChromium } from '../../tools/chromium.ts';

const ROOT = join(import.meta.dirname, '../..');
const CLI = join(ROOT, 'src/main/cli.ts');
const MODEL_FILE = process.env['BANYAN_TEST_MODEL'] ?? join(ROOT, 'models/banyan-support.gguf');
const skip = existsSync(MODEL_FILE) ? false : `no model file ${MODEL_FILE}`;
const BASE = 18_100;
const SERVER = `http://127.0.0.1:${BASE}`;
/** Requests after each death: all of them must be answered. */
const LOAD = 200;
const REGIONS = ['us-east-2', 'eu-central-1', 'ap-northeast-1'] as const;

/** Runs one command line to its end. */
function banyan(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Run> {
  return runBanyan(args, { env: { BANYAN_SERVER: SERVER, ...env } });
}

/** A row of a list, as far as these tests look at it. */
interface Row {
  readonly region: string;
  readonly state: string;
  readonly process: string;
  readonly pid: number;
  readonly targetsHealthy: number;
  readonly sightings: readonly { readonly state: string; readonly rttMs: number }[];
}

/** What the verbs print, as far as these tests look at it. */
interface Answer {
  readonly items: readonly Row[];
  readonly unreachable: readonly string[];
  readonly regions: readonly Row[];
  readonly links: readonly unknown[];
  readonly chosen: string;
  readonly region: string;
  readonly target: string;
  readonly text: string;
  readonly forwardedBy: string | null;
}

/** Runs a verb that must succeed; returns the JSON that it prints. */
async function verb(...args: readonly string[]): Promise<Answer> {
  const run = await banyan([...args, '-o', 'json']);
  assert.equal(run.code, 0, `${args.join(' ')}: ${run.stderr}`);
  return JSON.parse(run.stdout) as Answer;
}

/** What `banyan get` shows, asked for without a process: this is polled. */
async function rows(list: 'nodes' | 'regions' | 'targets'): Promise<readonly Row[]> {
  const response = await fetch(`${SERVER}/admin/v1/${list}`);
  assert.equal(response.status, 200);
  return ((await response.json()) as Answer).items;
}

interface Up {
  readonly child: ChildProcess;
  readonly output: () => string;
  readonly exited: Promise<number | null>;
}

function startUp(data: string, more: readonly string[] = []): Up {
  const args = ['up', '--base-port', String(BASE), '--data', data, '--model-file', MODEL_FILE];
  const child = spawn(process.execPath, [CLI, ...args, '--tokens-per-second', '0', ...more], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, LC_ALL: 'C' },
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const exited = new Promise<number | null>((resolve) => child.on('exit', (code) => resolve(code)));
  return { child, output: () => text, exited };
}

async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  limitMs: number,
): Promise<void> {
  const endMs = performance.now() + limitMs;
  while (!(await condition())) {
    assert.ok(performance.now() < endMs, `${what} within ${limitMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Process ids of all nodes and model servers. */
async function allPids(): Promise<readonly number[]> {
  const all = [...(await rows('nodes')), ...(await rows('targets'))];
  return all.map((row) => row.pid).filter((pid) => pid !== null);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function stateOf(region: string): Promise<string | undefined> {
  return (await rows('regions')).find((row) => row.region === region)?.state;
}

async function allTargetsRun(): Promise<boolean> {
  const items = await rows('targets');
  const run = items.filter((row) => row.process === 'running');
  return items.length === 6 && run.length === 6;
}

async function answers(port: number, count: number): Promise<number> {
  const client = new OpenAI({
    apiKey: 'banyan-demo',
    baseURL: `http://127.0.0.1:${port}/v1`,
    maxRetries: 0,
  });
  let good = 0;
  let asked = 0;
  const lane = async (): Promise<void> => {
    while (asked < count) {
      asked += 1;
      const completion = await client.chat.completions.create({
        model: 'banyan-support',
        max_tokens: 8,
        messages: [{ role: 'user', content: `How do I return an item? ${asked}` }],
      });
      if (completion.choices[0]?.message.content !== '') good += 1;
    }
  };
  await Promise.all([lane(), lane(), lane(), lane()]);
  return good;
}

const MODEL = 'banyan-support';

/** Streams an answer with OpenAI's SDK. */
async function askOpenai(port: number, content: string): Promise<string> {
  const baseURL = `http://127.0.0.1:${port}/v1`;
  const client = new OpenAI({ apiKey: 'banyan-demo', baseURL, maxRetries: 0 });
  const stream = await client.chat.completions.create({
    model: MODEL,
    stream: true,
    messages: [{ role: 'user', content }],
  });
  let text = '';
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
  return text;
}

/** Streams an answer with Anthropic's SDK. */
async function askAnthropic(port: number, content: string): Promise<string> {
  const baseURL = `http://127.0.0.1:${port}`;
  const client = new Anthropic({ apiKey: 'banyan-demo', baseURL, maxRetries: 0 });
  const stream = client.messages.stream({
    model: MODEL,
    max_tokens: 200,
    messages: [{ role: 'user', content }],
  });
  return stream.finalText();
}

/** Streams an answer with Vercel's SDK. */
async function askVercel(port: number, prompt: string): Promise<string> {
  const baseURL = `http://127.0.0.1:${port}/v1`;
  const provider = createOpenAICompatible({ name: 'banyan', apiKey: 'banyan-demo', baseURL });
  const result = streamText({ model: provider(MODEL), prompt, maxRetries: 0 });
  let text = '';
  for await (const piece of result.textStream) text += piece;
  return text;
}

describe('banyan up', { skip, timeout: 600_000 }, () => {
  let data: string;
  let demo: Up;
  before(async () => {
    data = await mkdtemp(join(tmpdir(), 'banyan-up-'));
    const startMs = performance.now();
    demo = startUp(data);
    await until('ready', () => /Ready in/.test(demo.output()), 120_000);
    console.log(`# first start: ${Math.round(performance.now() - startMs)} ms`);
  });
  after(async () => {
    demo.child.kill('SIGKILL');
    await demo.exited;
    await rm(data, { recursive: true, force: true });
  });

  it('every region sees every other with the round trip of the world', async () => {
    // On a machine with other work one may be slow for a moment after its start.
    const areUp = async () => (await rows('regions')).every(({ state }) => state === 'up');
    await until('all are up', areUp, 10_000);
    const { items, unreachable } = await verb('get', 'regions');
    assert.deepEqual(unreachable, []);
    assert.deepEqual(
      items.map((row) => row.region),
      REGIONS,
    );
    for (const row of items) {
      assert.equal(row.targetsHealthy, 2);
      assert.equal(row.sightings.length, 2);
      for (const { rttMs } of row.sightings) assert.ok(rttMs >= 100, `${rttMs} ms`);
    }
    assert.equal((await verb('get', 'nodes')).items.length, 3);
    assert.equal((await verb('get', 'targets')).items.length, 6);
    assert.equal((await verb('get', 'models')).items.length, 3);
    const told = await verb('route', 'explain', '--model', 'banyan-support');
    assert.match(told.chosen, /^llama-[ab]$/);
  });

  it('a second one is refused: by its folder, and by its ports', async () => {
    const same = ['up', '--base-port', '18300', '--data', data, '--model-file', MODEL_FILE];
    const locked = await banyan(same);
    assert.equal(locked.code, 5);
    assert.match(locked.stderr, new RegExp(`pid ${demo.child.pid}`));
    const other = await mkdtemp(join(tmpdir(), 'banyan-up-'));
    const taken = createServer().listen(18_302, '127.0.0.1');
    const ports = ['up', '--base-port', '18300', '--data', other, '--model-file', MODEL_FILE];
    const refused = await banyan(ports);
    assert.equal(refused.code, 5);
    assert.match(refused.stderr, /Port 18302 is taken by .*--base-port/);
    taken.close();
    await rm(other, { recursive: true, force: true });
  });

  it('chat streams an answer and says who served it', async () => {
    const answer = await verb('chat', '--region', 'eu-central-1', 'How do I return an item?');
    assert.equal(answer.region, 'eu-central-1');
    assert.match(answer.target, /^llama-[ab]$/);
    assert.notEqual(answer.text, '');
    const shown = await banyan(['chat', '--region', 'us-east-2', 'Hello']);
    assert.match(shown.stderr, /served by us-east-2\/llama-[ab], attempts 1, first token \d+ ms/);
    const chinese = await banyan(['chat', '--region', 'us-east-2', '你好'], {
      LC_ALL: 'zh_CN.UTF-8',
    });
    assert.match(chinese.stderr, /由 us-east-2\/llama-[ab] 提供/);
    assert.equal((await banyan(['chat', '--region', 'nowhere', 'Hello'])).code, 4);
  });

  it('three SDKs stream the same answers through every region, English and Chinese', async () => {
    const questions = [
      ['How do I return an item?', /return/i],
      ['怎么申请退货？', /退货/],
    ] as const;
    for (const [question, wanted] of questions) {
      const texts = new Set<string>();
      for (const port of [BASE + 1, BASE + 2, BASE + 3]) {
        for (const ask of [askOpenai, askAnthropic, askVercel]) {
          texts.add(await ask(port, question));
        }
      }
      assert.equal(texts.size, 1, [...texts].join(' | '));
      assert.match([...texts][0] ?? '', wanted);
    }
  });

  it('with all model servers of a region killed its port still answers everything', async () => {
    await verb('fault', 'kill', 'us-east-2/llama-a');
    await verb('fault', 'kill', 'us-east-2/llama-b');
    assert.equal(await answers(BASE + 1, LOAD), LOAD);
    const answer = await verb('chat', '--region', 'us-east-2', 'Where is my order?');
    assert.notEqual(answer.region, 'us-east-2');
    assert.equal(answer.forwardedBy, 'us-east-2');
    await verb('fault', 'restart', 'us-east-2/llama-a');
    await verb('fault', 'heal');
    // A model server that was killed twice waits longer each time, and loads its model anew.
    await until('all targets run again', allTargetsRun, 60_000);
  });

  it('a killed region stays down, the others answer everything, heal brings it back', async () => {
    await verb('fault', 'kill', 'ap-northeast-1');
    await until('it is down', async () => (await stateOf('ap-northeast-1')) === 'down', 5_000);
    const both = await Promise.all([answers(BASE + 1, LOAD), answers(BASE + 2, LOAD)]);
    assert.deepEqual(both, [LOAD, LOAD]);
    const refused = await banyan(['fault', 'kill', 'ap-northeast-1/llama-a']);
    assert.equal(refused.code, 3);
    await verb('fault', 'heal');
    await until('the region is up', async () => (await stateOf('ap-northeast-1')) === 'up', 30_000);
    await until('all targets run again', allTargetsRun, 20_000);
  });

  it('a paused region and a cut link are told apart, and end', async () => {
    await verb('fault', 'cut', 'us-east-2', 'eu-central-1');
    await until('cut is seen', async () => (await stateOf('us-east-2')) === 'cut', 10_000);
    await verb('fault', 'heal');
    await until('healed', async () => (await stateOf('us-east-2')) === 'up', 20_000);
    await verb('fault', 'pause', 'eu-central-1');
    await until('it is paused', async () => (await stateOf('eu-central-1')) === 'paused', 5_000);
    await until(
      'the others see it paused',
      async () => {
        const row = (await rows('regions')).find((entry) => entry.region === 'eu-central-1');
        return row?.sightings.every(({ state }) => state === 'paused') === true;
      },
      20_000,
    );
    await verb('fault', 'resume', 'eu-central-1');
    await until('resumed', async () => (await stateOf('eu-central-1')) === 'up', 20_000);
    assert.equal((await banyan(['fault', 'resume', 'eu-central-1'])).code, 5);
    assert.equal((await banyan(['fault', 'kill', 'nowhere'])).code, 4);
  });

  it('the page is served under a strict policy, and only its own origin may act', async () => {
    const page = await fetch(`${SERVER}/`, { headers: { 'accept-language': 'zh-CN,en;q=0.5' } });
    assert.equal(page.headers.get('content-language'), 'zh');
    assert.match(page.headers.get('content-security-policy') ?? '', /^default-src 'none'/);
    const state = (await (await fetch(`${SERVER}/demo/state`)).json()) as Answer;
    assert.equal(state.regions.length, 3);
    assert.equal(state.links.length, 3);
    const json = { 'content-type': 'application/json', 'x-banyan-page': '1' };
    const messages = [{ role: 'user', content: 'Hello' }];
    const body = JSON.stringify({ region: 'us-east-2', messages });
    const own = await fetch(`${SERVER}/demo/chat`, { method: 'POST', headers: json, body });
    assert.match(await own.text(), /data: \[DONE\]/);
    const foreign = [
      { ...json, origin: 'http://evil.example' },
      { ...json, 'sec-fetch-site': 'cross-site' },
      { 'content-type': 'application/json' },
    ];
    for (const headers of foreign) {
      const reply = await fetch(`${SERVER}/demo/chat`, { method: 'POST', headers, body });
      assert.equal(reply.status, 403);
    }
    const fault = await fetch(`${SERVER}/admin/v1/faults`, {
      method: 'POST',
      headers: { ...json, origin: 'http://evil.example' },
      body: '{"action":"heal"}',
    });
    assert.equal(fault.status, 403);
  });

  const browserPath = findChromium();
  const noBrowser = browserPath === null ? 'no Chromium on this machine' : false;
  it('a person sees three regions, asks, kills and heals', { skip: noBrowser }, async () => {
    const browser = await chromium.launch({
      executablePath: browserPath ?? '',
      args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run'],
    });
    try {
      const page = await browser.newPage({ locale: 'en-US' });
      const faults: string[] = [];
      page.on('pageerror', (cause) => faults.push(cause.message));
      page.on('console', (line) => {
        if (line.type() === 'error') faults.push(line.text());
      });
      await page.goto(`${SERVER}/`);
      for (const region of REGIONS) await page.waitForSelector(`[data-region="${region}"]`);
      await page.selectOption('#where', 'eu-central-1');
      await page.fill('#question', 'How do I return an item?');
      await page.click('#send');
      await page.waitForSelector('#talk :text("eu-central-1/llama-")');
      await page.click('[data-key="kill us-east-2/llama-a"]');
      await page.waitForSelector('[data-region="us-east-2"] :text("killed")');
      await page.click('#heal');
      await until('all targets run again', allTargetsRun, 20_000);
      await page.click('#language');
      await page.waitForSelector('html[lang^="zh"]');
      assert.match((await page.textContent('#send')) ?? '', /发送|提问/);
      assert.deepEqual(faults, []);
    } finally {
      await browser.close();
    }
  });

  it('a region that crashes by itself comes back by itself', async () => {
    const { items } = await verb('get', 'nodes');
    const pid = items.find((row) => row.region === 'us-east-2')?.pid;
    assert.ok(pid !== undefined);
    process.kill(pid, 'SIGKILL');
    await until('dead', () => !isAlive(pid), 5_000);
    await until('up again', async () => (await stateOf('us-east-2')) === 'up', 30_000);
    await until('all targets run again', allTargetsRun, 20_000);
  });

  it('Ctrl-C ends everything within seconds; the second start is quick', async () => {
    const pids = await allPids();
    assert.equal(pids.length, 9);
    demo.child.kill('SIGINT');
    assert.equal(await demo.exited, 0);
    await until('no process is left', () => !pids.some(isAlive), 2_000);
    const startMs = performance.now();
    demo = startUp(data);
    await until('ready', () => /Ready in/.test(demo.output()), 60_000);
    const tookMs = Math.round(performance.now() - startMs);
    console.log(`# second start: ${tookMs} ms`);
    assert.ok(tookMs < 30_000);
  });

  it('a supervisor that is killed leaves nothing: not even what was paused, at the next start', async () => {
    await verb('fault', 'pause', 'eu-central-1');
    const pids = await allPids();
    demo.child.kill('SIGKILL');
    await demo.exited;
    const { length } = pids;
    await until('what runs ends', () => pids.filter(isAlive).length < length, 10_000);
    demo = startUp(data, ['--regions', 'us-east-2,eu-central-1', '--no-wan']);
    await until('ready', () => /Ready in/.test(demo.output()), 60_000);
    assert.match(demo.output(), /left behind: .*eu-central-1/);
    await until('nothing is left', () => !pids.some(isAlive), 10_000);
    demo.child.kill('SIGTERM');
    assert.equal(await demo.exited, 0);
  });
});
