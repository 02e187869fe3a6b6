/**
 * What operators want of regions, in three real regions: said in one, in force in all, kept over a
 * restart and without a quorum; what comes to a drained region is served by another. What a key is
 * bound to, and how its rates are divided, likewise.
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import OpenAI from 'openai';

import { startControlRegions, type ControlRegion } from '../support/controlRegions.ts';
import type { ControlRegions } from '../support/controlRegions.ts';
import { startFakeUpstream, type FakeUpstream } from '../support/fakeUpstream.ts';

const CLI = join(import.meta.dirname, '../../src/main/cli.ts');
const IN_FORCE_MS = 2_000;

let regions: ControlRegions;
let upstream: FakeUpstream;
let key = '';
/** Keys with labels, and with rates that are divided. */
let bound = '';
let rated = '';

async function until(what: string, isSo: () => Promise<boolean>, limitMs: number): Promise<number> {
  const startMs = performance.now();
  while (!(await isSo())) {
    assert.ok(performance.now() - startMs < limitMs, `${what} within ${limitMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return performance.now() - startMs;
}

function set(at: ControlRegion, body: object) {
  return at.admin('/admin/v1/regions', { action: 'set', ...body });
}

const codeOf = (said: Awaited<ReturnType<typeof set>>): string | undefined =>
  (said?.body['error'] as { readonly code: string } | undefined)?.code;

interface Row {
  readonly region: string;
  readonly desired: string;
  readonly weight: number;
  readonly residency: string | null;
}

/** `ap drained 50 eu`: a region as one of them shows it. */
async function shown(at: ControlRegion, region: string): Promise<string> {
  const rows = (await at.admin('/admin/v1/regions'))?.body['items'] as readonly Row[] | undefined;
  const row = rows?.find((each) => each.region === region);
  return row === undefined ? '' : `${row.desired} ${row.weight} ${row.residency ?? '-'}`;
}

async function shownEverywhere(region: string, wish: string): Promise<boolean> {
  const all = await Promise.all(
    regions.all.filter(({ isRunning }) => isRunning).map((at) => shown(at, region)),
  );
  return all.every((one) => one === wish);
}

async function readiness(at: ControlRegion): Promise<string> {
  const response = await fetch(`${at.apiUrl}/readyz`);
  return `${response.status} ${(await response.text()).trim()}`;
}

async function madeKey(at: ControlRegion, more: object): Promise<string> {
  const made = await at.admin('/admin/v1/keys', { action: 'create', ...more });
  assert.equal(made?.status, 200);
  return String(made.body['secret']);
}

/** The official SDK asks a region; the region that served, or the error's status and code. */
async function askedBySdk(at: ControlRegion, apiKey: string): Promise<string> {
  const openai = new OpenAI({ apiKey, baseURL: `${at.apiUrl}/v1`, maxRetries: 0 });
  const body = { model: 'm', messages: [{ role: 'user' as const, content: 'hi' }] };
  try {
    const { response } = await openai.chat.completions.create(body).withResponse();
    return `200 ${response.headers.get('x-banyan-region')}`;
  } catch (cause) {
    assert.ok(cause instanceof OpenAI.APIError, String(cause));
    const isWaiting = cause.headers?.get('retry-after') !== null;
    return `${cause.status} ${cause.code}${isWaiting ? ' retry-after' : ''}`;
  }
}

/** How many of `count` requests at once are let in. */
async function letIn(at: ControlRegion, secret: string, count: number): Promise<number> {
  const all = await Promise.all(Array.from({ length: count }, () => served(at, secret)));
  return all.filter((one) => one.startsWith('200 ')).length;
}

/** `eu 60, us 40; waits for eu`: how a key's rates are divided, as one region shows it. */
async function division(at: ControlRegion, name: string): Promise<string> {
  const items = (await at.admin('/admin/v1/keys'))?.body['items'] as
    | readonly { name: string; shares: Record<string, number> | null; waitsFor: string[] }[]
    | undefined;
  const row = items?.find((each) => each.name === name);
  const parts = Object.entries(row?.shares ?? {}).map(([place, share]) => `${place} ${share}`);
  return `${parts.join(', ')}; waits for ${row?.waitsFor.join(', ')}`;
}

/** Status and serving region of one request. */
async function served(at: ControlRegion, secret = key): Promise<string> {
  const response = await fetch(`${at.apiUrl}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${secret}` },
    body: JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'hi' }] }),
  });
  await response.arrayBuffer();
  return `${response.status} ${response.headers.get('x-banyan-region')}`;
}

function banyan(at: ControlRegion, args: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    const env = { ...process.env, LC_ALL: 'C', BANYAN_SERVER: at.adminUrl };
    const child = spawn(process.execPath, [CLI, ...args], { env });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => (output += text));
    }
    child.on('close', (code) => resolve(`${code} ${output}`));
  });
}

describe('what is wanted of regions', () => {
  before(async () => {
    upstream = await startFakeUpstream();
    regions = await startControlRegions({
      etcd: null,
      more: {
        targets: [{ name: 't', kind: 'openai', baseUrl: `${upstream.origin}/v1` }],
        models: [{ name: 'm', targets: ['t'] }],
      },
    });
    const [ap] = regions.all;
    assert.ok(ap !== undefined);
    const isSet = async () => (await set(ap, { region: 'us', weight: 200 }))?.status === 200;
    await until('the state can be changed', isSet, 20_000);
    const divided = { action: 'allot', name: 'none', shares: {} };
    const isRaised = async () => (await ap.admin('/admin/v1/keys', divided))?.status === 404;
    await until('the feature level is raised', isRaised, 20_000);
    const made = await ap.admin('/admin/v1/keys', { action: 'create', name: 'app' });
    key = String(made?.body['secret']);
    for (const at of regions.all) {
      await until('the key counts', async () => (await at.statusWith(key)) === 200, IN_FORCE_MS);
    }
  });
  after(async () => {
    await regions.close();
    await upstream.close();
  });

  it('is said in one region and in force in all; its traffic goes to others meanwhile', async () => {
    const [ap, eu] = [regions.region(0), regions.region(1)];
    assert.equal(await served(eu), '200 eu');
    const args = ['region', 'set', 'eu', '--desired', 'drained', '--residency', 'eu-west'];
    assert.match(await banyan(ap, [...args, '--dry-run']), /^0 .*region set eu: desired drained/);
    assert.equal(await shown(ap, 'eu'), 'active 100 -');
    const said = await banyan(ap, [...args, '--why', 'a new rack']);
    assert.equal(said, '0 eu: drained, weight 100, residency eu-west.\n');
    await until('all show it', () => shownEverywhere('eu', 'drained 100 eu-west'), IN_FORCE_MS);
    const gone = '503 drained: an operator drained this region';
    await until('eu says so', async () => (await readiness(eu)) === gone, IN_FORCE_MS);
    assert.equal((await eu.admin('/admin/v1/status'))?.status, 200);
    const away = async () => /^200 (?:ap|us)$/.test(await served(eu));
    await until('what comes to eu is served elsewhere', away, IN_FORCE_MS);
    assert.equal(await served(ap), '200 ap');
    assert.match(await banyan(ap, ['get', 'regions']), /eu +\S+ +drained +100 +eu-west/);
    const audit = (await ap.admin('/admin/v1/audit'))?.body['items'] as readonly {
      readonly what: string;
      readonly why: string;
    }[];
    const record = audit.find(({ why }) => why === 'a new rack');
    assert.equal(record?.what, 'region set eu: desired drained, residency eu-west');
  });

  it('a second region is not drained beside it, unless by force; then all still serve', async () => {
    const [ap, eu, us] = [regions.region(0), regions.region(1), regions.region(2)];
    assert.equal(codeOf(await set(eu, { region: 'ap', desired: 'drained' })), 'another_region_out');
    const forced = await set(eu, { region: 'ap', desired: 'drained', force: true });
    assert.equal(forced?.status, 200);
    assert.equal(codeOf(await set(ap, { region: 'us', desired: 'drained' })), 'last_active_region');
    assert.equal((await set(ap, { region: 'us', desired: 'drained', force: true }))?.status, 200);
    await until('all are told', () => shownEverywhere('us', 'drained 200 -'), IN_FORCE_MS);
    for (const at of [ap, eu, us]) assert.equal(await served(at), `200 ${at.name}`);
    for (const region of ['ap', 'us']) {
      assert.equal((await set(ap, { region, desired: 'active' }))?.status, 200);
    }
    await until('they are back', () => shownEverywhere('ap', 'active 100 -'), IN_FORCE_MS);
  });

  it('serves a bound key only where its label is, whoever is asked', async () => {
    const [ap, eu, us] = [regions.region(0), regions.region(1), regions.region(2)];
    bound = await madeKey(ap, { name: 'bound', residency: ['eu-west', 'ch'] });
    const isServed = async () => (await askedBySdk(us, bound)) === '200 eu';
    await until('eu serves it, drained or not', isServed, IN_FORCE_MS);
    assert.equal(await askedBySdk(eu, bound), '200 eu');
    const why = await banyan(us, ['route', 'explain', '--model', 'm', '--key', 'bound']);
    assert.match(why, /^0 A request for m in us goes to eu/);
    assert.match(why, /The key is bound to: eu-west, ch\./);
    const lost = await madeKey(ap, { name: 'lost', residency: ['mars'] });
    const isRefused = async () => (await askedBySdk(us, lost)) === '403 residency_refused';
    await until('no region has the label', isRefused, IN_FORCE_MS);
    const to = await banyan(us, ['keys', 'set', 'lost', '--residency', 'eu-west']);
    assert.equal(to, '0 lost: residency eu-west.\n');
    const isFound = async () => (await askedBySdk(us, lost)) === '200 eu';
    await until('it is bound anew', isFound, IN_FORCE_MS);
    await eu.kill9();
    const before = upstream.seen.length;
    for (let turn = 0; turn < 5; turn += 1) {
      // What was on its way when the region died may have run there: 502.
      assert.match(await askedBySdk(us, bound), /^50[23] (?:residency_un|upstream_)\w+/);
    }
    const isTold = async () =>
      (await askedBySdk(us, bound)) === '503 residency_unavailable retry-after';
    await until('the region is known to be gone', isTold, 10_000);
    assert.equal(upstream.seen.length, before, 'nobody else was asked');
    await set(ap, { region: 'us', residency: 'ch' });
    const isHere = async () => (await askedBySdk(us, bound)) === '200 us';
    await until('us has a label of it now', isHere, IN_FORCE_MS);
    await eu.start();
  });

  it('divides the rates of a key; what grows waits for a region that is cut off', async () => {
    const [ap, eu, us] = [regions.region(0), regions.region(1), regions.region(2)];
    rated = await madeKey(ap, { name: 'rated', requestsPerMinute: 100 });
    const shares = ['keys', 'allot', 'rated', 'eu=60', 'us=40%'];
    assert.equal(
      await banyan(ap, [...shares, '--dry-run']),
      '0 Would be done: keys allot rated: eu 60 %, us 40 %\n',
    );
    assert.match(await banyan(ap, shares), /^0 rated: eu 60 %, us 40 %\. Larger shares count once/);
    const isTaken = async () => (await division(us, 'rated')) === 'eu 60, us 40; waits for ';
    await until('all have taken their share', isTaken, IN_FORCE_MS * 2);
    assert.equal(await letIn(us, rated, 50), 40);
    assert.equal(await askedBySdk(ap, rated), '429 no_share');
    for (const other of ['ap', 'us']) regions.setCut('eu', other, true);
    const moved = await banyan(ap, ['keys', 'allot', 'rated', 'eu=10', 'us=40', 'ap=50']);
    assert.match(moved, /waits? for eu|smaller ones: eu\./);
    assert.match(await banyan(us, ['keys', 'list']), /\(waits for eu\)/);
    assert.equal(await letIn(eu, rated, 20), 20, 'eu has not heard, and goes by what it knows');
    const late = '429 rate_limited retry-after';
    assert.equal(await askedBySdk(ap, rated), late, 'so that ap gets nothing yet');
    for (const other of ['ap', 'us']) regions.setCut('eu', other, false);
    const isMoved = async () => (await askedBySdk(ap, rated)) === '200 ap';
    await until('eu has heard, and ap its share', isMoved, 10_000);
    assert.equal(await division(ap, 'rated'), 'ap 50, eu 10, us 40; waits for ');
    const audit = await banyan(ap, ['get', 'audit']);
    assert.match(audit, /banyan +eu +keys allot rated: eu has taken its share/);
  });

  it('counts after a restart without a quorum, from disk; nothing is refused', async () => {
    const eu = regions.region(1);
    for (const at of regions.all) await at.kill9();
    await eu.start();
    const gone = '503 drained: an operator drained this region';
    assert.equal(await readiness(eu), gone);
    assert.equal(await served(eu), '200 eu');
    assert.equal(await askedBySdk(eu, bound), '200 eu');
    assert.equal(await letIn(eu, rated, 15), 10);
    await regions.heal();
    const isSet = async () => (await set(eu, { region: 'eu', desired: 'active' }))?.status === 200;
    await until('it is active again', isSet, 20_000);
    await until('and ready', async () => (await readiness(eu)) === '200 ready', IN_FORCE_MS);
  });
});
