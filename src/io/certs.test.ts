import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';

import {
  addAdminCerts,
  addCerts,
  initCerts,
  showCerts,
  type CertNode,
  type CertsOrder,
} from './certs.ts';
import { certificateIdentity } from './peer/identity.ts';

const DAY_MS = 24 * 3600 * 1000;
let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'banyan-certs-'));
});
afterEach(async () => {
  await rm(dir, { recursive: true, force: true });
});

function order(more: Partial<CertsOrder> = {}): CertsOrder {
  const nodes = [
    { region: 'us-east-2', node: 'us-east-2-1' },
    { region: 'eu-central-1', node: 'eu-central-1-1' },
  ];
  return {
    dir,
    cluster: 'banyan',
    nodes,
    days: 30,
    isForced: false,
    wallMs: Date.now(),
    ...more,
  };
}

test('init makes a CA and a certificate a region; keys are for their owner only', async () => {
  const made = await initCerts(order());
  assert.ok(made.ok);
  assert.deepEqual(
    made.value.map(({ file, kind, region, problems }) => [file, kind, region, problems]),
    [
      ['ca.pem', 'ca', null, []],
      ['us-east-2.pem', 'node', 'us-east-2', []],
      ['eu-central-1.pem', 'node', 'eu-central-1', []],
    ],
  );
  for (const name of await readdir(dir)) {
    const { mode } = await stat(join(dir, name));
    assert.equal(mode & 0o777, name.endsWith('.key') ? 0o600 : 0o644, name);
  }
  const leaf = new X509Certificate(await readFile(join(dir, 'us-east-2.pem')));
  const ca = new X509Certificate(await readFile(join(dir, 'ca.pem')));
  assert.equal(leaf.subjectAltName, 'URI:banyan://banyan/us-east-2/us-east-2-1');
  assert.ok(leaf.verify(ca.publicKey) && leaf.checkIssued(ca) && !leaf.ca && ca.ca);
  assert.equal(leaf.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
  const lifeDays = (leaf.validToDate.getTime() - Date.now()) / DAY_MS;
  assert.ok(lifeDays > 29.9 && lifeDays <= 30);
  assert.ok(leaf.validFromDate.getTime() < Date.now() - 60_000, 'clocks may differ');
});

test('init overwrites nothing unless forced, and then everything', async () => {
  assert.ok((await initCerts(order())).ok);
  const before = await readFile(join(dir, 'ca.pem'), 'utf8');
  const again = await initCerts(order());
  assert.ok(!again.ok && again.error.kind === 'exists');
  assert.deepEqual(again.error.files.length, 6);
  assert.equal(await readFile(join(dir, 'ca.pem'), 'utf8'), before);
  assert.ok((await initCerts(order({ isForced: true }))).ok);
  assert.notEqual(await readFile(join(dir, 'ca.pem'), 'utf8'), before);
  const shown = await showCerts(dir, Date.now());
  assert.ok(shown.ok && shown.value.every(({ problems }) => problems.length === 0));
});

test('add signs for another region with the same CA and cluster', async () => {
  const noCa = await addCerts(order());
  assert.ok(!noCa.ok && noCa.error.kind === 'no-ca');
  assert.ok((await initCerts(order())).ok);
  const nodes = [{ region: 'ap-northeast-1', node: 'n' }];
  const added = await addCerts(order({ nodes }));
  assert.ok(added.ok);
  const leaf = new X509Certificate(await readFile(join(dir, 'ap-northeast-1.pem')));
  assert.equal(leaf.subjectAltName, 'URI:banyan://banyan/ap-northeast-1/n');
  const twice = await addCerts(order({ nodes }));
  assert.ok(!twice.ok && twice.error.kind === 'exists');
});

test('add makes no second certificate for a node that has one, by force neither', async () => {
  const nodes = [
    { region: 'eu', node: 'eu-1' },
    { region: 'eu', node: 'b', isFurther: true },
  ];
  assert.ok((await initCerts(order({ nodes }))).ok);
  const asked = async (node: CertNode): Promise<string> => {
    const added = await addCerts(order({ nodes: [node], isForced: true }));
    if (added.ok) return 'made';
    return added.error.kind === 'same-node' ? added.error.file : added.error.kind;
  };
  assert.equal(await asked({ region: 'eu', node: 'eu-1', isFurther: true }), 'eu.pem');
  assert.equal(await asked({ region: 'eu', node: 'b' }), 'eu_b.pem');
  assert.equal(await asked({ region: 'eu', node: 'eu-1' }), 'made', 'its own is replaced');
  assert.equal(await asked({ region: 'us', node: 'eu-1' }), 'made', 'in another region');
});

test('show names what is wrong: expiry, another CA, another key, a readable key, no PEM', async () => {
  assert.ok((await initCerts(order())).ok);
  const problemsOf = async (file: string, wallMs = Date.now()): Promise<string> => {
    const shown = await showCerts(dir, wallMs);
    assert.ok(shown.ok);
    return shown.value.find((each) => each.file === file)?.problems.join() ?? '';
  };
  assert.match(await problemsOf('us-east-2.pem', Date.now() + 31 * DAY_MS), /expired/);
  assert.match(await problemsOf('us-east-2.pem', Date.now() - DAY_MS), /not valid yet/);
  await chmod(join(dir, 'us-east-2.key'), 0o644);
  assert.match(await problemsOf('us-east-2.pem'), /chmod 600/);
  await chmod(join(dir, 'us-east-2.key'), 0o600);
  await writeFile(join(dir, 'us-east-2.key'), await readFile(join(dir, 'ca.key')));
  assert.match(await problemsOf('us-east-2.pem'), /another certificate/);
  await writeFile(join(dir, 'eu-central-1.pem'), 'nonsense');
  assert.match(await problemsOf('eu-central-1.pem'), /not a certificate/);
  const other = await mkdtemp(join(tmpdir(), 'banyan-certs-'));
  assert.ok((await initCerts(order({ dir: other }))).ok);
  await writeFile(join(dir, 'x.pem'), await readFile(join(other, 'us-east-2.pem')));
  assert.match(await problemsOf('x.pem'), /not signed by the CA/);
  await rm(other, { recursive: true });
  const missing = await showCerts(join(dir, 'nowhere'), Date.now());
  assert.ok(!missing.ok && missing.error.kind === 'io');
});

test('admin certificates are for one use each, and no node takes them for a peer', async () => {
  assert.ok((await initCerts(order())).ok);
  const wanted = { dir, days: 30, isForced: false, wallMs: Date.now() };
  const hosts = ['admin.example.com', '10.0.0.1'];
  const made = await addAdminCerts({ ...wanted, hosts, operators: ['alice'] });
  assert.ok(made.ok, JSON.stringify(made));
  const rows = made.value.map(({ file, kind, problems }) => [file, kind, problems]);
  assert.deepEqual(rows, [
    ['operator-alice.pem', 'operator', []],
    ['admin.pem', 'admin', []],
  ]);
  const operator = new X509Certificate(await readFile(join(dir, 'operator-alice.pem')));
  const admin = new X509Certificate(await readFile(join(dir, 'admin.pem')));
  assert.match(operator.subject, /^CN=alice$/m);
  assert.equal(admin.subjectAltName, 'DNS:admin.example.com, IP Address:10.0.0.1');
  assert.deepEqual(operator.keyUsage, ['1.3.6.1.5.5.7.3.2']);
  assert.deepEqual(admin.keyUsage, ['1.3.6.1.5.5.7.3.1']);
  for (const certificate of [operator, admin]) assert.ok(!certificateIdentity(certificate).ok);
  const again = await addAdminCerts({ ...wanted, hosts: [], operators: ['alice', 'bob'] });
  assert.ok(!again.ok && again.error.kind === 'exists');
});
