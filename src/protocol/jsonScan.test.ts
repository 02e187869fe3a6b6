import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { decodeUtf8Strict, encodeUtf8 } from '../base/bytes.ts';
import { JSON_LIMITS } from '../base/limits.ts';
import { JsonScanner, malformedUtf8At } from './jsonScan.ts';
import { parseRequest } from './request.ts';

/** Why the scan refuses `body`; null: it is JSON within the limits. */
function refusal(body: Uint8Array): string | null {
  const parsed = parseRequest('chat', [], body);
  return parsed.ok || parsed.error.code !== 'invalid_json' ? null : parsed.error.detail;
}

function depthOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  return 1 + Math.max(0, ...Object.values(value).map(depthOf));
}

function isFiniteAll(value: unknown): boolean {
  if (typeof value === 'number') return Number.isFinite(value);
  if (typeof value !== 'object' || value === null) return true;
  return Object.values(value).every(isFiniteAll);
}

/** What JSON.parse and the limits say; null: they cannot tell (a member that stands twice). */
function oracle(body: Uint8Array): boolean {
  const text = decodeUtf8Strict(body);
  if (text === null) return false;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return false;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  if (Object.hasOwn(value, '__proto__')) return false;
  if (/\d{129}/.test(text)) return false;
  return depthOf(value) <= JSON_LIMITS.depthMax && isFiniteAll(value);
}

function agree(body: Uint8Array, about: string): void {
  const why = refusal(body);
  // JSON.parse takes the last one, and knows nothing of readers that fold case.
  if (why !== null && /stands twice|in case only/.test(why)) return;
  assert.equal(why === null, oracle(body), `${about}: ${why ?? 'accepted'}`);
}

const anyObject = fc
  .dictionary(fc.string({ unit: 'binary' }), fc.jsonValue({ stringUnit: 'binary' }))
  .map((value) => ({ ...value, long: 'x'.repeat(40) }));

test('the scan accepts what JSON.stringify writes, pretty or not (fast-check)', () => {
  fc.assert(
    fc.property(anyObject, fc.constantFrom(0, 1, 3), (value, indent) => {
      agree(encodeUtf8(JSON.stringify(value, null, indent)), 'stringified');
    }),
    { numRuns: 1000 },
  );
});

test('the scan agrees with JSON.parse on any bytes put into a document (fast-check)', () => {
  const junk = fc.uint8Array({ minLength: 0, maxLength: 24 });
  fc.assert(
    fc.property(junk, junk, (a, b) => {
      const body = new Uint8Array([
        ...encodeUtf8('{"a":"'),
        ...a,
        ...encodeUtf8('","b":'),
        ...b,
        0x7d,
      ]);
      agree(body, 'junk');
    }),
    { numRuns: 3000 },
  );
});

test('a string of any length ends where it should, at any alignment', () => {
  for (let length = 0; length < 70; length += 1) {
    for (let offset = 0; offset < 4; offset += 1) {
      for (const end of ['"', '\\n"', '\u0001"', '你"']) {
        const text = `"${'x'.repeat(length)}${end}`;
        const room = new Uint8Array(offset + 200).fill(0x78);
        const bytes = encodeUtf8(text);
        room.set(bytes, offset);
        const scanner = new JsonScanner(room.subarray(offset));
        const found = scanner.skipString(0);
        assert.equal(found, end.startsWith('\u0001') ? -1 : bytes.length, JSON.stringify(text));
        assert.equal(scanner.hasNonAscii, end.startsWith('你'));
      }
    }
  }
});

test('bombs are refused by name and place, and quickly', () => {
  const cases: readonly (readonly [name: string, body: string, why: RegExp])[] = [
    ['deep arrays', `{"a":${'['.repeat(100_000)}`, /nested deeper than 64/],
    ['deep objects', `${'{"a":'.repeat(100_000)}`, /nested deeper than 64/],
    ['many elements', `{"a":[${'0,'.repeat(1_000_001)}0]}`, /over 1000000 keys/],
    ['many nested keys', `{"a":{${'"k":0,'.repeat(1_000_001)}"k":0}}`, /over 200000 keys/],
    ['many top keys', `{${'"k":0,'.repeat(10)}"k":0}`, /"k" stands twice/],
    [
      'many different top keys',
      `{${Array.from({ length: 300 }, (_, at) => `"k${at}":0`).join()}}`,
      /over 256 members/,
    ],
    ['a huge number', '{"a":1e400}', /number out of range/],
    ['a tiny exponent is fine', '{"a":1e-400}', /^$/],
    ['a long number', `{"a":${'1'.repeat(129)}}`, /number of over 128 bytes/],
    ['a second member', '{"model":"a","mod\\u0065l":"b"}', /"model" stands twice/],
    ['a member in another case', '{"model":"a","Model":"b"}', /differs from "model" in case only/],
    ['in another case, alone', '{"MAX_TOKENS":1}', /differs from "max_tokens" in case only/],
    ['a long s', '{"\u017ftream":true}', /differs from "stream" in case only/],
    ['a Kelvin sign', '{"prompt_cache_\u212aey":"x"}', /differs from "prompt_cache_key"/],
    ['another name in capitals is fine', '{"Seed":1,"模型":2}', /^$/],
    ['a prototype key', '{"__proto__":{"x":1}}', /__proto__ is not allowed/],
    ['a hidden prototype key', '{"__prot\\u006f__":{"x":1}}', /__proto__ is not allowed/],
    ['trailing data', '{"a":1} {"b":2}', /byte 8 .*data after/],
    ['two lines', '{"a":1,\n "b":}', /byte 13 \(line 2, column 6\): not a JSON value/],
    ['NaN', '{"a":NaN}', /not a JSON value/],
    ['single quotes', "{'a':1}", /expected a key in double quotes/],
    ['an array', '[1]', /expected one JSON object/],
    ['nothing', '', /the body is empty/],
    ['blank', ' \n', /expected one JSON object/],
    ['a mark', '\uFEFF{"a":1}', /begins with a byte-order mark/],
    ['a cut string', '{"a":"b', /ends inside a string/],
    ['a cut object', '{"a":1', /ends inside an object/],
    ['a comma too many', '{"a":1,}', /expected a key/],
  ];
  for (const [name, body, why] of cases) {
    const startedMs = performance.now();
    assert.match(refusal(encodeUtf8(body)) ?? '', why, name);
    assert.ok(performance.now() - startedMs < 5000, `${name} took too long`);
  }
});

test('malformed UTF-8 is found at its first byte', () => {
  for (const [bytes, at] of [
    [[0x41, 0xff], 1],
    [[0xc0, 0x80], 0],
    [[0x41, 0xe0, 0x80, 0x80], 1],
    [[0xed, 0xa0, 0x80], 0],
    [[0xf4, 0x90, 0x80, 0x80], 0],
    [[0xe4, 0xbd], 0],
    [[0x41, 0xe4, 0xbd, 0xa0], 4],
  ] as const) {
    assert.equal(malformedUtf8At(new Uint8Array(bytes)), at);
  }
  const body = new Uint8Array([...encodeUtf8('{"a":"'), 0xe4, 0xbd, 0x22, 0x7d]);
  assert.match(refusal(body) ?? '', /byte 6 .*malformed UTF-8/);
});

test('nested prototype keys are kept apart from the prototype', () => {
  const text = '{"model":"m","messages":[],"x":{"__proto__":{"polluted":true},"constructor":1}}';
  const parsed = parseRequest('chat', [], encodeUtf8(text));
  assert.ok(parsed.ok);
  const { x } = parsed.value.json() as { x: Record<string, unknown> };
  assert.equal(({} as Record<string, unknown>)['polluted'], undefined);
  assert.ok(Object.hasOwn(x, '__proto__'));
});
