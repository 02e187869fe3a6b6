/** The machine: what it is, for the record, and who runs on which core. */

import { spawnSync } from 'node:child_process';
import { cpus, release, totalmem } from 'node:os';

/** Who runs where. */
export interface Cores {
  readonly count: number;
  /** One core, for the system under test. */
  readonly system: readonly number[];
  readonly load: readonly number[];
  readonly upstream: readonly number[];
  /** For the scenario with all cores: what the system and the others may use. */
  readonly allSystem: readonly number[];
  readonly allOthers: readonly number[];
  /** False on small machines, where the system shares its cores with the generator in (f). */
  readonly isApart: boolean;
}

/** Core 0 for the system under test; from three cores on generator and upstream are apart. */
export function planCores(): Cores {
  const count = cpus().length;
  const all = Array.from({ length: count }, (_, core) => core);
  const last = count - 1;
  const half = Math.floor(count / 2);
  const isApart = count >= 4;
  return {
    count,
    system: [0],
    load: [last],
    upstream: [count >= 3 ? last - 1 : last],
    allSystem: isApart ? all.slice(0, half) : all,
    allOthers: isApart ? all.slice(half) : all,
    isApart,
  };
}

/** Moves this process, and what it starts from now on, off the core of the system under test. */
export function pinDriver(cores: Cores): void {
  const pinned = spawnSync('taskset', ['-pc', cores.load.join(','), String(process.pid)]);
  if (pinned.status !== 0) throw new Error('taskset is missing; the benchmark needs Linux with it');
}

/** What to write beside figures. */
export interface MachineFacts {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly kernel: string;
  readonly node: string;
  readonly commit: string;
  readonly isClean: boolean;
  readonly date: string;
}

export function machineFacts(root: string): MachineFacts {
  const git = (...args: readonly string[]): string =>
    spawnSync('git', [...args], { cwd: root, encoding: 'utf8' }).stdout.trim();
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    commit: git('rev-parse', '--short=12', 'HEAD'),
    isClean: git('status', '--porcelain') === '',
    date: new Date().toISOString(),
  };
}
