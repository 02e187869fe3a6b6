/** Fields inside a payload: integers big-endian, text as UTF-8 after its length in 32 bits. */

import { assert } from '../../base/assert.ts';
import { decodeUtf8Strict, encodeUtf8 } from '../../base/bytes.ts';
import type { HeaderList } from '../../base/headers.ts';
import { HTTP_LIMITS } from '../../base/limits.ts';

/** Header fields of one message: what HTTP accepts, and those that a gateway adds. */
const HEADER_FIELDS_MAX = HTTP_LIMITS.headerFieldsMax + 32;

/** Writes fields into an array that grows. */
export class FieldWriter {
  private bytes: Uint8Array;
  private view: DataView;
  private at: number;

  constructor(reservedBytes: number, sizeHintBytes: number) {
    this.bytes = new Uint8Array(reservedBytes + sizeHintBytes);
    this.view = new DataView(this.bytes.buffer);
    this.at = reservedBytes;
  }

  uint8(value: number): void {
    this.room(1);
    this.view.setUint8(this.at, value);
    this.at += 1;
  }

  uint16(value: number): void {
    assert(value >= 0 && value <= 0xffff, 'the value has 16 bits');
    this.room(2);
    this.view.setUint16(this.at, value);
    this.at += 2;
  }

  uint32(value: number): void {
    assert(value >= 0 && value <= 0xffff_ffff, 'the value has 32 bits');
    this.room(4);
    this.view.setUint32(this.at, value);
    this.at += 4;
  }

  float64(value: number): void {
    this.room(8);
    this.view.setFloat64(this.at, value);
    this.at += 8;
  }

  raw(value: Uint8Array): void {
    this.room(value.length);
    this.bytes.set(value, this.at);
    this.at += value.length;
  }

  text(value: string): void {
    const encoded = encodeUtf8(value);
    this.uint32(encoded.length);
    this.raw(encoded);
  }

  headers(list: HeaderList): void {
    assert(list.length % 2 === 0, 'header fields come in pairs');
    this.uint16(list.length / 2);
    for (const item of list) this.text(item);
  }

  finish(): Uint8Array {
    return this.bytes.subarray(0, this.at);
  }

  private room(count: number): void {
    const needed = this.at + count;
    if (needed <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.bytes.length * 2));
    grown.set(this.bytes.subarray(0, this.at));
    this.bytes = grown;
    this.view = new DataView(grown.buffer);
  }
}

/** Reads fields; a field that is not there sets `isBad` and reads as empty. Never throws. */
export class FieldReader {
  isBad = false;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private at = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** True: every byte was read and every field was well formed. */
  isDone(): boolean {
    return !this.isBad && this.at === this.bytes.length;
  }

  uint8(): number {
    return this.has(1) ? this.view.getUint8(this.at - 1) : 0;
  }

  uint16(): number {
    return this.has(2) ? this.view.getUint16(this.at - 2) : 0;
  }

  uint32(): number {
    return this.has(4) ? this.view.getUint32(this.at - 4) : 0;
  }

  float64(): number {
    return this.has(8) ? this.view.getFloat64(this.at - 8) : 0;
  }

  text(): string {
    const length = this.uint32();
    if (!this.has(length)) return '';
    const value = decodeUtf8Strict(this.bytes.subarray(this.at - length, this.at));
    if (value === null) this.isBad = true;
    return value ?? '';
  }

  headers(): HeaderList {
    const count = this.uint16();
    if (count > HEADER_FIELDS_MAX) this.isBad = true;
    const list: string[] = [];
    for (let index = 0; index < count * 2 && !this.isBad; index += 1) list.push(this.text());
    return list;
  }

  /** Moves past `count` bytes; false where they are not there. */
  private has(count: number): boolean {
    if (this.isBad || count > this.bytes.length - this.at) {
      this.isBad = true;
      return false;
    }
    this.at += count;
    return true;
  }
}
