/**
 * Looks at the events of an Anthropic stream that goes through untouched. Deltas after the first
 * content are told by their first bytes; the few other events are parsed. @hot
 */

import { EMPTY_BYTES, encodeUtf8 } from '../../base/bytes.ts';
import type { ParsedRequest, UpstreamError } from '../../protocol/adapter.ts';
import type { Usage } from '../../protocol/dialect.ts';
import { isRecord, parseJson, recordOf, type JsonRecord } from '../../protocol/json.ts';
import { TokenGuess, VERDICT, type EventMeter, type Verdict } from '../../protocol/passThrough.ts';
import { parseEvent } from '../../protocol/sse.ts';
import { malformedError, readInBandError } from '../../protocol/upstreamError.ts';
import { usageOfJson } from '../../protocol/usage.ts';

const DELTA = encodeUtf8('event: content_block_delta');

/** One stream of a message. */
export class AnthropicMeter implements EventMeter {
  hasContent = false;
  isDone = false;
  error: UpstreamError | null = null;
  readonly #request: ParsedRequest;
  readonly #guess = new TokenGuess();
  #counts: JsonRecord = {};

  constructor(request: ParsedRequest) {
    this.#request = request;
  }

  look(bytes: Uint8Array, start: number, end: number): Verdict {
    if (this.hasContent && isDelta(bytes, start)) {
      this.#guess.note(end - start);
      return VERDICT.forward;
    }
    const { data } = parseEvent(bytes, start, end);
    if (data === null) return VERDICT.forward;
    const json = parseJson(data);
    if (!isRecord(json)) {
      this.error = malformedError('An event of the stream is no JSON object.');
      return VERDICT.stop;
    }
    return this.#lookAtEvent(json, end - start);
  }

  /** Only `message_stop` ends a message. */
  complete(): Uint8Array {
    return EMPTY_BYTES;
  }

  usage(): Usage | null {
    const guess = this.#guess.usage(this.#request.promptTokensEstimate);
    const told = usageOfJson(this.#counts);
    if (told === null || this.isDone || guess === null) return told ?? guess;
    // Cut before its last count: the prompt is known, the answer is guessed.
    return {
      ...told,
      outputTokens: Math.max(told.outputTokens, guess.outputTokens),
      isExact: false,
    };
  }

  #lookAtEvent(json: JsonRecord, eventBytes: number): Verdict {
    switch (json['type']) {
      case 'error':
        this.error = readInBandError(json) ?? malformedError('An error event without an error.');
        return VERDICT.stop;
      case 'message_start':
        this.#count(recordOf(json['message'])['usage']);
        return VERDICT.forward;
      case 'message_delta':
        this.#count(json['usage']);
        return VERDICT.forward;
      case 'message_stop':
        this.isDone = true;
        return VERDICT.forward;
      case 'content_block_start':
        if (blockHasContent(recordOf(json['content_block']))) this.hasContent = true;
        return VERDICT.forward;
      case 'content_block_delta':
        if (deltaHasContent(recordOf(json['delta']))) this.hasContent = true;
        this.#guess.note(eventBytes);
        return VERDICT.forward;
      default:
        return VERDICT.forward; // Pings, ends of blocks, and what a later version adds.
    }
  }

  /** Later counts replace earlier ones; null says nothing. */
  #count(usage: unknown): void {
    const known = Object.entries(recordOf(usage)).filter(([, value]) => value !== null);
    this.#counts = { ...this.#counts, ...Object.fromEntries(known) };
  }
}

function isDelta(bytes: Uint8Array, start: number): boolean {
  for (let index = 0; index < DELTA.length; index += 1) {
    if (bytes[start + index] !== DELTA[index]) return false;
  }
  return true;
}

/** A tool's id and name are content; an empty text block is not. */
function blockHasContent(block: JsonRecord): boolean {
  const { type } = block;
  if (type === 'text') return typeof block['text'] === 'string' && block['text'] !== '';
  if (type === 'thinking') return typeof block['thinking'] === 'string' && block['thinking'] !== '';
  return type !== undefined;
}

function deltaHasContent(delta: JsonRecord): boolean {
  for (const key of ['text', 'thinking', 'partial_json', 'signature']) {
    const value = delta[key];
    if (typeof value === 'string' && value !== '') return true;
  }
  return delta['type'] === 'citations_delta';
}
