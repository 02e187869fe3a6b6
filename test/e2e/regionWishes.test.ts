/**
 * What operators want of regions, in three real regions: said in one, in force in all, kept over a
 * restart and without a quorum; what comes to a drained region is served by another.
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import { startControlRegions, type ControlRegion } from '../support/controlRegions.ts';
import type { ControlRegions } from '../support/controlRegions.ts';
import { startFakeUpstream, type FakeUpstream } from '../support/fakeUpstream.ts';

const CLI = join(import.meta.dirname, '../../src/main/cli.ts');
const IN_FORCE_MS = 2_000;

let regions: ControlRegions;
let upstream: FakeUpstream;
let key = '';

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

/** Status and serving region of one request. */
async function served(at: ControlRegion): Promise<string> {
  const response = await fetch(`${at.apiUrl}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
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

  it('counts after a restart without a quorum, from disk; nothing is refused', async () => {
    const eu = regions.region(1);
    for (const at of regions.all) await at.kill9();
    await eu.start();
    const gone = '503 drained: an operator drained this region';
    assert.equal(await readiness(eu), gone);
    assert.equal(await served(eu), '200 eu');
    await regions.heal();
    const isSet = async () => (await set(eu, { region: 'eu', desired: 'active' }))?.status === 200;
    await until('it is active again', isSet, 20_000);
    await until('and ready', async () => (await readiness(eu)) === '200 ready', IN_FORCE_MS);
  });
});
