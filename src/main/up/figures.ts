/** What the status page draws: the state of all regions and what their metrics say now. */

import { DEMO_LIMITS } from '../../base/limits.ts';
import { ask } from './ask.ts';
import { clusterRegions, clusterStatus, clusterTargets, type ClusterParts } from './cluster.ts';
import { roundTripMs, type UpPlan } from './plan.ts';

/** Counters of one node at one time. */
interface Sample {
  readonly atMs: number;
  readonly exchanges: number;
  readonly firstTokenSeconds: number;
  readonly firstTokens: number;
}

/** Rates of one region between the last two samples. */
export interface RegionFigures {
  readonly requestsPerSecond: number | null;
  /** Mean of the answers since the sample before; null: none began. */
  readonly firstTokenMs: number | null;
}

/** Sum of all series of a metric in the text format of Prometheus. */
export function sumMetric(text: string, name: string): number {
  let sum = 0;
  for (const line of text.split('\n')) {
    if (!line.startsWith(name)) continue;
    const next = line[name.length];
    if (next !== ' ' && next !== '{') continue;
    const value = Number(line.slice(line.lastIndexOf(' ') + 1));
    if (Number.isFinite(value)) sum += value;
  }
  return sum;
}

/** Takes samples while somebody looks. */
export class Figures {
  readonly #parts: ClusterParts;
  readonly #plan: UpPlan;
  readonly #last = new Map<string, Sample>();
  readonly #figures = new Map<string, RegionFigures>();
  #state: Promise<object> | null = null;
  #takenMs = -Infinity;

  constructor(plan: UpPlan, parts: ClusterParts) {
    this.#plan = plan;
    this.#parts = parts;
  }

  /** The page's state; asked more often than `sampleMs` it is the same. */
  state(): Promise<object> {
    const nowMs = performance.now();
    if (this.#state === null || nowMs - this.#takenMs >= DEMO_LIMITS.sampleMs) {
      this.#takenMs = nowMs;
      this.#state = this.#take();
    }
    return this.#state;
  }

  async #take(): Promise<object> {
    const [status, regions, targets] = await Promise.all([
      clusterStatus(this.#parts),
      clusterRegions(this.#parts),
      clusterTargets(this.#parts),
      ...this.#parts.regions.map(({ plan, pid, state }) =>
        pid === null || state === 'paused'
          ? this.#figures.delete(plan.region)
          : this.#sample(plan.region, plan.adminPort),
      ),
    ]);
    const names = this.#plan.regions;
    return {
      ...status,
      isReady: this.#parts.isReady(),
      regions: status.regions.map((row) => ({
        ...row,
        ...regions.items.find(({ region }) => region === row.region),
        figures: this.#figures.get(row.region) ?? { requestsPerSecond: null, firstTokenMs: null },
        targets: targets.items.filter(({ region }) => region === row.region),
      })),
      links: names.flatMap((a, index) =>
        names.slice(index + 1).map((b) => ({
          a,
          b,
          wantedMs: this.#plan.hasWan ? roundTripMs(a, b) : 0,
        })),
      ),
    };
  }

  async #sample(region: string, port: number): Promise<void> {
    const reply = await ask(port, '/metrics');
    if (reply === null || reply.status !== 200) return void this.#figures.delete(region);
    const firstToken = 'gen_ai_server_time_to_first_token_seconds';
    const sample: Sample = {
      atMs: performance.now(),
      exchanges: sumMetric(reply.text, 'banyan_exchanges_total'),
      firstTokenSeconds: sumMetric(reply.text, `${firstToken}_sum`),
      firstTokens: sumMetric(reply.text, `${firstToken}_count`),
    };
    const last = this.#last.get(region);
    this.#last.set(region, sample);
    // Counters that went back are those of a new process.
    if (last === undefined || sample.exchanges < last.exchanges) return;
    const seconds = (sample.atMs - last.atMs) / 1_000;
    const begun = sample.firstTokens - last.firstTokens;
    const known = this.#figures.get(region)?.firstTokenMs ?? null;
    this.#figures.set(region, {
      requestsPerSecond: (sample.exchanges - last.exchanges) / seconds,
      firstTokenMs:
        begun > 0 ? (1_000 * (sample.firstTokenSeconds - last.firstTokenSeconds)) / begun : known,
    });
  }
}
