/**
 * Common header names, interned: a name on the wire becomes one of these strings without a new one
 * being made. Names are found by a hash over length, first and last byte. @hot
 */

import { TOKEN_LOWER } from './chars.ts';

/** What the parser itself must understand; 0 for every other name. */
export const NAME_ID = {
  other: 0,
  contentLength: 1,
  transferEncoding: 2,
  host: 3,
  connection: 4,
  expect: 5,
  authorization: 6,
  apiKey: 7,
} as const;

/** One interned name. */
export interface KnownName {
  readonly text: string;
  readonly id: number;
}

const SPECIAL: Readonly<Record<string, number>> = {
  'content-length': NAME_ID.contentLength,
  'transfer-encoding': NAME_ID.transferEncoding,
  host: NAME_ID.host,
  connection: NAME_ID.connection,
  expect: NAME_ID.expect,
  authorization: NAME_ID.authorization,
  'x-api-key': NAME_ID.apiKey,
};

const COMMON =
  'accept accept-charset accept-encoding accept-language accept-ranges access-control-allow-origin ' +
  'age allow alt-svc anthropic-beta anthropic-dangerous-direct-browser-access ' +
  'anthropic-organization-id anthropic-version cache-control cf-cache-status cf-ray ' +
  'content-disposition content-encoding content-type cookie date etag forwarded idempotency-key ' +
  'keep-alive last-modified location openai-beta openai-organization openai-processing-ms ' +
  'openai-project openai-version origin pragma range referer request-id retry-after ' +
  'sec-fetch-mode server set-cookie strict-transport-security te trailer upgrade user-agent ' +
  'vary via x-accel-buffering x-content-type-options x-forwarded-for x-forwarded-host ' +
  'x-forwarded-proto x-ratelimit-limit-requests x-ratelimit-limit-tokens ' +
  'x-ratelimit-remaining-requests x-ratelimit-remaining-tokens x-ratelimit-reset-requests ' +
  'x-ratelimit-reset-tokens x-real-ip x-request-id x-should-retry x-stainless-arch ' +
  'x-stainless-helper-method x-stainless-lang x-stainless-os x-stainless-package-version ' +
  'x-stainless-retry-count x-stainless-runtime x-stainless-runtime-version ' +
  'x-stainless-timeout traceparent tracestate x-envoy-upstream-service-time';

interface Slot extends KnownName {
  readonly bytes: Uint8Array;
}

const SLOTS: readonly (readonly Slot[])[] = buildSlots();

function hashOf(length: number, first: number, last: number): number {
  return (length * 37 + first * 5 + last * 11) & 255;
}

function buildSlots(): readonly (readonly Slot[])[] {
  const slots: Slot[][] = Array.from({ length: 256 }, () => []);
  for (const text of [...Object.keys(SPECIAL), ...COMMON.split(' ')]) {
    const bytes = new Uint8Array(Buffer.from(text, 'latin1'));
    const hash = hashOf(bytes.length, bytes[0] ?? 0, bytes[bytes.length - 1] ?? 0);
    slots[hash]?.push({ text, id: SPECIAL[text] ?? NAME_ID.other, bytes });
  }
  return slots;
}

/** The interned name at `bytes[start, end)`, whatever its case; null where it is not a common one. */
export function findName(bytes: Uint8Array, start: number, end: number): KnownName | null {
  const length = end - start;
  const first = TOKEN_LOWER[bytes[start] ?? 0] ?? 0;
  const last = TOKEN_LOWER[bytes[end - 1] ?? 0] ?? 0;
  const slot = SLOTS[hashOf(length, first, last)];
  if (slot === undefined) return null;
  for (let index = 0; index < slot.length; index += 1) {
    const known = slot[index];
    if (known !== undefined && isSame(known.bytes, bytes, start, length)) return known;
  }
  return null;
}

function isSame(name: Uint8Array, bytes: Uint8Array, start: number, length: number): boolean {
  if (name.length !== length) return false;
  for (let index = 0; index < length; index += 1) {
    if (TOKEN_LOWER[bytes[start + index] ?? 0] !== name[index]) return false;
  }
  return true;
}
