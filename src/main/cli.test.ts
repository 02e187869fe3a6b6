import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer as createNetServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import type { AdminServer } from '../io/admin/server.ts';
import { serveRoutes } from '../io/admin/route.ts';
import { startAdminServer } from '../io/admin/server.ts';
import { err, ok } from '../base/result.ts';
import type { Explanation, List, ModelRow, NodeRow, RegionNode } from './adminTypes.ts';
import type { RegionRow, TargetRow } from './adminTypes.ts';
import { adminDocument, NODE_ROUTES } from './adminRoutes.ts';
import { buildProgram } from './cli.ts';
import { encodeBackup } from '../replica/control/backup.ts';
import { sha256 } from './control/backupFile.ts';
import { EXIT } from './exitCodes.ts';

function node(name: string, state: RegionNode['state']): RegionNode {
  return { name, state, detail: '', rttMs: null, heardMs: null, inFlight: null };
}

const REGIONS: List<RegionRow> = {
  items: [
    {
      region: 'eu-central-1',
      state: 'up',
      api: 'http://127.0.0.1:8102',
      inFlight: 3,
      targetsHealthy: 1,
      targetsCount: 2,
      sightings: [
        { by: 'us-east-2', state: 'up', reason: '', phi: 0.1, rttMs: 104.4, heardMs: 80 },
        {
          by: 'ap-northeast-1',
          state: 'cut',
          reason: 'no heartbeat',
          phi: 9,
          rttMs: null,
          heardMs: 9000,
        },
      ],
      nodes: [node('eu-central-1', 'up'), node('eu-central-1/eu-2', 'down')],
      desired: 'drained',
      weight: 50,
      residency: 'eu',
    },
    {
      region: 'us-east-2',
      state: 'down',
      api: null,
      inFlight: null,
      targetsHealthy: null,
      targetsCount: null,
      sightings: [],
      nodes: [],
      desired: 'active',
      weight: 100,
      residency: null,
    },
  ],
  unreachable: ['us-east-2'],
};
const NODES: List<NodeRow> = {
  items: [
    {
      region: 'eu-central-1',
      node: 'eu-central-1-1',
      state: 'ready',
      version: '0.1.0',
      pid: 12,
      uptimeMs: 61_000,
      inFlight: 3,
      configRevision: 'abc',
    },
  ],
  unreachable: [],
};
const TARGETS: List<TargetRow> = {
  items: [
    {
      region: 'eu-central-1',
      target: 'llama-a',
      kind: 'llama',
      origin: 'http://127.0.0.1:8301',
      models: ['banyan-support'],
      state: 'ejected',
      reason: 'refused',
      inFlight: 0,
      process: 'held',
      pid: null,
      restarts: 2,
    },
  ],
  unreachable: [],
};
const MODELS: List<ModelRow> = {
  items: [
    {
      region: 'eu-central-1',
      model: 'banyan-support',
      algorithm: 'least-tokens',
      targets: ['llama-a', 'llama-b'],
      targetsHealthy: 1,
      fallbacks: [],
    },
  ],
  unreachable: [],
};
const EXPLANATION: Explanation = {
  model: 'banyan-support',
  region: 'eu-central-1',
  algorithm: 'least-tokens',
  chosen: 'llama-b',
  candidates: [
    {
      kind: 'target',
      name: 'llama-b',
      rank: 1,
      score: 12.34567,
      scoreMeaning: 'tokens ahead',
      weight: 1,
      priority: 0,
      inFlight: 2,
      state: 'healthy',
      excluded: null,
    },
    {
      kind: 'target',
      name: 'llama-a',
      rank: null,
      score: null,
      scoreMeaning: '',
      weight: 1,
      priority: 0,
      inFlight: 0,
      state: 'ejected',
      excluded: 'ejected for 8 s more',
    },
  ],
  notes: ['no other region is configured'],
};

let admin: AdminServer;
let server = '';
let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'banyan-cli-'));
  admin = await startAdminServer({
    host: '127.0.0.1',
    port: 0,
    access: null,
    nowMs: () => performance.now(),
    views: {
      isReady: () => true,
      metrics: () => Promise.resolve({ contentType: 'text/plain', text: '' }),
      warnings: () => [],
    },
    routes: serveRoutes(NODE_ROUTES, {
      getStatus: () => err({ status: 500, code: 'internal', message: 'Not asked for here.' }),
      getRegions: () => ok(REGIONS),
      getNodes: () => ok(NODES),
      getTargets: () => ok(TARGETS),
      getModels: () => ok(MODELS),
      explainRoute: ({ query }) =>
        query.model === 'banyan-support'
          ? ok(EXPLANATION)
          : err({ status: 404, code: 'model_not_found', message: 'No such model.' }),
      injectFault: () =>
        err({ status: 403, code: 'faults_disabled', message: 'Faults are not allowed here.' }),
      getDocument: () => ok(adminDocument()),
    }),
  });
  server = `http://127.0.0.1:${admin.port}`;
});
after(async () => {
  await admin.close();
  await rm(folder, { recursive: true });
});

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs the real command. */
function banyan(args: readonly string[], env: NodeJS.ProcessEnv = {}, input = ''): Promise<Ran> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'cli.ts'), ...args], {
    env: {
      PATH: process.env['PATH'],
      NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'],
      NODE_NO_WARNINGS: '1',
      BANYAN_SERVER: server,
      ...env,
    },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  child.stdin.on('error', () => {}); // It may not read at all.
  child.stdin.end(input);
  let out = '';
  let error = '';
  child.stdout.on('data', (chunk) => (out += String(chunk)));
  child.stderr.on('data', (chunk) => (error += String(chunk)));
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err: error })));
}

test('what the disk refuses is told in a line with 1, a bad name of a cluster with 2', async () => {
  const state = { items: [], audit: [] };
  const about = { cluster: 'old', revision: 0, isConfirmed: true, madeMs: 1, product: 'banyan' };
  const pieces = encodeBackup({ about: { ...about, engine: 'raft' }, ...state }, sha256());
  const file = join(folder, 'backup');
  await writeFile(file, Buffer.concat([...pieces]));
  const into = ['backup', 'restore', file, '--region', 'eu', '--data-dir'];
  const refused = await banyan([...into, join(file, 'inside')]);
  assert.equal(refused.code, EXIT.failed);
  assert.match(refused.err, /^banyan: ENOTDIR: [^\n]*\n$/);
  const named = await banyan([...into, join(folder, 'data'), '--cluster', 'Two Words']);
  assert.equal(named.code, EXIT.usage);
  assert.match(named.err, /"Two Words" is no name of a cluster/);
  await mkdir(join(folder, 'noted', 'control'), { recursive: true });
  await writeFile(join(folder, 'noted', 'control', 'reborn.json'), '{');
  const damaged = await banyan(['recover', '--force', '--data-dir', join(folder, 'noted')]);
  assert.equal(damaged.code, EXIT.refused);
  assert.match(damaged.err, /^banyan: .*reborn\.json is damaged: [^\n]*\n$/);
});

test('certs: one node twice, under whatever option, and a name with two slashes are refused', async () => {
  const dir = join(folder, 'certs');
  const told = async (...args: readonly string[]): Promise<string> => {
    const { code, err } = await banyan(['certs', 'init', '--dir', dir, ...args]);
    return `${code} ${err}`;
  };
  assert.match(
    await told('--region', 'eu', '--further', 'eu/eu-1'),
    /^2 .*"eu\/eu-1" was given twice/,
  );
  assert.match(await told('--region', 'eu', '--region', 'eu/b'), /^2 .*"eu" was given twice/);
  assert.match(await told('--region', 'eu/b/c'), /^2 .*"b\/c" is not a name/);
  assert.match(await told('--further', 'eu/b/c'), /^2 .*"b\/c" is not a name/);
  assert.deepEqual(await readdir(dir).catch(() => []), []);
  const made = await banyan(['certs', 'init', '--dir', dir, '--region', 'eu']);
  assert.equal(made.code, 0, made.err);
  const added = await banyan(['certs', 'add', '--dir', dir, '--further', 'eu/eu-1', '--force']);
  assert.equal(added.code, 5, added.err);
  assert.match(added.err, /eu\.pem in .* is of node eu\/eu-1 already/);
});

test('get regions shows how each is seen, and which did not answer', async () => {
  const { code, out, err: error } = await banyan(['get', 'regions']);
  assert.equal(code, 0);
  assert.equal(
    out,
    [
      'REGION        STATE  DESIRED  WEIGHT  RESIDENCY  API                    ' +
        'IN FLIGHT  TARGETS  NODES  SEEN BY',
      'eu-central-1  up     drained  50      eu         http://127.0.0.1:8102  ' +
        '3          1/2      1/2    us-east-2: up 104 ms; ap-northeast-1: cut (no heartbeat)',
      'us-east-2     down   active   100     -          -                      ' +
        '-          -        -      -',
      '',
    ].join('\n'),
  );
  assert.equal(error, 'No answer from: us-east-2. The table shows the others.\n');
});

test('tables in Chinese where the locale is Chinese', async () => {
  const { out } = await banyan(['get', 'targets'], { LANG: 'zh_CN.UTF-8' });
  assert.equal(
    out,
    [
      '区域          后端     类型   状态           进行中  进程  地址                   ' +
        '模型            原因',
      'eu-central-1  llama-a  llama  ejected, held  0       -     http://127.0.0.1:8301  ' +
        'banyan-support  refused',
      '',
    ].join('\n'),
  );
});

test('-o json gives what the server said; --region picks', async () => {
  const { code, out } = await banyan(['get', 'regions', '-o', 'json', '--region', 'us-east-2']);
  assert.equal(code, 0);
  assert.deepEqual(JSON.parse(out), { ...REGIONS, items: [REGIONS.items[1]] });
  assert.deepEqual(JSON.parse((await banyan(['get', 'nodes', '-o', 'json'])).out), NODES);
  assert.deepEqual(JSON.parse((await banyan(['get', 'models', '-o', 'json'])).out), MODELS);
});

test('route explain shows the order, the scores and why the others are out', async () => {
  const { code, out } = await banyan(['route', 'explain', '--model', 'banyan-support']);
  assert.equal(code, 0);
  assert.equal(
    out,
    [
      'A request for banyan-support in eu-central-1 goes to llama-b (least-tokens).',
      '',
      'RANK  PLACE    KIND    STATE    SCORE  WEIGHT  IN FLIGHT  REASON',
      '1     llama-b  target  healthy  12.35  1       2          tokens ahead',
      '-     llama-a  target  ejected  -      1       0          ejected for 8 s more',
      '',
      'no other region is configured',
      '',
    ].join('\n'),
  );
});

test('exit codes: unknown model 4, nobody there 3, a wrong command line 2, help 0', async () => {
  const missing = await banyan(['route', 'explain', '--model', 'x']);
  assert.deepEqual([missing.code, missing.err], [EXIT.notFound, 'banyan: No such model.\n']);
  const nobody = await banyan(['get', 'nodes', '--server', 'http://127.0.0.1:1']);
  assert.equal(nobody.code, EXIT.unreachable);
  assert.match(nobody.err, /ECONNREFUSED/);
  const malformed = await banyan(['get', 'nodes', '--server', 'ftp://x']);
  assert.equal(malformed.code, EXIT.usage);
  assert.equal((await banyan(['get', 'planets'])).code, EXIT.usage);
  assert.equal((await banyan(['get', 'nodes', '-o', 'xml'])).code, EXIT.usage);
  assert.equal((await banyan([])).code, EXIT.usage);
  assert.equal((await banyan(['--help'])).code, EXIT.ok);
  assert.match((await banyan(['--version'])).out, /^\d+\.\d+\.\d+\n$/);
});

test('a change that was sent and not answered may have been made: it says so, and how to look', async () => {
  const mute = createNetServer((socket) => {
    socket.on('error', () => {}); // It goes first.
    socket.once('data', () => socket.destroy());
  });
  mute.unref();
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
  const address = mute.address();
  const at = typeof address === 'object' && address !== null ? address.port : 0;
  const rotate = ['keys', 'rotate', 'shop', '--server', `http://127.0.0.1:${at}`];
  const sent = await banyan(rotate);
  assert.equal(sent.code, 3);
  assert.match(sent.err, /may have been made.*"banyan get audit"/s);
  const zh = await banyan(rotate, { LANG: 'zh_CN.UTF-8' });
  assert.match(zh.err, /变更可能已经生效.*banyan get audit/s);
  const dry = await banyan([...rotate, '--dry-run']);
  assert.match(dry.err, /^banyan: No answer from/);
  await new Promise((resolve) => mute.close(resolve));
  const nobody = await banyan(rotate);
  assert.match(nobody.err, /^banyan: No answer from/, 'nothing was sent');
});

test('a server that is no Banyan is said to be none', async () => {
  const other = createServer((_, response) => response.end('<html>')).listen(0, '127.0.0.1');
  await once(other, 'listening');
  const address = other.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const ran = await banyan(['get', 'nodes', '--server', `http://127.0.0.1:${port}`]);
  other.close();
  assert.equal(ran.code, EXIT.unreachable);
  assert.match(ran.err, /not as a Banyan admin API/);
});

test('config check: 0 and a summary, or 2 and every problem; config show masks', async () => {
  const file = join(folder, 'banyan.yaml');
  await writeFile(
    file,
    'region: a\nkeys: [{ name: k, key: "${K}" }]\n' +
      'targets: [{ name: t, kind: openai, baseUrl: "http://127.0.0.1:1/v1", apiKey: "${K}" }]\n' +
      'models: [{ name: m, targets: [t] }]\n',
  );
  const good = await banyan(['config', 'check', file], { K: 'sk-secret' });
  assert.equal(good.out, `${file}: good. Region a, 1 targets, 1 models, 1 keys.\n`);
  assert.equal(good.code, 0);
  const shown = await banyan(['config', 'show', file], { K: 'sk-secret' });
  assert.equal(shown.code, 0);
  assert.doesNotMatch(shown.out, /sk-secret/);
  assert.match(shown.out, /^ {4}apiKey: "\*\*\*"$/m);
  const unset = await banyan(['config', 'check', file, '-o', 'json']);
  assert.equal(unset.code, EXIT.usage);
  assert.deepEqual(JSON.parse(unset.out), {
    ok: false,
    file,
    problems: [
      {
        severity: 'error',
        line: 2,
        column: 24,
        path: 'keys[0].key',
        message: 'the environment variable K is not set',
      },
      {
        severity: 'error',
        line: 3,
        column: 78,
        path: 'targets[0].apiKey',
        message: 'the environment variable K is not set',
      },
    ],
  });
  assert.equal(unset.err, '');
});

test('config import litellm prints, writes once, reports as JSON, and refuses what is none', async () => {
  const file = join(folder, 'litellm.yaml');
  const target = join(folder, 'imported.yaml');
  await writeFile(
    file,
    'model_list:\n- model_name: m\n  litellm_params: { model: gpt-4o, api_key: sk-plain }\n',
  );
  const verb = ['config', 'import', 'litellm'];
  const printed = await banyan([...verb, file]);
  assert.equal(printed.code, 0);
  assert.match(printed.out, /^ {4}apiKey: \$\{OPENAI_API_KEY\}$/m);
  assert.match(printed.err, /litellm\.yaml:3:36: model_list\[0\]\.litellm_params\.api_key: /);
  assert.doesNotMatch(printed.out + printed.err, /sk-plain/);
  assert.equal((await banyan([...verb, file, '-o', target])).code, 0);
  assert.equal(await readFile(target, 'utf8'), printed.out);
  assert.equal((await banyan([...verb, file, '-o', target])).code, EXIT.refused);
  assert.equal((await banyan([...verb, file, '-o', target, '--force'])).code, 0);
  const report: unknown = JSON.parse((await banyan([...verb, file, '-o', 'json'])).out);
  assert.ok(typeof report === 'object' && report !== null && 'config' in report);
  assert.equal(report.config, printed.out);
  const checked = await banyan(['config', 'check', target], {
    OPENAI_API_KEY: 'x',
    BANYAN_API_KEY: 'y',
  });
  assert.equal(checked.code, 0, checked.err);
  await writeFile(file, 'region: a\n');
  assert.equal((await banyan([...verb, file])).code, EXIT.usage);
  await writeFile(file, 'model_list: []\n');
  assert.equal((await banyan([...verb, file])).code, EXIT.failed);
});

test('keys hash reads a key from standard input and prints what configuration takes', async () => {
  const sha256 = '572dd8e317e4855b6ff0f07104c372bff2448f8bc09e7bd8206cebab416bc8e6';
  const { code, out } = await banyan(['keys', 'hash', '-o', 'json'], {}, 'sk-key\n');
  assert.equal(code, 0);
  assert.deepEqual(JSON.parse(out), { sha256 });
  assert.equal((await banyan(['keys', 'hash'], {}, 'two words\n')).code, EXIT.usage);
  assert.equal((await banyan(['keys', 'hash'])).code, EXIT.usage);
});

/** Verbs that change nothing outside of their own process. */
const READS = [
  /^(get|top|route|chat|serve|up|witness)\b/,
  /\b(list|show|check|explain|hash|schema|serve|diff|history|status|verify)\b/,
];
/** Verbs that change something and have no dry run, and why they need none. */
const WITHOUT_DRY_RUN: Readonly<Record<string, string>> = {
  'certs init': 'writes files, and overwrites none unless forced',
  'certs add': 'as init',
  'certs admin': 'as init',
  'config import litellm': 'prints, unless it is told a file',
  'fault kill': 'breaks the demo, which is what it is for',
  'fault pause': 'as kill',
  'fault resume': 'as kill',
  'fault restart': 'as kill',
  'fault cut': 'as kill',
  'fault heal': 'as kill',
};

test('every verb has help; every leaf that answers has -o; every one that changes has --dry-run', () => {
  const seen = new Set<string>();
  const visit = (command: ReturnType<typeof buildProgram>, path: readonly string[]): void => {
    const name = path.join(' ');
    assert.ok(command.description() !== '', name);
    assert.match(command.helpInformation(), /-h, --help/, name);
    for (const child of command.commands) visit(child, [...path, child.name()]);
    if (command.commands.length > 0) return;
    const has = (flag: string): boolean => command.options.some(({ long }) => long === flag);
    if (name in WITHOUT_DRY_RUN) seen.add(name);
    else if (!READS.some((reads) => reads.test(name)))
      assert.ok(has('--dry-run'), `${name} has --dry-run`);
    const isProcess = /^(serve|up|witness|model serve|config schema)$/.test(name);
    if (!isProcess) assert.ok(has('--output'), `${name} has -o`);
    if (has('--server')) assert.ok(has('--admin-key-file'), `${name} takes an admin key`);
    for (const { long, envVar } of command.options) {
      assert.ok(!/^--(?:admin-)?(?:secret|password)$|^--admin-key$/.test(long ?? ''), name);
      assert.notEqual(envVar, 'BANYAN_ADMIN_KEY', 'help would show its value');
    }
  };
  visit(buildProgram(), []);
  assert.deepEqual([...seen].toSorted(), Object.keys(WITHOUT_DRY_RUN).toSorted());
});
