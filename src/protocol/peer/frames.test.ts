import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { encodeUtf8 } from '../../base/bytes.ts';
import { PEER_LIMITS } from '../../base/limits.ts';
import { crc32c } from '../../base/crc32c.ts';
import { decodeDigest, encodeDigest, type RegionDigest } from './digest.ts';
import { checkHello, FrameDecoder, type FrameError } from './frameDecoder.ts';
import {
  encodeBody,
  encodeFrame,
  FRAME_HEADER_BYTES,
  PEER_FEATURE_LEVEL,
  PEER_VERSION,
  type HelloFrame,
  type PeerFrame,
} from './frames.ts';

const HELLO: HelloFrame = {
  type: 'hello',
  version: PEER_VERSION,
  featureLevel: PEER_FEATURE_LEVEL,
  cluster: 'banyan',
  region: 'eu-central-1',
  node: 'node-1',
  session: 0xdeadbeef,
};

const FRAMES: readonly PeerFrame[] = [
  HELLO,
  { type: 'ping', sentMs: 12_345.678 },
  { type: 'pong', sentMs: 0 },
  { type: 'digest', bytes: encodeUtf8('{"region":"a"}') },
  {
    type: 'request-head',
    stream: 1,
    method: 'POST',
    path: '/v1/chat/completions?x=1',
    headers: ['content-type', 'application/json', 'x-note', '你好 · é', 'x-empty', ''],
    keyHash: 'ab'.repeat(32),
    forwardedFrom: 'us-east-2',
    deadlineMs: 60_000,
    bodyBytes: 5,
  },
  { type: 'request-body', stream: 1, bytes: encodeUtf8('hello') },
  { type: 'request-end', stream: 1 },
  { type: 'response-head', stream: 1, status: 200, bodyBytes: null, headers: ['a', 'b'] },
  { type: 'response-head', stream: 3, status: 429, bodyBytes: 0, headers: [] },
  { type: 'data', stream: 1, bytes: new Uint8Array([0, 255, 10]) },
  { type: 'window', stream: 1, bytes: 65_536 },
  { type: 'end', stream: 1 },
  { type: 'abort', stream: 3, reason: 'refused', detail: 'draining' },
  { type: 'cancel', stream: 0xffff_ffff },
  { type: 'goaway', reason: 'closing', detail: '' },
];

function encode(frame: PeerFrame): Uint8Array {
  const bytes = encodeFrame(frame);
  assert.ok(bytes !== null);
  return bytes;
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat(parts));
}

/** A frame whose borrowed bytes are copied, to compare later. */
function kept(frame: PeerFrame): PeerFrame {
  if (!('bytes' in frame) || typeof frame.bytes === 'number') return frame;
  return { ...frame, bytes: frame.bytes.slice() } as PeerFrame;
}

function decodeAll(chunks: readonly Uint8Array[]): {
  frames: PeerFrame[];
  error: FrameError | null;
} {
  const decoder = new FrameDecoder();
  const frames: PeerFrame[] = [];
  let error: FrameError | null = null;
  for (const chunk of chunks) {
    error = decoder.push(chunk, (frame) => {
      frames.push(kept(frame));
      return true;
    });
    assert.ok(decoder.pendingBytes <= FRAME_HEADER_BYTES + PEER_LIMITS.framePayloadBytesMax);
  }
  return { frames, error };
}

/** A frame of given raw parts, its checksum right. */
function rawFrame(type: number, stream: number, payload: Uint8Array, reserved = 0): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, payload.length);
  view.setUint8(4, type);
  view.setUint8(6, reserved);
  view.setUint32(8, stream);
  bytes.set(payload, FRAME_HEADER_BYTES);
  view.setUint32(12, crc32c(bytes, crc32c(bytes, 0, 0, 12), FRAME_HEADER_BYTES));
  return bytes;
}

test('CRC-32C matches the vectors of RFC 3720 B.4', () => {
  assert.equal(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assert.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assert.equal(crc32c(Uint8Array.from({ length: 32 }, (_, index) => index)), 0x46dd794e);
  assert.equal(crc32c(encodeUtf8('123456789')), 0xe3069283);
  const halves = crc32c(encodeUtf8('6789'), crc32c(encodeUtf8('12345')));
  assert.equal(halves, 0xe3069283);
});

test('every frame is read back as it was written, whatever the split', () => {
  const bytes = joined(FRAMES.map(encode));
  for (let split = 1; split < bytes.length; split += 1) {
    const { frames, error } = decodeAll([bytes.subarray(0, split), bytes.subarray(split)]);
    assert.equal(error, null);
    assert.deepEqual(frames, FRAMES);
  }
  const single = decodeAll(Array.from(bytes, (byte) => Uint8Array.of(byte)));
  assert.deepEqual(single.frames, FRAMES);
});

test('random frames survive random splits', () => {
  const text = fc.string({ unit: 'binary', maxLength: 40 });
  const headers = fc.array(fc.tuple(text, text), { maxLength: 20 }).map((pairs) => pairs.flat());
  const stream = fc.integer({ min: 1, max: 0xffff_ffff });
  const body = fc.uint8Array({ minLength: 1, maxLength: 400 });
  const frame: fc.Arbitrary<PeerFrame> = fc.oneof(
    fc.record({ type: fc.constant('data' as const), stream, bytes: body }),
    fc.record({ type: fc.constant('digest' as const), bytes: body }),
    fc.record({
      type: fc.constant('response-head' as const),
      stream,
      status: fc.integer({ min: 200, max: 599 }),
      bodyBytes: fc.option(fc.nat()),
      headers,
    }),
    fc.record({
      type: fc.constant('request-head' as const),
      stream,
      method: fc.constantFrom('GET', 'POST'),
      path: text.map((tail) => `/${tail}`),
      headers,
      keyHash: fc.constant(null),
      forwardedFrom: text,
      deadlineMs: fc.option(fc.integer({ min: 1, max: 1e6 })),
      bodyBytes: fc.nat(),
    }),
  );
  fc.assert(
    fc.property(
      fc.array(frame, { maxLength: 6 }),
      fc.integer({ min: 1, max: 97 }),
      (list, step) => {
        const bytes = joined([HELLO, ...list].map(encode));
        const chunks: Uint8Array[] = [];
        for (let at = 0; at < bytes.length; at += step) chunks.push(bytes.slice(at, at + step));
        const { frames, error } = decodeAll(chunks);
        assert.equal(error, null);
        assert.deepEqual(
          frames.slice(1).map((each) => JSON.stringify(each)),
          list.map((each) => JSON.stringify(each)),
        );
      },
    ),
  );
});

test('a piece of a body is framed without a copy more', () => {
  const chunk = Uint8Array.from({ length: 100 }, (_, index) => index);
  const bytes = encodeBody('data', 7, chunk, 10, 20);
  assert.deepEqual(bytes, encode({ type: 'data', stream: 7, bytes: chunk.subarray(10, 20) }));
});

test('a head over the frame limit is not encoded', () => {
  const value = 'x'.repeat(PEER_LIMITS.framePayloadBytesMax);
  const headers = ['x-long', value];
  assert.equal(
    encodeFrame({ type: 'response-head', stream: 1, status: 200, bodyBytes: null, headers }),
    null,
  );
});

test('what is not a frame of this version is refused with its reason', () => {
  const hello = encode(HELLO);
  const future = hello.slice(FRAME_HEADER_BYTES);
  new DataView(future.buffer).setUint16(4, PEER_VERSION + 1);
  const past = future.slice();
  new DataView(past.buffer).setUint16(4, 0);
  const damaged = encode({ type: 'ping', sentMs: 5 });
  damaged[FRAME_HEADER_BYTES + 2] = (damaged[FRAME_HEADER_BYTES + 2] ?? 0) ^ 1;
  const long = encode({ type: 'ping', sentMs: 5 });
  new DataView(long.buffer).setUint32(0, 0xffff_ffff);
  const none = new Uint8Array(0);
  const cases: readonly [string, Uint8Array, FrameError['kind'], RegExp][] = [
    ['HTTP', encodeUtf8('GET / HTTP/1.1\r\nhost: x\r\n\r\n'), 'not-a-peer', /hello/],
    ['TLS', new Uint8Array(64).fill(0x16), 'not-a-peer', /hello/],
    ['other magic', rawFrame(1, 0, new Uint8Array(20)), 'not-a-peer', /Banyan/],
    ['newer hello', rawFrame(1, 0, future), 'version', /version 2, newer than ours \(1\)/],
    ['older hello', rawFrame(1, 0, past), 'version', /older/],
    ['second hello', joined([hello, hello]), 'out-of-order', /twice/],
    ['type 99', joined([hello, rawFrame(99, 0, none)]), 'unknown-type', /99.*newer/],
    ['reserved bits', joined([hello, rawFrame(21, 1, none, 1)]), 'malformed', /reserved/],
    ['damage', joined([hello, damaged]), 'checksum', /checksum/],
    ['length', joined([hello, long]), 'too-long', /4294967295/],
    ['end of stream 0', joined([hello, rawFrame(21, 0, none)]), 'malformed', /stream 0/],
    ['ping of stream 1', joined([hello, rawFrame(2, 1, new Uint8Array(8))]), 'malformed', /ping/],
    ['empty data', joined([hello, rawFrame(20, 1, none)]), 'malformed', /data/],
    ['trailing byte', joined([hello, rawFrame(21, 1, new Uint8Array(1))]), 'malformed', /end/],
    ['window of 0', joined([hello, rawFrame(24, 1, new Uint8Array(4))]), 'malformed', /window/],
  ];
  for (const [name, bytes, kind, detail] of cases) {
    for (const chunks of [[bytes], Array.from(bytes, (byte) => Uint8Array.of(byte))]) {
      const { error } = decodeAll(chunks);
      assert.equal(error?.kind, kind, name);
      assert.match(error?.detail ?? '', detail, name);
    }
  }
});

test('nothing is taken after the taker says stop or after an error', () => {
  const bytes = joined(FRAMES.map(encode));
  const decoder = new FrameDecoder();
  let taken = 0;
  decoder.push(bytes, () => {
    taken += 1;
    return taken < 3;
  });
  assert.equal(taken, 3);
  const failing = new FrameDecoder();
  const error = failing.push(encodeUtf8('not a frame at all'), () => true);
  assert.equal(
    failing.push(bytes, () => assert.fail('it has failed')),
    error,
  );
});

test('a hello is checked for cluster and peer', () => {
  const peers = new Set(['eu-central-1', 'us-east-2']);
  const base = { cluster: 'banyan', own: 'ap-northeast-1', peer: null, peers };
  assert.ok(checkHello(HELLO, base).ok);
  const failing = (more: object): string => {
    const checked = checkHello(HELLO, { ...base, ...more });
    return checked.ok ? '' : checked.error;
  };
  assert.match(failing({ cluster: 'oak' }), /cluster "banyan", not "oak"/);
  assert.match(failing({ peer: 'us-east-2' }), /eu-central-1, not us-east-2/);
  assert.match(failing({ own: 'eu-central-1' }), /this node/);
  assert.match(failing({ peers: new Set(['us-east-2']) }), /not among/);
});

const DIGEST: RegionDigest = {
  region: 'eu-central-1',
  node: 'node-1',
  seq: 7,
  models: { 'banyan-support': { healthy: 2, total: 2, inFlight: 3, queuedTokens: 120 } },
  inFlight: 3,
  views: {
    'us-east-2': { state: 'healthy', ageMs: 40 },
    'ap-1': { state: 'unknown', ageMs: null },
  },
  isDraining: false,
};

test('a digest is read back; members from the future are passed over', () => {
  assert.deepEqual(decodeDigest(encodeDigest(DIGEST)), DIGEST);
  const more = encodeUtf8(JSON.stringify({ ...DIGEST, carbon: 12 }));
  assert.deepEqual(decodeDigest(more), DIGEST);
});

test('what is not a digest reads as null', () => {
  const bad: readonly unknown[] = [
    null,
    [],
    3,
    {},
    { ...DIGEST, seq: -1 },
    { ...DIGEST, models: { a: { healthy: '2' } } },
    { ...DIGEST, views: { a: { state: 'healthy', ageMs: 'x' } } },
    { ...DIGEST, views: [] },
    { ...DIGEST, isDraining: 0 },
  ];
  for (const value of bad) assert.equal(decodeDigest(encodeUtf8(JSON.stringify(value))), null);
  assert.equal(decodeDigest(Uint8Array.of(0xff, 0xfe)), null);
  assert.equal(decodeDigest(new Uint8Array(PEER_LIMITS.digestBytesMax + 1)), null);
});

test('a digest of too many models leaves models out and stays within its limit', () => {
  const model = { healthy: 1, total: 1, inFlight: 1e9, queuedTokens: 1e12 };
  const models = Object.fromEntries(
    Array.from({ length: 2_000 }, (_, index) => [`${'m'.repeat(120)}${index}`, model]),
  );
  const bytes = encodeDigest({ ...DIGEST, models });
  assert.ok(bytes.length <= PEER_LIMITS.digestBytesMax);
  const read = decodeDigest(bytes);
  assert.ok(read !== null && Object.keys(read.models).length > 50);
});
