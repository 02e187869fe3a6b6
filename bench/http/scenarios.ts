/** The scenarios (a) to (f): what is sent, and how one round of each is measured. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { runLoad, type Load, type LoadResult } from './load.ts';
import type { Cores } from './machine.ts';
import { memoryOf } from './processes.ts';
import type { Sample } from './samples.ts';
import { startSystem, type Started, type StartPlan, type System } from './systems.ts';

export const SCENARIO_IDS = ['a', 'b', 'c', 'd', 'e', 'f'] as const;
export type ScenarioId = (typeof SCENARIO_IDS)[number];

/** The figures of one system in one round, by name; NaN where there is none. */
export type Figures = Readonly<Record<string, number>>;

/** One kind of request, to each system alike. */
export interface Shape {
  readonly name: string;
  readonly bodyBytes: number;
  /** What the upstream is told, e.g. `json=1024`. */
  readonly order: string;
  readonly connections: number;
}

const SHAPES = {
  json2k: { name: 'json2k', bodyBytes: 2_048, order: 'json=1024', connections: 64 },
  json50k: { name: 'json50k', bodyBytes: 51_200, order: 'json=1024', connections: 64 },
  fast: { name: 'fast', bodyBytes: 2_048, order: 'sse=200,write=1,gap=0', connections: 256 },
  batched: { name: 'batched', bodyBytes: 2_048, order: 'sse=200,write=16,gap=0', connections: 256 },
  slow: { name: 'slow', bodyBytes: 2_048, order: 'sse=2000,write=1,gap=500', connections: 2_000 },
  short: { name: 'short', bodyBytes: 2_048, order: 'sse=20,write=1,gap=0', connections: 64 },
} as const satisfies Readonly<Record<string, Shape>>;

/** A part of a scenario that gives one row for each system. */
export interface Part {
  readonly id: string;
  readonly scenario: ScenarioId;
  readonly title: string;
  readonly shape: Shape;
  readonly kind: 'throughput' | 'streams' | 'memory' | 'added' | 'cores';
}

export const PARTS: readonly Part[] = [
  {
    id: 'a',
    scenario: 'a',
    title: 'JSON chat, 2 KB in, 1 KB out, 64 connections',
    shape: SHAPES.json2k,
    kind: 'throughput',
  },
  {
    id: 'b',
    scenario: 'b',
    title: 'JSON chat, 50 KB in, 1 KB out, 64 connections',
    shape: SHAPES.json50k,
    kind: 'throughput',
  },
  {
    id: 'c',
    scenario: 'c',
    title: '256 streams of 200 chunks, one chunk a write',
    shape: SHAPES.fast,
    kind: 'streams',
  },
  {
    id: 'c16',
    scenario: 'c',
    title: '256 streams of 200 chunks, 16 chunks a write',
    shape: SHAPES.batched,
    kind: 'streams',
  },
  {
    id: 'd',
    scenario: 'd',
    title: '2,000 streams, one chunk each 500 ms',
    shape: SHAPES.slow,
    kind: 'memory',
  },
  {
    id: 'e-json',
    scenario: 'e',
    title: 'latency added at half load, JSON',
    shape: SHAPES.json2k,
    kind: 'added',
  },
  {
    id: 'e-token',
    scenario: 'e',
    title: 'latency added at half load, first token of a stream',
    shape: SHAPES.short,
    kind: 'added',
  },
  {
    id: 'f',
    scenario: 'f',
    title: 'all cores, JSON chat as in (a), 128 connections',
    shape: { ...SHAPES.json2k, connections: 128 },
    kind: 'cores',
  },
];

/** What measuring needs. */
export interface Bench {
  readonly cache: string;
  readonly program: string;
  readonly cores: Cores;
  readonly upstreamPorts: readonly number[];
  readonly seconds: number;
}

/** Writes the request's body for `shape`; returns its path and text. */
export function writeBody(bench: Bench, shape: Shape): { path: string; text: string } {
  const path = join(bench.cache, 'run', `body-${shape.name}.json`);
  const text = bodyOf(shape);
  writeFileSync(path, text);
  return { path, text };
}

/**
 * A conversation in turns of about 400 characters. Its first message tells the upstream what to
 * answer: the one place that every gateway passes on as it is.
 */
function bodyOf({ bodyBytes, order }: Shape): string {
  const isStream = order.startsWith('sse');
  const messages = [{ role: 'system', content: `bench:${order} You are a kind assistant.` }];
  const body = {
    model: 'bench',
    temperature: 0.7,
    ...(isStream ? { stream: true, stream_options: { include_usage: true } } : {}),
    messages,
  };
  for (;;) {
    const left = bodyBytes - JSON.stringify(body).length - ',{"role":"user","content":""}'.length;
    if (left < 1) return JSON.stringify(body);
    const content = 'Where is my parcel? '.repeat(20).slice(0, Math.min(400, left));
    messages.push({ role: messages.length % 2 === 1 ? 'user' : 'assistant', content });
  }
}

function planOf(bench: Bench, part: Part): StartPlan {
  const { cores, upstreamPorts } = bench;
  const isStreaming = part.shape.order.startsWith('sse');
  return { cores: cores.system, upstreamPorts, isStreaming, workers: 1 };
}

/** Starts a system for a part, on the one core. */
export function startFor(bench: Bench, part: Part, system: System): Promise<Started> {
  // A short answer shows that it is ready, whatever the part's own shape is.
  const { text } = writeBody(bench, SHAPES.json2k);
  return startSystem(system, planOf(bench, part), bench.cache, text);
}

function loadOf(bench: Bench, part: Part, started: Started): Load {
  return {
    port: started.port,
    bodyPath: writeBody(bench, part.shape).path,
    headers: started.headers,
    path: started.system.path,
    connections: part.shape.connections,
    seconds: bench.seconds,
    warmSeconds: 0.5,
    loose: !started.system.isExact,
  };
}

function run(bench: Bench, load: Load, pid: number | null): Promise<LoadResult> {
  return runLoad(load, { program: bench.program, cores: bench.cores.load, systemPid: pid });
}

/** What one round gave: figures, or why they do not count. */
export type Round = { readonly figures: Figures } | { readonly wrong: string };

/** Parts (a), (b) and (c): the most that one core can do. */
export async function measureThroughput(
  bench: Bench,
  part: Part,
  started: Started,
  sample: Sample,
): Promise<Round> {
  const result = await run(bench, loadOf(bench, part, started), started.pid);
  const wrong = result.wrong ?? lengthWrong(started, result, sample);
  if (wrong !== null) return { wrong };
  const { seconds, latencyUs, firstByteUs, systemCpuMicros } = result;
  const units = part.kind === 'streams' ? result.chunks : result.requests;
  return {
    figures: {
      perSecond: units / seconds,
      requestsPerSecond: result.requests / seconds,
      cpuMicrosEach: systemCpuMicros / units,
      busyPercent: systemCpuMicros / seconds / 10_000,
      latencyMsP50: latencyUs.p50 / 1000,
      latencyMsP99: latencyUs.p99 / 1000,
      firstByteMsP50: firstByteUs.p50 / 1000,
      firstByteMsP99: firstByteUs.p99 / 1000,
      megabytesPerSecond: result.bytes / seconds / 1e6,
    },
  };
}

function lengthWrong(started: Started, result: LoadResult, sample: Sample): string | null {
  if (!started.system.isExact || result.sampleBytes === sample.text.length) return null;
  return `bodies of ${result.sampleBytes} bytes instead of ${sample.text.length}`;
}

const SLOW_RAMP_SECONDS = 4;
const SLOW_WARM_SECONDS = 2;
const SLOW_EVENTS_PER_SECOND = 2;

/** Part (d): a fresh process for each round, warmed by plain answers, then the slow streams. */
export async function measureSlow(bench: Bench, part: Part, system: System): Promise<Round> {
  const started = await startFor(bench, part, system);
  try {
    const warm = loadOf(bench, { ...part, shape: SHAPES.json2k }, started);
    await run(bench, { ...warm, seconds: 1.5 }, started.pid);
    const before = memoryOf(started.pid);
    const load = loadOf(bench, part, started);
    const long = {
      ...load,
      seconds: Math.max(bench.seconds, 5),
      warmSeconds: SLOW_WARM_SECONDS,
      rampSeconds: SLOW_RAMP_SECONDS,
    };
    const result = await run(bench, long, started.pid);
    const streams = part.shape.connections;
    const perSecond = result.chunks / result.seconds;
    if (result.wrong !== null) return { wrong: result.wrong };
    if (perSecond < 0.95 * streams * SLOW_EVENTS_PER_SECOND) {
      return { wrong: `only ${Math.round(perSecond)} chunks/s of the upstream's came through` };
    }
    return {
      figures: {
        perSecond,
        cpuMicrosEach: result.systemCpuMicros / result.chunks,
        busyPercent: result.systemCpuMicros / result.seconds / 10_000,
        cpuMicrosPerStreamSecond: result.systemCpuMicros / result.seconds / streams,
        rssKbPerStream: (result.memory.rssBytes - before.rssBytes) / 1024 / streams,
        pssKbPerStream: (result.memory.pssBytes - before.pssBytes) / 1024 / streams,
        rssMbBefore: before.rssBytes / 2 ** 20,
      },
    };
  } finally {
    await started.end();
  }
}

/** Part (e), first step: the most that the system can do with this shape, requests a second. */
export async function measureMaximum(
  bench: Bench,
  part: Part,
  started: Started,
): Promise<number | null> {
  const load = { ...loadOf(bench, part, started), seconds: Math.min(bench.seconds, 2) };
  const rates: number[] = [];
  for (let turn = 0; turn < 3; turn += 1) {
    const result = await run(bench, load, started.pid);
    if (result.wrong !== null) return null;
    rates.push(result.requests / result.seconds);
  }
  return rates.toSorted((one, other) => one - other)[1] ?? null;
}

/** Part (e), one round: at `rate` straight to the upstream, then through the system. */
export async function measureAdded(
  bench: Bench,
  part: Part,
  started: Started,
  rate: number,
): Promise<Round> {
  const load = { ...loadOf(bench, part, started), rate };
  const direct = await run(bench, { ...load, port: bench.upstreamPorts[0] ?? 0 }, null);
  const through = await run(bench, load, started.pid);
  const wrong = direct.wrong ?? through.wrong;
  if (wrong !== null) return { wrong };
  const isStream = part.shape.order.startsWith('sse');
  const [without, with_] = isStream
    ? [direct.firstByteUs, through.firstByteUs]
    : [direct.latencyUs, through.latencyUs];
  return {
    figures: {
      perSecond: through.requests / through.seconds,
      busyPercent: through.systemCpuMicros / through.seconds / 10_000,
      directMsP50: without.p50 / 1000,
      directMsP99: without.p99 / 1000,
      throughMsP50: with_.p50 / 1000,
      throughMsP99: with_.p99 / 1000,
      addedMsP50: (with_.p50 - without.p50) / 1000,
      addedMsP99: (with_.p99 - without.p99) / 1000,
    },
  };
}

/** Part (f): starts Banyan with that many workers on the cores that are for all of them. */
export function startWorkers(bench: Bench, system: System, workers: number): Promise<Started> {
  const { cores, upstreamPorts } = bench;
  const plan = { cores: cores.allSystem, upstreamPorts, isStreaming: false, workers };
  return startSystem(system, plan, bench.cache, writeBody(bench, SHAPES.json2k).text);
}

/** Part (f), one round: throughput, and capacity from CPU time, which sharing cannot spoil. */
export async function measureCores(
  bench: Bench,
  part: Part,
  started: Started,
  workers: number,
): Promise<Round> {
  const load = loadOf(bench, part, started);
  const place = { program: bench.program, cores: bench.cores.allOthers, systemPid: started.pid };
  const result = await runLoad(load, place);
  if (result.wrong !== null) return { wrong: result.wrong };
  const cpuSeconds = result.systemCpuMicros / 1e6;
  return {
    figures: {
      perSecond: result.requests / result.seconds,
      cpuMicrosEach: result.systemCpuMicros / result.requests,
      busyPercent: (cpuSeconds / result.seconds) * 100,
      capacityPerSecond: (result.requests / cpuSeconds) * workers,
      latencyMsP50: result.latencyUs.p50 / 1000,
      latencyMsP99: result.latencyUs.p99 / 1000,
    },
  };
}
