/** `npm run bench:http`: Banyan against other gateways and proxies, end to end. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { Command } from 'commander';

import { buildNative } from './install.ts';
import { machineFacts, pinDriver, planCores } from './machine.ts';
import { drawPicture } from './picture.ts';
import { killAll, startPinned } from './processes.ts';
import { renderMarkdown, renderTable, renderVerdicts, tableOf, verdictsOf } from './report.ts';
import { runPart, type Progress, type Row } from './rounds.ts';
import { PARTS, SCENARIO_IDS, type Bench, type Part } from './scenarios.ts';
import { findSystem, freePort, SYSTEM_NAMES, type System } from './systems.ts';

const TARGETS = 2;
const FORMATS = ['table', 'markdown', 'json'] as const;
const ROOT = resolve(import.meta.dirname, '..', '..');

interface Options {
  readonly rounds: number;
  readonly seconds: number;
  readonly only: readonly string[];
  readonly systems: readonly string[];
  readonly output: string;
  readonly out?: string;
  readonly picture?: string;
  readonly nodeArgs: string;
}

function readOptions(): Options {
  const list = (text: string): readonly string[] => text.split(',');
  const count = (text: string): number => {
    const value = Number(text);
    if (!(value > 0)) throw new Error(`not a number above zero: ${text}`);
    return value;
  };
  const command = new Command('npm run bench:http --')
    .description(
      'Measures Banyan against nginx, HAProxy, Portkey and LiteLLM: one core for the system under ' +
        'test, the generator and a fake upstream on another, interleaved rounds. Linux, gcc.',
    )
    .option('--rounds <n>', 'rounds of each system in each part', count, 5)
    .option('--seconds <n>', 'measured seconds of a round', count, 3)
    .option('--only <letters>', `scenarios of ${SCENARIO_IDS.join(',')}`, list, [...SCENARIO_IDS])
    .option('--systems <names>', `systems of ${SYSTEM_NAMES.join(',')}`, list, [...SYSTEM_NAMES])
    .option('-o, --output <format>', 'what to print at the end: table, markdown or json', 'table')
    .option('--out <file>', 'write the figures, the machine and all rounds as JSON')
    .option('--picture <file>', 'write the picture, an SVG')
    .option('--node-args <text>', "arguments of Banyan's Node, e.g. --cpu-prof", '')
    .parse();
  const options = command.opts<Options>();
  for (const letter of options.only) {
    if (!SCENARIO_IDS.some((id) => id === letter)) command.error(`unknown scenario ${letter}`);
  }
  for (const name of options.systems) {
    if (!SYSTEM_NAMES.some((known) => known === name)) command.error(`unknown system ${name}`);
  }
  if (!FORMATS.some((known) => known === options.output)) {
    command.error(`unknown format ${options.output}: one of ${FORMATS.join(', ')}`);
  }
  return options;
}

const say = (line: string): void => console.error(line);

const progress: Progress = {
  say,
  round(part, round, system, result) {
    if ('wrong' in result) {
      say(`  round ${round + 1} ${system.padEnd(9)} void: ${result.wrong}`);
      return;
    }
    const rate = Math.round(result.figures['perSecond'] ?? 0).toLocaleString('en-US');
    const unit = part.kind === 'streams' || part.kind === 'memory' ? 'chunks' : 'requests';
    say(`  round ${round + 1} ${system.padEnd(9)} ${rate.padStart(9)} ${unit}/s`);
  },
};

/** The systems that are there; the others are told with their reason. */
function findSystems(
  options: Options,
  cache: string,
): {
  readonly systems: readonly System[];
  readonly skipped: Readonly<Record<string, string>>;
} {
  const systems: System[] = [];
  const skipped: Record<string, string> = {};
  const nodeArgs = options.nodeArgs.split(' ').filter((arg) => arg !== '');
  for (const name of SYSTEM_NAMES.filter((each) => options.systems.includes(each))) {
    const found = findSystem(name, { root: ROOT, cache, nodeArgs, say });
    if ('reason' in found) {
      skipped[name] = found.reason;
      say(`skipping ${name}: ${found.reason}`);
    } else {
      systems.push(found);
    }
  }
  return { systems, skipped };
}

async function startUpstream(cache: string, cores: readonly number[]): Promise<readonly number[]> {
  const ports: number[] = [];
  while (ports.length < TARGETS) ports.push(await freePort());
  const file = buildNative(ROOT, cache, 'http', 'upstream');
  const child = startPinned({ file, args: ports.map(String), cores }, ['ignore', 'pipe', 2]);
  await new Promise<void>((done, failed) => {
    child.stdout?.once('data', () => done());
    child.once('exit', () => failed(new Error('the fake upstream could not start')));
  });
  return ports;
}

function printEnd(
  options: Options,
  document: object,
  parts: readonly Part[],
  rows: readonly Row[],
): void {
  if (options.output === 'json') {
    console.log(JSON.stringify(document, null, 1));
    return;
  }
  for (const part of parts) {
    const own = rows.filter((row) => row.part === part.id);
    if (own.length === 0) continue;
    console.log(`\n(${part.id}) ${part.title}`);
    const table = tableOf(part, own);
    console.log(options.output === 'markdown' ? `\n${renderMarkdown(table)}` : renderTable(table));
  }
  console.log(`\n${renderVerdicts(verdictsOf(rows))}`);
}

async function main(): Promise<void> {
  const options = readOptions();
  const machine = machineFacts(ROOT);
  const cache = join(ROOT, '.banyan', 'bench');
  mkdirSync(join(cache, 'run'), { recursive: true });
  const cores = planCores();
  pinDriver(cores);
  const program = buildNative(ROOT, cache, 'http', 'load');
  const { systems, skipped } = findSystems(options, cache);
  const upstreamPorts = await startUpstream(cache, cores.upstream);
  const bench: Bench = { cache, program, cores, upstreamPorts, seconds: options.seconds };
  const parts = PARTS.filter(({ scenario }) => options.only.includes(scenario));
  const rows: Row[] = [];
  for (const part of parts) {
    rows.push(...(await runPart(bench, part, systems, options.rounds, progress)));
  }
  const versions = Object.fromEntries(systems.map(({ name, version }) => [name, version]));
  const { rounds, seconds } = options;
  const verdicts = verdictsOf(rows);
  const document = { machine, cores, versions, skipped, rounds, seconds, verdicts, rows };
  if (options.out !== undefined) {
    writeFileSync(options.out, `${JSON.stringify(document, null, 1)}\n`);
  }
  if (options.picture !== undefined) {
    writeFileSync(options.picture, drawPicture(rows, machine));
  }
  printEnd(options, document, parts, rows);
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    killAll();
    process.exit(130);
  });
}
try {
  await main();
} catch (cause) {
  console.error(cause instanceof Error ? cause.message : cause);
  process.exitCode = 1;
} finally {
  killAll();
}
