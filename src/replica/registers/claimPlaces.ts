/**
 * Where claims stand, and what a generation holds of a key (`claimBook.ts`). Pure.
 */

import { decodeUtf8, encodeUtf8 } from '../../base/bytes.ts';
import { hashText } from '../../base/prng.ts';
import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import { claimOf, type ClaimOutcome } from '../../caspaxos/claims.ts';
import { isOpen } from '../../caspaxos/control.ts';
import type { Control, Key } from '../../caspaxos/types.ts';
import type { Asked } from './asker.ts';
import type { ClaimView, StoreFailure, WonClaim } from './port.ts';

/** In front of the names of registers that hold claims. */
export const CLAIM_PREFIX = 'claim/';

/** What one generation holds of a key. */
export type Found = Exclude<ClaimOutcome, { readonly kind: 'foreign' | 'failed' }> | Made | Failed;
/** Ours, put there by this call. */
interface Made {
  readonly kind: 'made';
  readonly version: number;
}
interface Failed {
  readonly kind: 'failed';
  readonly failure: StoreFailure;
}

/** The generations and versions that a claim stands at; null: they are another claim's. */
export function placesOf({
  key,
  owner,
  place,
}: WonClaim): { bucket: number; version: number }[] | null {
  const numbers = place.slice(0, -1);
  const isWhole = numbers.length > 0 && numbers.length % 2 === 0;
  if (!isWhole || place.at(-1) !== checkOf(key, owner, numbers)) return null;
  const places: { bucket: number; version: number }[] = [];
  for (let at = 0; at < numbers.length; at += 2) {
    places.push({ bucket: numbers[at] ?? 0, version: numbers[at + 1] ?? 0 });
  }
  return places;
}

/** Tells a place that was mixed up with another claim's. It guards against nobody who means harm. */
export function checkOf(key: string, owner: string, numbers: readonly number[]): number {
  return hashText(`${numbers.join(' ')} ${owner} ${key}`);
}

/** Open ones, the oldest first. */
export function generations(control: Control): readonly number[] {
  const open: number[] = [];
  for (let bucket = control.floor + 1; bucket <= control.openTo; bucket += 1) {
    if (isOpen(control, bucket)) open.push(bucket);
  }
  return open;
}

export function keyOf(bucket: number, key: string): Key {
  return { bucket, name: CLAIM_PREFIX + key };
}

export function isKey(key: string): boolean {
  const bytes = encodeUtf8(key).length;
  return bytes > 0 && bytes <= REGISTER_LIMITS.nameBytesMax;
}

/** Another's claim, as it stands in a generation. */
type Standing = Extract<ClaimOutcome, { readonly kind: 'pending' | 'done' }>;

export function isClaim(found: Found | 'closed'): found is Standing {
  return found !== 'closed' && (found.kind === 'pending' || found.kind === 'done');
}

export function viewOf(key: string, found: Standing): ClaimView {
  const { owner, about } = found;
  return { key, owner, about, result: found.kind === 'done' ? decodeUtf8(found.result) : null };
}

export function foundOf(owner: string, asked: Asked): Found | 'closed' {
  if (asked.kind === 'failed') return asked;
  if (asked.kind === 'closed') return 'closed';
  if (asked.kind === 'changed') return { kind: 'made', version: asked.version };
  const outcome = claimOf(owner, asked.register);
  if (outcome.kind !== 'foreign' && outcome.kind !== 'failed') return outcome;
  const detail = 'The key holds no claim of this version.';
  return { kind: 'failed', failure: { kind: 'unavailable', detail } };
}
