/**
 * Heads of HTTP/1.1 messages: start line and field lines, from bytes that may be split anywhere.
 * Strict: what RFC 9112 leaves to the recipient's mercy is refused, because two readers that differ
 * about one byte are how requests are smuggled. @hot
 *
 * H1: the verdict on a line depends on the bytes only, never on how reads cut them (parser.test.ts).
 *     A fault inside a line is found at once or when its LF comes.
 * H2: whatever Node's own parser refuses is refused here (parser.test.ts, with Node as the oracle).
 * H3: a head that arrives in one read is scanned once and copied nowhere.
 * H4: the work for n bytes is O(n), also when they come one at a time.
 *
 * Refused: bare LF and bare CR, obsolete folding, space before the colon, control characters and NUL,
 * repeated or malformed Content-Length, Content-Length beside Transfer-Encoding, any
 * Transfer-Encoding but `chunked`, a missing or repeated Host, unknown methods, targets not in
 * origin form, versions other than 1.0 and 1.1.
 */

import { assert } from '../../base/assert.ts';
import type { ErrorCode } from '../../base/errors.ts';
import { HTTP_LIMITS } from '../../base/limits.ts';
import {
  COLON,
  CR,
  HEX_VALUE,
  HT,
  IS_HOST,
  IS_TARGET,
  IS_VALUE,
  LF,
  SLASH,
  SP,
  TOKEN_LOWER,
} from './chars.ts';
import { findName, NAME_ID } from './names.ts';

/** Why a message is refused. */
export interface ParseFault {
  readonly code: Extract<ErrorCode, 'bad_http' | 'headers_too_large'>;
  /** A sentence for the client; it repeats nothing of the message. */
  readonly detail: string;
}

/** `push`: all bytes are taken and more are needed. */
export const PARSE_MORE = -1;
/** `push`: refused; `fault` says why. */
export const PARSE_FAULT = -2;

/** Limits of one head. */
export interface HeadLimits {
  readonly startLineBytesMax: number;
  readonly headerSectionBytesMax: number;
  readonly headerFieldsMax: number;
}

export type HeadKind = 'request' | 'response' | 'trailer';

/** Methods that are taken; everything else is refused as Node refuses what it does not know. */
const METHODS = ['GET', 'POST', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'PATCH'].map((text) => ({
  text,
  bytes: Buffer.from(`${text} `, 'latin1'),
}));
const VERSION = Buffer.from('HTTP/1.', 'latin1');

/** Four offsets a field: name start and end, value start and end. Shared: used within one call. */
const OFFSETS = new Int32Array(HTTP_LIMITS.headerFieldsMax * 4);
const CARRY_BYTES_INITIAL = 1024;
const LENGTH_DIGITS_MAX = 15;
const NO_CARRY = Buffer.alloc(0);

/** Parses one head after another; the results stay valid until `reset`. */
export class HeadParser {
  fault: ParseFault | null = null;
  method = '';
  target = '';
  status = 0;
  /** Minor version: 0 or 1. */
  minor = 1;
  /** Names in lower case; of a request without `authorization` and `x-api-key`. */
  headers: string[] = [];
  /** Null: there was none. */
  authorization: string | null = null;
  apiKey: string | null = null;
  /** Bytes that Content-Length announces; -1: there was none. */
  contentLength = -1;
  isChunked = false;
  /** `Connection: close` was said. */
  isClose = false;
  isKeepAlive = false;
  expectsContinue = false;

  readonly #kind: HeadKind;
  readonly #limits: HeadLimits;
  #hosts = 0;
  /** Offsets below are relative to the first byte of the head. */
  #lineAt = 0;
  #sectionAt = -1;
  #methodEnd = 0;
  #targetEnd = 0;
  #fieldCount = 0;
  #carry: Buffer = NO_CARRY;
  #carryLength = 0;
  #savedOffsets: Int32Array | null = null;

  constructor(kind: HeadKind, limits: HeadLimits = HTTP_LIMITS) {
    assert(limits.headerFieldsMax * 4 <= OFFSETS.length, 'the offsets of all fields have room');
    this.#kind = kind;
    this.#limits = limits;
    if (kind === 'trailer') this.#sectionAt = 0;
  }

  /** Ready for the next head. What `headers` held stays with whoever took it. */
  reset(): void {
    this.fault = null;
    this.method = '';
    this.target = '';
    this.status = 0;
    this.headers = [];
    this.authorization = null;
    this.apiKey = null;
    this.contentLength = -1;
    this.isChunked = false;
    this.isClose = false;
    this.isKeepAlive = false;
    this.expectsContinue = false;
    this.#hosts = 0;
    this.#lineAt = 0;
    this.#sectionAt = this.#kind === 'trailer' ? 0 : -1;
    this.#fieldCount = 0;
    this.#carry = NO_CARRY;
    this.#carryLength = 0;
    this.#savedOffsets = null;
  }

  /**
   * Takes `bytes[start, end)`. Returns the index after the head once it is complete, `PARSE_MORE`
   * when everything was taken and more is needed, or `PARSE_FAULT`.
   */
  push(bytes: Buffer, start: number, end: number): number {
    if (this.#carryLength > 0) return this.#pushCarried(bytes, start, end);
    const result = this.#run(bytes, start, end);
    if (result === PARSE_MORE) {
      this.#append(bytes, start, end);
      this.#saveOffsets();
    }
    return result;
  }

  #pushCarried(bytes: Buffer, start: number, end: number): number {
    const before = this.#carryLength;
    const limit = this.#stopAt();
    // One byte past the limit of the start line may already be the section's; never cut short.
    const room = this.#limits.startLineBytesMax + this.#limits.headerSectionBytesMax + 8;
    this.#append(bytes, start, Math.min(end, start + room - before));
    const length = this.#carryLength;
    if (length < limit && this.#carry.subarray(before, length).indexOf(LF) === -1) {
      return PARSE_MORE;
    }
    if (this.#savedOffsets !== null) OFFSETS.set(this.#savedOffsets);
    const result = this.#run(this.#carry, 0, length);
    if (result >= 0) return start + (result - before);
    if (result === PARSE_MORE) this.#saveOffsets();
    return result;
  }

  #append(bytes: Buffer, start: number, end: number): void {
    const length = this.#carryLength + (end - start);
    if (this.#carry.length < length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(CARRY_BYTES_INITIAL, length * 2));
      this.#carry.copy(grown, 0, 0, this.#carryLength);
      this.#carry = grown;
    }
    bytes.copy(this.#carry, this.#carryLength, start, end);
    this.#carryLength = length;
  }

  #saveOffsets(): void {
    if (this.#fieldCount > 0) this.#savedOffsets = OFFSETS.slice(0, this.#fieldCount * 4);
  }

  /** Where the part under way must have ended, relative to the head. */
  #stopAt(): number {
    return this.#sectionAt === -1
      ? this.#lineAt + this.#limits.startLineBytesMax + 2
      : this.#sectionAt + this.#limits.headerSectionBytesMax;
  }

  #fail(detail: string, code: ParseFault['code'] = 'bad_http'): number {
    this.fault = { code, detail };
    return PARSE_FAULT;
  }

  #run(bytes: Buffer, base: number, end: number): number {
    if (this.#sectionAt === -1) {
      const at = this.#skipEmptyLine(bytes, base, end);
      if (at < 0) return at;
      const stop = Math.min(end, base + this.#stopAt());
      const next =
        this.#kind === 'request'
          ? this.#requestLine(bytes, base, at, stop)
          : this.#statusLine(bytes, at, stop);
      if (next === PARSE_MORE && end - at >= this.#limits.startLineBytesMax + 2) {
        return this.#fail('The start line is too long.', 'headers_too_large');
      }
      if (next < 0) return next;
      this.#lineAt = next - base;
      this.#sectionAt = this.#lineAt;
    }
    const stop = Math.min(end, base + this.#stopAt());
    let next = this.#fieldLines(bytes, base, stop);
    if (next === PARSE_MORE && stop === base + this.#stopAt()) {
      next = this.#fail('The header section is too long.', 'headers_too_large');
    }
    if (next >= 0) return this.#finish(bytes, base, next);
    // The refusal speaks the dialect of the path.
    if (next === PARSE_FAULT) this.#takeTarget(bytes, base);
    return next;
  }

  #takeTarget(bytes: Buffer, base: number): void {
    if (this.#kind !== 'request') return;
    this.target = bytes.toString('latin1', base + this.#methodEnd + 1, base + this.#targetEnd);
  }

  /** One CRLF before a request line is passed over (RFC 9112 §2.2). */
  #skipEmptyLine(bytes: Buffer, base: number, end: number): number {
    let at = base + this.#lineAt;
    if (this.#kind !== 'request' || this.#lineAt !== 0 || bytes[at] !== CR) return at;
    at += 1;
    if (at >= end) return PARSE_MORE;
    if (bytes[at] !== LF) return this.#fail('A line begins with CR.');
    at += 1;
    this.#lineAt = 2;
    return at >= end ? PARSE_MORE : at;
  }

  #requestLine(bytes: Buffer, base: number, lineAt: number, stop: number): number {
    const methodEnd = this.#matchMethod(bytes, lineAt, stop);
    if (methodEnd < 0) return methodEnd;
    let at = methodEnd + 1;
    if (at >= stop) return PARSE_MORE;
    if (bytes[at] !== SLASH) return this.#fail('The request target is not in origin form.');
    while (at < stop && IS_TARGET[bytes[at] ?? 0] === 1) at += 1;
    if (at >= stop) return PARSE_MORE;
    if (bytes[at] !== SP) return this.#fail('The request target holds an invalid character.');
    this.#methodEnd = methodEnd - base;
    this.#targetEnd = at - base;
    at = this.#matchVersion(bytes, at + 1, stop);
    if (at < 0) return at;
    return this.#lineEnd(bytes, at, stop);
  }

  #matchMethod(bytes: Buffer, lineAt: number, stop: number): number {
    for (let index = 0; index < METHODS.length; index += 1) {
      const method = METHODS[index];
      if (method === undefined) break;
      const length = method.bytes.length;
      let matched = 0;
      while (
        matched < length &&
        lineAt + matched < stop &&
        bytes[lineAt + matched] === method.bytes[matched]
      ) {
        matched += 1;
      }
      if (matched === length) {
        this.method = method.text;
        return lineAt + length - 1;
      }
      if (lineAt + matched >= stop) return PARSE_MORE;
    }
    return this.#fail('The method is not known.');
  }

  #matchVersion(bytes: Buffer, at: number, stop: number): number {
    let matched = 0;
    while (matched < VERSION.length) {
      if (at + matched >= stop) return PARSE_MORE;
      if (bytes[at + matched] !== VERSION[matched]) return this.#fail('The version is not HTTP/1.');
      matched += 1;
    }
    if (at + matched >= stop) return PARSE_MORE;
    const minor = (bytes[at + matched] ?? 0) - 0x30;
    if (minor !== 0 && minor !== 1) return this.#fail('The version is not HTTP/1.0 or 1.1.');
    this.minor = minor;
    return at + matched + 1;
  }

  #lineEnd(bytes: Buffer, at: number, stop: number): number {
    if (at >= stop) return PARSE_MORE;
    if (bytes[at] !== CR) return this.#fail('The start line does not end in CRLF.');
    if (at + 1 >= stop) return PARSE_MORE;
    if (bytes[at + 1] !== LF) return this.#fail('A CR stands without LF.');
    return at + 2;
  }

  #statusLine(bytes: Buffer, lineAt: number, stop: number): number {
    let at = this.#matchVersion(bytes, lineAt, stop);
    if (at < 0) return at;
    if (at >= stop) return PARSE_MORE;
    if (bytes[at] !== SP) return this.#fail('No space stands before the status.');
    at += 1;
    let status = 0;
    for (let digit = 0; digit < 3; digit += 1, at += 1) {
      if (at >= stop) return PARSE_MORE;
      const value = HEX_VALUE[bytes[at] ?? 0] ?? 255;
      if (value > 9) return this.#fail('The status is not three digits.');
      status = status * 10 + value;
    }
    if (status < 100 || status > 599) return this.#fail('The status is out of range.');
    this.status = status;
    if (at >= stop) return PARSE_MORE;
    if (bytes[at] === SP) {
      while (at < stop && IS_VALUE[bytes[at] ?? 0] === 1) at += 1;
    }
    return this.#lineEnd(bytes, at, stop);
  }

  #fieldLines(bytes: Buffer, base: number, stop: number): number {
    let at = base + this.#lineAt;
    while (at < stop) {
      if (bytes[at] === CR) {
        if (at + 1 >= stop) return PARSE_MORE;
        return bytes[at + 1] === LF ? at + 2 : this.#fail('A line begins with CR.');
      }
      const nameAt = at;
      while (at < stop && TOKEN_LOWER[bytes[at] ?? 0] !== 0) at += 1;
      if (at >= stop) return PARSE_MORE;
      if (bytes[at] !== COLON || at === nameAt) return this.#failName(bytes, nameAt, at);
      const nameEnd = at;
      at += 1;
      while (at < stop && (bytes[at] === SP || bytes[at] === HT)) at += 1;
      const valueAt = at;
      while (at < stop && IS_VALUE[bytes[at] ?? 0] === 1) at += 1;
      if (at >= stop) return PARSE_MORE;
      if (bytes[at] !== CR) return this.#fail('A field value holds a control character.');
      if (at + 1 >= stop) return PARSE_MORE;
      if (bytes[at + 1] !== LF) return this.#fail('A CR stands without LF.');
      let valueEnd = at;
      while (valueEnd > valueAt && (bytes[valueEnd - 1] === SP || bytes[valueEnd - 1] === HT)) {
        valueEnd -= 1;
      }
      if (this.#fieldCount >= this.#limits.headerFieldsMax) {
        return this.#fail('There are too many header fields.', 'headers_too_large');
      }
      const slot = this.#fieldCount * 4;
      OFFSETS[slot] = nameAt - base;
      OFFSETS[slot + 1] = nameEnd - base;
      OFFSETS[slot + 2] = valueAt - base;
      OFFSETS[slot + 3] = valueEnd - base;
      this.#fieldCount += 1;
      at += 2;
      this.#lineAt = at - base;
    }
    return PARSE_MORE;
  }

  #failName(bytes: Buffer, nameAt: number, at: number): number {
    const byte = bytes[at];
    if (at === nameAt && (byte === SP || byte === HT)) {
      return this.#fail('A field is folded over lines.');
    }
    if (byte === SP || byte === HT) return this.#fail('A space stands before a colon.');
    if (byte === LF) return this.#fail('A line does not end in CRLF.');
    return this.#fail('A field name holds an invalid character.');
  }

  #finish(bytes: Buffer, base: number, end: number): number {
    const text = bytes.toString('latin1', base, end);
    if (this.#kind === 'request') this.target = text.slice(this.#methodEnd + 1, this.#targetEnd);
    const { headers } = this;
    for (let index = 0; index < this.#fieldCount; index += 1) {
      const slot = index * 4;
      const nameAt = OFFSETS[slot] ?? 0;
      const nameEnd = OFFSETS[slot + 1] ?? 0;
      const known = findName(bytes, base + nameAt, base + nameEnd);
      const value = text.slice(OFFSETS[slot + 2], OFFSETS[slot + 3]);
      if (known === null) {
        headers.push(text.slice(nameAt, nameEnd).toLowerCase(), value);
      } else if (known.id === NAME_ID.other) {
        headers.push(known.text, value);
      } else {
        const isFraming = known.id <= NAME_ID.transferEncoding;
        if (isFraming && bytes[base + (OFFSETS[slot + 3] ?? 0)] !== CR) {
          return this.#fail('White space follows the value of a framing field.');
        }
        const detail = this.#special(known.id, known.text, value);
        if (detail !== null) return this.#fail(detail);
      }
    }
    const detail = this.#kind === 'trailer' ? null : this.#checkWhole();
    return detail === null ? end : this.#fail(detail);
  }

  /** Takes a field that the transport itself must understand; returns what is wrong with it. */
  #special(id: number, name: string, value: string): string | null {
    if (this.#kind === 'trailer') {
      const isFraming = id === NAME_ID.contentLength || id === NAME_ID.transferEncoding;
      const isRouting = id === NAME_ID.host || id === NAME_ID.connection;
      return isFraming || isRouting ? 'A trailer holds a framing field.' : null;
    }
    const isRequest = this.#kind === 'request';
    switch (id) {
      case NAME_ID.contentLength:
        if (this.contentLength !== -1) return 'Content-Length is repeated.';
        this.contentLength = lengthOf(value);
        if (this.contentLength === -1) return 'Content-Length is not a number.';
        break;
      case NAME_ID.transferEncoding:
        if (this.isChunked) return 'Transfer-Encoding is repeated.';
        if (value.toLowerCase() !== 'chunked') return 'Transfer-Encoding is not chunked.';
        this.isChunked = true;
        break;
      case NAME_ID.connection:
        this.#connection(value);
        break;
      case NAME_ID.host:
        if (!isRequest) break;
        this.#hosts += 1;
        if (this.#hosts > 1) return 'Host is repeated.';
        if (!isHost(value)) return 'Host is malformed.';
        break;
      case NAME_ID.expect:
        if (isRequest && value.toLowerCase() === '100-continue') this.expectsContinue = true;
        else if (isRequest) return 'Expect is not 100-continue.';
        break;
      case NAME_ID.authorization:
        if (!isRequest) break;
        if (this.authorization !== null) return 'Authorization is repeated.';
        this.authorization = value;
        return null;
      case NAME_ID.apiKey:
        if (!isRequest) break;
        if (this.apiKey !== null) return 'x-api-key is repeated.';
        this.apiKey = value;
        return null;
      default:
        break;
    }
    this.headers.push(name, value);
    return null;
  }

  #connection(value: string): void {
    if (value === 'keep-alive') {
      this.isKeepAlive = true; // What nearly everyone sends.
      return;
    }
    for (const option of value.toLowerCase().split(',')) {
      const token = option.trim();
      if (token === 'close') this.isClose = true;
      else if (token === 'keep-alive') this.isKeepAlive = true;
    }
  }

  #checkWhole(): string | null {
    if (this.isChunked && this.contentLength !== -1) {
      return 'Content-Length stands beside Transfer-Encoding.';
    }
    if (this.isChunked && this.minor === 0) return 'HTTP/1.0 has no Transfer-Encoding.';
    if (this.#kind === 'request' && this.#hosts === 0 && this.minor === 1)
      return 'Host is missing.';
    return null;
  }
}

/** Digits only; -1 where it is anything else or over 10^15. */
function lengthOf(value: string): number {
  if (value.length === 0 || value.length > LENGTH_DIGITS_MAX) return -1;
  let bytes = 0;
  for (let index = 0; index < value.length; index += 1) {
    const digit = value.charCodeAt(index) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    bytes = bytes * 10 + digit;
  }
  return bytes;
}

function isHost(value: string): boolean {
  for (let index = 0; index < value.length; index += 1) {
    if (IS_HOST[value.charCodeAt(index)] !== 1) return false;
  }
  return true;
}
