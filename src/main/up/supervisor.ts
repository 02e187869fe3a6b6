/**
 * The demo's supervisor: starts the regions, watches them, serves the status page and the joined admin
 * API, and ends what it started and nothing else.
 */

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { DEMO_LIMITS } from '../../base/limits.ts';
import { startAdminServer, type AdminServer } from '../../io/admin/server.ts';
import { CliError, EXIT } from '../exitCodes.ts';
import { isRow } from '../json.ts';
import { say } from '../verb.ts';
import { ask, isServing } from './ask.ts';
import { clusterRoutes, clusterTargets, clusterViews, type ClusterParts } from './cluster.ts';
import { ClusterFaults } from './clusterFaults.ts';
import { Figures } from './figures.ts';
import { checkPorts, cleanUp, prepareCerts, rememberProcesses, takeLock } from './ground.ts';
import { createPages } from './pages.ts';
import { nodeConfigText, type UpPlan } from './plan.ts';
import { RegionProcess } from './regionProcess.ts';

/** How regions see one another once their links stand. */
const SEEN_STATES: ReadonlySet<string> = new Set(['up', 'healthy', 'slow']);

/** What the supervisor tells while it starts. */
export type Progress = (line: string) => void;

/** A running demo. */
export interface Demo {
  /** Resolves when all regions and model servers are ready; rejects past the limit. */
  ready(): Promise<void>;
  /** Ends everything that was started. */
  stop(): Promise<void>;
}

/** Starts the demo. Throws `CliError` where the ground is taken; nothing runs then. */
export async function startDemo(plan: UpPlan, progress: Progress): Promise<Demo> {
  const lock = await takeLock(plan.dataDir);
  try {
    const left = await cleanUp(plan);
    if (left.length > 0) progress(say('up.cleaned', { regions: left.join(', ') }));
    await checkPorts(plan, left.length > 0 ? DEMO_LIMITS.stopMs : 0);
    if (await prepareCerts(plan, Date.now())) progress(say('up.certs', { folder: plan.certsDir }));
    for (const node of plan.nodes) {
      await mkdir(node.folder, { recursive: true, mode: 0o700 });
      await writeFile(node.configFile, nodeConfigText(plan, node), { mode: 0o600 });
    }
    return await Supervisor.start(plan, progress, lock.release);
  } catch (cause) {
    await lock.release();
    throw cause;
  }
}

class Supervisor implements Demo {
  readonly #plan: UpPlan;
  readonly #progress: Progress;
  readonly #release: () => Promise<void>;
  readonly #regions: readonly RegionProcess[];
  readonly #faults: ClusterFaults;
  readonly #parts: ClusterParts;
  #server: AdminServer | null = null;
  #isReady = false;
  #isStopping = false;

  private constructor(plan: UpPlan, progress: Progress, release: () => Promise<void>) {
    this.#plan = plan;
    this.#progress = progress;
    this.#release = release;
    const cli = join(import.meta.dirname, '../cli.ts');
    this.#regions = plan.nodes.map((node) => {
      const args = [...process.execArgv, cli, 'serve', '--config', node.configFile];
      return new RegionProcess({
        plan: node,
        command: { file: process.execPath, args: [...args, '--stop-with-stdin'] },
        isReady: () => isServing(node.adminPort),
        onChange: (region) => this.#changed(region),
      });
    });
    this.#faults = new ClusterFaults(this.#regions);
    this.#parts = {
      regions: this.#regions,
      cuts: () => this.#faults.cuts,
      startedWallMs: Date.now(),
      isReady: () => this.#isReady,
    };
  }

  static async start(
    plan: UpPlan,
    progress: Progress,
    release: () => Promise<void>,
  ): Promise<Supervisor> {
    const supervisor = new Supervisor(plan, progress, release);
    const parts = supervisor.#parts;
    supervisor.#server = await startAdminServer({
      host: '127.0.0.1',
      port: plan.basePort,
      views: clusterViews(parts),
      routes: clusterRoutes(parts, (fault) => supervisor.#faults.apply(fault, parts)),
      // It passes credentials on: the nodes judge them.
      access: null,
      nowMs: () => performance.now(),
      pages: createPages(plan, new Figures(plan, parts)),
      onError: (cause) => progress(String(cause)),
    });
    for (const region of supervisor.#regions) region.start();
    return supervisor;
  }

  async ready(): Promise<void> {
    const limitMs = performance.now() + DEMO_LIMITS.readyMs;
    const told = new Set<string>();
    while (!this.#isStopping) {
      if (await this.#areAllReady(told)) {
        this.#isReady = true;
        return;
      }
      if (performance.now() > limitMs) {
        const folder = this.#plan.dataDir;
        throw new CliError(EXIT.failed, say('up.notReady', { folder, state: this.#states() }));
      }
      await new Promise((resolve) => setTimeout(resolve, DEMO_LIMITS.readyPollMs));
    }
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await Promise.all(this.#regions.map((region) => region.stop()));
    await this.#server?.close();
    await rememberProcesses(this.#plan.dataDir, {});
    await this.#release();
  }

  #states(): string {
    return this.#regions.map(({ plan, state }) => `${plan.region} ${state}`).join(', ');
  }

  /** Every node takes requests and every model server of theirs runs. */
  async #areAllReady(told: Set<string>): Promise<boolean> {
    const { items } = await clusterTargets(this.#parts);
    let count = 0;
    for (const region of this.#regions) {
      const name = region.plan.region;
      const own = items.filter((row) => row.region === name);
      const isReady =
        region.state === 'running' &&
        own.length === this.#plan.modelServers &&
        own.every(({ process, state }) => process === 'running' && state !== 'ejected');
      if (!isReady) continue;
      count += 1;
      if (told.has(name)) continue;
      told.add(name);
      const url = `http://127.0.0.1:${region.plan.apiPort}/v1`;
      this.#progress(say('up.regionReady', { region: name, url }));
    }
    return count === this.#regions.length && (await this.#areLinksUp());
  }

  /** Every node sees every other: a start is not over while links are being made. */
  async #areLinksUp(): Promise<boolean> {
    const rows = await Promise.all(
      this.#regions.map(({ plan }) => ask(plan.adminPort, '/admin/v1/regions')),
    );
    return rows.every((reply) => {
      if (reply === null || reply.status !== 200) return false;
      const answer: unknown = JSON.parse(reply.text);
      const items = isRow(answer) && Array.isArray(answer['items']) ? answer['items'] : [];
      return (
        items.length === this.#regions.length &&
        items.every((row: unknown) => isRow(row) && SEEN_STATES.has(String(row['state'])))
      );
    });
  }

  #changed(region: RegionProcess): void {
    const { plan, state } = region;
    const pids = Object.fromEntries(
      this.#regions.flatMap((entry) =>
        entry.pid === null ? [] : [[entry.plan.region, entry.pid]],
      ),
    );
    rememberProcesses(this.#plan.dataDir, pids).catch((cause: unknown) => {
      this.#progress(String(cause)); // A full disk: the demo runs on, cleaning up would suffer.
    });
    if (this.#isStopping) return;
    if (state === 'running') void this.#faults.cutAgain(region);
    if (state === 'backing-off') {
      const log = join(plan.folder, 'node.log');
      this.#progress(say('up.died', { region: plan.region, log }));
    } else if (this.#isReady) {
      this.#progress(say('up.changed', { region: plan.region, state }));
    }
  }
}
