/**
 * A hash of a prompt's beginning, so that requests which share it can be kept where a server has
 * it cached. @hot
 */

import { encodeUtf8, indexOfBytes } from '../base/bytes.ts';
import { REQUEST_LIMITS } from '../base/limits.ts';
import { JsonScanner } from './jsonScan.ts';

const USER_ROLE = encodeUtf8('"user"');

/**
 * Hashes `system` and the messages up to the first of the user, cut at the limit: all turns of a
 * conversation have these in common, and conversations with one long system prompt share them.
 */
export function hashPrefix(body: Uint8Array, systemStart: number, promptStart: number): number {
  if (promptStart === -1 && systemStart === -1) return 0;
  let hash = 0x2545f491;
  const most = REQUEST_LIMITS.prefixBytesMax;
  if (systemStart !== -1) {
    const end = new JsonScanner(body).skipValue(systemStart, 0);
    hash = hashBytes(body, systemStart, Math.min(end, systemStart + most), hash);
  }
  if (promptStart !== -1) {
    hash = hashBytes(body, promptStart, prefixEnd(body, promptStart, promptStart + most), hash);
  }
  return hash >>> 0;
}

/** The end of the first message of the user, or of the prompt, but at most `most`. */
function prefixEnd(body: Uint8Array, start: number, most: number): number {
  const scanner = new JsonScanner(body);
  if (body[start] !== 0x5b) return Math.min(scanner.skipValue(start, 0), most);
  let at = scanner.skipSpace(start + 1);
  while (at < most && body[at] !== 0x5d) {
    const end = scanner.skipValue(at, 1);
    if (end === -1 || end >= most) return most;
    const role = indexOfBytes(body.subarray(at, end), USER_ROLE);
    if (role !== -1) return end;
    at = scanner.skipSpace(end);
    if (body[at] !== 0x2c) return end;
    at = scanner.skipSpace(at + 1);
  }
  return Math.min(at, most);
}

/** Mixes four bytes a step (murmur3's block step); not for secrets. */
function hashBytes(bytes: Uint8Array, start: number, end: number, seed: number): number {
  let hash = seed;
  const stop = Math.min(end, bytes.length);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = start;
  for (; at + 4 <= stop; at += 4) hash = mix(hash, view.getInt32(at, true));
  let rest = 0;
  for (; at < stop; at += 1) rest = (rest << 8) | (bytes[at] ?? 0);
  hash = mix(hash, rest) ^ (stop - start);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}

function mix(hash: number, block: number): number {
  let mixed = Math.imul(block, 0xcc9e2d51);
  mixed = Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
  const next = hash ^ mixed;
  return (Math.imul((next << 13) | (next >>> 19), 5) + 0xe6546b64) | 0;
}
