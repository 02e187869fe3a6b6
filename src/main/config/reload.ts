/**
 * Hot reload: a changed file is applied whole or refused whole, with the reason. Triggers are changes
 * in the file's folder (editors and ConfigMaps replace files, they do not write into them) and
 * `reload()`, which SIGHUP calls.
 *
 * R1: one reload at a time; changes that come meanwhile lead to one more. R2: content that is already
 * in force, or already refused, is not applied or told again.
 */

import { watch, type FSWatcher } from 'node:fs';
import { dirname } from 'node:path';

import { CONFIG_LIMITS } from '../../base/limits.ts';
import { nodeOfPeer } from '../../base/peerName.ts';
import type { LoadedConfig } from './build.ts';
import type { Environment } from './document.ts';
import { loadConfig } from './load.ts';
import { renderProblems } from './render.ts';

/** What the reloader needs of its owner. */
export interface ReloaderOptions {
  readonly file: string;
  readonly env: Environment;
  readonly current: LoadedConfig;
  /** Puts it in force, whole; null, or why not, and then nothing may have changed. */
  readonly apply: (next: LoadedConfig) => Promise<string | null>;
  /** Told why the newest file is not in force; `problems` holds a line for each. */
  readonly refused: (problems: string) => void;
}

/** Watches one file. */
export interface Reloader {
  /** Reads the file now. Resolves when it is applied or refused. */
  reload(): Promise<void>;
  /** Begins to watch. */
  watch(): void;
  stop(): void;
  /** Why the newest file is not in force; null where it is. */
  refusal(): string | null;
}

/** Fields that a running node cannot change, of `next` against `current`; empty: none differs. */
export function restartFields(current: LoadedConfig, next: LoadedConfig): readonly string[] {
  const fields = (config: LoadedConfig): Readonly<Record<string, unknown>> => {
    const node = config.node(new Map());
    const { shell } = config;
    return {
      region: node.region,
      node: node.node,
      role: nodeOfPeer(node.peer) === null,
      dataDir: shell.dataDir,
      'listen.api': shell.api,
      'listen.tls': shell.apiTls,
      'listen.admin': shell.admin?.address ?? null,
      'admin.tls': shell.admin?.tls ?? null,
      peers: shell.peers,
      control: shell.control,
      tracing: shell.tracing === null ? null : { ...shell.tracing, sampleRatio: 0 },
      workers: shell.workers,
      'demo.faults': shell.hasFaults,
    };
  };
  const before = fields(current);
  const after = fields(next);
  return Object.keys(before).filter(
    (name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]),
  );
}

/** Makes a reloader; it does nothing before `watch` or `reload`. */
export function createReloader(options: ReloaderOptions): Reloader {
  return new FileReloader(options);
}

class FileReloader implements Reloader {
  readonly #options: ReloaderOptions;
  #current: LoadedConfig;
  #refused: string | null = null;
  #running: Promise<void> | null = null;
  #isWanted = false;
  #watcher: FSWatcher | null = null;
  #debounce: NodeJS.Timeout | null = null;

  constructor(options: ReloaderOptions) {
    this.#options = options;
    this.#current = options.current;
  }

  watch(): void {
    // The folder and not the file: a rename over the file would leave us with the old inode.
    this.#watcher = watch(dirname(this.#options.file), () => {
      if (this.#debounce !== null) clearTimeout(this.#debounce);
      this.#debounce = setTimeout(() => void this.reload(), CONFIG_LIMITS.reloadDebounceMs);
    });
    this.#watcher.on('error', () => this.stop()); // SIGHUP still reloads.
  }

  stop(): void {
    this.#watcher?.close();
    this.#watcher = null;
    if (this.#debounce !== null) clearTimeout(this.#debounce);
    this.#debounce = null;
  }

  refusal(): string | null {
    return this.#refused;
  }

  reload(): Promise<void> {
    this.#isWanted = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #run(): Promise<void> {
    while (this.#isWanted) {
      this.#isWanted = false;
      await this.#once();
    }
  }

  async #once(): Promise<void> {
    const { file, env, apply } = this.#options;
    const loaded = await loadConfig(file, env);
    if (!loaded.ok) return this.#refuse(renderProblems(file, loaded.error).trimEnd());
    const { config } = loaded.value;
    const fields = restartFields(this.#current, config);
    if (fields.length > 0) {
      return this.#refuse(`${file}: a restart is needed to change ${fields.join(', ')}`);
    }
    if (config.revision !== this.#current.revision) {
      const why = await apply(config);
      if (why !== null) return this.#refuse(`${file}: ${why}`);
      this.#current = config;
    }
    this.#refused = null;
  }

  #refuse(problems: string): void {
    if (problems === this.#refused) return;
    this.#refused = problems;
    this.#options.refused(problems);
  }
}
