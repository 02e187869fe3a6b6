/**
 * The members of a body's outermost object: where each stands, and where the few are that a gateway
 * looks at. A name that stands twice, `__proto__` and data after the object are refused here. @hot
 */

import { decodeUtf8, encodeUtf8 } from '../base/bytes.ts';
import { JSON_LIMITS } from '../base/limits.ts';
import { JsonScanner } from './jsonScan.ts';

/** Members that the gateway looks at, by their place in `MEMBERS`. */
const MEMBER_NAMES = [
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
/** One of them. */
export type MemberName = (typeof MEMBER_NAMES)[number];
const NAME_BYTES: readonly Uint8Array[] = MEMBER_NAMES.map((name) => encodeUtf8(name));

/** The top-level members of one body. */
export class Members {
  /** Start and end of the value of each known member; -1 where absent. */
  readonly spans = new Int32Array(MEMBER_NAMES.length * 2).fill(-1);
  /** Start of the key and end of the value of every member, in order. */
  readonly bounds: number[] = [];
  readonly hashes: number[] = [];

  start(name: MemberName): number {
    return this.spans[MEMBER_NAMES.indexOf(name) * 2] ?? -1;
  }

  end(name: MemberName): number {
    return this.spans[MEMBER_NAMES.indexOf(name) * 2 + 1] ?? -1;
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

/** Files one member; false: it is one too many, or the second of its name. */
function noteMember(
  scanner: JsonScanner,
  members: Members,
  keyStart: number,
  valueStart: number,
  valueEnd: number,
): boolean {
  const key = keyBytes(scanner.bytes, keyStart);
  let hash = 0x811c9dc5;
  for (let index = 0; index < key.length; index += 1) {
    hash = Math.imul(hash ^ (key[index] ?? 0), 0x01000193);
  }
  const { hashes, bounds } = members;
  for (let index = 0; index < hashes.length; index += 1) {
    if (hashes[index] !== hash) continue;
    if (!isSame(keyBytes(scanner.bytes, bounds[index * 2] ?? 0), key)) continue;
    scanner.fail(keyStart, `the member ${nameOf(key)} stands twice`);
    return false;
  }
  if (hashes.length === JSON_LIMITS.topMembersMax) {
    scanner.fail(keyStart, `over ${JSON_LIMITS.topMembersMax} members at the top`);
    return false;
  }
  hashes.push(hash);
  bounds.push(keyStart, valueEnd);
  for (let index = 0; index < NAME_BYTES.length; index += 1) {
    const name = NAME_BYTES[index];
    if (name === undefined || name.length !== key.length || !isSame(name, key)) continue;
    members.spans[index * 2] = valueStart;
    members.spans[index * 2 + 1] = valueEnd;
    break;
  }
  if (members.start('__proto__') === -1) return true;
  scanner.fail(keyStart, 'the member name __proto__ is not allowed');
  return false;
}

/** The bytes of the key whose opening quote stands at `keyStart`, escapes resolved. */
function keyBytes(bytes: Uint8Array, keyStart: number): Uint8Array {
  let at = keyStart + 1;
  while (bytes[at] !== 0x22) {
    if (bytes[at] === 0x5c) return escapedKeyBytes(bytes, keyStart);
    at += 1;
  }
  return bytes.subarray(keyStart + 1, at);
}

function escapedKeyBytes(bytes: Uint8Array, keyStart: number): Uint8Array {
  const end = new JsonScanner(bytes).skipString(keyStart);
  return encodeUtf8(String(JSON.parse(decodeUtf8(bytes.subarray(keyStart, end)))));
}

/** Whether two arrays hold the same bytes. */
export function isSame(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index += 1) if (a[index] !== b[index]) return false;
  return true;
}

function nameOf(key: Uint8Array): string {
  return JSON.stringify(decodeUtf8(key.subarray(0, 64)));
}

/** Where the key of a known member stands; -1: absent. */
export function keyStart(members: Members, name: MemberName): number {
  const end = members.end(name);
  if (end === -1) return -1;
  for (let index = 0; index < members.bounds.length; index += 2) {
    if (members.bounds[index + 1] === end) return members.bounds[index] ?? -1;
  }
  return -1;
}

const NO_CUTS: readonly number[] = [];

/**
 * Spans to cut so that `fallbacks` and `models` go with exactly one comma each: a member goes
 * with the comma before it, or, where nothing before it stays, with the one after it.
 */
export function cutsOf(members: Members): readonly number[] {
  if (members.start('fallbacks') === -1 && members.start('models') === -1) return NO_CUTS;
  const gone = [members.end('fallbacks'), members.end('models')];
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
