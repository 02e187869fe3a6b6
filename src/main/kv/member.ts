/** One `banyan kv` member, composed: data folder, links, group, listener. */

import { randomBytes } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';

import { GROUP_LIMITS } from '../../base/groupLimits.ts';
import { RAFT_LIMITS } from '../../base/limits.ts';
import type { ClientReply, RequestHandler } from '../../base/ports.ts';
import { createPrng } from '../../base/prng.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { createClock, createTimers } from '../../io/clock.ts';
import { NodeDisk } from '../../io/disk/nodeDisk.ts';
import { createHttpServer } from '../../io/http1/server.ts';
import type { Log } from '../../io/observe/log.ts';
import type { PeerHub, PeerObserver } from '../../io/peer/contract.ts';
import { createPeerHub } from '../../io/peer/hub.ts';
import type { PeerTls } from '../../io/peer/identity.ts';
import { raftOptions } from '../../raft/start.ts';
import type { Member } from '../../raft/types.ts';
import { GroupAdmin } from '../../replica/group/admin.ts';
import { openGroup } from '../../replica/group/open.ts';
import { GroupStreams } from '../../replica/group/streams.ts';
import type {
  GroupEvents,
  GroupMachine,
  GroupMember,
  GroupOpenFailure,
  GroupOptions,
  GroupTransport,
} from '../../replica/group/types.ts';
import type { KvMachine } from '../../replica/kv/machine.ts';
import { KvService } from '../../replica/kv/service.ts';
import type { KvConfig } from './config.ts';
import { memoryState, openState } from './state.ts';

/** The log's folder inside the data folder. */
const LOG_FOLDER = 'log';
const API_CLOSE_MS = 1_000;

export interface RunningKv {
  readonly apiPort: number;
  readonly peerPort: number;
  stop(): Promise<void>;
}

const NOBODY: GroupTransport = { send: () => {} };
const NO_EVENTS: GroupEvents = { status: () => {}, alarm: () => {}, disk: () => {} };

/** Makes the data folder of a new member; an error says why it may not. */
export async function initKv(config: KvConfig): Promise<Result<null, string>> {
  await mkdir(config.data, { recursive: true, mode: 0o700 });
  const opened = await open(config, 'create', NOBODY, NO_EVENTS, memoryState().machine);
  if (!opened.ok) return err(sentenceOf(opened.error));
  await new Promise<void>((resolve) => opened.value.stop(resolve));
  return ok(null);
}

/** Starts a member on its folder. `failed` is called once, when its disk has failed. */
export async function startKv(
  config: KvConfig,
  log: Log,
  failed: (detail: string) => void,
): Promise<Result<RunningKv, string>> {
  const clock = createClock();
  const timers = createTimers();
  const state = openState(config, log);
  if (!state.ok) return state;
  const { kv, machine } = state.value;
  let streams: GroupStreams | null = null;
  const transport: GroupTransport = { send: (to, bytes) => streams?.send(to, bytes) };
  const events: GroupEvents = {
    status: ({ role, term, leader }) => log.info('raft', { role, term, leader }),
    alarm: (alarm, node, index) => log.warn('alarm', { alarm, node, index }),
    disk: (state, detail) => {
      log.warn('disk', { state, detail });
      if (state === 'failed') failed(detail);
    },
  };
  const opened = await open(config, 'open', transport, events, machine);
  if (!opened.ok) {
    state.value.close();
    return err(sentenceOf(opened.error));
  }
  const group = opened.value;
  const stopGroup = async (): Promise<void> => {
    await new Promise<void>((resolve) => group.stop(resolve));
    state.value.close();
  };
  const hub = createPeerHub({
    config: hubConfig(config),
    tls: await tlsOf(config),
    clock,
    timers,
    prng: prng(),
    handler: peerHandler(() => streams),
    localDigest: () => new Uint8Array(0),
    onDigest: () => {},
    observer: linkObserver(config, log, group, (region) => streams?.linkUp(region)),
  });
  const peers = others(config).map(({ id, region }) => ({ id, name: region }));
  streams = new GroupStreams(hub, timers, peers, (from, bytes) => {
    group.receive(from, bytes);
  });
  const listening = await hub.listen(config.peers);
  if (!listening.ok) {
    await stopGroup();
    return err(listening.error);
  }
  const handler = clientHandler(config, group, kv, streams, hub);
  const limits = { requestBodyBytesMax: RAFT_LIMITS.entryBytesMax };
  const api = createHttpServer({ clock, handler, limits });
  const bound = await api.listen(config.api.host, config.api.port);
  if (!bound.ok) {
    await hub.close(0);
    await stopGroup();
    return err(bound.error.message);
  }
  return ok({
    apiPort: bound.value.port,
    peerPort: listening.value ?? 0,
    async stop() {
      await api.close(API_CLOSE_MS);
      await stopGroup();
      streams?.close();
      await hub.close(0);
    },
  });
}

/** Tells of each change once: a redial that failed for the same cause again is none. */
function linkObserver(
  config: KvConfig,
  log: Log,
  group: GroupMember,
  up: (region: string) => void,
): PeerObserver {
  const told = new Map<string, string>();
  return {
    linkChanged(region, state) {
      const word = state.kind === 'up' ? 'up' : `down: ${state.cause}`;
      if (told.get(region) !== word) {
        told.set(region, word);
        const detail = state.kind === 'up' ? state.node : state.detail;
        log.info('link', { peer: region, state: word, detail });
      }
      const member = config.members.find((other) => other.region === region);
      if (state.kind === 'up') up(region);
      else if (member !== undefined) group.unreachable(member.id);
    },
    rttMeasured: () => {},
    probed: () => {},
    refused: (remote, detail) => log.warn('peer-refused', { remote, detail }),
  };
}

function prng() {
  return createPrng(randomBytes(4).readUInt32LE());
}

function open(
  config: KvConfig,
  kind: 'create' | 'open',
  transport: GroupTransport,
  events: GroupEvents,
  machine: GroupMachine,
): Promise<Result<GroupMember, GroupOpenFailure>> {
  const ports = {
    disk: new NodeDisk(config.data),
    clock: createClock(),
    timers: createTimers(),
    transport,
  };
  return new Promise((resolve) => {
    openGroup(groupOptions(config, kind), ports, events, machine, null, resolve);
  });
}

function groupOptions(config: KvConfig, kind: 'create' | 'open'): GroupOptions {
  const { id, cluster, heartbeatMs, electionMs, trailingEntries } = config;
  const own = config.members.find((member) => member.id === id);
  const incarnation = own?.incarnation ?? 0;
  return {
    raft: raftOptions({
      id,
      cluster,
      incarnation,
      prng: prng(),
      heartbeatMs,
      electionMs,
      trailingEntries,
    }),
    folder: LOG_FOLDER,
    mode: { kind, incarnation },
    bootstrap: own?.isInitial === true ? initialMembers(config) : null,
    segmentBytes: config.segmentBytes,
    checkpointEntries: GROUP_LIMITS.checkpointEntries,
    snapshotEntries: config.snapshotEntries,
  };
}

function initialMembers(config: KvConfig): readonly Member[] {
  return config.members.filter((member) => member.isInitial).map(memberOf);
}

function memberOf(member: KvConfig['members'][number]): Member {
  const { id, region, incarnation, priority, isWitness } = member;
  return { id, region, incarnation, priority, isWitness, isPromotable: true };
}

function others(config: KvConfig): KvConfig['members'] {
  return config.members.filter((member) => member.id !== config.id);
}

function hubConfig(config: KvConfig) {
  const own = config.members.find((member) => member.id === config.id);
  return {
    cluster: config.cluster,
    name: own?.region ?? '',
    node: `node-${config.id}`,
    peers: others(config).map(({ region, address, delayMs }) => ({
      peer: region,
      ...address,
      delayMs,
    })),
  };
}

async function tlsOf({ tls }: KvConfig): Promise<PeerTls> {
  if (tls === null) return { kind: 'plaintext-loopback' };
  const [ca = '', cert = '', key = ''] = await Promise.all(
    [tls.ca, tls.cert, tls.key].map((file) => readFile(file, 'utf8')),
  );
  return { kind: 'mutual', ca, cert, key };
}

/** What peers ask: our messages to them, and nothing else. */
function peerHandler(streams: () => GroupStreams | null): RequestHandler {
  return {
    handle: (request, reply) => streams()?.handle(request, reply) ?? refused(reply),
  };
}

function clientHandler(
  config: KvConfig,
  group: GroupMember,
  kv: KvMachine,
  streams: GroupStreams,
  hub: PeerHub,
): RequestHandler {
  const service = new KvService(group, kv);
  const admin = new GroupAdmin(group, config.members.map(memberOf), () => ({
    streams: streams.counts(),
    links: hub.status(),
  }));
  const none = { onGone: () => {}, onDrain: () => {} };
  return {
    handle: (request, reply) =>
      admin.handle(request, reply) ? none : service.handle(request, reply),
  };
}

function refused(reply: ClientReply) {
  reply.head(404, [], { kind: 'length', bytes: 0 });
  reply.end();
  return { onGone: () => {}, onDrain: () => {} };
}

/** Why the folder was not opened, for the operator. */
function sentenceOf(failure: GroupOpenFailure): string {
  switch (failure.kind) {
    case 'damaged':
      return (
        `the log is damaged (${failure.file} at byte ${failure.offset}: ${failure.detail}); ` +
        'nothing was changed. This member must not take part again: remove its number, ' +
        'and add a new number with an empty folder'
      );
    case 'no-log':
      return `${failure.detail}; a new member is made with "banyan kv init"`;
    case 'refused':
      return `${failure.error}: ${failure.detail}`;
    case 'disk':
    case 'locked':
    case 'not-empty':
    case 'wrong-cluster':
    case 'wrong-node':
    case 'wrong-incarnation':
    case 'future-version':
      return `${failure.kind}: ${failure.detail}`;
    default:
      return failure satisfies never;
  }
}
