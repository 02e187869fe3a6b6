/** Runs the load generator once, and reads its figures. */

import { createInterface } from 'node:readline';

import { cpuMicrosOf, startPinned } from '../http/processes.ts';

export const OPERATIONS = ['put', 'get', 'local', 'claim'] as const;
export type Operation = (typeof OPERATIONS)[number];

/** What to send. Times in ms unless they say else. */
export interface Load {
  readonly protocol: 'etcd' | 'banyan';
  /** Clients are spread over them in turn. */
  readonly ports: readonly number[];
  readonly operation: Operation;
  readonly clients: number;
  readonly valueBytes: number;
  readonly keys: number;
  readonly seconds: number;
  readonly warmSeconds: number;
  readonly seed: number;
  /** Each client has a session, so that a put sent twice runs once (Banyan only). */
  readonly withSessions?: boolean;
  readonly pauseMs?: number;
  readonly timeoutMs?: number;
  /** So many puts, of the keys in order, instead of drawing them for a time. */
  readonly fill?: number;
}

interface GeneratorResult {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly requests: number;
  readonly wrong: number;
  readonly closed: number;
  readonly refused: number;
  readonly timeouts: number;
  readonly firstWrong: string;
  readonly latencyUs: Readonly<Record<'mean' | 'p50' | 'p90' | 'p99' | 'p999' | 'max', number>>;
}

export interface LoadResult extends GeneratorResult {
  /** CPU time of the processes of the system while measured. */
  readonly systemCpuMicros: number;
  /** Why the figures do not count; null: all answers were right. */
  readonly wrongBecause: string | null;
}

/** One answer: when it came (the clock of `process.hrtime`), and from which port. */
export interface Answer {
  readonly atNs: number;
  readonly port: number;
}

/** Runs it; `pids` are the system's processes. `onAnswer` is told of each answer as it comes. */
export async function runLoad(
  program: string,
  cores: readonly number[],
  load: Load,
  pids: readonly number[],
  onAnswer?: (answer: Answer) => void,
): Promise<LoadResult> {
  const args = argsOf(load, onAnswer !== undefined);
  const child = startPinned({ file: program, args, cores }, ['ignore', 'pipe', 2]);
  if (child.stdout === null) throw new Error('the generator has no output');
  const cpu = (): number => pids.reduce((sum, pid) => sum + cpuMicrosOf(pid), 0);
  let [cpuBefore, cpuAfter] = [0, 0];
  let last = '';
  for await (const line of createInterface({ input: child.stdout })) {
    last = line;
    if (line === 'begin') cpuBefore = cpu();
    else if (line === 'end') cpuAfter = cpu();
    else if (onAnswer !== undefined && !line.startsWith('{')) {
      const [atNs = 0, , port = 0] = line.split(' ').map(Number);
      onAnswer({ atNs, port });
    }
  }
  if (!last.startsWith('{')) throw new Error(`the generator gave up: ${last}`);
  // Trusted: the generator is built from this repository, and its output is one shape.
  const result = JSON.parse(last) as GeneratorResult;
  return { ...result, systemCpuMicros: cpuAfter - cpuBefore, wrongBecause: wrongOf(result, load) };
}

function argsOf(load: Load, withEvents: boolean): readonly string[] {
  const args: (string | number)[] = ['--protocol', load.protocol, '--ports', load.ports.join(',')];
  args.push('--op', load.operation, '--clients', load.clients, '--value', load.valueBytes);
  args.push('--keys', load.keys, '--seconds', load.seconds, '--warm', load.warmSeconds);
  args.push('--seed', load.seed);
  if (load.pauseMs !== undefined) args.push('--pause', load.pauseMs);
  if (load.timeoutMs !== undefined) args.push('--timeout', load.timeoutMs);
  if (load.withSessions === true) args.push('--sessions');
  if (load.fill !== undefined) args.push('--fill', load.fill);
  if (withEvents) args.push('--events');
  return args.map(String);
}

function wrongOf(result: GeneratorResult, load: Load): string | null {
  const { wrong, closed, refused, timeouts, firstWrong } = result;
  const counts = Object.entries({ wrong, closed, refused, timeouts }).filter(([, count]) => {
    return count > 0;
  });
  if (counts.length > 0) {
    return [...counts.map(([kind, count]) => `${kind} ${count}`), firstWrong].join(', ');
  }
  return result.requests === 0 && load.fill === undefined ? 'no answer' : null;
}
