/**
 * Embedded model servers as child processes, so that a native crash takes no gateway with it. Each
 * listens on a loopback port; the gateway calls it as any other target.
 *
 * L1: a child that ends by itself starts again, later and later, until it is stable. L2: a child that
 * a fault killed stays down until `restart`. L3: no child outlives this process: it ends when its
 * standard input does, which the kernel closes however we die.
 */

import { spawn, type ChildProcess } from 'node:child_process';
import { get } from 'node:http';

import { CHILD_LIMITS } from '../base/limits.ts';
import { err, ok, type Result } from '../base/result.ts';

/** What one child serves. */
export interface LlamaChildSpec {
  readonly name: string;
  /** GGUF file, absolute. */
  readonly modelFile: string;
  /** On 127.0.0.1. */
  readonly port: number;
  readonly threads: number;
  /** Answers at the same time. */
  readonly sequences: number;
  /** Of each; null: the model's own. */
  readonly contextTokens: number | null;
  /** Pace of each answer; null: full speed. */
  readonly tokensPerSecondMax: number | null;
}

/** `held`: down until someone says restart. */
export type LlamaChildState =
  | 'starting'
  | 'running'
  | 'paused'
  | 'backing-off'
  | 'held'
  | 'stopped';

/** One child as it is now. */
export interface LlamaChildRow {
  readonly name: string;
  readonly state: LlamaChildState;
  readonly pid: number | null;
  /** Starts after the first. */
  readonly restarts: number;
  /** Why it ended last: `exit 1`, `SIGKILL`, an error code; null: it never did. */
  readonly lastEnd: string | null;
}

export type LlamaFault = 'kill' | 'pause' | 'resume' | 'restart';

/** What the children are made from. */
export interface LlamaChildrenOptions {
  /** The command of a child. */
  readonly command: (spec: LlamaChildSpec) => {
    readonly file: string;
    readonly args: readonly string[];
  };
  /** Told after every change of a state. */
  readonly onState: (row: LlamaChildRow) => void;
}

/** All children of a node. */
export interface LlamaChildren {
  /** Starts what is new, stops what is gone, restarts what changed. */
  apply(specs: readonly LlamaChildSpec[]): void;
  rows(): readonly LlamaChildRow[];
  /** Does to one child what an accident would; the value says what was done. */
  fault(name: string, action: LlamaFault): Result<string, 'unknown-target' | 'not-running'>;
  /** Ends all; resolves when they are gone. */
  stop(): Promise<void>;
}

/**
 * The command line of `banyan model serve` for a child.
 * @param cli the file of the command line, absolute
 */
export function modelServeArgs(cli: string, spec: LlamaChildSpec): readonly string[] {
  const args = [
    ...process.execArgv,
    cli,
    'model',
    'serve',
    '--model-file',
    spec.modelFile,
    '--name',
    spec.name,
    '--port',
    String(spec.port),
    '--threads',
    String(spec.threads),
    '--sequences',
    String(spec.sequences),
    '--stop-with-stdin',
  ];
  if (spec.contextTokens !== null) args.push('--context-tokens', String(spec.contextTokens));
  if (spec.tokensPerSecondMax !== null) {
    args.push('--tokens-per-second-max', String(spec.tokensPerSecondMax));
  }
  return args;
}

/** Makes the children's owner; nothing runs before `apply`. */
export function createLlamaChildren(options: LlamaChildrenOptions): LlamaChildren {
  const children = new Map<string, Child>();
  const leaving = new Set<Promise<void>>();
  const leave = (child: Child): void => {
    const gone = child.stop().finally(() => leaving.delete(gone));
    leaving.add(gone);
  };
  return {
    apply(specs) {
      const wanted = new Map(specs.map((spec) => [spec.name, spec]));
      for (const [name, child] of children) {
        const spec = wanted.get(name);
        if (spec !== undefined && JSON.stringify(spec) === JSON.stringify(child.spec)) continue;
        children.delete(name);
        leave(child);
      }
      for (const spec of specs) {
        if (children.has(spec.name)) continue;
        const child = new Child(spec, options);
        children.set(spec.name, child);
        child.start();
      }
    },
    rows: () => [...children.values()].map((child) => child.row()),
    fault(name, action) {
      const child = children.get(name);
      return child === undefined ? err('unknown-target') : child.fault(action);
    },
    async stop() {
      for (const child of children.values()) leave(child);
      children.clear();
      await Promise.all(leaving);
    },
  };
}

/** One child and its restarts. */
class Child {
  readonly spec: LlamaChildSpec;
  readonly #options: LlamaChildrenOptions;
  #process: ChildProcess | null = null;
  #state: LlamaChildState = 'stopped';
  /** What happens after the process has ended. */
  #afterEnd: 'back-off' | 'hold' | 'start' | 'stay' = 'back-off';
  #timer: NodeJS.Timeout | null = null;
  #startedMs = 0;
  #starts = 0;
  #crashes = 0;
  #lastEnd: string | null = null;

  constructor(spec: LlamaChildSpec, options: LlamaChildrenOptions) {
    this.spec = spec;
    this.#options = options;
  }

  row(): LlamaChildRow {
    return {
      name: this.spec.name,
      state: this.#state,
      pid: this.#process?.pid ?? null,
      restarts: Math.max(0, this.#starts - 1),
      lastEnd: this.#lastEnd,
    };
  }

  start(): void {
    this.#clearTimer();
    this.#afterEnd = 'back-off';
    this.#starts += 1;
    this.#startedMs = performance.now();
    const { file, args } = this.#options.command(this.spec);
    // Standard input stays open and unused: its end is how the child learns that we are gone (L3).
    const child = spawn(file, args, { stdio: ['pipe', 'ignore', 'inherit'] });
    this.#process = child;
    let hasEnded = false;
    const end = (why: string): void => {
      if (hasEnded) return; // A failed spawn may tell both `error` and `exit`.
      hasEnded = true;
      this.#ended(why);
    };
    child.on('error', (cause) => {
      if (child.pid === undefined) end('code' in cause ? String(cause.code) : cause.message);
    });
    child.on('exit', (code, signal) => end(signal ?? `exit ${code}`));
    child.stdin?.on('error', () => {}); // EPIPE as it dies; `exit` tells it.
    this.#become('starting');
    this.#pollReady(child);
  }

  fault(action: LlamaFault): Result<string, 'not-running'> {
    const child = this.#process;
    const { name } = this.spec;
    if (action === 'restart') {
      if (child === null) this.start();
      else {
        this.#afterEnd = 'start';
        child.kill('SIGKILL');
      }
      return ok(`${name}: starting again`);
    }
    if (action === 'kill' && child === null) {
      // Between two starts: there is nothing to kill, but it must not come back.
      this.#clearTimer();
      this.#become('held');
      return ok(`${name}: held down`);
    }
    if (child === null) return err('not-running');
    if (action === 'kill') {
      this.#afterEnd = 'hold';
      child.kill('SIGKILL');
      return ok(`${name}: killed (pid ${child.pid}), down until restart`);
    }
    if (action === 'pause') {
      child.kill('SIGSTOP');
      this.#become('paused');
      return ok(`${name}: paused (pid ${child.pid})`);
    }
    if (this.#state !== 'paused') return err('not-running');
    child.kill('SIGCONT');
    this.#become('starting');
    this.#pollReady(child);
    return ok(`${name}: resumed (pid ${child.pid})`);
  }

  /** Ends the child for good: SIGTERM, then SIGKILL. */
  stop(): Promise<void> {
    this.#clearTimer();
    this.#afterEnd = 'stay';
    const child = this.#process;
    if (child === null) {
      this.#become('stopped');
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const kill = setTimeout(() => child.kill('SIGKILL'), CHILD_LIMITS.stopMs);
      child.once('exit', () => {
        clearTimeout(kill);
        resolve();
      });
      child.kill('SIGTERM');
      child.kill('SIGCONT'); // A paused process takes its SIGTERM only once it runs.
    });
  }

  #ended(why: string): void {
    const ranMs = performance.now() - this.#startedMs;
    this.#process = null;
    this.#lastEnd = why;
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

  /** Asks the child for its health until it answers, ends, or is paused. */
  #pollReady(child: ChildProcess): void {
    const again = (): void => {
      if (this.#process !== child || this.#state !== 'starting') return;
      this.#timer = setTimeout(() => this.#pollReady(child), CHILD_LIMITS.readyPollMs);
    };
    const asked = get(
      {
        host: '127.0.0.1',
        port: this.spec.port,
        path: '/health',
        agent: false,
        timeout: CHILD_LIMITS.readyAskMs,
      },
      (response) => {
        response.resume();
        if (response.statusCode !== 200) return again();
        if (this.#process === child && this.#state === 'starting') this.#become('running');
      },
    );
    asked.on('timeout', () => asked.destroy(new Error('timeout')));
    asked.on('error', again);
  }

  #become(state: LlamaChildState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#options.onState(this.row());
  }

  #clearTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}
