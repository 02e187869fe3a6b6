/**
 * Memory of request bodies: blocks that are used again. A fresh array for each body costs more than
 * reading it does: its pages are cold, and the garbage collector runs for the sake of its bytes. @hot
 *
 * M1: a block is used again only when nobody holds it: neither the request that it was read for, nor
 *     a write to an upstream that the kernel has not taken.
 */

import { assert } from '../../base/assert.ts';
import { HTTP_LIMITS } from '../../base/limits.ts';

/** Bodies up to this are cut from Node's own pool. */
const POOLED_BYTES_MAX = 4 * 1024;
/** Sizes of blocks: four between a power of two and the next, so that little is left unused. */
const BLOCK_BYTES: readonly number[] = Array.from(
  { length: 64 },
  (_, index) => 8 * 1024 * 2 ** Math.floor(index / 4) * (1 + (index % 4) / 4),
);
/** A body of unknown length begins with this, bytes. */
const CHUNKED_INITIAL = 8 * 1024;

interface Block {
  readonly bytes: Buffer;
  holders: number;
}

/** Blocks that nobody holds, by size. */
const free: Block[][] = [];
let freeBytes = 0;
/** The block of a body's memory; none for bodies that are not in a block. */
const blocks = new WeakMap<ArrayBufferLike, Block>();

/** Where blocks of at least `bytes` are kept. */
function sizeIndexOf(bytes: number): number {
  let index = 0;
  while ((BLOCK_BYTES[index] ?? Infinity) < bytes) index += 1;
  return index;
}

/** A block of at least `bytes`, held once. */
function takeBlock(bytes: number): Block {
  const index = sizeIndexOf(bytes);
  const kept = free[index]?.pop();
  if (kept !== undefined) {
    freeBytes -= kept.bytes.length;
    kept.holders = 1;
    return kept;
  }
  const block = { bytes: Buffer.allocUnsafeSlow(BLOCK_BYTES[index] ?? bytes), holders: 1 };
  blocks.set(block.bytes.buffer, block);
  return block;
}

function letGo(block: Block): void {
  assert(block.holders > 0, 'a block is let go as often as it was held');
  block.holders -= 1;
  if (block.holders > 0) return;
  const { length } = block.bytes;
  if (freeBytes + length > HTTP_LIMITS.freeBodyBytesMax) return;
  freeBytes += length;
  const kept = (free[sizeIndexOf(length)] ??= []);
  kept.push(block);
}

/** Keeps the memory of `bytes` from being used again, if it is a body's, until `releaseBytes`. */
export function holdBytes(bytes: Uint8Array): void {
  const block = blocks.get(bytes.buffer);
  if (block === undefined) return;
  assert(block.holders > 0, 'only what is held can be held once more');
  block.holders += 1;
}

/** Ends a `holdBytes` of the same bytes. */
export function releaseBytes(bytes: Uint8Array): void {
  const block = blocks.get(bytes.buffer);
  if (block !== undefined) letGo(block);
}

/** Bytes that wait to be used again, for metrics and tests. */
export function freeBodyBytes(): number {
  return freeBytes;
}

/** A body that arrives in pieces. It grows with what came, not with what was announced. */
export class BodyBuffer {
  #bytes: Buffer;
  #block: Block | null = null;
  #length = 0;
  readonly #bytesMax: number;

  /** `bytesExpected` is -1 where the length is not known. */
  constructor(bytesExpected: number, bytesMax: number) {
    this.#bytesMax = bytesMax;
    if (bytesExpected >= 0 && bytesExpected <= POOLED_BYTES_MAX) {
      this.#bytes = Buffer.allocUnsafe(bytesExpected);
      return;
    }
    const expected = bytesExpected < 0 ? CHUNKED_INITIAL : bytesExpected;
    this.#block = takeBlock(Math.min(expected, HTTP_LIMITS.requestBodyBytesInitial));
    this.#bytes = this.#block.bytes;
  }

  get length(): number {
    return this.#length;
  }

  /** Bytes of memory that it takes. */
  get capacity(): number {
    return this.#bytes.length;
  }

  /** Copies `bytes[start, end)` to the end; false where it would be over the limit. */
  append(bytes: Buffer, start: number, end: number): boolean {
    const length = this.#length + (end - start);
    if (length > this.#bytesMax) return false;
    if (length > this.#bytes.length) this.#grow(length);
    bytes.copy(this.#bytes, this.#length, start, end);
    this.#length = length;
    return true;
  }

  #grow(length: number): void {
    const grown = takeBlock(Math.max(length, this.#bytes.length * 2));
    this.#bytes.copy(grown.bytes, 0, 0, this.#length);
    if (this.#block !== null) letGo(this.#block);
    this.#block = grown;
    this.#bytes = grown.bytes;
  }

  /** What arrived; not copied, and not to be read after `release`. */
  take(): Buffer {
    return this.#length === this.#bytes.length
      ? this.#bytes
      : this.#bytes.subarray(0, this.#length);
  }

  /** Nobody reads the body any more. */
  release(): void {
    if (this.#block !== null) letGo(this.#block);
    this.#block = null;
  }
}
