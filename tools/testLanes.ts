/** Several runs of Node's test runner at once, told as one. */

import { join, resolve } from 'node:path';
import { PassThrough, Readable, type Duplex } from 'node:stream';
import { run } from 'node:test';
import * as builtin from 'node:test/reporters';
import { pathToFileURL } from 'node:url';

export interface TestEvent {
  readonly type: string;
  readonly data: {
    /** Absent: it is about the whole run. */
    readonly file?: string;
    readonly success?: boolean;
    readonly counts?: Readonly<Record<string, number>>;
  };
}

/** The counts at the end of a report: their names in a summary, and Node's words for them. */
const COUNTS = [
  ['tests', 'tests'],
  ['suites', 'suites'],
  ['passed', 'pass'],
  ['failed', 'fail'],
  ['cancelled', 'cancelled'],
  ['skipped', 'skipped'],
  ['todo', 'todo'],
] as const;

/** What each run says about itself at its end. */
const CLOSING: ReadonlySet<string> = new Set(['test:plan', 'test:diagnostic', 'test:summary']);

export interface LaneOptions {
  /** How many files at once. */
  readonly concurrency: number;
  /** A single test fails after it. */
  readonly limitMs: number;
  /** Modules of this folder that each file's process loads first. */
  readonly imports: readonly string[];
  /** Ends the processes of its files. */
  readonly signal: AbortSignal;
}

/** Runs `files`, each in a process of its own. */
export function runLane(files: readonly string[], options: LaneOptions): Readable {
  const { concurrency, limitMs, imports, signal } = options;
  return run({
    files: files.map((file) => resolve(file)),
    concurrency,
    signal,
    execArgv: [
      '--disable-warning=ExperimentalWarning',
      ...imports.map((name) => `--import=${join(import.meta.dirname, name)}`),
      `--test-timeout=${limitMs}`,
    ],
  });
}

/** Whether all went well: every lane has come to its end and says so. */
export async function report(lanes: readonly Readable[], reporter: string): Promise<boolean> {
  let isGood = false;
  const told = Readable.from(
    merged(lanes, (success) => {
      isGood = success;
    }),
  );
  const written = told.compose((await reporterOf(reporter)) as Duplex);
  for await (const text of written) process.stdout.write(text as string);
  return isGood;
}

/** One of Node's own by its name, or the default export of a module: a class, or a generator. */
async function reporterOf(name: string): Promise<unknown> {
  const own = (builtin as Readonly<Record<string, unknown>>)[name];
  const module = own ?? (await import(pathToFileURL(resolve(name)).href)).default;
  if (typeof module !== 'function') throw new Error(`test: ${name} is no reporter`);
  const isClass = Object.hasOwn((module.prototype ?? {}) as object, 'constructor');
  return isClass ? new (module as new () => unknown)() : module;
}

/** The events of all lanes as they come; at the end one summary in place of each lane's own. */
export async function* merged(
  lanes: readonly Readable[],
  onEnd: (isGood: boolean) => void,
): AsyncGenerator<object> {
  const startedMs = performance.now();
  const all = new PassThrough({ objectMode: true });
  let open = lanes.length;
  for (const lane of lanes) {
    lane.on('data', (event) => all.write(event));
    lane.on('error', (cause) => all.destroy(cause));
    lane.on('end', () => {
      open -= 1;
      if (open === 0) all.end();
    });
  }
  const summaries: TestEvent['data'][] = [];
  for await (const event of all as AsyncIterable<TestEvent>) {
    if (event.data.file !== undefined || !CLOSING.has(event.type)) yield event;
    else if (event.type === 'test:summary') summaries.push(event.data);
  }
  const sum = (name: string): number =>
    summaries.reduce((total, { counts }) => total + (counts?.[name] ?? 0), 0);
  const durationMs = performance.now() - startedMs;
  yield { type: 'test:plan', data: { nesting: 0, count: sum('topLevel') } };
  const lines = COUNTS.map(([name, word]) => `${word} ${sum(name)}`);
  for (const message of [...lines, `duration_ms ${durationMs}`]) {
    yield { type: 'test:diagnostic', data: { nesting: 0, message, level: 'info' } };
  }
  const success = summaries.length === lanes.length && summaries.every((one) => one.success);
  const counts = Object.fromEntries(
    ['topLevel', ...COUNTS.map(([name]) => name)].map((name) => [name, sum(name)]),
  );
  yield { type: 'test:summary', data: { success, counts, duration_ms: durationMs } };
  onEnd(success);
}
