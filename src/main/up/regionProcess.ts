/**
 * One region of the demo as a process group: its node and the model servers that the node starts.
 *
 * R1: a region that dies by itself starts again, later and later. R2: one that a fault killed stays
 * down until `restart` or `heal`. R3: none outlives the supervisor: it ends when its standard input
 * does. It is a group of its own, so that Ctrl-C in the terminal reaches the supervisor only and a
 * fault takes the model servers along with their node.
 */

import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, renameSync } from 'node:fs';
import { join } from 'node:path';

import { CHILD_LIMITS, DEMO_LIMITS } from '../../base/limits.ts';
import type { ProcessState } from '../adminTypes.ts';
import { killGroup } from './ground.ts';
import type { RegionPlan } from './plan.ts';

/** What a region is started with. */
export interface RegionProcessOptions {
  readonly plan: RegionPlan;
  /** The command line of its node. */
  readonly command: { readonly file: string; readonly args: readonly string[] };
  /** Asks whether the node takes requests. */
  readonly isReady: () => Promise<boolean>;
  /** Told after every change of the state or the process. */
  readonly onChange: (region: RegionProcess) => void;
}

/** A region's process and its restarts. */
export class RegionProcess {
  readonly plan: RegionPlan;
  readonly #options: RegionProcessOptions;
  #process: ChildProcess | null = null;
  #state: ProcessState = 'stopped';
  #afterEnd: 'back-off' | 'hold' | 'start' | 'stay' = 'back-off';
  #timer: NodeJS.Timeout | null = null;
  #startedMs = 0;
  #crashes = 0;

  constructor(options: RegionProcessOptions) {
    this.plan = options.plan;
    this.#options = options;
  }

  get state(): ProcessState {
    return this.#state;
  }

  get pid(): number | null {
    return this.#process?.pid ?? null;
  }

  start(): void {
    this.#clearTimer();
    this.#afterEnd = 'back-off';
    this.#startedMs = performance.now();
    const log = openLog(this.plan.folder);
    const { file, args } = this.#options.command;
    const child = spawn(file, args, { stdio: ['pipe', log, log], detached: true });
    closeSync(log);
    this.#process = child;
    let hasEnded = false;
    const end = (): void => {
      if (hasEnded) return; // A failed spawn may tell both `error` and `exit`.
      hasEnded = true;
      // Model servers of a node that crashed end by themselves; this makes sure of it.
      if (child.pid !== undefined) killGroup(child.pid, 'SIGKILL');
      this.#ended();
    };
    child.on('error', () => {
      if (child.pid === undefined) end();
    });
    child.on('exit', end);
    child.stdin?.on('error', () => {}); // EPIPE as it dies; `exit` tells it.
    this.#become('starting');
    this.#pollReady(child);
  }

  /** Like a power cut of the region. It stays down. */
  kill(): void {
    this.#afterEnd = 'hold';
    if (!this.#signal('SIGKILL')) {
      this.#clearTimer();
      this.#become('held');
    }
  }

  /** Freezes node and model servers. False: there is no process. */
  pause(): boolean {
    if (!this.#signal('SIGSTOP')) return false;
    this.#clearTimer();
    this.#become('paused');
    return true;
  }

  /** False: it is not paused. */
  resume(): boolean {
    const child = this.#process;
    if (this.#state !== 'paused' || child === null) return false;
    this.#signal('SIGCONT');
    this.#become('starting');
    this.#pollReady(child);
    return true;
  }

  /** Starts it, after ending it where it runs. */
  restart(): void {
    this.#afterEnd = 'start';
    if (!this.#signal('SIGKILL')) this.start();
  }

  /** Ends it for good: SIGTERM to the node, which ends its children; then SIGKILL to the group. */
  stop(): Promise<void> {
    this.#clearTimer();
    this.#afterEnd = 'stay';
    const child = this.#process;
    if (child === null) {
      this.#become('stopped');
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const force = setTimeout(() => this.#signal('SIGKILL'), DEMO_LIMITS.stopMs);
      child.once('exit', () => {
        clearTimeout(force);
        resolve();
      });
      this.#signal('SIGCONT'); // A paused process takes its SIGTERM only once it runs.
      child.kill('SIGTERM');
    });
  }

  #signal(signal: NodeJS.Signals): boolean {
    const { pid } = this;
    return pid !== null && killGroup(pid, signal);
  }

  #ended(): void {
    const ranMs = performance.now() - this.#startedMs;
    this.#process = null;
    this.#clearTimer();
    switch (this.#afterEnd) {
      case 'hold':
        return this.#become('held');
      case 'stay':
        return this.#become('stopped');
      case 'start':
        return this.start();
      case 'back-off': {
        this.#crashes = ranMs >= CHILD_LIMITS.stableMs ? 1 : this.#crashes + 1;
        const delayMs = Math.min(
          CHILD_LIMITS.restartMsMax,
          CHILD_LIMITS.restartMsBase * 2 ** Math.min(this.#crashes - 1, 16),
        );
        this.#timer = setTimeout(() => this.start(), delayMs);
        return this.#become('backing-off');
      }
    }
  }

  #pollReady(child: ChildProcess): void {
    const isOurs = (): boolean => this.#process === child && this.#state === 'starting';
    const again = (): void => {
      if (!isOurs()) return;
      this.#timer = setTimeout(() => this.#pollReady(child), DEMO_LIMITS.readyPollMs);
    };
    this.#options.isReady().then((isReady) => {
      if (!isReady) again();
      else if (isOurs()) this.#become('running');
    }, again);
  }

  #become(state: ProcessState): void {
    this.#state = state;
    this.#options.onChange(this);
  }

  #clearTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}

/** The node's log; that of the start before is kept beside it. */
function openLog(folder: string): number {
  const file = join(folder, 'node.log');
  try {
    renameSync(file, join(folder, 'node.log.1'));
  } catch {
    // The first start has no log to keep.
  }
  return openSync(file, 'a', 0o600);
}
