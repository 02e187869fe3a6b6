import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { ChunkedDecoder } from './chunked.ts';
import { PARSE_FAULT } from './parser.ts';

interface Decoded {
  readonly text: string;
  readonly isDone: boolean;
  readonly isFault: boolean;
}

/** Decodes `framed` in pieces that end at `cuts`. */
function decode(framed: string, cuts: readonly number[]): Decoded {
  const decoder = new ChunkedDecoder();
  let text = '';
  let from = 0;
  for (const cut of [...cuts, framed.length].toSorted((one, other) => one - other)) {
    const end = Math.min(cut, framed.length);
    const piece = Buffer.from(framed.slice(from, end), 'latin1');
    from = end;
    const at = decoder.push(piece, 0, piece.length);
    text += piece.toString('latin1', decoder.outStart, decoder.outEnd);
    if (at === PARSE_FAULT) return { text, isDone: false, isFault: true };
  }
  return { text, isDone: decoder.isDone, isFault: false };
}

/** Every byte on its own: no chunk is ever there as a whole. */
function decodeBytes(framed: string): Decoded {
  return decode(framed, Array.from(framed, (_, index) => index + 1).slice(0, -1));
}

const TEXTS = fc.array(fc.stringMatching(/^[ -~\r\n]{1,40}$/), { maxLength: 8 });
const CUTS = fc.array(fc.nat(300), { maxLength: 5 });

test('whole chunks give what their bytes one by one give, wherever they are cut', () => {
  const size = fc.constantFrom('', '0', '000', '00000');
  fc.assert(
    fc.property(TEXTS, size, CUTS, (texts, zeros, cuts) => {
      const chunks = texts.map((text) => `${zeros}${text.length.toString(16)}\r\n${text}\r\n`);
      const framed = `${chunks.join('')}0\r\n\r\n`;
      const decoded = decode(framed, cuts);
      assert.deepEqual(decoded, { text: texts.join(''), isDone: true, isFault: false });
      assert.deepEqual(decodeBytes(framed), decoded);
    }),
  );
});

test('what is refused byte by byte is refused as a whole, after the same payload', () => {
  const wrong = fc.constantFrom(
    '3\r\nabcd\r\n',
    '3\r\nabc\n',
    '3\nabc\r\n',
    'g\r\n',
    '3 \r\nabc\r\n',
  );
  fc.assert(
    fc.property(TEXTS, wrong, CUTS, (texts, tail, cuts) => {
      const chunks = texts.map((text) => `${text.length.toString(16)}\r\n${text}\r\n`);
      const framed = `${chunks.join('')}${tail}0\r\n\r\n`;
      const decoded = decode(framed, cuts);
      assert.ok(decoded.isFault);
      assert.deepEqual(decodeBytes(framed), decoded);
    }),
  );
});
