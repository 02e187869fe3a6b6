/**
 * `npm run soak -- --minutes 60`: two regions under a steady load of JSON and streams, in both
 * dialects, while model servers, links, clients and configurations fail as a seed says. Cycles of a
 * minute end in a quiet point, where the books of nodes and clients must be equal to the request and
 * memory is measured. What is judged stands in docs/internals/soak.md.
 *
 * Exit codes: 0 all well, 1 something is not, 2 the command line is wrong.
 */

import { execFileSync } from 'node:child_process';
import { cpus, totalmem } from 'node:os';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';

import { helpIfAsked } from '../support/usage.ts';
import { createPrng } from '../../src/base/prng.ts';
import { closeConnections } from '../support/client.ts';
import { cleanUp, until } from '../support/node.ts';
import { FaultRunner, planFaults, rest } from './faults.ts';
import {
  growthOf,
  GROWTH_PERCENT_MAX,
  readSample,
  unaccounted,
  type Growth,
  type NodeSample,
} from './figures.ts';
import { Load, type Tally } from './load.ts';
import { REGIONS, startWorld, TOTAL_MS, type Region, type World } from './world.ts';

const USAGE = `usage: npm run soak -- [--minutes N] [--seed N] [--rate N] [-o table|json]
  --minutes N  how long (default 60)
  --seed N     of load and faults (default: from the clock; it is printed)
  --rate N     requests a second (default: half of what the nodes take, measured first)`;

/** A cycle with its quiet point, ms. */
const CYCLE_MS = 60_000;
/** Of it, about so long without new requests. */
const QUIET_MS = 3_000;
/** What is left of a run below this is no cycle any more. */
const REST_MS_MIN = 5_000;
const SAMPLE_MS = 5_000;
const TICK_MS = 10;
const MEASURE_MS = 4_000;
const MEASURE_WIDTH = 32;
/** More requests under way than this are not begun: the load is a rate, but not without end. */
const WIDTH_MAX = 400;
/** Files that may be open beyond those of the start: what the runtime opens lazily. */
const FDS_SLACK = 6;

interface Options {
  readonly minutes: number;
  readonly seed: number;
  /** Null: half of what is measured. */
  readonly rate: number | null;
  readonly isJson: boolean;
}

/** One quiet point of one node. */
interface Point {
  readonly minute: number;
  readonly region: Region;
  readonly rssBytes: number;
  /** The least heap that was seen in the cycle: what is left after a collection. */
  readonly heapFloorBytes: number;
  readonly openFds: number;
  /** The most exchanges under way at a sample of the cycle. */
  readonly inFlightMax: number;
  readonly ends: Readonly<Record<string, number>>;
  readonly forwarded: number;
  readonly unaccounted: readonly string[];
}

/** The verdict, with what it was made from. */
interface Result {
  readonly isGood: boolean;
  readonly problems: readonly string[];
  readonly seed: number;
  readonly minutes: number;
  readonly ratePerSecond: number;
  readonly machine: Readonly<Record<string, string | number | null>>;
  readonly clients: Readonly<Record<Region, Tally>>;
  readonly nodes: Readonly<Record<Region, NodeSample>>;
  readonly openFdsAtStart: Readonly<Record<Region, number>>;
  readonly rss: Readonly<Record<Region, Growth>>;
  readonly heapFloor: Readonly<Record<Region, Growth>>;
  readonly habits: Readonly<Record<string, number>>;
  readonly statuses: Readonly<Record<string, number>>;
  readonly faults: Readonly<Record<string, number>>;
  readonly wrongCount: number;
  readonly wrong: readonly string[];
  readonly points: readonly Point[];
}

function readOptions(args: readonly string[]): Options | string {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        minutes: { type: 'string', default: '60' },
        seed: { type: 'string', default: String(Date.now() % 1_000_000) },
        rate: { type: 'string' },
        output: { type: 'string', short: 'o', default: 'table' },
      },
    });
    const minutes = Number(values.minutes);
    const seed = Number(values.seed);
    const rate = values.rate === undefined ? null : Number(values.rate);
    if (!(minutes >= 0.1 && minutes <= 100_000)) return '--minutes: 0.1 to 100000';
    if (!Number.isSafeInteger(seed)) return '--seed: a whole number';
    if (rate !== null && !(rate >= 1 && rate <= 100_000)) return '--rate: 1 to 100000';
    if (values.output !== 'table' && values.output !== 'json') return '-o: table or json';
    return { minutes, seed, rate, isJson: values.output === 'json' };
  } catch (cause) {
    return cause instanceof Error ? cause.message : String(cause);
  }
}

async function scrape(world: World, region: Region): Promise<NodeSample> {
  const url = `${world.nodes[region].adminUrl}/metrics`;
  return readSample(await (await fetch(url, { signal: AbortSignal.timeout(10_000) })).text());
}

/** One run. */
class Soak {
  readonly #options: Options;
  readonly #load: Load;
  readonly #runner: FaultRunner;
  readonly #world: World;
  readonly #stop: AbortSignal;
  readonly #points: Point[] = [];
  readonly #problems: string[] = [];
  readonly #floors = new Map<Region, number>();
  readonly #widths = new Map<Region, number>();
  #rate = 0;
  /** The quiet points are waited for to their end, also after Ctrl-C. */
  readonly #never = new AbortController().signal;

  constructor(options: Options, world: World, load: Load, runner: FaultRunner, stop: AbortSignal) {
    this.#options = options;
    this.#world = world;
    this.#load = load;
    this.#runner = runner;
    this.#stop = stop;
  }

  async run(): Promise<Result> {
    const base = await this.#bothFds();
    this.#rate = this.#options.rate ?? Math.max(1, Math.floor((await this.#measure()) / 2));
    const { seed, minutes } = this.#options;
    note(`soak: seed ${seed}, ${minutes} min, ${this.#rate} requests/s`);
    const plans = createPrng(seed ^ 0x5eed);
    const startMs = performance.now();
    const endMs = startMs + minutes * 60_000;
    while (!this.#stop.aborted && performance.now() < endMs - REST_MS_MIN) {
      const leftMs = endMs - performance.now();
      // No stump of a cycle at the end: the last one takes what is left.
      const cycleMs = leftMs < CYCLE_MS * 1.5 ? leftMs : CYCLE_MS;
      await this.#cycle(plans, cycleMs, startMs);
    }
    const ranMinutes = (performance.now() - startMs) / 60_000;
    await this.#recover();
    const nodes = await this.#settle(base);
    return this.#judge(ranMinutes, nodes, base);
  }

  /** What the nodes take without faults, closed loop, requests/s. */
  async #measure(): Promise<number> {
    const endMs = performance.now() + MEASURE_MS;
    let done = 0;
    const worker = async (): Promise<void> => {
      while (performance.now() < endMs) {
        await this.#load.one('plain');
        done += 1;
      }
    };
    await Promise.all(Array.from({ length: MEASURE_WIDTH }, worker));
    return (done / MEASURE_MS) * 1_000;
  }

  /** Load and faults, then a quiet point. */
  async #cycle(plans: ReturnType<typeof createPrng>, cycleMs: number, startMs: number) {
    const loadMs = Math.max(cycleMs - QUIET_MS, cycleMs * 0.5);
    const plan = planFaults(plans, loadMs, this.#world.servers.length);
    const over = new AbortController();
    const faults = this.#runner.run(this.#world, plan, this.#stop);
    const sampling = this.#sample(over.signal);
    await this.#drive(loadMs);
    await faults;
    over.abort();
    await sampling;
    await this.#quiet((performance.now() - startMs) / 60_000);
  }

  /** Begins requests at the rate, at random moments, for `loadMs`. */
  async #drive(loadMs: number): Promise<void> {
    const startMs = performance.now();
    let begun = 0;
    while (performance.now() - startMs < loadMs && !this.#stop.aborted) {
      const due = Math.floor(((performance.now() - startMs) / 1_000) * this.#rate);
      for (; begun < due; begun += 1) {
        if (this.#load.underWay < WIDTH_MAX) void this.#load.one();
      }
      await rest(TICK_MS, this.#stop);
    }
  }

  async #sample(signal: AbortSignal): Promise<void> {
    do {
      for (const region of REGIONS) {
        const { heapUsedBytes, inFlight } = await scrape(this.#world, region);
        const floor = this.#floors.get(region) ?? Number.POSITIVE_INFINITY;
        this.#floors.set(region, Math.min(floor, heapUsedBytes));
        this.#widths.set(region, Math.max(this.#widths.get(region) ?? 0, inFlight));
      }
    } while (await rest(SAMPLE_MS, signal));
  }

  /** Waits until nothing is under way, then compares the books. */
  async #quiet(minute: number): Promise<void> {
    await until('all requests ended', () => this.#load.underWay === 0, TOTAL_MS * 4);
    const rows: string[] = [];
    for (const region of REGIONS) {
      const tally = this.#load.tallies[region];
      let sample = await scrape(this.#world, region);
      // A node learns of a client that left, and of an answer's last byte, after the client itself.
      const endMs = performance.now() + 8_000;
      while (unaccounted(sample, tally).length > 0 && performance.now() < endMs) {
        await rest(100, this.#never);
        sample = await scrape(this.#world, region);
      }
      const point: Point = {
        minute,
        region,
        rssBytes: sample.rssBytes,
        heapFloorBytes: Math.min(this.#floors.get(region) ?? Infinity, sample.heapUsedBytes),
        openFds: sample.openFds,
        inFlightMax: this.#widths.get(region) ?? 0,
        ends: sample.ends,
        forwarded: sample.forwarded,
        unaccounted: unaccounted(sample, tally),
      };
      this.#points.push(point);
      for (const what of point.unaccounted) {
        this.#problems.push(`minute ${minute.toFixed(1)}, ${region}: ${what}`);
      }
      rows.push(
        `${region} rss ${mib(point.rssBytes)} heap ${mib(point.heapFloorBytes)} ` +
          `fds ${point.openFds} width ${point.inFlightMax} ${endsText(sample)}` +
          (point.unaccounted.length > 0 ? ` UNACCOUNTED ${point.unaccounted.join('; ')}` : ''),
      );
    }
    this.#floors.clear();
    this.#widths.clear();
    const sent = REGIONS.reduce((sum, region) => sum + this.#load.tallies[region].sent, 0);
    note(`${minute.toFixed(1)} min: ${sent} sent, ${this.#load.wrongCount} wrong`);
    for (const row of rows) note(`  ${row}`);
  }

  /** With all faults over, every request must be answered again. */
  async #recover(): Promise<void> {
    await this.#runner.restore(this.#world);
    const answered = (): number =>
      REGIONS.reduce((sum, region) => sum + this.#load.tallies[region].byOutcome.answered, 0);
    const count = 40;
    try {
      await until(
        `${count} of ${count} requests are answered after the faults`,
        async () => {
          const before = answered();
          await Promise.all(Array.from({ length: count }, () => this.#load.one('plain')));
          return answered() - before === count;
        },
        20_000,
      );
    } catch (cause) {
      this.#problems.push(`no recovery: ${String(cause)}`);
    }
  }

  async #bothFds(): Promise<Readonly<Record<Region, number>>> {
    const [near, far] = REGIONS;
    return {
      [near]: (await scrape(this.#world, near)).openFds,
      [far]: (await scrape(this.#world, far)).openFds,
    };
  }

  /** Waits until the nodes hold no more than at the start; gives their last samples. */
  async #settle(base: Readonly<Record<Region, number>>): Promise<Record<Region, NodeSample>> {
    closeConnections();
    const last: Partial<Record<Region, NodeSample>> = {};
    for (const region of REGIONS) {
      const endMs = performance.now() + 12_000;
      let problems: string[];
      let sample: NodeSample;
      do {
        await rest(200, this.#never);
        sample = await scrape(this.#world, region);
        problems = [...unaccounted(sample, this.#load.tallies[region])];
        if (sample.connections > 0) problems.push(`${sample.connections} connections are open`);
        if (sample.openFds > base[region] + FDS_SLACK) {
          problems.push(`${sample.openFds} files are open, at the start ${base[region]}`);
        }
        if (sample.seriesMerged > 0) problems.push('a metric has too many series');
      } while (problems.length > 0 && performance.now() < endMs);
      for (const what of problems) this.#problems.push(`at the end, ${region}: ${what}`);
      last[region] = sample;
    }
    return last as Record<Region, NodeSample>;
  }

  #judge(
    minutes: number,
    nodes: Record<Region, NodeSample>,
    base: Readonly<Record<Region, number>>,
  ): Result {
    const growth = (field: 'rssBytes' | 'heapFloorBytes'): Record<Region, Growth> => {
      const of = (region: Region): Growth =>
        growthOf(
          this.#points
            .filter((point) => point.region === region)
            .map((point) => [point.minute, point[field]] as const),
        );
      return { 'near-1': of('near-1'), 'far-1': of('far-1') };
    };
    const rss = growth('rssBytes');
    const problems = [...this.#problems];
    for (const region of REGIONS) {
      if (rss[region].isFlat) continue;
      const percent = rss[region].thirdsPercent.toFixed(1);
      problems.push(`${region}: memory grew ${percent} %, more than ${GROWTH_PERCENT_MAX} %`);
    }
    if (this.#load.wrongCount > 0) problems.push(`${this.#load.wrongCount} wrong answers`);
    return {
      isGood: problems.length === 0,
      problems,
      seed: this.#options.seed,
      minutes,
      ratePerSecond: this.#rate,
      machine: machine(),
      clients: this.#load.tallies,
      nodes,
      openFdsAtStart: base,
      rss,
      heapFloor: growth('heapFloorBytes'),
      habits: Object.fromEntries(this.#load.habits),
      statuses: Object.fromEntries(this.#load.statuses),
      faults: Object.fromEntries(this.#runner.counts),
      wrongCount: this.#load.wrongCount,
      wrong: this.#load.wrong,
      points: this.#points,
    };
  }
}

function mib(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)}M`;
}

function endsText({ ends, forwarded }: NodeSample): string {
  const parts = Object.entries(ends).map(([end, count]) => `${end} ${count}`);
  return `${parts.join(' ')} (forwarded ${forwarded})`;
}

function machine(): Readonly<Record<string, string | number | null>> {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
    platform: `${process.platform}-${process.arch}`,
    node: process.version,
    commit: commit(),
  };
}

function commit(): string | null {
  try {
    const cwd = dirname(dirname(import.meta.dirname));
    return execFileSync('git', ['rev-parse', 'HEAD'], { cwd, stdio: 'pipe' }).toString().trim();
  } catch {
    return null; // Not a clone, or no git: the figures stand without it.
  }
}

/** Progress goes to standard error, the result to standard output. */
function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

function render(result: Result): string {
  const lines = [`seed ${result.seed}, ${result.minutes.toFixed(1)} min`];
  for (const region of REGIONS) {
    const { sent, byOutcome } = result.clients[region];
    const outcomes = Object.entries(byOutcome).map(([outcome, count]) => `${outcome} ${count}`);
    const { isJudged, thirdsPercent, theilSenPercentHour } = result.rss[region];
    lines.push(
      `${region}: sent ${sent} = ${outcomes.join(' + ')}`,
      `  node: ${endsText(result.nodes[region])}`,
      `  open files ${result.nodes[region].openFds}, at the start ${result.openFdsAtStart[region]}`,
      isJudged
        ? `  memory: last third ${thirdsPercent.toFixed(2)} % over the second, ` +
            `slope ${theilSenPercentHour.toFixed(2)} %/h`
        : '  memory: not judged, the run is too short',
    );
  }
  for (const wrong of result.wrong) lines.push(`wrong: ${wrong}`);
  for (const problem of result.problems) lines.push(`problem: ${problem}`);
  lines.push(result.isGood ? 'soak: all good' : 'soak: FAILED');
  return `${lines.join('\n')}\n`;
}

async function main(): Promise<number> {
  helpIfAsked(USAGE);
  const options = readOptions(process.argv.slice(2));
  if (typeof options === 'string') {
    note(`soak: ${options}\n${USAGE}`);
    return 2;
  }
  const stop = new AbortController();
  process.on('SIGINT', () => {
    if (stop.signal.aborted) process.exit(130);
    note('soak: stopping; the verdict follows (once more: stop at once)');
    stop.abort();
  });
  const runner = new FaultRunner(createPrng(options.seed ^ 0xfa17));
  let load: Load | null = null;
  const world = await startWorld({
    chooseFault: (server, request) => {
      load?.arrived(request.body);
      return runner.choose(server);
    },
  });
  load = new Load(createPrng(options.seed), {
    'near-1': world.nodes['near-1'].apiUrl,
    'far-1': world.nodes['far-1'].apiUrl,
  });
  const result = await new Soak(options, world, load, runner, stop.signal).run();
  process.stdout.write(options.isJson ? `${JSON.stringify(result, null, 1)}\n` : render(result));
  return result.isGood ? 0 : 1;
}

try {
  process.exitCode = await main();
} finally {
  await cleanUp();
  closeConnections();
}
