/** Whole messages (Anthropic), in and out of `ChatAnswer`. */

import { err, ok, type Result } from '../base/result.ts';
import type { UpstreamError } from './adapter.ts';
import { encodeCall } from './anthropicRequestOut.ts';
import {
  JSON_TOOL_NAME,
  type AnswerContext,
  type ChatAnswer,
  type Finish,
  type Part,
} from './chat.ts';
import { translatedId } from './ids.ts';
import { arrayOf, isRecord, recordOf, textOf, type JsonRecord } from './json.ts';
import { malformedError, readInBandError } from './upstreamError.ts';
import { usageOfJson, usageToAnthropic } from './usage.ts';

/** Decodes a body with status 200. */
export function decodeAnthropicAnswer(json: unknown): Result<ChatAnswer, UpstreamError> {
  const error = readInBandError(json);
  if (error !== null) return err(error);
  if (!isRecord(json) || !Array.isArray(json['content'])) {
    return err(malformedError('The body is no message.'));
  }
  const parts = arrayOf(json['content']).flatMap((block) => decodeBlock(recordOf(block)));
  const stop = textOf(json['stop_reason']) ?? 'end_turn';
  const hasCalls = parts.some((part) => part.kind === 'tool-call');
  const finish = finishOfAnthropic(stop, hasCalls);
  const stopSequence = textOf(json['stop_sequence']);
  return ok({
    id: textOf(json['id']) ?? '',
    choices: [{ index: 0, parts, finish, stopSequence }],
    usage: usageOfJson(json['usage']),
    createdSeconds: null,
  });
}

/** Blocks of tools that the provider ran itself, and encrypted ones, have no counterpart. */
function decodeBlock(block: JsonRecord): readonly Part[] {
  switch (block['type']) {
    case 'text':
      return [{ kind: 'text', text: textOf(block['text']) ?? '' }];
    case 'thinking': {
      const text = textOf(block['thinking']) ?? '';
      return [{ kind: 'reasoning', text, signature: textOf(block['signature']) }];
    }
    case 'tool_use': {
      const argumentsJson = JSON.stringify(block['input'] ?? {});
      const name = textOf(block['name']) ?? '';
      if (name === JSON_TOOL_NAME) return [{ kind: 'text', text: argumentsJson }];
      return [{ kind: 'tool-call', id: textOf(block['id']) ?? '', name, argumentsJson }];
    }
    default:
      return [];
  }
}

/** `hasCalls`: the answer holds calls that the client must run. */
export function finishOfAnthropic(reason: string, hasCalls: boolean): Finish {
  switch (reason) {
    case 'max_tokens':
    case 'model_context_window_exceeded':
      return 'length';
    case 'stop_sequence':
      return 'stop-sequence';
    case 'refusal':
      return 'filtered';
    case 'tool_use':
      // A structured answer came as a call of the gateway's own tool: the model is done.
      return hasCalls ? 'tool-calls' : 'stop';
    default:
      return 'stop';
  }
}

/** `stop_reason` of a finish. */
export function finishToAnthropic(finish: Finish): string {
  switch (finish) {
    case 'length':
      return 'max_tokens';
    case 'tool-calls':
      return 'tool_use';
    case 'filtered':
      return 'refusal';
    case 'stop-sequence':
      return 'stop_sequence';
    case 'stop':
    default:
      return 'end_turn';
  }
}

/** Encodes the first choice of an answer as a message. */
export function encodeAnthropicAnswer(answer: ChatAnswer, context: AnswerContext): JsonRecord {
  const [choice] = answer.choices;
  const usage = answer.usage;
  return {
    id: translatedId('anthropic', answer.id),
    type: 'message',
    role: 'assistant',
    model: context.model,
    content: (choice?.parts ?? []).flatMap(encodePart),
    stop_reason: finishToAnthropic(choice?.finish ?? 'stop'),
    stop_sequence: choice?.stopSequence ?? null,
    usage: usage === null ? { input_tokens: 0, output_tokens: 0 } : usageToAnthropic(usage),
  };
}

function encodePart(part: Part): readonly JsonRecord[] {
  switch (part.kind) {
    case 'text':
    case 'refusal':
      return [{ type: 'text', text: part.text }];
    case 'reasoning':
      return [{ type: 'thinking', thinking: part.text, signature: part.signature ?? '' }];
    case 'tool-call':
      return [encodeCall(part)];
    case 'image':
    case 'document':
    case 'tool-result':
    default:
      return []; // Answers hold none of these.
  }
}
