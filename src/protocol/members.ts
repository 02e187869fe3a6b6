/**
 * The members of a body's outermost object: where each stands, and where the few are that a gateway
 * looks at. A name that stands twice, or again in another case, `__proto__` and data after the object
 * are refused here. @hot
 */

import { decodeUtf8, encodeUtf8 } from '../base/bytes.ts';
import { JSON_LIMITS } from '../base/limits.ts';
import { JsonScanner } from './jsonScan.ts';

/** The places of the members that a gateway looks at. */
export const MEMBER = {
  model: 0,
  stream: 1,
  messages: 2,
  maxTokens: 3,
  maxCompletionTokens: 4,
  streamOptions: 5,
  fallbacks: 6,
  models: 7,
  user: 8,
  promptCacheKey: 9,
  metadata: 10,
  n: 11,
  prompt: 12,
  system: 13,
  input: 14,
  tools: 15,
  proto: 16,
} as const;
/** One of them. */
export type Member = (typeof MEMBER)[keyof typeof MEMBER];

/** Their names, by place. */
export const MEMBER_NAMES = [
  'model',
  'stream',
  'messages',
  'max_tokens',
  'max_completion_tokens',
  'stream_options',
  'fallbacks',
  'models',
  'user',
  'prompt_cache_key',
  'metadata',
  'n',
  'prompt',
  'system',
  'input',
  'tools',
  '__proto__',
] as const;

const NAME_BYTES: readonly Uint8Array[] = MEMBER_NAMES.map((name) => encodeUtf8(name));
/** The place of the name with a hash; whether it is that name, its bytes say. */
const PLACE_OF_HASH: ReadonlyMap<number, number> = new Map(
  NAME_BYTES.map((bytes, place) => [hashOf(bytes, 0, bytes.length), place]),
);

const NONE: readonly number[] = MEMBER_NAMES.flatMap(() => [-1, -1, -1]);

/** The top-level members of one body. */
export class Members {
  /** By place: start of the key, start and end of the value; -1: absent. */
  readonly #spans: number[] = NONE.slice();
  /** Start of the key and end of the value of every member, in order. */
  readonly bounds: number[] = [];
  readonly hashes: number[] = [];

  /** Where the value of a member starts; -1: absent. */
  start(member: Member): number {
    return this.#spans[member * 3 + 1] ?? -1;
  }

  /** Where the value of a member ends; -1: absent. */
  end(member: Member): number {
    return this.#spans[member * 3 + 2] ?? -1;
  }

  /** Where the key of a member starts, its quote included; -1: absent. */
  keyStart(member: Member): number {
    return this.#spans[member * 3] ?? -1;
  }

  /** Notes a known member. */
  set(place: number, keyStart: number, start: number, end: number): void {
    this.#spans[place * 3] = keyStart;
    this.#spans[place * 3 + 1] = start;
    this.#spans[place * 3 + 2] = end;
  }
}

/** Scans the outermost object into `members`; false: `scanner.error` says why not. */
export function scanMembers(scanner: JsonScanner, members: Members): boolean {
  const { bytes } = scanner;
  let at = scanner.skipSpace(0);
  if (bytes[at] !== 0x7b) {
    if (bytes.length === 0) scanner.fail(0, 'the body is empty');
    else if (bytes[0] === 0xef && bytes[1] === 0xbb) {
      scanner.fail(0, 'the body begins with a byte-order mark');
    } else scanner.fail(at, 'expected one JSON object');
    return false;
  }
  at = scanner.skipSpace(at + 1);
  let isFirst = true;
  while (isFirst ? bytes[at] !== 0x7d : true) {
    isFirst = false;
    const keyStart = at;
    const valueStart = scanner.skipKey(at);
    if (valueStart === -1) return false;
    const valueEnd = scanner.skipValue(valueStart, 1);
    if (valueEnd === -1) return false;
    if (!noteMember(scanner, members, keyStart, valueStart, valueEnd)) return false;
    at = scanner.skipSpace(valueEnd);
    if (bytes[at] === 0x7d) break;
    if (bytes[at] !== 0x2c) {
      if (at >= bytes.length) scanner.fail(at, 'the body ends inside an object');
      else scanner.fail(at, 'expected a comma or the end of the object');
      return false;
    }
    at = scanner.skipSpace(at + 1);
  }
  at = scanner.skipSpace(at + 1);
  if (at === bytes.length) return true;
  scanner.fail(at, 'data after the JSON object');
  return false;
}

/** FNV-1a over [start, end). */
function hashOf(bytes: Uint8Array, start: number, end: number): number {
  let hash = 0x811c9dc5 | 0;
  for (let at = start; at < end; at += 1) hash = Math.imul(hash ^ (bytes[at] ?? 0), 0x01000193);
  return hash;
}

/** Files one member; false: it is one too many, the second of its name, or a forbidden one. */
function noteMember(
  scanner: JsonScanner,
  members: Members,
  keyStart: number,
  valueStart: number,
  valueEnd: number,
): boolean {
  let { bytes } = scanner;
  let nameStart = keyStart + 1;
  let nameEnd = nameStart;
  while (bytes[nameEnd] !== 0x22) {
    if (bytes[nameEnd] === 0x5c) {
      bytes = escapedName(bytes, keyStart);
      nameStart = 0;
      nameEnd = bytes.length;
      break;
    }
    nameEnd += 1;
  }
  const hash = hashOf(bytes, nameStart, nameEnd);
  const { hashes, bounds } = members;
  if (hashes.includes(hash)) {
    const name = decodeUtf8(bytes.subarray(nameStart, nameEnd));
    for (let index = 0; index < hashes.length; index += 1) {
      if (hashes[index] !== hash || nameAt(scanner.bytes, bounds[index * 2] ?? 0) !== name)
        continue;
      scanner.fail(keyStart, `the member ${JSON.stringify(name.slice(0, 64))} stands twice`);
      return false;
    }
  }
  if (hashes.length === JSON_LIMITS.topMembersMax) {
    scanner.fail(keyStart, `over ${JSON_LIMITS.topMembersMax} members at the top`);
    return false;
  }
  hashes.push(hash);
  bounds.push(keyStart, valueEnd);
  const place = PLACE_OF_HASH.get(hash);
  if (place === undefined || !isName(bytes, nameStart, nameEnd, place)) {
    const twin = caseTwin(bytes, nameStart, nameEnd);
    if (twin === null) return true;
    scanner.fail(keyStart, `a member that differs from "${twin}" in case only`);
    return false;
  }
  members.set(place, keyStart, valueStart, valueEnd);
  if (place !== MEMBER.proto) return true;
  scanner.fail(keyStart, 'the member name __proto__ is not allowed');
  return false;
}

function isName(bytes: Uint8Array, start: number, end: number, place: number): boolean {
  const name = NAME_BYTES[place];
  if (name === undefined || name.length !== end - start) return false;
  for (let index = 0; index < name.length; index += 1) {
    if (bytes[start + index] !== name[index]) return false;
  }
  return true;
}

/**
 * The known name that this one equals but for case; null: none. Servers in Go take such a member for
 * the known one (encoding/json folds case, and U+017F and U+212A too), so that `Model` would name
 * another model than the one that was checked here.
 */
function caseTwin(bytes: Uint8Array, start: number, end: number): string | null {
  let hasCase = false;
  for (let at = start; at < end; at += 1) {
    const byte = bytes[at] ?? 0;
    if (byte > 0x7f || (byte >= 0x41 && byte <= 0x5a)) hasCase = true;
  }
  if (!hasCase) return null;
  const folded = decodeUtf8(bytes.subarray(start, end)).toUpperCase().toLowerCase();
  return MEMBER_NAMES.find((name) => name === folded) ?? null;
}

/** The name whose opening quote stands at `keyStart`. */
function nameAt(bytes: Uint8Array, keyStart: number): string {
  const end = new JsonScanner(bytes).skipString(keyStart);
  return String(JSON.parse(decodeUtf8(bytes.subarray(keyStart, end))));
}

function escapedName(bytes: Uint8Array, keyStart: number): Uint8Array {
  return encodeUtf8(nameAt(bytes, keyStart));
}

/** Whether two arrays hold the same bytes. */
export function isSame(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index += 1) if (a[index] !== b[index]) return false;
  return true;
}

const NO_CUTS: readonly number[] = [];

/**
 * Spans to cut so that `fallbacks` and `models` go with exactly one comma each: a member goes
 * with the comma before it, or, where nothing before it stays, with the one after it.
 */
export function cutsOf(members: Members): readonly number[] {
  if (members.start(MEMBER.fallbacks) === -1 && members.start(MEMBER.models) === -1) return NO_CUTS;
  const gone = [members.end(MEMBER.fallbacks), members.end(MEMBER.models)];
  const { bounds } = members;
  const cuts: number[] = [];
  let isAnyKept = false;
  for (let index = 0; index < bounds.length; index += 2) {
    const start = bounds[index] ?? 0;
    const end = bounds[index + 1] ?? 0;
    if (!gone.includes(end)) isAnyKept = true;
    else if (isAnyKept) cuts.push(bounds[index - 1] ?? 0, end);
    else cuts.push(start, bounds[index + 2] ?? end);
  }
  return cuts;
}
