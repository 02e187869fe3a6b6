/** Reads the JSON of a request in the OpenAI dialect; refuses what this server cannot do. */

import { LLAMA_LIMITS } from '../../base/limits.ts';
import { err, ok, type Result } from '../../base/result.ts';
import type { ChatMessage } from './template.ts';

/** Why a request is refused; `param` names the field. */
export interface RequestProblem {
  readonly message: string;
  readonly param: string | null;
}

/** What the two operations share. */
export interface GenerateOptions {
  readonly model: string;
  readonly isStream: boolean;
  readonly hasStreamUsage: boolean;
  readonly tokensMax: number | null;
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  /** Null: made from the prompt, so that any process gives the same answer. */
  readonly seed: number | null;
  readonly stops: readonly string[];
}

export interface ChatRequest extends GenerateOptions {
  readonly messages: readonly ChatMessage[];
}

export interface CompletionRequest extends GenerateOptions {
  readonly prompt: string;
}

type Fields = Readonly<Record<string, unknown>>;

/** Carries a problem out of nested readers; caught in this file only. */
class Refusal extends Error {
  readonly param: string;
  constructor(param: string, message: string) {
    super(message);
    this.param = param;
  }
}

/** Reads a chat request. */
export function readChatRequest(body: unknown): Result<ChatRequest, RequestProblem> {
  return reading(body, (fields) => ({
    ...readOptions(fields, fields['max_completion_tokens'] ?? fields['max_tokens']),
    messages: readMessages(fields['messages']),
  }));
}

/** Reads a request for a plain completion. */
export function readCompletionRequest(body: unknown): Result<CompletionRequest, RequestProblem> {
  return reading(body, (fields) => ({
    // OpenAI's default of this operation.
    ...readOptions(fields, fields['max_tokens'] ?? 16),
    prompt: readPrompt(fields['prompt']),
  }));
}

function reading<T>(body: unknown, read: (fields: Fields) => T): Result<T, RequestProblem> {
  if (!isFields(body)) return err({ message: 'The body must be a JSON object.', param: null });
  try {
    return ok(read(body));
  } catch (cause) {
    if (cause instanceof Refusal) return err({ message: cause.message, param: cause.param });
    throw cause;
  }
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function readOptions(fields: Fields, tokensMax: unknown): GenerateOptions {
  refuseUnsupported(fields);
  const { model } = fields;
  if (typeof model !== 'string' || model === '') throw new Refusal('model', 'Name a model.');
  const streamOptions = fields['stream_options'];
  return {
    model,
    isStream: fields['stream'] === true,
    hasStreamUsage: isFields(streamOptions) && streamOptions['include_usage'] === true,
    tokensMax: tokensMax === undefined || tokensMax === null ? null : whole(tokensMax),
    // The likeliest answer is this model's best; who wants variety asks for it.
    temperature: numberOf(fields, 'temperature', 0, 2) ?? 0,
    topP: numberOf(fields, 'top_p', 0, 1) ?? 0.95,
    topK: numberOf(fields, 'top_k', 0, 1_000_000) ?? 40,
    seed: numberOf(fields, 'seed', Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
    stops: readStops(fields['stop']),
  };
}

function refuseUnsupported(fields: Fields): void {
  const n = fields['n'] ?? 1;
  if (n !== 1) throw new Refusal('n', 'This server gives one choice: n must be 1.');
  const { logprobs, echo } = fields;
  if (logprobs !== undefined && logprobs !== null && logprobs !== false) {
    throw new Refusal('logprobs', 'This server gives no logprobs.');
  }
  if (echo === true) throw new Refusal('echo', 'This server does not echo.');
  const format = fields['response_format'];
  if (isFields(format) && format['type'] !== 'text') {
    throw new Refusal('response_format', 'This server writes plain text only.');
  }
  const choice = fields['tool_choice'];
  if (choice === 'required' || isFields(choice)) {
    throw new Refusal('tool_choice', 'This model calls no tools.');
  }
}

function whole(value: unknown): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1) return value;
  throw new Refusal('max_tokens', 'max_tokens must be a whole number of at least 1.');
}

function numberOf(fields: Fields, name: string, least: number, most: number): number | null {
  const value = fields[name] ?? null;
  if (value === null) return null;
  if (typeof value === 'number' && value >= least && value <= most) return value;
  throw new Refusal(name, `${name} must be a number from ${least} to ${most}.`);
}

function readStops(value: unknown): readonly string[] {
  if (value === undefined || value === null) return [];
  const stops: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (stops.length > LLAMA_LIMITS.stopsMax) {
    throw new Refusal('stop', `At most ${LLAMA_LIMITS.stopsMax} stop sequences.`);
  }
  return stops.map((stop) => {
    if (typeof stop === 'string' && stop.length <= LLAMA_LIMITS.stopCharsMax) return stop;
    throw new Refusal('stop', `A stop is text of up to ${LLAMA_LIMITS.stopCharsMax} characters.`);
  });
}

function readMessages(value: unknown): readonly ChatMessage[] {
  if (!Array.isArray(value) || value.length === 0) {
    throw new Refusal('messages', 'messages must be an array with at least one message.');
  }
  if (value.length > LLAMA_LIMITS.messagesMax) {
    throw new Refusal('messages', `At most ${LLAMA_LIMITS.messagesMax} messages.`);
  }
  const messages: ChatMessage[] = [];
  for (const [index, item] of value.entries()) {
    const message = readMessage(item, `messages.${index}`);
    if (message !== null) messages.push(message);
  }
  return messages;
}

/** One message; null for what the template has no place for (tools and what they said). */
function readMessage(item: unknown, path: string): ChatMessage | null {
  if (!isFields(item)) throw new Refusal(path, 'A message must be an object.');
  const { role } = item;
  if (role === 'tool' || role === 'function') return null;
  if (role !== 'system' && role !== 'developer' && role !== 'user' && role !== 'assistant') {
    throw new Refusal(`${path}.role`, 'The role must be system, user, assistant or tool.');
  }
  const content = readContent(item['content'], `${path}.content`, role === 'assistant');
  if (content === null) return null;
  return { role: role === 'developer' ? 'system' : role, content };
}

function readContent(value: unknown, path: string, mayBeAbsent: boolean): string | null {
  if (typeof value === 'string') return value;
  if (Array.isArray(value)) {
    return value
      .map((part: unknown) => {
        if (isFields(part) && part['type'] === 'text' && typeof part['text'] === 'string') {
          return part['text'];
        }
        throw new Refusal(path, 'This model reads text parts only.');
      })
      .join('');
  }
  // An assistant's message with tool calls has no content.
  if (mayBeAbsent && (value === null || value === undefined)) return null;
  throw new Refusal(path, 'The content must be text or an array of text parts.');
}

function readPrompt(value: unknown): string {
  const prompts: readonly unknown[] = Array.isArray(value) ? value : [value];
  const [prompt] = prompts;
  if (prompts.length === 1 && typeof prompt === 'string' && prompt !== '') return prompt;
  throw new Refusal('prompt', 'The prompt must be one text that is not empty.');
}
