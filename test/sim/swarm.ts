/**
 * `npm run sim:swarm -- --minutes 10`: seeds of the simulator one after the other, in as many
 * processes as there are cores. Ctrl-C ends it after the seeds under way, with its report.
 *
 * Exit codes: 0 every claim held and every needed mark was reached, 1 not so, 2 the command line is
 * wrong, 130 ended by Ctrl-C with all well so far.
 */

import { fork, type ChildProcess } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { SwarmReport, type SeedReport } from './swarmReport.ts';

const USAGE = `usage: npm run sim:swarm -- [--minutes M] [--from SEED] [--seeds K] [-o text|json]
  --minutes M    how long at most (default 1; with --seeds: no limit)
  --from SEED    the first seed (default 1)
  --seeds K      how many (default: as many as the time allows)
  --processes N  (default: one for each core)
  --keep-going   a seed that fails does not end the swarm
  -o json        the report as JSON, and nothing else`;

/** Seeds that a process runs before it reports. */
const CHUNK = 5;
const PROGRESS_MS = 5_000;

interface Options {
  readonly endMs: number;
  readonly from: number;
  readonly seeds: number;
  readonly processes: number;
  readonly isKeptGoing: boolean;
  readonly isJson: boolean;
}

function readOptions(args: readonly string[]): Options | string | null {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        minutes: { type: 'string' },
        from: { type: 'string', default: '1' },
        seeds: { type: 'string' },
        processes: { type: 'string', default: String(availableParallelism()) },
        'keep-going': { type: 'boolean', default: false },
        output: { type: 'string', short: 'o', default: 'text' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    if (values.help) return null;
    const minutes = Number(values.minutes ?? (values.seeds === undefined ? 1 : 1_440));
    const [from, processes] = [Number(values.from), Number(values.processes)];
    const seeds = Number(values.seeds ?? Number.MAX_SAFE_INTEGER);
    const isWhole = [from, seeds, processes].every((one) => Number.isSafeInteger(one) && one >= 0);
    if (!isWhole || seeds < 1 || processes < 1 || processes > 64) {
      return '--from, --seeds and --processes: whole numbers';
    }
    if (!(minutes > 0 && minutes <= 10_080)) return '--minutes: above 0, at most a week';
    if (values.output !== 'text' && values.output !== 'json') return '-o: text or json';
    const endMs = performance.now() + minutes * 60_000;
    const isJson = values.output === 'json';
    return { endMs, from, seeds, processes, isKeptGoing: values['keep-going'], isJson };
  } catch (cause) {
    return cause instanceof Error ? cause.message : String(cause);
  }
}

/** Hands seeds out to processes until there is enough. */
class Swarm {
  readonly report = new SwarmReport();
  isInterrupted = false;
  readonly #options: Options;
  #next: number;

  constructor(options: Options) {
    this.#options = options;
    this.#next = options.from;
  }

  async run(): Promise<void> {
    const { processes } = this.#options;
    await Promise.all(Array.from({ length: processes }, () => this.#drive()));
  }

  /** The next seeds for one process, or null when it is to end. */
  #order(): { readonly from: number; readonly count: number } | null {
    const { endMs, from, seeds, isKeptGoing } = this.#options;
    const hasFailed = this.report.failures.length > 0 && !isKeptGoing;
    if (this.isInterrupted || hasFailed || performance.now() >= endMs) return null;
    const count = Math.min(CHUNK, from + seeds - this.#next);
    if (count <= 0) return null;
    this.#next += count;
    return { from: this.#next - count, count };
  }

  #drive(): Promise<void> {
    const { isJson } = this.#options;
    const path = fileURLToPath(new URL('swarmWorker.ts', import.meta.url));
    const child: ChildProcess = fork(path, { execArgv: ['--disable-warning=ExperimentalWarning'] });
    return new Promise((resolve, reject) => {
      const next = (): void => {
        const order = this.#order();
        if (order === null) child.disconnect();
        else child.send(order);
      };
      child.on('message', (reports: readonly SeedReport[]) => {
        for (const report of reports) {
          this.report.add(report);
          if (report.violation === null || isJson) continue;
          console.log(`seed ${report.seed}: VIOLATION; npm run sim -- --seed ${report.seed}`);
        }
        next();
      });
      child.on('error', reject);
      child.on('exit', (code, signal) => {
        if (code === 0) resolve();
        else reject(new Error(`a process of the swarm ended with ${code ?? signal}`));
      });
      next();
    });
  }
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  if (options === null) {
    console.log(USAGE);
    return 0;
  }
  if (typeof options === 'string') {
    console.error(`sim:swarm: ${options}\n${USAGE}`);
    return 2;
  }
  const swarm = new Swarm(options);
  const { report } = swarm;
  const startMs = performance.now();
  const wallMs = (): number => performance.now() - startMs;
  process.on('SIGINT', () => {
    swarm.isInterrupted = true;
  });
  const isTold = !options.isJson;
  const ticker = setInterval(() => {
    if (isTold) console.log(report.progress(wallMs()));
  }, PROGRESS_MS);
  await swarm.run();
  clearInterval(ticker);
  if (options.isJson) console.log(JSON.stringify(report.toJson(wallMs())));
  else tellReport(report, wallMs());
  if (!report.isGood) return 1;
  return swarm.isInterrupted ? 130 : 0;
}

function tellReport(report: SwarmReport, wallMs: number): void {
  console.log(`seeds that reached each mark:\n${report.coverage()}`);
  console.log(report.progress(wallMs));
  console.log(`longest recovery ${(report.recoveryMsMax / 1_000).toFixed(1)} s simulated`);
  const missing = report.missing();
  if (missing.length > 0) console.log(`NOT REACHED: ${missing.join(', ')}`);
  for (const { seed, violation } of report.failures) {
    console.log(`seed ${seed}: VIOLATION of ${violation.checker}: ${violation.text}`);
    console.log(`replay: npm run sim -- --seed ${seed}`);
  }
  if (report.isGood) console.log('every claim held');
}

process.exitCode = await main();
