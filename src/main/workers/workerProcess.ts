/**
 * One worker as the first process sees it: started, watched, started again.
 *
 * P1: a worker that ends by itself starts again, later and later, until it is stable. P2: one from
 * which nothing is heard for `WORKER_LIMITS.silenceMs` is killed, and then P1.
 */

import { fork } from 'node:child_process';
import { fstatSync } from 'node:fs';
import { join } from 'node:path';

import { CHILD_LIMITS } from '../../base/limits.ts';
import { WORKER_LIMITS } from '../../base/workerLimits.ts';
import type { Clock, TimerHandle, Timers } from '../../base/ports.ts';
import type { ProcessState } from '../adminTypes.ts';
import type { FromWorker, ToWorker } from './messages.ts';

/** A started worker. */
export interface WorkerHandle {
  readonly pid: number | null;
  send(message: ToWorker): void;
  kill(): void;
}

/** What is heard of it. */
export interface WorkerEvents {
  message(message: FromWorker): void;
  /** Text of its log, in any pieces. */
  output(text: string): void;
  /** Once: `exit 1`, `SIGKILL`, an error code. */
  ended(how: string): void;
}

/** Starts a worker. */
export type LaunchWorker = (events: WorkerEvents) => WorkerHandle;

/**
 * Files and devices take whole writes one after another, whoever writes. A pipe does not where a write
 * is longer than its free room: then the lines of all go through the first process.
 */
function hasWholeWrites(fd: number): boolean {
  try {
    const kind = fstatSync(fd);
    return kind.isFile() || kind.isCharacterDevice();
  } catch {
    return false; // It is closed; nobody reads.
  }
}

/** A worker as a child process. */
export const launchProcess: LaunchWorker = (events) => {
  const child = fork(join(import.meta.dirname, 'entry.ts'), [], {
    serialization: 'advanced',
    stdio: ['ignore', hasWholeWrites(1) ? 'inherit' : 'pipe', 'inherit', 'ipc'],
  });
  let hasEnded = false;
  const end = (how: string): void => {
    if (hasEnded) return; // A failed start may tell both `error` and `exit`.
    hasEnded = true;
    events.ended(how);
  };
  child.on('message', (message) => {
    if (!hasEnded) events.message(message as FromWorker); // Ours, of the same version.
  });
  child.on('error', (cause) => {
    if (child.pid === undefined) end(cause.message);
  });
  child.on('exit', (code, signal) => end(signal ?? `exit ${code}`));
  child.stdout?.setEncoding('utf8').on('data', (text: string) => events.output(text));
  return {
    pid: child.pid ?? null,
    send: (message) => {
      // A worker that is ending takes no more; its end is told by `exit`.
      if (child.connected) child.send(message, undefined, undefined, () => {});
    },
    kill: () => void child.kill('SIGKILL'),
  };
};

/** What a worker needs of the team. */
export interface WorkerProcessOptions {
  readonly index: number;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly launch: LaunchWorker;
  /** The message that it begins with. */
  readonly startMessage: () => ToWorker;
  readonly onMessage: (message: FromWorker) => void;
  readonly onOutput: (text: string) => void;
  /** Told after every change of its state. */
  readonly onState: (worker: WorkerProcess) => void;
}

/** One worker and its restarts. */
export class WorkerProcess {
  readonly index: number;
  restarts = 0;
  /** Why it ended last; null: it never did. */
  lastEnd: string | null = null;
  readonly #options: WorkerProcessOptions;
  #handle: WorkerHandle | null = null;
  #state: ProcessState = 'stopped';
  #isStaying = false;
  #restart: TimerHandle | null = null;
  #startedMs = 0;
  #heardMs = 0;
  #crashes = 0;
  #whenGone: (() => void)[] = [];

  constructor(options: WorkerProcessOptions) {
    this.#options = options;
    this.index = options.index;
  }

  get state(): ProcessState {
    return this.#state;
  }

  get pid(): number | null {
    return this.#handle?.pid ?? null;
  }

  start(): void {
    const { clock, launch, startMessage } = this.#options;
    this.#startedMs = this.#heardMs = clock.nowMs();
    this.#handle = launch({
      message: (message) => this.#came(message),
      output: (text) => this.#options.onOutput(text),
      ended: (how) => this.#ended(how),
    });
    this.#become('starting');
    this.#handle.send(startMessage());
  }

  send(message: ToWorker): void {
    this.#handle?.send(message);
  }

  /** Ends it; it starts again unless it was told to close. */
  kill(): void {
    this.#handle?.kill();
  }

  /** Kills it where it has been silent for too long. `stoodMs`: so long we did not listen. */
  watch(nowMs: number, stoodMs: number): void {
    this.#heardMs += stoodMs;
    if (this.#handle === null) return;
    const limitMs = this.#state === 'starting' ? WORKER_LIMITS.startMs : WORKER_LIMITS.silenceMs;
    if (nowMs - this.#heardMs > limitMs) this.kill();
  }

  /** It is not started again, whatever ends it. */
  stay(): void {
    this.#isStaying = true;
    this.#restart?.cancel();
  }

  /** Ends it for good; resolves when it is gone, killed where it takes longer than `limitMs`. */
  close(limitMs: number): Promise<void> {
    this.stay();
    if (this.#handle === null) return Promise.resolve();
    this.send({ kind: 'close' });
    const killer = this.#options.timers.after(limitMs, () => this.kill());
    return new Promise((resolve) => {
      this.#whenGone.push(() => {
        killer.cancel();
        resolve();
      });
    });
  }

  #came(message: FromWorker): void {
    this.#heardMs = this.#options.clock.nowMs();
    if (message.kind === 'listening') this.#become('running');
    this.#options.onMessage(message);
  }

  #ended(how: string): void {
    const { clock, timers } = this.#options;
    this.#handle = null;
    this.lastEnd = how;
    const isStable = clock.nowMs() - this.#startedMs >= CHILD_LIMITS.stableMs;
    this.#crashes = isStable ? 0 : this.#crashes + 1;
    if (this.#isStaying) {
      this.#become('stopped');
    } else {
      const waitMs = CHILD_LIMITS.restartMsBase * 2 ** Math.max(0, this.#crashes - 1);
      this.#restart = timers.after(Math.min(waitMs, CHILD_LIMITS.restartMsMax), () => {
        this.restarts += 1;
        this.start();
      });
      this.#become('backing-off');
    }
    for (const gone of this.#whenGone.splice(0)) gone();
  }

  #become(state: ProcessState): void {
    this.#state = state;
    this.#options.onState(this);
  }
}
