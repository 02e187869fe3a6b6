/**
 * Spans as OTLP/JSON: `ExportTraceServiceRequest` of opentelemetry-proto 1.x in the JSON mapping of
 * the OTLP specification: ids in hex, 64-bit integers as text, enums as numbers, empty fields left
 * out.
 */

import { SAMPLED } from '../../base/traceContext.ts';
import type { AttributeValue, Attributes, Span } from '../../replica/tracing.ts';

/** Who sends the spans. */
export interface OtlpResource {
  readonly serviceName: string;
  readonly version: string;
  readonly region: string;
  readonly node: string;
}

const SPAN_KINDS = { server: 2, client: 3 } as const satisfies Record<Span['kind'], number>;
const STATUS_ERROR = 2;
/** Bits of `Span.flags` beside the W3C ones: whether the parent's place is known, and is remote. */
const HAS_IS_REMOTE = 0x100;
const IS_REMOTE = 0x200;

/** One request body, as text. */
export function renderSpans(resource: OtlpResource, spans: readonly Span[]): string {
  const attributes: Attributes = [
    ['service.name', resource.serviceName],
    ['service.version', resource.version],
    ['service.instance.id', resource.node],
    ['banyan.region', resource.region],
  ];
  const scope = { name: 'banyan', version: resource.version };
  const scopeSpans = [{ scope, spans: spans.map(spanJson) }];
  const resourceSpans = [{ resource: { attributes: attributes.map(attributeJson) }, scopeSpans }];
  return JSON.stringify({ resourceSpans });
}

function spanJson(span: Span): object {
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    ...(span.traceState === '' ? {} : { traceState: span.traceState }),
    ...(span.parentSpanId === null ? {} : { parentSpanId: span.parentSpanId }),
    flags: SAMPLED | HAS_IS_REMOTE | (span.isParentRemote ? IS_REMOTE : 0),
    name: span.name,
    kind: SPAN_KINDS[span.kind],
    startTimeUnixNano: nanos(span.startMs),
    endTimeUnixNano: nanos(span.endMs),
    attributes: span.attributes.map(attributeJson),
    events: span.events.map((event) => ({
      timeUnixNano: nanos(event.atMs),
      name: event.name,
      attributes: event.attributes.map(attributeJson),
    })),
    status: span.isError ? { code: STATUS_ERROR } : {},
  };
}

function attributeJson([key, value]: readonly [string, AttributeValue]): object {
  if (typeof value === 'string') return { key, value: { stringValue: value } };
  if (typeof value === 'boolean') return { key, value: { boolValue: value } };
  if (Number.isSafeInteger(value)) return { key, value: { intValue: String(value) } };
  return { key, value: { doubleValue: value } };
}

/** Unix nanoseconds as text: whole microseconds are exact in a double until the year 2255. */
function nanos(ms: number): string {
  return `${Math.round(ms * 1000)}000`;
}
