/**
 * Memory for many small blocks of bytes, in a few large pieces: a block costs its length, rounded up,
 * and no object. A block that is given back serves the next one of its size. @hot
 *
 * A block begins with its length: `set24` writes it.
 */

import { assert } from '../base/assert.ts';

/** Blocks begin at multiples of this, and addresses count in it. */
const UNIT_BYTES = 16;
const CHUNK_BYTES = 1024 * 1024;
const CHUNK_UNITS = CHUNK_BYTES / UNIT_BYTES;

/** Bytes of the length in front of each block. */
export const LENGTH_BYTES = 3;

export class Arena {
  readonly #chunks: Uint8Array[] = [];
  /** By size in units: the addresses of blocks that were given back. */
  readonly #free = new Map<number, number[]>();
  /** Units of the last chunk that are in use. */
  #used = CHUNK_UNITS;

  /** Memory that is taken, used or not. */
  get bytes(): number {
    return this.#chunks.length * CHUNK_BYTES;
  }

  /** Copies a block, its length in front. */
  add(block: Uint8Array): number {
    const units = unitsOf(block.length);
    assert(units <= CHUNK_UNITS, 'a block fits into a chunk');
    const address = this.#free.get(units)?.pop() ?? this.#take(units);
    this.chunkOf(address).set(block, this.offsetOf(address));
    return address;
  }

  /** Another block in the place of one that is no longer needed. */
  replace(address: number, block: Uint8Array): number {
    const units = unitsOf(get24(this.chunkOf(address), this.offsetOf(address)));
    if (units === unitsOf(block.length)) {
      this.chunkOf(address).set(block, this.offsetOf(address));
      return address;
    }
    this.#giveBack(address, units);
    return this.add(block);
  }

  chunkOf(address: number): Uint8Array {
    const chunk = this.#chunks[Math.floor(address / CHUNK_UNITS)];
    assert(chunk !== undefined, 'an address is of this arena');
    return chunk;
  }

  offsetOf(address: number): number {
    return (address % CHUNK_UNITS) * UNIT_BYTES;
  }

  #take(units: number): number {
    const left = CHUNK_UNITS - this.#used;
    if (units > left) {
      // What is left of this chunk serves blocks of just its size.
      if (left > 0) this.#giveBack(this.#chunks.length * CHUNK_UNITS - left, left);
      this.#chunks.push(new Uint8Array(CHUNK_BYTES));
      this.#used = 0;
    }
    const address = (this.#chunks.length - 1) * CHUNK_UNITS + this.#used;
    this.#used += units;
    return address;
  }

  #giveBack(address: number, units: number): void {
    const free = this.#free.get(units);
    if (free === undefined) this.#free.set(units, [address]);
    else free.push(address);
  }
}

function unitsOf(length: number): number {
  return Math.ceil(length / UNIT_BYTES);
}

export function get24(bytes: Uint8Array, at: number): number {
  return (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16);
}

export function set24(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
}
