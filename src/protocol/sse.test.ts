import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { decodeUtf8, encodeUtf8 } from '../base/bytes.ts';
import { SSE_LIMITS } from '../base/limits.ts';
import { EventFramer, formatEvent, parseEvent, type SseEvent } from './sse.ts';

interface Found {
  readonly events: readonly SseEvent[];
  readonly raw: string;
  readonly held: string;
}

function frame(pieces: readonly Uint8Array[]): Found {
  const events: SseEvent[] = [];
  let raw = '';
  const framer = new EventFramer({
    event: (bytes, start, end) => {
      events.push(parseEvent(bytes, start, end));
      raw += decodeUtf8(bytes.subarray(start, end));
      return true;
    },
  });
  for (const piece of pieces) assert.equal(framer.push(piece), true);
  return { events, raw, held: decodeUtf8(framer.held()) };
}

const STREAMS: readonly (readonly [
  name: string,
  text: string,
  data: readonly (string | null)[],
])[] = [
  ['LF', 'data: a\n\ndata: b\n\n', ['a', 'b']],
  ['CRLF', 'data: a\r\n\r\ndata: b\r\n\r\nx', ['a', 'b']],
  ['CR', 'data: a\r\rdata: b\r\rx', ['a', 'b']],
  ['mixed', 'data: a\r\n\ndata: b\n\r\ndata: c\r\rdata: d\n\n', ['a', 'b', 'c', 'd']],
  ['lines of data', 'data: a\ndata:b\ndata:  c\n\n', ['a\nb\n c']],
  ['a mark', '\uFEFFdata: a\n\n', ['a']],
  ['comments', ': ping\n\n:\ndata: a\n\n', [null, 'a']],
  ['fields', 'event: x\nid: 1\nretry: 5\ndata: a\n\n', ['a']],
  ['an empty value', 'data\n\ndata:\n\n', ['', '']],
  ['blank lines', '\n\ndata: a\n\n\n', [null, null, 'a', null]],
  ['a colon inside', 'data: a: b\n\n', ['a: b']],
  ['an unended event', 'data: a\n\ndata: b\n', ['a']],
  ['Chinese', 'data: 你好\n\ndata: 🎉\n\n', ['你好', '🎉']],
];

test('events do not depend on where the bytes were split', () => {
  for (const [name, text, data] of STREAMS) {
    const bytes = encodeUtf8(text);
    const whole = frame([bytes]);
    assert.deepEqual(
      whole.events.map((event) => event.data),
      data,
      name,
    );
    assert.equal(whole.raw + whole.held, text, `${name}: every byte is told or held`);
    for (let at = 0; at <= bytes.length; at += 1) {
      const found = frame([bytes.slice(0, at), bytes.slice(at)]);
      assert.deepEqual(found, whole, `${name}, split at byte ${at}`);
    }
    assert.deepEqual(frame(Array.from(bytes, (byte) => new Uint8Array([byte]))), whole, name);
  }
});

test('any bytes in any pieces are told or held, in order (fast-check)', () => {
  const bytes = fc.array(fc.constantFrom(...encodeUtf8('\r\n:da tx')), { maxLength: 60 });
  fc.assert(
    fc.property(bytes, fc.array(fc.nat(60), { maxLength: 6 }), (all, cuts) => {
      const body = new Uint8Array(all);
      const ends = [...cuts.map((cut) => Math.min(cut, body.length)), body.length];
      ends.sort((a, b) => a - b);
      let from = 0;
      const pieces = ends.map((end) => body.slice(from, (from = end)));
      const found = frame(pieces);
      assert.equal(found.raw + found.held, decodeUtf8(body));
      assert.deepEqual(found, frame([body]));
    }),
    { numRuns: 3000 },
  );
});

test('an event over the limit ends the reading', () => {
  const framer = new EventFramer({ event: () => true });
  const piece = new Uint8Array(1024 * 1024).fill(0x61);
  let pushed = 0;
  while (pushed < 20 && framer.push(piece)) pushed += 1;
  assert.equal(pushed, SSE_LIMITS.eventBytesMax / piece.length);
  assert.equal(framer.isTooLarge, true);
  assert.equal(framer.push(encodeUtf8('\n\n')), false);
});

test('a large event in small pieces takes time in proportion', () => {
  const framer = new EventFramer({ event: () => true });
  const piece = new Uint8Array(256).fill(0x61);
  const startedMs = performance.now();
  for (let index = 0; index < 16_384; index += 1) framer.push(piece);
  assert.ok(performance.now() - startedMs < 2000);
});

test('a sink that says no is told nothing more', () => {
  let told = 0;
  const framer = new EventFramer({
    event: () => {
      told += 1;
      return false;
    },
  });
  assert.equal(framer.push(encodeUtf8('data: a\n\ndata: b\n\n')), false);
  assert.equal(framer.push(encodeUtf8('data: c\n\n')), false);
  assert.equal(told, 1);
});

test('what is written is read back', () => {
  const bytes = encodeUtf8(formatEvent('x', '{"a":1}') + formatEvent('', '2'));
  assert.deepEqual(frame([bytes]).events, [
    { event: 'x', data: '{"a":1}' },
    { event: 'message', data: '2' },
  ]);
});

test('long lines with any bytes in them are the same in any pieces (fast-check)', () => {
  // Kept bytes are searched sixteen at a time, fresh ones are not: both find the same.
  const text = fc.stringMatching(/^[ -~\t\v\u0080-\u00ff]{0,70}$/);
  const line = fc.tuple(text, fc.constantFrom('\n', '\n\n', '\r\n\r\n', '\r\r', '\r'));
  fc.assert(
    fc.property(fc.array(line, { maxLength: 8 }), fc.array(fc.nat(600)), (lines, cuts) => {
      const body = encodeUtf8(lines.flat().join(''));
      const ends = [...cuts.map((cut) => Math.min(cut, body.length)), body.length];
      ends.sort((a, b) => a - b);
      let from = 0;
      const pieces = ends.map((end) => body.slice(from, (from = end)));
      assert.deepEqual(frame(pieces), frame([body]));
    }),
  );
});
