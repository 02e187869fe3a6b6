/**
 * Strict claims and unique names on registers. Pure: functions that say what to ask of a register and
 * what its answer means. The host carries the change to a node and asks again (`isRetry`, same
 * request id) where the outcome is unknown.
 *
 * C1: the first claim of a key wins; whoever comes later is told of it and, once it is attached, of
 *     its result. A claim whose owner is gone stays: the work may have been done, and strict means
 *     at most once. It goes with its bucket. Only an owner that knows that nothing ran frees it.
 * C2: a name has one owner at a time; only its owner gives it back.
 */

import { assert } from '../base/assert.ts';
import { ByteReader, ByteWriter } from '../base/byteCodec.ts';
import { CASPAXOS_LIMITS } from '../base/caspaxosLimits.ts';
import type { CasErrorCode } from './errors.ts';
import type { Change, Register, Reply } from './types.ts';

/** What an answer to a claim means. */
export type ClaimOutcome =
  /** Ours: do the work once, then attach its result to this version, or free it. */
  | { readonly kind: 'won'; readonly version: number }
  /** Another's work is under way, or was. */
  | { readonly kind: 'pending'; readonly owner: string; readonly about: string }
  | {
      readonly kind: 'done';
      readonly owner: string;
      readonly about: string;
      readonly result: Uint8Array;
    }
  /** Nobody's: never claimed (version 0), or given back by an owner whose work did not run. */
  | { readonly kind: 'free'; readonly version: number }
  /** The register holds no claim: something else writes to this key. */
  | { readonly kind: 'foreign' }
  | { readonly kind: 'failed'; readonly error: CasErrorCode };

/** What a claim is for: an owner's piece of work. */
export interface ClaimOf {
  /** Names one exchange and is never used for another. */
  readonly owner: string;
  /** What it is about, e.g. the digest of a request. At most `holderBytesMax` bytes. */
  readonly about: string;
}

interface ClaimRecord extends ClaimOf {
  readonly isFree: boolean;
  /** Null: not attached yet. */
  readonly result: Uint8Array | null;
}

/** Claims a key that is free at `version` (0: never claimed). */
export function claim(of: ClaimOf, version: number, isRetry: boolean): Change {
  const value = encodeClaim({ ...of, isFree: false, result: null });
  return { expect: version, value, requestId: `claim ${version} ${of.owner}`, isRetry };
}

/** C1. What the answer to a claim, or to a read of a claimed key, means for `owner`. */
export function claimOutcome(owner: string, reply: Reply): ClaimOutcome {
  if (reply.kind === 'changed') return { kind: 'won', version: reply.version };
  if (reply.kind === 'failed') return { kind: 'failed', error: reply.error };
  if (reply.kind !== 'conflict' && reply.kind !== 'value') return { kind: 'foreign' };
  return claimOf(owner, reply.register);
}

/** What a register says of a claim, to `owner`. */
export function claimOf(owner: string, { version, value }: Register): ClaimOutcome {
  if (version === 0) return { kind: 'free', version };
  const record = decodeClaim(value);
  if (record === null) return { kind: 'foreign' };
  const { owner: winner, about, result } = record;
  if (record.isFree) return { kind: 'free', version };
  if (result !== null) return { kind: 'done', owner: winner, about, result };
  return winner === owner ? { kind: 'won', version } : { kind: 'pending', owner: winner, about };
}

/** Attaches the result of the work to a claim that was won at `version`. */
export function attachResult(
  of: ClaimOf,
  version: number,
  result: Uint8Array,
  isRetry: boolean,
): Change {
  assert(result.length <= claimResultBytesMax(of), 'a result fits into a register');
  const value = encodeClaim({ ...of, isFree: false, result });
  return { expect: version, value, requestId: `result ${version} ${of.owner}`, isRetry };
}

/** Gives a claim back that was won at `version`: its work certainly did not run. */
export function freeClaim(of: ClaimOf, version: number, isRetry: boolean): Change {
  const value = encodeClaim({ ...of, isFree: true, result: null });
  return { expect: version, value, requestId: `free ${version} ${of.owner}`, isRetry };
}

/** What a result may hold, bytes. */
export function claimResultBytesMax(of: ClaimOf): number {
  const empty = encodeClaim({ ...of, isFree: false, result: EMPTY });
  return CASPAXOS_LIMITS.valueBytesMax - empty.length;
}

/** What an answer to a name's change means. */
export type NameOutcome =
  | { readonly kind: 'yours'; readonly version: number }
  | { readonly kind: 'free'; readonly version: number }
  | { readonly kind: 'taken'; readonly owner: string }
  | { readonly kind: 'foreign' }
  | { readonly kind: 'failed'; readonly error: CasErrorCode };

/** Takes a name that is free at `version` (0: never taken). */
export function takeName(owner: string, version: number, isRetry: boolean): Change {
  const value = encodeName(owner, true);
  return { expect: version, value, requestId: `take ${owner} ${version}`, isRetry };
}

/** Gives a name back that `owner` took as `version`. */
export function giveName(owner: string, version: number, isRetry: boolean): Change {
  const value = encodeName(owner, false);
  return { expect: version, value, requestId: `give ${owner} ${version}`, isRetry };
}

/** C2. Who has a name, as an answer shows it to `owner`. */
export function nameOutcome(owner: string, change: Change | null, reply: Reply): NameOutcome {
  if (reply.kind === 'failed') return { kind: 'failed', error: reply.error };
  if (reply.kind === 'changed') {
    const isTaken = change !== null && decodeName(change.value)?.isTaken === true;
    return { kind: isTaken ? 'yours' : 'free', version: reply.version };
  }
  if (reply.kind !== 'conflict' && reply.kind !== 'value') return { kind: 'foreign' };
  return nameOf(owner, reply.register);
}

function nameOf(owner: string, { version, value }: Register): NameOutcome {
  if (version === 0) return { kind: 'free', version };
  const record = decodeName(value);
  if (record === null) return { kind: 'foreign' };
  if (!record.isTaken) return { kind: 'free', version };
  return record.owner === owner
    ? { kind: 'yours', version }
    : { kind: 'taken', owner: record.owner };
}

const EMPTY = new Uint8Array(0);
const CLAIM_VERSION = 1;
const NAME_VERSION = 1;

function encodeClaim({ owner, about, isFree, result }: ClaimRecord): Uint8Array {
  const writer = new ByteWriter();
  writer
    .u8(CLAIM_VERSION)
    .text(owner)
    .text(about)
    .bool(isFree)
    .bool(result !== null);
  if (result !== null) writer.blob(result);
  return writer.finish();
}

function decodeClaim(bytes: Uint8Array): ClaimRecord | null {
  const reader = new ByteReader(bytes);
  if (reader.u8() !== CLAIM_VERSION) return null;
  const owner = reader.text(CASPAXOS_LIMITS.holderBytesMax);
  const about = reader.text(CASPAXOS_LIMITS.holderBytesMax);
  const isFree = reader.bool();
  const result = reader.bool() ? reader.blob(CASPAXOS_LIMITS.valueBytesMax) : null;
  return reader.isDone() && owner !== '' ? { owner, about, isFree, result } : null;
}

function encodeName(owner: string, isTaken: boolean): Uint8Array {
  return new ByteWriter().u8(NAME_VERSION).text(owner).bool(isTaken).finish();
}

function decodeName(bytes: Uint8Array): { owner: string; isTaken: boolean } | null {
  const reader = new ByteReader(bytes);
  if (reader.u8() !== NAME_VERSION) return null;
  const record = { owner: reader.text(CASPAXOS_LIMITS.holderBytesMax), isTaken: reader.bool() };
  return reader.isDone() && record.owner !== '' ? record : null;
}
