/**
 * Which algorithm is best for LLM traffic: a discrete-event simulation over public traces.
 *
 *   node bench/routing.ts [--quick] [--seeds N] [TRACES_FOLDER]
 *
 * Simulated servers, not measured GPUs: the table says which algorithm wins under this model and
 * by how much. All algorithms see the same arrivals and lengths (paired seeds).
 */

import { createPrng } from '../src/base/prng.ts';
import type { Algorithm } from '../src/routing/algorithms/algorithm.ts';
import { createLeastTokens } from '../src/routing/algorithms/leastTokens.ts';
import { ALGORITHM_NAMES } from '../src/routing/algorithms/registry.ts';
import type { AlgorithmName } from '../src/routing/spec.ts';
import {
  A100_8B,
  A100_8B_LONG,
  capacityPerSecond,
  H100X4_70B_SLOW,
  type ServerKind,
} from './routingServer.ts';
import {
  azureArrivals,
  mooncakeArrivals,
  parseAzure,
  parseMooncake,
  readTrace,
  type Arrival,
} from './routingWorkload.ts';
import { runWorld, type Fault, type RunResult } from './routingWorld.ts';

const SERVERS = 8;
/** Hits that set the load of the Mooncake runs: about what good placement reaches there. */
const MOONCAKE_HIT_SHARE = 0.2;
const LOADS = [0.5, 0.7, 0.85, 0.95] as const;
/** 97.5 % quantile of Student's t for n - 1 degrees of freedom, n = 2 … 10. */
const T_QUANTILES = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262] as const;

interface Contender {
  readonly name: string;
  readonly algorithm: AlgorithmName;
  readonly variant: (() => Algorithm) | null;
}

interface Scenario {
  readonly title: string;
  readonly kind: ServerKind;
  readonly fault: Fault;
  readonly arrivals: (seed: number) => readonly Arrival[];
}

const CONTENDERS: readonly Contender[] = [
  ...ALGORITHM_NAMES.map((algorithm) => ({ name: algorithm, algorithm, variant: null })),
  {
    name: 'least-tokens, no affinity',
    algorithm: 'least-tokens',
    variant: () => createLeastTokens({ homeSlack: 0, prefixSlack: 0 }),
  },
];

function main(): void {
  const args = process.argv.slice(2);
  const isQuick = args.includes('--quick');
  const seedsAt = args.indexOf('--seeds');
  const seeds = seedsAt === -1 ? (isQuick ? 2 : 5) : Number(args[seedsAt + 1]);
  const folder = args.find((arg, index) => !arg.startsWith('--') && index !== seedsAt + 1);
  const scenarios = buildScenarios(folder ?? '../shared/traces', isQuick);
  const startMs = performance.now();
  for (const scenario of scenarios) printScenario(scenario, seeds);
  const seconds = ((performance.now() - startMs) / 1_000).toFixed(1);
  console.log(`\n${scenarios.length} scenarios, seeds 1 to ${seeds}, ${seconds} s`);
}

function buildScenarios(folder: string, isQuick: boolean): readonly Scenario[] {
  const scenarios: Scenario[] = [];
  const azure = readTrace(folder, 'azure2023_conv.csv.gz');
  if (azure === null) console.log(`skipped: no azure2023_conv.csv.gz in ${folder}`);
  else scenarios.push(...azureScenarios(parseAzure(azure), isQuick));
  const mooncake = readTrace(folder, 'mooncake_conversation_trace.jsonl.gz');
  if (mooncake === null)
    console.log(`skipped: no mooncake_conversation_trace.jsonl.gz in ${folder}`);
  else scenarios.push(...mooncakeScenarios(parseMooncake(mooncake), isQuick));
  return scenarios;
}

function azureScenarios(
  rows: readonly (readonly [number, number])[],
  isQuick: boolean,
): readonly Scenario[] {
  const mean = {
    prompt: rows.reduce((sum, [prompt]) => sum + prompt, 0) / rows.length,
    promptSquare: rows.reduce((sum, [prompt]) => sum + prompt ** 2, 0) / rows.length,
    output: rows.reduce((sum, [, output]) => sum + output, 0) / rows.length,
    hitShare: 0,
  };
  const scenario = (kind: ServerKind, load: number, fault: Fault): Scenario => {
    const capacity = capacityPerSecond(kind, mean);
    const perSecond = capacity * SERVERS * load;
    const seconds = isQuick ? 60 : Math.min(240, 9_000 / perSecond);
    return {
      title: `azure2023 on ${kind.name}, load ${load} (${perSecond.toFixed(1)}/s), ${fault}`,
      kind,
      fault,
      arrivals: (seed) => azureArrivals(rows, perSecond, seconds, createPrng(seed)),
    };
  };
  return [
    ...LOADS.map((load) => scenario(A100_8B, load, 'none')),
    ...LOADS.map((load) => scenario(H100X4_70B_SLOW, load, 'none')),
    scenario(A100_8B, 0.7, 'gray'),
    scenario(A100_8B, 0.7, 'fast-fail'),
  ];
}

function mooncakeScenarios(
  rows: ReturnType<typeof parseMooncake>,
  isQuick: boolean,
): readonly Scenario[] {
  const mean = {
    prompt: rows.reduce((sum, row) => sum + row.promptTokens, 0) / rows.length,
    promptSquare: rows.reduce((sum, row) => sum + row.promptTokens ** 2, 0) / rows.length,
    output: rows.reduce((sum, row) => sum + row.outputTokens, 0) / rows.length,
    hitShare: MOONCAKE_HIT_SHARE,
  };
  const wanted = capacityPerSecond(A100_8B_LONG, mean) * SERVERS;
  const own = rows.length / 3_537;
  const seconds = isQuick ? 300 : 900;
  const scenario = (load: number, fault: Fault, hasSessions: boolean): Scenario => {
    const keys = hasSessions ? 'session keys' : 'no session keys';
    const title = `mooncake on ${A100_8B_LONG.name}, load ${load} (${(wanted * load).toFixed(1)}/s)`;
    return {
      title: `${title}, ${keys}, ${fault}`,
      kind: A100_8B_LONG,
      fault,
      arrivals: (seed) =>
        mooncakeArrivals(rows, (wanted * load) / own, seconds, hasSessions, createPrng(seed)),
    };
  };
  return [
    ...LOADS.map((load) => scenario(load, 'none', true)),
    ...LOADS.map((load) => scenario(load, 'none', false)),
    scenario(0.7, 'gray', true),
    scenario(0.7, 'fast-fail', true),
  ];
}

function printScenario(scenario: Scenario, seeds: number): void {
  const results = new Map<string, RunResult[]>();
  for (let seed = 1; seed <= seeds; seed += 1) {
    const arrivals = scenario.arrivals(seed);
    for (const { name, algorithm, variant } of CONTENDERS) {
      const { kind, fault } = scenario;
      const run = { algorithm, variant, kind, count: SERVERS, arrivals, fault, seed };
      const list = results.get(name) ?? [];
      list.push(runWorld(run));
      results.set(name, list);
    }
  }
  const base = results.get('least-tokens') ?? [];
  console.log(`\n### ${scenario.title}\n`);
  console.log(
    '| algorithm | goodput % | difference (95 %) | TTFT p50 ms | p99 ms | hit % | imbalance | unfinished |',
  );
  console.log('|---|---:|---:|---:|---:|---:|---:|---:|');
  for (const [name, list] of results) {
    const mean = (figure: (result: RunResult) => number): number =>
      list.reduce((sum, result) => sum + figure(result), 0) / list.length;
    const cells = [
      name,
      (100 * mean((each) => each.goodput)).toFixed(1),
      difference(list, base),
      mean((each) => each.ttftMsP50).toFixed(0),
      mean((each) => each.ttftMsP99).toFixed(0),
      (100 * mean((each) => each.hitShare)).toFixed(1),
      mean((each) => each.imbalance).toFixed(2),
      mean((each) => each.failed).toFixed(0),
    ];
    console.log(`| ${cells.join(' | ')} |`);
  }
}

/** Paired difference of goodput to the default, percentage points with its 95 % t-interval. */
function difference(list: readonly RunResult[], base: readonly RunResult[]): string {
  if (list === base) return '';
  const points = list.map((result, index) => 100 * (result.goodput - (base[index]?.goodput ?? 0)));
  const mean = points.reduce((sum, point) => sum + point, 0) / points.length;
  const variance = points.reduce((sum, point) => sum + (point - mean) ** 2, 0);
  const error = Math.sqrt(variance / (points.length - 1) / points.length);
  const half = error * (T_QUANTILES[points.length - 2] ?? 1.96);
  return `${mean >= 0 ? '+' : ''}${mean.toFixed(1)} ± ${half.toFixed(1)}`;
}

main();
