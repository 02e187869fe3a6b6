/** Runs the load generator once against one port, and reads its figures. */

import { createInterface } from 'node:readline';

import { cpuMicrosOf, memoryOf, startPinned } from './processes.ts';

/** Microseconds. */
export interface Latencies {
  readonly count: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

interface GeneratorResult {
  readonly seconds: number;
  readonly requests: number;
  /** Events of streams. */
  readonly chunks: number;
  readonly bytes: number;
  readonly latencyUs: Latencies;
  readonly firstByteUs: Latencies;
  /** Bytes of the first whole body, which all others equalled. */
  readonly sampleBytes: number;
  /** Open loop: requests that were due and never sent. */
  readonly unsent: number;
  readonly errors: Readonly<Record<string, number>>;
}

/** One measured run. */
export interface LoadResult extends GeneratorResult {
  /** CPU time of the system under test while measured. */
  readonly systemCpuMicros: number;
  /** Its memory near the end of the measured time. */
  readonly memory: ReturnType<typeof memoryOf>;
  /** Why the figures do not count; null: all answers were right. */
  readonly wrong: string | null;
}

/** What to send. */
export interface Load {
  readonly port: number;
  readonly bodyPath: string;
  readonly headers: readonly string[];
  readonly path: string;
  readonly connections: number;
  readonly seconds: number;
  readonly warmSeconds: number;
  readonly rampSeconds?: number;
  /** Requests a second, sent at fixed times; absent: as fast as answers come. */
  readonly rate?: number;
  /** The answers differ from each other in ids: only their framing is checked. */
  readonly loose?: boolean;
}

/** What runs it. `systemPid` null: nobody is measured (a direct connection). */
export interface LoadPlace {
  readonly program: string;
  readonly cores: readonly number[];
  readonly systemPid: number | null;
}

export async function runLoad(load: Load, place: LoadPlace): Promise<LoadResult> {
  const { systemPid } = place;
  const command = { file: place.program, args: argsOf(load), cores: place.cores };
  const child = startPinned(command, ['ignore', 'pipe', 2]);
  if (child.stdout === null) throw new Error('the generator has no output');
  let [cpuBefore, cpuAfter] = [0, 0];
  let memory = { rssBytes: 0, pssBytes: 0 };
  let timer: NodeJS.Timeout | undefined;
  let last = '';
  for await (const line of createInterface({ input: child.stdout })) {
    last = line;
    if (systemPid === null) continue;
    if (line === 'end') cpuAfter = cpuMicrosOf(systemPid);
    if (line !== 'begin') continue;
    cpuBefore = cpuMicrosOf(systemPid);
    timer = setTimeout(() => (memory = memoryOf(systemPid)), load.seconds * 900);
  }
  clearTimeout(timer);
  if (!last.startsWith('{')) throw new Error(`the generator gave up: ${last}`);
  // Trusted: the generator is built from this repository, and its output is one shape.
  const result = JSON.parse(last) as GeneratorResult;
  const systemCpuMicros = cpuAfter - cpuBefore;
  return { ...result, systemCpuMicros, memory, wrong: wrongOf(result, load) };
}

function argsOf(load: Load): readonly string[] {
  const args: (string | number)[] = ['--port', load.port, '--body', load.bodyPath];
  args.push('--connections', load.connections, '--seconds', load.seconds);
  args.push('--warm', load.warmSeconds, '--ramp', load.rampSeconds ?? 0);
  args.push('--path', load.path, '--headers', load.headers.join('\r\n'));
  if (load.rate !== undefined) args.push('--rate', load.rate);
  if (load.loose === true) args.push('--loose');
  return args.map(String);
}

function wrongOf(result: GeneratorResult, load: Load): string | null {
  const errors = Object.entries(result.errors).filter(([, count]) => count > 0);
  if (errors.length > 0) return errors.map(([kind, count]) => `${kind} ${count}`).join(', ');
  if (result.requests === 0 && result.chunks === 0) return 'no answer';
  // More than a tenth of a second behind at the end: this rate is past what the system can do.
  if (load.rate !== undefined && result.unsent > load.rate / 10) return `${result.unsent} unsent`;
  return null;
}
