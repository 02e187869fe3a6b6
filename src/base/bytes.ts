/** Bytes and text without Node: search, join and UTF-8, for cores that also run in a browser. @hot */

import { assert } from './assert.ts';

/** The one empty array, to compare with by identity. */
export const EMPTY_BYTES: Uint8Array = new Uint8Array(0);

// Both exist in Node and in browsers; the compiler configuration of cores has no type for them.
declare class TextEncoder {
  encode(text: string): Uint8Array;
}
declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
  decode(bytes?: Uint8Array, options?: { stream?: boolean }): string;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
const strictDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** UTF-8 bytes of `text`. Lone surrogates become U+FFFD. */
export function encodeUtf8(text: string): Uint8Array {
  return encoder.encode(text);
}

/** Text of `bytes`; malformed sequences become U+FFFD. */
export function decodeUtf8(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** Text of `bytes`, or null where they are not well-formed UTF-8. */
export function decodeUtf8Strict(bytes: Uint8Array): string | null {
  try {
    return strictDecoder.decode(bytes);
  } catch {
    return null; // The only error that a fatal decoder throws is a malformed sequence.
  }
}

/** Small copies share memory: an allocation of its own costs more than a small copy. */
const SLAB_BYTES = 64 * 1024;
const SLAB_COPY_BYTES_MAX = 4 * 1024;
let slab: Uint8Array = EMPTY_BYTES;
let slabUsed = 0;

/**
 * A copy that stays when the original is overwritten. Never `bytes.slice()`: chunks come as Node's
 * `Buffer`, whose `slice` is a view of the same memory.
 */
export function copyBytes(bytes: Uint8Array): Uint8Array {
  const { length } = bytes;
  if (length > SLAB_COPY_BYTES_MAX) return new Uint8Array(bytes);
  if (length > slab.length - slabUsed) {
    slab = new Uint8Array(SLAB_BYTES);
    slabUsed = 0;
  }
  const copy = slab.subarray(slabUsed, slabUsed + length);
  slabUsed += length;
  copy.set(bytes);
  return copy;
}

/** One array holding `parts` in order. A single part is returned as it is, not copied. */
export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const [first] = parts;
  if (first === undefined) return EMPTY_BYTES;
  if (parts.length === 1) return first;
  let length = 0;
  for (const part of parts) length += part.length;
  const joined = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

/** First index of `needle` in `haystack` at or after `from`, or -1. */
export function indexOfBytes(haystack: Uint8Array, needle: Uint8Array, from = 0): number {
  const first = needle[0];
  if (first === undefined) return from;
  const last = haystack.length - needle.length;
  let at = haystack.indexOf(first, from);
  while (at !== -1 && at <= last) {
    let matched = 1;
    while (matched < needle.length && haystack[at + matched] === needle[matched]) matched += 1;
    if (matched === needle.length) return at;
    at = haystack.indexOf(first, at + 1);
  }
  return -1;
}

/**
 * A sequence that is looked for again and again: what cannot hold it is skipped by whole lengths
 * (Horspool, "Practical fast searching in strings", 1980). 1 to 255 bytes.
 */
export class BytePattern {
  readonly length: number;
  readonly #needle: Uint8Array;
  /** How far the window may move when its last byte is this one. */
  readonly #skips = new Uint8Array(256);

  constructor(needle: Uint8Array) {
    assert(needle.length > 0 && needle.length < 256, 'a pattern has 1 to 255 bytes');
    this.length = needle.length;
    this.#needle = needle;
    this.#skips.fill(needle.length);
    for (let index = 0; index < needle.length - 1; index += 1) {
      this.#skips[needle[index] ?? 0] = needle.length - 1 - index;
    }
  }

  /** First index in `haystack` at or after `from`, or -1; all of it lies before `to`. */
  indexIn(haystack: Uint8Array, from = 0, to = haystack.length): number {
    const needle = this.#needle;
    const skips = this.#skips;
    const last = needle.length - 1;
    let end = from + last;
    while (end < to) {
      const byte = haystack[end] ?? 0;
      let back = 0;
      while (back <= last && haystack[end - back] === needle[last - back]) back += 1;
      if (back > last) return end - last;
      end += skips[byte] ?? 1;
    }
    return -1;
  }
}

/** Last index of `needle` in `haystack`, or -1. */
export function lastIndexOfBytes(haystack: Uint8Array, needle: Uint8Array): number {
  const first = needle[0];
  if (first === undefined) return haystack.length;
  let at = haystack.lastIndexOf(first, haystack.length - needle.length);
  while (at >= 0) {
    let matched = 1;
    while (matched < needle.length && haystack[at + matched] === needle[matched]) matched += 1;
    if (matched === needle.length) return at;
    if (at === 0) return -1;
    at = haystack.lastIndexOf(first, at - 1);
  }
  return -1;
}
