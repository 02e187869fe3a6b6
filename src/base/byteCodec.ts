/** A writer and a bounds-checked reader of the cores' own fixed byte layouts. @hot */

import { decodeUtf8Strict, EMPTY_BYTES, encodeUtf8 } from './bytes.ts';

const TWO_32 = 0x1_0000_0000;

/**
 * Buffers of writers that are finished, for the next ones: a new one for each message costs more than
 * writing it. More than one, because writers are nested.
 */
const spare: Uint8Array[] = [];
const SPARE_MAX = 8;
const SPARE_BYTES = 4 * 1024;

/** Appends to a buffer that grows. Integers are little-endian. */
export class ByteWriter {
  #bytes = spare.pop() ?? new Uint8Array(SPARE_BYTES);
  #length = 0;

  /** What was written, a copy. The writer begins anew. */
  finish(): Uint8Array {
    const bytes = this.#bytes;
    const copy = bytes.slice(0, this.#length);
    if (bytes.length === SPARE_BYTES && spare.length < SPARE_MAX) spare.push(bytes);
    this.#bytes = EMPTY_BYTES;
    this.#length = 0;
    return copy;
  }

  u8(value: number): this {
    const at = this.#grow(1);
    this.#bytes[at] = value;
    return this;
  }

  u16(value: number): this {
    const at = this.#grow(2);
    this.#bytes[at] = value;
    this.#bytes[at + 1] = value >>> 8;
    return this;
  }

  u32(value: number): this {
    this.#put32(this.#grow(4), value);
    return this;
  }

  /** A safe integer in 8 bytes. */
  u64(value: number): this {
    const at = this.#grow(8);
    this.#put32(at, (value % TWO_32) >>> 0);
    this.#put32(at + 4, Math.floor(value / TWO_32));
    return this;
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
    const { length } = text;
    const at = this.#grow(4 + length);
    const bytes = this.#bytes;
    // Names and keys are ASCII nearly always: no call into the system's encoder for them.
    for (let index = 0; index < length; index += 1) {
      const code = text.charCodeAt(index);
      if (code >= 0x80) {
        this.#length = at;
        return this.blob(encodeUtf8(text));
      }
      bytes[at + 4 + index] = code;
    }
    this.#put32(at, length);
    return this;
  }

  list<T>(items: readonly T[], write: (item: T) => void): this {
    this.u32(items.length);
    for (const item of items) write(item);
    return this;
  }

  #put32(at: number, value: number): void {
    const bytes = this.#bytes;
    bytes[at] = value;
    bytes[at + 1] = value >>> 8;
    bytes[at + 2] = value >>> 16;
    bytes[at + 3] = value >>> 24;
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
    const at = this.#take(1);
    return at < 0 ? 0 : (this.#bytes[at] ?? 0);
  }

  u16(): number {
    const at = this.#take(2);
    if (at < 0) return 0;
    const bytes = this.#bytes;
    return (bytes[at] ?? 0) + (bytes[at + 1] ?? 0) * 0x100;
  }

  u32(): number {
    const at = this.#take(4);
    if (at < 0) return 0;
    const bytes = this.#bytes;
    const low = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16);
    return low + (bytes[at + 3] ?? 0) * 0x100_0000;
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

  /** Where the next `count` bytes stand; -1: there are not so many. */
  #take(count: number): number {
    const at = this.#at;
    if (count > this.#bytes.length - at) {
      this.isBad = true;
      return -1;
    }
    this.#at = at + count;
    return at;
  }
}
