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

import { addCerts } from '../../src/io/certs.ts';
import { runBanyan, type Run } from './banyan.ts';
import { BARE_ENV } from './env.ts';
import { atEnd, keyHash, makeCerts, tempDir, TEST_KEY, until } from './node.ts';
import { freePorts } from './ports.ts';

const ROOT = dirname(dirname(import.meta.dirname));
const OUTPUT_CHARS_KEPT = 200_000;

export interface PlaceSpec {
  readonly region: string;
  /** Of a further node of its region; absent: the first one. */
  readonly node?: string;
  /** Absent: none; a witness. */
  readonly target?: string;
  readonly control?: object;
}

/** A cluster that nodes can come to. */
export interface Cluster {
  readonly places: readonly Place[];
  /** Makes the folder and the file of one more node; the file names only those that it `knows`. */
  add(spec: PlaceSpec, knows: readonly Place[]): Promise<Place>;
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

/** One node. */
export class Place {
  readonly region: string;
  /** Null: the first node of its region. */
  readonly node: string | null;
  /** Where others link to it. */
  readonly peerAddress: string;
  readonly folder: string;
  readonly configFile: string;
  readonly apiUrl: string;
  readonly adminUrl: string;
  readonly #command: string;
  #child: ChildProcess | null = null;
  #output = '';

  constructor(
    { region, node }: PlaceSpec,
    folder: string,
    ports: { readonly api: number; readonly admin: number; readonly peers: number },
    command = 'serve',
  ) {
    this.region = region;
    this.node = node ?? null;
    this.peerAddress = `127.0.0.1:${ports.peers}`;
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
    readonly peer: string;
    readonly address: string | null;
    readonly role: string;
    readonly name: string;
    readonly what: string;
  }[];
}

/** Makes the folders and files of a cluster; nothing is started. */
export async function controlCluster(
  specs: readonly PlaceSpec[],
  options: ClusterOptions = {},
): Promise<readonly Place[]> {
  return (await growingCluster(specs, options)).places;
}

/** … to which more nodes can come. */
export async function growingCluster(
  specs: readonly PlaceSpec[],
  { delayMs = () => 0 }: ClusterOptions = {},
): Promise<Cluster> {
  const certs = await makeCerts(specs.map(({ region }) => region));
  const places = await Promise.all(specs.map((spec) => placeOf(spec)));
  await Promise.all(
    specs.map((spec, index) => {
      const others = places.filter((_, at) => at !== index);
      return writePlace(certs, spec, places[index] ?? assert.fail('made above'), others, delayMs);
    }),
  );
  return {
    places,
    add: async (spec, knows) => {
      const { region, node } = spec;
      const named =
        node === undefined ? { region, node: `${region}-1` } : { region, node, isFurther: true };
      const order = { dir: certs, nodes: [named], days: 1, isForced: false, wallMs: Date.now() };
      const made = await addCerts(order);
      assert.ok(made.ok, JSON.stringify(made));
      const place = await placeOf(spec);
      await writePlace(certs, spec, place, knows, delayMs);
      return place;
    },
  };
}

async function placeOf(spec: PlaceSpec): Promise<Place> {
  const folder = await tempDir();
  const [api = 0, admin = 0, peers = 0] = await freePorts(3);
  const command = spec.target === undefined ? 'witness' : 'serve';
  const place = new Place(spec, folder, { api, admin, peers }, command);
  atEnd(() => place.end('SIGKILL'));
  return place;
}

async function writePlace(
  certs: string,
  { region, node, target, control = {} }: PlaceSpec,
  place: Place,
  others: readonly Place[],
  delayMs: (from: string, to: string) => number,
): Promise<void> {
  const { folder } = place;
  const file = node === undefined ? region : `${region}_${node}`;
  await copyFile(join(certs, 'ca.pem'), join(folder, 'ca.pem'));
  await copyFile(join(certs, `${file}.pem`), join(folder, 'node.pem'));
  await copyFile(join(certs, `${file}.key`), join(folder, 'node.key'));
  const admin = new URL(place.adminUrl).host;
  const api = new URL(place.apiUrl).host;
  const config = {
    region,
    ...(node === undefined ? {} : { node, role: 'further' }),
    dataDir: 'data',
    listen: target === undefined ? { admin } : { api, admin },
    peers: {
      cluster: 'test',
      listen: place.peerAddress,
      tls: { ca: 'ca.pem', cert: 'node.pem', key: 'node.key' },
      regions: others.map((other) => ({
        name: other.region,
        ...(other.node === null ? {} : { node: other.node }),
        address: other.peerAddress,
        delayMs: delayMs(region, other.region),
      })),
    },
    control,
    ...(target === undefined ? {} : servingPart(target)),
  };
  await writeFile(join(folder, 'banyan.yaml'), stringify(config));
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
