/** Reads a request for a chat completion (OpenAI) into a `ChatRequest`. */

import { failure, type Failure } from '../base/errors.ts';
import { err, ok, type Result } from '../base/result.ts';
import type {
  ChatMessage,
  ChatRequest,
  DocumentPart,
  ImagePart,
  MediaSource,
  OutputFormat,
  Part,
  TextPart,
  ToolChoice,
  ToolSpec,
} from './chat.ts';
import { arrayOf, isRecord, numberOf, recordOf, textOf, type JsonRecord } from './json.ts';
import { FieldError, invalid, unsupported } from './fieldError.ts';

/** Fields that ask for something that only OpenAI's dialect can carry, and when they do. */
const OPENAI_ONLY: readonly (readonly [field: string, asks: (value: unknown) => boolean])[] = [
  ['n', (value) => typeof value === 'number' && value > 1],
  ['logprobs', (value) => value === true],
  ['top_logprobs', (value) => typeof value === 'number' && value > 0],
  ['logit_bias', (value) => isRecord(value) && Object.keys(value).length > 0],
  ['audio', isRecord],
  ['modalities', (value) => arrayOf(value).some((mode) => mode !== 'text')],
  ['web_search_options', isRecord],
  ['functions', (value) => arrayOf(value).length > 0],
];

/** Why a chat request cannot be put into another dialect, or null. Cheap: names no messages. */
export function openaiOnlyField(json: JsonRecord): Failure | null {
  for (const [field, asks] of OPENAI_ONLY) {
    if (!asks(json[field])) continue;
    return failure('unsupported_feature', `\`${field}\` exists in OpenAI's dialect only.`, {
      param: field,
    });
  }
  return null;
}

/** Requests that were decoded: each candidate target asks again. */
const decoded = new WeakMap<JsonRecord, Result<ChatRequest, Failure>>();

/** Decodes a request; refusals name the field, as `messages.0.content`. */
export function decodeOpenaiRequest(json: JsonRecord): Result<ChatRequest, Failure> {
  const known = decoded.get(json);
  if (known !== undefined) return known;
  const result = tryDecode(json);
  decoded.set(json, result);
  return result;
}

function tryDecode(json: JsonRecord): Result<ChatRequest, Failure> {
  const refused = openaiOnlyField(json);
  if (refused !== null) return err(refused);
  try {
    return ok(decode(json));
  } catch (cause) {
    if (cause instanceof FieldError) return err(cause.failure);
    throw cause;
  }
}

function decode(json: JsonRecord): ChatRequest {
  return {
    messages: arrayOf(json['messages']).map(decodeMessage),
    tools: arrayOf(json['tools']).map(decodeTool),
    toolChoice: decodeToolChoice(json['tool_choice']),
    isParallelToolCalls:
      typeof json['parallel_tool_calls'] === 'boolean' ? json['parallel_tool_calls'] : null,
    outputFormat: decodeFormat(json['response_format']),
    reasoning:
      textOf(json['reasoning_effort']) === null
        ? null
        : { kind: 'effort', effort: textOf(json['reasoning_effort']) ?? '' },
    outputTokensMax: numberOf(json['max_completion_tokens']) ?? numberOf(json['max_tokens']),
    temperature: numberOf(json['temperature']),
    topP: numberOf(json['top_p']),
    topK: numberOf(json['top_k']),
    stop: decodeStop(json['stop']),
    userId: textOf(json['safety_identifier']) ?? textOf(json['user']),
    isStream: json['stream'] === true,
    seed: numberOf(json['seed']),
    frequencyPenalty: numberOf(json['frequency_penalty']),
    presencePenalty: numberOf(json['presence_penalty']),
  };
}

function decodeStop(value: unknown): readonly string[] {
  if (typeof value === 'string') return [value];
  return arrayOf(value).filter((item) => typeof item === 'string');
}

function decodeMessage(value: unknown, index: number): ChatMessage {
  const at = `messages.${index}`;
  if (!isRecord(value)) throw invalid(at, 'A message must be an object.');
  switch (value['role']) {
    case 'system':
    case 'developer':
      return { role: 'system', parts: decodeContent(value['content'], `${at}.content`) };
    case 'user':
      return { role: 'user', parts: decodeContent(value['content'], `${at}.content`) };
    case 'assistant':
      return { role: 'assistant', parts: decodeAssistant(value, at) };
    case 'tool':
      return { role: 'user', parts: [decodeToolResult(value, at)] };
    case 'function':
      throw unsupported(`${at}.role`, 'The old role `function` has no translation; use `tool`.');
    default:
      throw invalid(`${at}.role`, 'The role must be system, developer, user, assistant or tool.');
  }
}

function decodeAssistant(message: JsonRecord, at: string): readonly Part[] {
  const parts: Part[] = [];
  const reasoning = textOf(message['reasoning_content']) ?? textOf(message['reasoning']);
  if (reasoning !== null && reasoning !== '') {
    parts.push({ kind: 'reasoning', text: reasoning, signature: null });
  }
  parts.push(...decodeContent(message['content'], `${at}.content`));
  const refusal = textOf(message['refusal']);
  if (refusal !== null && refusal !== '') parts.push({ kind: 'refusal', text: refusal });
  arrayOf(message['tool_calls']).forEach((call, index) => {
    const callAt = `${at}.tool_calls.${index}`;
    const fn = isRecord(call) ? call['function'] : null;
    if (!isRecord(call) || !isRecord(fn)) throw unsupported(callAt, 'Not a call of a function.');
    parts.push({
      kind: 'tool-call',
      id: requiredText(call['id'], `${callAt}.id`),
      name: requiredText(fn['name'], `${callAt}.function.name`),
      argumentsJson: textOf(fn['arguments']) ?? '',
    });
  });
  return parts;
}

function decodeToolResult(message: JsonRecord, at: string): Part {
  const parts = decodeContent(message['content'], `${at}.content`);
  return {
    kind: 'tool-result',
    callId: requiredText(message['tool_call_id'], `${at}.tool_call_id`),
    parts: parts.filter((part) => part.kind === 'text' || part.kind === 'image'),
    isError: false,
  };
}

function requiredText(value: unknown, at: string): string {
  if (typeof value === 'string' && value !== '') return value;
  throw invalid(at, `The field \`${at}\` must be a text.`);
}

/** Content is text, null, or a list of parts. Empty texts say nothing and are left out. */
function decodeContent(content: unknown, at: string): readonly Part[] {
  if (content === null || content === undefined || content === '') return [];
  if (typeof content === 'string') return [{ kind: 'text', text: content }];
  if (!Array.isArray(content)) throw invalid(at, `The field \`${at}\` must be a text or a list.`);
  return (content as readonly unknown[])
    .map((part, index) => decodePart(part, `${at}.${index}`))
    .filter((part) => part.kind !== 'text' || part.text !== '');
}

function decodePart(part: unknown, at: string): Part {
  if (!isRecord(part)) throw invalid(at, 'A part must be an object.');
  switch (part['type']) {
    case 'text':
      return decodeText(part, at);
    case 'refusal':
      return { kind: 'refusal', text: textOf(part['refusal']) ?? '' };
    case 'image_url':
      return decodeImage(part, at);
    case 'file':
      return decodeFile(part, at);
    default:
      throw unsupported(
        `${at}.type`,
        `Parts of type ${JSON.stringify(part['type'])} have no translation.`,
      );
  }
}

function decodeText(part: JsonRecord, at: string): TextPart {
  const text = textOf(part['text']);
  if (text === null) throw invalid(`${at}.text`, `The field \`${at}.text\` must be a text.`);
  return { kind: 'text', text };
}

function decodeImage(part: JsonRecord, at: string): ImagePart {
  const image = part['image_url'];
  const url = textOf(isRecord(image) ? image['url'] : image);
  const source = url === null ? null : parseMediaUrl(url);
  if (source !== null) return { kind: 'image', source };
  throw invalid(`${at}.image_url.url`, 'An image must be an http(s) URL or a base64 data URL.');
}

function decodeFile(part: JsonRecord, at: string): DocumentPart {
  const file = recordOf(part['file']);
  const data = textOf(file['file_data']);
  if (data === null) {
    throw unsupported(`${at}.file.file_id`, 'Files kept at one provider are unknown to others.');
  }
  const source = parseMediaUrl(data);
  if (source?.kind !== 'base64') {
    throw invalid(`${at}.file.file_data`, 'A file must be a base64 data URL.');
  }
  return { kind: 'document', source, name: textOf(file['filename']) };
}

/** A base64 data URL (RFC 2397) or an http(s) URL; null for anything else. */
export function parseMediaUrl(url: string): MediaSource | null {
  if (/^https?:\/\//i.test(url)) return { kind: 'url', url };
  const match = /^data:([\w.+-]+\/[\w.+-]+)(?:;[\w.=+-]+)*;base64,/i.exec(url.slice(0, 256));
  if (match === null) return null;
  return {
    kind: 'base64',
    mediaType: (match[1] ?? '').toLowerCase(),
    data: url.slice(match[0].length),
  };
}

function decodeTool(tool: unknown, index: number): ToolSpec {
  const at = `tools.${index}`;
  const fn = isRecord(tool) ? tool['function'] : null;
  if (!isRecord(tool) || tool['type'] !== 'function' || !isRecord(fn)) {
    throw unsupported(`${at}.type`, 'Only tools of type `function` have a translation.');
  }
  return {
    name: requiredText(fn['name'], `${at}.function.name`),
    description: textOf(fn['description']),
    schema: isRecord(fn['parameters']) ? fn['parameters'] : null,
    isStrict: fn['strict'] === true,
  };
}

function decodeToolChoice(choice: unknown): ToolChoice | null {
  if (choice === undefined || choice === null) return null;
  if (choice === 'auto' || choice === 'none') return { kind: choice };
  if (choice === 'required') return { kind: 'any' };
  const name = textOf(recordOf(recordOf(choice)['function'])['name']);
  if (name !== null) return { kind: 'tool', name };
  throw unsupported('tool_choice', 'This form of `tool_choice` has no translation.');
}

function decodeFormat(format: unknown): OutputFormat | null {
  if (!isRecord(format) || format['type'] === 'text') return null;
  if (format['type'] === 'json_object') return { kind: 'json-object' };
  const schema = recordOf(format['json_schema']);
  if (format['type'] !== 'json_schema' || !isRecord(schema['schema'])) {
    throw invalid('response_format', 'The field `response_format` is not one that is known.');
  }
  return {
    kind: 'json-schema',
    name: textOf(schema['name']) ?? 'answer',
    schema: schema['schema'],
  };
}
