/** A writer and a bounds-checked reader of the cores' own fixed byte layouts. */

import { decodeUtf8Strict, encodeUtf8 } from './bytes.ts';

const TWO_32 = 0x1_0000_0000;

/** Appends to a buffer that grows. Integers are little-endian. */
export class ByteWriter {
  #bytes = new Uint8Array(256);
  #length = 0;

  /** What was written, a copy. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  u8(value: number): this {
    const at = this.#grow(1);
    this.#bytes[at] = value;
    return this;
  }

  u16(value: number): this {
    return this.u8(value & 0xff).u8(value >>> 8);
  }

  u32(value: number): this {
    return this.u16(value & 0xffff).u16(value >>> 16);
  }

  /** A safe integer in 8 bytes. */
  u64(value: number): this {
    return this.u32((value % TWO_32) >>> 0).u32(Math.floor(value / TWO_32));
  }

  bool(value: boolean): this {
    return this.u8(value ? 1 : 0);
  }

  /** A length of 4 bytes, then the bytes. */
  blob(bytes: Uint8Array): this {
    this.u32(bytes.length);
    const at = this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  text(text: string): this {
    return this.blob(encodeUtf8(text));
  }

  list<T>(items: readonly T[], write: (item: T) => void): this {
    this.u32(items.length);
    for (const item of items) write(item);
    return this;
  }

  #grow(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
      larger.set(this.#bytes.subarray(0, at));
      this.#bytes = larger;
    }
    return at;
  }
}

/**
 * Reads what `ByteWriter` wrote. Bytes from a peer or a disk may be anything: a read that does not
 * fit gives zeros and sets `isBad`, which the caller checks once at the end.
 */
export class ByteReader {
  readonly #bytes: Uint8Array;
  #at = 0;
  isBad = false;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** True if everything was read and everything fitted. */
  isDone(): boolean {
    return !this.isBad && this.#at === this.#bytes.length;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  u8(): number {
    if (this.left < 1) {
      this.isBad = true;
      return 0;
    }
    const value = this.#bytes[this.#at] ?? 0;
    this.#at += 1;
    return value;
  }

  u16(): number {
    const low = this.u8();
    return low + this.u8() * 0x100;
  }

  u32(): number {
    const low = this.u16();
    return low + this.u16() * 0x1_0000;
  }

  u64(): number {
    const low = this.u32();
    const value = low + this.u32() * TWO_32;
    if (value <= Number.MAX_SAFE_INTEGER) return value;
    this.isBad = true;
    return 0;
  }

  bool(): boolean {
    const value = this.u8();
    if (value > 1) this.isBad = true;
    return value === 1;
  }

  /** A view of the bytes, not a copy. */
  blob(bytesMax: number): Uint8Array {
    const length = this.u32();
    if (length > bytesMax || length > this.left) {
      this.isBad = true;
      return new Uint8Array(0);
    }
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  text(bytesMax: number): string {
    const text = decodeUtf8Strict(this.blob(bytesMax));
    if (text === null) this.isBad = true;
    return text ?? '';
  }

  list<T>(countMax: number, read: () => T): readonly T[] {
    const count = this.u32();
    const items: T[] = [];
    if (count > countMax) this.isBad = true;
    while (!this.isBad && items.length < count) items.push(read());
    return items;
  }
}
