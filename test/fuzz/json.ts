/**
 * JSON bodies: mutated documents and ones made by a grammar that leans to what readers disagree on
 * (doubled keys, escapes, surrogates, prototype keys, numbers, depth, UTF-8). `JSON.parse` is the
 * oracle: what the scan takes it takes, what it refuses is refused, and both find the same values.
 */

import assert from 'node:assert/strict';

import { decodeUtf8Strict, encodeUtf8 } from '../../src/base/bytes.ts';
import { JSON_LIMITS } from '../../src/base/limits.ts';
import type { Prng } from '../../src/base/prng.ts';
import { parseRequest } from '../../src/protocol/request.ts';
import { chance, pick, several, type Area } from './area.ts';

const SEEDS: readonly string[] = [
  '{"model":"m","messages":[{"role":"user","content":"hello, \\u4f60\\n世界 and more text"}],"n":1}',
  '{ "a" : [ 1 , -0.5e+10 , true , false , null , "" , {} , [] ] , "b\\u0041" : 0 }',
  '{"escapes":"\\"\\\\\\/\\b\\f\\n\\r\\t","pair":"\\ud83c\\udf89"}',
  `{"long":"${'abcdefgh'.repeat(12)}","wide":"${'漢字🎉é'.repeat(9)}","model":"x"}`,
  '{"model":"m","stream":true,"max_tokens":7,"messages":[],"metadata":{"user_id":"u"},"user":"v"}',
];
/** Bytes that mean something in JSON or in UTF-8. */
const MEANING = [
  0x22, 0x5c, 0x7b, 0x7d, 0x5b, 0x5d, 0x2c, 0x3a, 0x30, 0x2d, 0x65, 0x00, 0xff, 0xc3,
] as const;
const KEYS = ['model', 'messages', 'stream', 'n', 'max_tokens', 'user', 'a', '', 'mod\\u0065l'];
const RARE_KEYS = ['__proto__', 'constructor', '\\u005f_proto__', '\\ud800', 'toString', '🌳'];
const SCALARS = ['0', '-0', '1', '1.5', '-2e3', '1E+2', '1e308', 'true', 'false', 'null', '""'];
const RARE_SCALARS = ['01', '1.', '.5', '+1', '1e400', '-1e999', 'NaN', 'tru', '1e', '0x1', '-'];
const STRINGS = ['"x"', '"\\u0041"', '"\\ud83c\\udf89"', '"\\udf89"', '"你好"', '"a\\/b"', '"🌳"'];
const RARE_STRINGS = ['"\\x"', '"\\u12"', '"\t"', '"\u0000"', '"', "'a'", '"a\nb"', '"\u007f"'];
const SPACES = ['', '', '', ' ', '\n', '\r\n\t', '\u000b', '\u00a0'];
const SPACES_COMMON = 6;

/** Changes, removes, doubles or inserts a few bytes; some are those that mean something. */
function mutate(prng: Prng, bytes: Uint8Array): Uint8Array {
  let out = Array.from(bytes);
  for (let count = prng.nextBelow(3); count >= 0; count -= 1) {
    const at = prng.nextBelow(out.length + 1);
    const byte = chance(prng, 50) ? prng.nextBelow(256) : pick(prng, MEANING);
    const kind = prng.nextBelow(4);
    if (kind === 0) out[at] = byte;
    else if (kind === 1) out.splice(at, 1 + prng.nextBelow(8));
    else if (kind === 2) out.splice(at, 0, byte);
    else out = [...out.slice(0, at), ...out.slice(prng.nextBelow(out.length + 1))];
  }
  return new Uint8Array(out.map((byte) => byte ?? 0));
}

function space(prng: Prng): string {
  return chance(prng, 99) ? (SPACES[prng.nextBelow(SPACES_COMMON)] ?? '') : pick(prng, SPACES);
}

function value(prng: Prng, depth: number): string {
  const kind = depth > 5 ? 0 : prng.nextBelow(6);
  if (kind < 2) return pick(prng, chance(prng, 98) ? SCALARS : RARE_SCALARS);
  if (kind < 4) return pick(prng, chance(prng, 98) ? STRINGS : RARE_STRINGS);
  if (kind === 4) {
    return `[${several(prng, 4, () => space(prng) + value(prng, depth + 1)).join(`${space(prng)},`)}]`;
  }
  return object(prng, depth + 1);
}

function object(prng: Prng, depth: number): string {
  const members = several(prng, 6, () => {
    const key = pick(prng, chance(prng, 95) ? KEYS : RARE_KEYS);
    return `${space(prng)}"${key}"${space(prng)}:${space(prng)}${value(prng, depth)}${space(prng)}`;
  });
  return `{${members.join(',')}}`;
}

const OPTIONAL: readonly (readonly [key: string, values: readonly string[]])[] = [
  ['stream', ['true', 'false', 'null', '1']],
  ['n', ['1', '2', '128', '129', '1.0', '1e0', 'null', '-1']],
  ['max_tokens', ['1', '7', '1e3', '4096.0', 'null', '0', '1.5']],
  ['max_completion_tokens', ['9', 'null', '"9"']],
  ['user', ['"u"', '"\\u4f60"', '7']],
  ['models', ['["m2"]', '[]', '["a","b","c"]', '"m"']],
  ['stop', ['["a"]', '"a"', 'null']],
];

/** A request that is mostly right, each member once, in any order. */
function chat(prng: Prng): string {
  const members = [
    `"model":${pick(prng, ['"m"', '"m"', '"gpt-4\\u006f"', '"你好"', 'null', '""'])}`,
    `"messages":${chance(prng, 50) ? '[]' : `[${several(prng, 3, () => object(prng, 4)).join()}]`}`,
    ...OPTIONAL.filter(() => chance(prng, 30)).map(
      ([key, values]) => `"${key}"${space(prng)}:${space(prng)}${pick(prng, values)}`,
    ),
    ...several(prng, 2, () => `"x${prng.nextBelow(1e6)}":${value(prng, 2)}`),
  ];
  const from = prng.nextBelow(members.length);
  return `{${[...members.slice(from), ...members.slice(0, from)].join(`${space(prng)},`)}}`;
}

/** A document of some depth, near the limit now and then. */
function document(prng: Prng): string {
  if (chance(prng, 50)) return space(prng) + chat(prng) + space(prng);
  if (chance(prng, 96)) return space(prng) + object(prng, 0) + space(prng);
  const depth = JSON_LIMITS.depthMax - 2 + prng.nextBelow(4);
  return `{"a":${'['.repeat(depth)}${']'.repeat(depth)},"model":"m","messages":[]}`;
}

/** Are depth and numbers of valid JSON within the limits, also where a later member hides them? */
function isWithinLimits(text: string): boolean {
  let depth = 0;
  for (const [token] of text
    .replaceAll(/"(?:[^"\\]|\\.)*"/g, '')
    .matchAll(/[[{}\]]|-?\d[\d.eE+-]*/g)) {
    if (token === '[' || token === '{') depth += 1;
    else if (token === ']' || token === '}') depth -= 1;
    else if (!Number.isFinite(Number(token)) || token.length > JSON_LIMITS.numberBytesMax)
      return false;
    if (depth > JSON_LIMITS.depthMax) return false;
  }
  return true;
}

/** What JSON.parse and the limits make of a body; null: they refuse it. */
function oracle(body: Uint8Array): Readonly<Record<string, unknown>> | null {
  const text = decodeUtf8Strict(body);
  if (text === null) return null;
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    return null; // That is its verdict.
  }
  if (typeof found !== 'object' || found === null || Array.isArray(found)) return null;
  if (Object.hasOwn(found, '__proto__') || !isWithinLimits(text)) return null;
  return found as Readonly<Record<string, unknown>>;
}

function check(body: Uint8Array): boolean {
  const label = JSON.stringify(Buffer.from(body).toString('latin1'));
  const parsed = parseRequest('chat', [], body);
  const known = oracle(body);
  if (!parsed.ok && parsed.error.code === 'invalid_json') {
    // R2: what two readers may take differently is refused; JSON.parse takes the last one.
    if (/stands twice|differs from .* in case only/.test(parsed.error.detail)) return false;
    assert.equal(known, null, `${label}: refused (${parsed.error.detail}), JSON.parse takes it`);
    return false;
  }
  assert.ok(known !== null, `${label}: taken, JSON.parse does not`);
  if (!parsed.ok) return false;
  const { value: request } = parsed;
  const first = Array.isArray(known['models']) ? known['models'][0] : undefined;
  assert.equal(request.model, known['model'] ?? first, label);
  assert.equal(request.isStream, known['stream'] === true, label);
  assert.equal(
    request.outputTokensMax,
    known['max_completion_tokens'] ?? known['max_tokens'] ?? null,
    label,
  );
  assert.equal(request.choicesCount, known['n'] ?? 1, label);
  assert.deepEqual(request.json(), known, label);
  return true;
}

export function jsonArea(): Area {
  return {
    claim: 'the scan takes what JSON.parse takes, within the limits, and finds the same values',
    one: (prng) => {
      const made = encodeUtf8(chance(prng, 40) ? pick(prng, SEEDS) : document(prng));
      const body = chance(prng, 45) ? mutate(prng, made) : made;
      // Bodies are views of read buffers: every alignment of the word scan must do.
      const room = new Uint8Array(body.length + 8).fill(0x22);
      const offset = prng.nextBelow(8);
      room.set(body, offset);
      return check(room.subarray(offset, offset + body.length));
    },
  };
}
