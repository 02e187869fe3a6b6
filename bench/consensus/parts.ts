/** The parts of the benchmark: what each measures, one round of it. */

import { rmSync } from 'node:fs';
import { join } from 'node:path';

import { roundTripMs } from '../../src/main/up/plan.ts';
import { runLoad, type Load, type LoadResult, type Operation } from './load.ts';
import { fillBanyanLog } from './longLog.ts';
import { Group, sleep, type GroupPlan, type Node, type System } from './systems.ts';

export type Figures = Readonly<Record<string, number>>;
export type Round = { readonly figures: Figures } | { readonly wrong: string };

export const PART_IDS = [
  'rates',
  'outage',
  'recovery',
  'wan',
  'claims',
  'claims-kept',
  'claims-wan',
] as const;
export type PartId = (typeof PART_IDS)[number];

/** What all parts need. */
export interface Bench {
  readonly cache: string;
  readonly program: string;
  readonly cores: readonly number[];
  readonly seconds: number;
  readonly recoveryEntries: number;
}

/** A rate: so many clients, doing one thing to the leader. */
export interface Shape {
  readonly id: string;
  readonly title: string;
  readonly operation: Operation;
  readonly clients: number;
  readonly withSessions?: boolean;
}

export const SHAPES: readonly Shape[] = [
  { id: 'put-1', title: 'put, 1 client', operation: 'put', clients: 1 },
  { id: 'put-16', title: 'put, 16 clients', operation: 'put', clients: 16 },
  { id: 'put-256', title: 'put, 256 clients', operation: 'put', clients: 256 },
  {
    id: 'session-256',
    title: 'put in sessions (each runs once), 256 clients',
    operation: 'put',
    clients: 256,
    withSessions: true,
  },
  { id: 'get-1', title: 'linearizable read, 1 client', operation: 'get', clients: 1 },
  { id: 'get-256', title: 'linearizable read, 256 clients', operation: 'get', clients: 256 },
  { id: 'local-256', title: 'local read, 256 clients', operation: 'local', clients: 256 },
];

const VALUE_BYTES = 256;
const KEYS = 10_000;
/** Small, so that a million entries stay below the size where a log asks for a snapshot. */
const RECOVERY_VALUE_BYTES = 64;
const FILL = { clients: 64, seconds: 300, warmSeconds: 0 } as const;
const WARM_SECONDS = 0.5;

/** Three nodes of one region each, no delays. */
export const PLAN: GroupPlan = {
  regions: ['a', 'b', 'c'],
  heartbeatMs: 100,
  electionMs: 1_000,
  snapshotEntries: 100_000,
  roundTripMs: () => 0,
};

function loadOf(group: Group, ports: readonly number[], rest: Partial<Load>): Load {
  return {
    protocol: group.system.name,
    ports,
    operation: 'put',
    clients: 1,
    valueBytes: VALUE_BYTES,
    keys: KEYS,
    seconds: 1,
    warmSeconds: WARM_SECONDS,
    seed: 1,
    ...rest,
  };
}

/** Puts every key once, so that reads find them. */
export async function fill(
  bench: Bench,
  group: Group,
  count: number = KEYS,
  valueBytes: number = VALUE_BYTES,
): Promise<void> {
  const { port } = await group.leader();
  const load = loadOf(group, [port], { ...FILL, fill: count, valueBytes });
  const result = await runLoad(bench.program, bench.cores, load, []);
  if (result.wrongBecause !== null) throw new Error(`filling: ${result.wrongBecause}`);
}

/** One round of one shape, at the leader. */
export async function measureRate(
  bench: Bench,
  shape: Shape,
  group: Group,
  seed: number,
): Promise<Round> {
  const { port } = await group.leader();
  const { operation, clients, withSessions = false } = shape;
  const { seconds } = bench;
  const load = loadOf(group, [port], { operation, clients, withSessions, seconds, seed });
  const result = await runLoad(bench.program, bench.cores, load, group.pids);
  if (result.wrongBecause !== null) return { wrong: result.wrongBecause };
  return { figures: rateFigures(result) };
}

export function rateFigures(result: LoadResult): Figures {
  const { seconds, requests, latencyUs, systemCpuMicros, cpuSeconds } = result;
  return {
    perSecond: requests / seconds,
    latencyMsP50: latencyUs.p50 / 1_000,
    latencyMsP99: latencyUs.p99 / 1_000,
    latencyMsMax: latencyUs.max / 1_000,
    cpuMicrosEach: systemCpuMicros / requests,
    coresBusy: systemCpuMicros / 1e6 / seconds,
    generatorBusyPercent: (cpuSeconds / seconds) * 100,
  };
}

/** Clients that try again and again, at all nodes: an attempt each 5 ms. */
const PROBE = { clients: 60, pauseMs: 300, timeoutMs: 300, warmSeconds: 0 } as const;
const PROBE_SECONDS = 8;
const KILL_AFTER_MS = 2_000;

/** Kills the leader under a light load, and says for how long no write was taken. */
export async function measureOutage(bench: Bench, group: Group, seed: number): Promise<Round> {
  const leader = await group.leader();
  const ports = group.nodes.map(({ port }) => port);
  const load = loadOf(group, ports, { ...PROBE, seconds: PROBE_SECONDS, seed });
  const times: number[] = [];
  const running = runLoad(bench.program, bench.cores, load, [], ({ atNs }) => times.push(atNs));
  await sleep(KILL_AFTER_MS);
  const killedNs = Number(process.hrtime.bigint());
  await group.kill(leader);
  await running;
  group.launch(leader);
  await group.allUp();
  await sleep(2_000); // It catches up before the next round begins.
  const before = times.filter((atNs) => atNs < killedNs).length;
  if (before < 50) return { wrong: `only ${before} writes before the leader was killed` };
  const gapMs = longestGapNs(times, killedNs) / 1e6;
  return gapMs === 0
    ? { wrong: `no write within ${PROBE_SECONDS} s` }
    : { figures: { outageMs: gapMs } };
}

/**
 * The longest time without an answer after `fromNs`. Not simply until the first one: what was
 * acknowledged, and on its way to the client when its node died, comes a little later.
 */
function longestGapNs(times: readonly number[], fromNs: number): number {
  let longest = 0;
  let before = fromNs;
  for (const atNs of times.toSorted((a, b) => a - b)) {
    if (atNs <= fromNs) continue;
    longest = Math.max(longest, atNs - before);
    before = atNs;
  }
  return longest;
}

/** Starts one node on a log without a snapshot, and waits for its first linearizable read. */
export async function measureRecovery(bench: Bench, system: System): Promise<Round> {
  const entries = bench.recoveryEntries;
  // Nothing is ever snapshotted, and one node is its own quorum: the start is the log's reading.
  const plan = { ...PLAN, regions: ['a'], snapshotEntries: entries * 2 };
  const folder = join(bench.cache, 'run', `recovery-${system.name}`);
  const group = await Group.place(system, folder, plan);
  const [node] = group.nodes;
  if (node === undefined) throw new Error('a group has a node');
  try {
    if (system.name === 'banyan')
      await fillBanyanLog(node.folder, entries, RECOVERY_VALUE_BYTES, KEYS);
    else {
      group.launch(node);
      await group.leader();
      await fill(bench, group, entries, RECOVERY_VALUE_BYTES);
      await group.kill(node);
    }
    const fromMs = performance.now();
    group.launch(node);
    await firstRead(bench, group, node);
    return { figures: { recoveryMs: performance.now() - fromMs, entries } };
  } finally {
    await group.end();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function firstRead(bench: Bench, group: Group, node: Node): Promise<void> {
  await group.leader();
  const valueBytes = RECOVERY_VALUE_BYTES;
  const one = { operation: 'get', keys: 1, seconds: 0.01, valueBytes } as const;
  const read = loadOf(group, [node.port], one);
  const result = await runLoad(bench.program, bench.cores, { ...read, warmSeconds: 0 }, []);
  if (result.wrong > 0) throw new Error(`the first read failed: ${result.firstWrong}`);
}

/** The regions and round trips of `npm start`. */
export const WAN_PLAN: GroupPlan = {
  ...PLAN,
  regions: ['us-east-2', 'eu-central-1', 'ap-northeast-1'],
  heartbeatMs: 200,
  electionMs: 2_000,
  roundTripMs,
};

/** Commits with the leader in `leader` as a client beside it sees them, and from the others. */
export async function measureWan(
  bench: Bench,
  group: Group,
  leader: Node,
  from: Node,
): Promise<Round> {
  await group.leadFrom(leader);
  const load = loadOf(group, [from.port], { seconds: bench.seconds * 2, warmSeconds: 1 });
  const result = await runLoad(bench.program, bench.cores, load, []);
  if (result.wrongBecause !== null) return { wrong: result.wrongBecause };
  const others = group.nodes.filter((node) => node !== leader);
  const quorumMs = Math.min(...others.map(({ region }) => roundTripMs(leader.region, region)));
  const wayMs = from === leader ? 0 : roundTripMs(leader.region, from.region);
  const floorMs = quorumMs + wayMs;
  const commitMsP50 = result.latencyUs.p50 / 1_000;
  return { figures: { commitMsP50, floorMs, overMs: commitMsP50 - floorMs } };
}
