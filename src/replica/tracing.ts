/**
 * Spans of one request: a server span for the exchange, a client span for each of its attempts, in
 * the trace of the caller where there is one. They are made when the exchange is over, from what it
 * reports anyway; until then a trace is two ids.
 *
 * T1: a caller's decision counts: its sampled flag, set or not; a trace that begins here is drawn.
 *     A request that another region forwarded begins none: where it came in, that was decided.
 * T2: every call of a recorded exchange carries its own span as `traceparent`, so that the spans of
 *     the region or server that takes it hang below the attempt.
 * T3: spans hold names of the configuration, counts, codes and times; no prompt, no answer, no key.
 * Held by `gatewaySpans.test.ts`. Names follow the OpenTelemetry conventions for generative AI and
 * for HTTP; what they do not name is under `banyan.`.
 */

import { headerValue, type HeaderList } from '../base/headers.ts';
import { TRACE_LIMITS } from '../base/traceLimits.ts';
import type { ClientRequest, Clock } from '../base/ports.ts';
import type { Prng } from '../base/prng.ts';
import {
  readTraceparent,
  renderTraceparent,
  SAMPLED,
  type TraceParent,
} from '../base/traceContext.ts';
import type { AttemptReport, Place } from '../exchange/place.ts';
import type { Usage } from '../protocol/dialect.ts';
import type { ExchangeRecord } from './observer.ts';

export type AttributeValue = string | number | boolean;
export type Attributes = readonly (readonly [name: string, value: AttributeValue])[];

/** One span, finished. Times are Unix ms with fractions. */
export interface Span {
  readonly traceId: string;
  readonly spanId: string;
  /** Null: the trace begins with it. */
  readonly parentSpanId: string | null;
  /** The parent is the span of another process. */
  readonly isParentRemote: boolean;
  /** `tracestate` of the trace; empty: none. */
  readonly traceState: string;
  readonly kind: 'server' | 'client';
  readonly name: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes: Attributes;
  readonly events: readonly SpanEvent[];
  readonly isError: boolean;
}

/** Something that happened within a span. */
export interface SpanEvent {
  readonly name: string;
  readonly atMs: number;
  readonly attributes: Attributes;
}

/** Takes finished spans. Called on the request path: it must not block or throw. */
export interface Tracer {
  /** Share of the traces that begin here, 0 to 1. */
  readonly sampleRatio: number;
  take(spans: readonly Span[]): void;
}

/** `gen_ai.operation.name` of the operations that the conventions name. */
const OPERATION_NAMES: Readonly<Record<string, string>> = {
  chat: 'chat',
  messages: 'chat',
  completions: 'text_completion',
  embeddings: 'embeddings',
};

/**
 * The trace of a request that is recorded; null: it is not. `fields`: its `traceparent` and
 * `tracestate` as `traceFields` gives them.
 */
export function beginTrace(
  tracer: Tracer,
  request: ClientRequest,
  fields: HeaderList,
  prng: Prng,
): ExchangeTrace | null {
  const text = fields[1];
  const parent = text === undefined ? null : readTraceparent(text);
  if (parent !== null) {
    const isSampled = (parent.flags & SAMPLED) !== 0;
    return isSampled ? new ExchangeTrace(tracer, request, parent, fields, prng) : null;
  }
  if (request.forwardedFrom !== null || prng.nextFloat() >= tracer.sampleRatio) return null;
  return new ExchangeTrace(tracer, request, null, fields, prng);
}

/** One exchange that is recorded. */
export class ExchangeTrace {
  private readonly tracer: Tracer;
  private readonly request: ClientRequest;
  private readonly prng: Prng;
  private readonly parent: TraceParent | null;
  private readonly traceState: string;
  private readonly traceId: string;
  private readonly spanId: string;
  /** The span of each call; a place is chosen anew for every attempt. */
  private readonly spanIds: Map<Place, string> = new Map();

  constructor(
    tracer: Tracer,
    request: ClientRequest,
    parent: TraceParent | null,
    fields: HeaderList,
    prng: Prng,
  ) {
    this.tracer = tracer;
    this.request = request;
    this.prng = prng;
    this.parent = parent;
    this.traceState = headerValue(fields, 'tracestate') ?? '';
    this.traceId = parent?.traceId ?? hex(prng, 4);
    this.spanId = hex(prng, 2);
  }

  /** The header fields of a call to `place` (T2). */
  fieldsFor(place: Place): HeaderList {
    const spanId = hex(this.prng, 2);
    this.spanIds.set(place, spanId);
    const { traceId, traceState } = this;
    const flags = this.parent?.flags ?? SAMPLED;
    const parent = renderTraceparent({ traceId, spanId, flags });
    if (traceState === '') return ['traceparent', parent];
    return ['traceparent', parent, 'tracestate', traceState];
  }

  /** The exchange is over. `clock` says what time it is on the wall. */
  done(record: ExchangeRecord, clock: Clock): void {
    const nowMs = clock.nowMs();
    // One offset for all of its spans: a step of the wall clock meanwhile tears nothing apart.
    const wallMs = clock.wallMs() - nowMs;
    const tries = record.tries.toSorted((one, other) => one.startedMs - other.startedMs);
    const attempts = tries.map((report) => this.attemptSpan(record, report, wallMs));
    const server: Span = {
      ...this.common(this.spanId, this.parent?.spanId ?? null, this.parent !== null),
      kind: 'server',
      name: `${this.request.method} ${clip(this.request.path)}`,
      startMs: this.request.receivedMs + wallMs,
      endMs: this.request.receivedMs + record.totalMs + wallMs,
      attributes: serverAttributes(this.request, record),
      events: eventsOf(tries, wallMs),
      isError: record.end === 'failed' || record.status >= 500,
    };
    this.tracer.take([server, ...attempts]);
  }

  private common(spanId: string, parentSpanId: string | null, isParentRemote: boolean) {
    const { traceId, traceState } = this;
    return { traceId, spanId, parentSpanId, isParentRemote, traceState };
  }

  private attemptSpan(record: ExchangeRecord, report: AttemptReport, wallMs: number): Span {
    const spanId = this.spanIds.get(report.place) ?? hex(this.prng, 2);
    const { kind, name } = report.place;
    const operation = OPERATION_NAMES[record.operation] ?? record.operation;
    return {
      ...this.common(spanId, this.spanId, false),
      kind: 'client',
      name: kind === 'region' ? `forward ${name}` : `${operation} ${clip(modelAt(report.place))}`,
      startMs: report.startedMs + wallMs,
      endMs: report.startedMs + report.totalMs + wallMs,
      attributes: attemptAttributes(record, report),
      events: [],
      isError: report.end === 'failed' || report.end === 'rejected',
    };
  }
}

type Draft = (readonly [name: string, value: AttributeValue])[];

function serverAttributes(request: ClientRequest, record: ExchangeRecord): Attributes {
  const operation = OPERATION_NAMES[record.operation] ?? record.operation;
  const attributes: Draft = [
    ['http.request.method', request.method],
    ['http.route', clip(request.path)],
    ['http.response.status_code', record.status],
    ['gen_ai.operation.name', operation],
    ['gen_ai.request.model', clip(record.model)],
    ['gen_ai.request.stream', record.isStream],
    ['banyan.request.id', clip(record.requestId)],
    ['banyan.key', record.keyName],
    ['banyan.end', record.end],
    ['banyan.attempts', record.attempts],
    ['banyan.continuations', record.tries.filter(({ mode }) => mode !== null).length],
    ['banyan.overhead_ms', record.overheadMs],
  ];
  add(attributes, 'gen_ai.provider.name', record.providerKind);
  add(attributes, 'gen_ai.response.model', clip(record.modelServed));
  add(attributes, 'banyan.hedge', record.hedge ?? '');
  add(attributes, 'banyan.target', record.target);
  add(attributes, 'banyan.region.served', record.servedRegion);
  add(attributes, 'banyan.region.from', record.forwardedFrom);
  add(attributes, 'error.type', record.errorCode ?? '');
  addFirstContent(attributes, record.isStream, record.firstContentMs);
  addUsage(attributes, record.usage);
  return attributes;
}

function attemptAttributes(record: ExchangeRecord, report: AttemptReport): Attributes {
  const { place, mode } = report;
  const operation = OPERATION_NAMES[record.operation] ?? record.operation;
  const attributes: Draft = [
    ['gen_ai.operation.name', operation],
    ['gen_ai.request.model', clip(modelAt(place))],
    ['banyan.attempt', kindOf(report)],
    ['banyan.end', report.end],
    ['banyan.region', place.region],
  ];
  if (place.kind === 'target') {
    attributes.push(
      ['gen_ai.provider.name', place.adapter.kind],
      ['banyan.target', place.name],
      ...serverOf(place.origin),
    );
  }
  if (report.status > 0) attributes.push(['http.response.status_code', report.status]);
  add(attributes, 'banyan.continuation', mode ?? '');
  // Of one that was cancelled the reason (outraced, client-gone) is no error.
  if (report.end === 'cancelled') add(attributes, 'banyan.reason', report.reason);
  else add(attributes, 'error.type', report.reason);
  addFirstContent(attributes, record.isStream, report.firstContentMs);
  addUsage(attributes, report.usage);
  return attributes;
}

/** The model's name as the place is asked for it. */
function modelAt(place: Place): string {
  return place.target?.model ?? place.model;
}

/** Address and port of `http://host:port`, the scheme's own port where none stands. */
function serverOf(origin: string): Attributes {
  const parts = /^(https?):\/\/\[?([^\]]*?)\]?(?::(\d+))?$/.exec(origin);
  if (parts === null) return [];
  const [, scheme, host = '', port = scheme === 'https' ? '443' : '80'] = parts;
  return [
    ['server.address', host],
    ['server.port', Number(port)],
  ];
}

/** What led from one attempt to the next. `tries` stand in the order of their starts. */
function eventsOf(tries: readonly AttemptReport[], wallMs: number): readonly SpanEvent[] {
  return tries.slice(1).map((report) => {
    const kind = kindOf(report);
    const attributes: Draft = [[`banyan.${report.place.kind}`, report.place.name]];
    add(attributes, 'banyan.continuation', report.mode ?? '');
    const before = tries
      .filter((other) => other.startedMs + other.totalMs <= report.startedMs)
      .toSorted((one, other) => one.startedMs + one.totalMs - (other.startedMs + other.totalMs))
      .at(-1);
    if (kind !== 'hedge' && before !== undefined) {
      attributes.push(
        [`banyan.from.${before.place.kind}`, before.place.name],
        ['banyan.reason', before.reason],
      );
    }
    return { name: `banyan.${kind}`, atMs: report.startedMs + wallMs, attributes };
  });
}

function kindOf(report: AttemptReport): 'first' | 'failover' | 'hedge' | 'continuation' {
  if (report.isHedge) return 'hedge';
  if (report.mode !== null) return 'continuation';
  return report.isRetry ? 'failover' : 'first';
}

function add(attributes: Draft, name: string, value: string): void {
  if (value !== '') attributes.push([name, value]);
}

function addFirstContent(attributes: Draft, isStream: boolean, ms: number | null): void {
  if (isStream && ms !== null) attributes.push(['gen_ai.response.time_to_first_chunk', ms / 1000]);
}

function addUsage(attributes: Draft, usage: Usage | null): void {
  if (usage === null) return;
  attributes.push(
    ['gen_ai.usage.input_tokens', usage.inputTokens],
    ['gen_ai.usage.output_tokens', usage.outputTokens],
  );
  const more: Draft = [
    ['gen_ai.usage.cache_read.input_tokens', usage.cachedInputTokens],
    ['gen_ai.usage.cache_creation.input_tokens', usage.cacheWriteTokens],
    ['gen_ai.usage.reasoning.output_tokens', usage.reasoningTokens],
  ];
  attributes.push(...more.filter(([, count]) => count !== 0));
  if (!usage.isExact) attributes.push(['banyan.usage.is_estimate', true]);
}

function clip(text: string): string {
  return text.slice(0, TRACE_LIMITS.textCharsMax);
}

/** `words` times eight digits of lower-case hex, not all of them 0. */
function hex(prng: Prng, words: number): string {
  let text = '';
  for (let index = 0; index < words; index += 1) {
    text += prng.nextUint32().toString(16).padStart(8, '0');
  }
  return /[^0]/.test(text) ? text : hex(prng, words);
}
