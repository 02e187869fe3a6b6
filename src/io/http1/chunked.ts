/**
 * Bodies in chunks (RFC 9112 §7.1), decoded in place: the payloads of all chunks of one read are
 * moved together inside that read's buffer, so that however small the chunks are, one piece comes
 * out. Strict: sizes of at most ten digits, extensions only in their exact grammar, trailers only as
 * well-formed field lines, and none that frames a message. @hot
 */

import { HTTP_LIMITS } from '../../base/limits.ts';
import {
  BACKSLASH,
  CR,
  EQUALS,
  HEX_VALUE,
  IS_VALUE,
  LF,
  QUOTE,
  SEMICOLON,
  TOKEN_LOWER,
} from './chars.ts';
import { HeadParser, PARSE_FAULT, PARSE_MORE, type ParseFault } from './parser.ts';

const STATE = {
  size: 0,
  sizeLf: 1,
  data: 2,
  dataCr: 3,
  dataLf: 4,
  trailer: 5,
  extensionName: 6,
  extensionValueStart: 7,
  extensionValue: 8,
  quoted: 9,
  quotedPair: 10,
  quotedEnd: 11,
  done: 12,
} as const;

/** Chunks with no more digits are looked at as a whole first. */
const PLAIN_DIGITS_MAX = 4;

/** Limits of one chunked body. */
export interface ChunkedLimits {
  readonly chunkLineBytesMax: number;
  readonly trailerBytesMax: number;
  readonly headerFieldsMax: number;
}

/** Decodes one body; `reset` makes it ready for the next. */
export class ChunkedDecoder {
  /** The payload of the last `push`: `bytes[outStart, outEnd)`. */
  outStart = 0;
  outEnd = 0;
  isDone = false;
  fault: ParseFault | null = null;

  readonly #limits: ChunkedLimits;
  #state: number = STATE.size;
  #digits = 0;
  #size = 0;
  #lineBytes = 0;
  #hasName = false;
  #trailer: HeadParser | null = null;

  constructor(limits: ChunkedLimits = HTTP_LIMITS) {
    this.#limits = limits;
  }

  reset(): void {
    this.outStart = 0;
    this.outEnd = 0;
    this.isDone = false;
    this.fault = null;
    this.#state = STATE.size;
    this.#digits = 0;
    this.#size = 0;
    this.#lineBytes = 0;
    this.#hasName = false;
    this.#trailer = null;
  }

  /**
   * Takes `bytes[start, end)` and overwrites what it has taken. Returns the index after the last
   * byte of the body once `isDone`, `end` while more is needed, or `PARSE_FAULT`; what `out` spans is
   * valid in all three cases.
   */
  push(bytes: Buffer, start: number, end: number): number {
    this.outStart = start;
    this.outEnd = start;
    let at = start;
    while (at < end) {
      if (this.#state === STATE.data) {
        at = this.#data(bytes, at, end);
      } else if (this.#state === STATE.trailer) {
        return this.#trailers(bytes, at, end);
      } else {
        if (this.#state === STATE.size && this.#digits === 0) {
          const after = this.#plainChunk(bytes, at, end);
          if (after > at) {
            at = after;
            continue;
          }
        }
        const byte = bytes[at] ?? 0;
        if (this.#state < STATE.data) this.#sizeByte(byte);
        else if (this.#state < STATE.trailer) this.#dataEnd(byte);
        else this.#extensionByte(byte);
        if (this.fault !== null) return PARSE_FAULT;
        at += 1;
      }
    }
    return at;
  }

  #fail(detail: string): void {
    this.fault = { code: 'bad_http', detail };
  }

  /**
   * Takes a whole chunk as nearly all are: a few digits, no extension, all of it there. Returns where
   * it ends; `start`: it is not like that, and is read byte by byte.
   */
  #plainChunk(bytes: Buffer, start: number, end: number): number {
    let at = start;
    let size = 0;
    const digitsEnd = Math.min(end, start + PLAIN_DIGITS_MAX);
    for (; at < digitsEnd; at += 1) {
      const digit = HEX_VALUE[bytes[at] ?? 0] ?? 255;
      if (digit === 255) break;
      size = size * 16 + digit;
    }
    const after = at + 2 + size + 2;
    const isPlain =
      size > 0 &&
      after <= end &&
      bytes[at] === CR &&
      bytes[at + 1] === LF &&
      bytes[after - 2] === CR &&
      bytes[after - 1] === LF;
    if (!isPlain) return start;
    this.#gather(bytes, at + 2, size);
    return after;
  }

  #data(bytes: Buffer, at: number, end: number): number {
    const take = Math.min(this.#size, end - at);
    this.#gather(bytes, at, take);
    this.#size -= take;
    if (this.#size === 0) this.#state = STATE.dataCr;
    return at + take;
  }

  /** Adds payload to what this push gives. */
  #gather(bytes: Buffer, at: number, take: number): void {
    if (this.outEnd === this.outStart) {
      this.outStart = at;
      this.outEnd = at + take;
    } else {
      bytes.copyWithin(this.outEnd, at, at + take);
      this.outEnd += take;
    }
  }

  #dataEnd(byte: number): void {
    if (this.#state === STATE.dataCr) {
      if (byte !== CR) this.#fail('A chunk is longer than its size.');
      this.#state = STATE.dataLf;
      return;
    }
    if (byte !== LF) this.#fail('A CR stands without LF.');
    this.#state = STATE.size;
    this.#digits = 0;
    this.#lineBytes = 0;
  }

  #sizeByte(byte: number): void {
    if (this.#state === STATE.sizeLf) {
      if (byte !== LF) this.#fail('A chunk size does not end in CRLF.');
      this.#state = this.#size === 0 ? STATE.trailer : STATE.data;
      return;
    }
    const digit = HEX_VALUE[byte] ?? 255;
    if (digit !== 255) {
      this.#size = this.#digits === 0 ? digit : this.#size * 16 + digit;
      this.#digits += 1;
      if (this.#digits > HTTP_LIMITS.chunkSizeDigitsMax) this.#fail('A chunk size is too long.');
      return;
    }
    if (this.#digits === 0) this.#fail('A chunk has no size.');
    else this.#lineByte(byte);
  }

  /** What may follow a size, an extension's name or its value. */
  #lineByte(byte: number): void {
    if (byte === CR) {
      this.#state = STATE.sizeLf;
    } else if (byte === SEMICOLON) {
      this.#state = STATE.extensionName;
      this.#hasName = false;
    } else {
      this.#fail('A chunk size holds an invalid character.');
    }
  }

  #extensionByte(byte: number): void {
    this.#lineBytes += 1;
    if (this.#lineBytes > this.#limits.chunkLineBytesMax) {
      this.#fail('Chunk extensions are too long.');
      return;
    }
    switch (this.#state) {
      case STATE.extensionName:
        if (TOKEN_LOWER[byte] !== 0) this.#hasName = true;
        else if (!this.#hasName) this.#fail('A chunk extension has no name.');
        else if (byte === EQUALS) this.#state = STATE.extensionValueStart;
        else this.#lineByte(byte);
        break;
      case STATE.extensionValueStart:
        if (byte === QUOTE) this.#state = STATE.quoted;
        else if (TOKEN_LOWER[byte] !== 0) this.#state = STATE.extensionValue;
        else this.#fail('A chunk extension has no value.');
        break;
      case STATE.extensionValue:
        if (TOKEN_LOWER[byte] === 0) this.#lineByte(byte);
        break;
      case STATE.quoted:
        if (byte === QUOTE) this.#state = STATE.quotedEnd;
        else if (byte === BACKSLASH) this.#state = STATE.quotedPair;
        else if (IS_VALUE[byte] !== 1) this.#fail('A chunk extension holds a control character.');
        break;
      case STATE.quotedPair:
        if (IS_VALUE[byte] !== 1) this.#fail('A chunk extension holds a control character.');
        this.#state = STATE.quoted;
        break;
      case STATE.quotedEnd:
        this.#lineByte(byte);
        break;
      default:
        this.#fail('Bytes follow the end of a body.');
    }
  }

  #trailers(bytes: Buffer, at: number, end: number): number {
    this.#trailer ??= new HeadParser('trailer', {
      startLineBytesMax: 0,
      headerSectionBytesMax: this.#limits.trailerBytesMax,
      headerFieldsMax: this.#limits.headerFieldsMax,
    });
    const next = this.#trailer.push(bytes, at, end);
    if (next === PARSE_MORE) return end;
    if (next === PARSE_FAULT) {
      this.fault = this.#trailer.fault;
      return PARSE_FAULT;
    }
    this.isDone = true;
    this.#state = STATE.done;
    this.#trailer = null;
    return next;
  }
}
