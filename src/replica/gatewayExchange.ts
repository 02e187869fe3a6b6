/**
 * One exchange as the gateway sees it: its places, its calls, its header fields and its account.
 */

import type { ErrorCode, Failure } from '../base/errors.ts';
import { headerValue, type HeaderList } from '../base/headers.ts';
import { EXCHANGE_LIMITS } from '../base/limits.ts';
import type { ClientReply, ClientRequest } from '../base/ports.ts';
import { traceFields } from '../base/traceContext.ts';
import type { AttemptCall } from '../exchange/attempt.ts';
import { Exchange } from '../exchange/exchange.ts';
import type { ExchangeEnd, ExchangeOwner } from '../exchange/owner.ts';
import type { AttemptReport, Place, PlaceChoice, PlaceQuery } from '../exchange/place.ts';
import type { ParsedRequest } from '../protocol/adapter.ts';
import type { Usage } from '../protocol/dialect.ts';
import { requestIdFields } from '../protocol/ids.ts';
import { hedgeDelayMs } from '../routing/hedge.ts';
import type { Priority } from '../routing/admission.ts';
import { choosePlace, type Chooser } from './choose.ts';
import type { ContinueRule, Deadlines, ModelConfig } from './config.ts';
import type { Gateway } from './gateway.ts';
import { resultOf, type ClaimOver } from './idempotency.ts';
import { renderMetadata } from './metadata.ts';
import { MODEL_FIELD } from './namesToTry.ts';
import type { ExchangeRecord } from './observer.ts';
import { RESIDENCY_FIELD, type Admission, type Caller } from './policy.ts';
import type { ServingModel } from './serving.ts';
import { beginTrace, type ExchangeTrace } from './tracing.ts';

/** What an exchange begins with. */
export interface ExchangeOpening {
  readonly client: ClientRequest;
  readonly request: ParsedRequest;
  readonly requestId: string;
  readonly caller: Caller;
  readonly priority: Priority;
  readonly models: readonly string[];
  /** Of a claimed request: told once what it came to. */
  readonly over?: ClaimOver;
}

const DEFAULT_DEADLINES: Deadlines = {
  connectMs: EXCHANGE_LIMITS.connectMsDefault,
  firstByteMs: EXCHANGE_LIMITS.firstByteMsDefault,
  idleMs: EXCHANGE_LIMITS.idleMsDefault,
  totalMs: EXCHANGE_LIMITS.totalMsDefault,
};

/** Header fields of the client that another region needs; the rest stays here. */
const FORWARDED_FIELDS: ReadonlySet<string> = new Set([
  'content-type',
  'anthropic-version',
  'anthropic-beta',
  'openai-beta',
  'accept-language',
  'x-banyan-continue',
  'x-banyan-hedge',
]);

/** `1.05`: two decimals, without the general case of `toFixed`. */
function hundredths(ms: number): string {
  const all = Math.round(ms * 100);
  const rest = all % 100;
  return `${(all - rest) / 100}.${rest < 10 ? '0' : ''}${rest}`;
}

/** One exchange's owner. */
export class GatewayExchange implements ExchangeOwner {
  private readonly gateway: Gateway;
  private readonly opening: ExchangeOpening;
  private readonly admission: Admission;
  private readonly chooser: Chooser;
  private readonly deadlines: Deadlines;
  private readonly attemptsMax: number;
  private readonly firstModel: ModelConfig | null;
  /** The client's trace, sent on with every call as it came where this exchange is not recorded. */
  private readonly traceFields: HeaderList;
  /** Null: this exchange is not recorded. */
  private readonly tracing: ExchangeTrace | null;
  private hasEarned = false;
  private isRaced = false;

  constructor(gateway: Gateway, opening: ExchangeOpening, admission: Admission) {
    this.gateway = gateway;
    this.opening = opening;
    this.admission = admission;
    const { serving } = gateway;
    this.firstModel = serving.models.get(opening.models[0] ?? '')?.config ?? null;
    this.deadlines = this.firstModel?.deadlines ?? DEFAULT_DEADLINES;
    this.attemptsMax = this.firstModel?.attemptsMax ?? EXCHANGE_LIMITS.attemptsDefault;
    this.traceFields = traceFields(opening.client.headers);
    const { tracer, host } = gateway;
    this.tracing =
      tracer === null ? null : beginTrace(tracer, opening.client, this.traceFields, host.prng);
    this.chooser = {
      serving,
      regions: gateway.regions,
      prng: gateway.host.prng,
      request: opening.request,
      models: opening.models,
      priority: opening.priority,
      isForwarded: opening.client.forwardedFrom !== null,
      residency: opening.caller.residency,
    };
  }

  /** Makes the exchange; the caller starts it. */
  open(reply: ClientReply): Exchange {
    const { client, request, requestId } = this.opening;
    const rule = this.continueRule();
    const info = {
      requestId,
      receivedMs: client.receivedMs,
      deadlines: this.boundedDeadlines(),
      attemptsMax: this.attemptsMax,
      mayContinue: rule !== 'off',
      mayChangeModel: rule === 'fallbacks',
      stall: this.firstModel?.stall ?? null,
      clientHeaders: client.headers,
    };
    return new Exchange(this.gateway.host, this, info, request, reply);
  }

  /** The request's own word counts, else the model's. */
  private continueRule(): ContinueRule {
    const asked = headerValue(this.opening.client.headers, 'x-banyan-continue');
    if (asked === 'off' || asked === 'same-model' || asked === 'fallbacks') return asked;
    return this.firstModel?.continue ?? 'same-model';
  }

  choose(query: PlaceQuery): PlaceChoice {
    return choosePlace(this.chooser, query);
  }

  prepare(
    place: Place,
    request: ParsedRequest,
  ): { readonly call: AttemptCall } | { readonly failure: Failure } {
    const { connectMs } = this.deadlines;
    if (place.target === null) return { call: this.regionCall(place, request, connectMs) };
    const call = place.adapter.prepare(request, place.target);
    if (!call.ok) return { failure: call.error };
    // A field that the configuration fixes counts more than the client's.
    const isFixed = headerValue(call.value.headers, 'traceparent') !== null;
    const fields = this.tracing?.fieldsFor(place) ?? this.traceFields;
    if (fields.length === 0 || isFixed) return { call: { ...call.value, connectMs } };
    const headers = [...call.value.headers, ...fields];
    return { call: { ...call.value, headers, connectMs } };
  }

  hedgeDelayMs(place: Place): number | null {
    const model = place.kind === 'target' ? this.hedgedModel(place) : null;
    if (model === null || model.config.hedge === null) return null;
    if (!this.hasEarned) model.hedges.onRequest();
    this.hasEarned = true;
    const pace = model.router.paceOf(place.name);
    return pace === null ? null : hedgeDelayMs(model.config.hedge, pace.firstTokens);
  }

  takeHedge(place: Place): boolean {
    this.isRaced = true;
    return this.hedgedModel(place)?.hedges.tryTake() ?? false;
  }

  replyHeaders(exchange: Exchange): string[] {
    const place = exchange.current?.place ?? null;
    const { region } = this.gateway.serving.config;
    const headers = requestIdFields(this.opening.request.dialect, this.opening.requestId);
    if (place !== null && place.kind === 'region') {
      // The region that ran it says which target did.
      const theirs = exchange.current?.headers ?? [];
      headers.push('x-banyan-region', headerValue(theirs, 'x-banyan-region') ?? place.name);
      const target = headerValue(theirs, 'x-banyan-target');
      if (target !== null) headers.push('x-banyan-target', target);
      headers.push('x-banyan-forwarded-by', region);
    } else {
      headers.push('x-banyan-region', region);
      if (place !== null) headers.push('x-banyan-target', place.name);
    }
    const nowMs = this.gateway.host.clock.nowMs();
    headers.push('x-banyan-attempts', String(exchange.attempts));
    headers.push('x-banyan-overhead-ms', hundredths(exchange.account.overheadMs(nowMs)));
    const hedge = exchange.race.end;
    if (hedge === 'won' || hedge === 'lost') headers.push('x-banyan-hedge', hedge);
    const told = this.opening.request.isStream ? null : this.metadata(exchange);
    if (told !== null) headers.push('x-banyan-metadata', told);
    for (const text of this.admission.headers) headers.push(text);
    return headers;
  }

  metadata(exchange: Exchange): string | null {
    const asked = headerValue(this.opening.client.headers, 'x-banyan-metadata');
    return asked === 'on' ? renderMetadata(exchange) : null;
  }

  attemptOver(_exchange: Exchange, report: AttemptReport): void {
    const { place } = report;
    this.gateway.observer.attemptDone({
      requestId: this.opening.requestId,
      model: place.model,
      target: place.kind === 'target' ? place.name : '',
      region: place.region,
      providerKind: place.kind === 'target' ? place.adapter.kind : 'region',
      end: report.end,
      reason: report.reason,
      status: report.status,
      firstContentMs: report.firstContentMs,
      totalMs: report.totalMs,
      isRetry: report.isRetry,
      isHedge: report.isHedge,
      mode: report.mode,
      usage: report.usage,
    });
  }

  exchangeOver(exchange: Exchange, end: ExchangeEnd, errorCode: ErrorCode | null): void {
    const { client, request, requestId, caller } = this.opening;
    const nowMs = this.gateway.host.clock.nowMs();
    const place = exchange.current?.place ?? null;
    const { receivedMs } = client;
    const contentMs = exchange.account.firstContentMs;
    this.admission.settle(exchange.usage, nowMs);
    const record: ExchangeRecord = {
      requestId,
      operation: request.operation,
      model: request.model,
      modelServed: place?.model ?? '',
      keyName: caller.name,
      isStream: request.isStream,
      end,
      status: exchange.client.status,
      errorCode,
      providerKind: place === null || place.kind === 'region' ? '' : place.adapter.kind,
      target: place !== null && place.kind === 'target' ? place.name : '',
      servedRegion: place?.region ?? '',
      forwardedFrom: client.forwardedFrom ?? '',
      attempts: exchange.attempts,
      tries: exchange.account.reports,
      hedge: exchange.race.end,
      usage: exchange.usage,
      outracedUsage: outracedUsage(exchange.account.reports, request.promptTokensEstimate),
      totalMs: nowMs - receivedMs,
      firstContentMs: contentMs === null ? null : contentMs - receivedMs,
      overheadMs: exchange.account.overheadMs(contentMs ?? nowMs),
      requestBytes: client.body.length,
      responseBytes: exchange.client.sentBytes,
      trace: exchange.trace,
    };
    this.opening.over?.(resultOf(record));
    this.gateway.exchangeOver(exchange, record);
    this.tracing?.done(record, this.gateway.host.clock);
  }

  /** Of two regions one hedges: the one whose targets are tried. */
  private hedgedModel(place: Place): ServingModel | null {
    if (headerValue(this.opening.client.headers, 'x-banyan-hedge') === 'off') return null;
    return this.chooser.serving.models.get(place.model) ?? null;
  }

  /** A forwarded request obeys what is left of the total of the region that took it. */
  private boundedDeadlines(): Deadlines {
    if (this.opening.client.forwardedFrom === null) return this.deadlines;
    const given = Number(headerValue(this.opening.client.headers, 'x-banyan-left-ms'));
    if (!Number.isFinite(given) || given <= 0) return this.deadlines;
    return { ...this.deadlines, totalMs: Math.min(this.deadlines.totalMs, given) };
  }

  /** The request as it came, with what the other region needs to know beside it. */
  private regionCall(place: Place, request: ParsedRequest, connectMs: number): AttemptCall {
    const { client, requestId, caller } = this.opening;
    const headers: string[] = [];
    for (let index = 0; index < client.headers.length; index += 2) {
      const name = client.headers[index] ?? '';
      if (FORWARDED_FIELDS.has(name)) headers.push(name, client.headers[index + 1] ?? '');
    }
    const usedMs = this.gateway.host.clock.nowMs() - client.receivedMs;
    const leftMs = Math.max(1, Math.round(this.deadlines.totalMs - usedMs));
    const fields = this.tracing?.fieldsFor(place) ?? this.traceFields;
    for (const text of fields) headers.push(text);
    headers.push('x-request-id', requestId, MODEL_FIELD, place.model);
    headers.push('x-banyan-key-name', caller.name, 'x-banyan-left-ms', String(leftMs));
    headers.push('x-banyan-priority', this.opening.priority);
    if (caller.residency !== null) headers.push(RESIDENCY_FIELD, caller.residency.join(','));
    // One race at a time: the region that takes a racing request does not begin another.
    if (this.isRaced) headers.push('x-banyan-hedge', 'off');
    return { method: 'POST', path: client.path, headers, body: request.body, connectMs };
  }
}

/** Of an attempt from which nothing came back only the prompt is known, as we estimate it. */
function outracedUsage(reports: readonly AttemptReport[], promptTokens: number): Usage | null {
  const loser = reports.find((report) => report.reason === 'outraced');
  if (loser === undefined) return null;
  return (
    loser.usage ?? {
      inputTokens: promptTokens,
      outputTokens: 0,
      cachedInputTokens: 0,
      cacheWriteTokens: 0,
      reasoningTokens: 0,
      isExact: false,
    }
  );
}
