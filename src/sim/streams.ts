/** Randomness by name: each part of the world draws from a stream of its own. */

import { createPrng, hashText, type Prng } from '../base/prng.ts';

/** The stream called `name` of the run `seed`. A draw from one stream moves no other. */
export function streamOf(seed: number, name: string): Prng {
  return createPrng(hashText(`${seed}/${name}`));
}

/** A float in [from, to). */
export function between(prng: Prng, from: number, to: number): number {
  return from + prng.nextFloat() * (to - from);
}

export function happens(prng: Prng, chance: number): boolean {
  return chance > 0 && prng.nextFloat() < chance;
}

/** One of `items`, or null where there is none. */
export function pickOne<T>(prng: Prng, items: readonly T[]): T | null {
  if (items.length === 0) return null;
  return items[prng.nextBelow(items.length)] ?? null;
}

/** `items` in a drawn order. */
export function shuffled<T>(prng: Prng, items: readonly T[]): T[] {
  const left = [...items];
  const mixed: T[] = [];
  while (left.length > 0) mixed.push(...left.splice(prng.nextBelow(left.length), 1));
  return mixed;
}
