/**
 * The ground that the demo stands on: its lock, its ports, its certificates, and what a supervisor
 * that was killed left behind.
 *
 * D1: one supervisor a data folder. D2: only processes are ended that a file of this folder names and
 * whose command line still says that they are of this folder.
 */

import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { DEMO_LIMITS } from '../../base/limits.ts';
import { initCerts, showCerts } from '../../io/certs.ts';
import { CliError, EXIT } from '../exitCodes.ts';
import { isRow } from '../json.ts';
import { say } from '../verb.ts';
import type { UpPlan } from './plan.ts';

const LOCK_FILE = 'up.lock';
const PROCESSES_FILE = 'processes.json';

/** A held lock. */
export interface Lock {
  readonly release: () => Promise<void>;
}

/** Takes the folder; throws `CliError` where another supervisor has it. */
export async function takeLock(dataDir: string): Promise<Lock> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const file = join(dataDir, LOCK_FILE);
  const lock = JSON.stringify({ pid: process.pid });
  for (let attempt = 0; attempt < 2; attempt += 1) {
    try {
      await writeFile(file, lock, { flag: 'wx' });
      return { release: () => rm(file, { force: true }) };
    } catch (cause) {
      if (!isCode(cause, 'EEXIST')) throw cause;
    }
    const pid = await readPid(file);
    if (pid !== null && (await commandLine(pid))?.includes('up') === true) {
      throw new CliError(EXIT.refused, say('up.running', { folder: dataDir, pid }));
    }
    await rm(file, { force: true }); // Its owner is gone: a supervisor that was killed.
  }
  throw new CliError(EXIT.refused, say('up.running', { folder: dataDir, pid: '?' }));
}

async function readPid(file: string): Promise<number | null> {
  const value = await readJson(file);
  return isRow(value) && typeof value['pid'] === 'number' ? value['pid'] : null;
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch {
    return null; // Absent or torn by a crash: it tells nothing.
  }
}

function isCode(cause: unknown, code: string): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === code;
}

const run = promisify(execFile);

/** The command line of a process, blanks between its words; null where there is none. */
async function commandLine(pid: number): Promise<string | null> {
  try {
    if (process.platform === 'linux') {
      const text = await readFile(`/proc/${pid}/cmdline`, 'utf8');
      return text.replaceAll('\0', ' ');
    }
    return (await run('ps', ['-o', 'command=', '-p', String(pid)])).stdout;
  } catch {
    return null; // No such process.
  }
}

/** Remembers which process groups run, so that the next start can clean up after a crash. */
export async function rememberProcesses(
  dataDir: string,
  pids: Readonly<Record<string, number>>,
): Promise<void> {
  await writeFile(join(dataDir, PROCESSES_FILE), JSON.stringify(pids));
}

/** Ends what an earlier supervisor left (D2); returns the regions it found. */
export async function cleanUp(plan: UpPlan): Promise<readonly string[]> {
  const file = join(plan.dataDir, PROCESSES_FILE);
  const left = await readJson(file);
  const found: string[] = [];
  for (const [region, pid] of Object.entries(isRow(left) ? left : {})) {
    if (typeof pid !== 'number') continue;
    const line = await commandLine(pid);
    if (line === null || !line.includes(join(plan.dataDir, region, 'banyan.yaml'))) continue;
    killGroup(pid, 'SIGKILL');
    found.push(region);
  }
  await rm(file, { force: true });
  return found;
}

/** Signals a process group of ours; false where it is gone. */
export function killGroup(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(-pid, signal);
    return true;
  } catch {
    return false; // ESRCH: it has ended already.
  }
}

/**
 * Throws `CliError` with the holder's name where a port of the demo is taken, and stays so for
 * `patienceMs`: a process that was just killed holds its ports for a moment.
 */
export async function checkPorts(plan: UpPlan, patienceMs: number): Promise<void> {
  const endMs = performance.now() + patienceMs;
  const ports = [
    plan.basePort,
    ...plan.nodes.flatMap(({ apiPort, adminPort, peerPort }) => [apiPort, adminPort, peerPort]),
  ];
  for (const port of ports) {
    let isOurs = await isFree(port);
    while (!isOurs && performance.now() < endMs) {
      await new Promise((resolve) => setTimeout(resolve, DEMO_LIMITS.readyPollMs));
      isOurs = await isFree(port);
    }
    if (isOurs) continue;
    const holder = (await portHolder(port)) ?? say('up.someone');
    throw new CliError(EXIT.refused, say('up.portTaken', { port, holder }));
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', (cause) => {
      if (isCode(cause, 'EADDRINUSE')) resolve(false);
      else reject(cause);
    });
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
  });
}

/** `pid 123 (node server.js)` of who listens on a port; null where the system does not tell. */
async function portHolder(port: number): Promise<string | null> {
  if (process.platform !== 'linux') return null;
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const tables = await Promise.all(
    ['/proc/net/tcp', '/proc/net/tcp6'].map((file) => readFile(file, 'utf8').catch(() => '')),
  );
  const inodes = new Set(
    tables
      .flatMap((table) => table.split('\n'))
      .map((line) => line.trim().split(/\s+/))
      .filter((cells) => cells[1]?.endsWith(wanted) === true && cells[3] === '0A')
      .map((cells) => `socket:[${cells[9] ?? ''}]`),
  );
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  for (const pid of pids) {
    const folder = `/proc/${pid}/fd`;
    const files = await readdir(folder).catch(() => []); // Another user's process.
    for (const file of files) {
      const link = await readlink(join(folder, file)).catch(() => '');
      if (!inodes.has(link)) continue;
      const line = (await commandLine(Number(pid)))?.trim().slice(0, 120) ?? '';
      return `pid ${pid} (${line})`;
    }
  }
  return null;
}

/** Makes certificates for all regions unless good ones are there. True: made new. */
export async function prepareCerts(plan: UpPlan, wallMs: number): Promise<boolean> {
  if (plan.nodes.length < 2) return false;
  const shown = await showCerts(plan.certsDir, wallMs);
  if (shown.ok) {
    const good = shown.value.filter(({ problems, daysLeft }) => problems.length + 1 <= daysLeft);
    const regions = new Set(good.map(({ region }) => region));
    if (plan.nodes.every(({ region }) => regions.has(region))) return false;
  }
  const made = await initCerts({
    dir: plan.certsDir,
    cluster: 'banyan-demo',
    nodes: plan.nodes.map(({ region }) => ({ region, node: `${region}-1` })),
    days: 365,
    isForced: true,
    wallMs,
  });
  if (made.ok) return true;
  const why = 'detail' in made.error ? made.error.detail : made.error.kind;
  throw new CliError(EXIT.failed, say('up.certsFailed', { why }));
}
