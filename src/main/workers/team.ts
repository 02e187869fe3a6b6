/**
 * The workers of a node, led by its first process: started together, told the same configuration,
 * joined by news, limits leased from one ledger.
 *
 * T1: what one worker learns of a target the others know within two exchanges of news, and at once
 * where the target was taken out. T2: a configuration that the first process took reaches every worker:
 * one that does not take it is ended, and begins again with it. T3: a worker that is gone is out of
 * all sums at once, and what it had under way is counted as lost.
 */

import { createServer } from 'node:net';

import { WORKER_LIMITS } from '../../base/workerLimits.ts';
import type { Clock, TimerHandle, Timers, Upstream } from '../../base/ports.ts';
import type { LogOwner } from '../../io/observe/log.ts';
import { MergedMetrics, type MetricSamples } from '../../io/observe/mergedMetrics.ts';
import type { Metrics } from '../../io/observe/metrics.ts';
import type { RegionView as KnownRegion } from '../../regions/directory.ts';
import type { NodeConfig } from '../../replica/config.ts';
import type { Gateway } from '../../replica/gateway.ts';
import { SiblingBoard } from '../../replica/siblings.ts';
import { LeaseLedger, type LeaseReply } from '../../routing/lease.ts';
import type { WorkerRow } from '../adminTypes.ts';
import type { Address } from '../config/address.ts';
import type { TlsFiles } from '../config/build.ts';
import type { ApiListening } from '../platform.ts';
import type { ClaimClerk } from '../registers/claimClerk.ts';
import { ClaimCounter } from './claims.ts';
import type { FromWorker, ToWorker, WorkerConfig } from './messages.ts';
import { RegionCallee } from './regionCalls.ts';
import { WorkerProcess, type LaunchWorker } from './workerProcess.ts';

/** What a team is made from. */
export interface TeamOptions {
  readonly workers: number;
  readonly launch: LaunchWorker;
  readonly api: Address;
  readonly apiTls: TlsFiles | null;
  readonly config: WorkerConfig;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: LogOwner;
  readonly metrics: Metrics;
  /** The gateway of this process: it takes what other regions forward, and knows the sums. */
  readonly gateway: Gateway;
  /** Links to other regions, and what is known of them; null: the node has none. */
  readonly peers: { readonly upstream: Upstream; known(): readonly KnownRegion[] } | null;
  /** Null: `Idempotency-Key` is not looked at. */
  readonly claims: ClaimClerk | null;
}

/** The workers, as the node's public listener and more. */
export interface Team extends ApiListening {
  /** Takes a new configuration; resolves when every worker has it (T2). */
  apply(config: WorkerConfig): Promise<void>;
  /** Resolves when no worker takes new requests any more. */
  drain(): Promise<void>;
  abortAll(): void;
  /** A probe's result, and the state of a model server of ours. */
  probed(target: string, isHealthy: boolean): void;
  childChanged(target: string, isRunning: boolean): void;
  regionLost(region: string): void;
  /** Does any worker serve? */
  isServing(): boolean;
  rows(): readonly WorkerRow[];
  /** Metrics of all processes as one. */
  render(): Promise<{ readonly contentType: string; readonly text: string }>;
  /** The same as samples, one after the other for each process. */
  samples(): Promise<MetricSamples>;
}

/** This process on the board; workers count from 1. */
const OWN = 0;
/** Two turns further apart than this: we stood still ourselves, ms. */
const OWN_STALL_MS = 500;
/** A worker that closes has broken off its connections by then, ms. */
const CLOSE_MS = 3_000;
/** What is known of other regions is told so often, ms. */
const REGIONS_MS = 100;

/** Starts all workers; rejects where one cannot listen, with all of them ended. */
export async function openTeam(options: TeamOptions): Promise<Team> {
  const port = await findPort(options.api);
  const team = new LiveTeam(options, port);
  try {
    await team.open();
  } catch (cause) {
    await team.close();
    throw cause;
  }
  return team;
}

/**
 * The port, free now. Whoever shares a port asks nobody: without this look a second node with the
 * same address would quietly take a part of the first one's connections.
 */
function findPort({ host, port }: Address): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(port, host, () => {
      const address = probe.address();
      const bound = typeof address === 'object' && address !== null ? address.port : port;
      probe.close(() => resolve(bound));
    });
  });
}

interface Member {
  readonly process: WorkerProcess;
  readonly callee: RegionCallee | null;
  readonly claims: ClaimCounter | null;
  /** The end of its last line is still to come. */
  line: string;
}

class LiveTeam implements Team {
  readonly port: number;
  readonly #options: TeamOptions;
  readonly #members: readonly Member[];
  readonly #board = new SiblingBoard();
  readonly #ledger = new LeaseLedger();
  readonly #merged = new MergedMetrics();
  readonly #replies = new Map<
    number,
    { readonly worker: number; done(why: string | null): void }
  >();
  #nextId = 0;
  #config: WorkerConfig;
  #turn: TimerHandle | null = null;
  #turnMs: number;
  #regionsMs = 0;
  #isClosing = false;
  #started: { readonly resolve: () => void; readonly reject: (cause: Error) => void } | null = null;

  constructor(options: TeamOptions, port: number) {
    this.#options = options;
    this.#config = options.config;
    this.#turnMs = options.clock.nowMs();
    this.port = port;
    this.#ledger.setKeys(limitsOf(options.config.node), this.#turnMs);
    this.#board.join(OWN, []);
    const { workers } = options;
    this.#members = Array.from({ length: workers }, (_, at) => this.#makeMember(at + 1));
  }

  open(): Promise<void> {
    const started = new Promise<void>((resolve, reject) => {
      this.#started = { resolve, reject };
    });
    for (const { process } of this.#members) process.start();
    this.#takeTurn();
    return started;
  }

  connections(): number {
    return 0; // Each worker counts its own, and the metrics are summed.
  }

  setRequestBodyBytesMax(): void {} // It is in the configuration that `apply` hands on.

  async reloadTls(): Promise<string | null> {
    for (const { process } of this.#members) {
      const why = await this.#askFor(process, (id) => ({ kind: 'tls', id }));
      if (why !== null) return why; // The files are the same for all: the first one says no.
    }
    return null;
  }

  async apply(config: WorkerConfig): Promise<void> {
    this.#config = config;
    this.#ledger.setKeys(limitsOf(config.node), this.#options.clock.nowMs());
    await Promise.all(
      this.#members.map(async ({ process }) => {
        const why = await this.#askFor(process, (id) => ({ kind: 'config', id, config }));
        if (why === null) return;
        this.#options.log.error('worker-refused', { worker: process.index, why });
        process.kill(); // It begins again with the new one (T2).
      }),
    );
  }

  async drain(): Promise<void> {
    for (const { process } of this.#members) process.stay();
    await Promise.all(
      this.#members.map(({ process }) => this.#askFor(process, (id) => ({ kind: 'drain', id }))),
    );
  }

  abortAll(): void {
    this.#tellAll({ kind: 'abort' });
  }

  probed(target: string, isHealthy: boolean): void {
    this.#tellAll({ kind: 'probe', target, isHealthy });
  }

  childChanged(target: string, isRunning: boolean): void {
    this.#tellAll({ kind: 'child', target, isRunning });
  }

  regionLost(region: string): void {
    this.#tellAll({ kind: 'region-lost', region });
  }

  isServing(): boolean {
    return this.#members.some(({ process }) => process.state === 'running');
  }

  rows(): readonly WorkerRow[] {
    return this.#members.map(({ process }) => ({
      worker: process.index,
      state: process.state,
      pid: process.pid,
      restarts: process.restarts,
      lastEnd: process.lastEnd,
      inFlight: this.#board.exchangesOf(process.index),
    }));
  }

  async samples(): Promise<MetricSamples> {
    await this.#askMetrics();
    return this.#merged.all(await this.#options.metrics.samples());
  }

  async render(): Promise<{ readonly contentType: string; readonly text: string }> {
    await this.#askMetrics();
    return this.#merged.render(await this.#options.metrics.samples());
  }

  async #askMetrics(): Promise<void> {
    const running = this.#members.filter(({ process }) => process.state === 'running');
    await Promise.all(
      running.map(({ process }) =>
        this.#askFor(process, (id) => ({ kind: 'metrics', id }), WORKER_LIMITS.metricsAskMs),
      ),
    );
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    await Promise.all(this.#members.map(({ process }) => process.close(CLOSE_MS)));
    this.#turn?.cancel();
  }

  #makeMember(index: number): Member {
    const { clock, timers, launch, peers, claims: clerk } = this.#options;
    const process = new WorkerProcess({
      index,
      clock,
      timers,
      launch,
      startMessage: () => this.#startMessage(index),
      onMessage: (message) => this.#came(member, message),
      onOutput: (text) => this.#output(member, text),
      onState: () => this.#changed(member),
    });
    const callee =
      peers === null ? null : new RegionCallee(peers.upstream, (message) => process.send(message));
    const claims = clerk && new ClaimCounter(clerk, (message) => process.send(message));
    const member: Member = { process, callee, claims, line: '' };
    return member;
  }

  #startMessage(worker: number): ToWorker {
    const { workers, api, apiTls, peers, claims } = this.#options;
    return {
      kind: 'start',
      worker,
      workers,
      config: this.#config,
      api: { host: api.host, port: this.port },
      apiTls,
      hasPeers: peers !== null,
      hasClaims: claims !== null,
    };
  }

  #came(member: Member, message: FromWorker): void {
    const { index } = member.process;
    switch (message.kind) {
      case 'listening':
        if (this.#members.every(({ process }) => process.state === 'running')) {
          this.#started?.resolve();
          this.#started = null;
        }
        return;
      case 'failed':
        this.#options.log.error('worker-failed', { worker: index, why: message.why });
        this.#started?.reject(new Error(message.why));
        this.#started = null;
        return;
      case 'news':
        this.#board.tell(index, message.report);
        for (const [key, left] of message.back) {
          this.#ledger.giveBack(index, key, left, this.#options.clock.nowMs());
        }
        this.#answer(this.#ledger.due(this.#options.clock.nowMs()));
        if (message.report.news.length > 0) this.#spread(); // What is news to all goes at once.
        return;
      case 'ask':
        return this.#ask(index, message);
      case 'done':
        return this.#replies.get(message.id)?.done(message.why);
      case 'metrics':
        this.#merged.told(index, message.samples);
        if (message.id !== null) this.#replies.get(message.id)?.done(null);
        return;
      case 'call':
      case 'call-cancel':
      case 'call-read':
        return member.callee?.came(message);
      case 'claim':
      case 'claim-over':
        return member.claims?.came(message);
    }
  }

  #ask(worker: number, { id, ask }: Extract<FromWorker, { kind: 'ask' }>): void {
    const reply = this.#ledger.ask(worker, id, ask, this.#options.clock.nowMs());
    if (reply !== null) this.#answer([reply]);
  }

  #answer(replies: readonly LeaseReply[]): void {
    for (const { holder, id, answer } of replies) {
      this.#members[holder - 1]?.process.send({ kind: 'lease', id, answer });
    }
  }

  #changed({ process, callee, claims }: Member): void {
    const { index, state, pid, lastEnd } = process;
    const { log, metrics, gateway } = this.#options;
    log.info('worker', { worker: index, state, pid, lastEnd });
    if (state === 'running') this.#board.join(index, gateway.siblingStanding());
    if (state !== 'backing-off' && state !== 'stopped') return;
    // T3.
    const lost = this.#board.exchangesOf(index);
    this.#board.leave(index);
    this.#ledger.forget(index);
    callee?.close();
    claims?.close();
    const summing = this.#merged.left(index);
    summing.catch((cause: unknown) => log.error('metrics-failed', { cause: String(cause) }));
    for (const [id, reply] of this.#replies) {
      if (reply.worker !== index) continue;
      this.#replies.delete(id);
      reply.done(null); // It will begin with what it was asked to take.
    }
    if (this.#isClosing) return;
    metrics.workerLost(lost);
    log.error('worker-ended', { worker: index, lastEnd, lost });
    this.#started?.reject(new Error(`worker ${index} ended: ${lastEnd}`));
    this.#started = null;
  }

  /** Whole lines go on at once; the log of a node has one writer. */
  #output(member: Member, text: string): void {
    const end = text.lastIndexOf('\n') + 1;
    if (end === 0) {
      member.line += text;
      return;
    }
    this.#options.log.pass(member.line + text.slice(0, end));
    member.line = text.slice(end);
  }

  /** One exchange of news, and what has to be looked at now and then. */
  #takeTurn(): void {
    const { clock, timers } = this.#options;
    const nowMs = clock.nowMs();
    const stoodMs = nowMs - this.#turnMs > OWN_STALL_MS ? nowMs - this.#turnMs : 0;
    this.#turnMs = nowMs;
    this.#spread();
    this.#answer(this.#ledger.due(nowMs));
    if (!this.#isClosing) for (const { process } of this.#members) process.watch(nowMs, stoodMs);
    if (this.#options.peers !== null && nowMs - this.#regionsMs >= REGIONS_MS) {
      this.#regionsMs = nowMs;
      this.#tellAll({ kind: 'regions', regions: this.#options.peers.known() });
    }
    this.#turn = timers.after(WORKER_LIMITS.newsMs, () => this.#takeTurn());
  }

  #spread(): void {
    const { gateway } = this.#options;
    const own = gateway.siblingReport();
    if (own !== null) this.#board.tell(OWN, own);
    const heard = this.#board.take(OWN);
    if (heard !== null) gateway.hearSiblings(heard);
    for (const { process } of this.#members) {
      if (process.state !== 'running') continue;
      const report = this.#board.take(process.index);
      if (report !== null) process.send({ kind: 'heard', report });
    }
  }

  #tellAll(message: ToWorker): void {
    for (const { process } of this.#members) {
      if (process.state === 'running') process.send(message);
    }
  }

  /** Resolves with its word, null where it is gone, a sentence where it says nothing in time. */
  #askFor(
    worker: WorkerProcess,
    message: (id: number) => ToWorker,
    limitMs: number = WORKER_LIMITS.applyMs,
  ): Promise<string | null> {
    if (worker.pid === null) return Promise.resolve(null);
    const id = this.#nextId++;
    return new Promise((resolve) => {
      const limit = this.#options.timers.after(limitMs, () => {
        this.#replies.delete(id);
        resolve(`it did not answer within ${limitMs} ms`);
      });
      this.#replies.set(id, {
        worker: worker.index,
        done: (why) => {
          this.#replies.delete(id);
          limit.cancel();
          resolve(why);
        },
      });
      worker.send(message(id));
    });
  }
}

function limitsOf(config: NodeConfig) {
  return new Map(
    config.keys.map(({ sha256, requestsPerMinute, tokensPerMinute, inFlightMax }) => [
      sha256,
      { requestsPerMinute, tokensPerMinute, inFlightMax },
    ]),
  );
}
