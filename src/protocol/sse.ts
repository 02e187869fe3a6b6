/**
 * Server-sent events (WHATWG HTML, 9.2): an incremental reader that may be fed any split of the
 * bytes, and a writer. Line ends are LF, CR or CRLF; a leading byte-order mark and comments are
 * dropped; `data` lines of one event are joined by LF. @hot
 *
 * S1: the events do not depend on where the bytes were split (`sse.test.ts`, every byte).
 * S2: an event over `SSE_LIMITS.eventBytesMax` ends the reading; nothing is kept beyond it.
 */

import { decodeUtf8, EMPTY_BYTES } from '../base/bytes.ts';
import { SSE_LIMITS } from '../base/limits.ts';

const LF = 0x0a;
const CR = 0x0d;

/** Receives the parts of a stream, in order. */
export interface EventSink {
  /**
   * One whole event with its blank line: `bytes` in [start, end). Comments before it belong to it.
   * False stops the reading: nothing more is told.
   */
  event(bytes: Uint8Array, start: number, end: number): boolean;
}

/**
 * Cuts a stream into whole events. `push` tells each event that has become complete; the rest is
 * kept and told with what completes it. Bytes given to the sink are valid until the next `push`.
 */
export class EventFramer {
  readonly #sink: EventSink;
  /** Kept bytes: an event that has begun. */
  #held: Uint8Array = EMPTY_BYTES;
  #heldStart = 0;
  #heldEnd = 0;
  /** Where the scan for the end goes on, and whether the line there is empty so far. */
  #scanAt = 0;
  #isLineEmpty = true;
  #isStopped = false;
  /** An event went over the limit. */
  isTooLarge = false;

  constructor(sink: EventSink) {
    this.#sink = sink;
  }

  /** Bytes of an event that has begun and not ended. */
  get heldBytes(): number {
    return this.#heldEnd - this.#heldStart;
  }

  /** The kept bytes themselves, e.g. an event without its blank line at the end of a body. */
  held(): Uint8Array {
    return this.#held.subarray(this.#heldStart, this.#heldEnd);
  }

  /** Feeds a chunk. False: the sink stopped the reading, or an event was too large. */
  push(chunk: Uint8Array): boolean {
    if (this.#isStopped) return false;
    let bytes = chunk;
    let length = chunk.length;
    if (this.#heldEnd > this.#heldStart) {
      this.#append(chunk);
      bytes = this.#held;
      length = this.#heldEnd;
    }
    const start = this.#scan(bytes, length);
    if (this.#isStopped) return false;
    if (length - start > SSE_LIMITS.eventBytesMax) {
      this.isTooLarge = true;
      this.#isStopped = true;
      return false;
    }
    this.#keep(bytes, start, length);
    return true;
  }

  /** Tells every event that ends in [0, length); returns where the first unended one begins. */
  #scan(bytes: Uint8Array, length: number): number {
    // What lies beyond `length` is old: to search it would make the work for tiny pieces quadratic.
    const kept = bytes === this.#held ? new DataView(bytes.buffer, bytes.byteOffset, length) : null;
    let cr = -1;
    let start = 0;
    let at = this.#scanAt;
    let isLineEmpty = this.#isLineEmpty;
    while (at < length) {
      const byte = bytes[at];
      if (byte !== LF && byte !== CR) {
        isLineEmpty = false;
        if (kept !== null) {
          at = lineEnd(kept, at + 1);
          continue;
        }
        if (cr < at) cr = placeOf(bytes, CR, at);
        at = Math.min(length, cr, placeOf(bytes, LF, at + 1));
        continue;
      }
      if (byte === CR) {
        // Whether an LF belongs to this line end is not known yet.
        if (at + 1 === length) break;
        if (bytes[at + 1] === LF) at += 1;
      }
      at += 1;
      if (!isLineEmpty) {
        isLineEmpty = true;
        continue;
      }
      if (!this.#sink.event(bytes, start, at)) {
        this.#isStopped = true;
        return at;
      }
      start = at;
    }
    this.#scanAt = at - start;
    this.#isLineEmpty = isLineEmpty;
    return start;
  }

  /** Adds to the kept bytes, which move to the front first: nobody reads the ones before them. */
  #append(chunk: Uint8Array): void {
    const kept = this.#heldEnd - this.#heldStart;
    const needed = kept + chunk.length;
    if (needed > this.#held.length) {
      const larger = new Uint8Array(Math.max(needed, this.#held.length * 2, 1024));
      larger.set(this.held());
      this.#held = larger;
    } else if (this.#heldStart > 0) {
      this.#held.copyWithin(0, this.#heldStart, this.#heldEnd);
    }
    this.#held.set(chunk, kept);
    this.#heldStart = 0;
    this.#heldEnd = needed;
  }

  #keep(bytes: Uint8Array, start: number, length: number): void {
    if (bytes === this.#held) {
      // In place: what the sink was told of stays where it is until the next chunk.
      this.#heldStart = start;
      return;
    }
    this.#heldStart = 0;
    this.#heldEnd = 0;
    if (start < length) this.#append(bytes.subarray(start, length));
  }
}

/** Where `byte` stands at or after `from`; Infinity: nowhere. Native in Node's buffers. */
function placeOf(bytes: Uint8Array, byte: number, from: number): number {
  const at = bytes.indexOf(byte, from);
  return at === -1 ? Infinity : at;
}

/**
 * Where the first CR or LF stands at or after `from` in kept bytes; the length: nowhere. They are no
 * buffer of Node's, and the search of a `Uint8Array` takes a nanosecond and more for each byte. Here
 * sixteen that hold none under 0x0e are passed over at once (Warren, "Hacker's Delight", 6-1).
 */
function lineEnd(view: DataView, from: number): number {
  const { byteLength } = view;
  let at = from;
  while (at < byteLength) {
    if (at + 16 <= byteLength && !hasControl(view, at)) {
      at += 16;
      continue;
    }
    const stop = Math.min(byteLength, at + 16);
    for (; at < stop; at += 1) {
      const byte = view.getUint8(at);
      if (byte === LF || byte === CR) return at;
    }
  }
  return byteLength;
}

/** Is one of the 16 bytes at `at` under 0x0e? */
function hasControl(view: DataView, at: number): boolean {
  const one = view.getInt32(at, true);
  const two = view.getInt32(at + 4, true);
  const three = view.getInt32(at + 8, true);
  const four = view.getInt32(at + 12, true);
  const borrowed =
    ((one - 0x0e0e0e0e) & ~one) |
    ((two - 0x0e0e0e0e) & ~two) |
    ((three - 0x0e0e0e0e) & ~three) |
    ((four - 0x0e0e0e0e) & ~four);
  return (borrowed & 0x80808080) !== 0;
}

/** The fields of one event. */
export interface SseEvent {
  /** `message` where the stream named none. */
  readonly event: string;
  /** Lines of `data` joined by LF; null where the event has none (comments, `retry`). */
  readonly data: string | null;
}

/** Reads the fields of one whole event, as `EventFramer` tells it. */
export function parseEvent(bytes: Uint8Array, start: number, end: number): SseEvent {
  const isMarked = bytes[start] === 0xef && bytes[start + 1] === 0xbb && bytes[start + 2] === 0xbf;
  const text = decodeUtf8(bytes.subarray(isMarked ? start + 3 : start, end));
  let event = '';
  let data: string | null = null;
  for (const line of text.split(/\r\n|\n|\r/)) {
    const colon = line.indexOf(':');
    if (colon === 0) continue; // A comment.
    const field = colon === -1 ? line : line.slice(0, colon);
    let value = colon === -1 ? '' : line.slice(colon + 1);
    if (value.startsWith(' ')) value = value.slice(1);
    if (field === 'data') data = data === null ? value : `${data}\n${value}`;
    else if (field === 'event') event = value;
  }
  return { event: event === '' ? 'message' : event, data };
}

/** The text of one event whose data is one line of JSON; `event` is left out where empty. */
export function formatEvent(event: string, json: string): string {
  return event === '' ? `data: ${json}\n\n` : `event: ${event}\ndata: ${json}\n\n`;
}
