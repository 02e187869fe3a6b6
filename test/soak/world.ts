/**
 * The world of the soak: two regions as real processes with mutual TLS between them, four fake model
 * servers that answer in both dialects and can be killed and started again, a wire that can be slow.
 */

import { createHash } from 'node:crypto';

import { startFakeUpstream, type FakeUpstream, type SeenRequest } from '../support/fakeUpstream.ts';
import type { Fault } from '../support/fakeUpstream.ts';
import { startLinkProxy, type LinkProxy } from '../support/linkProxy.ts';
import { atEnd, startRegions, TEST_KEY, type RegionSpec, type TestNode } from '../support/node.ts';
import { freePorts } from '../support/ports.ts';

/** The regions; `far` models run in the second one only. */
export const REGIONS = ['near-1', 'far-1'] as const;
export type Region = (typeof REGIONS)[number];

/** Kinds of model servers, which are the dialects too. */
export const KINDS = ['openai', 'anthropic'] as const;

/** A key that may ask a few times a minute only. */
export const LIMITED_KEY = 'sk-banyan-limited';
/** Bodies past this are refused by the transport, bytes. */
export const BODY_BYTES_MAX = 512 * 1024;
/** The longest that any request may take, ms; a quiet point needs no longer. */
export const TOTAL_MS = 6_000;
/** Model servers of each region. */
const SERVERS = 2;

/** A model server that can be dead for a while; its port stays. */
export class ModelServer {
  readonly name: string;
  readonly port: number;
  #fake: FakeUpstream | null = null;
  readonly #choose: (request: SeenRequest) => Fault;

  constructor(name: string, port: number, choose: (request: SeenRequest) => Fault) {
    this.name = name;
    this.port = port;
    this.#choose = choose;
  }

  async start(): Promise<void> {
    if (this.#fake !== null) return;
    this.#fake = await startFakeUpstream(this.name, this.port);
    this.#fake.chooseFaults((request) => {
      this.#fake?.forget();
      return this.#choose(request);
    });
  }

  async kill(): Promise<void> {
    const fake = this.#fake;
    this.#fake = null;
    await fake?.close();
  }
}

/** Everything that runs. */
export interface World {
  readonly nodes: Readonly<Record<Region, TestNode>>;
  readonly servers: readonly ModelServer[];
  readonly wires: readonly LinkProxy[];
  /** The configuration of a region; every second variant has another model and one target less. */
  spec(region: Region, variant: number): RegionSpec;
}

/** What the model servers are told by the soak. */
export interface WorldHooks {
  /** The fault of one request at `server`; called when the request is there. */
  readonly chooseFault: (server: ModelServer, request: SeenRequest) => Fault;
}

/** Starts the model servers, then the regions, and waits until they see each other. */
export async function startWorld(hooks: WorldHooks): Promise<World> {
  const ports = await freePorts(REGIONS.length * SERVERS);
  const servers = ports.map((port, index) => {
    const server: ModelServer = new ModelServer(
      `${REGIONS[Math.floor(index / SERVERS)]}/${index % SERVERS}`,
      port,
      (request) => hooks.chooseFault(server, request),
    );
    return server;
  });
  for (const server of servers) {
    await server.start();
    atEnd(() => server.kill());
  }
  const spec = (region: Region, variant: number): RegionSpec => specOf(region, servers, variant);
  const wires: LinkProxy[] = [];
  const started = await startRegions(
    REGIONS.map((region) => spec(region, 0)),
    async (port) => {
      const wire = await startLinkProxy(port);
      atEnd(() => wire.close());
      wires.push(wire);
      return wire.port;
    },
  );
  const nodes = Object.fromEntries(started.map((node) => [node.region, node]));
  return { nodes: nodes as World['nodes'], servers, wires, spec };
}

function specOf(region: Region, servers: readonly ModelServer[], variant: number): RegionSpec {
  const own = servers.filter(({ name }) => name.startsWith(`${region}/`));
  const isFull = variant % 2 === 0;
  const targets = KINDS.flatMap((kind) =>
    own.slice(0, isFull ? own.length : -1).map(({ port }, index) => ({
      name: `${kind}-${index}`,
      kind,
      baseUrl: `http://127.0.0.1:${port}/v1`,
      options: { continuation: 'prefill' },
    })),
  );
  const namesOf = (kind: string): readonly string[] =>
    targets.flatMap((target) => (target.kind === kind ? [target.name] : []));
  const model = (name: string, names: readonly string[]): object => ({
    name,
    targets: names,
    attemptsMax: 5,
    health: { ejectBaseMs: 1_000, ejectMaxMs: 4_000, slowStartMs: 1_000 },
    deadlines: { connectMs: 1_000, firstByteMs: 2_500, idleMs: 2_000, totalMs: TOTAL_MS },
  });
  const models = KINDS.flatMap((kind) => [
    model(`local-${kind}`, namesOf(kind)),
    model(`far-${kind}`, region === REGIONS[1] ? namesOf(kind) : []),
  ]);
  models.push(model('mixed', KINDS.flatMap(namesOf)));
  if (!isFull) models.push(model('sometimes', namesOf('openai')));
  return {
    region,
    targets,
    models,
    keys: [
      { name: 'test', sha256: sha256(TEST_KEY) },
      { name: 'limited', sha256: sha256(LIMITED_KEY), requestsPerMinute: 20 },
    ],
    limits: { requestBodyBytesMax: BODY_BYTES_MAX, drainMs: 2_000 },
    demo: { faults: true },
    isDetached: true,
  };
}

function sha256(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}
