import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import fc from 'fast-check';

import { parseTargetName } from '../../base/names.ts';
import { isLoopback, parseAddress, parseBaseUrl, renderAddress } from './address.ts';
import { isSecretHeader } from './crossCheck.ts';
import type { Environment } from './document.ts';
import { loadConfig, parseConfig } from './load.ts';
import { editDistance, nearestWord } from './nearest.ts';
import { CONFIG_EXAMPLE } from './reference.ts';
import { renderProblems } from './render.ts';
import { configJsonSchema } from './schema.ts';

const FULL = `
region: us-east-2
dataDir: state
listen: { api: 127.0.0.1:8101, admin: off }
peers:
  listen: 127.0.0.1:8201
  tls: { ca: ca.pem, cert: us.pem, key: us-key.pem }
  regions:
    - { name: eu-central-1, address: "[::1]:8202", delayMs: 104 }
keys:
  - { name: app, key: "\${APP_KEY}", models: ["banyan-*"], tokensPerMinute: 1000 }
targets:
  - { name: llama-a, kind: llama, modelFile: support.gguf }
  - name: azure
    kind: openai
    baseUrl: \${AZURE_URL}
    apiKey: \${AZURE_KEY}
    headers: { X-Team: support, X-Trace: "\${TRACE}" }
models:
  - name: banyan-support
    targets: [llama-a, { target: azure, model: gpt-4o, weight: 3, priority: 1, inFlightMax: 7 }]
`;
const ENV: Environment = {
  APP_KEY: 'sk-app-secret',
  AZURE_KEY: 'sk-azure-secret',
  AZURE_URL: 'https://Azure.example.com:443/openai/v1/?api-version=2025-01-01&sig=sk-query-secret',
  TRACE: 'sk-trace-secret',
};

function parseFull(text = FULL, env = ENV) {
  const parsed = parseConfig(text, '/etc/banyan/banyan.yaml', env);
  if (!parsed.ok) assert.fail(renderProblems('banyan.yaml', parsed.error));
  return parsed.value;
}

test('a full file becomes the configuration of a node, defaults filled in', () => {
  const { config, warnings } = parseFull();
  assert.deepEqual(warnings, []);
  const name = parseTargetName('llama-a');
  assert.ok(name.ok);
  const node = config.node(new Map([[name.value, 8301]]));
  assert.equal(node.region, 'us-east-2');
  assert.equal(node.node, 'us-east-2-1');
  assert.deepEqual(node.keys, [
    {
      name: 'app',
      sha256: createHash('sha256').update('sk-app-secret').digest('hex'),
      models: ['banyan-*'],
      requestsPerMinute: null,
      tokensPerMinute: 1000,
      inFlightMax: null,
      priority: 'standard',
      residency: null,
      share: null,
    },
  ]);
  assert.deepEqual(node.targets[0], {
    name: 'llama-a',
    kind: 'llama',
    origin: 'http://127.0.0.1:8301',
    pathPrefix: '/v1',
    query: '',
    apiKey: null,
    headers: [],
    options: {},
    probePath: '/health',
  });
  assert.deepEqual(node.targets[1], {
    name: 'azure',
    kind: 'openai',
    origin: 'https://azure.example.com',
    pathPrefix: '/openai/v1',
    query: 'api-version=2025-01-01&sig=sk-query-secret',
    apiKey: 'sk-azure-secret',
    headers: ['x-team', 'support', 'x-trace', 'sk-trace-secret'],
    options: {},
    probePath: null,
  });
  const [model] = node.models;
  assert.deepEqual(model?.upstreamNames, { azure: 'gpt-4o' });
  assert.deepEqual(model?.route.targets, [
    { target: 'llama-a', weight: 1, priority: 0, inFlightMax: null },
    { target: 'azure', weight: 3, priority: 1, inFlightMax: 7 },
  ]);
  assert.equal(model?.route.algorithm, 'least-tokens');
  const eu = { peer: 'eu-central-1', region: 'eu-central-1', delayMs: 104 };
  assert.deepEqual(config.shell.peers?.regions, [{ ...eu, address: { host: '::1', port: 8202 } }]);
  assert.equal(node.peer, 'us-east-2');
});

test('several nodes in a region: which one it is, and which the others are', () => {
  const entry = `    - { name: eu-central-1, address: "[::1]:8202", delayMs: 104 }\n`;
  const more = `    - { name: eu-central-1, node: eu-2, address: "[::1]:8203" }
    - { name: us-east-2, address: 127.0.0.1:8204 }
`;
  const text = `node: us-b\nrole: further\n${FULL.replace(entry, `${entry}${more}`)}`;
  const { config } = parseFull(text);
  assert.equal(config.shell.peer, 'us-east-2/us-b');
  assert.equal(config.node(new Map()).peer, 'us-east-2/us-b');
  assert.deepEqual(
    config.shell.peers?.regions.map(({ peer, region }) => [peer, region]),
    [
      ['eu-central-1', 'eu-central-1'],
      ['eu-central-1/eu-2', 'eu-central-1'],
      ['us-east-2', 'us-east-2'],
    ],
  );
});

test('paths in a file are relative to its folder', () => {
  const { shell, files } = parseFull().config;
  assert.equal(shell.dataDir, '/etc/banyan/state');
  assert.equal(shell.llamas[0]?.modelFile, '/etc/banyan/support.gguf');
  assert.equal(shell.peers?.tls.ca, '/etc/banyan/ca.pem');
  assert.equal(shell.admin, null);
  assert.equal(files.length, 4);
});

test('no secret is in what config show prints', () => {
  const shown = JSON.stringify(parseFull().config.masked());
  assert.doesNotMatch(shown, /sk-/);
  assert.match(shown, /"X-Team":"support"/);
});

test('the revision changes with the content and with the environment, and with nothing else', () => {
  const { revision } = parseFull().config;
  assert.match(revision, /^[0-9a-f]{12}$/);
  assert.equal(parseFull(`# a comment\n${FULL}`).config.revision, revision);
  assert.notEqual(parseFull(FULL, { ...ENV, AZURE_KEY: 'sk-other' }).config.revision, revision);
  assert.notEqual(parseFull(FULL.replace('weight: 3', 'weight: 4')).config.revision, revision);
});

test('a collector: its path, its secrets only from the environment, and masked when shown', () => {
  const otlp = (endpoint: string, value: string): string => `${FULL}
tracing: { otlp: { endpoint: "${endpoint}", headers: { Authorization: "${value}", x-org: a } } }
`;
  const env = { ...ENV, OTLP: 'sk-otlp-secret' };
  const { config } = parseFull(otlp('https://c.example/otlp/?a=b', 'Bearer ${OTLP}'), env);
  assert.deepEqual(config.shell.tracing, {
    address: { origin: 'https://c.example', caFile: null, serverName: null },
    path: '/otlp/v1/traces?a=b',
    headers: ['authorization', 'Bearer sk-otlp-secret', 'x-org', 'a'],
    serviceName: 'banyan',
    sampleRatio: 0.01,
  });
  const shown = JSON.stringify(config.masked());
  assert.ok(!shown.includes('sk-otlp-secret'));
  assert.match(shown, /"endpoint":"https:\/\/c\.example\/otlp\?a=b"/);
  assert.equal(parseFull().config.shell.tracing, null, 'off by default');

  const problems = (text: string): readonly string[] => {
    const parsed = parseConfig(text, 'banyan.yaml', env);
    const found = parsed.ok ? parsed.value.warnings : parsed.error;
    return found.map(({ path, message }) => `${path}: ${message}`);
  };
  assert.deepEqual(problems(otlp('https://c.example', 'Bearer written-here')), [
    'tracing.otlp.headers.Authorization: a secret must not stand in the file; ' +
      'write ${NAME} and set it outside',
  ]);
  assert.deepEqual(problems(otlp('https://c.example/v1/traces', '${OTLP}')), [
    'tracing.otlp.endpoint: must end before /v1/traces, which is added',
  ]);
  assert.deepEqual(problems(otlp('http://c.example:4318', '${OTLP}')), [
    'tracing.otlp.endpoint: credentials go out unencrypted; use https',
  ]);
});

test('control in etcd: endpoints and files, the password only from the environment, and masked', () => {
  const env = { ...ENV, ETCD: 'sk-etcd-secret' };
  const control = (fields: string): string => `${FULL}\ncontrol: { ${fields} }\n`;
  const full = 'endpoints: ["https://a:2379/", "https://b:2379"], prefix: eu/banyan, username: bny';
  const tls = 'tls: { ca: ca.pem, cert: c.pem, key: k.pem }';
  const text = control(`engine: etcd, ${full}, password: "\${ETCD}", ${tls}`);
  const { config } = parseFull(text, env);
  assert.deepEqual(config.shell.control?.etcd, {
    endpoints: ['https://a:2379', 'https://b:2379'],
    prefix: 'eu/banyan',
    tls: {
      ca: '/etc/banyan/ca.pem',
      cert: '/etc/banyan/c.pem',
      key: '/etc/banyan/k.pem',
      serverName: null,
    },
    user: { name: 'bny', password: 'sk-etcd-secret' },
  });
  const named = config.files.filter(({ path }) => path[0] === 'control');
  assert.deepEqual(
    named.map(({ path }) => path.at(-1)),
    ['ca', 'cert', 'key'],
  );
  assert.ok(!JSON.stringify(config.masked()).includes('sk-etcd-secret'));
  assert.equal(parseFull(control('')).config.shell.control?.etcd, null, 'our own group by default');

  const problems = (fields: string): readonly string[] => {
    const parsed = parseConfig(control(fields), 'banyan.yaml', env);
    const found = parsed.ok ? parsed.value.warnings : parsed.error;
    return found.map(({ path, message }) => `${path}: ${message}`);
  };
  const one = 'engine: etcd, endpoints: ["http://127.0.0.1:2379"]';
  assert.deepEqual(problems(one), []);
  assert.deepEqual(problems('engine: etcd'), ['control.engine: etcd needs endpoints']);
  assert.deepEqual(problems('endpoints: ["http://127.0.0.1:2379"]'), [
    'control.endpoints: is for engine: etcd',
  ]);
  assert.deepEqual(problems('engine: etcd, endpoints: ["http://a:2379"]'), [
    'control.endpoints: hashes of keys go out unencrypted; use https',
  ]);
  assert.deepEqual(problems('engine: etcd, endpoints: ["https://a:1", "http://127.0.0.1:2"]'), [
    'control.endpoints: must all be http or all be https',
  ]);
  assert.deepEqual(problems('engine: etcd, endpoints: ["https://a:2379/v3"]'), [
    'control.endpoints[0]: must be http(s)://HOST:PORT',
  ]);
  assert.deepEqual(problems(`${one}, username: a`), ['control: username and password go together']);
  assert.deepEqual(problems(`${one}, username: a, password: written-here`), [
    'control.password: a secret must not stand in the file; write ${NAME} and set it outside',
  ]);
  assert.deepEqual(problems(`${one}, tls: { ca: ca.pem }`), [
    'control.tls: is for https addresses',
  ]);
  assert.deepEqual(problems('engine: etcd, endpoints: ["https://a:2379"], tls: { cert: c.pem }'), [
    'control.tls: cert and key go together',
  ]);
});

test('a default is taken where the variable is unset or empty, and $${ is a plain ${', () => {
  const text = `region: a\nkeys: []\ndataDir: "\${DIR:-/x}/$\${y}"\nmodels: []`;
  assert.equal(parseFull(text, {}).config.shell.dataDir, '/x/${y}');
  assert.equal(parseFull(text, { DIR: '' }).config.shell.dataDir, '/x/${y}');
  assert.equal(parseFull(text, { DIR: '/z' }).config.shell.dataDir, '/z/${y}');
});

test('files that the configuration names must exist; the place that names them is told', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'banyan-config-'));
  try {
    const file = join(folder, 'banyan.yaml');
    await writeFile(file, FULL);
    await writeFile(join(folder, 'ca.pem'), '');
    const loaded = await loadConfig(file, ENV);
    assert.ok(!loaded.ok);
    assert.deepEqual(
      loaded.error.map(({ path, place, message }) => [path, place.line, message]),
      [
        ['peers.tls.cert', 7, 'the file cannot be read: ENOENT'],
        ['peers.tls.key', 7, 'the file cannot be read: ENOENT'],
        ['targets[0].modelFile', 13, 'the file cannot be read: ENOENT'],
      ],
    );
    const absent = await loadConfig(join(folder, 'none.yaml'), ENV);
    assert.ok(!absent.ok);
    assert.equal(absent.error[0]?.message, 'cannot be read: ENOENT');
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('an alias bomb is refused before it grows', () => {
  let text = 'a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n';
  for (let level = 1; level < 9; level += 1) {
    const alias = Array.from({ length: 10 }, () => `*a${level - 1}`).join(',');
    text += `a${level}: &a${level} [${alias}]\n`;
  }
  const started = process.cpuUsage();
  const parsed = parseConfig(text, 'banyan.yaml', {});
  assert.ok(!parsed.ok);
  assert.ok(parsed.error.some(({ message }) => message === 'too deep or too much'));
  // Of this process and not of the wall clock: other work on the machine is not its cost.
  const { user, system } = process.cpuUsage(started);
  assert.ok(user + system < 2_000_000, 'refused within two seconds of a processor');
});

test('a file of many aliases is read in time that grows with the file, not with its square', () => {
  const models = Array.from(
    { length: 800 },
    (_, index) => `  - { name: m${index}, targets: [t], health: *health, deadlines: *deadlines }\n`,
  );
  const text = `
region: us-east-2
targets: [{ name: t, kind: openai, baseUrl: "http://127.0.0.1:1/v1" }]
models:
  - { name: m, targets: [t], health: &health { ejectBaseMs: 7 }, deadlines: &deadlines { idleMs: 9 } }
${models.join('')}`;
  const startedMs = performance.now();
  const parsed = parseConfig(text, 'banyan.yaml', {});
  const tookMs = performance.now() - startedMs;
  assert.ok(parsed.ok);
  assert.equal(parsed.value.config.node(new Map()).models.at(-1)?.deadlines.idleMs, 9);
  assert.ok(tookMs < 5_000, `${tookMs} ms`);
});

test('whatever the text, parsing gives a result and never throws', () => {
  const pieces = fc.constantFrom(
    'region: a\n',
    'keys:\n',
    '  - ',
    'name: x',
    '{',
    '}',
    '[',
    ']',
    '&a ',
    '*a ',
    '${',
    '${X}',
    ': ',
    '"',
    '\n',
    'models:\n',
    'targets: ',
    '? ',
    '!!map ',
    '<<: ',
    '--- ',
    'null',
    '1e999',
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(pieces, fc.string()), { maxLength: 30 }), (parts) => {
      const parsed = parseConfig(parts.join(''), 'banyan.yaml', {});
      assert.ok(parsed.ok || parsed.error.length > 0);
    }),
    { numRuns: 500 },
  );
});

test('addresses: host and port, IPv6 in brackets; everything else is refused', () => {
  for (const text of ['127.0.0.1:80', 'a-b.example:65535', '[::1]:0', 'localhost:1']) {
    const parsed = parseAddress(text);
    assert.ok(parsed.ok, text);
    assert.equal(renderAddress(parsed.value), text);
  }
  for (const text of [
    '',
    ':80',
    'a',
    'a:',
    'a:65536',
    'a:-1',
    '::1:80',
    'a b:1',
    'a:1:2',
    '-a:1',
  ]) {
    assert.ok(!parseAddress(text).ok, text);
  }
});

test('base URLs lose their trailing slash and default port; credentials are refused', () => {
  const parsed = parseBaseUrl('HTTPS://Host:443/v1//?a=b');
  assert.ok(parsed.ok);
  assert.deepEqual(parsed.value, {
    origin: 'https://host',
    host: 'host',
    pathPrefix: '/v1',
    query: 'a=b',
  });
  for (const text of [
    'host/v1',
    'ftp://h',
    'http://u@h',
    'http://u:p@h',
    'http://h/#x',
    'http://',
  ]) {
    assert.ok(!parseBaseUrl(text).ok, text);
  }
});

test('a base URL may say where the name of the model goes', () => {
  const parsed = parseBaseUrl('https://x.example/openai/deployments/{model}?api-version=1');
  assert.ok(parsed.ok);
  assert.equal(parsed.value.pathPrefix, '/openai/deployments/{model}');
});

test('only this machine reaches a loopback address', () => {
  for (const host of ['127.0.0.1', '127.9.9.9', '::1', 'localhost']) assert.ok(isLoopback(host));
  for (const host of ['0.0.0.0', '::', '10.0.0.1', '127.0.0.1.example.com', 'localhost.evil']) {
    assert.ok(!isLoopback(host), host);
  }
});

test('header fields that carry credentials are known', () => {
  for (const name of ['Authorization', 'x-api-key', 'api-key', 'Cookie', 'X-Auth-Token', 'key']) {
    assert.ok(isSecretHeader(name), name);
  }
  for (const name of ['x-team', 'anthropic-version', 'x-monkey', 'accept']) {
    assert.ok(!isSecretHeader(name), name);
  }
});

test('edit distance is a metric and counts single edits', () => {
  assert.equal(editDistance('kitten', 'sitting'), 3);
  const word = fc.string({ maxLength: 8 });
  fc.assert(
    fc.property(word, word, word, (a, b, c) => {
      assert.equal(editDistance(a, b), editDistance(b, a));
      assert.equal(editDistance(a, b) === 0, a === b);
      assert.ok(editDistance(a, c) <= editDistance(a, b) + editDistance(b, c));
    }),
  );
});

test('the nearest word ignores letter case and separators, and is null where nothing is near', () => {
  assert.equal(nearestWord('base_url', ['apiKey', 'baseUrl']), 'baseUrl');
  assert.equal(nearestWord('requestPerMinute', ['requestsPerMinute']), 'requestsPerMinute');
  assert.equal(nearestWord('p2c', ['least-tokens', 'p2c-peak-ewma']), 'p2c-peak-ewma');
  assert.equal(nearestWord('zebra', ['region', 'node']), null);
  assert.equal(nearestWord('x', []), null);
});

test('the example of the reference is good, without a warning', () => {
  const env = {
    SHOP_APP_KEY: 'a',
    OPENAI_API_KEY: 'b',
    ANTHROPIC_API_KEY: 'c',
    OTLP_TOKEN: 'd',
    PROMETHEUS_ADMIN_KEY: 'e',
  };
  assert.deepEqual(parseFull(CONFIG_EXAMPLE, env).warnings, []);
});

test('the published JSON Schema is current', () => {
  const file = join(import.meta.dirname, '../../../docs/reference/config.schema.json');
  assert.deepEqual(
    JSON.parse(readFileSync(file, 'utf8')),
    JSON.parse(JSON.stringify(configJsonSchema())),
    'run node tools/generate.ts',
  );
});
