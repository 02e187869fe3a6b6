/** `npm run bench:consensus`: Banyan's replicated log against etcd, three nodes on loopback. */

import {
  closeSync,
  fdatasyncSync,
  mkdirSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join, resolve } from 'node:path';

import { Command } from 'commander';

import { buildNative } from '../http/install.ts';
import { machineFacts } from '../http/machine.ts';
import { killAll } from '../http/processes.ts';
import { renderMarkdown, renderTable } from '../http/report.ts';
import {
  CLAIM_CLIENTS,
  claimNodes,
  measureClaimOutage,
  KEPT_CLAIMS,
  measureClaims,
  measureClaimWan,
  measureKept,
} from './claims.ts';
import {
  fill,
  measureOutage,
  measureRate,
  measureRecovery,
  measureWan,
  PART_IDS,
  PLAN,
  SHAPES,
  WAN_PLAN,
  type Bench,
  type Figures,
  type Round,
} from './parts.ts';
import { tablesOf, verdictsOf, verdictsTable, type Row } from './report.ts';
import { findSystem, Group, sleep, SYSTEM_NAMES, type System } from './systems.ts';

const ROOT = resolve(import.meta.dirname, '..', '..');
const FORMATS = ['table', 'markdown', 'json'] as const;
const FSYNCS = 200;
const FSYNC_BYTES = 4_096;

interface Options {
  readonly rounds: number;
  readonly seconds: number;
  readonly only: readonly string[];
  readonly shapes: readonly string[];
  readonly systems: readonly string[];
  readonly recoveryEntries: number;
  readonly output: string;
  readonly out?: string;
  readonly nodeArgs: string;
}

function readOptions(): Options {
  const list = (text: string): readonly string[] => text.split(',');
  const count = (text: string): number => {
    const value = Number(text);
    if (!(value > 0)) throw new Error(`not a number above zero: ${text}`);
    return value;
  };
  const shapes = SHAPES.map(({ id }) => id);
  const command = new Command('npm run bench:consensus --')
    .description(
      "Measures Banyan's replicated log against etcd: three nodes of each on loopback, every write " +
        'synced, the same time-outs, one load generator, interleaved rounds. Linux, gcc.',
    )
    .option('--rounds <n>', 'rounds of each system in each part', count, 5)
    .option('--seconds <n>', 'measured seconds of a round', count, 3)
    .option('--only <parts>', `parts of ${PART_IDS.join(',')}`, list, [...PART_IDS])
    .option('--shapes <ids>', `rates of ${shapes.join(',')}`, list, shapes)
    .option('--systems <names>', `systems of ${SYSTEM_NAMES.join(',')}`, list, [...SYSTEM_NAMES])
    .option('--recovery-entries <n>', 'entries of the long log', count, 1_000_000)
    .option('-o, --output <format>', 'what to print at the end: table, markdown or json', 'table')
    .option('--out <file>', 'write the figures, the machine and all rounds as JSON')
    .option('--node-args <text>', "arguments of Banyan's Node, e.g. --cpu-prof", '')
    .parse();
  const options = command.opts<Options>();
  const known: readonly (readonly [readonly string[], readonly string[]])[] = [
    [options.only, PART_IDS],
    [options.shapes, shapes],
    [options.systems, SYSTEM_NAMES],
    [[options.output], FORMATS],
  ];
  for (const [given, allowed] of known) {
    const unknown = given.find((name) => !allowed.includes(name));
    if (unknown !== undefined) command.error(`unknown ${unknown}: of ${allowed.join(', ')}`);
  }
  return options;
}

const say = (line: string): void => console.error(line);

/** The systems that are there; the others are told with their reason. */
function findSystems(options: Options, cores: readonly number[]) {
  const systems: System[] = [];
  const skipped: Record<string, string> = {};
  for (const name of SYSTEM_NAMES.filter((each) => options.systems.includes(each))) {
    const found = findSystem(name, finderOf(options, cores));
    if ('reason' in found) {
      skipped[name] = found.reason;
      say(`skipping ${name}: ${found.reason}`);
    } else {
      systems.push(found);
    }
  }
  return { systems, skipped };
}

/** The middle of some writes with `fdatasync`, in the folder that the nodes use. */
function measureFsyncMs(folder: string): number {
  const path = join(folder, 'fsync');
  const file = openSync(path, 'w');
  const bytes = new Uint8Array(FSYNC_BYTES);
  writeSync(file, new Uint8Array(FSYNC_BYTES * FSYNCS));
  const times = Array.from({ length: FSYNCS }, (_, index) => {
    const fromMs = performance.now();
    writeSync(file, bytes, 0, FSYNC_BYTES, index * FSYNC_BYTES);
    fdatasyncSync(file);
    return performance.now() - fromMs;
  });
  closeSync(file);
  rmSync(path);
  return times.toSorted((a, b) => a - b)[FSYNCS / 2] ?? 0;
}

interface Contender {
  readonly name: string;
  readonly measure: (round: number) => Promise<Round>;
}

/** All contenders in turn, the order turned by one each round. */
async function runRounds(
  part: string,
  contenders: readonly Contender[],
  rounds: number,
): Promise<readonly Row[]> {
  say(`(${part})`);
  const seen = contenders.map(({ name }) => ({
    name,
    rounds: [] as (Figures | null)[],
    wrong: null as string | null,
  }));
  for (let round = 0; round < rounds; round += 1) {
    for (let turn = 0; turn < contenders.length; turn += 1) {
      const place = (turn + round) % contenders.length;
      const [contender, row] = [contenders[place], seen[place]];
      if (contender === undefined || row === undefined) continue;
      const result = await contender.measure(round).catch((cause: unknown): Round => {
        return { wrong: String(cause) };
      });
      row.rounds.push('figures' in result ? result.figures : null);
      if ('wrong' in result) row.wrong = `round ${round + 1}: ${result.wrong}`;
      const shown = 'figures' in result ? showFigures(result.figures) : `void: ${result.wrong}`;
      say(`  round ${round + 1} ${contender.name.padEnd(7)} ${shown}`);
    }
  }
  return seen.map(({ name, rounds: figures, wrong }) => {
    return { part, system: name, rounds: figures, wrong };
  });
}

function showFigures(figures: Figures): string {
  return Object.entries(figures)
    .map(([name, value]) => `${name} ${value < 10 ? value.toFixed(3) : Math.round(value)}`)
    .join(', ');
}

async function withGroups(
  bench: Bench,
  systems: readonly System[],
  run: (groups: readonly Group[]) => Promise<readonly Row[]>,
): Promise<readonly Row[]> {
  const groups: Group[] = [];
  try {
    for (const system of systems) {
      say(`starting ${system.name} ${system.version}`);
      groups.push(await Group.start(system, join(bench.cache, 'run', system.name), PLAN));
    }
    return await run(groups);
  } finally {
    for (const group of groups) await group.end();
  }
}

async function runRates(bench: Bench, systems: readonly System[], options: Options) {
  return withGroups(bench, systems, async (groups) => {
    for (const group of groups) await fill(bench, group);
    const rows: Row[] = [];
    for (const shape of SHAPES.filter(({ id }) => options.shapes.includes(id))) {
      const taking = groups.filter(({ system }) => {
        return shape.withSessions !== true || system.name === 'banyan';
      });
      const contenders = taking.map((group): Contender => ({
        name: group.system.name,
        measure: (round) => measureRate(bench, shape, group, round + 1),
      }));
      rows.push(...(await runRounds(shape.id, contenders, options.rounds)));
    }
    return rows;
  });
}

async function runOutage(bench: Bench, systems: readonly System[], options: Options) {
  return withGroups(bench, systems, async (groups) => {
    const contenders = groups.map((group): Contender => ({
      name: group.system.name,
      measure: (round) => measureOutage(bench, group, round + 1),
    }));
    return runRounds('outage', contenders, options.rounds);
  });
}

async function runRecovery(bench: Bench, systems: readonly System[]) {
  const contenders = systems.map((system): Contender => ({
    name: system.name,
    measure: () => measureRecovery(bench, system),
  }));
  // Once: a long log takes a minute to write.
  return runRounds('recovery', contenders, 1);
}

async function runWan(bench: Bench, systems: readonly System[]) {
  const banyan = systems.find(({ name }) => name === 'banyan');
  if (banyan === undefined) return [];
  say('starting banyan over three regions');
  const group = await Group.start(banyan, join(bench.cache, 'run', 'wan'), WAN_PLAN);
  try {
    const rows: Row[] = [];
    for (const leader of group.nodes) {
      for (const from of group.nodes) {
        const measure = (): Promise<Round> => measureWan(bench, group, leader, from);
        const part = `wan ${leader.region} ${from.region}`;
        rows.push(...(await runRounds(part, [{ name: 'banyan', measure }], 1)));
      }
    }
    return rows;
  } finally {
    await group.end();
  }
}

function finderOf(options: Options, cores: readonly number[]) {
  const nodeArgs = options.nodeArgs.split(' ').filter((arg) => arg !== '');
  return { root: ROOT, nodeArgs, cores, say };
}

/** Banyan's registers in the place of its log, beside the others. */
async function runClaims(bench: Bench, systems: readonly System[], options: Options) {
  const taking = systems.map((system) =>
    system.name === 'banyan' ? claimNodes(finderOf(options, bench.cores)) : system,
  );
  const rows: Row[] = [];
  // New groups for each part: what one has claimed is no load of the next.
  for (const clients of CLAIM_CLIENTS) {
    const measured = await withGroups(bench, taking, async (groups) => {
      for (const group of groups) await group.allUp();
      const contenders = groups.map((group): Contender => ({
        name: group.system.name,
        measure: () => measureClaims(bench, group, clients),
      }));
      return runRounds(`claim-${clients}`, contenders, options.rounds);
    });
    rows.push(...measured);
  }
  return rows;
}

async function runClaimsKept(bench: Bench) {
  const rows: Row[] = [];
  for (const count of KEPT_CLAIMS) {
    const measure = (): Promise<Round> => measureKept(bench, ROOT, count);
    const contenders = [{ name: 'banyan', measure }];
    rows.push(...(await runRounds(`claims-kept ${count}`, contenders, 1)));
  }
  return rows;
}

async function runClaimsWan(bench: Bench, options: Options) {
  say('starting registers over three regions');
  const system = claimNodes(finderOf(options, bench.cores));
  const group = await Group.start(system, join(bench.cache, 'run', 'claims-wan'), WAN_PLAN);
  try {
    await group.allUp();
    await sleep(1_500); // The links come up.
    const rows: Row[] = [];
    for (const node of group.nodes) {
      const measure = (): Promise<Round> => measureClaimWan(bench, group, node);
      const contenders = [{ name: 'banyan', measure }];
      rows.push(...(await runRounds(`claim-wan ${node.region}`, contenders, 1)));
    }
    for (const node of group.nodes) {
      const measure = (): Promise<Round> => measureClaimOutage(bench, group, node);
      const contenders = [{ name: 'banyan', measure }];
      rows.push(...(await runRounds(`claim-outage ${node.region}`, contenders, 1)));
    }
    return rows;
  } finally {
    await group.end();
  }
}

async function main(): Promise<void> {
  const options = readOptions();
  const cores = cpus().map((_, core) => core);
  const cache = join(ROOT, '.banyan', 'bench');
  mkdirSync(join(cache, 'run'), { recursive: true });
  const { rounds, seconds, recoveryEntries } = options;
  const program = buildNative(ROOT, cache, 'consensus', 'load');
  const bench: Bench = { cache, program, cores, seconds, recoveryEntries };
  const { systems, skipped } = findSystems(options, cores);
  const fsyncMs = measureFsyncMs(join(cache, 'run'));
  const [loadBefore = 0] = loadavg();
  say(`a write with fdatasync takes ${fsyncMs.toFixed(3)} ms here; load ${loadBefore.toFixed(1)}`);
  const rows: Row[] = [];
  const has = (part: string): boolean => options.only.includes(part);
  if (has('rates')) rows.push(...(await runRates(bench, systems, options)));
  if (has('outage')) rows.push(...(await runOutage(bench, systems, options)));
  if (has('recovery')) rows.push(...(await runRecovery(bench, systems)));
  if (has('wan')) rows.push(...(await runWan(bench, systems)));
  if (has('claims')) rows.push(...(await runClaims(bench, systems, options)));
  if (has('claims-kept')) rows.push(...(await runClaimsKept(bench)));
  if (has('claims-wan') && systems.some(({ name }) => name === 'banyan')) {
    rows.push(...(await runClaimsWan(bench, options)));
  }
  const versions = Object.fromEntries(systems.map(({ name, version }) => [name, version]));
  const verdicts = verdictsOf(rows, fsyncMs);
  const machine = { ...machineFacts(ROOT), fsyncMs, loadBefore, loadAfter: loadavg()[0] };
  const document = { machine, versions, skipped, rounds, seconds, verdicts, rows };
  if (options.out !== undefined) {
    writeFileSync(options.out, `${JSON.stringify(document, null, 1)}\n`);
  }
  if (options.output === 'json') {
    console.log(JSON.stringify(document, null, 1));
    return;
  }
  const render = options.output === 'markdown' ? renderMarkdown : renderTable;
  for (const [title, table] of tablesOf(rows)) console.log(`\n${title}\n\n${render(table)}`);
  if (verdicts.length > 0) console.log(`\n${render(verdictsTable(verdicts))}`);
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
