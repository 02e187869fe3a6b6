/**
 * What one request costs outside the protocol, step by step: the edge (names, key, head, chunks),
 * the policy, the choice of a target, the records at its end, the framing between regions.
 * `node bench/request.ts`. The codec's parser is in `http1.ts`, the dialects are in `protocol.ts`.
 */

import { bench, do_not_optimize, group, run } from 'mitata';

import { encodeUtf8 } from '../src/base/bytes.ts';
import { parseModelName, parseTargetName } from '../src/base/names.ts';
import type { ClientRequest } from '../src/base/ports.ts';
import { createPrng } from '../src/base/prng.ts';
import type { Result } from '../src/base/result.ts';
import { Continuation } from '../src/exchange/continuation.ts';
import { ChunkedDecoder } from '../src/io/http1/chunked.ts';
import { PresentedKey, presentedKeyHash } from '../src/io/http1/credentials.ts';
import { fieldLines, statusLine } from '../src/io/http1/fields.ts';
import { findName } from '../src/io/http1/names.ts';
import { createLog, createLogObserver, exchangeLine } from '../src/io/observe/log.ts';
import { createMetrics } from '../src/io/observe/metrics.ts';
import { crc32c } from '../src/base/crc32c.ts';
import { encodeBody } from '../src/protocol/peer/frames.ts';
import { parseRequest } from '../src/protocol/request.ts';
import type { ExchangeRecord } from '../src/replica/observer.ts';
import { Policy } from '../src/replica/policy.ts';
import { HEALTH_DEFAULTS } from '../src/routing/health.ts';
import { ModelRouter } from '../src/routing/router.ts';

function must<Value>(result: Result<Value, unknown>): Value {
  if (!result.ok) throw new Error('the names and bodies of a benchmark are right');
  return result.value;
}

const RESPONSE_FIELDS = [
  ['content-type', 'application/json'],
  ['x-request-id', 'req-01JB2K4V9S8Q7N6M5P4R3T2W1X'],
  ['x-banyan-region', 'us-east-2'],
  ['x-banyan-target', 'target-0'],
  ['x-ratelimit-limit-requests', '1000000000'],
  ['x-ratelimit-remaining-requests', '999999999'],
].flat();

group('edge', () => {
  const name = encodeUtf8('x-stainless-retry-count');
  const known = encodeUtf8('content-length');
  bench('field name, known', () => do_not_optimize(findName(known, 0, known.length)));
  bench('field name, any', () => do_not_optimize(findName(name, 0, name.length)));
  const key = new PresentedKey();
  bench('key, the same again', () => do_not_optimize(key.hashOf('Bearer bench-key', null)));
  bench('key, another one', () => do_not_optimize(presentedKeyHash('Bearer bench-key', null)));
  bench('response head, 6 fields', () => {
    do_not_optimize(statusLine(200) + fieldLines(RESPONSE_FIELDS, false));
  });
});

const EVENT = encodeUtf8(
  'data: {"id":"chatcmpl-9aXyz0123456789abcdefghij","object":"chat.completion.chunk",' +
    '"created":1700000000,"model":"bench-model","choices":[{"index":0,"delta":' +
    '{"content":" parcel"},"logprobs":null,"finish_reason":null}]}\n\n',
);

group(`a chunk of ${EVENT.length} bytes`, () => {
  const size = encodeUtf8(`${EVENT.length.toString(16)}\r\n`);
  const framed = Buffer.concat([size, EVENT, encodeUtf8('\r\n')]);
  const decoder = new ChunkedDecoder();
  bench('HTTP chunk framing', () => {
    for (let at = 0; at < framed.length;) {
      const taken = decoder.push(framed, at, framed.length);
      if (taken <= 0) throw new Error('the chunk is well formed');
      at += taken;
    }
  });
  const body = encodeUtf8('{"model":"m","messages":[],"stream":true}');
  const request = must(parseRequest('chat', [], body));
  let kept = new Continuation(request, [], { bytes: 0, bytesMax: Infinity });
  let count = 0;
  bench('kept for a continuation', () => {
    // A new answer now and then, as what is kept of one has a limit.
    if ((count += 1) % 200 === 0)
      kept = new Continuation(request, [], { bytes: 0, bytesMax: Infinity });
    do_not_optimize(kept.pass(EVENT));
  });
  bench('frame between regions', () => {
    do_not_optimize(encodeBody('data', 7, EVENT, 0, EVENT.length));
  });
  bench('CRC-32C', () => do_not_optimize(crc32c(EVENT, 0)));
});

function clientRequest(keyHash: string, body: Uint8Array): ClientRequest {
  return {
    method: 'POST',
    path: '/v1/chat/completions',
    query: '',
    headers: [],
    body,
    keyHash,
    receivedMs: 0,
    remote: '127.0.0.1',
    forwardedFrom: null,
  };
}

group('policy and choice', () => {
  const sha256 = must(presentedKeyHash('Bearer bench-key', null)) ?? '';
  const rates = { requestsPerMinute: 1e9, tokensPerMinute: 1e9, inFlightMax: 1000 };
  const policy = new Policy([
    {
      name: 'bench',
      sha256,
      models: ['*'],
      priority: 'standard',
      residency: null,
      share: null,
      ...rates,
    },
  ]);
  const body = encodeUtf8('{"model":"bench","messages":[{"role":"user","content":"hi"}]}');
  const request = must(parseRequest('chat', [], body));
  const sent = clientRequest(sha256, body);
  const caller = must(policy.callerOf(sent));
  bench('find the key', () => do_not_optimize(policy.callerOf(sent)));
  let nowMs = 0;
  bench('admit and settle', () => {
    nowMs += 1;
    const admitted = policy.admit(caller, request, nowMs);
    if (admitted?.ok !== true) throw new Error('the limits are wide');
    admitted.value.settle(null, nowMs);
  });
  const targets = ['target-0', 'target-1', 'target-2', 'target-3'].map((name) => {
    return { target: must(parseTargetName(name)), weight: 1, priority: 0, inFlightMax: null };
  });
  const model = must(parseModelName('bench'));
  const excluded = new Set<never>();
  const query = { sessionKey: null, prefixHash: 12_345, promptTokens: 500, excluded };
  for (const algorithm of ['least-tokens', 'smooth-weighted-round-robin'] as const) {
    const router = new ModelRouter({ model, algorithm, targets, health: HEALTH_DEFAULTS });
    const prng = createPrng(1);
    bench(`${algorithm} of 4: pick, start, finish`, () => {
      nowMs += 1;
      const pick = router.pick(query, nowMs, prng);
      if (pick === null) throw new Error('all targets are healthy');
      const token = router.started(pick.target, pick.prefillTokens, nowMs);
      router.finished(token, { kind: 'answered' }, nowMs + 1);
    });
  }
});

const RECORD: ExchangeRecord = {
  requestId: 'req-01JB2K4V9S8Q7N6M5P4R3T2W1X',
  operation: 'chat',
  model: 'bench',
  modelServed: 'bench',
  keyName: 'bench',
  isStream: false,
  end: 'answered',
  status: 200,
  errorCode: null,
  providerKind: 'openai',
  target: 'target-0',
  servedRegion: 'us-east-2',
  forwardedFrom: '',
  attempts: 1,
  tries: [],
  hedge: null,
  usage: {
    inputTokens: 480,
    outputTokens: 160,
    cachedInputTokens: 0,
    cacheWriteTokens: 0,
    reasoningTokens: 0,
    isExact: true,
  },
  outracedUsage: null,
  totalMs: 12.5,
  firstContentMs: 12.1,
  overheadMs: 0.2,
  requestBytes: 2_048,
  responseBytes: 1_024,
  trace: ['target-0: least tokens'],
};

group('records', () => {
  const metrics = createMetrics(
    { version: '0', nodeVersion: '26', region: 'us-east-2', node: 'us-east-2-1' },
    false,
  );
  metrics.setKnown(['bench'], ['target-0']);
  bench('metrics of one exchange', () => metrics.exchangeDone(RECORD));
  bench('text of its log line', () => do_not_optimize(exchangeLine(RECORD)));
  const observer = createLogObserver(createLog('info', { region: 'r' }, { write: () => {} }));
  bench('log line, without the write', () => observer.exchangeDone(RECORD));
});

await run();
