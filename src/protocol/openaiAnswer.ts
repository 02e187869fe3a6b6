/** Whole answers of a chat completion (OpenAI), in and out of `ChatAnswer`. */

import { err, ok, type Result } from '../base/result.ts';
import type { UpstreamError } from './adapter.ts';
import type { AnswerContext, ChatAnswer, ChatChoice, Finish, Part, ToolCallPart } from './chat.ts';
import { translatedId } from './ids.ts';
import { arrayOf, countOf, isRecord, recordOf, textOf, type JsonRecord } from './json.ts';
import { encodeCall } from './openaiRequestOut.ts';
import { finishError, malformedError, readInBandError } from './upstreamError.ts';
import { usageOfJson, usageToOpenai } from './usage.ts';

/** Decodes a body with status 200, which may hold an error all the same. */
export function decodeOpenaiAnswer(json: unknown): Result<ChatAnswer, UpstreamError> {
  const error = readInBandError(json);
  if (error !== null) return err(error);
  if (!isRecord(json) || arrayOf(json['choices']).length === 0) {
    return err(malformedError('The body is no chat completion.'));
  }
  const choices: ChatChoice[] = [];
  for (const item of arrayOf(json['choices'])) {
    const choice = recordOf(item);
    if (choice['finish_reason'] === 'error') return err(finishError());
    choices.push(decodeChoice(choice));
  }
  return ok({
    id: textOf(json['id']) ?? '',
    choices,
    usage: usageOfJson(json['usage']),
    createdSeconds: countOf(json['created']),
  });
}

function decodeChoice(choice: JsonRecord): ChatChoice {
  const message = recordOf(choice['message']);
  const parts: Part[] = [];
  const reasoning = textOf(message['reasoning_content']) ?? textOf(message['reasoning']) ?? '';
  if (reasoning !== '') parts.push({ kind: 'reasoning', text: reasoning, signature: null });
  const text = textOf(message['content']) ?? '';
  if (text !== '') parts.push({ kind: 'text', text });
  const refusal = textOf(message['refusal']) ?? '';
  if (refusal !== '') parts.push({ kind: 'refusal', text: refusal });
  arrayOf(message['tool_calls']).forEach((item, index) => {
    const call = recordOf(item);
    const fn = recordOf(call['function']);
    parts.push({
      kind: 'tool-call',
      id: textOf(call['id']) ?? `call_${index}`,
      name: textOf(fn['name']) ?? '',
      argumentsJson: argumentsOf(fn['arguments']),
    });
  });
  const hasCalls = parts.some((part) => part.kind === 'tool-call');
  const stop = textOf(choice['stop_reason']); // vLLM: the stop sequence that was written.
  return {
    index: countOf(choice['index']) ?? 0,
    parts,
    finish: finishOfOpenai(textOf(choice['finish_reason']) ?? 'stop', hasCalls, stop !== null),
    stopSequence: stop,
  };
}

/** Some servers give arguments as an object. */
export function argumentsOf(value: unknown): string {
  return typeof value === 'string' ? value : value === undefined ? '' : JSON.stringify(value);
}

/** Some servers end an answer with calls by `stop`. */
export function finishOfOpenai(reason: string, hasCalls: boolean, isStopSequence: boolean): Finish {
  switch (reason) {
    case 'length':
      return 'length';
    case 'content_filter':
      return 'filtered';
    case 'tool_calls':
    case 'function_call':
      return 'tool-calls';
    default:
      if (hasCalls) return 'tool-calls';
      return isStopSequence ? 'stop-sequence' : 'stop';
  }
}

/** `finish_reason` of a finish. */
export function finishToOpenai(finish: Finish): string {
  switch (finish) {
    case 'length':
      return 'length';
    case 'tool-calls':
      return 'tool_calls';
    case 'filtered':
      return 'content_filter';
    case 'stop':
    case 'stop-sequence':
    default:
      return 'stop';
  }
}

/** Encodes an answer as a chat completion. */
export function encodeOpenaiAnswer(answer: ChatAnswer, context: AnswerContext): JsonRecord {
  return {
    id: translatedId('openai', answer.id),
    object: 'chat.completion',
    created: answer.createdSeconds ?? context.createdSeconds,
    model: context.model,
    choices: answer.choices.map(encodeChoice),
    ...(answer.usage === null ? {} : { usage: usageToOpenai(answer.usage) }),
  };
}

function encodeChoice(choice: ChatChoice): JsonRecord {
  let text = '';
  let reasoning = '';
  let refusal = '';
  const calls: ToolCallPart[] = [];
  for (const part of choice.parts) {
    if (part.kind === 'text') text += part.text;
    else if (part.kind === 'reasoning') reasoning += part.text;
    else if (part.kind === 'refusal') refusal += part.text;
    else if (part.kind === 'tool-call') calls.push(part);
  }
  const message = {
    role: 'assistant',
    content: text === '' && (calls.length > 0 || refusal !== '') ? null : text,
    refusal: refusal === '' ? null : refusal,
    ...(reasoning === '' ? {} : { reasoning_content: reasoning }),
    ...(calls.length === 0 ? {} : { tool_calls: calls.map(encodeCall) }),
  };
  return {
    index: choice.index,
    message,
    logprobs: null,
    finish_reason: finishToOpenai(choice.finish),
  };
}
