/**
 * The systems under test as groups of nodes on loopback: how each is configured and started. Both
 * sync every write to the disk before it counts, and have the same heartbeat and election time-outs.
 */

import { randomInt } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

import { findDebian, type Say } from '../http/install.ts';
import { start, stop, tailOf, type Running } from '../http/processes.ts';
import { freePort } from '../http/systems.ts';

export const SYSTEM_NAMES = ['banyan', 'etcd'] as const;
export type SystemName = (typeof SYSTEM_NAMES)[number];

const READY_MS = 60_000;
const READY_POLL_MS = 20;
const ASK_MS = 1_000;

export interface GroupPlan {
  /** Names of the nodes' regions; as many nodes as names. */
  readonly regions: readonly string[];
  readonly heartbeatMs: number;
  readonly electionMs: number;
  /** Entries between two snapshots. */
  readonly snapshotEntries: number;
  /** The artificial round trip between two regions, ms. Banyan only. */
  readonly roundTripMs: (a: string, b: string) => number;
}

/** One node's place. */
export interface Node {
  readonly id: number;
  readonly region: string;
  readonly folder: string;
  readonly port: number;
  readonly peerPort: number;
  readonly logPath: string;
}

export interface System {
  readonly name: SystemName;
  readonly version: string;
  /** Once, before a node's first start. */
  readonly prepare: (node: Node, nodes: readonly Node[], plan: GroupPlan) => void;
  readonly launch: (node: Node, nodes: readonly Node[], plan: GroupPlan) => Running;
  /** What a node knows; null: it does not answer. */
  readonly look: (node: Node) => Promise<{ readonly isLeader: boolean } | null>;
  /** Asks for another leader; done when the node has answered. */
  readonly handOver: (from: Node, to: Node) => Promise<void>;
}

/** What finding the systems needs. */
export interface Finder {
  readonly root: string;
  /** Arguments of Node before Banyan's, e.g. `--cpu-prof`. */
  readonly nodeArgs: readonly string[];
  readonly cores: readonly number[];
  readonly say: Say;
}

/** The system, or why it is skipped. */
export function findSystem(name: SystemName, finder: Finder): System | { readonly reason: string } {
  if (name === 'banyan') return banyan(finder);
  const found = findDebian('etcd', '--version', finder.say, 'etcd-server');
  return found.ok ? etcd(found.path, found.version, finder.cores) : { reason: found.reason };
}

/** A running group. Ended by `end` only. */
export class Group {
  readonly system: System;
  readonly nodes: readonly Node[];
  readonly #plan: GroupPlan;
  readonly #running = new Map<number, Running>();

  private constructor(system: System, nodes: readonly Node[], plan: GroupPlan) {
    this.system = system;
    this.nodes = nodes;
    this.#plan = plan;
  }

  /** Starts it on empty folders, and waits for a leader. */
  static async start(system: System, folder: string, plan: GroupPlan): Promise<Group> {
    const group = await Group.place(system, folder, plan);
    for (const node of group.nodes) group.launch(node);
    try {
      await group.leader();
    } catch (cause) {
      await group.end();
      throw cause;
    }
    return group;
  }

  /** Its folders, made anew, and its ports; nothing runs yet. */
  static async place(system: System, folder: string, plan: GroupPlan): Promise<Group> {
    rmSync(folder, { recursive: true, force: true });
    const nodes: Node[] = [];
    for (const [index, region] of plan.regions.entries()) {
      const own = join(folder, region);
      mkdirSync(own, { recursive: true });
      nodes.push({
        id: index + 1,
        region,
        folder: own,
        port: await freePort(),
        peerPort: await freePort(),
        logPath: join(folder, `${region}.output.log`),
      });
    }
    for (const node of nodes) system.prepare(node, nodes, plan);
    return new Group(system, nodes, plan);
  }

  launch(node: Node): void {
    this.#running.set(node.id, this.system.launch(node, this.nodes, this.#plan));
  }

  /** As a loss of power takes it: nothing is finished. */
  async kill(node: Node): Promise<void> {
    const running = this.#running.get(node.id);
    if (running === undefined) return;
    process.kill(-running.pid, 'SIGKILL');
    await running.exited;
    this.#running.delete(node.id);
  }

  async stop(node: Node): Promise<void> {
    const running = this.#running.get(node.id);
    if (running !== undefined) await stop(running);
    this.#running.delete(node.id);
  }

  get pids(): readonly number[] {
    return [...this.#running.values()].map(({ pid }) => pid);
  }

  /** Waits until one of those that run leads, and gives it. */
  async leader(): Promise<Node> {
    const untilMs = performance.now() + READY_MS;
    while (performance.now() < untilMs) {
      for (const node of this.nodes) {
        const running = this.#running.get(node.id);
        if (running === undefined) continue;
        if (running.hasExited()) {
          throw new Error(`${this.system.name} ${node.region} ended: ${tailOf(node.logPath)}`);
        }
        if ((await this.system.look(node))?.isLeader === true) return node;
      }
      await sleep(READY_POLL_MS);
    }
    const logs = this.nodes.map(({ logPath }) => tailOf(logPath)).join(' | ');
    throw new Error(`${this.system.name} has no leader after ${READY_MS} ms: ${logs}`);
  }

  /** Waits until every node answers. */
  async allUp(): Promise<void> {
    const untilMs = performance.now() + READY_MS;
    for (const node of this.nodes) {
      while ((await this.system.look(node)) === null) {
        if (performance.now() > untilMs) throw new Error(`${node.region} does not come up`);
        await sleep(READY_POLL_MS);
      }
    }
  }

  /** Makes `node` the leader. */
  async leadFrom(node: Node): Promise<void> {
    const untilMs = performance.now() + READY_MS;
    while (performance.now() < untilMs) {
      const leader = await this.leader();
      if (leader === node) return;
      await this.system.handOver(leader, node);
      await sleep(200);
    }
    throw new Error(`${this.system.name}: ${node.region} does not become the leader`);
  }

  async end(): Promise<void> {
    for (const node of this.nodes) await this.stop(node);
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

export async function ask(url: string, init: RequestInit): Promise<Record<string, unknown> | null> {
  try {
    const response = await fetch(url, { ...init, signal: AbortSignal.timeout(ASK_MS) });
    const value: unknown = await response.json();
    return typeof value === 'object' && value !== null ? { ...value } : null;
  } catch {
    return null; // It is down, starting or busy: the caller asks again.
  }
}

function etcd(file: string, version: string, cores: readonly number[]): System {
  const status = (node: Node): Promise<Record<string, unknown> | null> => {
    const url = `http://127.0.0.1:${node.port}/v3/maintenance/status`;
    return ask(url, { method: 'POST', body: '{}' });
  };
  const memberOf = (answer: Record<string, unknown> | null): unknown => {
    const header = answer?.['header'];
    return typeof header === 'object' && header !== null && 'member_id' in header
      ? header.member_id
      : null;
  };
  return {
    name: 'etcd',
    version,
    prepare: () => {},
    launch(node, nodes, plan) {
      const url = (port: number): string => `http://127.0.0.1:${port}`;
      const cluster = nodes.map(({ region, peerPort }) => `${region}=${url(peerPort)}`);
      const args = ['--name', node.region, '--data-dir', join(node.folder, 'data')];
      args.push('--listen-client-urls', url(node.port));
      args.push('--advertise-client-urls', url(node.port));
      args.push('--listen-peer-urls', url(node.peerPort));
      args.push('--initial-advertise-peer-urls', url(node.peerPort));
      args.push('--initial-cluster', cluster.join(','), '--initial-cluster-state', 'new');
      args.push('--heartbeat-interval', String(plan.heartbeatMs));
      args.push('--election-timeout', String(plan.electionMs));
      args.push('--snapshot-count', String(plan.snapshotEntries));
      args.push('--logger', 'zap', '--log-level', 'error');
      return start({ file, args, cores, cwd: node.folder, logPath: node.logPath });
    },
    async look(node) {
      const answer = await status(node);
      if (answer === null) return null;
      const leader = answer['leader'];
      return { isLeader: leader !== undefined && leader === memberOf(answer) };
    },
    async handOver(from, to) {
      const target = memberOf(await status(to));
      const url = `http://127.0.0.1:${from.port}/v3/maintenance/transfer-leadership`;
      await ask(url, { method: 'POST', body: JSON.stringify({ targetID: target }) });
    },
  };
}

/** What each Banyan node is told of the group, in its `kv.json`; a folder keeps its incarnation. */
export function memberConfigs() {
  const incarnations = new Map<string, number>();
  return (node: Node, nodes: readonly Node[], plan: GroupPlan, more: object = {}): string => {
    for (const { folder } of nodes) {
      if (!incarnations.has(folder)) incarnations.set(folder, randomInt(1, 2 ** 47));
    }
    const config = {
      cluster: 'bench',
      id: node.id,
      data: 'data',
      api: `127.0.0.1:${node.port}`,
      peers: `127.0.0.1:${node.peerPort}`,
      tls: null,
      members: nodes.map(({ id, region, folder, peerPort }) => ({
        id,
        region,
        incarnation: incarnations.get(folder),
        address: `127.0.0.1:${peerPort}`,
        delayMs: region === node.region ? 0 : plan.roundTripMs(node.region, region),
      })),
      ...more,
    };
    const path = join(node.folder, 'kv.json');
    writeFileSync(path, JSON.stringify(config, null, 1));
    return path;
  };
}

function banyan({ root, nodeArgs, cores }: Finder): System {
  const cli = join(root, 'src', 'main', 'cli.ts');
  const base = ['--disable-warning=ExperimentalWarning'];
  const env = { BANYAN_DEVELOPER: '1' };
  const configure = memberConfigs();
  return {
    name: 'banyan',
    version: 'this commit',
    prepare(node, nodes, plan) {
      const { heartbeatMs, electionMs, snapshotEntries } = plan;
      const path = configure(node, nodes, plan, { heartbeatMs, electionMs, snapshotEntries });
      const made = spawnSync(process.execPath, [...base, cli, 'kv', 'init', '-c', path], {
        encoding: 'utf8',
        env: { ...process.env, ...env },
      });
      if (made.status !== 0) throw new Error(`banyan kv init: ${made.stderr}`);
    },
    launch(node) {
      const args = [...base, ...nodeArgs, cli, 'kv', 'serve', '-c', join(node.folder, 'kv.json')];
      const { folder: cwd, logPath } = node;
      return start({ file: process.execPath, args, cores, cwd, env, logPath });
    },
    async look(node) {
      const answer = await ask(`http://127.0.0.1:${node.port}/v1/status`, {});
      return answer === null ? null : { isLeader: answer['role'] === 'leader' };
    },
    async handOver(from, to) {
      await ask(`http://127.0.0.1:${from.port}/v1/leader/${to.id}`, { method: 'POST' });
    },
  };
}
