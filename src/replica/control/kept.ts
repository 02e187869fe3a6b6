/** A list that grows at its end and goes at its beginning, with the size and the hash of what it holds. */

import { crc32c } from '../../base/crc32c.ts';

export class Kept<T> {
  #values: T[] = [];
  #hashes: number[] = [];
  bytes = 0;
  /** Sum of the hashes of all values, modulo 2^32. */
  hash = 0;
  readonly #sizeOf: (value: T) => number;
  readonly #encode: (value: T) => Uint8Array;

  constructor(sizeOf: (value: T) => number, encode: (value: T) => Uint8Array) {
    this.#sizeOf = sizeOf;
    this.#encode = encode;
  }

  get values(): readonly T[] {
    return this.#values;
  }

  get count(): number {
    return this.#values.length;
  }

  push(value: T): void {
    const hash = hashBytes(this.#encode(value));
    this.#values.push(value);
    this.#hashes.push(hash);
    this.bytes += this.#sizeOf(value);
    this.hash = (this.hash + hash) >>> 0;
  }

  /** Drops so many of the oldest; a fraction is rounded up. */
  drop(count: number): void {
    const first = Math.ceil(count);
    for (let at = 0; at < first; at += 1) this.hash = (this.hash - (this.#hashes[at] ?? 0)) >>> 0;
    for (const value of this.#values.slice(0, first)) this.bytes -= this.#sizeOf(value);
    this.#values = this.#values.slice(first);
    this.#hashes = this.#hashes.slice(first);
  }
}

/**
 * A hash that may be summed up: CRC-32C alone is linear, so that two keys that swap their values could
 * sum up to the same. The mix is that of MurmurHash3 (Appleby).
 */
export function hashBytes(bytes: Uint8Array): number {
  let hash = crc32c(bytes);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
