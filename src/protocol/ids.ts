/**
 * Ids that the gateway mints: a time, so that they sort and can be found in logs by day, and 80
 * random bits. Crockford's base 32 in lower case (no i, l, o, u), as in a ULID.
 */

import { assert } from '../base/assert.ts';
import type { Prng } from '../base/prng.ts';
import type { Dialect } from './dialect.ts';

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
const TIME_CHARS = 10;
const RANDOM_CHARS = 16;

/** 26 characters: Unix time in ms, then randomness. `wallMs` is at least 0 and below 2^48. */
function sortableId(wallMs: number, random: Prng): string {
  assert(wallMs >= 0 && wallMs < 2 ** 48, 'a Unix time in ms fits 48 bits');
  let rest = Math.floor(wallMs);
  let time = '';
  for (let index = 0; index < TIME_CHARS; index += 1) {
    time = ALPHABET.charAt(rest % 32) + time;
    rest = Math.floor(rest / 32);
  }
  let tail = '';
  for (let index = 0; index < RANDOM_CHARS; index += 1) {
    tail += ALPHABET.charAt(random.nextUint32() >>> 27);
  }
  return time + tail;
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
