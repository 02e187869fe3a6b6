/**
 * A stream of one dialect read for a client of the other: events are decoded, and encoded again.
 * What the client has is whole events always, as in a pass-through.
 */

import { decodeUtf8, EMPTY_BYTES, encodeUtf8 } from '../base/bytes.ts';
import { REQUEST_LIMITS } from '../base/limits.ts';
import type { ParsedRequest, StreamReader, StreamStep } from './adapter.ts';
import type { ChatEvent, StreamDecoder, StreamEncoder } from './chat.ts';
import type { Usage } from './dialect.ts';
import { parseJson } from './json.ts';
import { TokenGuess } from './passThrough.ts';
import { EventFramer, parseEvent, type EventSink } from './sse.ts';
import { malformedError, readInBandError } from './upstreamError.ts';

/** Translates one stream. */
export class TranslatingReader implements StreamReader, EventSink {
  readonly #decoder: StreamDecoder;
  readonly #encoder: StreamEncoder;
  readonly #request: ParsedRequest;
  readonly #framer: EventFramer;
  readonly #guess = new TokenGuess();
  readonly #step: StreamStep = {
    bytes: EMPTY_BYTES,
    hasContent: false,
    isDone: false,
    error: null,
  };
  #usage: Usage | null = null;
  #isCounted = false;
  #text = '';

  constructor(request: ParsedRequest, decoder: StreamDecoder, encoder: StreamEncoder) {
    this.#request = request;
    this.#decoder = decoder;
    this.#encoder = encoder;
    this.#framer = new EventFramer(this);
  }

  push(chunk: Uint8Array): StreamStep {
    if (!this.#framer.push(chunk) && this.#framer.isTooLarge) {
      this.#step.error ??= malformedError('An event is larger than this gateway accepts.');
    }
    return this.#told();
  }

  end(): StreamStep {
    const held = this.#framer.held();
    const step = this.#step;
    if (held.length > 0 && !step.isDone && step.error === null) this.#endHeld(held);
    if (!step.isDone && step.error === null) this.#take(this.#decoder.complete());
    return this.#told();
  }

  usage(): Usage | null {
    const guess = this.#guess.usage(this.#request.promptTokensEstimate);
    const told = this.#usage;
    if (told === null || this.#isCounted || guess === null) return told ?? guess;
    // Cut before its last count: the prompt is known, the answer is guessed.
    const outputTokens = Math.max(told.outputTokens, guess.outputTokens);
    return { ...told, outputTokens, isExact: false };
  }

  event(bytes: Uint8Array, start: number, end: number): boolean {
    const { data } = parseEvent(bytes, start, end);
    if (data !== null) this.#take(this.#decoder.decode(data));
    return !this.#step.isDone && this.#step.error === null;
  }

  /** A body that is no stream may be an error; the last event may lack its blank line. */
  #endHeld(held: Uint8Array): void {
    if (held[0] === 0x7b || held[0] === 0x3c) {
      const text = decodeUtf8(held.subarray(0, REQUEST_LIMITS.upstreamErrorBytesMax));
      const error = held[0] === 0x7b ? readInBandError(parseJson(text)) : null;
      this.#step.error = error ?? malformedError('The body is no event stream.');
      return;
    }
    const { data } = parseEvent(held, 0, held.length);
    // Half an event is what a cut leaves behind: it is dropped, and the cut is told as such.
    if (data === null || (data.trim() !== '[DONE]' && parseJson(data) === undefined)) return;
    this.#take(this.#decoder.decode(data));
  }

  #take(events: readonly ChatEvent[]): void {
    const step = this.#step;
    for (const event of events) {
      if (step.isDone || step.error !== null) return;
      if (event.kind === 'error') {
        step.error = event.error;
        return;
      }
      if (event.kind === 'done') this.#guessUsage();
      this.#note(event);
      this.#text += this.#encoder.encode(event);
    }
  }

  /** Anthropic's dialect always tells usage: where the provider told none, what was seen. */
  #guessUsage(): void {
    if (this.#isCounted || this.#request.dialect !== 'anthropic') return;
    const usage = this.usage();
    if (usage !== null) this.#text += this.#encoder.encode({ kind: 'usage', usage });
  }

  #note(event: ChatEvent): void {
    switch (event.kind) {
      case 'text':
      case 'reasoning':
      case 'refusal':
        this.#step.hasContent = true;
        this.#guess.note(event.text.length);
        break;
      case 'tool-arguments':
        this.#step.hasContent = true;
        this.#guess.note(event.json.length);
        break;
      case 'tool-start':
        this.#step.hasContent = true;
        break;
      case 'start':
        this.#usage = event.usage;
        break;
      case 'usage':
        this.#usage = event.usage;
        this.#isCounted = true;
        break;
      case 'done':
        this.#step.isDone = true;
        break;
      case 'reasoning-signature':
      case 'finish':
      case 'ping':
      case 'error':
      default:
        break;
    }
  }

  #told(): StreamStep {
    this.#step.bytes = this.#text === '' ? EMPTY_BYTES : encodeUtf8(this.#text);
    this.#text = '';
    return this.#step;
  }
}
