/** The JSON of answers in the OpenAI dialect, whole and in pieces. */

import type { JobResult } from './engine.ts';

/** What all pieces of one answer share. */
export interface AnswerFrame {
  readonly id: string;
  readonly createdSeconds: number;
  readonly model: string;
  readonly isChat: boolean;
}

/** `usage` of an answer. */
export function usageOf(result: JobResult): object {
  return {
    prompt_tokens: result.promptTokens,
    completion_tokens: result.completionTokens,
    total_tokens: result.promptTokens + result.completionTokens,
    prompt_tokens_details: { cached_tokens: result.cachedTokens },
  };
}

function frameOf(frame: AnswerFrame, isChunk: boolean): object {
  const kind = isChunk && frame.isChat ? 'chat.completion.chunk' : 'chat.completion';
  return {
    id: frame.id,
    object: frame.isChat ? kind : 'text_completion',
    created: frame.createdSeconds,
    model: frame.model,
  };
}

/** The whole answer of a request that does not stream. */
export function renderWhole(frame: AnswerFrame, text: string, result: JobResult): string {
  const end = { logprobs: null, finish_reason: result.end };
  const choice = frame.isChat
    ? { index: 0, message: { role: 'assistant', content: text, refusal: null }, ...end }
    : { index: 0, text, ...end };
  return JSON.stringify({
    ...frameOf(frame, false),
    choices: [choice],
    usage: usageOf(result),
  });
}

/** One piece of a stream as a server-sent event; `text` null: the last, with its reason. */
export function renderChunk(
  frame: AnswerFrame,
  piece: { readonly text: string; readonly isFirst: boolean } | { readonly end: string },
): string {
  const isEnd = 'end' in piece;
  const text = isEnd ? '' : piece.text;
  const role = !isEnd && piece.isFirst ? { role: 'assistant' } : {};
  const end = { logprobs: null, finish_reason: isEnd ? piece.end : null };
  const choice = frame.isChat
    ? { index: 0, delta: isEnd ? {} : { ...role, content: text }, ...end }
    : { index: 0, text, ...end };
  return event({ ...frameOf(frame, true), choices: [choice] });
}

/** The event with the usage, which has no choices. */
export function renderUsageChunk(frame: AnswerFrame, result: JobResult): string {
  return event({ ...frameOf(frame, true), choices: [], usage: usageOf(result) });
}

function event(value: object): string {
  return `data: ${JSON.stringify(value)}\n\n`;
}

/** The end of every stream that did not fail. */
export const STREAM_END = 'data: [DONE]\n\n';
