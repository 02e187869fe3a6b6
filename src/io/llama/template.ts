/**
 * From messages to the tokens of a prompt. Role marks are ids, text is tokenized alone and without
 * special tokens: nobody can type a role mark. A last message of the assistant is an answer already
 * begun: the prompt then ends inside it, and its text is returned apart.
 */

import { LLAMA_LIMITS } from '../../base/limits.ts';
import { err, ok, type Result } from '../../base/result.ts';
import type { LlamaRuntime } from './runtime.ts';

/** One message, its content as text. */
export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

/** A prompt, ready to evaluate. */
export interface Prompt {
  /** Up to and with the mark after which the assistant speaks. */
  readonly tokens: readonly number[];
  /** What the assistant has said already; empty: nothing. */
  readonly begun: string;
  /** Messages left out because they did not fit. */
  readonly droppedCount: number;
}

/** Why no prompt could be made. */
export type PromptProblem =
  | { readonly kind: 'no-user-message' }
  | { readonly kind: 'too-long'; readonly tokens: number; readonly tokensMax: number };

/** A way to write turns. */
export interface ChatTemplate {
  readonly name: 'roles' | 'chatml';
  /** False: system messages are left out, as the model was never trained on any. */
  readonly hasSystem: boolean;
  turn(message: ChatMessage): readonly number[];
  /** The beginning of the assistant's turn. */
  readonly opening: readonly number[];
}

/** The template of a model; null where this server knows none of the kind. */
export function templateOf(runtime: LlamaRuntime): ChatTemplate | null {
  const user = runtime.special('<|user|>');
  const assistant = runtime.special('<|assistant|>');
  const end = runtime.special('<|im_end|>');
  const start = runtime.special('<|im_start|>');
  if (end === null) return null;
  if (user !== null && assistant !== null && runtime.chatTemplate.includes('<|user|>')) {
    return {
      name: 'roles',
      hasSystem: false,
      turn: ({ role, content }) => [
        role === 'assistant' ? assistant : user,
        ...runtime.tokenize(content),
        end,
      ],
      opening: [assistant],
    };
  }
  if (start === null || !runtime.chatTemplate.includes('<|im_start|>')) return null;
  const newline = runtime.tokenize('\n');
  const open = (role: string): readonly number[] => [start, ...runtime.tokenize(`${role}\n`)];
  return {
    name: 'chatml',
    hasSystem: true,
    turn: ({ role, content }) => [...open(role), ...runtime.tokenize(content), end, ...newline],
    opening: open('assistant'),
  };
}

/**
 * Builds the prompt. History that does not fit goes, oldest turns first; system messages and the last
 * user message stay. Half of the context is kept for the answer whatever the request asks for, so
 * that a continuation, which asks for less, sees the same prompt.
 */
export function buildPrompt(
  template: ChatTemplate,
  contextTokens: number,
  messages: readonly ChatMessage[],
): Result<Prompt, PromptProblem> {
  const last = messages.at(-1);
  const isBegun = last?.role === 'assistant';
  const said = isBegun ? messages.slice(0, -1) : messages;
  const lastUser = said.findLastIndex(({ role }) => role === 'user');
  if (lastUser === -1) return err({ kind: 'no-user-message' });
  const system = template.hasSystem ? said.filter(({ role }) => role === 'system') : [];
  const turns = said
    .map((message, index) => ({ message, index }))
    .filter(({ message }) => message.role !== 'system');
  const head = system.flatMap((message) => template.turn(message));
  const fixed = head.length + template.opening.length;
  const historyTokensMax = Math.floor(contextTokens / 2);
  const kept: (readonly number[])[] = [];
  let length = fixed;
  let droppedCount = 0;
  for (const { message, index } of turns.toReversed()) {
    const tokens = template.turn(message);
    const mustStay = index >= lastUser;
    if (!mustStay && (droppedCount > 0 || length + tokens.length > historyTokensMax)) {
      droppedCount += 1;
      continue;
    }
    kept.unshift(tokens);
    length += tokens.length;
  }
  // An answer whose question was dropped says nothing.
  const firstUser = turns.slice(droppedCount).findIndex(({ message }) => message.role === 'user');
  const shown = droppedCount > 0 ? kept.slice(firstUser) : kept;
  const tokens = [...head, ...shown.flat(), ...template.opening];
  const tokensMax = contextTokens - LLAMA_LIMITS.answerTokensMin;
  if (tokens.length > tokensMax) return err({ kind: 'too-long', tokens: tokens.length, tokensMax });
  return ok({
    tokens,
    begun: isBegun ? last.content : '',
    droppedCount: turns.length - shown.length,
  });
}
