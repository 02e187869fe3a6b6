/**
 * The narrow waist between the request path and the providers: a request read once, and an adapter
 * that turns it into a call and the response into the client's dialect. Adapters are pure; they
 * live in `providers/`, are chosen by name in configuration and know nothing of sockets or retries.
 */

import type { Failure } from '../base/errors.ts';
import type { HeaderList } from '../base/headers.ts';
import type { Result } from '../base/result.ts';
import type { Dialect, Operation, Usage } from './dialect.ts';

/** A JSON value, as `JSON.parse` gives it. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
/** A JSON object. Unknown keys are kept. */
export interface JsonObject {
  readonly [key: string]: Json;
}

/** Where the members of a body stand in its bytes, so that they can be edited without a parse. */
export interface BodyLayout {
  /** Just after the opening brace. */
  readonly membersStart: number;
  /** The value of `model`, quotes included; both -1 where it came as the first of `models`. */
  readonly modelStart: number;
  readonly modelEnd: number;
  /** The value of `stream_options`; both -1: absent. */
  readonly streamOptionsStart: number;
  readonly streamOptionsEnd: number;
  /** The keys (quotes included) of `max_tokens` and `max_completion_tokens`; -1: absent. */
  readonly maxTokensKeyStart: number;
  readonly maxCompletionTokensKeyStart: number;
  /** Pairs of start and end to cut out: members that only a gateway understands. Ascending. */
  readonly cuts: readonly number[];
}

/** One client request, read once (`protocol/request.ts`). */
export interface ParsedRequest {
  readonly operation: Operation;
  readonly dialect: Dialect;
  /** The model as asked for. */
  readonly model: string;
  readonly isStream: boolean;
  /** The client wants usage in its stream (always in Anthropic's dialect). */
  readonly wantsUsage: boolean;
  /** The body as it came. */
  readonly body: Uint8Array;
  /** Rough count of the prompt's tokens: for load and limits, never for billing. */
  readonly promptTokensEstimate: number;
  /** `max_tokens` and its relatives; null where the client set none. */
  readonly outputTokensMax: number | null;
  /** Other models to try in order, from `fallbacks` or `models` in the body. */
  readonly fallbacks: readonly string[];
  /** What keeps a session's requests together (`prompt_cache_key`, `user`, …), or null. */
  readonly sessionKey: string | null;
  /** Answers asked for (`n`); 1 where the client set none. */
  readonly choicesCount: number;
  /** Fields of the client that a provider of its dialect should see (`anthropic-beta`). */
  readonly providerHeaders: HeaderList;
  readonly layout: BodyLayout;
  /** A hash of the prompt's beginning, for prefix-cache affinity; 0 where there is none. */
  readonly prefixHash: number;
  /** The body parsed, on first use. */
  json(): JsonObject;
}

/** What an adapter needs to know of a target. */
export interface AdapterTarget {
  /** The model's name at the target. */
  readonly model: string;
  /** Before the operation's path, without a trailing slash, e.g. `/v1`. */
  readonly pathPrefix: string;
  /** The secret, or null where the target takes none. */
  readonly apiKey: string | null;
  /** Fixed header fields of the configuration. */
  readonly headers: HeaderList;
  /** Query of the configuration (`api-version=…` for Azure), without `?`; empty: none. */
  readonly query: string;
  /** The provider's options, e.g. `maxTokensField`; checked by the adapter when configured. */
  readonly options: Readonly<Record<string, string | number | boolean>>;
}

/** A call as the adapter made it; the transport adds host and length. */
export interface PreparedCall {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly headers: HeaderList;
  readonly body: Uint8Array;
  /** Pieces of a large body that follow `body`. */
  readonly bodyRest?: readonly Uint8Array[];
}

/** What kind of refusal a provider gave: decides retry and blame, told apart on purpose. */
export type UpstreamErrorClass =
  | 'rate-limited' // 429: this target is over a limit; another may serve. Not the target's fault.
  | 'overloaded' // 503, 529: busy. Another may serve.
  | 'server' // 5xx or an in-band server error.
  | 'timeout' // 408, 504.
  | 'invalid-request' // 400, 413, 422: the same everywhere. Passed on.
  | 'context-length' // Too long for this model: another model may take it.
  | 'content-policy' // Refused by the provider's policy.
  | 'unauthorized' // 401, 403: our credentials at the target are wrong. Another target may serve.
  | 'model-missing' // 404: the target does not have the model. Another may.
  | 'misdirected' // 421: not a request for that place. Another may serve. Nobody's fault.
  | 'different' // Asked for the rest of an answer, it gave no continuation of it. No fault.
  | 'malformed'; // Not a response of this dialect.

/** An error as a provider gave it, in no dialect. */
export interface UpstreamError {
  readonly class: UpstreamErrorClass;
  /** The provider's HTTP status; of an in-band error the one that fits its type. */
  readonly status: number;
  /** The provider's own words, bounded; shown to the client for classes that are its business. */
  readonly message: string;
  readonly code: string | null;
  readonly param: string | null;
  /** From `retry-after-ms`, `retry-after` or the dialect's own fields, ms; null where absent. */
  readonly retryAfterMs: number | null;
}

/** A whole, not streamed answer in the client's dialect. */
export interface UnaryAnswer {
  readonly body: Uint8Array;
  readonly usage: Usage | null;
  /** Header fields of the provider worth passing on (rate limits, request id). */
  readonly headers: HeaderList;
}

/** What a piece of a stream became. The reader reuses the object: read it before the next call. */
export interface StreamStep {
  /** For the client, in its dialect; may be empty, may be the chunk itself. Borrowed (P2). */
  bytes: Uint8Array;
  /** Content (text, reasoning, a tool call …) is among the bytes given so far. Never goes back. */
  hasContent: boolean;
  /** The dialect's own end has come (`[DONE]`, `message_stop`). Never goes back. */
  isDone: boolean;
  /** An in-band error; the bytes before it are in `bytes`, the error itself is not. */
  error: UpstreamError | null;
}

/** Reads one streamed response and writes the client's dialect. One object an attempt. @hot */
export interface StreamReader {
  push(chunk: Uint8Array): StreamStep;
  /** The body has ended. Without `isDone` the answer was cut. */
  end(): StreamStep;
  /** Exact where the provider told it, else estimated from what was seen; null: nothing seen. */
  usage(): Usage | null;
}

/**
 * How a target goes on with an answer that another one began: it takes the beginning as the start
 * of its own message (`prefill`); it is asked in a further message (`message`); it answers anew and
 * what the client has is left out (`regenerate`); or not at all.
 */
export type ContinuationMode = 'prefill' | 'message' | 'regenerate' | 'none';

/** One provider, pure. */
export interface Adapter {
  /** The name in configuration: `openai`, `anthropic`, `llama`. */
  readonly kind: string;
  /** The dialect of its wire. */
  readonly dialect: Dialect;
  /** Unless the target's option `continuation` says otherwise. */
  readonly continuation: ContinuationMode;
  /** Null where the target can serve the request, else why not (`unsupported_feature`). */
  refusal(request: ParsedRequest, target: AdapterTarget): Failure | null;
  prepare(request: ParsedRequest, target: AdapterTarget): Result<PreparedCall, Failure>;
  /** Reads a response with status >= 400; `body` may be cut at a limit. */
  readError(status: number, headers: HeaderList, body: Uint8Array): UpstreamError;
  /** Reads a whole response with status 2xx of a request that asked for no stream. */
  readUnary(
    request: ParsedRequest,
    headers: HeaderList,
    body: Uint8Array,
    createdSeconds?: number,
  ): Result<UnaryAnswer, UpstreamError>;
  /**
   * Opens the reader of a streamed response; `modelShown` is the model name the client sees where
   * the answer is translated (a pass-through leaves the provider's own). `createdSeconds` (Unix)
   * fills OpenAI's `created` in answers of a dialect that has no such field.
   */
  openStream(request: ParsedRequest, modelShown: string, createdSeconds?: number): StreamReader;
}
