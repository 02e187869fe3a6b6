/** Child processes of the benchmark: started pinned, measured through /proc, never left behind. */

import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';

const STOP_GRACE_MS = 3_000;
const LOG_TAIL_CHARS = 600;

/** A running child. */
export interface Running {
  readonly pid: number;
  readonly exited: Promise<void>;
  readonly hasExited: () => boolean;
}

/** How to start one. */
export interface Command {
  readonly file: string;
  readonly args: readonly string[];
  /** Cores it may run on; its threads and children inherit them. */
  readonly cores: readonly number[];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Where stderr goes, and stdout unless that is dropped; absent: nowhere. */
  readonly logPath?: string;
  readonly dropsStdout?: boolean;
}

const children = new Set<ChildProcess>();

/** Starts `command` in a process group of its own, so that Ctrl-C reaches only the driver. */
export function start(command: Command): Running {
  const log = command.logPath === undefined ? 'ignore' : openSync(command.logPath, 'w');
  const child = startPinned(command, [
    'ignore',
    command.dropsStdout === true ? 'ignore' : log,
    log,
  ]);
  if (typeof log === 'number') closeSync(log);
  let isOver = false;
  const exited = new Promise<void>((resolve) => {
    const over = (): void => {
      isOver = true;
      resolve();
    };
    child.once('exit', over);
    child.once('error', over);
  });
  return { pid: child.pid ?? 0, exited, hasExited: () => isOver };
}

/** The same with the streams of the caller's choice; the child is remembered until it exits. */
export function startPinned(
  command: Command,
  stdio: readonly ('ignore' | 'pipe' | number)[],
): ChildProcess {
  const child = spawn('taskset', ['-c', command.cores.join(','), command.file, ...command.args], {
    cwd: command.cwd,
    env: { ...process.env, ...command.env },
    stdio: [...stdio],
    detached: true,
  });
  children.add(child);
  child.once('exit', () => children.delete(child));
  child.once('error', () => children.delete(child));
  return child;
}

/** Asks the group to stop, and kills what has not within three seconds. */
export async function stop(running: Running): Promise<void> {
  if (running.hasExited()) return;
  signalGroup(running.pid, 'SIGTERM');
  const killer = setTimeout(() => signalGroup(running.pid, 'SIGKILL'), STOP_GRACE_MS);
  await running.exited;
  clearTimeout(killer);
  signalGroup(running.pid, 'SIGKILL');
}

/** Kills whatever still runs, with its children. */
export function killAll(): void {
  for (const child of children) if (child.pid !== undefined) signalGroup(child.pid, 'SIGKILL');
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  if (pid === 0) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // The group is gone already.
  }
}

/** The pid and all its descendants. */
export function treeOf(pid: number): readonly number[] {
  const found = [pid];
  for (let index = 0; index < found.length; index += 1) {
    const parent = found[index] ?? 0;
    for (const task of tasksOf(parent)) {
      const children = readProc(`/proc/${parent}/task/${task}/children`);
      for (const child of children.split(' ')) if (child !== '') found.push(Number(child));
    }
  }
  return found;
}

/** CPU time that the tree has used, in microseconds (the scheduler's own clock, not ticks). */
export function cpuMicrosOf(pid: number): number {
  let nanos = 0;
  for (const each of treeOf(pid)) {
    for (const task of tasksOf(each)) {
      nanos += Number(readProc(`/proc/${each}/task/${task}/schedstat`).split(' ')[0] ?? 0);
    }
  }
  return nanos / 1_000;
}

/** Memory of the tree in bytes: resident, and proportional (shared pages counted by share). */
export function memoryOf(pid: number): { readonly rssBytes: number; readonly pssBytes: number } {
  let rssKb = 0;
  let pssKb = 0;
  for (const each of treeOf(pid)) {
    const rollup = readProc(`/proc/${each}/smaps_rollup`);
    rssKb += Number(/^Rss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0);
    pssKb += Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0);
  }
  return { rssBytes: rssKb * 1024, pssBytes: pssKb * 1024 };
}

/** The end of a log, on one line, for an error message. */
export function tailOf(path: string): string {
  const text = readProc(path).trim();
  return text.slice(-LOG_TAIL_CHARS).replaceAll(/\s+/g, ' ');
}

function tasksOf(pid: number): readonly string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return []; // It has ended between two looks.
  }
}

function readProc(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // It has ended between two looks.
  }
}
