/**
 * Bodies at the edges of JSON, through a real node and in both dialects: each is a clear 400, or goes
 * to the target untouched. Whatever passes means the same to the node and to any target: the table
 * in `docs/internals/edges.md` says why of each.
 */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { JSON_LIMITS } from '../../src/base/limits.ts';
import { errorOf } from '../support/client.ts';
import { startFakeUpstream } from '../support/fakeUpstream.ts';
import { atEnd, startNode, TEST_KEY } from '../support/node.ts';

const DIALECTS = ['openai', 'anthropic'] as const;
type Dialect = (typeof DIALECTS)[number];

const upstream = await startFakeUpstream('fake');
atEnd(() => upstream.close());
const node = await startNode({
  targets: DIALECTS.map((kind) => ({
    name: kind,
    kind,
    baseUrl: `http://127.0.0.1:${upstream.port}/v1`,
  })),
  models: [
    ...DIALECTS.map((kind) => ({ name: kind, targets: [kind] })),
    { name: 'secret', targets: [...DIALECTS] },
  ],
});

/** The usual members; `M` stands for the model in the bodies of the tables. */
const BASE = '"model":"M","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]';

/** Posts bytes as they are. */
async function post(
  client: Dialect,
  provider: Dialect,
  body: Uint8Array,
): Promise<{ readonly status: number; readonly text: string }> {
  const path = client === 'openai' ? '/v1/chat/completions' : '/v1/messages';
  const response = await fetch(`${node.apiUrl}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${TEST_KEY}` },
    body: Buffer.from(
      Buffer.from(body).toString('latin1').replace('"M"', `"${provider}"`),
      'latin1',
    ),
  });
  return { status: response.status, text: await response.text() };
}

function bytes(text: string): Buffer {
  return Buffer.from(text.replace('BASE', BASE), 'utf8');
}

/** `text` with the bytes in place of its `@`. */
function spliced(text: string, ...inside: readonly number[]): Buffer {
  const [head = '', tail = ''] = text.split('@');
  return Buffer.concat([bytes(head), Buffer.from(inside), bytes(tail)]);
}

const many = (count: number, item: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => item(index)).join(',');
const deep = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
/** The outermost object is one level. */
const DEPTH = JSON_LIMITS.depthMax - 1;

const REFUSED: readonly (readonly [name: string, body: Buffer, says: RegExp])[] = [
  ['arrays one level too deep', bytes(`{BASE,"x":${deep(DEPTH + 1)}}`), /nested deeper than 64/],
  ['arrays 100,000 deep', bytes(`{BASE,"x":${deep(100_000)}}`), /nested deeper than 64/],
  ['objects 100,000 deep', bytes(`{BASE,"x":${'{"a":'.repeat(100_000)}`), /nested deeper than 64/],
  [
    '1,000,000 keys',
    bytes(`{BASE,"x":{${many(1_000_000, (at) => `"${at}":0`)}}}`),
    /over 200000 keys/,
  ],
  ['1,000,001 elements', bytes(`{BASE,"x":[${many(1_000_001, () => '0')}]}`), /over 1000000/],
  [
    '257 members at the top',
    bytes(`{BASE,${many(254, (at) => `"x${at}":0`)}}`),
    /over 256 members/,
  ],
  ['model twice', bytes('{BASE,"model":"secret"}'), /"model" stands twice/],
  ['model twice, escaped', bytes('{BASE,"mod\\u0065l":"secret"}'), /"model" stands twice/],
  [
    'model twice, all escaped',
    bytes('{"\\u006d\\u006f\\u0064\\u0065\\u006c":"a",BASE}'),
    /stands twice/,
  ],
  ['stream twice', bytes('{BASE,"stream":false,"stream":true}'), /"stream" stands twice/],
  ['stream twice, escaped', bytes('{BASE,"stream":false,"strea\\u006D":true}'), /stands twice/],
  ['an unknown member twice', bytes('{BASE,"x":1,"x":2}'), /"x" stands twice/],
  ['model again in another case', bytes('{BASE,"Model":"secret"}'), /"model" in case only/],
  ['stream with a long s', bytes('{BASE,"\\u017ftream":true}'), /"stream" in case only/],
  ['__proto__', bytes('{BASE,"__proto__":{"x":1}}'), /__proto__ is not allowed/],
  ['__proto__, escaped', bytes('{BASE,"__prot\\u006f__":{"x":1}}'), /__proto__ is not allowed/],
  ['1e999', bytes('{BASE,"x":1e999}'), /out of range/],
  ['-1e999', bytes('{BASE,"x":[-1e999]}'), /out of range/],
  ['an integer of 400 digits', bytes(`{BASE,"x":${'7'.repeat(400)}}`), /number of over 128 bytes/],
  ['a fraction of 400 digits', bytes(`{BASE,"x":0.${'7'.repeat(400)}}`), /over 128 bytes/],
  ['an exponent of 400 digits', bytes(`{BASE,"x":1e${'0'.repeat(400)}}`), /over 128 bytes/],
  [
    'max_tokens beyond whole numbers',
    bytes('{"model":"M","messages":[],"max_tokens":1e300}'),
    /max_tokens/,
  ],
  ['NaN', bytes('{BASE,"x":NaN}'), /not a JSON value/],
  ['Infinity', bytes('{BASE,"x":-Infinity}'), /malformed number/],
  ['a hexadecimal number', bytes('{BASE,"x":0x10}'), /expected a comma/],
  ['a leading zero', bytes('{BASE,"x":01}'), /expected a comma/],
  ['a plus', bytes('{BASE,"x":+1}'), /not a JSON value/],
  ['a comment', bytes('{BASE/* no */}'), /expected a comma/],
  ['a trailing comma', bytes('{BASE,}'), /expected a key/],
  ['single quotes', bytes("{BASE,'x':1}"), /expected a key/],
  ['NUL between members', spliced('{BASE,@"x":1}', 0), /expected a key/],
  ['NUL in a string', spliced('{BASE,"x":"a@b"}', 0), /control character/],
  ['NUL after the object', spliced('{BASE}@', 0), /data after/],
  ['a control character in a key', spliced('{BASE,"a@":1}', 0x1f), /control character/],
  [
    'an escaped NUL in the model',
    bytes('{"model":"M\\u0000","messages":[]}'),
    /control characters/,
  ],
  ['a byte-order mark', spliced('@{BASE}', 0xef, 0xbb, 0xbf), /byte-order mark/],
  ['UTF-16', Buffer.from(`\ufeff{${BASE}}`, 'utf16le'), /expected one JSON object/],
  ['another object behind', bytes('{BASE}{"model":"secret"}'), /data after/],
  ['text behind', bytes('{BASE} x'), /data after/],
  ['a lone byte of UTF-8', spliced('{BASE,"x":"@"}', 0xff), /malformed UTF-8/],
  ['an overlong slash', spliced('{BASE,"x":"@"}', 0xc0, 0xaf), /malformed UTF-8/],
  ['a surrogate as UTF-8', spliced('{BASE,"x":"@"}', 0xed, 0xa0, 0x80), /malformed UTF-8/],
  ['a cut character', spliced('{BASE,"x":"@"}', 0xe4, 0xbd), /malformed UTF-8/],
  ['malformed UTF-8 in a key', spliced('{BASE,"@":1}', 0xff), /malformed UTF-8/],
  ['malformed UTF-8 outside of strings', spliced('{BASE,@}', 0xff), /expected a key/],
  ['an array', bytes('[{BASE}]'), /expected one JSON object/],
  ['a string', bytes('"{BASE}"'), /expected one JSON object/],
  ['nothing', Buffer.alloc(0), /empty/],
];

/** What passes does so byte for byte where client and target speak the same dialect. */
const PASSED: readonly (readonly [name: string, body: Buffer])[] = [
  ['64 levels', bytes(`{BASE,"x":${deep(DEPTH)}}`)],
  ['100,000 keys', bytes(`{BASE,"x":{${many(100_000, (at) => `"${at}":0`)}}}`)],
  ['500,000 elements', bytes(`{BASE,"x":[${many(500_000, () => '0')}]}`)],
  ['constructor and prototype', bytes('{BASE,"constructor":{"prototype":{"x":1}},"toString":1}')],
  ['__proto__ further inside', bytes('{BASE,"x":{"__proto__":{"polluted":1}}}')],
  ['a member twice further inside', bytes('{BASE,"x":{"a":1,"a":2}}')],
  ['a key with escapes', bytes('{BASE,"temper\\u0061ture":0.5}')],
  ['an empty key', bytes('{BASE,"":1}')],
  ['an integer beyond 2^53', bytes('{BASE,"x":9007199254740993}')],
  ['128 digits', bytes(`{BASE,"x":${'7'.repeat(128)}}`)],
  ['1e308 and 1e-999', bytes('{BASE,"x":[1e308,1e-999,-0]}')],
  ['a lone surrogate, escaped', bytes('{BASE,"x":"\\ud83c \\udf89"}')],
  ['NUL, escaped', bytes('{BASE,"x":"a\\u0000b"}')],
  ['DEL, U+2028 and a noncharacter', bytes('{BASE,"x":"\\u007f\u007f\u2028\uffff"}')],
  ['a mark inside', bytes('{BASE,"x":"\ufeff"}')],
  ['blanks of all kinds', bytes(' \t\r\n{ BASE , "x" : [ ] } \r\n\t ')],
];

for (const client of DIALECTS) {
  describe(`${client}: JSON at its edges`, () => {
    for (const [name, body, says] of REFUSED) {
      test(`${name}: 400`, async () => {
        const before = upstream.seen.length;
        for (const provider of DIALECTS) {
          const { status, text } = await post(client, provider, body);
          assert.equal(status, 400, text.slice(0, 300));
          const error = errorOf(text);
          assert.match(error?.message ?? '', says);
          assert.equal(error?.type, 'invalid_request_error');
        }
        assert.equal(upstream.seen.length, before, 'no target has seen it');
      });
    }

    for (const [name, body] of PASSED) {
      test(`${name}: passed untouched`, async () => {
        const { status, text } = await post(client, client, body);
        assert.equal(status, 200, text.slice(0, 300));
        const sent = body.toString('utf8').replace('"M"', `"${client}"`);
        assert.ok(upstream.seen.at(-1)?.body === sent, 'byte for byte');
      });

      test(`${name}: translated without harm`, async () => {
        const provider = client === 'openai' ? 'anthropic' : 'openai';
        const { status, text } = await post(client, provider, body);
        assert.ok(status === 200 || status === 400, `${status} ${text.slice(0, 300)}`);
        if (status === 400) assert.equal(errorOf(text)?.type, 'invalid_request_error');
        else JSON.parse(upstream.seen.at(-1)?.body ?? '');
      });
    }
  });
}

test('after all of it the node serves, and its prototypes are clean', async () => {
  const { status, text } = await post('openai', 'anthropic', bytes('{BASE}'));
  assert.equal(status, 200);
  assert.ok(!text.includes('polluted'));
});
