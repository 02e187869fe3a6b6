/**
 * Real etcd servers for tests: processes of Debian's package, each with a folder of its own, on free
 * loopback ports. Before each one stand wires that a test can cut: one for its clients, one for its
 * peers. Whatever was started is stopped when the test file ends, also when a test failed.
 */

import assert from 'node:assert/strict';
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { startLinkProxy, type LinkProxy } from './linkProxy.ts';
import { freePorts } from './ports.ts';

const READY_MS = 30_000;

/** Null: it is there; else why these tests are skipped. */
export function etcdAbsent(): string | false {
  try {
    execFileSync('etcd', ['--version'], { stdio: 'ignore' });
    return false;
  } catch {
    return 'etcd is not installed (Debian: apt install etcd-server)';
  }
}

export interface EtcdOptions {
  readonly count?: number;
  readonly args?: readonly string[];
  readonly env?: (index: number) => Readonly<Record<string, string>>;
  /** PEM files: client connections over TLS, with certificates on both sides. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
}

export class EtcdServer {
  readonly index: number;
  /** Where its clients reach it, through the wire. */
  readonly url: string;
  readonly clientWire: LinkProxy;
  readonly peerWire: LinkProxy;
  readonly #args: readonly string[];
  readonly #env: Readonly<Record<string, string>>;
  #child: ChildProcess | null = null;
  #output = '';

  constructor(
    index: number,
    scheme: string,
    wires: readonly [LinkProxy, LinkProxy],
    args: readonly string[],
    env: Readonly<Record<string, string>>,
  ) {
    this.index = index;
    [this.clientWire, this.peerWire] = wires;
    this.url = `${scheme}://127.0.0.1:${this.clientWire.port}`;
    this.#args = args;
    this.#env = env;
  }

  get isRunning(): boolean {
    return this.#child !== null && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  output(): string {
    return this.#output;
  }

  start(): void {
    const child = spawn('etcd', this.#args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env['PATH'], GOMAXPROCS: '1', ...this.#env },
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#output = (this.#output + text).slice(-200_000);
      });
    }
    running.add(child);
    child.once('exit', () => running.delete(child));
    this.#child = child;
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
}

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export class EtcdCluster {
  readonly servers: readonly EtcdServer[];
  readonly #folder: string;

  constructor(servers: readonly EtcdServer[], folder: string) {
    this.servers = servers;
    this.#folder = folder;
  }

  get endpoints(): readonly string[] {
    return this.servers.map(({ url }) => url);
  }

  server(index: number): EtcdServer {
    return this.servers[index] ?? assert.fail(`there is a server ${index}`);
  }

  /** One call of the JSON gateway at a server, past all wires of Banyan. */
  async post(index: number, path: string, body: object): Promise<Record<string, unknown> | null> {
    try {
      const response = await fetch(`${this.server(index).url}${path}`, {
        method: 'POST',
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(3_000),
      });
      const text = await response.text();
      return response.ok ? (JSON.parse(text) as Record<string, unknown>) : null;
    } catch {
      return null; // It is down, cut off or without a leader.
    }
  }

  /** The index of the server that leads, waited for. */
  async leader(limitMs = READY_MS): Promise<number> {
    const endMs = performance.now() + limitMs;
    for (;;) {
      for (const { index, isRunning } of this.servers) {
        if (!isRunning) continue;
        const status = await this.post(index, '/v3/maintenance/status', {});
        const header = status?.['header'] as { member_id?: string } | undefined;
        if (status !== null && header?.member_id === status['leader']) return index;
      }
      if (performance.now() > endMs) {
        assert.fail(
          `a leader:\n${this.servers.map((one) => one.output().slice(-1_500)).join('\n')}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Everybody runs, every wire is whole. */
  heal(): void {
    for (const server of this.servers) {
      server.clientWire.setCut(false);
      server.peerWire.setCut(false);
      if (server.isRunning) server.signal('SIGCONT');
      else server.start();
    }
  }

  async close(): Promise<void> {
    for (const server of this.servers) {
      await server.kill9();
      await server.clientWire.close();
      await server.peerWire.close();
    }
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** Starts a cluster; the caller closes it. */
export async function startEtcd(options: EtcdOptions = {}): Promise<EtcdCluster> {
  const { count = 3, args = [], tls } = options;
  const folder = await mkdtemp(join(tmpdir(), 'banyan-etcd-'));
  const ports = await freePorts(count * 2);
  const port = (at: number): number => ports[at] ?? assert.fail('as many ports as were asked for');
  const scheme = tls === undefined ? 'http' : 'https';
  const wires: (readonly [LinkProxy, LinkProxy])[] = [];
  for (let at = 0; at < count; at += 1) {
    wires.push([await startLinkProxy(port(at * 2)), await startLinkProxy(port(at * 2 + 1))]);
  }
  const cluster = wires.map(([, peer], at) => `s${at}=http://127.0.0.1:${peer.port}`).join();
  const servers = wires.map((pair, at) => {
    const [client, peer] = pair;
    const settings = {
      name: `s${at}`,
      'data-dir': join(folder, `s${at}`),
      'listen-client-urls': `${scheme}://127.0.0.1:${port(at * 2)}`,
      'advertise-client-urls': `${scheme}://127.0.0.1:${client.port}`,
      'listen-peer-urls': `http://127.0.0.1:${port(at * 2 + 1)}`,
      'initial-advertise-peer-urls': `http://127.0.0.1:${peer.port}`,
      'initial-cluster': cluster,
      'heartbeat-interval': '100',
      'election-timeout': '1000',
      ...(tls === undefined
        ? {}
        : { 'cert-file': tls.cert, 'key-file': tls.key, 'trusted-ca-file': tls.ca }),
    };
    const own = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
    if (tls !== undefined) own.push('--client-cert-auth');
    own.push(...args);
    return new EtcdServer(at, scheme, pair, own, options.env?.(at) ?? {});
  });
  for (const server of servers) server.start();
  const made = new EtcdCluster(servers, folder);
  if (tls === undefined) await made.leader();
  return made;
}
