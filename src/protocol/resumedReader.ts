/** Reads the stream of the rest of an answer and writes it as the rest of the first stream. */

import { EMPTY_BYTES, encodeUtf8 } from '../base/bytes.ts';
import type { ParsedRequest, StreamReader, StreamStep, UpstreamError } from './adapter.ts';
import { AnthropicStreamEncoder } from './anthropicStream.ts';
import type { ChatEvent, Finish, StreamDecoder, StreamEncoder } from './chat.ts';
import type { Usage } from './dialect.ts';
import {
  addUsage,
  decoderOf,
  encoderOf,
  isStructured,
  stopsOf,
  type ResumeWay,
  type SentAnswer,
} from './resume.ts';
import { Seam, type SeamStep } from './seam.ts';
import { EventFramer, parseEvent } from './sse.ts';

/** One continuing stream. */
export class ResumedReader implements StreamReader {
  /**
   * The target is at work on the answer, whether or not anything of it is new to the client: it
   * thinks again, or repeats. Never goes back.
   */
  isAnswering = false;
  readonly #inner: StreamReader;
  readonly #decoder: StreamDecoder;
  readonly #encoder: StreamEncoder;
  readonly #framer: EventFramer;
  readonly #prior: Usage | null;
  readonly #seam: Seam;
  readonly #step: StreamStep = {
    bytes: EMPTY_BYTES,
    hasContent: false,
    isDone: false,
    error: null,
  };
  #isStopped = false;
  #out = '';

  constructor(
    request: ParsedRequest,
    inner: StreamReader,
    sent: SentAnswer,
    way: ResumeWay,
    prior: Usage | null,
  ) {
    const json = request.json();
    this.#inner = inner;
    this.#prior = prior;
    this.#seam = new Seam(sent, way, stopsOf(json), isStructured(json));
    this.#decoder = decoderOf(request);
    this.#encoder = encoderOf(request, sent.context);
    for (const event of sent.events) this.#encoder.encode(event);
    if (this.#encoder instanceof AnthropicStreamEncoder) {
      this.#encoder.resumeAt(sent.block.index, sent.block.open);
    }
    this.#framer = new EventFramer({
      event: (bytes, start, end) => {
        const { data } = parseEvent(bytes, start, end);
        if (data !== null) this.#take(this.#decoder.decode(data));
        return this.#step.error === null && !this.#isStopped;
      },
    });
  }

  push(chunk: Uint8Array): StreamStep {
    return this.#told(this.#inner.push(chunk));
  }

  end(): StreamStep {
    return this.#told(this.#inner.end());
  }

  /** Of all attempts together. */
  usage(): Usage | null {
    return addUsage(this.#prior, this.#inner.usage());
  }

  #told(inner: StreamStep): StreamStep {
    const step = this.#step;
    this.#out = '';
    if (inner.bytes.length > 0 && !this.#isStopped) this.#framer.push(inner.bytes);
    this.isAnswering ||= inner.hasContent;
    if (!this.#isStopped) step.error ??= inner.error;
    step.isDone = this.#isStopped || (inner.isDone && step.error === null);
    step.bytes = this.#out === '' ? EMPTY_BYTES : encodeUtf8(this.#out);
    return step;
  }

  #take(events: readonly ChatEvent[]): void {
    for (const event of events) {
      if (this.#step.error !== null || this.#isStopped) return;
      this.#takeOne(event);
    }
  }

  #takeOne(event: ChatEvent): void {
    switch (event.kind) {
      case 'start': // The client has one.
      case 'ping':
      case 'reasoning': // Not replayed: the client has the reasoning of the first attempt.
      case 'reasoning-signature':
        return;
      case 'text':
        this.#show(this.#seam.push(event.text));
        return;
      case 'usage':
        this.#emit({ kind: 'usage', usage: addUsage(this.#prior, event.usage) ?? event.usage });
        return;
      case 'finish':
        this.#emitLast(event, event.finish);
        return;
      case 'tool-start':
      case 'tool-arguments':
      case 'refusal':
        this.#show(this.#seam.end(null));
        if (this.#isEnded) return;
        this.#step.hasContent = true;
        this.#emit(event);
        return;
      case 'done':
        this.#emitLast(event, null); // Some servers give no reason to finish.
        return;
      case 'error':
        this.#emit(event);
    }
  }

  get #isEnded(): boolean {
    return this.#isStopped || this.#step.error !== null;
  }

  #emitLast(event: ChatEvent, finish: Finish | null): void {
    this.#show(this.#seam.end(finish));
    if (!this.#isEnded) this.#emit(event);
  }

  #emit(event: ChatEvent): void {
    this.#out += this.#encoder.encode(event);
  }

  #show(step: SeamStep): void {
    switch (step.kind) {
      case 'wait':
        return;
      case 'text':
        this.#step.hasContent = true;
        this.#emit({ kind: 'text', text: step.text });
        return;
      case 'stop':
        this.#stop(step.stop);
        return;
      case 'differs':
        this.#step.error = differentError(step.why);
    }
  }

  /** Ends the answer where the client's stop sequence ends: the target does not know of it. */
  #stop(stop: string): void {
    this.#isStopped = true;
    this.#emit({ kind: 'finish', finish: 'stop-sequence', stopSequence: stop });
    const usage = this.usage();
    if (usage !== null) this.#emit({ kind: 'usage', usage });
    this.#emit({ kind: 'done' });
  }
}

function differentError(message: string): UpstreamError {
  return { class: 'different', status: 200, message, code: null, param: null, retryAfterMs: null };
}
