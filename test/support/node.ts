/**
 * Real nodes for tests: `banyan serve` as processes of their own, each with a folder of its own, on
 * free loopback ports; alone or as regions with mutual TLS between them. Whatever was started is
 * stopped when the test file ends, also when a test failed.
 */

import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after } from 'node:test';

import { stringify } from 'yaml';

import { BARE_ENV } from './env.ts';
import { freePorts } from './ports.ts';
import { nodeOfPeer, peerName, regionOfPeer } from '../../src/base/peerName.ts';
import { certFile, initCerts, type CertNode } from '../../src/io/certs.ts';

const ROOT = dirname(dirname(import.meta.dirname));
const CLI = join(ROOT, 'src', 'main', 'cli.ts');
const READY_MS = 20_000;

/** The key that every test node knows. */
export const TEST_KEY = 'sk-banyan-test';

/** Characters of a node's log that are kept at least. */
const LOG_CHARS_KEPT = 16_000_000;

/** A node's `banyan.yaml` as plain data; what a test does not name has a default. */
export interface NodeSpec {
  readonly region?: string;
  /** A further node of its region, by this name; absent: the first one. */
  readonly further?: string;
  readonly targets: readonly object[];
  readonly models: readonly object[];
  readonly keys?: readonly object[];
  readonly limits?: object;
  readonly demo?: object;
  readonly tracing?: object;
  /** Who may call the admin API, and over what; absent: whoever is on this machine. */
  readonly admin?: object;
  /** The control state; absent: none. */
  readonly control?: object;
  /** Absent: one process. */
  readonly workers?: number;
  /** Where the public API listens; absent: a free port. */
  readonly api?: string;
  readonly retryBudgetPercent?: number;
  /** In a process group of its own: Ctrl-C at the terminal does not reach it. */
  readonly isDetached?: boolean;
  /** Further variables of the environment, for `${NAME}` in the file. */
  readonly env?: Readonly<Record<string, string>>;
}

/** A running node. */
export interface TestNode {
  readonly region: string;
  /** `http://127.0.0.1:PORT`, without a path. */
  readonly apiUrl: string;
  readonly adminUrl: string;
  readonly pid: number;
  readonly configFile: string;
  /** Its folder; `data` inside is what it keeps. */
  readonly dir: string;
  /** Its log so far, one JSON object a line. */
  logs(): string;
  /** Writes another configuration; the node sees the change of the file. */
  rewrite(spec: NodeSpec): Promise<void>;
  /** Writes any text in place of the configuration. */
  rewriteText(text: string): Promise<void>;
  signal(name: NodeJS.Signals): void;
  /** Ends it as an accident would, and waits until it is gone. */
  kill9(): Promise<void>;
  /** Asks it to stop gracefully, and gives its exit code. */
  stop(): Promise<number | null>;
  /** Starts it again on the same folder, once it is gone. */
  again(): Promise<TestNode>;
  /** `GET` of the admin API, parsed. */
  admin(path: string): Promise<Record<string, unknown>>;
  /** `POST /admin/v1/faults`. */
  fault(body: object): Promise<void>;
}

/** SHA-256 of a key, as the configuration wants it. */
export function keyHash(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}

/** Waits until `look` gives something that is neither null nor false; fails after `limitMs`. */
export async function until<T>(
  what: string,
  look: () => T | null | false | Promise<T | null | false>,
  limitMs = 10_000,
): Promise<T> {
  const endMs = performance.now() + limitMs;
  for (;;) {
    const found = await look();
    if (found !== null && found !== false) return found;
    if (performance.now() > endMs) assert.fail(`within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 15));
  }
}

const cleanups: (() => Promise<void> | void)[] = [];

/** Runs `undo` when the test file ends, before what was registered earlier. */
export function atEnd(undo: () => Promise<void> | void): void {
  cleanups.push(undo);
}

const children = new Set<ChildProcess>();

/** Undoes everything that was registered, latest first. Test files need not call it. */
export async function cleanUp(): Promise<void> {
  for (let undo = cleanups.pop(); undo !== undefined; undo = cleanups.pop()) await undo();
}

// Commands like the soak have no test runner; they call it themselves.
if (process.argv[1]?.endsWith('.test.ts') === true) after(cleanUp);

// What an `after` hook cannot see: the runner gave up on this process.
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});
process.once('SIGTERM', () => process.exit(143));

/** A folder that is removed at the end. */
export async function tempDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'banyan-e2e-'));
  atEnd(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** The configuration of a node, as text. Ports are 0: the log tells what they became. */
function renderConfig(spec: NodeSpec, peers: object | null): string {
  const { region = 'us-east-2', targets, models, limits, demo, tracing, admin, control } = spec;
  const { retryBudgetPercent = 100 } = spec;
  const keys = spec.keys ?? [{ name: 'test', sha256: keyHash(TEST_KEY) }];
  const file = {
    region,
    ...(spec.further === undefined ? {} : { node: spec.further, role: 'further' }),
    listen: { api: spec.api ?? '127.0.0.1:0', admin: '127.0.0.1:0' },
    ...(peers === null ? {} : { peers }),
    workers: spec.workers ?? 1,
    keys,
    targets,
    models,
    retryBudgetPercent,
    ...(limits === undefined ? {} : { limits }),
    ...(demo === undefined ? {} : { demo }),
    ...(tracing === undefined ? {} : { tracing }),
    ...(admin === undefined ? {} : { admin }),
    ...(control === undefined ? {} : { control }),
  };
  return stringify(file, { aliasDuplicateObjects: false });
}

/** Starts a node that stands alone, and waits until it is ready. */
export async function startNode(spec: NodeSpec): Promise<TestNode> {
  return launch(spec, null, await tempDir());
}

async function launch(
  spec: NodeSpec,
  peers: object | null,
  dir: string,
  adminKey: string | null = null,
): Promise<TestNode> {
  const configFile = join(dir, 'banyan.yaml');
  await writeFile(configFile, renderConfig(spec, peers));
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', CLI, 'serve', '--config', configFile],
    {
      cwd: dir,
      env: { ...BARE_ENV, ...spec.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: spec.isDetached ?? false,
    },
  );
  children.add(child);
  let log = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      log += text;
      if (log.length > 2 * LOG_CHARS_KEPT) log = log.slice(-LOG_CHARS_KEPT);
    });
  }
  const exit = once(child, 'exit').then(() => children.delete(child));
  const isGone = (): boolean => child.exitCode !== null || child.signalCode !== null;
  atEnd(async () => {
    if (isGone()) return;
    child.kill('SIGCONT');
    child.kill('SIGKILL');
    await exit;
  });
  const listen = await until(
    'the node says that it is ready',
    () => {
      if (isGone()) assert.fail(`the node ended with ${child.exitCode}:\n${log}`);
      return readyLine(log);
    },
    READY_MS,
  ).catch((cause: unknown) => {
    throw new Error(`the node did not start:\n${log}`, { cause });
  });
  const node: TestNode = {
    region: spec.region ?? 'us-east-2',
    apiUrl: listen.api,
    adminUrl: listen.admin,
    pid: child.pid ?? 0,
    configFile,
    dir,
    logs: () => log,
    rewrite: (next) => writeFile(configFile, renderConfig(next, peers)),
    rewriteText: (text) => writeFile(configFile, text),
    signal: (name) => void child.kill(name),
    kill9: async () => {
      child.kill('SIGKILL');
      await exit;
    },
    stop: async () => {
      child.kill('SIGTERM');
      await exit;
      return child.exitCode;
    },
    again: () => launch(spec, peers, dir, adminKey),
    admin: (path) =>
      fetchJson(
        `${listen.admin}${path}`,
        adminKey === null ? {} : { headers: { authorization: `Bearer ${adminKey}` } },
      ),
    fault: async (body) => {
      const init = {
        method: 'POST',
        body: JSON.stringify(body),
        headers: { 'content-type': 'application/json' },
      };
      await fetchJson(`${listen.admin}/admin/v1/faults`, init);
    },
  };
  await until('GET /readyz answers 200', async () => (await fetch(`${node.apiUrl}/readyz`)).ok);
  return node;
}

function readyLine(log: string): { api: string; admin: string } | null {
  for (const line of log.split('\n')) {
    if (!line.includes('"event":"ready"')) continue;
    const { api, admin } = JSON.parse(line) as { api: string; admin: string };
    return { api, admin };
  }
  return null;
}

async function fetchJson(url: string, init: RequestInit = {}): Promise<Record<string, unknown>> {
  const response = await fetch(url, { ...init, signal: AbortSignal.timeout(5_000) });
  const text = await response.text();
  assert.ok(response.ok, `${url}: ${response.status} ${text}`);
  return JSON.parse(text) as Record<string, unknown>;
}

/** A folder with a CA and a certificate for each peer, as `banyan certs init` makes them. */
export async function makeCerts(peers: readonly string[]): Promise<string> {
  const dir = await tempDir();
  const nodes = peers.map(certNode);
  const wallMs = Date.now();
  const made = await initCerts({ dir, cluster: 'test', nodes, days: 1, isForced: false, wallMs });
  assert.ok(made.ok, JSON.stringify(made));
  return dir;
}

function certNode(peer: string): CertNode {
  const [region, node] = [regionOfPeer(peer), nodeOfPeer(peer)];
  return { region, node: node ?? `${region}-1`, isFurther: node !== null };
}

/** One node of a cluster. */
export interface RegionSpec extends NodeSpec {
  readonly region: string;
}

function peerOf({ region, further }: RegionSpec): string {
  return peerName(region, further ?? null);
}

/**
 * Starts the nodes of regions, linked with mutual TLS, and waits until all see all others as healthy.
 * `wire` stands between the regions' listeners and those who connect to them. `adminKey` is what
 * `admin` of the nodes shows; null: nothing has to be shown.
 */
export async function startRegions(
  specs: readonly RegionSpec[],
  wire: (port: number, region: string) => Promise<number> = (port) => Promise.resolve(port),
  adminKey: string | null = null,
): Promise<readonly TestNode[]> {
  const certs = await makeCerts(specs.map(peerOf));
  const ports = await freePorts(specs.length);
  const entries = await Promise.all(
    ports.map((port, index) => wire(port, specs[index]?.region ?? '')),
  );
  const nodes = await Promise.all(
    specs.map(async (spec, index) => {
      const dir = await tempDir();
      await copyFile(join(certs, 'ca.pem'), join(dir, 'ca.pem'));
      const file = certFile(certNode(peerOf(spec)));
      await copyFile(join(certs, `${file}.pem`), join(dir, 'node.pem'));
      await copyFile(join(certs, `${file}.key`), join(dir, 'node.key'));
      const others = specs.flatMap(({ region, further }, place) => {
        const node = further === undefined ? {} : { node: further };
        const address = `127.0.0.1:${entries[place]}`;
        return place === index ? [] : [{ name: region, ...node, address }];
      });
      const peers = {
        cluster: 'test',
        listen: `127.0.0.1:${ports[index]}`,
        tls: { ca: 'ca.pem', cert: 'node.pem', key: 'node.key' },
        regions: others,
      };
      return launch(spec, peers, dir, adminKey);
    }),
  );
  for (const node of nodes) {
    for (const { region } of nodes) {
      if (region !== node.region) await untilSeen(node, region, ['healthy']);
    }
  }
  return nodes;
}

/** The state of `region` as `node` sees it. */
export async function seenState(node: TestNode, region: string): Promise<string> {
  const { items } = (await node.admin('/admin/v1/regions')) as {
    items: { region: string; state: string }[];
  };
  return items.find((row) => row.region === region)?.state ?? 'absent';
}

/** Waits until `node` sees `region` in one of `states`; gives it. */
export function untilSeen(
  node: TestNode,
  region: string,
  states: readonly string[],
  limitMs = 10_000,
): Promise<string> {
  return until(
    `${node.region} sees ${region} as ${states.join(' or ')}`,
    async () => {
      const state = await seenState(node, region);
      return states.includes(state) ? state : null;
    },
    limitMs,
  );
}
