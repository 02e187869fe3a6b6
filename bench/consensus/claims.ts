/**
 * Claims of keys that nobody had: CASPaxos here, a transaction that creates a key at etcd. Rates on
 * loopback; latency and outage over the round trips of `npm start`.
 */

import { execFile } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { start } from '../http/processes.ts';
import { roundTripMs } from '../../src/main/up/plan.ts';
import { runLoad, type Load } from './load.ts';
import { rateFigures, type Bench, type Figures, type Round } from './parts.ts';
import {
  ask,
  Group,
  memberConfigs,
  sleep,
  type Finder,
  type Node,
  type System,
} from './systems.ts';

export const CLAIM_CLIENTS = [1, 16, 256] as const;
export const KEPT_CLAIMS = [100_000, 1_000_000] as const;
/** A claim's owner and what it is about; a lease. */
const VALUE_BYTES = 64;
const WARM_SECONDS = 0.5;
const OUTAGE_SECONDS = 8;
const KILL_AFTER_MS = 3_000;
/** Clients that try again and again, at all nodes: an attempt each 10 ms. */
const PROBE = { clients: 90, pauseMs: 600, timeoutMs: 4_000 } as const;

/** Three nodes with registers. */
export function claimNodes({ root, nodeArgs, cores }: Finder): System {
  const program = join(root, 'bench', 'consensus', 'claimNode.ts');
  const configure = memberConfigs();
  return {
    name: 'banyan',
    version: 'this commit',
    prepare(node, nodes, plan) {
      configure(node, nodes, plan);
    },
    launch(node) {
      const base = ['--disable-warning=ExperimentalWarning', ...nodeArgs];
      const args = [...base, program, join(node.folder, 'kv.json')];
      const { folder: cwd, logPath } = node;
      return start({ file: process.execPath, args, cores, cwd, logPath });
    },
    // There is no leader: whoever is ready is as good as one.
    async look(node) {
      const told = await ask(`http://127.0.0.1:${node.port}/v1/status`, {});
      return told === null ? null : { isLeader: true };
    },
    handOver: () => Promise.resolve(),
  };
}

function loadOf(group: Group, ports: readonly number[], rest: Partial<Load>): Load {
  return {
    protocol: group.system.name,
    ports,
    operation: 'claim',
    clients: 1,
    valueBytes: VALUE_BYTES,
    keys: 1,
    seconds: 1,
    warmSeconds: WARM_SECONDS,
    seed: randomInt(1, 2 ** 20),
    ...rest,
  };
}

/** One round of so many clients: at the leader of etcd, at one node of Banyan. */
export async function measureClaims(bench: Bench, group: Group, clients: number): Promise<Round> {
  const { port } = await group.leader();
  const { seconds } = bench;
  const load = loadOf(group, [port], { clients, seconds });
  const result = await runLoad(bench.program, bench.cores, load, group.pids);
  if (result.wrongBecause !== null) return { wrong: result.wrongBecause };
  return { figures: rateFigures(result) };
}

/** A register that is changed again from `from` (warm), and keys that are new (cold). */
export async function measureClaimWan(bench: Bench, group: Group, from: Node): Promise<Round> {
  const others = group.nodes.filter((node) => node !== from);
  const floorMs = Math.min(...others.map(({ region }) => roundTripMs(from.region, region)));
  const rest = { seconds: bench.seconds * 2, warmSeconds: 1 };
  const at = [from.port];
  const warmLoad = loadOf(group, at, { ...rest, operation: 'put' });
  const warm = await runLoad(bench.program, bench.cores, warmLoad, []);
  const cold = await runLoad(bench.program, bench.cores, loadOf(group, at, rest), []);
  const wrong = warm.wrongBecause ?? cold.wrongBecause;
  if (wrong !== null) return { wrong };
  const [warmMsP50, coldMsP50] = [warm.latencyUs.p50 / 1_000, cold.latencyUs.p50 / 1_000];
  return { figures: { floorMs, warmMsP50, coldMsP50 } };
}

/**
 * Kills a region while clients claim at all three: the longest time without an answer at any one of
 * the others, beside the longest before the kill, and the longest latency of an answer.
 */
export async function measureClaimOutage(bench: Bench, group: Group, victim: Node): Promise<Round> {
  const ports = group.nodes.map(({ port }) => port);
  const load = loadOf(group, ports, { ...PROBE, seconds: OUTAGE_SECONDS, warmSeconds: 0 });
  const answers: { readonly atNs: number; readonly port: number }[] = [];
  const running = runLoad(bench.program, bench.cores, load, [], (one) => answers.push(one));
  await sleep(KILL_AFTER_MS);
  const killedNs = Number(process.hrtime.bigint());
  await group.kill(victim);
  await running;
  group.launch(victim);
  await group.allUp();
  const alive = ports.filter((port) => port !== victim.port);
  const gapsOf = (isIn: (atNs: number) => boolean): number => {
    const gaps = alive.map((port) => {
      const times = answers.filter((one) => one.port === port && isIn(one.atNs));
      return longestGapMs(times.map(({ atNs }) => atNs));
    });
    return Math.max(...gaps);
  };
  const settledNs = killedNs - (KILL_AFTER_MS - 1_500) * 1e6;
  const outageMs = gapsOf((atNs) => atNs >= killedNs - 100e6);
  const calmMs = gapsOf((atNs) => atNs >= settledNs && atNs < killedNs);
  const after = answers.filter(({ atNs, port }) => atNs > killedNs && port !== victim.port);
  if (after.length < 50) return { wrong: `only ${after.length} claims after the kill` };
  return { figures: { outageMs, calmMs } };
}

/** One acceptor with so many claims: memory, disk, the longest pauses, and a start. */
export async function measureKept(bench: Bench, root: string, count: number): Promise<Round> {
  const folder = join(bench.cache, 'run', 'claims-kept');
  const program = join(root, 'bench', 'consensus', 'keptClaims.ts');
  const ask = async (what: string): Promise<Figures> => {
    const args = ['--disable-warning=ExperimentalWarning', '--expose-gc', program, folder, what];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    // Trusted: the program prints its figures, nothing else.
    return JSON.parse(stdout) as Figures;
  };
  try {
    const kept = await ask(String(count));
    return { figures: { ...kept, ...(await ask('open')) } };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function longestGapMs(times: readonly number[]): number {
  let longest = 0;
  const sorted = times.toSorted((a, b) => a - b);
  for (const [at, atNs] of sorted.entries()) {
    longest = Math.max(longest, atNs - (sorted[at - 1] ?? atNs));
  }
  return longest / 1e6;
}
