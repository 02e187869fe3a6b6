/**
 * A seeded pseudo-random generator: xoshiro128** 1.1 (Blackman and Vigna, 2018), seeded through
 * splitmix32. One stream for each subsystem, so that a new draw in one place moves no other.
 * Not for secrets.
 */

/** A source of randomness. Cores take it as an argument; nothing calls `Math.random`. */
export interface Prng {
  /** An unsigned integer below 2^32. */
  nextUint32(): number;
  /** A float in [0, 1) with 32 bits of randomness. */
  nextFloat(): number;
  /** An integer in [0, bound), `bound` in [1, 2^32]. The bias is below `bound` / 2^32. */
  nextBelow(bound: number): number;
}

function splitmix32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state ^ (state >>> 16);
    mixed = Math.imul(mixed, 0x21f0aaad);
    mixed ^= mixed >>> 15;
    mixed = Math.imul(mixed, 0x735a2d97);
    return (mixed ^ (mixed >>> 15)) >>> 0;
  };
}

function rotateLeft(value: number, bits: number): number {
  return ((value << bits) | (value >>> (32 - bits))) >>> 0;
}

/** Makes the generator of `seed` (any integer; its low 32 bits count). */
export function createPrng(seed: number): Prng {
  const mix = splitmix32(seed);
  let a = mix();
  let b = mix();
  let c = mix();
  let d = mix();
  function nextUint32(): number {
    const result = Math.imul(rotateLeft(Math.imul(b, 5) >>> 0, 7), 9) >>> 0;
    const shifted = (b << 9) >>> 0;
    c = (c ^ a) >>> 0;
    d = (d ^ b) >>> 0;
    b = (b ^ c) >>> 0;
    a = (a ^ d) >>> 0;
    c = (c ^ shifted) >>> 0;
    d = rotateLeft(d, 11);
    return result;
  }
  return {
    nextUint32,
    nextFloat: () => nextUint32() / 0x1_0000_0000,
    nextBelow: (bound) => Math.floor((nextUint32() / 0x1_0000_0000) * bound),
  };
}

/** FNV-1a, 32 bits: a stable hash of text for rendezvous, rings and sampling. Not for secrets. */
export function hashText(text: string, seed = 0x811c9dc5): number {
  let hash = seed >>> 0;
  for (let index = 0; index < text.length; index += 1) {
    hash ^= text.charCodeAt(index);
    hash = Math.imul(hash, 0x01000193);
  }
  // A finaliser (murmur3): FNV's high bits move too little on short keys for a ring.
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
