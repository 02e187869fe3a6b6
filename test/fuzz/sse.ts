/**
 * Server-sent events: lines of all kinds with all line ends, junk between them, cut anywhere. A plain
 * reading of the standard over the whole text is the oracle.
 */

import assert from 'node:assert/strict';

import { decodeUtf8, encodeUtf8 } from '../../src/base/bytes.ts';
import type { Prng } from '../../src/base/prng.ts';
import { EventFramer, formatEvent, parseEvent, type SseEvent } from '../../src/protocol/sse.ts';
import { chance, cutsOf, pick, pieces, several, type Area } from './area.ts';

const LINES = [
  'data: {"a":1}',
  'data:x',
  'data:  two',
  'data',
  'data:',
  'data: [DONE]',
  'event: message_stop',
  'event:ping',
  'event',
  'id: 7',
  'retry: 10',
  ': comment',
  ':',
  'other: x',
  'data : x',
  ' data: x',
  'data: 你好🌳',
  'data: \u0000',
];
const ENDS = ['\n', '\n', '\r\n', '\r'];

function stream(prng: Prng): Uint8Array {
  const parts: Uint8Array[] = [];
  if (chance(prng, 5)) parts.push(Uint8Array.of(0xef, 0xbb, 0xbf));
  for (let count = prng.nextBelow(14); count >= 0; count -= 1) {
    if (chance(prng, 8)) {
      parts.push(Uint8Array.from(several(prng, 6, () => prng.nextBelow(256))));
      continue;
    }
    const line = chance(prng, 30) ? '' : pick(prng, LINES);
    parts.push(encodeUtf8(line + pick(prng, ENDS)));
  }
  return Buffer.concat(parts);
}

interface Read {
  readonly events: readonly SseEvent[];
  /** Bytes told and held, in order: all of the input. */
  readonly bytes: Uint8Array;
}

function read(chunks: readonly Uint8Array[]): Read {
  const events: SseEvent[] = [];
  const told: Uint8Array[] = [];
  const framer = new EventFramer({
    event: (bytes, start, end) => {
      events.push(parseEvent(bytes, start, end));
      told.push(bytes.slice(start, end));
      return true;
    },
  });
  for (const chunk of chunks) {
    assert.equal(framer.push(chunk), true);
    chunk.fill(0x21); // What is kept must have been copied.
  }
  told.push(framer.held().slice());
  return { events, bytes: new Uint8Array(Buffer.concat(told)) };
}

/** The standard, WHATWG HTML 9.2.6, over a whole text; a CR at the end may be half of a CRLF. */
function readPlainly(bytes: Uint8Array): readonly string[] {
  const all: string[] = [];
  let data: string[] = [];
  // Latin-1 keeps bytes apart; each value is decoded by itself.
  const text = Buffer.from(bytes)
    .toString('latin1')
    .replace(/^\u00ef\u00bb\u00bf/, '');
  for (const [, line = ''] of text.matchAll(/([^\r\n]*)(?:\r\n|\r(?!$)|\n)/g)) {
    if (line === '') {
      if (data.length > 0) all.push(data.join('\n'));
      data = [];
      continue;
    }
    const value = /^data(?::[ ]?([^]*))?$/.exec(line);
    if (value !== null) data.push(decodeUtf8(Buffer.from(value[1] ?? '', 'latin1')));
  }
  return all;
}

export function sseArea(): Area {
  return {
    claim: 'events are those of the standard, whatever the cuts, and no byte is lost',
    one: (prng) => {
      const bytes = stream(prng);
      const cuts = cutsOf(prng, bytes.length);
      const label = `${JSON.stringify(Buffer.from(bytes).toString('latin1'))}, cut at ${cuts.join()}`;
      const whole = read(pieces(bytes, []));
      const cut = read(pieces(bytes, cuts));
      assert.deepEqual(cut, whole, label);
      assert.deepEqual(whole.bytes, new Uint8Array(bytes), label);
      assert.deepEqual(
        whole.events.flatMap(({ data }) => data ?? []),
        readPlainly(bytes),
        label,
      );
      const name = pick(prng, ['ping', 'x', '']);
      const json = JSON.stringify(label);
      const written = read([new Uint8Array(encodeUtf8(formatEvent(name, json)))]);
      assert.deepEqual(written.events, [{ event: name === '' ? 'message' : name, data: json }]);
      return whole.events.length > 0;
    },
  };
}
