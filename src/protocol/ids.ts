/**
 * Ids that the gateway mints: a time, so that they sort and can be found in logs by day, and 80
 * random bits. Crockford's base 32 in lower case (no i, l, o, u), as in a ULID. @hot
 */

import { assert } from '../base/assert.ts';
import type { Prng } from '../base/prng.ts';
import type { Dialect } from './dialect.ts';

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
/** Every pair of characters, by its ten bits: an id is put together from a few of them. */
const PAIRS: readonly string[] = Array.from(
  { length: 1024 },
  (_, bits) => ALPHABET.charAt(bits >>> 5) + ALPHABET.charAt(bits & 31),
);
/** The time part, kept while the millisecond lasts. */
let timeMs = -1;
let timeText = '';

function pair(bits: number): string {
  return PAIRS[bits & 1023] ?? '';
}

/** Ten characters: 50 bits, the highest first. */
function timeOf(wallMs: number): string {
  const ms = Math.floor(wallMs);
  if (ms === timeMs) return timeText;
  const high = Math.floor(ms / 2 ** 30);
  const low = ms % 2 ** 30;
  timeText = pair(high >>> 10) + pair(high) + pair(low >>> 20) + pair(low >>> 10) + pair(low);
  timeMs = ms;
  return timeText;
}

/** Sixteen characters: 80 bits. */
function tailOf(random: Prng): string {
  const first = random.nextUint32();
  const second = random.nextUint32();
  const third = random.nextUint32();
  return (
    pair(first >>> 22) +
    pair(first >>> 12) +
    pair(first >>> 2) +
    pair(second >>> 22) +
    pair(second >>> 12) +
    pair(second >>> 2) +
    pair(third >>> 22) +
    pair(third >>> 12)
  );
}

/** 26 characters: Unix time in ms, then randomness. `wallMs` is at least 0 and below 2^48. */
function sortableId(wallMs: number, random: Prng): string {
  assert(wallMs >= 0 && wallMs < 2 ** 48, 'a Unix time in ms fits 48 bits');
  return timeOf(wallMs) + tailOf(random);
}

/** The id of one client request: `req_` and 26 characters. */
export function mintRequestId(wallMs: number, random: Prng): string {
  return `req_${sortableId(wallMs, random)}`;
}

/** The id of one chat completion or message that the gateway itself names. */
export function mintAnswerId(
  dialect: 'openai' | 'anthropic',
  wallMs: number,
  random: Prng,
): string {
  return (dialect === 'anthropic' ? 'msg_' : 'chatcmpl-') + sortableId(wallMs, random);
}

/**
 * The id of a translated answer: the upstream's own, in the client's form, so that an operator
 * finds it in the provider's logs. Characters that an id does not have become `_`.
 */
export function translatedId(dialect: 'openai' | 'anthropic', upstreamId: string): string {
  const bare = upstreamId.replace(/^(?:chatcmpl-|cmpl-|msg_)/, '').replace(/[^\w-]/g, '_');
  return (dialect === 'anthropic' ? 'msg_' : 'chatcmpl-') + bare.slice(0, 128);
}

/** The fields that tell a client its request's id; Anthropic's SDK reads a name of its own. */
export function requestIdFields(dialect: Dialect, requestId: string): string[] {
  const fields = ['x-request-id', requestId];
  if (dialect === 'anthropic') fields.push('request-id', requestId);
  return fields;
}
