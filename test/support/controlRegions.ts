/**
 * Three regions with a control state, as processes of their own (`banyan serve`): kept by our own
 * group over real links with mutual TLS and wires that a test can cut, or by a real etcd cluster.
 * The caller closes them.
 */

import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import { stringify } from 'yaml';

import { BARE_ENV } from './env.ts';
import { initCerts } from '../../src/io/certs.ts';
import type { EtcdCluster } from './etcdCluster.ts';
import { startLinkProxy, type LinkProxy } from './linkProxy.ts';
import { freePorts } from './ports.ts';

const ROOT = dirname(dirname(import.meta.dirname));
const CLI = join(ROOT, 'src', 'main', 'cli.ts');
const READY_MS = 60_000;
const NAMES = ['ap', 'eu', 'us'] as const;

/** What the admin API said; null where nobody answered. */
export interface AdminSaid {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

export class ControlRegion {
  readonly name: string;
  readonly apiUrl: string;
  readonly adminUrl: string;
  readonly folder: string;
  readonly #env: Readonly<Record<string, string>>;
  #child: ChildProcess | null = null;
  #output = '';

  constructor(
    name: string,
    ports: readonly [number, number],
    folder: string,
    env: Readonly<Record<string, string>>,
  ) {
    this.name = name;
    this.apiUrl = `http://127.0.0.1:${ports[0]}`;
    this.adminUrl = `http://127.0.0.1:${ports[1]}`;
    this.folder = folder;
    this.#env = env;
  }

  get isRunning(): boolean {
    return this.#child !== null && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  output(): string {
    return this.#output;
  }

  /** Starts it, and waits until it serves. */
  async start(): Promise<void> {
    const args = ['--disable-warning=ExperimentalWarning', CLI, 'serve', '--config'];
    const child = spawn(process.execPath, [...args, join(this.folder, 'banyan.yaml')], {
      cwd: this.folder,
      env: { ...BARE_ENV, ...this.#env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    this.#output = '';
    running.add(child);
    child.once('exit', () => running.delete(child));
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#output = (this.#output + text).slice(-400_000);
      });
    }
    const endMs = performance.now() + READY_MS;
    while (!this.#output.includes('"event":"ready"')) {
      assert.ok(this.isRunning, `${this.name} ended:\n${this.#output}`);
      assert.ok(performance.now() < endMs, `${this.name} is ready in time:\n${this.#output}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name);
  }

  async kill9(): Promise<void> {
    const child = this.#child;
    if (child === null || !this.isRunning) return;
    child.kill('SIGCONT');
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  /** The status of a request with this key; null: nobody answered. */
  async statusWith(key: string): Promise<number | null> {
    try {
      const response = await fetch(`${this.apiUrl}/v1/models`, {
        headers: { authorization: `Bearer ${key}` },
        signal: AbortSignal.timeout(2_000),
      });
      await response.arrayBuffer();
      return response.status;
    } catch {
      return null; // It is down or paused.
    }
  }

  /** One call of the admin API. */
  async admin(path: string, body?: object, limitMs = 20_000): Promise<AdminSaid | null> {
    try {
      const response = await fetch(`${this.adminUrl}${path}`, {
        signal: AbortSignal.timeout(limitMs),
        ...(body === undefined
          ? {}
          : {
              method: 'POST',
              headers: { 'content-type': 'application/json' },
              body: JSON.stringify(body),
            }),
      });
      const text = await response.text();
      return { status: response.status, body: JSON.parse(text) as Record<string, unknown> };
    } catch {
      return null; // It is down, or was while it answered.
    }
  }
}

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export interface ControlRegionsOptions {
  /** Null: our own group. */
  readonly etcd: EtcdCluster | null;
  /** More of `control`. */
  readonly control?: object;
  /** More of the file: keys, targets, models. */
  readonly more?: object;
  readonly env?: (name: string) => Readonly<Record<string, string>>;
}

export class ControlRegions {
  readonly all: readonly ControlRegion[];
  readonly #wires: ReadonlyMap<string, LinkProxy>;
  readonly #folder: string;

  constructor(
    all: readonly ControlRegion[],
    wires: ReadonlyMap<string, LinkProxy>,
    folder: string,
  ) {
    this.all = all;
    this.#wires = wires;
    this.#folder = folder;
  }

  region(at: number): ControlRegion {
    return this.all[at] ?? assert.fail(`there is a region ${at}`);
  }

  /** Cuts the wires between two regions, both ways, or mends them. */
  setCut(one: string, other: string, isCut: boolean): void {
    this.#wires.get(`${one} ${other}`)?.setCut(isCut);
    this.#wires.get(`${other} ${one}`)?.setCut(isCut);
  }

  /** Everybody runs, every wire is whole. */
  async heal(): Promise<void> {
    for (const wire of this.#wires.values()) wire.setCut(false);
    for (const region of this.all) {
      if (region.isRunning) region.signal('SIGCONT');
      else await region.start();
    }
  }

  async close(): Promise<void> {
    for (const region of this.all) await region.kill9();
    for (const wire of this.#wires.values()) await wire.close();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** Makes three regions and starts them all. */
export async function startControlRegions(options: ControlRegionsOptions): Promise<ControlRegions> {
  const folder = await mkdtemp(join(tmpdir(), 'banyan-regions-'));
  const ports = await freePorts(NAMES.length * 3);
  const port = (at: number): number => ports[at] ?? assert.fail('as many ports as asked for');
  const wires = new Map<string, LinkProxy>();
  const isOwn = options.etcd === null;
  if (isOwn) {
    const nodes = NAMES.map((region) => ({ region, node: `${region}-1` }));
    const wallMs = Date.now() - 200_000_000; // Clocks that step back still find them valid.
    const dir = join(folder, 'certs');
    const made = await initCerts({ dir, cluster: 'test', nodes, days: 9, isForced: false, wallMs });
    assert.ok(made.ok, JSON.stringify(made));
    for (const one of NAMES) {
      for (const [at, other] of NAMES.entries()) {
        if (one !== other) wires.set(`${one} ${other}`, await startLinkProxy(port(at * 3 + 2)));
      }
    }
  }
  const all: ControlRegion[] = [];
  for (const [at, name] of NAMES.entries()) {
    const home = join(folder, name);
    await mkdir(home);
    const [api, admin, peer] = [port(at * 3), port(at * 3 + 1), port(at * 3 + 2)];
    if (isOwn) {
      for (const [from, to] of [
        ['ca.pem', 'ca.pem'],
        [`${name}.pem`, 'node.pem'],
        [`${name}.key`, 'node.key'],
      ] as const) {
        await copyFile(join(folder, 'certs', from), join(home, to));
      }
    }
    const config = {
      region: name,
      listen: { api: `127.0.0.1:${api}`, admin: `127.0.0.1:${admin}` },
      workers: 1,
      ...options.more,
      control:
        options.etcd === null
          ? { heartbeatMs: 60, electionMs: 600, ...options.control }
          : { engine: 'etcd', endpoints: options.etcd.endpoints, ...options.control },
      ...(isOwn ? { peers: peersOf(name, peer, wires) } : {}),
    };
    await writeFile(join(home, 'banyan.yaml'), stringify(config));
    all.push(new ControlRegion(name, [api, admin], home, options.env?.(name) ?? {}));
  }
  await Promise.all(all.map((region) => region.start()));
  return new ControlRegions(all, wires, folder);
}

function peersOf(name: string, port: number, wires: ReadonlyMap<string, LinkProxy>): object {
  return {
    cluster: 'test',
    listen: `127.0.0.1:${port}`,
    tls: { ca: 'ca.pem', cert: 'node.pem', key: 'node.key' },
    regions: NAMES.filter((other) => other !== name).map((other) => ({
      name: other,
      address: `127.0.0.1:${wires.get(`${name} ${other}`)?.port}`,
    })),
  };
}
