/**
 * Continuing an answer whose target died: what the client has seen is read back out of the bytes it
 * was sent, the rest is asked for, and both become one envelope: one id, one `created`, one role,
 * one lifecycle, block indices that go on, usage of all attempts together.
 *
 * Nothing of this costs anything until a target dies: only the sent bytes are kept.
 */

import { encodeUtf8 } from '../base/bytes.ts';
import type { HeaderList } from '../base/headers.ts';
import type { ContinuationMode, ParsedRequest } from './adapter.ts';
import { AnthropicStreamDecoder, AnthropicStreamEncoder } from './anthropicStream.ts';
import type { AnswerContext, ChatEvent, StreamDecoder, StreamEncoder } from './chat.ts';
import type { Usage } from './dialect.ts';
import { arrayOf, countOf, parseJson, recordOf, textOf, type JsonRecord } from './json.ts';
import { OpenaiStreamDecoder, OpenaiStreamEncoder } from './openaiStream.ts';
import { parseRequest } from './request.ts';
import { EventFramer, parseEvent } from './sse.ts';

/** What a client has of an answer. */
export interface SentAnswer {
  /** Its visible text, whole characters always. */
  readonly text: string;
  /** Tokens that were spent on it: told by the provider, else estimated (`sentTokens`). */
  readonly tokens: number;
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
export function encoderOf(request: ParsedRequest, context: AnswerContext): StreamEncoder {
  return request.dialect === 'openai'
    ? new OpenaiStreamEncoder(context)
    : new AnthropicStreamEncoder(context);
}

export function decoderOf(request: ParsedRequest): StreamDecoder {
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

/** Longer pieces of text than this, bytes on average, hold more than one token. */
const TOKEN_BYTES_MAX = 8;
const TOKEN_BYTES = 4;

/**
 * Tokens of an answer that was cut, for what is left of its limit: those that the provider counted
 * while it streamed (`usage`), where it did; else one for each piece of text, as most servers send
 * them; else, where pieces are longer than a token, one for each four bytes.
 */
function sentTokens(text: string, textCount: number, usage: Usage | null): number {
  if (usage?.isExact === true) return Math.max(usage.outputTokens, 1);
  const bytes = encodeUtf8(text).length;
  return bytes > TOKEN_BYTES_MAX * textCount ? Math.ceil(bytes / TOKEN_BYTES) : textCount;
}

/**
 * Reads back what was sent. `usage`: tokens of what was sent, where they are known. Null: it cannot
 * be continued in the same envelope (a block of it was closed, or it is not in a form that this
 * gateway could have gone on with).
 */
export function readSent(
  request: ParsedRequest,
  bytes: Uint8Array,
  usage: Usage | null,
): SentAnswer | null {
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
  const tokens = sentTokens(text, textCount, usage);
  return { text, tokens, isFinished, hasToolCall, events, context, block: block ?? NO_BLOCK };
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
  if (request.dialect === 'anthropic' || data.length === 0) return null;
  // Some servers of OpenAI's dialect give no id: then the rest has none either.
  const { model, wantsUsage } = request;
  return { id: '', model, createdSeconds: 0, wantsUsage };
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
    const left = limit - sent.tokens;
    if (left < 1) return null;
    body[field] = left;
  }
  const parsed = parseRequest(request.operation, headers, encodeUtf8(JSON.stringify(body)));
  return parsed.ok ? parsed.value : null;
}

/** Is the form of the answer prescribed? Then a second message would begin it anew. */
export function isStructured(json: JsonRecord): boolean {
  const format = recordOf(json['response_format'])['type'];
  return (
    (format !== undefined && format !== 'text') ||
    recordOf(json['output_config'])['format'] !== undefined
  );
}

/** The client's stop sequences, in either dialect. */
export function stopsOf(json: JsonRecord): readonly string[] {
  const { stop } = json;
  const all =
    typeof stop === 'string' ? [stop] : [...arrayOf(stop), ...arrayOf(json['stop_sequences'])];
  return all.filter((one) => typeof one === 'string' && one !== '') as readonly string[];
}

/** Has the limit of the answer's length been reached by what was sent? */
export function isLengthReached(request: ParsedRequest, sent: SentAnswer): boolean {
  return request.outputTokensMax !== null && sent.tokens >= request.outputTokensMax;
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
