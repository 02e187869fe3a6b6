import assert from 'node:assert/strict';
import { test } from 'node:test';

import { decodeUtf8, encodeUtf8 } from '../../base/bytes.ts';
import { TRACE_LIMITS } from '../../base/traceLimits.ts';
import type { Upstream, UpstreamCall, UpstreamHandler } from '../../base/ports.ts';
import { VirtualTime } from '../../base/virtualTime.ts';
import type { Span } from '../../replica/tracing.ts';
import { createOtlpExporter, type OtlpExporter } from './otlp.ts';
import { renderSpans } from './otlpJson.ts';

const RESOURCE = { serviceName: 'banyan', version: '1.2.3', region: 'eu-1', node: 'eu-1-a' };

function span(index: number, more: Partial<Span> = {}): Span {
  return {
    traceId: index.toString(16).padStart(32, '0'),
    spanId: index.toString(16).padStart(16, '0'),
    parentSpanId: null,
    isParentRemote: false,
    traceState: '',
    kind: 'server',
    name: 'POST /v1/chat/completions',
    startMs: 1_700_000_000_000.125,
    endMs: 1_700_000_000_500,
    attributes: [],
    events: [],
    isError: false,
    ...more,
  };
}

function spansOf(count: number, from = 1): readonly Span[] {
  return Array.from({ length: count }, (_, index) => span(from + index));
}

/** How a collector answers one call. */
type Answer = (handler: UpstreamHandler) => void;

const answers =
  (status: number, body = '{}', headers: readonly string[] = []): Answer =>
  (handler) => {
    handler.onHead(status, headers);
    handler.onBody(encodeUtf8(body));
    handler.onEnd();
  };
const isDown: Answer = (handler) =>
  handler.onFailure({ kind: 'refused', bytesSent: 0, detail: 'nobody listens' });
const isSilent: Answer = () => {};

interface Collector {
  readonly time: VirtualTime;
  readonly calls: UpstreamCall[];
  readonly exporter: OtlpExporter;
  answer: Answer;
  cancelled: number;
  /** Ids of the spans of a call. */
  idsOf(call: UpstreamCall | undefined): readonly string[];
}

function collector(answer: Answer = answers(200)): Collector {
  const time = new VirtualTime(1_000);
  const calls: UpstreamCall[] = [];
  const upstream: Upstream = {
    start: (call, handler) => {
      calls.push(call);
      let isLive = true;
      time.after(1, () => {
        if (isLive) self.answer(handler);
      });
      const cancel = (): void => {
        isLive = false;
        self.cancelled += 1;
      };
      return { cancel, pause: () => {}, resume: () => {} };
    },
  };
  const exporter = createOtlpExporter({
    clock: time,
    timers: time,
    upstream,
    address: {
      origin: 'http://collector:4318',
      path: '/v1/traces',
      headers: ['authorization', 'Bearer secret'],
    },
    resource: RESOURCE,
    sampleRatio: 1,
  });
  const idsOf = (call: UpstreamCall | undefined): readonly string[] => {
    const told = JSON.parse(decodeUtf8(call?.body ?? new Uint8Array())) as {
      resourceSpans: { scopeSpans: { spans: { spanId: string }[] }[] }[];
    };
    const spans = told.resourceSpans[0]?.scopeSpans[0]?.spans ?? [];
    return spans.map(({ spanId }) => spanId);
  };
  const self: Collector = { time, calls, exporter, answer, cancelled: 0, idsOf };
  return self;
}

/** Every span taken is counted once, or waits (O2). */
function isBalanced({ exporter }: Collector, taken: number): boolean {
  const { exported, queueFull, unreachable, refused, stopped } = exporter.counts;
  return taken === exported + queueFull + unreachable + refused + stopped + exporter.queuedSpans;
}

test('spans are rendered as OTLP/JSON, to the field', () => {
  const full = span(10, {
    parentSpanId: '00f067aa0ba902b7',
    isParentRemote: true,
    traceState: 'a=1',
    kind: 'client',
    attributes: [
      ['text', 'ü'],
      ['whole', 42],
      ['part', 0.25],
      ['flag', true],
    ],
    events: [{ name: 'banyan.hedge', atMs: 1_700_000_000_100, attributes: [] }],
    isError: true,
  });
  assert.deepEqual(JSON.parse(renderSpans(RESOURCE, [full, span(11)])), {
    resourceSpans: [
      {
        resource: {
          attributes: [
            { key: 'service.name', value: { stringValue: 'banyan' } },
            { key: 'service.version', value: { stringValue: '1.2.3' } },
            { key: 'service.instance.id', value: { stringValue: 'eu-1-a' } },
            { key: 'banyan.region', value: { stringValue: 'eu-1' } },
          ],
        },
        scopeSpans: [
          {
            scope: { name: 'banyan', version: '1.2.3' },
            spans: [
              {
                traceId: '0000000000000000000000000000000a',
                spanId: '000000000000000a',
                traceState: 'a=1',
                parentSpanId: '00f067aa0ba902b7',
                flags: 0x301,
                name: 'POST /v1/chat/completions',
                kind: 3,
                startTimeUnixNano: '1700000000000125000',
                endTimeUnixNano: '1700000000500000000',
                attributes: [
                  { key: 'text', value: { stringValue: 'ü' } },
                  { key: 'whole', value: { intValue: '42' } },
                  { key: 'part', value: { doubleValue: 0.25 } },
                  { key: 'flag', value: { boolValue: true } },
                ],
                events: [
                  { timeUnixNano: '1700000000100000000', name: 'banyan.hedge', attributes: [] },
                ],
                status: { code: 2 },
              },
              {
                traceId: '0000000000000000000000000000000b',
                spanId: '000000000000000b',
                flags: 0x101,
                name: 'POST /v1/chat/completions',
                kind: 2,
                startTimeUnixNano: '1700000000000125000',
                endTimeUnixNano: '1700000000500000000',
                attributes: [],
                events: [],
                status: {},
              },
            ],
          },
        ],
      },
    ],
  });
});

test('spans go out together, to the configured address with its header fields', () => {
  const world = collector();
  world.exporter.take(spansOf(2));
  world.exporter.take(spansOf(1, 3));
  world.time.advance(TRACE_LIMITS.batchMs - 1);
  assert.equal(world.calls.length, 0);
  world.time.advance(10);
  assert.equal(world.calls.length, 1);
  const [call] = world.calls;
  assert.equal(call?.method, 'POST');
  assert.equal(`${call.origin}${call.path}`, 'http://collector:4318/v1/traces');
  assert.deepEqual(call.headers, [
    'authorization',
    'Bearer secret',
    'content-type',
    'application/json',
  ]);
  assert.equal(world.idsOf(call).length, 3);
  assert.equal(world.exporter.counts.exported, 3);
  assert.equal(world.exporter.queuedSpans, 0);
});

test('a full batch waits for nothing, and one call is under way at a time', () => {
  const world = collector(isSilent);
  world.exporter.take(spansOf(TRACE_LIMITS.batchSpansMax * 3));
  world.time.advance(1);
  assert.equal(world.calls.length, 1);
  assert.equal(world.idsOf(world.calls[0]).length, TRACE_LIMITS.batchSpansMax);
  world.time.advance(TRACE_LIMITS.exportMs - 10);
  assert.equal(world.calls.length, 1);
  world.answer = answers(200);
  world.time.advance(TRACE_LIMITS.exportMs);
  assert.equal(world.exporter.counts.exported, TRACE_LIMITS.batchSpansMax * 3);
  assert.equal(world.cancelled, 1, 'the silent call was given up');
});

test('past its limit the queue drops whole exchanges and counts them', () => {
  const world = collector(isSilent);
  const taken = TRACE_LIMITS.queueSpansMax + 7 * 3;
  for (let count = 0; count < Math.ceil(taken / 3); count += 1) world.exporter.take(spansOf(3));
  const all = Math.ceil(taken / 3) * 3;
  assert.ok(world.exporter.queuedSpans <= TRACE_LIMITS.queueSpansMax);
  assert.ok(world.exporter.counts.queueFull >= 7 * 3 - 3);
  assert.equal(world.exporter.counts.queueFull % 3, 0);
  assert.ok(isBalanced(world, all));
});

test('a collector that is down is asked a bounded number of times for a batch', () => {
  const world = collector(isDown);
  world.exporter.take(spansOf(5));
  world.time.advance(120_000);
  assert.equal(world.calls.length, TRACE_LIMITS.exportTriesMax);
  assert.equal(world.exporter.counts.unreachable, 5);
  assert.ok(isBalanced(world, 5));
});

test('a batch is sent again after 503, at the time that the collector names', () => {
  const world = collector(answers(503, '', ['retry-after', '7']));
  world.exporter.take(spansOf(2));
  world.time.advance(TRACE_LIMITS.batchMs + 10);
  world.answer = answers(200);
  world.time.advance(6_900);
  assert.equal(world.calls.length, 1);
  world.time.advance(200);
  assert.equal(world.calls.length, 2);
  assert.deepEqual(world.idsOf(world.calls[1]), world.idsOf(world.calls[0]));
  assert.equal(world.exporter.counts.exported, 2);
});

test('what a collector refuses is not sent again, a redirect neither (301, 400, 401, 404)', () => {
  for (const status of [301, 400, 401, 404]) {
    const world = collector(answers(status, '', ['location', 'http://elsewhere/']));
    world.exporter.take(spansOf(2));
    world.time.advance(60_000);
    assert.equal(world.calls.length, 1, `${status}`);
    assert.equal(world.exporter.counts.refused, 2, `${status}`);
  }
});

test('a partial success counts what was not taken, and nonsense counts as success', () => {
  for (const [body, refused] of [
    ['{"partialSuccess":{"rejectedSpans":"2","errorMessage":"x"}}', 2],
    ['{"partialSuccess":{"rejectedSpans":1}}', 1],
    ['{"partialSuccess":{"rejectedSpans":99}}', 3],
    ['{"partialSuccess":{"rejectedSpans":-1}}', 0],
    ['{"partialSuccess":null}', 0],
    ['[1', 0],
    ['', 0],
  ] as const) {
    const world = collector(answers(200, body));
    world.exporter.take(spansOf(3));
    world.time.advance(10_000);
    assert.equal(world.exporter.counts.refused, refused, body);
    assert.ok(isBalanced(world, 3));
  }
});

test('a stop sends what waits, and gives up on a silent collector in time', async () => {
  const world = collector();
  world.exporter.take(spansOf(TRACE_LIMITS.batchSpansMax + 2));
  const closed = world.exporter.close();
  world.time.advance(100);
  await closed;
  assert.equal(world.exporter.counts.exported, TRACE_LIMITS.batchSpansMax + 2);

  const silent = collector(isSilent);
  silent.exporter.take(spansOf(4));
  const gaveUp = silent.exporter.close();
  silent.time.advance(TRACE_LIMITS.closeMs);
  await gaveUp;
  assert.equal(silent.exporter.counts.stopped, 4);
  silent.exporter.take(spansOf(1));
  assert.ok(isBalanced(silent, 5));
  assert.equal(silent.time.pendingCount, 0, 'nothing is left running');
});

test('a retry that waits is not waited for by a stop', async () => {
  const world = collector(isDown);
  world.exporter.take(spansOf(2));
  world.time.advance(TRACE_LIMITS.batchMs + 10);
  assert.equal(world.calls.length, 1);
  const closed = world.exporter.close();
  world.time.advance(10);
  await closed;
  assert.equal(world.calls.length, 2);
  assert.equal(world.exporter.counts.unreachable, 2);
});
