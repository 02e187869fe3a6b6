import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';

import fc from 'fast-check';

import { HTTP_LIMITS } from '../../base/limits.ts';
import { HeadParser, PARSE_FAULT, PARSE_MORE } from './parser.ts';
import { ACCEPTED, bytesOf, chunked, HOST, REFUSED } from './requestTables.ts';
import { comparable, Oracle, parseRequests } from './testkit.ts';

describe('request heads and bodies', () => {
  const oracle = new Oracle();
  after(() => oracle.close());

  for (const [name, input, count] of ACCEPTED) {
    test(`taken, by Node too: ${name}`, async () => {
      const ours = parseRequests(bytesOf(input));
      assert.equal(ours.requests.length, count, ours.end);
      const node = await oracle.ask(bytesOf(input));
      assert.deepEqual(comparable(ours.requests), comparable(node.requests));
    });
  }

  for (const [name, input, stricter] of REFUSED) {
    test(`refused${stricter === undefined ? ', by Node too' : ''}: ${name}`, async () => {
      const ours = parseRequests(bytesOf(input));
      assert.equal(ours.end, 'bad_http');
      assert.equal(ours.requests.length, 0);
      const node = await oracle.ask(bytesOf(input));
      const isTakenByNode = node.requests.length > 0 || node.end === 'more';
      assert.equal(isTakenByNode, stricter !== undefined, JSON.stringify(node));
    });
  }

  test('every split in two gives the same result, for every line of both tables', () => {
    for (const [name, input] of [...ACCEPTED, ...REFUSED]) {
      const bytes = bytesOf(input);
      const whole = parseRequests(bytes);
      for (let cut = 1; cut < bytes.length; cut += 1) {
        assert.deepEqual(parseRequests(bytes, [cut]), whole, `${name}, cut at ${cut}`);
      }
      const everywhere = Array.from({ length: bytes.length }, (_, index) => index + 1);
      assert.deepEqual(parseRequests(bytes, everywhere), whole, `${name}, byte by byte`);
    }
  });

  test('three cuts anywhere give the same result', () => {
    const inputs = [...ACCEPTED, ...REFUSED].map(([, input]) => bytesOf(input));
    const property = fc.property(
      fc.constantFrom(...inputs),
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 3, maxLength: 3 }),
      (bytes, places) => {
        const cuts = places.map((place) => Math.floor(place * bytes.length)).sort((a, b) => a - b);
        assert.deepEqual(parseRequests(bytes, cuts), parseRequests(bytes));
      },
    );
    fc.assert(property, { numRuns: 2000, seed: 20261123 });
  });
});

describe('limits of a head', () => {
  const limits = { startLineBytesMax: 32, headerSectionBytesMax: 64, headerFieldsMax: 4 };

  function codeOf(text: string, cuts: 'whole' | 'bytes'): string {
    const parser = new HeadParser('request', limits);
    const bytes = bytesOf(text);
    const step = cuts === 'whole' ? bytes.length : 1;
    for (let at = 0; at < bytes.length; at += step) {
      const result = parser.push(bytes, at, at + step);
      if (result === PARSE_FAULT) return parser.fault?.code ?? '';
      if (result !== PARSE_MORE) return 'taken';
    }
    return 'more';
  }

  function line(bytes: number): string {
    return `GET /${'a'.repeat(bytes - 14)} HTTP/1.1`;
  }

  const rows: readonly (readonly [name: string, input: string, code: string])[] = [
    ['a start line at its limit', `${line(32)}\r\n${HOST}\r\n`, 'taken'],
    ['a start line one past it', `${line(33)}\r\n${HOST}\r\n`, 'headers_too_large'],
    ['a start line without end', 'GET /' + 'a'.repeat(29), 'headers_too_large'],
    ['a start line that may still end', 'GET /' + 'a'.repeat(28), 'more'],
    ['a section at its limit', `${line(20)}\r\n${HOST}X: ${'a'.repeat(48)}\r\n\r\n`, 'taken'],
    ['one past it', `${line(20)}\r\n${HOST}X: ${'a'.repeat(49)}\r\n\r\n`, 'headers_too_large'],
    ['a field without end', `${line(20)}\r\n${HOST}X: ${'a'.repeat(80)}`, 'headers_too_large'],
    ['fields at their limit', `${line(20)}\r\n${HOST}A: 1\r\nB: 1\r\nC: 1\r\n\r\n`, 'taken'],
    ['one more', `${line(20)}\r\n${HOST}A:1\r\nB:1\r\nC:1\r\nD:1\r\n\r\n`, 'headers_too_large'],
  ];
  for (const [name, input, code] of rows) {
    test(`${name}: ${code}, however it is cut`, () => {
      assert.equal(codeOf(input, 'whole'), code);
      assert.equal(codeOf(input, 'bytes'), code);
    });
  }

  test('the product takes a head at its full size', () => {
    const start = `GET /${'a'.repeat(HTTP_LIMITS.startLineBytesMax - 14)} HTTP/1.1\r\n`;
    const room = HTTP_LIMITS.headerSectionBytesMax - HOST.length - 'X: \r\n\r\n'.length;
    const input = `${start}${HOST}X: ${'b'.repeat(room)}\r\n\r\n`;
    assert.equal(parseRequests(bytesOf(input)).requests.length, 1);
    assert.equal(parseRequests(bytesOf(input), [9000, 20_000]).requests.length, 1);
    const longer = input.replace('X: ', 'X: b');
    assert.equal(parseRequests(bytesOf(longer)).end, 'headers_too_large');
    assert.equal(parseRequests(bytesOf(longer), [9000, 20_000]).end, 'headers_too_large');
  });

  test('chunk lines and trailers are bounded', () => {
    const extension = (bytes: number): string =>
      chunked(`3;${'a'.repeat(bytes - 1)}\r\nabc\r\n0\r\n\r\n`);
    const max = HTTP_LIMITS.chunkLineBytesMax;
    assert.equal(parseRequests(bytesOf(extension(max - 1))).requests.length, 1);
    assert.equal(parseRequests(bytesOf(extension(max + 1))).end, 'bad_http');
    const trailer = chunked(`0\r\nX: ${'a'.repeat(HTTP_LIMITS.trailerBytesMax)}\r\n\r\n`);
    assert.equal(parseRequests(bytesOf(trailer)).end, 'headers_too_large');
  });
});
