/** Reads a request for a message (Anthropic) into a `ChatRequest`. */

import type { Failure } from '../base/errors.ts';
import { err, ok, type Result } from '../base/result.ts';
import type {
  ChatMessage,
  ChatRequest,
  ImagePart,
  MediaSource,
  OutputFormat,
  Part,
  Reasoning,
  TextPart,
  ToolChoice,
  ToolSpec,
} from './chat.ts';
import { FieldError, invalid, unsupported } from './fieldError.ts';
import { arrayOf, countOf, isRecord, numberOf, recordOf, textOf, type JsonRecord } from './json.ts';

/** Requests that were decoded: each candidate target asks again. */
const decoded = new WeakMap<JsonRecord, Result<ChatRequest, Failure>>();

/** Decodes a request; refusals name the field, as `messages.0.content.1`. */
export function decodeAnthropicRequest(json: JsonRecord): Result<ChatRequest, Failure> {
  const known = decoded.get(json);
  if (known !== undefined) return known;
  const result = tryDecode(json);
  decoded.set(json, result);
  return result;
}

function tryDecode(json: JsonRecord): Result<ChatRequest, Failure> {
  try {
    return ok(decode(json));
  } catch (cause) {
    if (cause instanceof FieldError) return err(cause.failure);
    throw cause;
  }
}

function decode(json: JsonRecord): ChatRequest {
  if (arrayOf(json['mcp_servers']).length > 0) {
    throw unsupported('mcp_servers', '`mcp_servers` exists at Anthropic only.');
  }
  if ((json['container'] ?? null) !== null) {
    throw unsupported('container', '`container` exists at Anthropic only.');
  }
  const config = recordOf(json['output_config']);
  const choice = recordOf(json['tool_choice']);
  const disables = choice['disable_parallel_tool_use'];
  return {
    messages: [...decodeSystem(json['system']), ...arrayOf(json['messages']).map(decodeMessage)],
    tools: arrayOf(json['tools']).map(decodeTool),
    toolChoice: decodeToolChoice(json['tool_choice']),
    isParallelToolCalls: typeof disables === 'boolean' ? !disables : null,
    outputFormat: decodeFormat(config['format'] ?? json['output_format']),
    reasoning: decodeThinking(json['thinking'], config['effort']),
    outputTokensMax: countOf(json['max_tokens']),
    temperature: numberOf(json['temperature']),
    topP: numberOf(json['top_p']),
    topK: numberOf(json['top_k']),
    stop: arrayOf(json['stop_sequences']).filter((item) => typeof item === 'string'),
    userId: textOf(recordOf(json['metadata'])['user_id']),
    isStream: json['stream'] === true,
    seed: null,
    frequencyPenalty: null,
    presencePenalty: null,
  };
}

function decodeSystem(system: unknown): readonly ChatMessage[] {
  if (system === undefined || system === null) return [];
  const parts = decodeContent(system, 'system');
  return parts.length === 0 ? [] : [{ role: 'system', parts }];
}

function decodeMessage(value: unknown, index: number): ChatMessage {
  const at = `messages.${index}`;
  if (!isRecord(value)) throw invalid(at, 'A message must be an object.');
  const { role } = value;
  if (role !== 'user' && role !== 'assistant' && role !== 'system') {
    throw invalid(`${at}.role`, 'The role must be user or assistant.');
  }
  return { role, parts: decodeContent(value['content'], `${at}.content`) };
}

/** Content is text or a list of blocks. Empty texts say nothing and are left out. */
function decodeContent(content: unknown, at: string): readonly Part[] {
  if (typeof content === 'string') return content === '' ? [] : [{ kind: 'text', text: content }];
  if (!Array.isArray(content)) throw invalid(at, `The field \`${at}\` must be a text or a list.`);
  return (content as readonly unknown[])
    .flatMap((block, index) => decodeBlock(block, `${at}.${index}`))
    .filter((part) => part.kind !== 'text' || part.text !== '');
}

function decodeBlock(block: unknown, at: string): readonly Part[] {
  if (!isRecord(block)) throw invalid(at, 'A block must be an object.');
  switch (block['type']) {
    case 'text':
      return [decodeText(block, at)];
    case 'image':
      return [decodeImage(block, at)];
    case 'document':
      return decodeDocument(block, at);
    case 'tool_use':
      return [
        {
          kind: 'tool-call',
          id: requiredText(block['id'], `${at}.id`),
          name: requiredText(block['name'], `${at}.name`),
          argumentsJson: JSON.stringify(block['input'] ?? {}),
        },
      ];
    case 'tool_result':
      return [decodeResult(block, at)];
    case 'thinking': {
      const text = textOf(block['thinking']) ?? '';
      return [{ kind: 'reasoning', text, signature: textOf(block['signature']) }];
    }
    case 'redacted_thinking':
      return []; // Encrypted for one provider: it means nothing to another.
    default:
      throw unsupported(
        `${at}.type`,
        `Blocks of type ${JSON.stringify(block['type'])} have no translation.`,
      );
  }
}

function requiredText(value: unknown, at: string): string {
  if (typeof value === 'string' && value !== '') return value;
  throw invalid(at, `The field \`${at}\` must be a text.`);
}

function decodeText(block: JsonRecord, at: string): TextPart {
  const text = textOf(block['text']);
  if (text === null) throw invalid(`${at}.text`, `The field \`${at}.text\` must be a text.`);
  return { kind: 'text', text };
}

function decodeImage(block: JsonRecord, at: string): ImagePart {
  return { kind: 'image', source: decodeSource(recordOf(block['source']), `${at}.source`) };
}

function decodeSource(source: JsonRecord, at: string): MediaSource {
  const data = textOf(source['data']);
  const mediaType = textOf(source['media_type']);
  const url = textOf(source['url']);
  if (source['type'] === 'base64' && data !== null && mediaType !== null) {
    return { kind: 'base64', mediaType, data };
  }
  if (source['type'] === 'url' && url !== null) return { kind: 'url', url };
  if (source['type'] === 'file') {
    throw unsupported(`${at}.file_id`, 'Files kept at one provider are unknown to others.');
  }
  throw invalid(at, 'A source must be base64 or a URL.');
}

function decodeDocument(block: JsonRecord, at: string): readonly Part[] {
  const source = recordOf(block['source']);
  const title = textOf(block['title']);
  if (source['type'] === 'text') {
    const text = textOf(source['data']) ?? '';
    return [{ kind: 'text', text: title === null ? text : `${title}\n\n${text}` }];
  }
  if (source['type'] === 'content') return decodeContent(source['content'], `${at}.source.content`);
  const media = decodeSource(source, `${at}.source`);
  if (media.kind === 'url') {
    throw unsupported(`${at}.source.url`, 'OpenAI takes documents as base64, not by URL.');
  }
  return [{ kind: 'document', source: media, name: title }];
}

function decodeResult(block: JsonRecord, at: string): Part {
  const content = block['content'] ?? '';
  return {
    kind: 'tool-result',
    callId: requiredText(block['tool_use_id'], `${at}.tool_use_id`),
    parts: decodeContent(content, `${at}.content`).filter(
      (part) => part.kind === 'text' || part.kind === 'image',
    ),
    isError: block['is_error'] === true,
  };
}

/** Tools of the client. Those that Anthropic runs itself cannot run elsewhere. */
function decodeTool(tool: unknown, index: number): ToolSpec {
  const at = `tools.${index}`;
  if (!isRecord(tool)) throw invalid(at, 'A tool must be an object.');
  const type = tool['type'] ?? 'custom';
  if (type !== 'custom') {
    throw unsupported(`${at}.type`, `Tools of type ${JSON.stringify(type)} run at Anthropic only.`);
  }
  return {
    name: requiredText(tool['name'], `${at}.name`),
    description: textOf(tool['description']),
    schema: isRecord(tool['input_schema']) ? tool['input_schema'] : null,
    isStrict: tool['strict'] === true,
  };
}

function decodeToolChoice(value: unknown): ToolChoice | null {
  if (!isRecord(value)) return null;
  const { type } = value;
  if (type === 'auto' || type === 'none' || type === 'any') return { kind: type };
  if (type === 'tool')
    return { kind: 'tool', name: requiredText(value['name'], 'tool_choice.name') };
  throw invalid('tool_choice.type', 'The type must be auto, any, tool or none.');
}

function decodeFormat(format: unknown): OutputFormat | null {
  if (!isRecord(format)) return null;
  if (format['type'] !== 'json_schema' || !isRecord(format['schema'])) {
    throw invalid('output_config.format', 'The format must be a json_schema with a schema.');
  }
  return { kind: 'json-schema', name: 'answer', schema: format['schema'] };
}

function decodeThinking(value: unknown, effort: unknown): Reasoning | null {
  if (typeof effort === 'string') return { kind: 'effort', effort };
  switch (recordOf(value)['type']) {
    case 'enabled':
      return { kind: 'budget', tokens: countOf(recordOf(value)['budget_tokens']) ?? 1024 };
    case 'adaptive':
      return { kind: 'adaptive' };
    case 'disabled':
      return { kind: 'off' };
    default:
      return null;
  }
}
