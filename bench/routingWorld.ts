/** One run: arrivals through a real `ModelRouter` onto simulated servers. */

import { createPrng, type Prng } from '../src/base/prng.ts';
import { parseTargetName, type TargetName } from '../src/base/names.ts';
import { ModelRouter, type AttemptToken } from '../src/routing/router.ts';
import type { Algorithm } from '../src/routing/algorithms/algorithm.ts';
import { routeSpec } from '../src/routing/testkit.ts';
import type { AlgorithmName } from '../src/routing/spec.ts';
import { Server, type ServerKind } from './routingServer.ts';
import type { Arrival } from './routingWorkload.ts';

/** What is wrong with the first server. */
export type Fault = 'none' | 'gray' | 'fast-fail';

/** What a run measured, warm-up left out. */
export interface RunResult {
  readonly requests: number;
  readonly ttftMsP50: number;
  readonly ttftMsP99: number;
  /** Share of requests within both limits, 0 to 1. */
  readonly goodput: number;
  /** Token-weighted share of prompts found in caches. */
  readonly hitShare: number;
  /** Largest over mean work of the servers. */
  readonly imbalance: number;
  readonly failed: number;
  readonly preemptions: number;
}

const GRAY_FACTOR = 5;
const FAST_FAIL_MS = 5;
const ATTEMPTS_MAX = 4;
const WARM_UP_SHARE = 0.2;
/** The gateway's estimate of a prompt's tokens is off by up to this share. */
const ESTIMATE_ERROR = 0.15;

interface Running {
  readonly arrival: Arrival;
  readonly excluded: Set<TargetName>;
  readonly estimate: number;
  attempts: number;
  token: AttemptToken | null;
  firstMs: number;
  endMs: number;
}

/** Runs `arrivals` over `count` servers. */
export function runWorld(options: {
  readonly algorithm: AlgorithmName;
  readonly variant: (() => Algorithm) | null;
  readonly kind: ServerKind;
  readonly count: number;
  readonly arrivals: readonly Arrival[];
  readonly fault: Fault;
  readonly seed: number;
}): RunResult {
  const world = new World(options);
  return world.run(options.arrivals);
}

class World {
  readonly #servers: readonly Server[];
  readonly #names: readonly TargetName[];
  readonly #router: ModelRouter;
  readonly #prng: Prng;
  readonly #kind: ServerKind;
  readonly #hasFastFail: boolean;
  readonly #requests: Running[] = [];
  /** Failures on their way back, in order of time. */
  #failures: { readonly atMs: number; readonly id: number }[] = [];

  constructor(options: Parameters<typeof runWorld>[0]) {
    const names = Array.from({ length: options.count }, (_, index) => `t${index}`);
    this.#names = names.flatMap((name) => {
      const parsed = parseTargetName(name);
      return parsed.ok ? [parsed.value] : [];
    });
    const spec = routeSpec(names, options.algorithm);
    const { variant } = options;
    this.#router = new ModelRouter(spec, undefined, 0, () => {}, variant?.() ?? null);
    this.#prng = createPrng(options.seed * 31 + 7);
    this.#kind = options.kind;
    this.#hasFastFail = options.fault === 'fast-fail';
    this.#servers = this.#names.map((_, index) => {
      const isGray = options.fault === 'gray' && index === 0;
      return new Server(options.kind, isGray ? GRAY_FACTOR : 1, {
        onFirst: (id, nowMs) => this.#first(id, nowMs),
        onFinish: (id, nowMs) => this.#finish(id, nowMs),
      });
    });
  }

  run(arrivals: readonly Arrival[]): RunResult {
    let next = 0;
    const lastMs = arrivals.at(-1)?.atMs ?? 0;
    const stopMs = lastMs + 120_000;
    for (;;) {
      const arrivalMs = arrivals[next]?.atMs ?? Infinity;
      const failureMs = this.#failures[0]?.atMs ?? Infinity;
      let server: Server | null = null;
      for (const each of this.#servers) {
        if (each.endMs < (server?.endMs ?? Infinity)) server = each;
      }
      const stepMs = server?.endMs ?? Infinity;
      const nowMs = Math.min(arrivalMs, failureMs, stepMs);
      if (nowMs > stopMs) break;
      if (nowMs === failureMs) this.#failed(nowMs);
      else if (nowMs === arrivalMs) {
        const arrival = arrivals[next];
        next += 1;
        if (arrival !== undefined) this.#arrive(arrival);
      } else server?.step();
    }
    return this.#measure(lastMs);
  }

  #arrive(arrival: Arrival): void {
    const error = 1 + ESTIMATE_ERROR * (2 * this.#prng.nextFloat() - 1);
    const running: Running = {
      arrival,
      excluded: new Set(),
      estimate: Math.max(1, Math.round(arrival.promptTokens * error)),
      attempts: 0,
      token: null,
      firstMs: Infinity,
      endMs: Infinity,
    };
    this.#requests.push(running);
    this.#send(this.#requests.length - 1, arrival.atMs);
  }

  #send(id: number, nowMs: number): void {
    const running = this.#requests[id];
    if (running === undefined || running.attempts >= ATTEMPTS_MAX) return;
    const { sessionKey, prefixHash, promptTokens, outputTokens, blocks } = running.arrival;
    const request = {
      sessionKey,
      prefixHash,
      promptTokens: running.estimate,
      excluded: running.excluded,
    };
    const pick = this.#router.pick(request, nowMs, this.#prng);
    if (pick === null) return;
    running.attempts += 1;
    running.token = this.#router.started(pick.target, pick.prefillTokens, nowMs);
    const index = this.#names.indexOf(pick.target);
    if (this.#hasFastFail && index === 0) {
      this.#failures.push({ atMs: nowMs + FAST_FAIL_MS, id });
      running.excluded.add(pick.target);
      return;
    }
    this.#servers[index]?.submit(id, promptTokens, outputTokens, blocks, nowMs);
  }

  #failed(nowMs: number): void {
    const failure = this.#failures.shift();
    const running = this.#requests[failure?.id ?? -1];
    if (failure === undefined || running?.token == null) return;
    this.#router.finished(running.token, { kind: 'failed', phase: 'before-content' }, nowMs);
    this.#send(failure.id, nowMs);
  }

  #first(id: number, nowMs: number): void {
    const running = this.#requests[id];
    if (running?.token == null) return;
    running.firstMs = nowMs;
    this.#router.firstContent(running.token, nowMs);
  }

  #finish(id: number, nowMs: number): void {
    const running = this.#requests[id];
    if (running?.token == null) return;
    running.endMs = nowMs;
    this.#router.finished(running.token, { kind: 'answered' }, nowMs);
  }

  #measure(lastMs: number): RunResult {
    const fromMs = lastMs * WARM_UP_SHARE;
    const counted = this.#requests.filter((each) => each.arrival.atMs >= fromMs);
    const ttfts = counted.map((each) => each.firstMs - each.arrival.atMs).toSorted((a, b) => a - b);
    const good = counted.filter((each) => isGood(each, this.#kind.tpotMs)).length;
    const work = this.#servers.map((server) => server.workTokens);
    const meanWork = work.reduce((sum, tokens) => sum + tokens, 0) / work.length;
    const total = (figure: (server: Server) => number): number =>
      this.#servers.reduce((sum, server) => sum + figure(server), 0);
    return {
      requests: counted.length,
      ttftMsP50: ttfts[Math.floor(ttfts.length * 0.5)] ?? Infinity,
      ttftMsP99: ttfts[Math.floor(ttfts.length * 0.99)] ?? Infinity,
      goodput: good / counted.length,
      hitShare:
        total((each) => each.hitTokens) /
        Math.max(
          1,
          total((each) => each.promptTokensSeen),
        ),
      imbalance: Math.max(...work) / meanWork,
      failed: counted.filter((each) => each.endMs === Infinity).length,
      preemptions: total((each) => each.preemptions),
    };
  }
}

/** TTFT within 1 s + 62.5 ms per 1,000 prompt tokens, and time per output token within the limit. */
function isGood(running: Running, tpotMs: number): boolean {
  const { arrival, firstMs, endMs } = running;
  const ttftMs = firstMs - arrival.atMs;
  if (!(ttftMs <= 1_000 + (62.5 * arrival.promptTokens) / 1_000)) return false;
  if (arrival.outputTokens <= 1) return endMs < Infinity;
  return (endMs - firstMs) / (arrival.outputTokens - 1) <= tpotMs;
}
