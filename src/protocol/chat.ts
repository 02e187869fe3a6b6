/**
 * A chat in no dialect: what a request asks, what an answer holds, and the events of a stream. Each
 * dialect has a decoder into these types and an encoder out of them, so that a new dialect is two
 * pairs and not a pair for every other one. What one dialect has and the other has not is listed in
 * `docs/reference/translation.md`; it is refused by name where dropping it would change the answer.
 */

import type { UpstreamError } from './adapter.ts';
import type { Usage } from './dialect.ts';
import type { JsonRecord } from './json.ts';

/** Text. Never empty in a decoded request. */
export interface TextPart {
  readonly kind: 'text';
  readonly text: string;
}

/** Where the bytes of an image or a document are. The gateway never fetches a URL itself. */
export type MediaSource =
  | { readonly kind: 'base64'; readonly mediaType: string; readonly data: string }
  | { readonly kind: 'url'; readonly url: string };

/** An image in a prompt or in a tool's result. */
export interface ImagePart {
  readonly kind: 'image';
  readonly source: MediaSource;
}

/** A document in a prompt, e.g. a PDF. */
export interface DocumentPart {
  readonly kind: 'document';
  readonly source: MediaSource;
  readonly name: string | null;
}

/** A call of a tool by the model. */
export interface ToolCallPart {
  readonly kind: 'tool-call';
  readonly id: string;
  readonly name: string;
  /** As the model wrote it: JSON, unless the model erred. */
  readonly argumentsJson: string;
}

/** What a tool gave back. */
export interface ToolResultPart {
  readonly kind: 'tool-result';
  readonly callId: string;
  readonly parts: readonly (TextPart | ImagePart)[];
  readonly isError: boolean;
}

/** The model's reasoning, in words where the provider shows them. */
export interface ReasoningPart {
  readonly kind: 'reasoning';
  readonly text: string;
  /** The provider's proof that the text is its own; only it can check it. Null: none. */
  readonly signature: string | null;
}

/** The model declined to answer, and said so apart from the text. */
export interface RefusalPart {
  readonly kind: 'refusal';
  readonly text: string;
}

/** A part of a message or an answer. */
export type Part =
  | TextPart
  | ImagePart
  | DocumentPart
  | ToolCallPart
  | ToolResultPart
  | ReasoningPart
  | RefusalPart;

/** One message. Results of tools are parts of a user's message. */
export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly parts: readonly Part[];
}

/** A function that the model may call. */
export interface ToolSpec {
  readonly name: string;
  readonly description: string | null;
  /** JSON Schema of its arguments; null: it takes none. */
  readonly schema: JsonRecord | null;
  readonly isStrict: boolean;
}

/** Whether the model may, must or must not call tools. */
export type ToolChoice =
  | { readonly kind: 'auto' | 'none' | 'any' }
  | { readonly kind: 'tool'; readonly name: string };

/** The form that the answer's text must have. */
export type OutputFormat =
  | { readonly kind: 'json-object' }
  | { readonly kind: 'json-schema'; readonly name: string; readonly schema: JsonRecord };

/** How much the model should think first. */
export type Reasoning =
  | { readonly kind: 'effort'; readonly effort: string }
  | { readonly kind: 'budget'; readonly tokens: number }
  | { readonly kind: 'adaptive' }
  | { readonly kind: 'off' };

/** A request for one answer. Null: the client left it to the model. */
export interface ChatRequest {
  readonly messages: readonly ChatMessage[];
  readonly tools: readonly ToolSpec[];
  readonly toolChoice: ToolChoice | null;
  readonly isParallelToolCalls: boolean | null;
  readonly outputFormat: OutputFormat | null;
  readonly reasoning: Reasoning | null;
  readonly outputTokensMax: number | null;
  readonly temperature: number | null;
  readonly topP: number | null;
  readonly topK: number | null;
  readonly stop: readonly string[];
  readonly userId: string | null;
  readonly isStream: boolean;
  /** Known to OpenAI's dialect only, and kept for its servers. */
  readonly seed: number | null;
  readonly frequencyPenalty: number | null;
  readonly presencePenalty: number | null;
}

/** Why an answer ended. */
export type Finish =
  | 'stop' // The model was done.
  | 'stop-sequence' // It wrote one of the request's stop sequences.
  | 'length' // It reached the limit of the answer.
  | 'tool-calls' // It waits for results of tools.
  | 'filtered'; // The provider's policy, or the model's own refusal, ended it.

/** One of the answers. `parts` hold text, reasoning, tool calls and refusals. */
export interface ChatChoice {
  readonly index: number;
  readonly parts: readonly Part[];
  readonly finish: Finish;
  /** The stop sequence that was written, where the provider tells it. */
  readonly stopSequence: string | null;
}

/** A whole answer. */
export interface ChatAnswer {
  /** The provider's own id. */
  readonly id: string;
  readonly choices: readonly ChatChoice[];
  readonly usage: Usage | null;
  /** Unix seconds; null where the dialect tells none. */
  readonly createdSeconds: number | null;
}

/** One thing that happens in a stream. `choice` is 0 but where the request asked for several. */
export type ChatEvent =
  | { readonly kind: 'start'; readonly id: string; readonly usage: Usage | null }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'reasoning'; readonly text: string }
  | { readonly kind: 'reasoning-signature'; readonly signature: string }
  | { readonly kind: 'refusal'; readonly text: string }
  /** `call` numbers the calls of one answer from 0. */
  | {
      readonly kind: 'tool-start';
      readonly call: number;
      readonly id: string;
      readonly name: string;
    }
  | { readonly kind: 'tool-arguments'; readonly call: number; readonly json: string }
  | { readonly kind: 'finish'; readonly finish: Finish; readonly stopSequence: string | null }
  /** The latest counts; later ones replace earlier ones. */
  | { readonly kind: 'usage'; readonly usage: Usage }
  | { readonly kind: 'ping' }
  | { readonly kind: 'error'; readonly error: UpstreamError }
  | { readonly kind: 'done' };

/** Turns the events of one stream in one dialect into chat events. */
export interface StreamDecoder {
  /** Takes one event's data; the order of the returned events is the order of the stream. */
  decode(data: string): readonly ChatEvent[];
  /** The body has ended without the dialect's end: what completes it, or none if it was cut. */
  complete(): readonly ChatEvent[];
}

/** Writes chat events as the stream of one dialect. */
export interface StreamEncoder {
  encode(event: ChatEvent): string;
}

/** What an encoder needs to know of the request that it answers. */
export interface AnswerContext {
  /** The answer's id where it is known already; else it comes from the provider's. */
  readonly id?: string;
  /** The model as the client asked for it. */
  readonly model: string;
  readonly createdSeconds: number;
  readonly wantsUsage: boolean;
}

/**
 * The tool that stands for a structured answer at a target that has no other way to ask for one.
 * Its arguments are the answer's text.
 */
export const JSON_TOOL_NAME = 'banyan_json_answer';
