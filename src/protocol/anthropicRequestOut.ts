/** Writes a `ChatRequest` as a request for a message (Anthropic). */

import {
  JSON_TOOL_NAME,
  type ChatMessage,
  type ChatRequest,
  type MediaSource,
  type Part,
  type Reasoning,
  type ToolCallPart,
  type ToolChoice,
  type ToolSpec,
} from './chat.ts';
import { isRecord, parseJson, type JsonRecord } from './json.ts';
import { textOfParts } from './openaiRequestOut.ts';

/** How the server at hand wants it. */
export interface AnthropicWishes {
  readonly model: string;
  /** The dialect requires a limit; this is it where the client set none. */
  readonly maxTokensDefault: number;
  readonly structuredOutput: 'format' | 'tool';
  readonly thinking: 'none' | 'budget' | 'adaptive';
}

const JSON_OBJECT_PROMPT = 'Answer with one JSON object and nothing else.';
const NO_ARGUMENTS: JsonRecord = { type: 'object', properties: {} };
/** The least budget that Anthropic takes. */
const THINKING_TOKENS_MIN = 1024;

/** Encodes a request. Members that the client left open are left out. */
export function encodeAnthropicRequest(request: ChatRequest, wishes: AnthropicWishes): JsonRecord {
  const json: Record<string, unknown> = {
    model: wishes.model,
    max_tokens: request.outputTokensMax ?? wishes.maxTokensDefault,
    messages: encodeMessages(request.messages),
  };
  const system = systemOf(request);
  if (system !== '') json['system'] = system;
  if (request.isStream) json['stream'] = true;
  if (request.temperature !== null) json['temperature'] = Math.min(1, request.temperature);
  set(json, 'top_p', request.topP);
  set(json, 'top_k', request.topK);
  if (request.stop.length > 0) json['stop_sequences'] = request.stop;
  if (request.userId !== null) json['metadata'] = { user_id: request.userId };
  addTools(json, request, wishes);
  addThinking(json, request.reasoning, wishes);
  return json;
}

function set(json: Record<string, unknown>, name: string, value: unknown): void {
  if (value !== null) json[name] = value;
}

/** System messages from anywhere in the conversation: the dialect has one place for them. */
function systemOf(request: ChatRequest): string {
  const texts: string[] = [];
  for (const { role, parts } of request.messages) {
    if (role === 'system') texts.push(textOfParts(parts));
  }
  if (request.outputFormat?.kind === 'json-object') texts.push(JSON_OBJECT_PROMPT);
  return texts.filter((text) => text !== '').join('\n\n');
}

/** Neighbours of one role become one message: results of parallel calls must stand together. */
function encodeMessages(messages: readonly ChatMessage[]): readonly JsonRecord[] {
  const encoded: { role: string; content: JsonRecord[] }[] = [];
  for (const { role, parts } of messages) {
    if (role === 'system') continue;
    const content = parts.flatMap(encodePart);
    if (content.length === 0) continue;
    const last = encoded.at(-1);
    if (last?.role === role) last.content.push(...content);
    else encoded.push({ role, content });
  }
  return encoded.map(({ role, content }) => {
    // Results come first in a message (the dialect's rule), in the order of the conversation.
    const isResult = (block: JsonRecord): boolean => block['type'] === 'tool_result';
    const ordered = [...content.filter(isResult), ...content.filter((block) => !isResult(block))];
    const [only] = ordered;
    const isText = ordered.length === 1 && only?.['type'] === 'text';
    return { role, content: isText ? only['text'] : ordered };
  });
}

function encodePart(part: Part): readonly JsonRecord[] {
  switch (part.kind) {
    case 'text':
    case 'refusal':
      return part.text === '' ? [] : [{ type: 'text', text: part.text }];
    case 'image':
      return [{ type: 'image', source: encodeSource(part.source) }];
    case 'document': {
      const block = { type: 'document', source: encodeSource(part.source) };
      return [part.name === null ? block : { ...block, title: part.name }];
    }
    case 'tool-call':
      return [encodeCall(part)];
    case 'tool-result': {
      const content = part.parts.flatMap(encodePart);
      const [only] = content;
      const isText = content.length === 1 && only?.['type'] === 'text';
      return [
        {
          type: 'tool_result',
          tool_use_id: cleanId(part.callId),
          content: isText ? only['text'] : content,
          ...(part.isError ? { is_error: true } : {}),
        },
      ];
    }
    case 'reasoning':
      // Only its own signed reasoning does a provider take back.
      if (part.signature === null || part.signature === '') return [];
      return [{ type: 'thinking', thinking: part.text, signature: part.signature }];
    default:
      return [];
  }
}

function encodeSource(source: MediaSource): JsonRecord {
  if (source.kind === 'url') return { type: 'url', url: source.url };
  return { type: 'base64', media_type: source.mediaType, data: source.data };
}

/** A call as Anthropic writes it in messages and answers. */
export function encodeCall(call: ToolCallPart): JsonRecord {
  return { type: 'tool_use', id: cleanId(call.id), name: call.name, input: inputOf(call) };
}

/** The dialect wants an object. What a model wrote wrongly is kept, in a member of its own. */
function inputOf(call: ToolCallPart): JsonRecord {
  if (call.argumentsJson.trim() === '') return {};
  const input = parseJson(call.argumentsJson);
  return isRecord(input) ? input : { malformed_arguments: call.argumentsJson };
}

/** Ids may hold letters, digits, `_` and `-` here. */
function cleanId(id: string): string {
  return id.replace(/[^\w-]/g, '_');
}

function addTools(
  json: Record<string, unknown>,
  request: ChatRequest,
  wishes: AnthropicWishes,
): void {
  const tools = request.tools.map(encodeTool);
  let choice = request.toolChoice;
  const format = request.outputFormat;
  if (format?.kind === 'json-schema') {
    if (wishes.structuredOutput === 'format') {
      json['output_config'] = { format: { type: 'json_schema', schema: format.schema } };
    } else {
      const description = 'Give the answer as the arguments of this tool.';
      tools.push({ name: JSON_TOOL_NAME, description, input_schema: format.schema });
      if (choice?.kind !== 'tool') {
        choice = tools.length === 1 ? { kind: 'tool', name: JSON_TOOL_NAME } : { kind: 'any' };
      }
    }
  }
  if (tools.length === 0) return;
  json['tools'] = tools;
  const isSerial = request.isParallelToolCalls === false;
  if (choice === null && !isSerial) return;
  json['tool_choice'] = encodeToolChoice(choice ?? { kind: 'auto' }, isSerial);
}

function encodeTool(tool: ToolSpec): JsonRecord {
  return {
    name: tool.name,
    ...(tool.description === null ? {} : { description: tool.description }),
    input_schema: tool.schema === null ? NO_ARGUMENTS : tool.schema,
    ...(tool.isStrict ? { strict: true } : {}),
  };
}

function encodeToolChoice(choice: ToolChoice, isSerial: boolean): JsonRecord {
  const encoded =
    choice.kind === 'tool' ? { type: 'tool', name: choice.name } : { type: choice.kind };
  return isSerial && choice.kind !== 'none'
    ? { ...encoded, disable_parallel_tool_use: true }
    : encoded;
}

/** OpenAI's words as budgets; the steps are LiteLLM's. */
const BUDGETS: Readonly<Record<string, number>> = {
  minimal: 1024,
  low: 1024,
  medium: 4096,
  high: 16_384,
  xhigh: 32_768,
};

/** Thinking leaves no choice of temperature, and no forced tool. */
function addThinking(
  json: Record<string, unknown>,
  reasoning: Reasoning | null,
  wishes: AnthropicWishes,
): void {
  if (wishes.thinking === 'none' || reasoning?.kind !== 'effort' || reasoning.effort === 'none')
    return;
  const choice = json['tool_choice'];
  if (isRecord(choice) && (choice['type'] === 'any' || choice['type'] === 'tool')) return;
  if (wishes.thinking === 'adaptive') {
    const effort = reasoning.effort === 'minimal' ? 'low' : reasoning.effort;
    json['thinking'] = { type: 'adaptive' };
    json['output_config'] = {
      ...(isRecord(json['output_config']) ? json['output_config'] : {}),
      effort,
    };
  } else {
    const limit = Number(json['max_tokens']);
    const budget = Math.min(BUDGETS[reasoning.effort] ?? 4096, limit - 1);
    if (budget < THINKING_TOKENS_MIN) return;
    json['thinking'] = { type: 'enabled', budget_tokens: budget };
  }
  delete json['temperature'];
  delete json['top_k'];
}
