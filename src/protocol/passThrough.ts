/**
 * A stream whose dialect is the client's own: whole events go through as they came, while an
 * `EventMeter` looks at each. A part of an event is held until the rest is there, so that what the
 * client has is always whole: an error is told in place of half an event, never after it. @hot
 */

import { concatBytes, decodeUtf8, EMPTY_BYTES } from '../base/bytes.ts';
import { REQUEST_LIMITS } from '../base/limits.ts';
import type { StreamReader, StreamStep, UpstreamError } from './adapter.ts';
import type { Usage } from './dialect.ts';
import { parseJson } from './json.ts';
import { EventFramer, parseEvent, type EventSink } from './sse.ts';
import { malformedError, readInBandError } from './upstreamError.ts';

/** What becomes of one event. */
export const VERDICT = { forward: 0, drop: 1, stop: 2 } as const;
export type Verdict = (typeof VERDICT)[keyof typeof VERDICT];

/** Looks at the events of one stream in one dialect. */
export interface EventMeter {
  hasContent: boolean;
  isDone: boolean;
  error: UpstreamError | null;
  /** Looks at one whole event; `stop`: it was an error, or what follows the end. */
  look(bytes: Uint8Array, start: number, end: number): Verdict;
  /** The body ended without the dialect's end: bytes that complete it, or none if it was cut. */
  complete(): Uint8Array;
  usage(): Usage | null;
}

const BLANK_LINE = new Uint8Array([0x0a, 0x0a]);

/** Forwards one stream. */
export class PassThroughReader implements StreamReader, EventSink {
  readonly #meter: EventMeter;
  readonly #framer: EventFramer;
  readonly #step: StreamStep = {
    bytes: EMPTY_BYTES,
    hasContent: false,
    isDone: false,
    error: null,
  };
  /** The bytes that the sink was told of, and the run in them that goes on. */
  #source: Uint8Array = EMPTY_BYTES;
  #runStart = 0;
  #runEnd = 0;
  /** Runs before a dropped event; empty nearly always. */
  #runs: Uint8Array[] = [];

  constructor(meter: EventMeter) {
    this.#meter = meter;
    this.#framer = new EventFramer(this);
  }

  push(chunk: Uint8Array): StreamStep {
    this.#runs = [];
    this.#runStart = 0;
    this.#runEnd = 0;
    const meter = this.#meter;
    if (!this.#framer.push(chunk) && this.#framer.isTooLarge) {
      meter.error ??= malformedError('An event is larger than this gateway accepts.');
    }
    return this.#told(chunk);
  }

  end(): StreamStep {
    const meter = this.#meter;
    this.#runs = [];
    this.#runStart = 0;
    this.#runEnd = 0;
    const held = this.#framer.held();
    if (held.length > 0 && !meter.isDone && meter.error === null) this.#endHeld(held);
    if (!meter.isDone && meter.error === null) {
      const rest = meter.complete();
      if (rest.length > 0) this.#runs.push(rest);
    }
    return this.#told(EMPTY_BYTES);
  }

  usage(): Usage | null {
    return this.#meter.usage();
  }

  event(bytes: Uint8Array, start: number, end: number): boolean {
    const verdict = this.#meter.look(bytes, start, end);
    if (verdict === VERDICT.stop) return false;
    this.#source = bytes;
    if (verdict === VERDICT.forward) {
      if (this.#runEnd !== start) this.#endRun(start);
      this.#runEnd = end;
    }
    return !this.#meter.isDone;
  }

  /** Puts the run aside that ended before a dropped event. */
  #endRun(start: number): void {
    if (this.#runEnd > this.#runStart) {
      this.#runs.push(this.#source.subarray(this.#runStart, this.#runEnd));
    }
    this.#runStart = start;
  }

  /** The last event of a body may lack its blank line. */
  #endHeld(held: Uint8Array): void {
    const meter = this.#meter;
    if (held[0] === 0x7b || held[0] === 0x3c) {
      const text = decodeUtf8(held.subarray(0, REQUEST_LIMITS.upstreamErrorBytesMax));
      const error = held[0] === 0x7b ? readInBandError(parseJson(text)) : null;
      meter.error = error ?? malformedError('The body is no event stream.');
      return;
    }
    const { data } = parseEvent(held, 0, held.length);
    // Half an event is what a cut leaves behind: it is dropped, and the cut is told as such.
    if (data === null || (data.trim() !== '[DONE]' && parseJson(data) === undefined)) return;
    if (meter.look(held, 0, held.length) !== VERDICT.forward) return;
    this.#runs.push(held, BLANK_LINE);
  }

  #told(chunk: Uint8Array): StreamStep {
    const step = this.#step;
    const meter = this.#meter;
    if (this.#runEnd > this.#runStart) {
      const source = this.#source;
      const isAll = this.#runStart === 0 && this.#runEnd === chunk.length && source === chunk;
      const run = isAll ? chunk : source.subarray(this.#runStart, this.#runEnd);
      if (this.#runs.length === 0) step.bytes = run;
      else {
        this.#runs.push(run);
        step.bytes = concatBytes(this.#runs);
      }
    } else step.bytes = this.#runs.length === 0 ? EMPTY_BYTES : concatBytes(this.#runs);
    step.hasContent = meter.hasContent;
    step.isDone = meter.isDone;
    step.error = meter.error;
    return step;
  }
}

/** Guesses tokens where the provider counted none: about one an event, or one for four bytes. */
export class TokenGuess {
  events = 0;
  #bytes = 0;
  #bytesMin = Number.MAX_SAFE_INTEGER;

  /** Notes one event with content, `bytes` long with its envelope. */
  note(bytes: number): void {
    this.events += 1;
    this.#bytes += bytes;
    if (bytes < this.#bytesMin) this.#bytesMin = bytes;
  }

  /** Estimated usage; null where nothing was seen. */
  usage(promptTokens: number): Usage | null {
    if (this.events === 0) return null;
    const text = this.#bytes - this.events * Math.max(0, this.#bytesMin - 1);
    return {
      inputTokens: promptTokens,
      outputTokens: Math.max(this.events, Math.ceil(text / 4)),
      cachedInputTokens: 0,
      cacheWriteTokens: 0,
      reasoningTokens: 0,
      isExact: false,
    };
  }
}
