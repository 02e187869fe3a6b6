/**
 * Continuing an answer whose target died: what the client has seen is read back out of the bytes it
 * was sent, the rest is asked for, and both become one envelope: one id, one `created`, one role,
 * one lifecycle, block indices that go on, usage of all attempts together.
 *
 * Nothing of this costs anything until a target dies: only the sent bytes are kept.
 */

import { EMPTY_BYTES, encodeUtf8 } from '../base/bytes.ts';
import type { HeaderList } from '../base/headers.ts';
import type { ContinuationMode, ParsedRequest, StreamReader, StreamStep } from './adapter.ts';
import { AnthropicStreamDecoder, AnthropicStreamEncoder } from './anthropicStream.ts';
import type { AnswerContext, ChatEvent, StreamDecoder, StreamEncoder } from './chat.ts';
import type { Usage } from './dialect.ts';
import { arrayOf, countOf, parseJson, recordOf, textOf, type JsonRecord } from './json.ts';
import { OpenaiStreamDecoder, OpenaiStreamEncoder } from './openaiStream.ts';
import { parseRequest } from './request.ts';
import { EventFramer, parseEvent } from './sse.ts';
import { malformedError } from './upstreamError.ts';

/** What a client has of an answer. */
export interface SentAnswer {
  /** Its visible text, whole characters always. */
  readonly text: string;
  /** Pieces of text: about the tokens that were spent on it. */
  readonly textCount: number;
  /** The model had said why it stopped: only the end is missing. */
  readonly isFinished: boolean;
  readonly hasToolCall: boolean;
  readonly events: readonly ChatEvent[];
  readonly context: AnswerContext;
  /** Where Anthropic's blocks stand; OpenAI has none. */
  readonly block: LastBlock;
}

/** The last block of a message: its number, -1 where there is none, and as what it is open. */
interface LastBlock {
  readonly index: number;
  readonly open: 'none' | 'text' | 'thinking';
}

/** The encoder of a dialect. */
function encoderOf(request: ParsedRequest, context: AnswerContext): StreamEncoder {
  return request.dialect === 'openai'
    ? new OpenaiStreamEncoder(context)
    : new AnthropicStreamEncoder(context);
}

function decoderOf(request: ParsedRequest): StreamDecoder {
  return request.dialect === 'openai' ? new OpenaiStreamDecoder() : new AnthropicStreamDecoder();
}

/** The data of every whole event in `bytes`. */
function eventData(bytes: Uint8Array): readonly string[] {
  const all: string[] = [];
  const framer = new EventFramer({
    event: (source, start, end) => {
      const { data } = parseEvent(source, start, end);
      if (data !== null) all.push(data);
      return true;
    },
  });
  framer.push(bytes);
  return all;
}

/**
 * Reads back what was sent. Null: it cannot be continued in the same envelope (a block of it was
 * closed, or it is not in a form that this gateway could have gone on with).
 */
export function readSent(request: ParsedRequest, bytes: Uint8Array): SentAnswer | null {
  const data = eventData(bytes);
  const context = contextOf(request, data);
  if (context === null) return null;
  const decoder = decoderOf(request);
  const events = data.flatMap((one) => decoder.decode(one));
  let text = '';
  let textCount = 0;
  for (const event of events) {
    if (event.kind !== 'text') continue;
    text += event.text;
    textCount += 1;
  }
  const isFinished = events.some((event) => event.kind === 'finish');
  const hasToolCall = events.some((event) => event.kind === 'tool-start');
  const block = request.dialect === 'anthropic' ? lastBlock(data) : NO_BLOCK;
  if (block === null && !isFinished) return null;
  return { text, textCount, isFinished, hasToolCall, events, context, block: block ?? NO_BLOCK };
}

function contextOf(request: ParsedRequest, data: readonly string[]): AnswerContext | null {
  for (const one of data) {
    const json = recordOf(parseJson(one));
    const source = request.dialect === 'openai' ? json : recordOf(json['message']);
    const id = textOf(source['id']);
    if (id === null) continue;
    return {
      id,
      model: textOf(source['model']) ?? request.model,
      createdSeconds: countOf(source['created']) ?? 0,
      wantsUsage: request.wantsUsage,
    };
  }
  return null;
}

const NO_BLOCK: LastBlock = { index: -1, open: 'none' };

/** The last block. Null: one of them is of a kind that cannot be gone on after. */
function lastBlock(data: readonly string[]): LastBlock | null {
  let last = NO_BLOCK;
  for (const one of data) {
    const json = recordOf(parseJson(one));
    if (json['type'] === 'content_block_stop') last = { index: last.index, open: 'none' };
    if (json['type'] !== 'content_block_start') continue;
    const { type } = recordOf(json['content_block']);
    if (type !== 'text' && type !== 'thinking') return null;
    last = { index: countOf(json['index']) ?? last.index + 1, open: type };
  }
  return last;
}

const CONTINUE_EN =
  'Your previous message was interrupted. Continue exactly where it stopped. ' +
  'Do not repeat anything and add no preface.';
const CONTINUE_ZH = '你的上一条消息中断了。请从中断处接着写，不要重复已写的内容，也不要加开场白。';

/** The instruction in the language of the answer. */
function continueText(text: string): string {
  const han = text.slice(-200).match(/\p{Script=Han}/gu)?.length ?? 0;
  return han > Math.min(200, text.length) / 5 ? CONTINUE_ZH : CONTINUE_EN;
}

/** How the rest of an answer is asked for at one target. */
export interface ResumeWay {
  readonly mode: ContinuationMode;
  /** The target refuses a prefill that ends in white space (Anthropic does): it is left out. */
  readonly isTrimmed: boolean;
}

/**
 * The request for the rest of an answer, in the client's dialect. Null where this mode cannot ask
 * for it: no tokens are left, or the form of the answer forbids it.
 */
export function resumeRequest(
  request: ParsedRequest,
  sent: SentAnswer,
  way: ResumeWay,
  headers: HeaderList,
): ParsedRequest | null {
  const { mode } = way;
  if (mode === 'none') return null;
  if (mode === 'regenerate' || sent.text === '') return request;
  const json: JsonRecord = request.json();
  if (mode === 'message' && isStructured(json)) return null;
  const isTrimmed = mode === 'prefill' && way.isTrimmed;
  const partial = isTrimmed ? sent.text.trimEnd() : sent.text;
  const messages = [...arrayOf(json['messages'])];
  const lastMessage = recordOf(messages.at(-1));
  if (lastMessage['role'] === 'assistant' && typeof lastMessage['content'] === 'string') {
    // The client's own prefill: the answer goes on from it.
    messages[messages.length - 1] = { ...lastMessage, content: lastMessage['content'] + partial };
  } else {
    messages.push({ role: 'assistant', content: partial });
  }
  if (mode === 'message') messages.push({ role: 'user', content: continueText(sent.text) });
  const body: Record<string, unknown> = { ...json, messages };
  for (const field of ['max_tokens', 'max_completion_tokens']) {
    const limit = countOf(json[field]);
    if (limit === null) continue;
    const left = limit - sent.textCount;
    if (left < 1) return null;
    body[field] = left;
  }
  const parsed = parseRequest(request.operation, headers, encodeUtf8(JSON.stringify(body)));
  return parsed.ok ? parsed.value : null;
}

/** Is the form of the answer prescribed? Then a second message would begin it anew. */
function isStructured(json: JsonRecord): boolean {
  const format = recordOf(json['response_format'])['type'];
  return (
    (format !== undefined && format !== 'text') ||
    recordOf(json['output_config'])['format'] !== undefined
  );
}

/** Has the limit of the answer's length been reached by what was sent? */
export function isLengthReached(request: ParsedRequest, sent: SentAnswer): boolean {
  return request.outputTokensMax !== null && sent.textCount >= request.outputTokensMax;
}

/** The bytes that end what was sent as a whole answer. */
export function finishSent(
  request: ParsedRequest,
  sent: SentAnswer,
  usage: Usage | null,
): Uint8Array {
  const encoder = encoderOf(request, sent.context);
  for (const event of sent.events) encoder.encode(event);
  if (encoder instanceof AnthropicStreamEncoder) {
    encoder.resumeAt(sent.block.index, sent.block.open);
  }
  let out = '';
  if (!sent.isFinished)
    out += encoder.encode({ kind: 'finish', finish: 'length', stopSequence: null });
  if (usage !== null) out += encoder.encode({ kind: 'usage', usage });
  // Anthropic's end carries the reason; where it went out already only the last event is missing.
  const isToldApart = request.dialect === 'anthropic' && sent.isFinished;
  if (isToldApart) return encodeUtf8('event: message_stop\ndata: {"type":"message_stop"}\n\n');
  if (isCounted(sent)) return encodeUtf8('data: [DONE]\n\n');
  return encodeUtf8(out + encoder.encode({ kind: 'done' }));
}

/** Has the client the last count, which follows the reason to finish? */
function isCounted({ events }: SentAnswer): boolean {
  const finish = events.findLastIndex((event) => event.kind === 'finish');
  return finish !== -1 && events.findLastIndex((event) => event.kind === 'usage') > finish;
}

/** Adds the counts of two attempts. */
export function addUsage(one: Usage | null, other: Usage | null): Usage | null {
  if (one === null || other === null) return one ?? other;
  return {
    inputTokens: one.inputTokens + other.inputTokens,
    outputTokens: one.outputTokens + other.outputTokens,
    cachedInputTokens: one.cachedInputTokens + other.cachedInputTokens,
    cacheWriteTokens: one.cacheWriteTokens + other.cacheWriteTokens,
    reasoningTokens: one.reasoningTokens + other.reasoningTokens,
    isExact: one.isExact && other.isExact,
  };
}

/** Longest repetition of the sent text's end that is looked for at the start of the rest. */
const OVERLAP_CHARS_MAX = 200;
/** A shorter repetition may be chance. */
const OVERLAP_CHARS_MIN = 8;

/** Reads the stream of the rest and writes it as the rest of the first stream. */
export class ResumedReader implements StreamReader {
  readonly #inner: StreamReader;
  readonly #decoder: StreamDecoder;
  readonly #encoder: StreamEncoder;
  readonly #framer: EventFramer;
  readonly #sent: SentAnswer;
  readonly #mode: ContinuationMode;
  readonly #prior: Usage | null;
  readonly #step: StreamStep = {
    bytes: EMPTY_BYTES,
    hasContent: false,
    isDone: false,
    error: null,
  };
  /** Text that has come and is not yet known to be new. */
  #waiting = '';
  #isSpliced: boolean;
  #out = '';

  constructor(
    request: ParsedRequest,
    inner: StreamReader,
    sent: SentAnswer,
    way: ResumeWay,
    prior: Usage | null,
  ) {
    this.#inner = inner;
    this.#sent = sent;
    this.#mode = way.mode;
    this.#prior = prior;
    this.#decoder = decoderOf(request);
    this.#encoder = encoderOf(request, sent.context);
    for (const event of sent.events) this.#encoder.encode(event);
    if (this.#encoder instanceof AnthropicStreamEncoder) {
      this.#encoder.resumeAt(sent.block.index, sent.block.open);
    }
    const isWhole = !way.isTrimmed || sent.text === sent.text.trimEnd();
    this.#isSpliced = sent.text === '' || (way.mode === 'prefill' && isWhole);
    this.#framer = new EventFramer({
      event: (bytes, start, end) => {
        const { data } = parseEvent(bytes, start, end);
        if (data !== null) this.#take(this.#decoder.decode(data));
        return this.#step.error === null;
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
    if (inner.bytes.length > 0) this.#framer.push(inner.bytes);
    step.error ??= inner.error;
    step.isDone = inner.isDone && step.error === null;
    step.bytes = this.#out === '' ? EMPTY_BYTES : encodeUtf8(this.#out);
    return step;
  }

  #take(events: readonly ChatEvent[]): void {
    for (const event of events) {
      if (this.#step.error !== null) return;
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
        this.#text(event.text);
        return;
      case 'usage':
        this.#emit({ kind: 'usage', usage: addUsage(this.#prior, event.usage) ?? event.usage });
        return;
      case 'finish':
        this.#flush();
        if (this.#step.error === null) this.#emit(event);
        return;
      case 'tool-start':
      case 'tool-arguments':
      case 'refusal':
        this.#flush();
        this.#step.hasContent = true;
        this.#emit(event);
        return;
      case 'done':
        this.#flush(); // Some servers give no reason to finish.
        if (this.#step.error === null) this.#emit(event);
        return;
      case 'error':
        this.#emit(event);
    }
  }

  #emit(event: ChatEvent): void {
    this.#out += this.#encoder.encode(event);
  }

  #text(text: string): void {
    if (this.#isSpliced) {
      this.#step.hasContent = true;
      this.#emit({ kind: 'text', text });
      return;
    }
    this.#waiting += text;
    const cut = this.#splicePoint(false);
    if (cut !== null) this.#splice(cut);
  }

  /** Nothing more comes: what waits is decided as it stands. */
  #flush(): void {
    if (this.#isSpliced) return;
    const cut = this.#splicePoint(true);
    if (cut !== null) this.#splice(cut);
  }

  #splice(cut: number): void {
    this.#isSpliced = true;
    const text = this.#waiting.slice(cut);
    this.#waiting = '';
    if (text === '') return;
    this.#step.hasContent = true;
    this.#emit({ kind: 'text', text });
  }

  /** How much of the waiting text the client has already; null: not known yet, or an error. */
  #splicePoint(isLast: boolean): number | null {
    const { text } = this.#sent;
    const waiting = this.#waiting;
    if (this.#mode === 'regenerate') {
      if (waiting.startsWith(text)) return text.length;
      if (!isLast && text.startsWith(waiting)) return null;
      this.#step.error = malformedError('The answer came out differently when it was repeated.');
      return null;
    }
    if (this.#mode === 'prefill') {
      // White space at the end of a prefill is not sent; the model writes it again, or not.
      const space = text.slice(text.trimEnd().length);
      if (!isLast && waiting.length < space.length && space.startsWith(waiting)) return null;
      let same = 0;
      while (same < space.length && waiting[same] === space[same]) same += 1;
      return same;
    }
    if (!isLast && waiting.length < OVERLAP_CHARS_MAX) return null;
    const most = Math.min(OVERLAP_CHARS_MAX, text.length, waiting.length);
    for (let length = most; length >= OVERLAP_CHARS_MIN; length -= 1) {
      if (text.endsWith(waiting.slice(0, length))) return length;
    }
    return 0;
  }
}
