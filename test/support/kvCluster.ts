/**
 * `banyan kv` members as processes of their own: real disks, real links with mutual TLS, free
 * loopback ports. Between each two members stands a wire that a test can cut. Whatever was started is
 * stopped when the test file ends, also when a test failed.
 */

import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import { initCerts } from '../../src/io/certs.ts';
import { startLinkProxy, type LinkProxy } from './linkProxy.ts';
import { freePorts } from './ports.ts';

const ROOT = dirname(dirname(import.meta.dirname));
const CLI = join(ROOT, 'src', 'main', 'cli.ts');
const READY_MS = 60_000;
const DAY_MS = 86_400_000;
const LOG_CHARS_KEPT = 1_000_000;

export interface KvClusterOptions {
  /** Members of the beginning; one more stands by, to be added. */
  readonly count?: number;
  readonly config?: object;
  /** What one member's file says besides. */
  readonly configOf?: (id: number) => object;
  readonly hasTls?: boolean;
  /** The data folder of a member, where a test wants another place. */
  readonly dataOf?: (id: number) => string | null;
}

/** How a member's process ended. */
export interface KvEnd {
  readonly code: number | null;
  readonly output: string;
}

export class KvMember {
  readonly id: number;
  readonly apiUrl: string;
  readonly folder: string;
  readonly data: string;
  readonly configFile: string;
  #child: ChildProcess | null = null;
  #output = '';

  constructor(id: number, folder: string, data: string, apiPort: number) {
    this.id = id;
    this.folder = folder;
    this.data = data;
    this.apiUrl = `http://127.0.0.1:${apiPort}`;
    this.configFile = join(folder, `member-${id}.json`);
  }

  get isRunning(): boolean {
    return this.#child !== null && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** What the process has said, the end of it. */
  output(): string {
    return this.#output;
  }

  async init(): Promise<KvEnd> {
    this.#spawn('init', [], {});
    return await this.ended();
  }

  /** Starts it and waits until it serves; a process that ends first is an error with its words. */
  async start(wrapper: readonly string[] = [], env: Readonly<Record<string, string>> = {}) {
    this.#spawn('serve', wrapper, env);
    const endMs = performance.now() + READY_MS;
    while (!this.#output.includes('"event":"ready"')) {
      assert.ok(this.isRunning, `member ${this.id} ended: ${this.#output}`);
      assert.ok(performance.now() < endMs, `member ${this.id} is not ready: ${this.#output}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Starts it and waits until it ends by itself. */
  async startAndEnd(): Promise<KvEnd> {
    this.#spawn('serve', [], {});
    return await this.ended();
  }

  #spawn(verb: string, wrapper: readonly string[], env: Readonly<Record<string, string>>): void {
    assert.ok(!this.isRunning, `member ${this.id} runs already`);
    const own = [process.execPath, CLI, 'kv', verb, '-c', this.configFile];
    const [file, ...args] = [...wrapper, ...own];
    this.#output = '';
    const child = spawn(file ?? process.execPath, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C', BANYAN_DEVELOPER: '1', ...env },
    });
    const take = (chunk: Buffer): void => {
      this.#output = (this.#output + chunk.toString('utf8')).slice(-LOG_CHARS_KEPT);
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    this.#child = child;
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name);
  }

  async ended(): Promise<KvEnd> {
    const child = this.#child;
    assert.ok(child !== null, 'it was started');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'close');
    return { code: child.exitCode, output: this.#output };
  }

  async kill9(): Promise<void> {
    if (!this.isRunning) return;
    this.signal('SIGKILL');
    await this.ended();
  }

  async stop(): Promise<number | null> {
    if (!this.isRunning) return null;
    this.signal('SIGCONT');
    this.signal('SIGTERM');
    return (await this.ended()).code;
  }

  async status(): Promise<KvStatus | null> {
    const answer = await this.ask('GET', '/v1/status', null, 2_000);
    return answer?.status === 200 ? (JSON.parse(answer.text) as KvStatus) : null;
  }

  /** One request; null where no answer came. */
  async ask(
    method: string,
    path: string,
    body: string | null = null,
    timeoutMs = 5_000,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<KvAnswer | null> {
    try {
      const signal = AbortSignal.timeout(timeoutMs);
      const response = await fetch(this.apiUrl + path, { method, body, signal, headers });
      const version = Number(response.headers.get('banyan-version') ?? 0);
      return { status: response.status, text: await response.text(), version };
    } catch {
      return null; // Refused, reset or too late: nobody knows what became of it.
    }
  }
}

export interface KvAnswer {
  readonly status: number;
  readonly text: string;
  readonly version: number;
}

/** What a test looks at in a member's status. */
export interface KvStatus {
  readonly role: string;
  readonly term: number;
  readonly leader: number;
  readonly commit: number;
  readonly applied: number;
  readonly snapshotIndex: number;
  readonly hash: number;
  readonly disk: string;
  readonly conf: { readonly voters: readonly number[]; readonly learners: readonly number[] };
}

export class KvCluster {
  readonly folder: string;
  readonly members: readonly KvMember[];
  readonly #wires: ReadonlyMap<string, LinkProxy>;

  constructor(folder: string, members: readonly KvMember[], wires: ReadonlyMap<string, LinkProxy>) {
    this.folder = folder;
    this.members = members;
    this.#wires = wires;
  }

  member(id: number): KvMember {
    const found = this.members.find((member) => member.id === id);
    assert.ok(found !== undefined);
    return found;
  }

  /** Cuts, or mends, the wire between two members, both ways. */
  setCut(a: number, b: number, isCut: boolean): void {
    this.#wires.get(`${a}>${b}`)?.setCut(isCut);
    this.#wires.get(`${b}>${a}`)?.setCut(isCut);
  }

  mendAll(): void {
    for (const wire of this.#wires.values()) wire.setCut(false);
  }

  /** The member that leads, once a majority of those that run says so. */
  async leader(limitMs = 20_000): Promise<KvMember> {
    return await eventually('a leader', limitMs, async () => {
      const votes = new Map<number, number>();
      const running = this.members.filter((member) => member.isRunning);
      for (const status of await Promise.all(running.map((member) => member.status()))) {
        if (status === null || status.leader === 0) continue;
        votes.set(status.leader, (votes.get(status.leader) ?? 0) + 1);
      }
      const [id = 0, count = 0] = [...votes].toSorted(([, a], [, b]) => b - a)[0] ?? [];
      return count * 2 > running.length && this.member(id).isRunning ? this.member(id) : null;
    });
  }

  /** Waits until these members have applied the same; gives their common hash. */
  async converged(ids: readonly number[], limitMs = 30_000): Promise<number> {
    return await eventually('equal states', limitMs, async () => {
      const all = await Promise.all(ids.map((id) => this.member(id).status()));
      const [first] = all;
      if (first === undefined || first === null) return null;
      const isSame = all.every(
        (one) => one !== null && one.applied === first.applied && one.applied === one.commit,
      );
      if (!isSame) return null;
      for (const one of all) assert.equal(one?.hash, first.hash, 'equal indices, equal states');
      return first.hash;
    });
  }

  async close(): Promise<void> {
    for (const member of this.members) await member.kill9();
    for (const wire of this.#wires.values()) await wire.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Waits until `look` gives something; fails after `limitMs`. */
export async function eventually<T>(
  what: string,
  limitMs: number,
  look: () => Promise<T | null>,
): Promise<T> {
  const endMs = performance.now() + limitMs;
  for (;;) {
    const seen = await look();
    if (seen !== null) return seen;
    assert.ok(performance.now() < endMs, `${what}: not within ${limitMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Makes the folders and files of a cluster; its members are made, and not started. */
export async function createKvCluster(options: KvClusterOptions = {}): Promise<KvCluster> {
  const { count = 3, hasTls = true } = options;
  const folder = await mkdtemp(join(tmpdir(), 'banyan-kv-'));
  const ids = Array.from({ length: count + 1 }, (_, at) => at + 1);
  const certs = join(folder, 'certs');
  if (hasTls) await makeCerts(certs, ids);
  const ports = await freePorts(ids.length * 2);
  const apiPort = (id: number): number => ports[id - 1] ?? 0;
  const peerPort = (id: number): number => ports[ids.length + id - 1] ?? 0;
  const wires = new Map<string, LinkProxy>();
  for (const from of ids) {
    for (const to of ids) {
      if (from !== to) wires.set(`${from}>${to}`, await startLinkProxy(peerPort(to)));
    }
  }
  const members = ids.map((id) => {
    const data = options.dataOf?.(id) ?? join(folder, `data-${id}`);
    return new KvMember(id, folder, data, apiPort(id));
  });
  const incarnations = ids.map((id) => 1 + id * 1_000_003 + Math.floor(Math.random() * 1_000_000));
  for (const { id, data, configFile } of members) {
    const config = {
      cluster: 'kv-test',
      id,
      data,
      api: `127.0.0.1:${apiPort(id)}`,
      peers: `127.0.0.1:${peerPort(id)}`,
      tls: hasTls ? tlsFiles(certs, id) : null,
      members: ids.map((one) => ({
        id: one,
        region: `r${one}`,
        incarnation: incarnations[one - 1],
        address: `127.0.0.1:${one === id ? peerPort(id) : (wires.get(`${id}>${one}`)?.port ?? 0)}`,
        isInitial: one <= count,
      })),
      heartbeatMs: 100,
      electionMs: 800,
      ...options.config,
      ...options.configOf?.(id),
    };
    await mkdir(dirname(data), { recursive: true });
    await writeFile(configFile, `${JSON.stringify(config, null, 2)}\n`);
  }
  return new KvCluster(folder, members, wires);
}

function tlsFiles(certs: string, id: number) {
  return {
    ca: join(certs, 'ca.pem'),
    cert: join(certs, `r${id}.pem`),
    key: join(certs, `r${id}.key`),
  };
}

async function makeCerts(dir: string, ids: readonly number[]): Promise<void> {
  const made = await initCerts({
    dir,
    cluster: 'kv-test',
    nodes: ids.map((id) => ({ region: `r${id}`, node: `node-${id}` })),
    days: 20,
    isForced: false,
    // Valid for members whose clocks are days behind or ahead.
    wallMs: Date.now() - 10 * DAY_MS,
  });
  assert.ok(made.ok, JSON.stringify(made));
}
