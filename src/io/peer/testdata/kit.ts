/** What the tests of peer links share: hubs on loopback sockets, certificates, waiting. */

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { encodeUtf8 } from '../../../base/bytes.ts';
import type { HeaderList } from '../../../base/headers.ts';
import type {
  ClientEvents,
  ClientReply,
  ClientRequest,
  RequestHandler,
  UpstreamFailure,
  UpstreamHandle,
} from '../../../base/ports.ts';
import { nodeOfPeer, regionOfPeer } from '../../../base/peerName.ts';
import { createPrng } from '../../../base/prng.ts';
import { encodeDigest, type RegionDigest } from '../../../protocol/peer/digest.ts';
import type { LinkState, ProbeResult } from '../../../protocol/peer/linkState.ts';
import { certFile, initCerts } from '../../certs.ts';
import { createClock, createTimers } from '../../clock.ts';
import type { PeerHub } from '../contract.ts';
import { createPeerHub } from '../hub.ts';
import type { PeerTls } from '../identity.ts';
import type { PeerCall } from '../outgoing.ts';

const DAY_MS = 24 * 3600 * 1000;

/** Certificates of one CA. */
export interface TestCerts {
  readonly dir: string;
  tls(peer: string): PeerTls;
  remove(): Promise<void>;
}

/** Makes a CA and certificates of the peers `a`, `b` and `c` (or others), as of `wallMs`. */
export async function makeCerts(
  peers: readonly string[] = ['a', 'b', 'c'],
  cluster = 'test',
  wallMs: number = Date.now(),
): Promise<TestCerts> {
  const dir = await mkdtemp(join(tmpdir(), 'banyan-certs-'));
  const nodes = peers.map((peer) => {
    const [region, node] = [regionOfPeer(peer), nodeOfPeer(peer)];
    return { region, node: node ?? `${region}-1`, isFurther: node !== null };
  });
  const made = await initCerts({ dir, cluster, nodes, days: 1, isForced: false, wallMs });
  assert.ok(made.ok);
  const ca = await readFile(join(dir, 'ca.pem'), 'utf8');
  const material = new Map<string, PeerTls>();
  for (const [index, peer] of peers.entries()) {
    const file = certFile(nodes[index] ?? assert.fail());
    const cert = await readFile(join(dir, `${file}.pem`), 'utf8');
    const key = await readFile(join(dir, `${file}.key`), 'utf8');
    material.set(peer, { kind: 'mutual', ca, cert, key });
  }
  return {
    dir,
    tls: (peer) => {
      const tls = material.get(peer);
      assert.ok(tls !== undefined);
      return tls;
    },
    remove: () => rm(dir, { recursive: true, force: true }),
  };
}

/** A time in the past at which a certificate of one day has expired since. */
export function longAgoMs(): number {
  return Date.now() - 3 * DAY_MS;
}

/** Waits until `condition` holds; fails after `limitMs` with `what`. */
export async function until(
  condition: () => boolean,
  what: string,
  limitMs = 10_000,
): Promise<void> {
  const endMs = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > endMs) assert.fail(`not within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A request that a test's handler got, and the means to answer it. */
export interface Taken {
  readonly request: ClientRequest;
  readonly body: Buffer;
  readonly reply: ClientReply;
  goneMs: number | null;
  drains: number;
  /** Set by tests that watch the moment. */
  onGone?: () => void;
}

/** A handler that keeps what it gets; `answer`, if given, is called with each. */
export class TestHandler implements RequestHandler {
  readonly taken: Taken[] = [];
  private readonly answer: ((taken: Taken) => void) | null;

  constructor(answer: ((taken: Taken) => void) | null = null) {
    this.answer = answer;
  }

  handle(request: ClientRequest, reply: ClientReply): ClientEvents {
    const body = Buffer.from(request.body);
    const taken: Taken = { request, body, reply, goneMs: null, drains: 0 };
    this.taken.push(taken);
    this.answer?.(taken);
    return {
      onGone: () => {
        taken.goneMs = performance.now();
        taken.onGone?.();
      },
      onDrain: () => {
        taken.drains += 1;
      },
    };
  }
}

/** Answers with the body that came, as a body of known length. */
export function echo(taken: Taken): void {
  const bytes = taken.body.length;
  taken.reply.head(200, ['x-echo', taken.request.path], { kind: 'length', bytes });
  taken.reply.end(taken.body);
}

/** What a call reported. */
export class Seen {
  status: number | null = null;
  headers: HeaderList = [];
  readonly chunks: Buffer[] = [];
  readonly order: string[] = [];
  isEnded = false;
  failure: UpstreamFailure | null = null;
  doneMs: number | null = null;
  headMs: number | null = null;

  get body(): Buffer {
    return Buffer.concat(this.chunks);
  }

  get bodyBytes(): number {
    return this.chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  get isDone(): boolean {
    return this.isEnded || this.failure !== null;
  }

  onHead(status: number, headers: HeaderList): void {
    this.note('head');
    this.headMs = performance.now();
    this.status = status;
    this.headers = headers;
  }

  onBody(chunk: Uint8Array): void {
    this.note('body');
    this.chunks.push(Buffer.from(chunk));
  }

  onEnd(): void {
    this.note('end');
    this.isEnded = true;
    this.doneMs = performance.now();
  }

  onFailure(failure: UpstreamFailure): void {
    this.note('failure');
    this.failure = failure;
    this.doneMs = performance.now();
  }

  private note(what: string): void {
    assert.ok(!this.isDone, `${what} after the end`);
    if (this.order.at(-1) !== what) this.order.push(what);
  }
}

/** A hub with what it told. */
export interface TestHub {
  readonly peer: string;
  readonly hub: PeerHub;
  readonly port: number;
  readonly handler: TestHandler;
  readonly states: [string, LinkState][];
  readonly probes: [string, ProbeResult][];
  readonly refusals: string[];
  readonly digests: [string, string][];
  /** Calls `region:TO`, or the origin that is given. */
  readonly call: (to: string, more?: Partial<PeerCall>) => { seen: Seen; handle: UpstreamHandle };
  readonly state: (of: string) => LinkState | undefined;
  readonly isUp: (to: string) => boolean;
}

let seed = 1;

/** What a test hub is made from. */
export interface TestHubOptions {
  readonly peer: string;
  readonly tls: PeerTls;
  /** `peer -> port`; a port of 0 means: learnt later by `setPeers`. */
  readonly peers?: Readonly<Record<string, number>>;
  readonly delayMs?: number;
  readonly port?: number;
  readonly cluster?: string;
  readonly answer?: ((taken: Taken) => void) | null;
  /** The digest to send, given when each peer was last heard. */
  readonly digest?: (views: RegionDigest['views']) => RegionDigest;
  /** Told of everything, beside what the hub records. */
  readonly isAvoided?: (peer: string, call: PeerCall) => boolean;
  readonly watch?: {
    onDigest(peer: string, bytes: Uint8Array): void;
    linkChanged(peer: string, state: LinkState): void;
    rttMeasured(peer: string, rttMs: number): void;
    probed(peer: string, result: ProbeResult): void;
  };
}

/** Starts a hub on 127.0.0.1. */
export async function startHub(options: TestHubOptions): Promise<TestHub> {
  const { peer, tls, peers = {}, delayMs = 0, cluster = 'test' } = options;
  const handler = new TestHandler(options.answer === undefined ? echo : options.answer);
  const states: [string, LinkState][] = [];
  const probes: [string, ProbeResult][] = [];
  const refusals: string[] = [];
  const digests: [string, string][] = [];
  seed += 1;
  const hub = createPeerHub({
    config: { cluster, name: peer, node: `${peer}-1`, peers: addresses(peers, delayMs) },
    tls,
    clock: createClock(),
    timers: createTimers(),
    prng: createPrng(seed * 7_919 + process.pid),
    handler,
    localDigest: () =>
      options.digest === undefined
        ? encodeUtf8(`{"from":"${peer}"}`)
        : encodeDigest(options.digest(heardViews(hub))),
    onDigest: (from, bytes) => {
      digests.push([from, Buffer.from(bytes).toString()]);
      options.watch?.onDigest(from, bytes);
    },
    observer: {
      linkChanged: (to, state) => {
        states.push([to, state]);
        options.watch?.linkChanged(to, state);
      },
      rttMeasured: (to, rttMs) => options.watch?.rttMeasured(to, rttMs),
      probed: (to, result) => {
        probes.push([to, result]);
        options.watch?.probed(to, result);
      },
      refused: (_remote, detail) => refusals.push(detail),
    },
    isAvoided: options.isAvoided ?? (() => false),
  });
  const listening = await hub.listen({ host: '127.0.0.1', port: options.port ?? 0 });
  assert.ok(listening.ok && listening.value !== null, JSON.stringify(listening));
  const state = (of: string): LinkState | undefined =>
    hub.status().find((status) => status.peer === of)?.state;
  return {
    peer,
    hub,
    port: listening.value,
    handler,
    states,
    probes,
    refusals,
    digests,
    call: (to, more = {}) => {
      const seen = new Seen();
      const call = {
        origin: `region:${to}`,
        method: 'POST',
        path: '/v1/chat/completions',
        headers: ['content-type', 'application/json'],
        body: new Uint8Array(0),
        connectMs: 1_000,
        ...more,
      };
      return { seen, handle: hub.start(call, seen) };
    },
    state,
    isUp: (to) => state(to)?.kind === 'up',
  };
}

/** When a hub last heard of each peer, as its digest tells it. */
function heardViews(hub: PeerHub): RegionDigest['views'] {
  return Object.fromEntries(
    hub.status().map(({ peer, state, heardMs }) => {
      return [peer, { state: state.kind, ageMs: heardMs }];
    }),
  );
}

/** Addresses on the loopback. */
export function addresses(
  peers: Readonly<Record<string, number>>,
  delayMs = 0,
): { peer: string; host: string; port: number; delayMs: number }[] {
  return Object.entries(peers).map(([peer, port]) => {
    return { peer, host: '127.0.0.1', port, delayMs };
  });
}

/** Two hubs, `a` and `b`, that know each other and are linked. */
export async function startPair(
  certs: TestCerts,
  options: Partial<TestHubOptions> = {},
): Promise<{ a: TestHub; b: TestHub; close: () => Promise<void> }> {
  const a = await startHub({ ...options, peer: 'a', tls: certs.tls('a') });
  const b = await startHub({ ...options, peer: 'b', tls: certs.tls('b') });
  const { delayMs = 0 } = options;
  a.hub.setPeers(addresses({ b: b.port }, delayMs));
  b.hub.setPeers(addresses({ a: a.port }, delayMs));
  await until(() => a.isUp('b') && b.isUp('a'), 'a and b are linked');
  const close = async (): Promise<void> => {
    await Promise.all([a.hub.close(0), b.hub.close(0)]);
  };
  return { a, b, close };
}
