/**
 * The gateway of one node: takes requests, decides, and sees every exchange to its end. It composes
 * routing, providers and exchange over the ports; sockets, links and clocks come from outside, so
 * the same gateway runs in production and in the simulator.
 *
 * G1: requests in = answered + refused + failed + client gone + under way (`counts`).
 * G2: a configuration is applied whole; an exchange keeps the one that it began with.
 * G3: a request goes to another region at most once.
 */

import { failure, failureStatus, type Failure } from '../base/errors.ts';
import { headerValue } from '../base/headers.ts';
import { EXCHANGE_LIMITS } from '../base/limits.ts';
import type { TargetName } from '../base/names.ts';
import type { ClientEvents, ClientReply, ClientRequest, RequestHandler } from '../base/ports.ts';
import { Roster } from '../base/roster.ts';
import { traceFields } from '../base/traceContext.ts';
import type { Result } from '../base/result.ts';
import { sendFailure } from '../exchange/clientSide.ts';
import type { Exchange } from '../exchange/exchange.ts';
import type { ExchangeHost } from '../exchange/place.ts';
import type { ParsedRequest } from '../protocol/adapter.ts';
import { estimateCountTokens, TOKEN_COUNT_FIELD } from '../protocol/countTokens.ts';
import type { Dialect, Operation } from '../protocol/dialect.ts';
import { mintRequestId, requestIdFields } from '../protocol/ids.ts';
import { parseRequest } from '../protocol/request.ts';
import { AdmissionGate, PRIORITIES, type NodeLoad, type Priority } from '../routing/admission.ts';
import { RETRY_FLOOR_PER_SECOND, RetryBudget } from '../routing/retry.ts';
import type { NodeConfig } from './config.ts';
import { GatewayExchange, type ExchangeOpening } from './gatewayExchange.ts';
import type { GatewayParts } from './gatewayParts.ts';
import { ClaimQueue } from './idempotency.ts';
import { clip, localRecord, sendJson, sendReadiness, sendText } from './localReply.ts';
import { renderModel, renderModels } from './modelsApi.ts';
import { namesToTry } from './namesToTry.ts';
import type { ExchangeRecord, Observer } from './observer.ts';
import { findRoute, type Route } from './paths.ts';
import { allowsModel, Policy, priorityOf, type Admission, type Refusal } from './policy.ts';
import { NO_REGIONS, type RegionView } from './regionView.ts';
import { residencyRefusal } from './residencyRefusal.ts';
import { buildServing, type Serving } from './serving.ts';
import { beginTrace, type Tracer } from './tracing.ts';
import { Siblings, type SiblingReport, type TargetNews } from './siblings.ts';

/** How many exchanges began and how they ended (G1). */
export interface GatewayCounts {
  started: number;
  answered: number;
  refused: number;
  failed: number;
  clientGone: number;
}

/** A request on its way to its exchange. */
type Asked = ExchangeOpening & { readonly reply: ClientReply };

const NOTHING: ClientEvents = { onGone: () => {}, onDrain: () => {} };

/** One node's gateway. */
export class Gateway implements RequestHandler, NodeLoad {
  readonly counts: GatewayCounts = {
    started: 0,
    answered: 0,
    refused: 0,
    failed: 0,
    clientGone: 0,
  };
  readonly observer: Observer;
  readonly regions: RegionView;
  /** Null: no spans are made. */
  readonly tracer: Tracer | null;
  readonly host: ExchangeHost;
  readonly policy: Policy;
  serving: Serving;
  private readonly parts: GatewayParts;
  private readonly live: Roster<Exchange> = new Roster();
  private readonly budget: RetryBudget;
  private readonly gate: AdmissionGate;
  /** Null: the node is this process alone. */
  readonly siblings: Siblings | null;
  /** What admission looks at: the node. */
  private readonly load: NodeLoad;
  private readonly claims: ClaimQueue;
  /** Bytes of the request bodies of exchanges under way. */
  private liveBytes = 0;
  private isDraining = false;

  constructor(parts: GatewayParts) {
    this.parts = parts;
    this.observer = parts.observer;
    this.regions = parts.regions ?? NO_REGIONS;
    this.tracer = parts.tracer ?? null;
    const count = parts.processes?.count ?? 1;
    this.serving = buildServing(parts.config, null, parts.clock.nowMs(), parts.observer, count);
    this.claims = new ClaimQueue(parts.claims ?? null);
    this.policy = new Policy(parts.config.keys, parts.processes?.desk ?? null);
    this.budget = new RetryBudget({
      percent: parts.config.retryBudgetPercent,
      floorPerSecond: RETRY_FLOOR_PER_SECOND / count,
    });
    this.siblings = parts.processes === undefined ? null : new Siblings(this, count);
    this.load = this.siblings ?? this;
    this.gate = new AdmissionGate(parts.config);
    this.host = {
      clock: parts.clock,
      timers: parts.timers,
      prng: parts.prng,
      upstream: parts.upstream,
      kept: { bytes: 0, bytesMax: EXCHANGE_LIMITS.continuationBytesAllMax / count },
      takeRetry: (nowMs, mayHaveRun, isFree) => {
        const isTaken = this.budget.tryTake(nowMs, mayHaveRun, isFree);
        if (!isTaken) this.observer.retrySuppressed('', 'budget');
        return isTaken;
      },
    };
  }

  /** Exchanges under way in this process. */
  get inFlight(): number {
    return this.live.size;
  }

  /** Exchanges under way in the node: here, and elsewhere as told last. */
  get inFlightAll(): number {
    return this.exchanges + (this.siblings?.exchangesElsewhere ?? 0);
  }

  /** The same with those that wait for a claim, as admission asks for it. */
  get exchanges(): number {
    return this.live.size + this.claims.waiting;
  }

  get bodiesBytes(): number {
    return this.liveBytes + this.claims.bodiesBytes;
  }

  /** Classes refused because the event loop lags, 0 to their number. */
  get pressure(): number {
    return this.gate.pressure;
  }

  /** The event loop was watched for an interval, through all of which it lagged by `lagMs`. */
  onLoopLag(lagMs: number): void {
    this.gate.onLag(lagMs);
    this.observer.loadMeasured(lagMs, this.gate.pressure);
  }

  /** Ready: takes new requests. */
  get isReady(): boolean {
    return !this.isDraining;
  }

  /** Applies a checked configuration, whole. Exchanges under way keep theirs. */
  reconfigure(config: NodeConfig): void {
    const { clock, processes } = this.parts;
    const count = processes?.count ?? 1;
    this.serving = buildServing(config, this.serving, clock.nowMs(), this.observer, count);
    this.policy.replace(config.keys, clock.nowMs());
    this.budget.setPercent(config.retryBudgetPercent);
    this.gate.setLimits(config);
  }

  /** Takes no new requests from now on; those under way go on. */
  drain(): void {
    this.isDraining = true;
  }

  /** Breaks off what is still under way; each client is told in its dialect. */
  abortAll(): void {
    for (const exchange of this.live.all()) exchange.shutDown();
  }

  /** What the node's other processes are told now; null: there are none. */
  siblingReport(): SiblingReport | null {
    return this.siblings?.report(this.serving, this.parts.clock.nowMs()) ?? null;
  }

  /** What a process of the node that begins has to know of the targets. */
  siblingStanding(): readonly TargetNews[] {
    return this.siblings?.standing(this.serving, this.parts.clock.nowMs()) ?? [];
  }

  /** The node's other processes told of themselves. */
  hearSiblings(report: SiblingReport): void {
    this.siblings?.hear(report, this.serving, this.parts.clock.nowMs());
  }

  /** A target was seen dead or alive by other means than a request (probe, process exit). */
  setTargetHealth(target: TargetName, isHealthy: boolean): void {
    this.setProbe(target, isHealthy);
    if (!isHealthy) this.placeLost('target', target);
  }

  /** The result of an active probe: it breaks nothing off, a busy server may miss one. */
  setProbe(target: TargetName, isHealthy: boolean): void {
    const nowMs = this.parts.clock.nowMs();
    for (const { router } of this.serving.models.values()) {
      router.setProbe(target, isHealthy, nowMs);
    }
  }

  /** A place is known to be gone: exchanges that wait for it move on at once. */
  placeLost(kind: 'target' | 'region', name: string): void {
    for (const exchange of this.live.all()) exchange.placeLost(kind, name);
  }

  handle(request: ClientRequest, reply: ClientReply): ClientEvents {
    const isAnthropicClient = headerValue(request.headers, 'anthropic-version') !== null;
    const route = findRoute(request.method, request.path, isAnthropicClient);
    switch (route.kind) {
      case 'operation':
        return this.handleOperation(route.operation, route.dialect, request, reply);
      case 'live':
        sendText(reply, 200, 'ok\n');
        return NOTHING;
      case 'ready':
        sendReadiness(reply, this.isReady, this.serving.config);
        return NOTHING;
      case 'models':
      case 'model':
      case 'unknown':
      case 'wrong-method':
        return this.handleOther(route, request, reply);
    }
  }

  /** Told by an exchange when it is over. */
  exchangeOver(exchange: Exchange, record: ExchangeRecord): void {
    this.live.delete(exchange);
    this.liveBytes -= record.requestBytes;
    this.count(record.end);
    this.observer.exchangeDone(record);
  }

  private count(end: ExchangeRecord['end']): void {
    if (end === 'answered') this.counts.answered += 1;
    else if (end === 'refused') this.counts.refused += 1;
    else if (end === 'failed') this.counts.failed += 1;
    else this.counts.clientGone += 1;
  }

  private requestIdOf(request: ClientRequest): string {
    const given =
      request.forwardedFrom === null ? null : headerValue(request.headers, 'x-request-id');
    return given ?? mintRequestId(this.parts.clock.wallMs(), this.parts.prng);
  }

  /** Refuses before an exchange exists; the request still counts (G1). */
  private refuse(
    request: ClientRequest,
    reply: ClientReply,
    dialect: Dialect,
    operation: Operation | 'models' | 'other',
    told: Failure,
    more: {
      model?: string;
      keyName?: string;
      headers?: readonly string[];
      requestId?: string;
    } = {},
  ): ClientEvents {
    const requestId = more.requestId ?? this.requestIdOf(request);
    const { region } = this.serving.config;
    const headers = [...requestIdFields(dialect, requestId), 'x-banyan-region', region];
    if (more.headers !== undefined) headers.push(...more.headers);
    sendFailure(reply, dialect, told, requestId, headers);
    this.counts.started += 1;
    this.counts.refused += 1;
    const nowMs = this.parts.clock.nowMs();
    this.observer.exchangeStarted(operation, more.model ?? '');
    const record: ExchangeRecord = {
      ...localRecord(request, requestId, operation, nowMs, more),
      status: failureStatus(told),
      errorCode: told.code,
    };
    this.observer.exchangeDone(record);
    this.traceLocal(request, record);
    return NOTHING;
  }

  private handleOther(
    route: Exclude<Route, { kind: 'operation' | 'live' | 'ready' }>,
    request: ClientRequest,
    reply: ClientReply,
  ): ClientEvents {
    if (route.kind === 'unknown') {
      const told = failure('not_found', `${request.method} ${clip(request.path)}`);
      return this.refuse(request, reply, route.dialect, 'other', told);
    }
    if (route.kind === 'wrong-method') {
      const told = failure('method_not_allowed', `Use ${route.allow}.`);
      const headers = ['allow', route.allow];
      return this.refuse(request, reply, route.dialect, 'other', told, { headers });
    }
    const caller = this.policy.callerOf(request);
    if (!caller.ok) return this.refuse(request, reply, route.dialect, 'models', caller.error);
    const models = [...this.serving.models.values()]
      .map((model) => model.config)
      .filter((model) => allowsModel(caller.value, model.name));
    const ids = requestIdFields(route.dialect, this.requestIdOf(request));
    if (route.kind === 'models') {
      sendJson(reply, renderModels(route.dialect, models), ids);
      return NOTHING;
    }
    const found = models.find((model) => model.name === route.id);
    if (found === undefined) {
      const told = failure('model_not_found', `"${clip(route.id)}"`, { param: 'model' });
      return this.refuse(request, reply, route.dialect, 'models', told);
    }
    sendJson(reply, renderModel(route.dialect, found), ids);
    return NOTHING;
  }

  private handleOperation(
    operation: Operation,
    dialect: Dialect,
    request: ClientRequest,
    reply: ClientReply,
  ): ClientEvents {
    const refuse = (told: Failure, more = {}): ClientEvents =>
      this.refuse(request, reply, dialect, operation, told, more);
    if (this.isDraining) return refuse(failure('draining', '', { retryAfterMs: 1_000 }));
    const caller = this.policy.callerOf(request);
    if (!caller.ok) return refuse(caller.error);
    const keyName = caller.value.name;
    const requestId = this.requestIdOf(request);
    const priority = priorityOf(caller.value, request);
    if (priority === null) {
      const detail = `The field x-banyan-priority must be one of: ${PRIORITIES.join(', ')}.`;
      return refuse(failure('invalid_request', detail), { keyName, requestId });
    }
    const shed = this.shedOf(priority, request, requestId);
    if (shed !== null) return refuse(shed, { keyName, requestId });
    const parsed = parseRequest(operation, request.headers, request.body);
    if (!parsed.ok) return refuse(parsed.error, { keyName });
    const { model } = parsed.value;
    const models = namesToTry(this.serving, this, caller.value, request, parsed.value);
    if ('failure' in models) return refuse(models.failure, { keyName, model });
    const isForwarded = request.forwardedFrom !== null;
    const barred = residencyRefusal(this.serving.config, caller.value.residency, isForwarded);
    if (barred !== null) return refuse(barred, { keyName, model, requestId });
    const asked: Asked = {
      client: request,
      reply,
      request: parsed.value,
      requestId,
      caller: caller.value,
      priority,
      models: models.names,
    };
    const admitted = this.policy.admit(caller.value, parsed.value, this.parts.clock.nowMs());
    return admitted === null ? this.wait(asked) : this.begin(asked, admitted);
  }

  /** Its limits have been asked: opens the exchange, or refuses it. */
  private begin(asked: Asked, admitted: Result<Admission, Refusal>): ClientEvents {
    const { client, reply, request, caller } = asked;
    const { dialect, operation, model } = request;
    const keyName = caller.name;
    if (!admitted.ok) {
      const { failure: told, headers } = admitted.error;
      return this.refuse(client, reply, dialect, operation, told, { keyName, model, headers });
    }
    this.budget.onRequest(this.parts.clock.nowMs());
    if (operation === 'count_tokens' && !this.countsTokens(request, asked.models)) {
      return this.estimateTokens(client, reply, request, admitted.value, keyName);
    }
    return this.claim(asked, admitted.value);
  }

  /** IK1. */
  private claim(asked: Asked, admission: Admission): ClientEvents {
    const { client, reply, request, caller, requestId } = asked;
    const { dialect, operation, model } = request;
    const unused = (): void => admission.settle(null, this.parts.clock.nowMs());
    return this.claims.first(asked, {
      begin: (over) => this.open(over === null ? asked : { ...asked, over }, admission),
      refuse: (told) => {
        unused();
        const more = { keyName: caller.name, model, headers: admission.headers, requestId };
        return this.refuse(client, reply, dialect, operation, told, more);
      },
      gone: () => {
        unused();
        this.leftEarly(asked);
      },
    });
  }

  private open(asked: Asked, admission: Admission): ClientEvents {
    const { client, reply, request } = asked;
    this.counts.started += 1;
    this.observer.exchangeStarted(request.operation, request.model);
    const context = new GatewayExchange(this, asked, admission);
    const exchange = context.open(reply);
    this.live.add(exchange);
    this.liveBytes += client.body.length;
    this.siblings?.admitted(client.body.length);
    exchange.start();
    return exchange;
  }

  /** Holds a request until the node's ledger has answered; a client may leave meanwhile. */
  private wait(asked: Asked): ClientEvents {
    const { request, caller } = asked;
    let events: ClientEvents | null = null;
    let isGone = false;
    this.policy.admitLater(caller, request, this.parts.clock, (admitted) => {
      if (!isGone) {
        events = this.begin(asked, admitted);
        return;
      }
      if (admitted.ok) admitted.value.settle(null, this.parts.clock.nowMs());
      this.leftEarly(asked);
    });
    return {
      onGone: () => {
        isGone = true;
        events?.onGone();
      },
      onDrain: () => events?.onDrain(),
    };
  }

  /** The client left before there was an exchange. */
  private leftEarly({ client, request, caller, requestId }: Asked): void {
    this.counts.started += 1;
    this.counts.clientGone += 1;
    const { operation, model } = request;
    this.observer.exchangeStarted(operation, model);
    const more = { model, keyName: caller.name };
    const nowMs = this.parts.clock.nowMs();
    const base = localRecord(client, requestId, operation, nowMs, more);
    this.observer.exchangeDone({ ...base, end: 'client-gone' });
  }

  /** Why a request is not let in under this load; null: it is. */
  private shedOf(priority: Priority, request: ClientRequest, requestId: string): Failure | null {
    const shed = this.gate.judge(priority, this.load, request.body.length, requestId);
    if (shed === null) return null;
    this.observer.shed(priority, shed.reason);
    const detail = `Requests of class ${priority} are refused for now.`;
    return failure('overloaded', detail, { retryAfterMs: shed.retryAfterMs });
  }

  /** Does any target of these models count tokens itself? */
  private countsTokens(parsed: ParsedRequest, models: readonly string[]): boolean {
    for (const name of models) {
      for (const way of this.serving.models.get(name)?.ways.values() ?? []) {
        if (way.target.adapter.refusal(parsed, way.adapterTarget) === null) return true;
      }
    }
    return false;
  }

  private estimateTokens(
    request: ClientRequest,
    reply: ClientReply,
    parsed: ParsedRequest,
    admission: Admission,
    keyName: string,
  ): ClientEvents {
    const requestId = this.requestIdOf(request);
    const nowMs = this.parts.clock.nowMs();
    const body = estimateCountTokens(parsed);
    const ids = requestIdFields(parsed.dialect, requestId);
    sendJson(reply, body, [...ids, TOKEN_COUNT_FIELD, 'estimate', ...admission.headers]);
    admission.settle(null, nowMs);
    this.counts.started += 1;
    this.counts.answered += 1;
    const { model, operation } = parsed;
    this.observer.exchangeStarted(operation, model);
    const base = localRecord(request, requestId, operation, nowMs, { model, keyName });
    const record: ExchangeRecord = { ...base, end: 'answered', status: 200 };
    this.observer.exchangeDone(record);
    this.traceLocal(request, record);
    return NOTHING;
  }

  /** The span of a request without an exchange. Strangers (no known key) leave none. */
  private traceLocal(request: ClientRequest, record: ExchangeRecord): void {
    if (this.tracer === null || record.keyName === '') return;
    const fields = traceFields(request.headers);
    const { clock, prng } = this.host;
    beginTrace(this.tracer, request, fields, prng)?.done(record, clock);
  }

  /** Does another region run `model`? */
  isKnownElsewhere(model: string): boolean {
    return this.regions.knows(model, this.parts.clock.nowMs());
  }
}
