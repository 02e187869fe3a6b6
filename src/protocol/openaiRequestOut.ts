/** Writes a `ChatRequest` as a request for a chat completion (OpenAI). */

import type {
  ChatMessage,
  ChatRequest,
  ImagePart,
  MediaSource,
  OutputFormat,
  Part,
  Reasoning,
  TextPart,
  ToolCallPart,
  ToolChoice,
  ToolResultPart,
  ToolSpec,
} from './chat.ts';
import type { JsonRecord } from './json.ts';

/** How the server at hand wants it. */
export interface OpenaiWishes {
  readonly model: string;
  readonly maxTokensField: string;
  /** Ask for usage at the end of a stream. */
  readonly asksUsage: boolean;
  /** Write `reasoning_effort`; models that do not reason refuse it. */
  readonly hasReasoningEffort: boolean;
}

/** Encodes a request. Members that the client left open are left out. */
export function encodeOpenaiRequest(request: ChatRequest, wishes: OpenaiWishes): JsonRecord {
  const json: Record<string, unknown> = {
    model: wishes.model,
    messages: encodeMessages(request.messages),
  };
  if (request.isStream) json['stream'] = true;
  if (request.isStream && wishes.asksUsage) json['stream_options'] = { include_usage: true };
  set(json, wishes.maxTokensField, request.outputTokensMax);
  set(json, 'temperature', request.temperature);
  set(json, 'top_p', request.topP);
  set(json, 'seed', request.seed);
  set(json, 'frequency_penalty', request.frequencyPenalty);
  set(json, 'presence_penalty', request.presencePenalty);
  if (request.stop.length > 0) json['stop'] = request.stop;
  set(json, 'user', request.userId);
  if (request.tools.length > 0) {
    json['tools'] = request.tools.map(encodeTool);
    if (request.toolChoice !== null) json['tool_choice'] = encodeToolChoice(request.toolChoice);
    set(json, 'parallel_tool_calls', request.isParallelToolCalls);
  }
  if (request.outputFormat !== null) json['response_format'] = encodeFormat(request.outputFormat);
  const effort = request.reasoning === null ? null : effortOf(request.reasoning);
  if (wishes.hasReasoningEffort) set(json, 'reasoning_effort', effort);
  return json;
}

function set(json: Record<string, unknown>, name: string, value: unknown): void {
  if (value !== null) json[name] = value;
}

/** Anthropic's budgets as OpenAI's words; the steps are LiteLLM's. */
function effortOf(reasoning: Reasoning): string | null {
  switch (reasoning.kind) {
    case 'effort':
      return reasoning.effort === 'max' ? 'xhigh' : reasoning.effort;
    case 'budget':
      return reasoning.tokens <= 2048 ? 'low' : reasoning.tokens <= 8192 ? 'medium' : 'high';
    case 'adaptive':
    case 'off':
    default:
      return null;
  }
}

function encodeMessages(messages: readonly ChatMessage[]): readonly JsonRecord[] {
  const encoded: JsonRecord[] = [];
  for (const message of messages) {
    if (message.role === 'assistant') encoded.push(encodeAssistant(message.parts));
    else if (message.role === 'system') {
      encoded.push({ role: 'system', content: textOfParts(message.parts) });
    } else encodeUser(message.parts, encoded);
  }
  return encoded;
}

/** The text of parts; what is no text is left out. */
export function textOfParts(parts: readonly Part[]): string {
  const texts: string[] = [];
  for (const part of parts) if (part.kind === 'text') texts.push(part.text);
  return texts.join('\n\n');
}

/** Results of tools are messages of their own; they must come first, right after the calls. */
function encodeUser(parts: readonly Part[], encoded: JsonRecord[]): void {
  const content: JsonRecord[] = [];
  const images: ImagePart[] = [];
  for (const part of parts)
    if (part.kind === 'tool-result') encoded.push(encodeResult(part, images));
  for (const image of images) content.push(encodeImage(image));
  for (const part of parts) {
    if (part.kind === 'text') content.push({ type: 'text', text: part.text });
    else if (part.kind === 'image') content.push(encodeImage(part));
    else if (part.kind === 'document') {
      const filename = part.name ?? 'document';
      content.push({ type: 'file', file: { filename, file_data: urlOf(part.source) } });
    }
  }
  if (content.length === 0 && parts.length > 0) return;
  const [only] = content;
  const isText = content.length === 1 && only?.['type'] === 'text';
  encoded.push({
    role: 'user',
    content: isText ? only['text'] : content.length === 0 ? '' : content,
  });
}

/** A tool's message holds text only: images go with the user's message that follows. */
function encodeResult(result: ToolResultPart, images: ImagePart[]): JsonRecord {
  const texts: TextPart[] = [];
  for (const part of result.parts) {
    if (part.kind === 'text') texts.push(part);
    else images.push(part);
  }
  const text = textOfParts(texts);
  const content = result.isError ? `Error: ${text}` : text;
  return { role: 'tool', tool_call_id: result.callId, content };
}

function encodeImage(image: ImagePart): JsonRecord {
  return { type: 'image_url', image_url: { url: urlOf(image.source) } };
}

function urlOf(source: MediaSource): string {
  return source.kind === 'url' ? source.url : `data:${source.mediaType};base64,${source.data}`;
}

/** Reasoning stays behind: a server takes only its own, and most refuse the field. */
function encodeAssistant(parts: readonly Part[]): JsonRecord {
  const calls: ToolCallPart[] = [];
  const texts: string[] = [];
  for (const part of parts) {
    if (part.kind === 'tool-call') calls.push(part);
    else if (part.kind === 'text' || part.kind === 'refusal') texts.push(part.text);
  }
  const content = texts.length === 0 && calls.length > 0 ? null : texts.join('');
  const message = { role: 'assistant', content };
  return calls.length === 0 ? message : { ...message, tool_calls: calls.map(encodeCall) };
}

/** A call as OpenAI writes it in messages and answers. */
export function encodeCall(call: ToolCallPart): JsonRecord {
  const args = call.argumentsJson === '' ? '{}' : call.argumentsJson;
  return { id: call.id, type: 'function', function: { name: call.name, arguments: args } };
}

function encodeTool(tool: ToolSpec): JsonRecord {
  const fn: Record<string, unknown> = { name: tool.name };
  set(fn, 'description', tool.description);
  set(fn, 'parameters', tool.schema);
  if (tool.isStrict) fn['strict'] = true;
  return { type: 'function', function: fn };
}

function encodeToolChoice(choice: ToolChoice): unknown {
  if (choice.kind === 'tool') return { type: 'function', function: { name: choice.name } };
  return choice.kind === 'any' ? 'required' : choice.kind;
}

function encodeFormat(format: OutputFormat): JsonRecord {
  if (format.kind === 'json-object') return { type: 'json_object' };
  const { name, schema } = format;
  return { type: 'json_schema', json_schema: { name, schema, strict: true } };
}
