/**
 * Who may call the admin API of real nodes: bearer keys of the file and of the control state, client
 * certificates, their roles, and what happens to those who guess; by requests and by the command line.
 */

import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { request as requestPlain } from 'node:http';
import { request as requestTls } from 'node:https';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';

import { runBanyan, type Run } from '../support/banyan.ts';
import { BARE_ENV } from '../support/env.ts';
import { ADMIN_LIMITS } from '../../src/base/adminLimits.ts';
import { addAdminCerts, initCerts } from '../../src/io/certs.ts';
import {
  keyHash,
  startNode,
  startRegions,
  tempDir,
  until,
  type NodeSpec,
  type TestNode,
} from '../support/node.ts';

const PLACE = {
  targets: [{ name: 't', kind: 'openai', baseUrl: 'http://127.0.0.1:9/v1' }],
  models: [{ name: 'm', targets: ['t'] }],
};
const KEYS = ['viewer', 'operator', 'admin'].map((role) => ({
  name: `the-${role}`,
  sha256: keyHash(`secret-${role}`),
  role,
}));
const HEAL = { action: 'heal' };

interface Asked {
  readonly body?: object;
  readonly key?: string;
  /** The address to come from: Linux has all of 127.0.0.0/8. */
  readonly from?: string;
  readonly tls?: { readonly ca: string; readonly cert?: string; readonly key?: string };
}

interface Answer {
  readonly status: number;
  readonly code: string | null;
  readonly text: string;
  readonly retryAfter: number;
}

function ask(url: string, asked: Asked = {}): Promise<Answer> {
  const { body, key, from, tls } = asked;
  const options = {
    method: body === undefined ? 'GET' : 'POST',
    agent: false as const,
    signal: AbortSignal.timeout(10_000),
    ...(from === undefined ? {} : { localAddress: from }),
    ...tls,
    headers: {
      ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
  };
  return new Promise((resolve, reject) => {
    const outgoing = (tls === undefined ? requestPlain : requestTls)(url, options, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece: string) => (text += piece));
      response.on('end', () => {
        const code = /"code":"([^"]*)"/.exec(text)?.[1] ?? null;
        const retryAfter = Number(response.headers['retry-after'] ?? 0);
        resolve({ status: response.statusCode ?? 0, code, text, retryAfter });
      });
    });
    outgoing.on('error', reject);
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

function banyan(args: readonly string[], env: Readonly<Record<string, string>>): Promise<Run> {
  return runBanyan(args, { isEnvAlone: true, env: { ...BARE_ENV, NODE_NO_WARNINGS: '1', ...env } });
}

describe('admin keys of the file', () => {
  const spec: NodeSpec = { ...PLACE, admin: { keys: KEYS }, demo: { faults: true } };
  let node: TestNode;
  let status = '';
  let faults = '';
  before(async () => {
    node = await startNode(spec);
    status = `${node.adminUrl}/admin/v1/status`;
    faults = `${node.adminUrl}/admin/v1/faults`;
  });

  it('a request without a key is 401, one with a key has its role and no more', async () => {
    assert.deepEqual(pick(await ask(status)), [401, 'no_credentials']);
    assert.deepEqual(pick(await ask(status, { key: 'secret-viewer' })), [200, null]);
    const fault = (key: string) => ask(faults, { key, body: HEAL });
    assert.deepEqual(pick(await fault('secret-viewer')), [403, 'role_too_low']);
    assert.deepEqual(pick(await fault('secret-operator')), [200, null]);
    assert.deepEqual(pick(await fault('secret-admin')), [200, null]);
    await until('changes and refusals are in the log', () => {
      const log = node.logs();
      return log.includes('"who":"key:the-operator"') && log.includes('"code":"role_too_low"');
    });
    assert.ok(!node.logs().includes('secret-'), 'and no key is');
  });

  it('probes answer everybody, metrics only those with a key', async () => {
    for (const path of ['/livez', '/readyz', '/health/readiness']) {
      assert.equal((await ask(node.adminUrl + path)).text, 'ok\n', path);
    }
    assert.deepEqual(pick(await ask(`${node.adminUrl}/metrics`)), [401, 'no_credentials']);
    const metrics = await ask(`${node.adminUrl}/metrics`, { key: 'secret-viewer' });
    assert.match(metrics.text, /banyan_exchanges_total/);
  });

  it('the public listener knows nothing of it, with an admin key too', async () => {
    for (const path of ['status', 'faults', 'keys', 'openapi.json']) {
      const answer = await ask(`${node.apiUrl}/admin/v1/${path}`, { key: 'secret-admin' });
      assert.ok(answer.status === 401 || answer.status === 404, `${path}: ${answer.status}`);
      assert.ok(!answer.text.includes('"openapi":'), path);
    }
  });

  it('who guesses is refused, with the right key too, and told when to come again', async () => {
    const { failuresMax, failureForgottenMs } = ADMIN_LIMITS;
    const from = '127.0.0.77';
    for (let count = 0; count < failuresMax; count += 1) {
      const answer = await ask(status, { key: `guess-${count}`, from });
      assert.deepEqual(pick(answer), [401, 'wrong_credentials']);
    }
    const refused = await ask(status, { key: 'secret-admin', from });
    assert.deepEqual(pick(refused), [429, 'too_many_failures']);
    assert.ok(refused.retryAfter >= 1 && refused.retryAfter <= failureForgottenMs / 1_000);
    assert.equal((await ask(status, { key: 'secret-admin' })).status, 200, 'others are heard');
  });

  it('the command line takes its key from the environment or a file, and says what is missing', async () => {
    const server = { BANYAN_SERVER: node.adminUrl };
    const keyFile = join(await tempDir(), 'admin.key');
    await writeFile(keyFile, 'secret-operator\n', { mode: 0o600 });
    const [none, read, heal, low, file, top, chart] = await Promise.all([
      banyan(['get', 'nodes'], server),
      banyan(['get', 'nodes'], { ...server, BANYAN_ADMIN_KEY: 'secret-viewer' }),
      banyan(['fault', 'heal', '--admin-key-file', keyFile], server),
      banyan(['fault', 'heal'], { ...server, BANYAN_ADMIN_KEY: 'secret-viewer' }),
      banyan(['get', 'nodes', '--admin-key-file', `${keyFile}.no`], server),
      banyan(['top', '--once'], { ...server, BANYAN_ADMIN_KEY_FILE: keyFile }),
      banyan(['top', '--once'], server),
    ]);
    assert.equal(none.code, 5, none.stderr);
    assert.match(none.stderr, /Set BANYAN_ADMIN_KEY, or give --admin-key-file FILE\./);
    assert.equal(read.code, 0, read.stderr);
    assert.match(read.stdout, /us-east-2-1/);
    assert.equal(heal.code, 0, heal.stderr);
    assert.equal(low.code, 5);
    assert.match(low.stderr, /needs the role operator; key:the-viewer is viewer\. Use another key/);
    assert.equal(file.code, 2);
    assert.match(file.stderr, /cannot be read: ENOENT/);
    assert.equal(top.code, 0, top.stderr);
    assert.match(top.stdout, /us-east-2/);
    assert.equal(chart.code, 5, chart.stderr);
  });

  it('a key that is taken out of the file ends without a restart', async () => {
    const rest = KEYS.filter(({ role }) => role !== 'operator');
    await node.rewrite({ ...spec, admin: { keys: rest } });
    await until('it ends', async () => {
      return (await ask(status, { key: 'secret-operator', from: '127.0.0.78' })).status === 401;
    });
    assert.equal((await ask(status, { key: 'secret-admin' })).status, 200);
  });
});

describe('client certificates', () => {
  let node: TestNode;
  let certs = '';
  let status = '';
  let ca = '';
  const pem = (name: string): Promise<string> => readFile(join(certs, name), 'utf8');

  before(async () => {
    certs = await makeCerts(['alice', 'bob']);
    ca = await pem('ca.pem');
    node = await startNode({
      ...PLACE,
      admin: {
        keys: KEYS,
        tls: { cert: join(certs, 'admin.pem'), key: join(certs, 'admin.key') },
        clientCa: join(certs, 'ca.pem'),
        clients: [{ name: 'alice', match: 'CN:alice', role: 'operator' }],
      },
      demo: { faults: true },
    });
    status = `${node.adminUrl}/admin/v1/status`;
  });

  async function shown(name: string, folder = certs): Promise<Asked['tls']> {
    const [cert, key] = await Promise.all(
      ['pem', 'key'].map((end) => readFile(join(folder, `${name}.${end}`), 'utf8')),
    );
    return { ca, cert: cert ?? '', key: key ?? '' };
  }

  it('the listener speaks TLS and nothing else', async () => {
    assert.match(node.adminUrl, /^https:/);
    await assert.rejects(ask(status.replace('https:', 'http:')));
  });

  it('a certificate of our CA has the role that its name is given, and no more', async () => {
    const tls = await shown('operator-alice');
    assert.ok(tls !== undefined);
    assert.equal((await ask(status, { tls })).status, 200);
    const faults = `${node.adminUrl}/admin/v1/faults`;
    assert.equal((await ask(faults, { tls, body: HEAL })).status, 200);
    const members = await ask(`${node.adminUrl}/admin/v1/members`, {
      tls,
      body: { action: 'remove', id: 1 },
    });
    assert.deepEqual(pick(members), [403, 'role_too_low']);
    await until('the log has the name', () => node.logs().includes('"who":"cert:alice"'));
  });

  it('none, one without a role, and one of another CA are refused; a key is as good', async () => {
    assert.deepEqual(pick(await ask(status, { tls: { ca } })), [401, 'no_credentials']);
    const bob = await shown('operator-bob');
    assert.ok(bob !== undefined);
    assert.deepEqual(pick(await ask(status, { tls: bob })), [403, 'no_role']);
    const mallory = await shown('operator-alice', await makeCerts(['alice']));
    assert.ok(mallory !== undefined);
    const forged = await ask(status, { tls: mallory });
    assert.deepEqual(pick(forged), [401, 'wrong_credentials']);
    assert.deepEqual(pick(await ask(status, { tls: { ca }, key: 'secret-viewer' })), [200, null]);
  });

  it('the command line shows its certificate', async () => {
    const env = {
      BANYAN_SERVER: node.adminUrl,
      BANYAN_ADMIN_CA: join(certs, 'ca.pem'),
      BANYAN_ADMIN_CERT: join(certs, 'operator-alice.pem'),
      BANYAN_ADMIN_CERT_KEY: join(certs, 'operator-alice.key'),
    };
    const { BANYAN_ADMIN_CERT_KEY: _, ...half } = env;
    const [good, without, untrusted] = await Promise.all([
      banyan(['get', 'nodes'], env),
      banyan(['get', 'nodes'], half),
      banyan(['get', 'nodes'], { BANYAN_SERVER: node.adminUrl }),
    ]);
    assert.equal(good.code, 0, good.stderr);
    assert.equal(without.code, 2);
    assert.match(without.stderr, /belong together/);
    assert.equal(untrusted.code, 3, 'a server that is not trusted is not spoken to');
  });

  it('new certificates are taken on SIGHUP', async () => {
    const other = await makeCerts(['alice']);
    for (const name of ['ca.pem', 'admin.pem', 'admin.key']) {
      await writeFile(join(certs, name), await readFile(join(other, name)));
    }
    const oldTls = await shown('operator-alice');
    node.signal('SIGHUP');
    ca = await pem('ca.pem');
    const newTls = await shown('operator-alice', other);
    assert.ok(newTls !== undefined && oldTls !== undefined);
    await until('the new ones count', async () =>
      ask(status, { tls: newTls }).then(
        (answer) => answer.status === 200,
        () => false,
      ),
    );
    assert.deepEqual(pick(await ask(status, { tls: { ...oldTls, ca } })), [
      401,
      'wrong_credentials',
    ]);
  });
});

describe('admin keys of the control state', () => {
  let nodes: readonly TestNode[] = [];
  const ROOT = { key: 'secret-admin' };

  before(async () => {
    const regions = ['us-east-2', 'eu-central-1', 'ap-northeast-1'];
    nodes = await startRegions(
      regions.map((region) => ({
        ...PLACE,
        region,
        admin: { keys: KEYS },
        control: { heartbeatMs: 50, electionMs: 500 },
      })),
      undefined,
      ROOT.key,
    );
    await until(
      'a leader',
      async () => {
        const answers = await Promise.all(nodes.map((node) => get(node, 'leader', ROOT.key)));
        return answers.every(({ text }) => /"leader":"[a-z]/.test(text));
      },
      30_000,
    );
  });

  const get = (node: TestNode, path: string, key: string): Promise<Answer> =>
    ask(`${node.adminUrl}/admin/v1/${path}`, { key, from: '127.0.0.99' });
  const everywhere = async (key: string, isIn: boolean): Promise<boolean> => {
    const answers = await Promise.all(nodes.map((node) => get(node, 'keys', key)));
    return answers.every(({ status }) => (status === 200) === isIn);
  };

  it('one that is made in one region counts in all, with its role', async () => {
    const [first, second] = nodes;
    assert.ok(first !== undefined && second !== undefined);
    const env = { BANYAN_SERVER: first.adminUrl, BANYAN_ADMIN_KEY: ROOT.key };
    const args = ['admin-keys', 'create', 'night-shift', '--role', 'operator', '-o', 'json'];
    const made = await banyan([...args, '--why', 'nights'], env);
    assert.equal(made.code, 0, made.stderr);
    const { secret } = JSON.parse(made.stdout) as { secret: string };
    await until('it counts everywhere', () => everywhere(secret, true), 5_000);
    const keys = `${second.adminUrl}/admin/v1/keys`;
    const client = await ask(keys, { key: secret, body: { action: 'create', name: 'app' } });
    assert.equal(client.status, 200, client.text);
    const another = await ask(`${second.adminUrl}/admin/v1/admin-keys`, {
      key: secret,
      body: { action: 'create', name: 'mine', role: 'admin' },
    });
    assert.deepEqual(pick(another), [403, 'role_too_low'], 'an operator makes no operators');

    const audit = (await get(second, 'audit', ROOT.key)).text;
    assert.match(audit, /"who":"key:the-admin \([^"]+\)","from":"[^"]*","what":"admin-keys create/);
    assert.match(audit, /"who":"key:night-shift","from":"127[^"]*","what":"keys create app"/);
    assert.ok(!audit.includes(secret));

    const revoke = { action: 'revoke', name: 'night-shift' };
    const url = `${second.adminUrl}/admin/v1/admin-keys`;
    assert.equal((await ask(url, { ...ROOT, body: revoke })).status, 200);
    await until('it ends everywhere within 1 s', () => everywhere(secret, false), 1_000);
  });
});

function pick({ status, code }: Answer): readonly [number, string | null] {
  return [status, code];
}

async function makeCerts(operators: readonly string[]): Promise<string> {
  const dir = await tempDir();
  const order = { dir, days: 1, isForced: false, wallMs: Date.now() };
  const nodes = [{ region: 'us-east-2', node: 'us-east-2-1' }];
  const init = await initCerts({ ...order, cluster: 'test', nodes });
  assert.ok(init.ok, JSON.stringify(init));
  const made = await addAdminCerts({ ...order, hosts: ['127.0.0.1'], operators });
  assert.ok(made.ok, JSON.stringify(made));
  return dir;
}
