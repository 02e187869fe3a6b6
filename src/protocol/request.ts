/**
 * Reads a client's request once, from its bytes: checks that it is JSON within the limits, finds
 * the few members that a gateway needs, and remembers where they stand so that the rest can go
 * to a target of the same dialect byte for byte. Nothing is parsed into objects on that path. @hot
 *
 * R1: what is refused here is refused for the client's fault, with the place or the field named.
 * R2: a member twice at the top is refused: two readers could take different ones (RFC 8259, 4).
 */

import { decodeUtf8, encodeUtf8 } from '../base/bytes.ts';
import { failure, type Failure } from '../base/errors.ts';
import { headerValue, type HeaderList } from '../base/headers.ts';
import { EXCHANGE_LIMITS, REQUEST_LIMITS } from '../base/limits.ts';
import { err, ok, type Result } from '../base/result.ts';
import type { BodyLayout, JsonObject, ParsedRequest } from './adapter.ts';
import { dialectOf, type Dialect, type Operation } from './dialect.ts';
import { isRecord } from './json.ts';
import { describeScanError, JsonScanner } from './jsonScan.ts';
import {
  cutsOf,
  isSame,
  MEMBER,
  MEMBER_NAMES,
  Members,
  scanMembers,
  type Member,
} from './members.ts';
import { hashPrefix } from './prefix.ts';

const INCLUDE_USAGE = encodeUtf8('{"include_usage":true}');

/** Header fields that name a session, in order of preference. */
const SESSION_FIELDS = ['x-session-id', 'x-litellm-session-id', 'x-litellm-trace-id'] as const;
/** Where a prompt's text stands. */
const PROMPT_MEMBERS: readonly Member[] = [
  MEMBER.messages,
  MEMBER.system,
  MEMBER.tools,
  MEMBER.prompt,
  MEMBER.input,
];
/** What one image or document counts for in an estimate: providers charge 85 to 1,600 tokens. */
const BINARY_TOKENS = 1000;
/** A `metadata` or `stream_options` larger than this is not looked into. */
const SMALL_BYTES_MAX = 16 * 1024;

/**
 * Parses the body of `operation`. Refusals: `invalid_json` with byte, line and column;
 * `invalid_request` with the field. `headers` are the client's, names in lower case.
 */
export function parseRequest(
  operation: Operation,
  headers: HeaderList,
  body: Uint8Array,
): Result<ParsedRequest, Failure> {
  const scanner = new JsonScanner(body);
  const members = new Members();
  const isScanned = scanMembers(scanner, members);
  const text = isScanned ? scanner.checkText() : null;
  if (scanner.error !== null) {
    return err(failure('invalid_json', describeScanError(body, scanner.error)));
  }
  return new RequestReader(operation, headers, scanner, members, text).read();
}

/** Checks the known members and builds the request. Lives for one call. */
class RequestReader {
  readonly #operation: Operation;
  readonly #headers: HeaderList;
  readonly #scanner: JsonScanner;
  readonly #members: Members;
  readonly #text: string | null;
  #failure: Failure | null = null;

  constructor(
    operation: Operation,
    headers: HeaderList,
    scanner: JsonScanner,
    members: Members,
    text: string | null,
  ) {
    this.#operation = operation;
    this.#headers = headers;
    this.#scanner = scanner;
    this.#members = members;
    this.#text = text;
  }

  read(): Result<ParsedRequest, Failure> {
    const members = this.#members;
    const isOpenai = dialectOf(this.#operation) === 'openai';
    const fallbackList = this.#names(MEMBER.fallbacks);
    const models = this.#names(MEMBER.models);
    // OpenRouter's form: `models` holds all of them, `model` may be absent or the first.
    const named = this.#modelName();
    const model = named ?? models[0] ?? '';
    if (model === '') this.#refuse('model', 'The field `model` is missing.');
    const isStream = this.#flag(MEMBER.stream);
    const outputTokensMax =
      this.#count(MEMBER.maxCompletionTokens) ?? this.#count(MEMBER.maxTokens);
    const choicesCount = isOpenai ? (this.#count(MEMBER.n) ?? 1) : 1;
    if (choicesCount < 1 || choicesCount > REQUEST_LIMITS.choicesMax) {
      this.#refuse('n', `The field \`n\` must be 1 to ${REQUEST_LIMITS.choicesMax}.`);
    }
    this.#checkPrompt();
    const fallbacks = mergeNames(fallbackList, models, model);
    if (fallbacks.length > EXCHANGE_LIMITS.fallbackModelsMax) {
      const field = fallbackList.length > 0 ? 'fallbacks' : 'models';
      this.#refuse(field, `Over ${EXCHANGE_LIMITS.fallbackModelsMax} fallback models.`);
    }
    const wantsUsage = !isOpenai || this.#wantsUsage();
    const sessionKey = this.#sessionKey();
    if (this.#failure !== null) return err(this.#failure);
    return ok(
      new ScannedRequest(
        {
          operation: this.#operation,
          model,
          isStream,
          wantsUsage,
          outputTokensMax,
          fallbacks,
          sessionKey,
          choicesCount,
          promptTokensEstimate: this.#promptTokens(),
          providerHeaders: providerFields(this.#headers, isOpenai),
          layout: this.#layout(),
          promptStart: promptStart(members),
          systemStart: members.start(MEMBER.system),
        },
        this.#scanner.bytes,
      ),
    );
  }

  /** Keeps the first refusal. */
  #refuse(param: string, detail: string): void {
    this.#failure ??= failure('invalid_request', detail, { param });
  }

  #refuseType(member: Member, kind: string): void {
    const name = MEMBER_NAMES[member];
    this.#refuse(name, `The field \`${name}\` must be ${kind}.`);
  }

  #first(member: Member): number {
    const start = this.#members.start(member);
    return start === -1 ? -1 : (this.#scanner.bytes[start] ?? -1);
  }

  /** True where the member is absent or null. */
  #isUnset(member: Member): boolean {
    return this.#members.start(member) === -1 || this.#first(member) === 0x6e;
  }

  /** The member parsed; for small ones only. */
  #value(member: Member): unknown {
    const start = this.#members.start(member);
    const end = this.#members.end(member);
    return JSON.parse(decodeUtf8(this.#scanner.bytes.subarray(start, end)));
  }

  #modelName(): string | null {
    if (this.#isUnset(MEMBER.model)) return null;
    if (this.#first(MEMBER.model) !== 0x22) {
      this.#refuse('model', 'The field `model` must be a string.');
      return null;
    }
    const start = this.#members.start(MEMBER.model);
    const end = this.#members.end(MEMBER.model);
    if (end - start > REQUEST_LIMITS.modelNameBytesMax) {
      const most = REQUEST_LIMITS.modelNameBytesMax;
      this.#refuse('model', `The field \`model\` is longer than ${most} bytes.`);
      return null;
    }
    const name = shortString(this.#scanner.bytes, start, end);
    if (name === '') this.#refuse('model', 'The field `model` is empty.');
    if (hasControl(name)) this.#refuse('model', 'The field `model` holds control characters.');
    return name;
  }

  #flag(member: Member): boolean {
    if (this.#isUnset(member)) return false;
    const first = this.#first(member);
    if (first === 0x74) return true;
    if (first !== 0x66) this.#refuseType(member, 'true or false');
    return false;
  }

  #count(member: Member): number | null {
    if (this.#isUnset(member)) return null;
    const digits = digitsOf(
      this.#scanner.bytes,
      this.#members.start(member),
      this.#members.end(member),
    );
    if (digits !== -1) return digits;
    const value = this.#smallValue(member);
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
    this.#refuseType(member, 'a whole number of at least 0');
    return null;
  }

  #smallValue(member: Member): unknown {
    const bytes = this.#members.end(member) - this.#members.start(member);
    return bytes > SMALL_BYTES_MAX ? undefined : this.#value(member);
  }

  #names(member: Member): readonly string[] {
    if (this.#isUnset(member)) return NO_NAMES;
    const value = this.#smallValue(member);
    const names: string[] = [];
    for (const item of Array.isArray(value) ? (value as readonly unknown[]) : [null]) {
      if (
        typeof item !== 'string' ||
        item === '' ||
        hasControl(item) ||
        item.length > REQUEST_LIMITS.modelNameBytesMax
      ) {
        this.#refuseType(member, 'a list of model names');
        return [];
      }
      names.push(item);
    }
    return names;
  }

  #checkPrompt(): void {
    const operation = this.#operation;
    const member =
      operation === 'completions'
        ? MEMBER.prompt
        : operation === 'embeddings'
          ? MEMBER.input
          : MEMBER.messages;
    const field = MEMBER_NAMES[member];
    if (this.#members.start(member) === -1) {
      this.#refuse(field, `The field \`${field}\` is missing.`);
    } else if (field === 'messages' && this.#first(member) !== 0x5b) {
      this.#refuse(field, 'The field `messages` must be a list.');
    }
  }

  #wantsUsage(): boolean {
    if (this.#isUnset(MEMBER.streamOptions)) return false;
    if (this.#first(MEMBER.streamOptions) !== 0x7b) {
      this.#refuse('stream_options', 'The field `stream_options` must be an object.');
      return false;
    }
    const { bytes } = this.#scanner;
    const start = this.#members.start(MEMBER.streamOptions);
    const end = this.#members.end(MEMBER.streamOptions);
    if (isSame(bytes.subarray(start, end), INCLUDE_USAGE)) return true;
    const options = this.#smallValue(MEMBER.streamOptions);
    return isRecord(options) && options['include_usage'] === true;
  }

  #sessionKey(): string | null {
    const direct = this.#text256(MEMBER.promptCacheKey);
    if (direct !== null) return direct;
    for (const field of SESSION_FIELDS) {
      const value = headerValue(this.#headers, field);
      if (value !== null && value !== '') return cut(value);
    }
    const metadata =
      this.#first(MEMBER.metadata) === 0x7b ? this.#smallValue(MEMBER.metadata) : null;
    if (isRecord(metadata) && typeof metadata['session_id'] === 'string') {
      return cut(metadata['session_id']);
    }
    const user = this.#text256(MEMBER.user);
    if (user !== null) return user;
    if (isRecord(metadata) && typeof metadata['user_id'] === 'string') {
      return cut(metadata['user_id']);
    }
    return null;
  }

  /** A string member, cut to the limit of session keys; null where it is absent or no string. */
  #text256(member: Member): string | null {
    if (this.#first(member) !== 0x22) return null;
    const value = this.#smallValue(member);
    return typeof value === 'string' && value !== '' ? cut(value) : null;
  }

  /** A token is about four ASCII characters or one of CJK. Images count a fixed number. */
  #promptTokens(): number {
    let bytes = 0;
    for (let index = 0; index < PROMPT_MEMBERS.length; index += 1) {
      const member = PROMPT_MEMBERS[index] ?? MEMBER.messages;
      bytes += this.#members.end(member) - this.#members.start(member);
    }
    const { binaryBytes, binaryCount } = this.#scanner;
    // UTF-8 takes three bytes for a CJK character and UTF-16 one unit, so that half of the
    // difference of both lengths is their number; other scripts come out between the two rates.
    const all = this.#scanner.bytes.length;
    const wide = this.#text === null ? 0 : (all - this.#text.length) / 2;
    const narrow = Math.max(0, bytes - binaryBytes - wide * 3);
    return Math.ceil(narrow / 4 + Math.min(wide, bytes) + binaryCount * BINARY_TOKENS);
  }

  #layout(): BodyLayout {
    const members = this.#members;
    return {
      membersStart: this.#scanner.bytes.indexOf(0x7b) + 1,
      modelStart: members.start(MEMBER.model),
      modelEnd: members.end(MEMBER.model),
      streamOptionsStart: members.start(MEMBER.streamOptions),
      streamOptionsEnd: members.end(MEMBER.streamOptions),
      maxTokensKeyStart: members.keyStart(MEMBER.maxTokens),
      maxCompletionTokensKeyStart: members.keyStart(MEMBER.maxCompletionTokens),
      cuts: cutsOf(members),
    };
  }
}

const NO_NAMES: readonly string[] = [];

/** Each name once, in order, but not the model itself. */
function mergeNames(
  fallbacks: readonly string[],
  models: readonly string[],
  model: string,
): readonly string[] {
  if (fallbacks.length === 0 && models.length === 0) return NO_NAMES;
  return [...new Set([...fallbacks, ...models])].filter((name) => name !== model);
}

function promptStart(members: Members): number {
  const messages = members.start(MEMBER.messages);
  return messages === -1 ? members.start(MEMBER.prompt) : messages;
}

function cut(text: string): string {
  return text.slice(0, REQUEST_LIMITS.sessionKeyCharsMax);
}

function hasControl(text: string): boolean {
  for (let index = 0; index < text.length; index += 1) {
    const unit = text.charCodeAt(index);
    if (unit < 0x20 || unit === 0x7f) return true;
  }
  return false;
}

/** The number written by up to 15 digits and nothing else; -1 for anything else. */
function digitsOf(bytes: Uint8Array, start: number, end: number): number {
  if (end - start > 15) return -1;
  let value = 0;
  for (let at = start; at < end; at += 1) {
    const digit = (bytes[at] ?? 0) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}

/** Decodes a short string, quotes at both ends; ASCII without escapes costs no parse. */
function shortString(bytes: Uint8Array, start: number, end: number): string {
  let text = '';
  for (let at = start + 1; at < end - 1; at += 1) {
    const byte = bytes[at] ?? 0;
    if (byte === 0x5c || byte > 0x7f) {
      return String(JSON.parse(decodeUtf8(bytes.subarray(start, end))));
    }
    text += String.fromCharCode(byte);
  }
  return text;
}

const NO_FIELDS: HeaderList = [];

/** Fields of the client that a provider of its dialect should see. */
function providerFields(headers: HeaderList, isOpenai: boolean): HeaderList {
  let fields: string[] | null = null;
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? '';
    const isSeen = isOpenai
      ? name === 'openai-beta'
      : name === 'anthropic-beta' || name === 'anthropic-version';
    if (!isSeen) continue;
    fields ??= [];
    fields.push(name, headers[index + 1] ?? '');
  }
  return fields ?? NO_FIELDS;
}

interface ScannedFields {
  readonly operation: Operation;
  readonly model: string;
  readonly isStream: boolean;
  readonly wantsUsage: boolean;
  readonly outputTokensMax: number | null;
  readonly fallbacks: readonly string[];
  readonly sessionKey: string | null;
  readonly choicesCount: number;
  readonly promptTokensEstimate: number;
  readonly providerHeaders: HeaderList;
  readonly layout: BodyLayout;
  readonly promptStart: number;
  readonly systemStart: number;
}

/** A request whose bytes were checked; what few need is worked out when first asked for. */
class ScannedRequest implements ParsedRequest {
  readonly operation: Operation;
  readonly dialect: Dialect;
  readonly model: string;
  readonly isStream: boolean;
  readonly wantsUsage: boolean;
  readonly body: Uint8Array;
  readonly promptTokensEstimate: number;
  readonly outputTokensMax: number | null;
  readonly fallbacks: readonly string[];
  readonly sessionKey: string | null;
  readonly choicesCount: number;
  readonly providerHeaders: HeaderList;
  readonly layout: BodyLayout;
  readonly #promptStart: number;
  readonly #systemStart: number;
  #prefixHash = -1;
  #json: JsonObject | null = null;

  constructor(fields: ScannedFields, body: Uint8Array) {
    this.operation = fields.operation;
    this.dialect = dialectOf(fields.operation);
    this.model = fields.model;
    this.isStream = fields.isStream;
    this.wantsUsage = fields.wantsUsage;
    this.body = body;
    this.promptTokensEstimate = fields.promptTokensEstimate;
    this.outputTokensMax = fields.outputTokensMax;
    this.fallbacks = fields.fallbacks;
    this.sessionKey = fields.sessionKey;
    this.choicesCount = fields.choicesCount;
    this.providerHeaders = fields.providerHeaders;
    this.layout = fields.layout;
    this.#promptStart = fields.promptStart;
    this.#systemStart = fields.systemStart;
  }

  get prefixHash(): number {
    if (this.#prefixHash === -1) {
      this.#prefixHash = hashPrefix(this.body, this.#systemStart, this.#promptStart);
    }
    return this.#prefixHash;
  }

  json(): JsonObject {
    this.#json ??= JSON.parse(decodeUtf8(this.body)) as JsonObject;
    return this.#json;
  }
}
