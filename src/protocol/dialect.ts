/** The two wire dialects that clients and providers speak, and the operations of the API. */

/** Whose bodies, errors and events: OpenAI's or Anthropic's. */
export type Dialect = 'openai' | 'anthropic';

/** What a request asks for. The first three are OpenAI's, the last two Anthropic's. */
export type Operation = 'chat' | 'completions' | 'embeddings' | 'messages' | 'count_tokens';

/** The dialect that an operation belongs to. */
export function dialectOf(operation: Operation): Dialect {
  return operation === 'messages' || operation === 'count_tokens' ? 'anthropic' : 'openai';
}

/** Tokens of one answer, as its provider counted them. */
export interface Usage {
  /** All tokens of the prompt, cached ones included. */
  readonly inputTokens: number;
  /** All tokens of the answer, reasoning included. */
  readonly outputTokens: number;
  /** Tokens of the prompt that were read from a cache. */
  readonly cachedInputTokens: number;
  /** Tokens of the prompt that were written to a cache. */
  readonly cacheWriteTokens: number;
  readonly reasoningTokens: number;
  /** False where the provider gave none and the gateway estimated from bytes. */
  readonly isExact: boolean;
}
