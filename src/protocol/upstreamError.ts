/**
 * Reads what providers say when they refuse: bodies of OpenAI, Anthropic, Azure, DashScope, FastAPI
 * (vLLM), llama.cpp and Ollama, and the plain text or HTML of what stands before them. A refusal is
 * put into one of the classes that routing decides by; told apart on purpose: a rate limit (wait)
 * from an empty account (someone must pay), a prompt too long for one model from a wrong one.
 */

import { decodeUtf8 } from '../base/bytes.ts';
import type { HeaderList } from '../base/headers.ts';
import { REQUEST_LIMITS } from '../base/limits.ts';
import type { UpstreamError, UpstreamErrorClass } from './adapter.ts';
import { isRecord, parseJson, type JsonRecord } from './json.ts';
import { retryAfterOf } from './retryAfter.ts';

/** What a body says, before its class is known. */
interface Told {
  readonly message: string;
  readonly type: string;
  readonly code: string | null;
  readonly param: string | null;
}

/** Reads a response with status >= 400, in any of the known forms. `body` may be cut. */
export function readUpstreamError(
  status: number,
  headers: HeaderList,
  body: Uint8Array,
): UpstreamError {
  const told = toldBy(body.subarray(0, REQUEST_LIMITS.upstreamErrorBytesMax));
  return {
    class: classOf(status, told),
    status,
    message: told.message,
    code: told.code,
    param: told.param,
    retryAfterMs: retryAfterOf(status, headers),
  };
}

/**
 * Reads an error that came inside a stream, or in a body with status 200: the parsed event or body.
 * Null where `json` is no error.
 */
export function readInBandError(json: unknown): UpstreamError | null {
  if (!isRecord(json)) return null;
  const isOldForm = json['object'] === 'error'; // vLLM before 0.9: the error is the event itself.
  const error = isOldForm ? json : json['error'];
  if (!isRecord(error) && (typeof error !== 'string' || error === '')) return null;
  const told = toldByJson(json) ?? { message: '', type: '', code: null, param: null };
  const status = inBandStatus(error, told);
  return {
    class: classOf(status, told),
    status,
    message: told.message,
    code: told.code,
    param: told.param,
    retryAfterMs: null,
  };
}

/** An error for what is not a response of the dialect. */
export function malformedError(message: string): UpstreamError {
  return { class: 'malformed', status: 502, message, code: null, param: null, retryAfterMs: null };
}

/** An error that a provider ended a choice with (`finish_reason: "error"`) and said no more of. */
export function finishError(): UpstreamError {
  return {
    class: 'server',
    status: 502,
    message: 'The provider ended the answer with an error.',
    code: null,
    param: null,
    retryAfterMs: null,
  };
}

const STATUS_OF_TYPE: Readonly<Record<string, number>> = {
  invalid_request_error: 400,
  authentication_error: 401,
  billing_error: 402,
  permission_error: 403,
  not_found_error: 404,
  request_too_large: 413,
  rate_limit_error: 429,
  rate_limit_exceeded: 429,
  insufficient_quota: 429,
  tokens: 429,
  requests: 429,
  api_error: 500,
  server_error: 500,
  timeout_error: 504,
  overloaded_error: 529,
};

/** In-band errors carry no status: it is in `code` (OpenRouter, vLLM) or follows from the type. */
function inBandStatus(error: unknown, told: Told): number {
  const code = isRecord(error) ? Number(error['status'] ?? error['code']) : Number.NaN;
  if (Number.isInteger(code) && code >= 400 && code <= 599) return code;
  return STATUS_OF_TYPE[told.type] ?? STATUS_OF_TYPE[told.code ?? ''] ?? 500;
}

const CONTEXT = words(
  'context[ _](?:length|window|size)',
  'maximum context',
  '(?:prompt|input) is too long',
  'too many (?:input )?tokens',
  "exceed\\w* (?:the )?(?:max\\w*|model'?s?) (?:model |sequence |input |token|length|context)",
  'range of input length',
);
const CONTEXT_CODES: ReadonlySet<string> = new Set([
  'context_length_exceeded',
  'exceed_context_size_error',
  'model_context_window_exceeded',
]);
const POLICY = words(
  'content (?:management )?policy',
  'content[ _]filter',
  'safety system',
  'usage policies',
  'inappropriate content',
  'responsible ?ai',
);
const POLICY_CODES: ReadonlySet<string> = new Set([
  'content_filter',
  'content_policy_violation',
  'ResponsibleAIPolicyViolation',
  'data_inspection_failed',
  'DataInspectionFailed',
]);
const QUOTA =
  /credit balance|insufficient (?:balance|quota|credit)|exceeded your current quota|billing/i;
const QUOTA_CODES: ReadonlySet<string> = new Set([
  'insufficient_quota',
  'billing_hard_limit_reached',
  'billing_error',
  'Arrearage',
]);
const NO_MODEL =
  /model\b.{0,128}(?:does not exist|not found|not exist|is not available|unknown)|no such model/i;
const NO_MODEL_CODES: ReadonlySet<string> = new Set([
  'model_not_found',
  'DeploymentNotFound',
  'ModelNotFound',
]);

/** Matches any of the phrases, in any case. */
function words(...phrases: readonly string[]): RegExp {
  return new RegExp(phrases.join('|'), 'i');
}

function has(codes: ReadonlySet<string>, told: Told): boolean {
  return (told.code !== null && codes.has(told.code)) || codes.has(told.type);
}

function classOf(status: number, told: Told): UpstreamErrorClass {
  if (status < 400) return 'malformed';
  if (has(QUOTA_CODES, told)) return 'unauthorized';
  if (status === 400 || status === 403 || status === 413 || status === 422 || status === 500) {
    // Some servers report these as 500 (llama.cpp) or 403; words of the client's own prompt may
    // stand in a message, so that texts count only where no code says what it is.
    if (has(CONTEXT_CODES, told)) return 'context-length';
    if (has(POLICY_CODES, told)) return 'content-policy';
    if (has(NO_MODEL_CODES, told)) return 'model-missing';
    if (CONTEXT.test(told.message)) return 'context-length';
    if (status !== 500 && POLICY.test(told.message)) return 'content-policy';
    if (status === 400 && QUOTA.test(told.message)) return 'unauthorized';
    if (status === 400 && NO_MODEL.test(told.message)) return 'model-missing';
  }
  if (told.type === 'overloaded_error') return 'overloaded';
  return classOfStatus(status, told);
}

function classOfStatus(status: number, told: Told): UpstreamErrorClass {
  switch (status) {
    case 401:
    case 402:
    case 403:
    case 407:
      return 'unauthorized';
    case 404:
    case 410:
      return 'model-missing';
    case 408:
    case 504:
    case 522: // Cloudflare: its connection to the origin, then the origin's answer, took too long.
    case 524:
      return 'timeout';
    case 409:
    case 425:
    case 499:
      return 'server';
    case 421:
      return 'misdirected';
    case 429:
      return QUOTA.test(told.message) ? 'unauthorized' : 'rate-limited';
    case 498: // Groq: the flex tier is at capacity.
    case 503:
    case 529:
      return 'overloaded';
    default:
      return status < 500 ? 'invalid-request' : 'server';
  }
}

function toldBy(body: Uint8Array): Told {
  const text = decodeUtf8(body).trim();
  if (text.startsWith('{') || text.startsWith('[') || text.startsWith('"')) {
    const told = toldByJson(parseJson(text));
    if (told !== null) return told; // Else it was cut, or no JSON after all: it is shown as text.
  }
  return { message: cleanText(text), type: '', code: null, param: null };
}

/** The first form that fits; null: none does. */
function toldByJson(json: unknown): Told | null {
  if (typeof json === 'string') return plain(json);
  if (Array.isArray(json)) return toldByJson((json as readonly unknown[])[0]); // Gemini's form.
  if (!isRecord(json)) return null;
  const { error, detail, message } = json;
  if (isRecord(error)) return toldByObject(error);
  if (typeof error === 'string') return { ...plain(error), code: codeOf(json['code']) }; // Ollama.
  if (typeof message === 'string') return toldByObject(json); // DashScope, vLLM before 0.9.
  if (typeof detail === 'string') return plain(detail);
  return Array.isArray(detail) ? toldByDetail(detail) : null;
}

function toldByObject(error: JsonRecord): Told {
  const inner = error['innererror'];
  return {
    message: clean(textOf(error['message']) ?? textOf(error['detail']) ?? ''),
    type: textOf(error['type']) ?? textOf(error['status']) ?? '',
    code: codeOf(error['code']) ?? (isRecord(inner) ? codeOf(inner['code']) : null),
    param: textOf(error['param']),
  };
}

/** FastAPI's list of what is wrong: `[{ loc: ["body", "messages", 0], msg, type }]`. */
function toldByDetail(detail: readonly unknown[]): Told {
  const [first] = detail;
  if (!isRecord(first)) return plain('');
  const place = Array.isArray(first['loc']) ? (first['loc'] as readonly unknown[]) : [];
  const param = place
    .filter((part) => part !== 'body')
    .map(String)
    .join('.');
  return { ...plain(textOf(first['msg']) ?? ''), param: param === '' ? null : param.slice(0, 256) };
}

function plain(message: string): Told {
  return { message: clean(message), type: '', code: null, param: null };
}

/** A code in words; numbers (llama.cpp, OpenRouter) only repeat the status. */
function codeOf(value: unknown): string | null {
  return typeof value === 'string' && !/^\d*$/.test(value) ? value.slice(0, 256) : null;
}

/** Text or number as text, bounded; else null. */
function textOf(value: unknown): string | null {
  if (typeof value === 'number') return String(value);
  return typeof value === 'string' && value !== '' ? value.slice(0, 4096) : null;
}

/** So much of a page is searched for its title or text. */
const PAGE_CHARS_MAX = 8192;

/** Takes the title of a page, or its text without tags. */
function cleanText(whole: string): string {
  const text = whole.slice(0, PAGE_CHARS_MAX);
  if (!/<\/?[a-z!]/i.test(text)) return clean(text);
  const title = /<title[^>]*>([^<]{1,512})</i.exec(text)?.[1];
  if (title !== undefined) return clean(title);
  return clean(
    text.replace(/<(script|style)\b[\s\S]*?(?:<\/\1>|$)/gi, ' ').replace(/<[^>]{0,1024}>/g, ' '),
  );
}

/** One line without control characters, bounded. Keys that a provider echoes are hidden. */
function clean(text: string): string {
  return text
    .slice(0, REQUEST_LIMITS.upstreamMessageCharsMax * 2)
    .replace(/[\p{Cc}\s]+/gu, ' ')
    .replace(/\b(sk|key|pk)-[\w*-]{8,}/g, '$1-***')
    .trim()
    .slice(0, REQUEST_LIMITS.upstreamMessageCharsMax);
}
