/**
 * A strict scan over JSON bytes (RFC 8259): says whether they are well-formed and where values end,
 * and builds nothing. It accepts exactly what `JSON.parse` accepts of well-formed UTF-8, within
 * `JSON_LIMITS`; `jsonScan.test.ts` holds the two against each other. @hot
 *
 * Inside strings it looks at four bytes at a time: most of a request is text.
 */

import { decodeUtf8, decodeUtf8Strict } from '../base/bytes.ts';
import { JSON_LIMITS } from '../base/limits.ts';
import { SIMD_BYTES_MAX, simdScan } from './simdScan.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OBJECT = 1;
const ARRAY = 2;
/** The highest bit of each byte of a word. */
const HIGH_BITS = 0x80808080 | 0;
/** Where it is not, strings are scanned byte by byte. */
const IS_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
/** After so many words of one string the rest is searched by vectors. */
const LONG_STRING_WORDS = 8;
/** Below this the copy costs more than the vectors save. */
const SIMD_BYTES_MIN = 1024;
/** A string of so many bytes may be an image or a document in base64. */
const BINARY_BYTES_MIN = 1024;

/** Why a scan stopped, and at which byte. */
export interface ScanError {
  readonly at: number;
  readonly why: string;
}

/** Kinds of the containers around the value being scanned; scans never overlap in time. */
const kinds = new Uint8Array(JSON_LIMITS.depthMax + 1);
const NO_WORDS = new Int32Array(0);

/** Scans one body. Every method returns the index after what it read, or -1 with `error` set. */
export class JsonScanner {
  readonly bytes: Uint8Array;
  error: ScanError | null = null;
  /** A byte above 0x7f was seen inside a string. */
  hasNonAscii = false;
  /** Bytes inside long base64 strings, and how many such strings there were. */
  binaryBytes = 0;
  binaryCount = 0;
  #nodes = 0;
  #keys = 0;
  readonly #length: number;
  readonly #words: Int32Array;
  readonly #mayUseSimd: boolean;
  #simdTicket = -1;
  /** `bytes[index]` lies in word `(index + #shift) >> 2`. */
  readonly #shift: number;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#length = bytes.length;
    this.#mayUseSimd =
      simdScan !== null && bytes.length >= SIMD_BYTES_MIN && bytes.length <= SIMD_BYTES_MAX;
    this.#shift = bytes.byteOffset & 3;
    const count = (bytes.length + this.#shift) >> 2;
    this.#words = IS_LITTLE_ENDIAN
      ? new Int32Array(bytes.buffer, bytes.byteOffset - this.#shift, count)
      : NO_WORDS;
  }

  /** Records an error at byte `at`; returns -1. */
  fail(at: number, why: string): number {
    this.error = { at, why };
    return -1;
  }

  /** Skips blanks, tabs and line ends. Never fails. */
  skipSpace(start: number): number {
    const { bytes } = this;
    let at = start;
    while (at < this.#length) {
      const byte = bytes[at];
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) break;
      at += 1;
    }
    return at;
  }

  /** Skips a string; `open` is its opening quote. */
  skipString(open: number): number {
    const { bytes } = this;
    let at = open + 1;
    for (;;) {
      at = this.#findSpecial(at);
      const byte = bytes[at];
      if (byte === QUOTE) {
        if (at - open > BINARY_BYTES_MIN) this.#noteBinary(open + 1, at);
        return at + 1;
      }
      if (byte !== BACKSLASH) {
        return at >= this.#length
          ? this.fail(this.#length, 'the body ends inside a string')
          : this.fail(at, 'a control character inside a string');
      }
      at = this.#skipEscape(at);
      if (at === -1) return -1;
    }
  }

  /** The first quote, backslash or control character at or after `start`, or the length. */
  #findSpecial(start: number): number {
    const words = this.#words;
    const count = words.length;
    let index = (start + this.#shift) >> 2;
    if (index < count) {
      // Bytes of the first word that stand before `start` become letters.
      const keep = -1 << (((start + this.#shift) & 3) << 3);
      let word = ((words[index] ?? 0) & keep) | (0x61616161 & ~keep);
      let high = 0;
      const wordsEnd = index + LONG_STRING_WORDS;
      for (;;) {
        // A byte of `a` below 0x21 was a quote or a control character; a zero byte of `b` was a
        // backslash; bytes above 0x7f are never hits. Of the marked bytes the lowest is certain,
        // as borrows only travel up (Warren, Hacker's Delight, 6-1).
        const a = word ^ 0x02020202;
        const b = word ^ 0x5c5c5c5c;
        const hits = ((((a - 0x21212121) | 0) & ~a) | (((b - 0x01010101) | 0) & ~b)) & HIGH_BITS;
        high |= word;
        if (hits !== 0) {
          // A byte after the hit may be the high one: then UTF-8 is checked for nothing.
          if ((high & HIGH_BITS) !== 0) this.hasNonAscii = true;
          return (index << 2) - this.#shift + ((31 - Math.clz32(hits & -hits)) >> 3);
        }
        index = (index + 1) | 0;
        if (index >= count) break;
        if (index === wordsEnd && this.#mayUseSimd) {
          if ((high & HIGH_BITS) !== 0) this.hasNonAscii = true;
          return this.#findBySimd((index << 2) - this.#shift);
        }
        word = words[index] ?? 0;
      }
      if ((high & HIGH_BITS) !== 0) this.hasNonAscii = true;
    }
    return this.#findSpecialByByte(Math.max(start, (count << 2) - this.#shift));
  }

  /** The rest of a long string. Another scanner may have loaded its own body since. */
  #findBySimd(start: number): number {
    if (simdScan === null) return this.#findSpecialByByte(start);
    if (simdScan.ticket !== this.#simdTicket) {
      this.#simdTicket = simdScan.load(this.bytes);
      if (simdScan.hasNonAscii) this.hasNonAscii = true;
    }
    return simdScan.find(start);
  }

  #findSpecialByByte(start: number): number {
    const { bytes } = this;
    let at = start;
    while (at < this.#length) {
      const byte = bytes[at] ?? 0;
      if (byte === QUOTE || byte === BACKSLASH || byte < 0x20) return at;
      if (byte > 0x7f) this.hasNonAscii = true;
      at += 1;
    }
    return at;
  }

  #skipEscape(backslash: number): number {
    const { bytes } = this;
    const byte = bytes[backslash + 1];
    switch (byte) {
      case 0x22: // "
      case 0x5c: // \
      case 0x2f: // /
      case 0x62: // b
      case 0x66: // f
      case 0x6e: // n
      case 0x72: // r
      case 0x74: // t
        return backslash + 2;
      case 0x75: // u
        for (let at = backslash + 2; at < backslash + 6; at += 1) {
          if (!isHexDigit(bytes[at])) return this.fail(at, 'a malformed \\u escape');
        }
        return backslash + 6;
      case undefined:
        return this.fail(this.#length, 'the body ends inside a string');
      default:
        return this.fail(backslash, 'an unknown escape inside a string');
    }
  }

  /** Images and documents travel as base64; their bytes are no text for a token estimate. */
  #noteBinary(start: number, end: number): void {
    const { bytes } = this;
    const isDataUrl = bytes[start] === 0x64 && bytes[start + 4] === 0x3a; // d…:
    for (let at = end - 64; at < end && !isDataUrl; at += 1) {
      const byte = bytes[at] ?? 0;
      if (byte <= 0x20 || byte > 0x7e || byte === BACKSLASH) return;
    }
    this.binaryBytes += end - start;
    this.binaryCount += 1;
  }

  #skipNumber(start: number): number {
    const { bytes } = this;
    let at = start;
    if (bytes[at] === 0x2d) at += 1;
    if (bytes[at] === 0x30) at += 1;
    else {
      const digits = this.#skipDigits(at);
      if (digits === at) return this.fail(at, 'a malformed number');
      at = digits;
    }
    if (bytes[at] === 0x2e) {
      const digits = this.#skipDigits(at + 1);
      if (digits === at + 1) return this.fail(digits, 'a malformed number');
      at = digits;
    }
    let hasExponent = false;
    if (bytes[at] === 0x65 || bytes[at] === 0x45) {
      hasExponent = true;
      at += 1;
      if (bytes[at] === 0x2b || bytes[at] === 0x2d) at += 1;
      const digits = this.#skipDigits(at);
      if (digits === at) return this.fail(at, 'a malformed number');
      at = digits;
    }
    if (at - start > JSON_LIMITS.numberBytesMax) {
      return this.fail(start, `a number of over ${JSON_LIMITS.numberBytesMax} bytes`);
    }
    if (hasExponent && !Number.isFinite(Number(decodeUtf8(bytes.subarray(start, at))))) {
      return this.fail(start, 'a number out of range');
    }
    return at;
  }

  #skipDigits(start: number): number {
    const { bytes } = this;
    let at = start;
    while (at < this.#length) {
      const byte = bytes[at] ?? 0;
      if (byte < 0x30 || byte > 0x39) break;
      at += 1;
    }
    return at;
  }

  #skipWord(start: number, word: string): number {
    for (let index = 0; index < word.length; index += 1) {
      if (this.bytes[start + index] !== word.charCodeAt(index)) {
        return this.fail(start, 'not a JSON value');
      }
    }
    return start + word.length;
  }

  /** Skips `"key" :` and the space after it; counts a node. */
  skipKey(start: number): number {
    const { bytes } = this;
    if (bytes[start] !== QUOTE) return this.fail(start, 'expected a key in double quotes');
    let at = this.skipString(start);
    if (at === -1) return -1;
    if (bytes[at] !== COLON) {
      at = this.skipSpace(at);
      if (bytes[at] !== COLON) return this.fail(at, 'expected a colon after a key');
    }
    this.#keys += 1;
    if (this.#keys > JSON_LIMITS.keysMax) {
      return this.fail(start, `over ${JSON_LIMITS.keysMax} keys`);
    }
    return this.countNode(start) === -1 ? -1 : this.skipSpace(at + 1);
  }

  /** Counts a key or an array element against the limit. */
  countNode(at: number): number {
    this.#nodes += 1;
    if (this.#nodes <= JSON_LIMITS.nodesMax) return at;
    return this.fail(at, `over ${JSON_LIMITS.nodesMax} keys and array elements`);
  }

  #skipScalar(at: number): number {
    const byte = this.bytes[at];
    switch (byte) {
      case QUOTE:
        return this.skipString(at);
      case 0x74:
        return this.#skipWord(at, 'true');
      case 0x66:
        return this.#skipWord(at, 'false');
      case 0x6e:
        return this.#skipWord(at, 'null');
      case undefined:
        return this.fail(this.#length, 'the body ends where a value should stand');
      default:
        if (byte === 0x2d || (byte >= 0x30 && byte <= 0x39)) return this.#skipNumber(at);
        return this.fail(at, 'not a JSON value');
    }
  }

  /** Skips the value at `start` (no space before it), `outerDepth` containers deep. */
  skipValue(start: number, outerDepth: number): number {
    const { bytes } = this;
    let depth = outerDepth;
    let at = start;
    for (;;) {
      const byte = bytes[at];
      if (byte === 0x7b || byte === 0x5b) {
        depth += 1;
        if (depth > JSON_LIMITS.depthMax) {
          return this.fail(at, `nested deeper than ${JSON_LIMITS.depthMax}`);
        }
        const isObject = byte === 0x7b;
        kinds[depth] = isObject ? OBJECT : ARRAY;
        at = this.skipSpace(at + 1);
        if (bytes[at] !== (isObject ? 0x7d : 0x5d)) {
          at = isObject ? this.skipKey(at) : this.countNode(at);
          if (at === -1) return -1;
          continue;
        }
        at += 1;
        depth -= 1;
      } else {
        at = this.#skipScalar(at);
        if (at === -1) return -1;
      }
      for (;;) {
        if (depth === outerDepth) return at;
        at = this.skipSpace(at);
        const isObject = kinds[depth] === OBJECT;
        const next = bytes[at];
        if (next === COMMA) {
          at = this.skipSpace(at + 1);
          at = isObject ? this.skipKey(at) : this.countNode(at);
          if (at === -1) return -1;
          break;
        }
        if (next !== (isObject ? 0x7d : 0x5d)) {
          return next === undefined
            ? this.fail(this.#length, `the body ends inside an ${isObject ? 'object' : 'array'}`)
            : this.fail(at, `expected a comma or the end of the ${isObject ? 'object' : 'array'}`);
        }
        at += 1;
        depth -= 1;
      }
    }
  }

  /** Checks UTF-8 where a byte above 0x7f was seen; a string where so, null where all is ASCII. */
  checkText(): string | null {
    if (!this.hasNonAscii) return null;
    const text = decodeUtf8Strict(this.bytes);
    if (text === null) this.fail(malformedUtf8At(this.bytes), 'malformed UTF-8');
    return text;
  }
}

function isHexDigit(byte: number | undefined): boolean {
  if (byte === undefined) return false;
  const lower = byte | 0x20;
  return (byte >= 0x30 && byte <= 0x39) || (lower >= 0x61 && lower <= 0x66);
}

/** The first byte of the first malformed sequence (RFC 3629, 4); the length where none is. */
export function malformedUtf8At(bytes: Uint8Array): number {
  let at = 0;
  while (at < bytes.length) {
    const size = sequenceSize(bytes, at);
    if (size === 0) return at;
    at += size;
  }
  return at;
}

function sequenceSize(bytes: Uint8Array, at: number): number {
  const lead = bytes[at] ?? 0;
  if (lead < 0x80) return 1;
  const size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  for (let index = 1; index < size; index += 1) {
    if (((bytes[at + index] ?? 0) & 0xc0) !== 0x80) return 0;
  }
  const second = bytes[at + 1] ?? 0;
  if (lead === 0xe0 && second < 0xa0) return 0;
  if (lead === 0xed && second > 0x9f) return 0; // Surrogates.
  if (lead === 0xf0 && second < 0x90) return 0;
  if (lead === 0xf4 && second > 0x8f) return 0;
  return size;
}

/** Where a scan failed, in words: byte offset, then line and column (both from 1). */
export function describeScanError(bytes: Uint8Array, error: ScanError): string {
  let line = 1;
  let column = 1;
  for (let at = 0; at < error.at && at < bytes.length; at += 1) {
    if (bytes[at] === 0x0a) {
      line += 1;
      column = 1;
    } else if (((bytes[at] ?? 0) & 0xc0) !== 0x80) {
      column += 1; // Characters, not bytes.
    }
  }
  return `At byte ${error.at} (line ${line}, column ${column}): ${error.why}.`;
}
