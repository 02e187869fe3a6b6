/** How a node gets at a real etcd server: TLS with certificates on both sides, users with passwords. */

import assert from 'node:assert/strict';
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import { initCerts } from '../../src/io/certs.ts';
import { createClock, createTimers } from '../../src/io/clock.ts';
import { EtcdClient } from '../../src/io/etcd/client.ts';
import { createLog } from '../../src/io/observe/log.ts';
import { EtcdSide } from '../../src/main/control/etcdSide.ts';
import type { EtcdFailure, EtcdTransacted } from '../../src/replica/etcd/store.ts';
import type { Result } from '../../src/base/result.ts';
import { etcdAbsent, startEtcd, type EtcdCluster } from '../support/etcdCluster.ts';

function put(client: EtcdClient, key: string): Promise<Result<EtcdTransacted, EtcdFailure>> {
  const value = new Uint8Array(3);
  return new Promise((resolve) => {
    client.transact(
      { compares: [], success: [{ kind: 'put', key, value, lease: null }], failure: [] },
      resolve,
    );
  });
}

async function untilWell(client: EtcdClient): Promise<void> {
  const endMs = performance.now() + 20_000;
  for (;;) {
    const done = await put(client, 'first');
    if (done.ok) return;
    assert.ok(performance.now() < endMs, done.error.detail);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

describe('access to etcd', { skip: etcdAbsent() }, () => {
  let folder: string;
  const clusters: EtcdCluster[] = [];
  const clients: EtcdClient[] = [];

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'banyan-etcd-access-'));
    const nodes = ['server', 'client'].map((region) => ({ region, node: `${region}-1` }));
    const wallMs = Date.now();
    const made = await initCerts({
      dir: folder,
      cluster: 'test',
      nodes,
      days: 1,
      isForced: false,
      wallMs,
    });
    assert.ok(made.ok);
  });

  after(async () => {
    for (const client of clients) client.close();
    for (const cluster of clusters) await cluster.close();
    await rm(folder, { recursive: true, force: true });
  });

  it('over TLS, with a certificate of our own; without one nothing is let in', async () => {
    const at = (name: string): string => join(folder, name);
    const cluster = await startEtcd({
      count: 1,
      tls: { ca: at('ca.pem'), cert: at('server.pem'), key: at('server.key') },
    });
    clusters.push(cluster);
    const ca = await readFile(at('ca.pem'), 'utf8');
    const cert = await readFile(at('client.pem'), 'utf8');
    const key = await readFile(at('client.key'), 'utf8');
    const make = (tls: { ca: string | null; cert: string | null; key: string | null }) => {
      const full = { ...tls, serverName: 'server-1' };
      const client = new EtcdClient({ endpoints: cluster.endpoints, tls: full, user: null });
      clients.push(client);
      return client;
    };
    await untilWell(make({ ca, cert, key }));
    const bare = await put(make({ ca, cert: null, key: null }), 'k');
    assert.ok(!bare.ok, 'without a certificate');
    const other = await put(make({ ca: null, cert, key }), 'k');
    assert.ok(!other.ok && other.error.isDefinite, JSON.stringify(other));
  });

  it('renewed certificates count once they are read again, broken ones never', async () => {
    const at = (name: string): string => join(folder, name);
    const cluster = await startEtcd({
      count: 1,
      tls: { ca: at('ca.pem'), cert: at('server.pem'), key: at('server.key') },
    });
    clusters.push(cluster);
    const own = join(folder, 'own');
    const nodes = [{ region: 'client', node: 'client-1' }];
    const options = { cluster: 'other', nodes, days: 1, isForced: false, wallMs: Date.now() };
    assert.ok((await initCerts({ ...options, dir: own })).ok);
    const ownAt = (name: string): string => join(own, name);
    const tls = { ca: at('ca.pem'), cert: ownAt('client.pem'), key: ownAt('client.key') };
    const side = await EtcdSide.create({
      folder: join(folder, 'control'),
      shell: {
        endpoints: cluster.endpoints,
        prefix: 'banyan',
        tls: { ...tls, serverName: 'server-1' },
        user: null,
      },
      name: 'client',
      others: [],
      clock: createClock(),
      timers: createTimers(),
      log: createLog('silent', {}, { write: () => {} }),
    });
    try {
      assert.equal((await side.members()).items.length, 0, 'it is of another authority');
      for (const name of ['client.pem', 'client.key']) await copyFile(at(name), ownAt(name));
      assert.equal((await side.members()).items.length, 0, 'not read yet');
      assert.equal(await side.reloadTls(), null);
      const endMs = performance.now() + 20_000;
      while ((await side.members()).items.length === 0) assert.ok(performance.now() < endMs);
      await writeFile(ownAt('client.pem'), 'no certificate');
      assert.match((await side.reloadTls()) ?? '', /PEM|certificate/i);
      await rm(ownAt('client.key'));
      assert.match((await side.reloadTls()) ?? '', /ENOENT/);
      assert.equal((await side.members()).items.length, 1, 'those before stay');
    } finally {
      await side.stop();
    }
  });

  it('with a user and a password; with a wrong one, and where it may not write, it is refused', async () => {
    const cluster = await startEtcd({ count: 1 });
    clusters.push(cluster);
    const post = (path: string, body: object) => cluster.post(0, path, body);
    const b64 = (text: string): string => Buffer.from(text).toString('base64');
    for (const name of ['root', 'bny']) {
      assert.ok(await post('/v3/auth/user/add', { name, password: `pw-${name}` }));
    }
    for (const role of ['root', 'banyan'])
      assert.ok(await post('/v3/auth/role/add', { name: role }));
    const perm = { permType: 'READWRITE', key: b64('banyan/'), range_end: b64('banyan0') };
    assert.ok(await post('/v3/auth/role/grant', { name: 'banyan', perm }));
    assert.ok(await post('/v3/auth/user/grant', { user: 'root', role: 'root' }));
    assert.ok(await post('/v3/auth/user/grant', { user: 'bny', role: 'banyan' }));
    assert.ok(await post('/v3/auth/enable', {}));
    const make = (user: { name: string; password: string } | null) => {
      const client = new EtcdClient({ endpoints: cluster.endpoints, tls: null, user });
      clients.push(client);
      return client;
    };
    const good = make({ name: 'bny', password: 'pw-bny' });
    const done = await put(good, 'banyan/a');
    assert.ok(done.ok, JSON.stringify(done));
    const elsewhere = await put(good, 'other/a');
    assert.ok(!elsewhere.ok && elsewhere.error.isDefinite, JSON.stringify(elsewhere));
    assert.match(elsewhere.error.detail, /permission denied/);
    const wrong = await put(make({ name: 'bny', password: 'guess' }), 'banyan/a');
    assert.ok(!wrong.ok && wrong.error.isDefinite, JSON.stringify(wrong));
    assert.match(wrong.error.detail, /signing in as bny: .*invalid user ID or password/);
    assert.ok(!wrong.error.detail.includes('guess'));
    const nobody = await put(make(null), 'banyan/a');
    assert.ok(!nobody.ok && nobody.error.isDefinite, JSON.stringify(nobody));
    // Tokens live in the server's memory: after a restart they are asked for anew.
    await cluster.server(0).kill9();
    cluster.server(0).start();
    const endMs = performance.now() + 20_000;
    while (!(await put(good, 'banyan/b')).ok) assert.ok(performance.now() < endMs, 'in time');
  });
});
