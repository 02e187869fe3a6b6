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
    /** Of a test; of a file as a whole it is the file. */
    readonly name?: string;
    readonly message?: string;
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

/**
 * Tells which files are under way once nothing came of any lane for `silentMs`: one of them computes
 * without end, so that nothing in its process gets a turn to end it (`testWatchdog.ts`).
 */
export class SilenceWatch {
  readonly #silentMs: number;
  readonly #tell: (files: readonly string[]) => void;
  readonly #underWay = new Set<string>();
  #timer: NodeJS.Timeout;

  constructor(silentMs: number, tell: (files: readonly string[]) => void) {
    this.#silentMs = silentMs;
    this.#tell = tell;
    this.#timer = this.#start();
  }

  heard({ type, data: { file, name } }: TestEvent): void {
    clearTimeout(this.#timer);
    this.#timer = this.#start();
    if (file === undefined || file !== name) return;
    if (type === 'test:dequeue') this.#underWay.add(file);
    if (type === 'test:complete') this.#underWay.delete(file);
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #start(): NodeJS.Timeout {
    return setTimeout(() => this.#tell([...this.#underWay]), this.#silentMs);
  }
}

/** Whether all went well: every lane has come to its end and says so. */
export async function report(
  lanes: readonly Readable[],
  reporter: string,
  watch: SilenceWatch,
): Promise<boolean> {
  let isGood = false;
  const onEnd = (success: boolean): void => {
    isGood = success;
  };
  const told = Readable.from(merged(lanes, onEnd, (event) => watch.heard(event)));
  const written = told.compose((await reporterOf(reporter)) as Duplex);
  for await (const text of written) process.stdout.write(text as string);
  watch.close();
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

/**
 * The events of all lanes as they come; at the end one summary in place of each lane's own. A file that
 * leaves in the middle of its tests with exit code 0 is told as a test that passed, and has failed here.
 */
export async function* merged(
  lanes: readonly Readable[],
  onEnd: (isGood: boolean) => void,
  onEvent: (event: TestEvent) => void = () => {},
): AsyncGenerator<object> {
  const startedMs = performance.now();
  const all = new PassThrough({ objectMode: true });
  let open = lanes.length;
  for (const lane of lanes) {
    lane.on('data', (event: TestEvent) => {
      onEvent(event);
      all.write(event);
    });
    lane.on('error', (cause) => all.destroy(cause));
    lane.on('end', () => {
      open -= 1;
      if (open === 0) all.end();
    });
  }
  const summaries: TestEvent['data'][] = [];
  const cut: string[] = [];
  for await (const event of all as AsyncIterable<TestEvent>) {
    if (event.data.file !== undefined || !CLOSING.has(event.type)) yield event;
    else if (event.type === 'test:summary') summaries.push(event.data);
    const { file, name } = event.data;
    if (event.type === 'test:pass' && file !== undefined && file === name) cut.push(file);
  }
  const sum = (name: string): number =>
    summaries.reduce((total, { counts }) => total + (counts?.[name] ?? 0), 0);
  const durationMs = performance.now() - startedMs;
  yield { type: 'test:plan', data: { nesting: 0, count: sum('topLevel') } };
  const lines = COUNTS.map(([name, word]) => `${word} ${sum(name)}`);
  for (const message of [...lines, `duration_ms ${durationMs}`]) {
    yield { type: 'test:diagnostic', data: { nesting: 0, message, level: 'info' } };
  }
  for (const file of cut) {
    const message = `${file} ended before its tests did, or has none`;
    yield { type: 'test:diagnostic', data: { nesting: 0, message, level: 'error' } };
  }
  const isWhole = summaries.length === lanes.length && cut.length === 0;
  const success = isWhole && summaries.every((one) => one.success);
  const counts = Object.fromEntries(
    ['topLevel', ...COUNTS.map(([name]) => name)].map((name) => [name, sum(name)]),
  );
  yield { type: 'test:summary', data: { success, counts, duration_ms: durationMs } };
  onEnd(success);
}
