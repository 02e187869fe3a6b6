/**
 * Regions that share a control state, as real processes that can be stopped, killed and started again
 * on the same folder, with this program or with another one.
 */

import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { stringify } from 'yaml';

import { runBanyan, type Run } from './banyan.ts';
import { BARE_ENV } from './env.ts';
import { atEnd, freePorts, keyHash, makeCerts, tempDir, TEST_KEY, until } from './node.ts';

const ROOT = dirname(dirname(import.meta.dirname));
const OUTPUT_CHARS_KEPT = 200_000;

export interface PlaceSpec {
  readonly region: string;
  /** Absent: none; a witness. */
  readonly target?: string;
  readonly control?: object;
}

export interface ClusterOptions {
  /** Artificial round trip between every two of them, ms. */
  readonly delayMs?: (from: string, to: string) => number;
}

/** Runs a `banyan` verb of the program in `root`. */
export function banyan(args: readonly string[], root = ROOT): Promise<Run> {
  return runBanyan(args, { root });
}

const running = new Set<ChildProcess>();

// What no hook sees: the runner gave up on this process.
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** One region's node. */
export class Place {
  readonly region: string;
  readonly folder: string;
  readonly configFile: string;
  readonly apiUrl: string;
  readonly adminUrl: string;
  readonly #command: string;
  #child: ChildProcess | null = null;
  #output = '';

  constructor(
    region: string,
    folder: string,
    ports: { readonly api: number; readonly admin: number },
    command = 'serve',
  ) {
    this.region = region;
    this.folder = folder;
    this.configFile = join(folder, 'banyan.yaml');
    this.apiUrl = `http://127.0.0.1:${ports.api}`;
    this.adminUrl = `http://127.0.0.1:${ports.admin}`;
    this.#command = command;
  }

  get dataDir(): string {
    return join(this.folder, 'data');
  }

  /** What it printed, the end of it. */
  get output(): string {
    return this.#output;
  }

  get isRunning(): boolean {
    return this.#child !== null;
  }

  /** Starts it and waits until it is ready. */
  async start(root = ROOT): Promise<void> {
    assert.ok(this.#child === null, `${this.region} does not run`);
    const cli = join(root, 'src/main/cli.ts');
    const args = ['--disable-warning=ExperimentalWarning', cli, this.#command];
    const child = spawn(process.execPath, [...args, '--config', this.configFile], {
      cwd: this.folder,
      env: BARE_ENV,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    running.add(child);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#output = (this.#output + text).slice(-OUTPUT_CHARS_KEPT);
      });
    }
    child.once('exit', () => {
      running.delete(child);
      if (this.#child === child) this.#child = null;
    });
    await until(
      `${this.region} is ready`,
      async () => {
        if (child.exitCode !== null) assert.fail(`${this.region} ended:\n${this.#output}`);
        const ready = await fetch(`${this.adminUrl}/readyz`).catch(() => null);
        await ready?.arrayBuffer();
        return ready?.ok === true;
      },
      30_000,
    ).catch((cause: unknown) => {
      throw new Error(`${this.region} did not start:\n${this.#output}`, { cause });
    });
  }

  /** Ends it, gracefully or as an accident would, and waits until it is gone. */
  async end(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const child = this.#child;
    if (child === null) return;
    const exit = once(child, 'exit');
    child.kill('SIGCONT');
    child.kill(signal);
    await exit;
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name);
  }

  /** Asks its admin API; `json` is null where nobody answers. */
  async admin(path: string, body?: object): Promise<{ status: number; json: Json | null }> {
    const init =
      body === undefined
        ? {}
        : {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify(body),
          };
    const signal = AbortSignal.timeout(20_000);
    const response = await fetch(`${this.adminUrl}/admin/v1/${path}`, { ...init, signal }).catch(
      () => null,
    );
    if (response === null) return { status: 0, json: null };
    return { status: response.status, json: (await response.json()) as Json };
  }

  /** The status of a request for the list of models with this key; 0: nobody answers. */
  async models(key: string): Promise<number> {
    const headers = { authorization: `Bearer ${key}` };
    const response = await fetch(`${this.apiUrl}/v1/models`, { headers }).catch(() => null);
    await response?.arrayBuffer();
    return response?.status ?? 0;
  }
}

/** What the admin API answers, as far as tests look at it. */
export interface Json {
  readonly leader?: string | null;
  readonly cluster?: string | null;
  readonly verdict?: string;
  readonly level?: number;
  readonly state?: string;
  readonly secret?: string;
  readonly revision?: number;
  readonly error?: { readonly code: string; readonly message: string };
  readonly findings?: readonly { readonly code: string; readonly message: string }[];
  readonly items?: readonly {
    readonly id: number;
    readonly region: string;
    readonly role: string;
    readonly name: string;
    readonly what: string;
  }[];
}

/** Makes the folders and files of a cluster; nothing is started. */
export async function controlCluster(
  specs: readonly PlaceSpec[],
  { delayMs = () => 0 }: ClusterOptions = {},
): Promise<readonly Place[]> {
  const certs = await makeCerts(specs.map(({ region }) => region));
  const ports = await freePorts(specs.length * 3);
  const portOf = (index: number, kind: 0 | 1 | 2): number => ports[index * 3 + kind] ?? 0;
  return Promise.all(
    specs.map(async ({ region, target, control = {} }, index) => {
      const folder = await tempDir();
      await copyFile(join(certs, 'ca.pem'), join(folder, 'ca.pem'));
      await copyFile(join(certs, `${region}.pem`), join(folder, 'node.pem'));
      await copyFile(join(certs, `${region}.key`), join(folder, 'node.key'));
      const isWitness = target === undefined;
      const [api, admin] = [portOf(index, 0), portOf(index, 1)];
      const adminAddress = `127.0.0.1:${admin}`;
      const others = specs.flatMap((other, place) =>
        place === index
          ? []
          : [
              {
                name: other.region,
                address: `127.0.0.1:${portOf(place, 2)}`,
                delayMs: delayMs(region, other.region),
              },
            ],
      );
      const file = {
        region,
        dataDir: 'data',
        listen: isWitness
          ? { admin: adminAddress }
          : { api: `127.0.0.1:${api}`, admin: adminAddress },
        peers: {
          cluster: 'test',
          listen: `127.0.0.1:${portOf(index, 2)}`,
          tls: { ca: 'ca.pem', cert: 'node.pem', key: 'node.key' },
          regions: others,
        },
        control,
        ...(isWitness ? {} : servingPart(target)),
      };
      await writeFile(join(folder, 'banyan.yaml'), stringify(file));
      const place = new Place(region, folder, { api, admin }, isWitness ? 'witness' : 'serve');
      atEnd(() => place.end('SIGKILL'));
      return place;
    }),
  );
}

function servingPart(target: string): object {
  return {
    workers: 1,
    keys: [{ name: 'test', sha256: keyHash(TEST_KEY) }],
    targets: [{ name: 't', kind: 'openai', baseUrl: target }],
    models: [{ name: 'm', targets: ['t'] }],
    limits: { drainMs: 3_000 },
  };
}

/** Starts all of them and waits until one leads whom all know. */
export async function startAll(places: readonly Place[]): Promise<void> {
  await Promise.all(places.map((place) => place.start()));
  await untilLed(places);
}

/** The region that leads, once all of these know it. */
export function untilLed(places: readonly Place[], limitMs = 30_000): Promise<string> {
  return until(
    `${places.map(({ region }) => region).join(', ')} know one leader`,
    async () => {
      const told = await Promise.all(places.map((place) => place.admin('leader')));
      const leaders = new Set(told.map(({ json }) => json?.leader ?? null));
      const [leader] = leaders;
      return leaders.size === 1 && typeof leader === 'string' ? leader : null;
    },
    limitMs,
  );
}

/** Makes a key through any of these, again and again until it is made; gives its secret. */
export async function makeKey(places: readonly Place[], name: string): Promise<string> {
  return until(
    `a key ${name} is made`,
    async () => {
      for (const place of places) {
        const { status, json } = await place.admin('keys', { action: 'create', name });
        if (status === 200) return json?.secret ?? '';
      }
      return null;
    },
    40_000,
  );
}

/** Waits until a key works in all of these. */
export function untilWorks(places: readonly Place[], key: string, limitMs = 20_000) {
  return until(
    'the key works everywhere',
    async () => {
      const all = await Promise.all(places.map((place) => place.models(key)));
      return all.every((status) => status === 200);
    },
    limitMs,
  );
}
