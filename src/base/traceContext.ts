/**
 * W3C trace context (https://www.w3.org/TR/trace-context/, level 1): which header fields of a client
 * go on with its request, so that a trace does not break here, and what they say to a span of ours.
 * Strict: a `traceparent` that is repeated or malformed counts as none, and without one no
 * `tracestate` is taken either.
 */

import { headerValues, type HeaderList } from './headers.ts';
import { TRACE_LIMITS } from './traceLimits.ts';

const NONE: HeaderList = [];

/** `version-traceid-parentid-flags`, lower-case hex. */
const PARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-[\x21-\x7e]*)?$/;
const VERSION_00_CHARS = 55;
const ZERO_TRACE = '0'.repeat(32);
const ZERO_PARENT = '0'.repeat(16);
/** One member of `tracestate`: `key=value` or `tenant@system=value`, printable, no `,` nor `=`. */
const KEY = '(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})';
const VALUE = '[ -+\\--<>-~]{0,255}[!-+\\--<>-~]';
const MEMBER = new RegExp(`^${KEY}=${VALUE}$`);

/** The flag that says that the caller records its spans. */
export const SAMPLED = 1;
/** Flags that a participant passes on (level 2 adds that the id is random). */
const FLAGS_KNOWN = 3;

/** What a `traceparent` says. */
export interface TraceParent {
  /** 32 digits of lower-case hex. */
  readonly traceId: string;
  /** The caller's span: 16 digits. */
  readonly spanId: string;
  /** Of the flags those that are passed on. */
  readonly flags: number;
}

/** Takes a `traceparent` that `isTraceparent` apart. */
export function readTraceparent(text: string): TraceParent {
  return {
    traceId: text.slice(3, 35),
    spanId: text.slice(36, 52),
    flags: Number.parseInt(text.slice(53, 55), 16) & FLAGS_KNOWN,
  };
}

/** Writes a `traceparent` of version 00. */
export function renderTraceparent({ traceId, spanId, flags }: TraceParent): string {
  return `00-${traceId}-${spanId}-0${flags}`;
}

/** Whether `text` is a `traceparent` that may be continued. */
export function isTraceparent(text: string): boolean {
  if (text.length > TRACE_LIMITS.parentCharsMax) return false;
  if (!PARENT.test(text) || text.startsWith('ff')) return false;
  if (text.startsWith('00') && text.length !== VERSION_00_CHARS) return false;
  return !text.startsWith(ZERO_TRACE, 3) && !text.startsWith(ZERO_PARENT, 36);
}

/**
 * The fields of `headers` (names in lower case) that go on to whoever is called next: `traceparent`
 * as it came, `tracestate` where it is whole and within limits. Empty, and nothing allocated, for a
 * request without a `traceparent`.
 */
export function traceFields(headers: HeaderList): HeaderList {
  let parent: string | null = null;
  for (let index = 0; index < headers.length; index += 2) {
    if (headers[index] !== 'traceparent') continue;
    if (parent !== null) return NONE;
    parent = headers[index + 1] ?? '';
  }
  if (parent === null || !isTraceparent(parent)) return NONE;
  const state = traceState(headers);
  return state === '' ? ['traceparent', parent] : ['traceparent', parent, 'tracestate', state];
}

/** All `tracestate` fields as one list; empty where there is none, or one that breaks the rules. */
function traceState(headers: HeaderList): string {
  const text = headerValues(headers, 'tracestate').join(',');
  if (text === '' || text.length > TRACE_LIMITS.stateCharsMax) return '';
  const members = text
    .split(',')
    .map((member) => member.replace(/^[ \t]+|[ \t]+$/g, ''))
    .filter((member) => member !== '');
  if (members.length > TRACE_LIMITS.stateMembersMax) return '';
  const keys = new Set(members.map((member) => member.slice(0, member.indexOf('='))));
  if (keys.size !== members.length) return '';
  return members.every((member) => MEMBER.test(member)) ? members.join(',') : '';
}
