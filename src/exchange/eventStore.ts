/**
 * The events of a stream, kept whole in little room. The events of one answer differ in a few bytes
 * (the text of a token) inside an envelope of a hundred and more; kept is how an event differs from
 * a template, which is an earlier event.
 *
 * S1: what is read back is what was put in, to the byte, whatever the events were (eventStore.test.ts).
 * S2: an event that differs by n bytes takes n + 1 bytes, 13 where where it differs has changed.
 *
 * A record is its kind, then its figures: 0 to 239 a difference of that many bytes at the usual
 * place; CHANGED the same at another place or longer; LITERAL a whole event, which becomes the
 * template. Figures are 4 bytes, little-endian.
 * @hot
 */

import { copyBytes, EMPTY_BYTES } from '../base/bytes.ts';

const CHANGED = 240;
const LITERAL = 241;
const BYTES_INITIAL = 512;
const LF = 0x0a;
const EMPTY_VIEW = new DataView(EMPTY_BYTES.buffer);
/** A difference up to this long is taken for the text alone: the template fits. */
const FIT_BYTES_MAX = 8;
/** Templates are tried until one fits, but not for ever: texts may be long. */
const TEMPLATES_TRIED_MAX = 6;

/** Events in the order of their coming. */
export class EventStore {
  /** Bytes that the events have. */
  length = 0;
  #buffer: Uint8Array = EMPTY_BYTES;
  #end = 0;
  #template: Uint8Array = EMPTY_BYTES;
  #tried = 0;
  /** Where events usually begin and end to differ from the template. */
  #prefix = 0;
  #suffix = 0;
  /** The template's bytes by words. */
  #templateView: DataView = EMPTY_VIEW;
  /** The event that was looked at: its place in the piece, and whether it differs as usual. */
  #start = 0;
  #stop = 0;
  #isAsUsual = false;
  #isLiteral = false;
  #middlePrefix = 0;
  #middleSuffix = 0;

  /** Memory held, bytes. */
  get bytesHeld(): number {
    return this.#buffer.length + this.#template.length;
  }

  /** Adds a piece of one or more whole events; it is copied. */
  add(piece: Uint8Array): void {
    const view = viewOf(piece);
    let start = 0;
    while (start < piece.length) {
      start = this.look(piece, view, start);
      this.take(piece);
    }
  }

  /**
   * Looks at the event that begins at `start`; returns its end. `take` adds it, `freshStart` and
   * `freshEnd` tell what of it is new. `view` is `viewOf(piece)`.
   */
  look(piece: Uint8Array, view: DataView, start: number): number {
    this.#start = start;
    const prefix = this.#prefix;
    const suffix = this.#suffix;
    const isSettled = prefix > 0 && this.#tried >= TEMPLATES_TRIED_MAX;
    if (isSettled && isSame(view, start, this.#templateView, 0, prefix)) {
      const end = eventEnd(view, start + prefix);
      const usual = end - start - prefix - suffix;
      const from = this.#template.length - suffix;
      if (
        usual >= 0 &&
        usual < CHANGED &&
        usual <= prefix + suffix &&
        isSame(view, end - suffix, this.#templateView, from, suffix)
      ) {
        this.#stop = end;
        this.#isAsUsual = true;
        this.#isLiteral = false;
        return end;
      }
    }
    this.#stop = eventEnd(view, start);
    this.#compare(piece, start, this.#stop);
    return this.#stop;
  }

  /** Where the event looked at begins to differ from an earlier one, which is its template. */
  get freshStart(): number {
    if (this.#isLiteral) return this.#start;
    return this.#start + (this.#isAsUsual ? this.#prefix : this.#middlePrefix);
  }

  /** Where it ends to differ. */
  get freshEnd(): number {
    if (this.#isLiteral) return this.#stop;
    return this.#stop - (this.#isAsUsual ? this.#suffix : this.#middleSuffix);
  }

  /** All events. */
  read(): Uint8Array {
    const out = new Uint8Array(this.length);
    let at = 0;
    let written = 0;
    let template = EMPTY_BYTES;
    let prefix = 0;
    let suffix = 0;
    while (at < this.#end) {
      let middle = this.#buffer[at] ?? 0;
      at += 1;
      if (middle >= CHANGED) {
        const isLiteral = middle === LITERAL;
        middle = this.#figure(at);
        at += 4;
        if (isLiteral) {
          template = this.#buffer.subarray(at, at + middle);
          prefix = 0;
          suffix = 0;
        } else {
          prefix = this.#figure(at);
          suffix = this.#figure(at + 4);
          at += 8;
        }
        if (isLiteral) {
          out.set(template, written);
          written += middle;
          at += middle;
          continue;
        }
      }
      out.set(template.subarray(0, prefix), written);
      out.set(this.#buffer.subarray(at, at + middle), written + prefix);
      out.set(template.subarray(template.length - suffix), written + prefix + middle);
      written += prefix + middle + suffix;
      at += middle;
    }
    return out;
  }

  clear(): void {
    this.length = 0;
    this.#buffer = EMPTY_BYTES;
    this.#end = 0;
    this.#template = EMPTY_BYTES;
    this.#templateView = EMPTY_VIEW;
    this.#tried = 0;
    this.#prefix = 0;
    this.#suffix = 0;
  }

  /** How the event differs from the template, byte by byte. */
  #compare(piece: Uint8Array, start: number, end: number): void {
    const template = this.#template;
    const most = Math.min(template.length, end - start);
    let prefix = 0;
    while (prefix < most && piece[start + prefix] === template[prefix]) prefix += 1;
    let suffix = 0;
    const last = template.length - 1;
    const rest = most - prefix;
    while (suffix < rest && piece[end - 1 - suffix] === template[last - suffix]) suffix += 1;
    const differs = end - start - prefix - suffix;
    const isTried = this.#tried >= TEMPLATES_TRIED_MAX || differs <= FIT_BYTES_MAX;
    this.#isLiteral = !isTried || prefix + suffix < (end - start) / 2;
    this.#middlePrefix = prefix;
    this.#middleSuffix = suffix;
    const usual = end - start - this.#prefix - this.#suffix;
    // Texts often begin or end alike by chance: what is alike beyond the usual is text, too.
    const isWithin = prefix >= this.#prefix && suffix >= this.#suffix && this.#prefix > 0;
    this.#isAsUsual = !this.#isLiteral && isWithin && usual < CHANGED && usual >= 0;
    if (!this.#isLiteral && differs <= FIT_BYTES_MAX) this.#tried = TEMPLATES_TRIED_MAX;
  }

  /** Adds the event that was looked at last. */
  take(piece: Uint8Array): void {
    const start = this.#start;
    const end = this.#stop;
    this.length += end - start;
    if (this.#isLiteral) {
      this.#addLiteral(piece, start, end);
      return;
    }
    if (this.#isAsUsual) {
      const usual = end - start - this.#prefix - this.#suffix;
      this.#room(1 + usual);
      this.#buffer[this.#end] = usual;
      this.#end += 1;
    } else {
      this.#prefix = this.#middlePrefix;
      this.#suffix = this.#middleSuffix;
      const differs = end - start - this.#prefix - this.#suffix;
      this.#room(13 + differs);
      this.#buffer[this.#end] = CHANGED;
      this.#putFigure(this.#end + 1, differs);
      this.#putFigure(this.#end + 5, this.#prefix);
      this.#putFigure(this.#end + 9, this.#suffix);
      this.#end += 13;
    }
    this.#copy(piece, start + this.#prefix, end - this.#suffix);
  }

  #addLiteral(piece: Uint8Array, start: number, end: number): void {
    this.#tried += 1;
    this.#prefix = 0;
    this.#suffix = 0;
    this.#template = copyBytes(piece.subarray(start, end));
    this.#templateView = viewOf(this.#template);
    this.#room(5 + end - start);
    this.#buffer[this.#end] = LITERAL;
    this.#putFigure(this.#end + 1, end - start);
    this.#end += 5;
    this.#copy(piece, start, end);
  }

  #copy(piece: Uint8Array, start: number, end: number): void {
    for (let at = start; at < end; at += 1) {
      this.#buffer[this.#end] = piece[at] ?? 0;
      this.#end += 1;
    }
  }

  #room(bytes: number): void {
    const needed = this.#end + bytes;
    if (needed <= this.#buffer.length) return;
    // By half: an answer that ends soon after a growth wastes no more than a third.
    const grown = new Uint8Array(
      Math.max(BYTES_INITIAL, needed, Math.ceil(this.#buffer.length * 1.5)),
    );
    grown.set(this.#buffer.subarray(0, this.#end));
    this.#buffer = grown;
  }

  #putFigure(at: number, value: number): void {
    this.#buffer[at] = value & 0xff;
    this.#buffer[at + 1] = (value >>> 8) & 0xff;
    this.#buffer[at + 2] = (value >>> 16) & 0xff;
    this.#buffer[at + 3] = (value >>> 24) & 0xff;
  }

  #figure(at: number): number {
    const buffer = this.#buffer;
    const low = (buffer[at] ?? 0) | ((buffer[at + 1] ?? 0) << 8) | ((buffer[at + 2] ?? 0) << 16);
    return low + (buffer[at + 3] ?? 0) * 0x1000000;
  }
}

/** The bytes of `piece`, to be read by words. */
export function viewOf(piece: Uint8Array): DataView {
  return new DataView(piece.buffer, piece.byteOffset, piece.length);
}

/** Are `bytes` bytes of both the same? False where one of them ends before. Four at a time. */
function isSame(
  one: DataView,
  oneAt: number,
  other: DataView,
  otherAt: number,
  bytes: number,
): boolean {
  if (oneAt + bytes > one.byteLength || otherAt + bytes > other.byteLength) return false;
  let at = 0;
  for (; at + 16 <= bytes; at += 16) {
    const from = oneAt + at;
    const otherFrom = otherAt + at;
    const differs =
      (one.getInt32(from, true) ^ other.getInt32(otherFrom, true)) |
      (one.getInt32(from + 4, true) ^ other.getInt32(otherFrom + 4, true)) |
      (one.getInt32(from + 8, true) ^ other.getInt32(otherFrom + 8, true)) |
      (one.getInt32(from + 12, true) ^ other.getInt32(otherFrom + 12, true));
    if (differs !== 0) return false;
  }
  for (; at + 4 <= bytes; at += 4) {
    if (one.getInt32(oneAt + at, true) !== other.getInt32(otherAt + at, true)) return false;
  }
  for (; at < bytes; at += 1) {
    if (one.getUint8(oneAt + at) !== other.getUint8(otherAt + at)) return false;
  }
  return true;
}

/**
 * Where the event ends of which `from` is a byte: after its blank line. Any cut would do (S1). Four
 * bytes at a time: a word that holds no LF is passed over (Warren, "Hacker's Delight", 6-1).
 */
function eventEnd(view: DataView, from: number): number {
  const { byteLength } = view;
  let at = from;
  while (at + 1 < byteLength) {
    if (at + 4 <= byteLength) {
      const word = view.getInt32(at, true) ^ 0x0a0a0a0a;
      if (((word - 0x01010101) & ~word & 0x80808080) === 0) {
        at += 4;
        continue;
      }
    }
    if (view.getUint8(at) === LF && view.getUint8(at + 1) === LF) return at + 2;
    at += 1;
  }
  return byteLength;
}
