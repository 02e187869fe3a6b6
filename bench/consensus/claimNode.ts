/**
 * One node with registers for the benchmark: the product's log, links, HTTP server and registers; the
 * control state stands still, so that CASPaxos alone is measured. `PUT /v1/claims/KEY` claims a key;
 * `PUT /v1/kv/KEY` changes one register again and again from here, which is what a lease's renewal is.
 *
 * Its file is that of `banyan kv`. `node claimNode.ts FILE`.
 */

import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { decodeUtf8, encodeUtf8 } from '../../src/base/bytes.ts';
import type { ClientReply, ClientRequest, RequestHandler } from '../../src/base/ports.ts';
import { createPrng } from '../../src/base/prng.ts';
import { err, ok } from '../../src/base/result.ts';
import { firstControl, PERMANENT_BUCKET } from '../../src/caspaxos/control.ts';
import { createClock, createTimers } from '../../src/io/clock.ts';
import { NodeDisk } from '../../src/io/disk/nodeDisk.ts';
import { createHttpServer } from '../../src/io/http1/server.ts';
import { createPeerHub } from '../../src/io/peer/hub.ts';
import { loadKvConfig, type KvConfig } from '../../src/main/kv/config.ts';
import { encodeCommand } from '../../src/replica/control/codec.ts';
import type { ControlEngine } from '../../src/replica/control/engine.ts';
import { ControlMachine } from '../../src/replica/control/machine.ts';
import type { Transaction } from '../../src/replica/control/types.ts';
import { GroupStreams } from '../../src/replica/group/streams.ts';
import { GENERATIONS_KEPT } from '../../src/replica/registers/care.ts';
import { Registers } from '../../src/replica/registers/registers.ts';
import { announceNode, putState } from '../../src/replica/registers/state.ts';

const LOG_FOLDER = 'log';
const NOTHING = { onGone: () => {}, onDrain: () => {} };
const AUDIT = { who: 'bench', from: 'bench', what: 'bench', why: '' };
/** Nothing ends while it is measured. */
const CLAIM_MS = 24 * 3_600_000;

/** A control state that is what it is: the members as acceptors, as many generations as in the long run. */
function standingEngine(config: KvConfig): ControlEngine {
  const view = new ControlMachine();
  let index = 0;
  const apply = (transaction: Transaction): void => {
    index += 1;
    view.apply(index, 0, encodeCommand(transaction));
  };
  const members = config.members.toSorted((a, b) => a.id - b.id);
  for (const { region, incarnation } of members) {
    apply(announceNode(view, config.cluster, region, incarnation, AUDIT));
  }
  const acceptors = members.map(({ incarnation }, at) => ({ id: at + 1, incarnation }));
  const agreed = {
    control: firstControl(acceptors, GENERATIONS_KEPT + 1, 0),
    openedMs: Date.now(),
    fence: 0,
  };
  apply(putState(view, config.cluster, agreed, AUDIT));
  return {
    view,
    // The one thing that is asked for: a number for this start.
    transact: (_transaction, done) => {
      const revision = Date.now() * 10 + config.id;
      setTimeout(() => done(ok({ isSuccess: true, revision, results: [] })), 0);
    },
    confirm: (done) => done(err({ kind: 'unavailable', detail: 'nothing moves' })),
    onMoved: () => () => {},
  };
}

async function main(file: string): Promise<void> {
  const loaded = await loadKvConfig(file);
  if (!loaded.ok) throw new Error(loaded.error);
  const config = loaded.value;
  const own = config.members.find(({ id }) => id === config.id);
  if (own === undefined) throw new Error('the file names its member');
  mkdirSync(config.data, { recursive: true });
  const [clock, timers] = [createClock(), createTimers()];
  const prng = createPrng(randomBytes(4).readUInt32LE());
  const others = config.members.filter(({ id }) => id !== config.id);
  const streams: { value: GroupStreams | null } = { value: null };
  const registers = new Registers(
    {
      name: own.region,
      claimMs: CLAIM_MS,
      folder: LOG_FOLDER,
      engine: standingEngine(config),
      members: () => config.members.map(({ region }) => ({ peer: region, isVoter: true })),
      isLeading: () => false,
    },
    {
      disk: new NodeDisk(config.data),
      clock,
      timers,
      prng,
      send: (to, bytes) => streams.value?.send(to, bytes),
      told: () => {},
      failed: (detail) => {
        throw new Error(detail);
      },
    },
  );
  const hub = hubOf(config, own.region, streams);
  const named = others.map(({ id, region }) => ({ id, name: region }));
  streams.value = new GroupStreams(hub, timers, named, (from, bytes) => {
    registers.host?.receive(from, bytes);
  });
  const listening = await hub.listen(config.peers);
  if (!listening.ok) throw new Error(listening.error);
  const identity = { cluster: config.cluster, id: config.id, incarnation: own.incarnation };
  if (!existsSync(join(config.data, LOG_FOLDER))) {
    await new Promise<void>((resolve) => registers.create(identity, () => resolve()));
  }
  await new Promise<void>((resolve, reject) => {
    registers.open(identity, (opened) => {
      if (opened.ok) resolve();
      else reject(new Error(opened.error.detail));
    });
  });
  const limits = { requestBodyBytesMax: 65_536 };
  const api = createHttpServer({ clock, handler: handlerOf(registers, config.id), limits });
  const bound = await api.listen(config.api.host, config.api.port);
  if (!bound.ok) throw new Error(bound.error.message);
}

/** Links to the other members, with the artificial delays of the file. */
function hubOf(config: KvConfig, region: string, streams: { readonly value: GroupStreams | null }) {
  const others = config.members.filter(({ id }) => id !== config.id);
  return createPeerHub({
    config: {
      cluster: config.cluster,
      name: region,
      node: `node-${config.id}`,
      peers: others.map(({ address, ...one }) => ({
        peer: one.region,
        ...address,
        delayMs: one.delayMs,
      })),
    },
    tls: { kind: 'plaintext-loopback' },
    clock: createClock(),
    timers: createTimers(),
    prng: createPrng(randomBytes(4).readUInt32LE()),
    handler: {
      handle: (request, reply) => streams.value?.handle(request, reply) ?? answer(reply, 404, ''),
    },
    localDigest: () => new Uint8Array(0),
    onDigest: () => {},
    observer: {
      linkChanged: (other, state) => {
        if (state.kind === 'up') streams.value?.linkUp(other);
      },
      rttMeasured: () => {},
      probed: () => {},
      refused: () => {},
    },
  });
}

function handlerOf(registers: Registers, id: number): RequestHandler {
  const start = `${id}-${Date.now()}`;
  const versions = new Map<string, number>();
  let count = 0;
  const claim = (key: string, body: string, reply: ClientReply): void => {
    count += 1;
    registers.claims.claim(key, `${start}-${count}`, body, (told) => {
      if (!told.ok) answer(reply, 503, told.error.detail);
      else answer(reply, told.value.kind === 'won' ? 200 : 409, told.value.kind);
    });
  };
  const change = (name: string, value: Uint8Array, reply: ClientReply): void => {
    const { host } = registers;
    if (host === null) return void answer(reply, 503, 'not open');
    count += 1;
    const expect = versions.get(name) ?? 0;
    const requestId = `${start}-${count}`;
    const asked = { expect, value: value.slice(), requestId, isRetry: false };
    host.change({ bucket: PERMANENT_BUCKET, name }, asked, (told) => {
      if (told.kind === 'changed') versions.set(name, told.version);
      else if (told.kind === 'conflict') {
        versions.set(name, told.register.version);
        return change(name, value, reply);
      }
      answer(reply, told.kind === 'changed' ? 200 : 503, told.kind);
    });
  };
  return {
    handle: (request: ClientRequest, reply: ClientReply) => {
      const [, , kind = '', key = ''] = request.path.split('/');
      if (kind === 'claims') claim(key, decodeUtf8(request.body.subarray(8, 64)), reply);
      else if (kind === 'kv') change(key, request.body, reply);
      else answer(reply, 200, registers.host?.isReady === true ? '{"role":"leader"}' : 'null');
      return NOTHING;
    },
  };
}

function answer(reply: ClientReply, status: number, text: string) {
  const bytes = encodeUtf8(text);
  reply.head(status, [], { kind: 'length', bytes: bytes.length });
  reply.end(bytes);
  return NOTHING;
}

// Ends as a program does, so that `--cpu-prof` is written.
process.on('SIGTERM', () => process.exit(0));
await main(process.argv[2] ?? '');
