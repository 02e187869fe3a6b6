/** A collector of traces for tests: takes OTLP/JSON over HTTP and keeps what came. */

import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';

import { atEnd } from './node.ts';

/** One span as it came, its attributes as an object. */
export interface SeenSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** Empty: it has none. */
  readonly parentSpanId: string;
  readonly name: string;
  readonly kind: number;
  readonly region: string;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly events: readonly string[];
}

/** A running collector. */
export interface FakeCollector {
  readonly origin: string;
  readonly spans: readonly SeenSpan[];
  /** Header fields of each call. */
  readonly calls: readonly { readonly path: string; readonly headers: IncomingHttpHeaders }[];
  /** Bodies as they came. */
  readonly bodies: readonly string[];
  /** `silent`: takes calls and answers none. */
  setAnswer(answer: number | 'silent'): void;
}

interface Attribute {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}

interface OtlpBody {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly Attribute[] };
    readonly scopeSpans: readonly { readonly spans: readonly OtlpSpan[] }[];
  }[];
}

interface OtlpSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: number;
  readonly attributes: readonly Attribute[];
  readonly events: readonly { readonly name: string }[];
}

/** Starts a collector on a free port of the loopback; it ends with the test file. */
export async function startFakeCollector(): Promise<FakeCollector> {
  const spans: SeenSpan[] = [];
  const calls: { path: string; headers: IncomingHttpHeaders }[] = [];
  const bodies: string[] = [];
  let answer: number | 'silent' = 200;
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (text: string) => {
      body += text;
    });
    request.on('end', () => {
      calls.push({ path: request.url ?? '', headers: request.headers });
      bodies.push(body);
      if (answer === 200) spans.push(...spansOf(JSON.parse(body) as OtlpBody));
      if (answer === 'silent') return;
      response.writeHead(answer, { 'content-type': 'application/json' });
      response.end('{}');
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  atEnd(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    origin: `http://127.0.0.1:${port}`,
    spans,
    calls,
    bodies,
    setAnswer: (next) => {
      answer = next;
    },
  };
}

function spansOf({ resourceSpans }: OtlpBody): readonly SeenSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) => {
    const region = String(plain(resource.attributes)['banyan.region']);
    return scopeSpans.flatMap((scope) =>
      scope.spans.map(({ traceId, spanId, parentSpanId = '', name, kind, attributes, events }) => ({
        traceId,
        spanId,
        parentSpanId,
        name,
        kind,
        region,
        attributes: plain(attributes),
        events: events.map((event) => event.name),
      })),
    );
  });
}

function plain(attributes: readonly Attribute[]): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
}
