/** What one area of the fuzzer is, and small generators that all of them use. */

import assert from 'node:assert/strict';

import type { Prng } from '../../src/base/prng.ts';

/** One area: makes an input, checks all claims about it. */
export interface Area {
  /** What is claimed, for people. */
  readonly claim: string;
  /**
   * One input of the generator. Throws, with the input in the message, where a claim is false. True:
   * the input was taken; false: it was refused, as it may be.
   */
  one(prng: Prng): Promise<boolean> | boolean;
  /** Lets the process end. */
  close?(): void;
}

/** One of `from`. */
export function pick<T>(prng: Prng, from: readonly T[]): T {
  const found = from[prng.nextBelow(from.length)];
  assert.ok(found !== undefined);
  return found;
}

/** True in `percent` of 100 draws. */
export function chance(prng: Prng, percent: number): boolean {
  return prng.nextBelow(100) < percent;
}

/** `make` up to `most` times. */
export function several<T>(prng: Prng, most: number, make: () => T): T[] {
  return Array.from({ length: prng.nextBelow(most + 1) }, make);
}

/** Up to four places in a text of `length`, ascending. */
export function cutsOf(prng: Prng, length: number): number[] {
  return several(prng, 4, () => prng.nextBelow(length + 1)).sort((a, b) => a - b);
}

/** The pieces of `bytes` between `cuts`, each a copy that its reader may keep or spoil. */
export function pieces(bytes: Uint8Array, cuts: readonly number[]): Uint8Array<ArrayBuffer>[] {
  let from = 0;
  return [...cuts, bytes.length].map((cut) => {
    const piece = bytes.slice(from, cut);
    from = cut;
    return new Uint8Array(piece);
  });
}

/** Changes, drops, doubles or splices in, once to four times; `splices` are texts that matter. */
export function mutateText(prng: Prng, text: string, splices: readonly string[]): string {
  let out = text;
  for (let count = prng.nextBelow(4); count >= 0; count -= 1) {
    const at = prng.nextBelow(out.length + 1);
    const until = Math.min(out.length, at + prng.nextBelow(12));
    const kind = prng.nextBelow(5);
    if (kind === 0) out = out.slice(0, at) + out.slice(until);
    else if (kind === 1) out = out.slice(0, until) + out.slice(at);
    else if (kind === 2) out = out.slice(0, at) + pick(prng, splices) + out.slice(at);
    else if (kind === 3) out = out.slice(0, at) + pick(prng, splices) + out.slice(until);
    else out = out.slice(0, at) + String.fromCodePoint(prng.nextBelow(256)) + out.slice(at + 1);
  }
  return out;
}
