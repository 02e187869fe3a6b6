/**
 * Looks at the events of an OpenAI stream that goes through untouched: first content, the end,
 * errors, usage. Events are parsed until the first content; after it only those in which the bytes
 * show an error, an end or a count. @hot
 */

import { EMPTY_BYTES, encodeUtf8 } from '../../base/bytes.ts';
import type { ParsedRequest, UpstreamError } from '../../protocol/adapter.ts';
import type { Usage } from '../../protocol/dialect.ts';
import { arrayOf, isRecord, parseJson, recordOf, type JsonRecord } from '../../protocol/json.ts';
import { TokenGuess, VERDICT, type EventMeter, type Verdict } from '../../protocol/passThrough.ts';
import { parseEvent } from '../../protocol/sse.ts';
import { finishError, malformedError, readInBandError } from '../../protocol/upstreamError.ts';
import { usageOfJson } from '../../protocol/usage.ts';

const PLAIN_END = encodeUtf8('"finish_reason":null}]}');
const PLAIN_USAGE_END = encodeUtf8('"finish_reason":null}],"usage":null}');
const DONE_EVENT = encodeUtf8('data: [DONE]\n\n');
const ERROR = encodeUtf8('error"');
const USAGE = encodeUtf8('usage"');
const FINISH = encodeUtf8('finish_reason"');

/** One stream of chat completions or completions. */
export class OpenaiMeter implements EventMeter {
  hasContent = false;
  isDone = false;
  error: UpstreamError | null = null;
  readonly #request: ParsedRequest;
  readonly #guess = new TokenGuess();
  readonly #finished = new Set<number>();
  #usage: Usage | null = null;

  constructor(request: ParsedRequest) {
    this.#request = request;
  }

  look(bytes: Uint8Array, start: number, end: number): Verdict {
    const isData =
      bytes[start] === 0x64 && // data:
      bytes[start + 1] === 0x61 &&
      bytes[start + 2] === 0x74 &&
      bytes[start + 3] === 0x61 &&
      bytes[start + 4] === 0x3a;
    if (!isData) return this.#lookSlowly(bytes, start, end);
    const dataStart = bytes[start + 5] === 0x20 ? start + 6 : start + 5;
    if (
      this.hasContent &&
      bytes[dataStart] === 0x7b &&
      (isPlainEnd(bytes, end) || !isNotable(bytes, dataStart, end))
    ) {
      this.#guess.note(end - start);
      return VERDICT.forward;
    }
    return this.#lookSlowly(bytes, start, end);
  }

  complete(): Uint8Array {
    // Some servers leave `[DONE]` out. The answer is whole where every choice has its reason.
    if (this.#finished.size < this.#request.choicesCount) return EMPTY_BYTES;
    this.isDone = true;
    return DONE_EVENT;
  }

  usage(): Usage | null {
    return this.#usage ?? this.#guess.usage(this.#request.promptTokensEstimate);
  }

  #lookSlowly(bytes: Uint8Array, start: number, end: number): Verdict {
    const { data } = parseEvent(bytes, start, end);
    if (data === null || data === '') return VERDICT.forward;
    if (data.trim() === '[DONE]') {
      this.isDone = true;
      return VERDICT.forward;
    }
    const json = parseJson(data);
    if (!isRecord(json)) {
      this.error = malformedError('An event of the stream is no JSON object.');
      return VERDICT.stop;
    }
    this.error = readInBandError(json);
    if (this.error !== null) return VERDICT.stop;
    return this.#lookAtChunk(json, end - start);
  }

  #lookAtChunk(json: JsonRecord, eventBytes: number): Verdict {
    const usage = usageOfJson(json['usage']);
    if (usage !== null) this.#usage = usage;
    const choices = arrayOf(json['choices']);
    let hasContent = false;
    for (const choice of choices) {
      if (!isRecord(choice)) continue;
      if (choiceHasContent(choice)) hasContent = true;
      const reason = choice['finish_reason'];
      if (reason === 'error') {
        this.error = finishError();
        return VERDICT.stop;
      }
      if (typeof reason === 'string') this.#finished.add(Number(choice['index'] ?? 0));
    }
    if (hasContent) {
      this.hasContent = true;
      this.#guess.note(eventBytes);
    }
    // The gateway asked for usage on its own account: the client must not see the extra event.
    const isExtra = usage !== null && choices.length === 0 && !this.#request.wantsUsage;
    return isExtra ? VERDICT.drop : VERDICT.forward;
  }
}

/** Whether a choice carries something that a user or a program would miss. */
function choiceHasContent(choice: JsonRecord): boolean {
  if (isText(choice['text'])) return true;
  const delta = recordOf(choice['delta'] ?? choice['message']);
  return (
    isText(delta['content']) ||
    arrayOf(delta['tool_calls']).length > 0 ||
    isText(delta['reasoning_content']) ||
    isText(delta['reasoning']) ||
    isText(delta['refusal']) ||
    arrayOf(delta['content']).length > 0 ||
    arrayOf(delta['reasoning_details']).length > 0 ||
    isRecord(delta['function_call']) ||
    isRecord(delta['audio'])
  );
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && value !== '';
}

/**
 * Whether an event ends as nearly every server writes a plain chunk: by a choice without a reason
 * to finish, then at most `"usage":null`. An error, an end or a count would stand there instead.
 */
function isPlainEnd(bytes: Uint8Array, end: number): boolean {
  let at = end;
  while (bytes[at - 1] === 0x0a || bytes[at - 1] === 0x0d) at -= 1;
  const wanted = bytes[at - 2] === 0x5d ? PLAIN_END : PLAIN_USAGE_END;
  return isAt(bytes, at - wanted.length, wanted);
}

/**
 * Whether an event may hold an error, usage or the end of a choice. A quote inside a JSON string is
 * escaped, so that `"usage":` in the bytes is a key and nothing else; text can only mislead this
 * into a parse that was not needed.
 */
function isNotable(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at += 1) {
    const byte = bytes[at] ?? 0;
    if (byte > 0x22) continue;
    if (byte === 0x0a || byte === 0x0d) {
      // A line after the data: more than the blank line that ends the event?
      if (at < end - 4) return true;
    } else if (byte === 0x22) {
      const next = bytes[at + 1];
      if (next === 0x65) {
        if (isAt(bytes, at + 1, ERROR)) return true;
      } else if (next === 0x75) {
        if (isAt(bytes, at + 1, USAGE) && !isNull(bytes, at + 1 + USAGE.length)) return true;
      } else if (next === 0x66) {
        if (isAt(bytes, at + 1, FINISH) && !isNull(bytes, at + 1 + FINISH.length)) return true;
      }
    }
  }
  return false;
}

function isAt(bytes: Uint8Array, at: number, word: Uint8Array): boolean {
  for (let index = 0; index < word.length; index += 1) {
    if (bytes[at + index] !== word[index]) return false;
  }
  return true;
}

/** Whether `: null` follows a key. */
function isNull(bytes: Uint8Array, afterKey: number): boolean {
  let at = afterKey;
  while (bytes[at] === 0x20 || bytes[at] === 0x3a) at += 1;
  return bytes[at] === 0x6e;
}
