/**
 * A worker of a node: the public listener and the exchanges, in a process of its own. What the node
 * has once (links to regions, model servers, probes, admin listener, the ledger of limits) stays with
 * the first process, at the other end of the channel.
 *
 * K1: a worker does nothing of its own accord that outlives the channel: its end is the worker's end.
 */

import { randomBytes } from 'node:crypto';

import { unreachable } from '../../base/assert.ts';
import { LEASE_LIMITS, WORKER_LIMITS } from '../../base/workerLimits.ts';
import { parseTargetName } from '../../base/names.ts';
import { createPrng } from '../../base/prng.ts';
import { createClock, createTimers } from '../../io/clock.ts';
import { watchLoop } from '../../io/loopLag.ts';
import {
  createLog,
  createLogObserver,
  joinObservers,
  type LogOwner,
} from '../../io/observe/log.ts';
import { createMetrics, type Metrics } from '../../io/observe/metrics.ts';
import type { OtlpExporter } from '../../io/observe/otlp.ts';
import { Gateway } from '../../replica/gateway.ts';
import { createRegionView } from '../../replica/knownRegions.ts';
import type { Observer } from '../../replica/observer.ts';
import type { LeaseDesk } from '../../replica/policy.ts';
import type { Credit, LeaseAnswer } from '../../routing/lease.ts';
import { PROBE_FAILURES_MAX } from '../../routing/health.ts';
import { dieOnBugs } from '../dieOnBugs.ts';
import type { OriginShell } from '../config/build.ts';
import { joinUpstreams } from '../platform.ts';
import type { ApiListening, Closable, SocketSide } from '../platform.ts';
import { listenApi, openUpstream } from '../realPlatform.ts';
import { openTracer } from '../tracer.ts';
import { VERSION } from '../version.ts';
import { WorkerClaims } from './claims.ts';
import type { FromWorker, ToWorker, WorkerConfig } from './messages.ts';
import { RegionCaller } from './regionCalls.ts';
import { ToldRegions } from './toldRegions.ts';

/** The channel to the first process. */
export interface WorkerChannel {
  send(message: FromWorker): void;
  /** Ends the worker; what it sent before arrives. */
  end(): void;
}

/** News that say nothing are left out, but one each so often shows that the worker lives, ms. */
const ALIVE_MS = 500;

type Start = Extract<ToWorker, { kind: 'start' }>;

/** Makes a worker; it begins with the message `start`. The result takes the messages. */
export function createWorker(channel: WorkerChannel): (message: ToWorker) => void {
  let worker: Worker | null = null;
  return (message) => {
    if (worker !== null) return worker.came(message);
    if (message.kind !== 'start') return; // Meant for the worker before this one.
    const made = new Worker(channel, message);
    worker = made;
    made.open(message).catch((cause: unknown) => {
      channel.send({ kind: 'failed', why: cause instanceof Error ? cause.message : String(cause) });
      channel.end();
    });
  };
}

class Worker {
  readonly #channel: WorkerChannel;
  readonly #clock = createClock();
  readonly #timers = createTimers();
  readonly #log: LogOwner;
  readonly #metrics: Metrics;
  readonly #caller: RegionCaller;
  readonly #claims: WorkerClaims;
  readonly #regions: ToldRegions;
  readonly #asked = new Map<number, (answer: LeaseAnswer) => void>();
  /** Messages that came before the listener stood; null: it stands. */
  #early: ToWorker[] | null = [];
  /** Leased by answers that came too late. */
  readonly #late: (readonly [key: string, left: Credit])[] = [];
  #nextAsk = 0;
  #newsMs = 0;
  #metricsMs = 0;
  #exchanges = 0;
  /** Closed from the last to the first. */
  readonly #open: Closable[] = [];
  #sockets: SocketSide | null = null;
  #tracer: OtlpExporter | null = null;
  #gateway: Gateway | null = null;
  #api: ApiListening | null = null;

  constructor(channel: WorkerChannel, start: Start) {
    this.#channel = channel;
    const { region, node } = start.config.node;
    const { logLevel } = start.config;
    this.#log = createLog(logLevel, { region, node, worker: start.worker }, { fd: 1 });
    dieOnBugs(this.#log);
    this.#metrics = createMetrics({ version: VERSION, nodeVersion: process.version, region, node });
    this.#metrics.setLogDropped(() => this.#log.dropped());
    this.#caller = new RegionCaller((message) => channel.send(message));
    this.#claims = new WorkerClaims((message) => channel.send(message));
    this.#regions = new ToldRegions(this.#clock);
  }

  async open(start: Start): Promise<void> {
    const { config, workers, api, apiTls } = start;
    const clock = this.#clock;
    const sockets = await openUpstream(config.origins, clock);
    this.#open.push(sockets);
    this.#sockets = sockets;
    const tracer = await this.#openTracer(config);
    const gateway = new Gateway({
      config: config.node,
      clock,
      timers: this.#timers,
      prng: createPrng(randomBytes(4).readUInt32LE()),
      upstream: joinUpstreams(sockets.upstream, this.#caller),
      observer: joinObservers([this.#metrics, withoutHealth(createLogObserver(this.#log))]),
      ...(tracer === null ? {} : { tracer }),
      ...(start.hasPeers ? { regions: createRegionView(this.#regions) } : {}),
      processes: { count: workers, desk: this.#desk() },
      ...(start.hasClaims ? { claims: this.#claims.desk(() => config.node.peer) } : {}),
    });
    this.#gateway = gateway;
    this.#setKnown(config);
    watchLoop(clock, (lagMs) => gateway.onLoopLag(lagMs));
    const listening = await listenApi(
      {
        address: api,
        tls: apiTls,
        handler: gateway,
        requestBodyBytesMax: config.node.requestBodyBytesMax,
        processes: workers,
        onRefused: (code, remote) => {
          this.#metrics.httpRefused(code);
          if (this.#log.isDebug) this.#log.debug('http-refused', { code, remote });
        },
      },
      clock,
    );
    this.#open.push(listening);
    this.#api = listening;
    this.#metrics.setConnections(() => listening.connections());
    this.#channel.send({ kind: 'listening' });
    const early = this.#early ?? [];
    this.#early = null;
    for (const message of early) this.#take(message);
    this.#tick(gateway);
  }

  came(message: ToWorker): void {
    if (this.#early === null) this.#take(message);
    else this.#early.push(message);
  }

  #take(message: ToWorker): void {
    switch (message.kind) {
      case 'start':
        return;
      case 'heard':
        return this.#gateway?.hearSiblings(message.report);
      case 'lease':
        this.#asked.get(message.id)?.(message.answer);
        return;
      case 'config':
        this.#reply(message.id, this.#apply(message.config));
        return;
      case 'tls':
        this.#reply(message.id, this.#api?.reloadTls() ?? Promise.resolve(null));
        return;
      case 'metrics':
        return this.#sendMetrics(message.id);
      case 'drain':
        this.#gateway?.drain();
        this.#tellNews();
        this.#channel.send({ kind: 'done', id: message.id, why: null });
        return;
      case 'abort':
        return this.#gateway?.abortAll();
      case 'close':
        return void this.#close();
      case 'probe':
        return this.#setProbe(message.target, message.isHealthy);
      case 'child':
        return this.#setChild(message.target, message.isRunning);
      case 'regions':
        return this.#regions.told(message.regions);
      case 'region-lost':
        return this.#gateway?.placeLost('region', message.region);
      case 'claimed':
        return this.#claims.came(message);
      case 'call-head':
      case 'call-body':
      case 'call-end':
      case 'call-failed':
        return this.#caller.came(message);
      default:
        unreachable(message);
    }
  }

  /** Asks the ledger; where no word comes in time the request is refused. */
  #desk(): LeaseDesk {
    return (ask, done) => {
      const id = this.#nextAsk++;
      const limit = this.#timers.after(LEASE_LIMITS.answerMs, () => {
        // Should its word come after all, nobody spends what it leased.
        this.#asked.set(id, ({ credit }) => {
          this.#asked.delete(id);
          this.#late.push([ask.key, credit]);
        });
        const credit = { slots: 0, requests: 0, tokens: 0 };
        const retryAfterMs = LEASE_LIMITS.answerMs;
        done({ limited: 'requests', retryAfterMs, credit, requests: null, tokens: null });
      });
      this.#asked.set(id, (answer) => {
        this.#asked.delete(id);
        limit.cancel();
        done(answer);
      });
      this.#channel.send({ kind: 'ask', id, ask });
    };
  }

  #tick(gateway: Gateway): void {
    this.#tellNews();
    if (this.#clock.nowMs() - this.#metricsMs >= WORKER_LIMITS.metricsMs) this.#sendMetrics(null);
    this.#timers.after(WORKER_LIMITS.newsMs, () => this.#tick(gateway));
  }

  #tellNews(): void {
    const report = this.#gateway?.siblingReport() ?? null;
    if (report === null) return;
    const back = [...(this.#gateway?.policy.exchange(this.#clock) ?? []), ...this.#late.splice(0)];
    const nowMs = this.#clock.nowMs();
    const isEmpty = report.loads.length + report.news.length + back.length === 0;
    const isSame = isEmpty && report.exchanges === this.#exchanges;
    if (isSame && nowMs - this.#newsMs < ALIVE_MS) return;
    this.#newsMs = nowMs;
    this.#exchanges = report.exchanges;
    this.#channel.send({ kind: 'news', report, back });
  }

  #sendMetrics(id: number | null): void {
    this.#metricsMs = this.#clock.nowMs();
    const told = this.#metrics.samples().then((samples) => {
      this.#channel.send({ kind: 'metrics', id, samples });
    });
    told.catch((cause: unknown) => this.#log.error('metrics-failed', { cause: String(cause) }));
  }

  async #apply(config: WorkerConfig): Promise<string | null> {
    const refused = (await this.#sockets?.setOrigins(config.origins)) ?? null;
    if (refused !== null) return refused;
    this.#gateway?.reconfigure(config.node);
    this.#api?.setRequestBodyBytesMax(config.node.requestBodyBytesMax);
    this.#setKnown(config);
    this.#log.setLevel(config.logLevel);
    if (config.tracing !== null) this.#tracer?.setSampleRatio(config.tracing.sampleRatio);
    return null;
  }

  async #openTracer({ tracing, node }: WorkerConfig): Promise<OtlpExporter | null> {
    if (tracing === null) return null;
    const clock = this.#clock;
    const platform = {
      clock,
      timers: this.#timers,
      openUpstream: (origins: readonly OriginShell[]) => openUpstream(origins, clock),
    };
    const { exporter, sockets } = await openTracer(tracing, node, platform);
    this.#open.push(sockets, exporter);
    this.#metrics.setSpans(() => exporter);
    this.#tracer = exporter;
    return exporter;
  }

  #reply(id: number, doing: Promise<string | null>): void {
    doing.then(
      (why) => this.#channel.send({ kind: 'done', id, why }),
      (cause: unknown) => this.#channel.send({ kind: 'done', id, why: String(cause) }),
    );
  }

  #setKnown({ node }: WorkerConfig): void {
    this.#metrics.setKnown(
      node.models.map(({ name }) => name),
      node.targets.map(({ name }) => name),
    );
  }

  #setProbe(target: string, isHealthy: boolean): void {
    const name = parseTargetName(target);
    if (name.ok) this.#gateway?.setProbe(name.value, isHealthy);
  }

  #setChild(target: string, isRunning: boolean): void {
    const name = parseTargetName(target);
    if (!name.ok) return;
    // One failed probe may be chance; that the process is gone is not.
    const times = isRunning ? 1 : PROBE_FAILURES_MAX;
    for (let count = 0; count < times; count += 1) {
      this.#gateway?.setTargetHealth(name.value, isRunning);
    }
  }

  async #close(): Promise<void> {
    for (let part = this.#open.pop(); part !== undefined; part = this.#open.pop()) {
      await part.close();
    }
    this.#tellNews();
    this.#log.flush();
    this.#channel.end();
  }
}

/** Every process sees each change of health; the first one logs it. */
function withoutHealth(observer: Observer): Observer {
  return { ...observer, targetHealth: () => {} };
}
