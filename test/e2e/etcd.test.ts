/** Three real nodes whose control state three real etcd servers keep. */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import { runBanyan, type Run } from '../support/banyan.ts';
import { ask } from '../support/client.ts';
import {
  startControlRegions,
  type ControlRegion,
  type ControlRegions,
} from '../support/controlRegions.ts';
import { etcdAbsent, startEtcd, type EtcdCluster } from '../support/etcdCluster.ts';
import { startFakeUpstream, type FakeUpstream } from '../support/fakeUpstream.ts';
import { until } from '../support/node.ts';

function banyan(region: ControlRegion, ...args: readonly string[]): Promise<Run> {
  return runBanyan(args, { env: { BANYAN_SERVER: region.adminUrl } });
}

/** Asks for an answer; what came. */
function chat(region: ControlRegion, secret: string, more: Record<string, string> = {}) {
  const headers = { authorization: `Bearer ${secret}`, ...more };
  return ask(region.apiUrl, { dialect: 'openai', model: 'm', isStream: false, headers });
}

describe('control state in etcd', { skip: etcdAbsent() }, () => {
  let etcd: EtcdCluster;
  let regions: ControlRegions;
  let fake: FakeUpstream;
  let key = '';

  before(async () => {
    etcd = await startEtcd();
    fake = await startFakeUpstream('fake');
    regions = await startControlRegions({
      etcd,
      control: { registers: {} },
      more: {
        targets: [{ name: 'one', kind: 'openai', baseUrl: `${fake.origin}/v1` }],
        models: [{ name: 'm', targets: ['one'] }],
      },
    });
  });

  after(async () => {
    await regions.close();
    await etcd.close();
    await fake.close();
  });

  const everywhere = async (secret: string, status: number): Promise<boolean> => {
    const all = await Promise.all(regions.all.map((region) => region.statusWith(secret)));
    return all.every((one) => one === status);
  };

  const makeKey = async (at: number, name: string, more: object = {}): Promise<string> => {
    const asked = { action: 'create', name, ...more };
    const said = await regions.region(at).admin('/admin/v1/keys', asked);
    assert.equal(said?.status, 200, JSON.stringify(said));
    return String(said.body['secret']);
  };

  it('the verbs of keys and of the audit log are the same as with an own group', async () => {
    const [first, second] = [regions.region(0), regions.region(1)];
    const made = await banyan(first, 'keys', 'create', 'shop', '--why', 'it opens', '-o', 'json');
    assert.equal(made.code, 0, made.stderr);
    key = (JSON.parse(made.stdout) as { secret: string }).secret;
    await until('it works everywhere', () => everywhere(key, 200), 2_000);
    assert.equal((await banyan(second, 'keys', 'create', 'shop')).code, 5, 'the name is taken');
    assert.match((await banyan(second, 'keys', 'list')).stdout, /shop/);
    const rotated = await banyan(second, 'keys', 'rotate', 'shop', '--grace', '0', '-o', 'json');
    assert.equal(rotated.code, 0, rotated.stderr);
    const { secret } = JSON.parse(rotated.stdout) as { secret: string };
    await until('the old secret ends', () => everywhere(key, 401), 2_000);
    await until('the new one works', () => everywhere(secret, 200), 2_000);
    key = secret;
    const audit = await banyan(regions.region(2), 'get', 'audit');
    assert.match(audit.stdout, /keys create shop .*it opens/);
  });

  it('status and backups go by the etcd cluster; to recover is a matter of etcd', async () => {
    const [region] = regions.all;
    assert.ok(region !== undefined);
    const status = await banyan(region, 'status');
    assert.equal(status.code, 0, status.stdout + status.stderr);
    assert.match(status.stdout, /3 of 3 voters are there/);
    const folder = await mkdtemp(join(tmpdir(), 'banyan-etcd-'));
    const file = join(folder, 'control.backup');
    const made = await banyan(region, 'backup', 'create', file, '-o', 'json');
    assert.equal(made.code, 0, made.stderr);
    const told = JSON.parse(made.stdout) as { engine: string; isConfirmed: boolean; keys: number };
    assert.deepEqual([told.engine, told.isConfirmed, told.keys > 0], ['etcd', true, true]);
    await rm(folder, { recursive: true });
  });

  it('members and the leader are those of the etcd cluster; leadership goes where it is wanted', async () => {
    const [region] = regions.all;
    assert.ok(region !== undefined);
    const { stdout } = await banyan(region, 'get', 'members', '-o', 'json');
    const { items, engine } = JSON.parse(stdout) as {
      engine: string;
      items: { region: string; role: string; isHeard: boolean }[];
    };
    assert.equal(engine, 'etcd');
    assert.deepEqual(items.map((item) => item.region).toSorted(), ['s0', 's1', 's2']);
    assert.ok(items.every(({ isHeard }) => isHeard));
    const leader = items.find(({ role }) => role === 'leader')?.region;
    const other = items.find(({ role }) => role !== 'leader')?.region ?? '';
    assert.equal((await banyan(region, 'get', 'leader')).stdout.trim(), leader);
    const dry = await banyan(region, 'transfer-leader', other, '--dry-run');
    assert.match(dry.stdout, new RegExp(`leadership of etcd goes to ${other}`));
    const moved = await banyan(region, 'transfer-leader', other);
    assert.equal(moved.code, 0, moved.stderr);
    await until(
      'it leads',
      async () => (await banyan(region, 'get', 'leader')).stdout.trim() === other,
    );
    assert.equal((await banyan(region, 'transfer-leader', 'nobody')).code, 4);
    const removed = await banyan(region, 'member', 'remove', '1');
    assert.notEqual(removed.code, 0);
    assert.match(removed.stderr, /etcdctl member add/);
  });

  it('keys are bound to regions, and their rates divided, as with an own group', async () => {
    const [first, second, third] = [regions.region(0), regions.region(1), regions.region(2)];
    const asked = { action: 'allot', name: 'none', shares: {} };
    const isRaised = async () => (await first.admin('/admin/v1/keys', asked))?.status === 404;
    await until('the feature level is raised', isRaised, 10_000);
    const bound = await makeKey(0, 'bound', { residency: ['here'] });
    const served = async (secret: string): Promise<string> => {
      const all = regions.all.map(async (region) => (await chat(region, secret)).status);
      return (await Promise.all(all)).join();
    };
    await until('no region has it', async () => (await served(bound)) === '403,403,403', 2_000);
    const set = await banyan(first, 'region', 'set', second.name, '--residency', 'here');
    assert.equal(set.code, 0, set.stderr);
    await until('one has it now', async () => (await served(bound)) === '503,200,503', 2_000);
    const rated = await makeKey(0, 'rated', { requestsPerMinute: 100 });
    const shares = [`${first.name}=60`, `${third.name}=40`];
    const divided = await banyan(second, 'keys', 'allot', 'rated', ...shares);
    assert.equal(divided.code, 0, divided.stderr);
    await until('one has no share', async () => (await served(rated)) === '200,429,200', 4_000);
    const audit = await banyan(second, 'get', 'audit');
    for (const what of [/keys allot rated/, /region set /]) {
      assert.match(audit.stdout, what);
    }
  });

  it('a revoked key ends in every region within 1 s', async () => {
    const secret = await makeKey(2, 'brief');
    await until('it works everywhere', () => everywhere(secret, 200), 2_000);
    const revoke = { action: 'revoke', name: 'brief' };
    assert.equal((await regions.region(0).admin('/admin/v1/keys', revoke))?.status, 200);
    const startMs = performance.now();
    await until('it ends everywhere', () => everywhere(secret, 401), 1_000);
    console.log(`# revoked everywhere ${Math.round(performance.now() - startMs)} ms after`);
  });

  it('a request with an Idempotency-Key runs once in all regions together', async () => {
    const askOnce = (region: ControlRegion) => chat(region, key, { 'idempotency-key': 'once' });
    const before = fake.seen.length;
    const replies = await Promise.all(regions.all.map(askOnce));
    const statuses = replies.map(({ status }) => status).toSorted((a, b) => a - b);
    assert.deepEqual(statuses, [200, 409, 409], JSON.stringify(replies));
    assert.equal(fake.seen.length - before, 1);
    await until('its result is known everywhere', async () => {
      const again = await Promise.all(regions.all.map(askOnce));
      return again.every(({ status, body }) => status === 409 && body.includes('idempotency_done'));
    });
    const claims = await banyan(regions.region(2), 'get', 'claims', '-o', 'json');
    assert.equal(claims.code, 0, claims.stderr);
    assert.match(claims.stdout, /answered 200/);
    assert.equal(fake.seen.length - before, 1, 'nothing ran again');
  });

  it('a job is claimed, settled and given back by the admin API', async () => {
    const ask = async (body: object) =>
      (await regions.region(1).admin('/admin/v1/claims', { owner: 'w', about: '', ...body }))?.body;
    const won = await ask({ action: 'claim', key: 'nightly' });
    assert.equal(won?.['won'], true, JSON.stringify(won));
    const settled = { action: 'settle', key: 'nightly', place: won['place'], result: 'done' };
    assert.deepEqual(await ask(settled), { done: true });
    const other = await ask({ action: 'claim', key: 'other' });
    const released = { action: 'release', key: 'other', place: other?.['place'] };
    assert.deepEqual(await ask(released), { done: true });
  });

  it('any one etcd server dies: requests go on, and keys can be made again within 5 s', async () => {
    const leader = await etcd.leader();
    await etcd.server(leader).kill9();
    const startMs = performance.now();
    let count = 0;
    await until(
      'a key can be made',
      async () => {
        assert.ok(await everywhere(key, 200), 'requests go on');
        count += 1;
        const body = { action: 'create', name: `after-death-${count}` };
        return (await regions.region(1).admin('/admin/v1/keys', body))?.status === 200;
      },
      10_000,
    );
    console.log(`# a key could be made again after ${Math.round(performance.now() - startMs)} ms`);
    etcd.heal();
    await etcd.leader();
  });

  it('without a quorum of etcd a node serves on, after a restart too, and says so', async () => {
    const late = await makeKey(0, 'late');
    await until('it works everywhere', () => everywhere(late, 200), 2_000);
    const revoke = { action: 'revoke', name: 'late' };
    assert.equal((await regions.region(0).admin('/admin/v1/keys', revoke))?.status, 200);
    await until('it ends everywhere', () => everywhere(late, 401), 2_000);
    await etcd.server(0).kill9();
    await etcd.server(1).kill9();
    const region = regions.region(1);
    const ready = async (): Promise<string> => (await fetch(`${region.adminUrl}/readyz`)).text();
    await until('it says so', async () => /no quorum of etcd; serving by/.test(await ready()));
    const refused = await region.admin('/admin/v1/keys', { action: 'create', name: 'not-now' });
    assert.ok(refused?.status === 503 || refused?.status === 504, JSON.stringify(refused));
    assert.ok(await everywhere(key, 200));
    await region.kill9();
    await etcd.server(2).kill9();
    await region.start();
    assert.equal(await region.statusWith(key), 200, 'from its own disk');
    assert.equal(await region.statusWith(late), 401, 'what was revoked stays so');
    assert.equal((await fetch(`${region.adminUrl}/readyz`)).status, 200, 'it is ready');
    await until('it says so again', async () => /no quorum of etcd/.test(await ready()));
    etcd.heal();
    await until('all is well again', async () => !/control state/.test(await ready()), 30_000);
    const secret = await makeKey(1, 'again');
    // The other nodes begin to follow again after pauses of their own.
    await until('it works everywhere', () => everywhere(secret, 200), 20_000);
  });
});
