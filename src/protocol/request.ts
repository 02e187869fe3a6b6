/**
 * Reads a client's request once, from its bytes: checks that it is JSON within the limits, finds
 * the few members that a gateway needs, and remembers where they stand so that the rest can go
 * to a target of the same dialect byte for byte. Nothing is parsed into objects on that path. @hot
 *
 * R1: what is refused here is refused for the client's fault, with the place or the field named.
 * R2: a member twice at the top is refused: two readers could take different ones (RFC 8259, 4).
 */

import { decodeUtf8, indexOfBytes, encodeUtf8 } from '../base/bytes.ts';
import { failure, type Failure } from '../base/errors.ts';
import { headerValue, type HeaderList } from '../base/headers.ts';
import { EXCHANGE_LIMITS, JSON_LIMITS, REQUEST_LIMITS } from '../base/limits.ts';
import { err, ok, type Result } from '../base/result.ts';
import type { BodyLayout, JsonObject, ParsedRequest } from './adapter.ts';
import { dialectOf, type Dialect, type Operation } from './dialect.ts';
import { describeScanError, JsonScanner } from './jsonScan.ts';

/** Members that the gateway looks at, by their place in `MEMBERS`. */
const MEMBER_NAMES = [
  'model',
  'stream',
  'messages',
  'max_tokens',
  'max_completion_tokens',
  'stream_options',
  'fallbacks',
  'models',
  'user',
  'prompt_cache_key',
  'metadata',
  'n',
  'prompt',
  'system',
  'input',
  'tools',
  '__proto__',
] as const;
type MemberName = (typeof MEMBER_NAMES)[number];
const NAME_BYTES: readonly Uint8Array[] = MEMBER_NAMES.map((name) => encodeUtf8(name));
const USER_ROLE = encodeUtf8('"user"');
const INCLUDE_USAGE = encodeUtf8('{"include_usage":true}');

/** Header fields of a client that its provider should see. */
const PROVIDER_FIELDS: ReadonlySet<string> = new Set([
  'anthropic-beta',
  'anthropic-version',
  'openai-beta',
]);
/** Header fields that name a session, in order of preference. */
const SESSION_FIELDS = ['x-session-id', 'x-litellm-session-id', 'x-litellm-trace-id'] as const;
/** What one image or document counts for in an estimate: providers charge 85 to 1,600 tokens. */
const BINARY_TOKENS = 1000;
/** A `metadata` or `stream_options` larger than this is not looked into. */
const SMALL_BYTES_MAX = 16 * 1024;

/** The top-level members of one body. */
class Members {
  /** Start and end of the value of each known member; -1 where absent. */
  readonly spans = new Int32Array(MEMBER_NAMES.length * 2).fill(-1);
  /** Start of the key and end of the value of every member, in order. */
  readonly bounds: number[] = [];
  readonly hashes: number[] = [];

  start(name: MemberName): number {
    return this.spans[MEMBER_NAMES.indexOf(name) * 2] ?? -1;
  }

  end(name: MemberName): number {
    return this.spans[MEMBER_NAMES.indexOf(name) * 2 + 1] ?? -1;
  }
}

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

/** Scans the outermost object into `members`; false: `scanner.error` says why not. */
function scanMembers(scanner: JsonScanner, members: Members): boolean {
  const { bytes } = scanner;
  let at = scanner.skipSpace(0);
  if (bytes[at] !== 0x7b) {
    if (bytes.length === 0) scanner.fail(0, 'the body is empty');
    else if (bytes[0] === 0xef && bytes[1] === 0xbb) {
      scanner.fail(0, 'the body begins with a byte-order mark');
    } else scanner.fail(at, 'expected one JSON object');
    return false;
  }
  at = scanner.skipSpace(at + 1);
  let isFirst = true;
  while (isFirst ? bytes[at] !== 0x7d : true) {
    isFirst = false;
    const keyStart = at;
    const valueStart = scanner.skipKey(at);
    if (valueStart === -1) return false;
    const valueEnd = scanner.skipValue(valueStart, 1);
    if (valueEnd === -1) return false;
    if (!noteMember(scanner, members, keyStart, valueStart, valueEnd)) return false;
    at = scanner.skipSpace(valueEnd);
    if (bytes[at] === 0x7d) break;
    if (bytes[at] !== 0x2c) {
      if (at >= bytes.length) scanner.fail(at, 'the body ends inside an object');
      else scanner.fail(at, 'expected a comma or the end of the object');
      return false;
    }
    at = scanner.skipSpace(at + 1);
  }
  at = scanner.skipSpace(at + 1);
  if (at === bytes.length) return true;
  scanner.fail(at, 'data after the JSON object');
  return false;
}

/** Files one member; false: it is one too many, or the second of its name. */
function noteMember(
  scanner: JsonScanner,
  members: Members,
  keyStart: number,
  valueStart: number,
  valueEnd: number,
): boolean {
  const key = keyBytes(scanner.bytes, keyStart);
  let hash = 0x811c9dc5;
  for (let index = 0; index < key.length; index += 1) {
    hash = Math.imul(hash ^ (key[index] ?? 0), 0x01000193);
  }
  const { hashes, bounds } = members;
  for (let index = 0; index < hashes.length; index += 1) {
    if (hashes[index] !== hash) continue;
    if (!isSame(keyBytes(scanner.bytes, bounds[index * 2] ?? 0), key)) continue;
    scanner.fail(keyStart, `the member ${nameOf(key)} stands twice`);
    return false;
  }
  if (hashes.length === JSON_LIMITS.topMembersMax) {
    scanner.fail(keyStart, `over ${JSON_LIMITS.topMembersMax} members at the top`);
    return false;
  }
  hashes.push(hash);
  bounds.push(keyStart, valueEnd);
  for (let index = 0; index < NAME_BYTES.length; index += 1) {
    const name = NAME_BYTES[index];
    if (name === undefined || name.length !== key.length || !isSame(name, key)) continue;
    members.spans[index * 2] = valueStart;
    members.spans[index * 2 + 1] = valueEnd;
    break;
  }
  if (members.start('__proto__') === -1) return true;
  scanner.fail(keyStart, 'the member name __proto__ is not allowed');
  return false;
}

/** The bytes of the key whose opening quote stands at `keyStart`, escapes resolved. */
function keyBytes(bytes: Uint8Array, keyStart: number): Uint8Array {
  let at = keyStart + 1;
  while (bytes[at] !== 0x22) {
    if (bytes[at] === 0x5c) return escapedKeyBytes(bytes, keyStart);
    at += 1;
  }
  return bytes.subarray(keyStart + 1, at);
}

function escapedKeyBytes(bytes: Uint8Array, keyStart: number): Uint8Array {
  const end = new JsonScanner(bytes).skipString(keyStart);
  return encodeUtf8(String(JSON.parse(decodeUtf8(bytes.subarray(keyStart, end)))));
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index += 1) if (a[index] !== b[index]) return false;
  return true;
}

function nameOf(key: Uint8Array): string {
  return JSON.stringify(decodeUtf8(key.subarray(0, 64)));
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
    const fallbackList = this.#names('fallbacks');
    const models = this.#names('models');
    // OpenRouter's form: `models` holds all of them, `model` may be absent or the first.
    const named = this.#modelName();
    const model = named ?? models[0] ?? '';
    if (model === '') this.#refuse('model', 'The field `model` is missing.');
    const isStream = this.#flag('stream');
    const outputTokensMax = this.#count('max_completion_tokens') ?? this.#count('max_tokens');
    const choicesCount = isOpenai ? (this.#count('n') ?? 1) : 1;
    if (choicesCount < 1 || choicesCount > REQUEST_LIMITS.choicesMax) {
      this.#refuse('n', `The field \`n\` must be 1 to ${REQUEST_LIMITS.choicesMax}.`);
    }
    this.#checkPrompt();
    const fallbacks = [...new Set([...fallbackList, ...models])].filter((name) => name !== model);
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
          providerHeaders: providerFields(this.#headers),
          layout: this.#layout(),
          promptStart: promptStart(members),
          systemStart: members.start('system'),
        },
        this.#scanner.bytes,
      ),
    );
  }

  /** Keeps the first refusal. */
  #refuse(param: string, detail: string): void {
    this.#failure ??= failure('invalid_request', detail, { param });
  }

  #first(name: MemberName): number {
    return this.#scanner.bytes[this.#members.start(name)] ?? -1;
  }

  /** True where the member is absent or null. */
  #isUnset(name: MemberName): boolean {
    return this.#members.start(name) === -1 || this.#first(name) === 0x6e;
  }

  /** The member parsed; for small ones only. */
  #value(name: MemberName): unknown {
    const start = this.#members.start(name);
    const end = this.#members.end(name);
    return JSON.parse(decodeUtf8(this.#scanner.bytes.subarray(start, end)));
  }

  #modelName(): string | null {
    if (this.#isUnset('model')) return null;
    if (this.#first('model') !== 0x22) {
      this.#refuse('model', 'The field `model` must be a string.');
      return null;
    }
    const start = this.#members.start('model');
    const end = this.#members.end('model');
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

  #flag(name: MemberName): boolean {
    if (this.#isUnset(name)) return false;
    const first = this.#first(name);
    if (first === 0x74) return true;
    if (first !== 0x66) this.#refuse(name, `The field \`${name}\` must be true or false.`);
    return false;
  }

  #count(name: MemberName): number | null {
    if (this.#isUnset(name)) return null;
    const value = this.#first(name) === 0x22 ? null : this.#smallValue(name);
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
    this.#refuse(name, `The field \`${name}\` must be a whole number of at least 0.`);
    return null;
  }

  #smallValue(name: MemberName): unknown {
    const bytes = this.#members.end(name) - this.#members.start(name);
    return bytes > SMALL_BYTES_MAX ? undefined : this.#value(name);
  }

  #names(name: MemberName): readonly string[] {
    if (this.#isUnset(name)) return [];
    const value = this.#smallValue(name);
    const names: string[] = [];
    for (const item of Array.isArray(value) ? (value as readonly unknown[]) : [null]) {
      if (
        typeof item !== 'string' ||
        item === '' ||
        hasControl(item) ||
        item.length > REQUEST_LIMITS.modelNameBytesMax
      ) {
        this.#refuse(name, `The field \`${name}\` must be a list of model names.`);
        return [];
      }
      names.push(item);
    }
    return names;
  }

  #checkPrompt(): void {
    const operation = this.#operation;
    const field =
      operation === 'completions' ? 'prompt' : operation === 'embeddings' ? 'input' : 'messages';
    if (this.#members.start(field) === -1) {
      this.#refuse(field, `The field \`${field}\` is missing.`);
    } else if (field === 'messages' && this.#first(field) !== 0x5b) {
      this.#refuse(field, 'The field `messages` must be a list.');
    }
  }

  #wantsUsage(): boolean {
    if (this.#isUnset('stream_options')) return false;
    if (this.#first('stream_options') !== 0x7b) {
      this.#refuse('stream_options', 'The field `stream_options` must be an object.');
      return false;
    }
    const { bytes } = this.#scanner;
    const start = this.#members.start('stream_options');
    const end = this.#members.end('stream_options');
    if (isSame(bytes.subarray(start, end), INCLUDE_USAGE)) return true;
    const options = this.#smallValue('stream_options');
    return isObject(options) && options['include_usage'] === true;
  }

  #sessionKey(): string | null {
    const direct = this.#text256('prompt_cache_key');
    if (direct !== null) return direct;
    for (const field of SESSION_FIELDS) {
      const value = headerValue(this.#headers, field);
      if (value !== null && value !== '') return cut(value);
    }
    const metadata = this.#first('metadata') === 0x7b ? this.#smallValue('metadata') : null;
    if (isObject(metadata) && typeof metadata['session_id'] === 'string') {
      return cut(metadata['session_id']);
    }
    const user = this.#text256('user');
    if (user !== null) return user;
    if (isObject(metadata) && typeof metadata['user_id'] === 'string') {
      return cut(metadata['user_id']);
    }
    return null;
  }

  /** A string member, cut to the limit of session keys; null where it is absent or no string. */
  #text256(name: MemberName): string | null {
    if (this.#first(name) !== 0x22) return null;
    const value = this.#smallValue(name);
    return typeof value === 'string' && value !== '' ? cut(value) : null;
  }

  /** A token is about four ASCII characters or one of CJK. Images count a fixed number. */
  #promptTokens(): number {
    let bytes = 0;
    for (const name of ['messages', 'system', 'tools', 'prompt', 'input'] as const) {
      const start = this.#members.start(name);
      if (start !== -1) bytes += this.#members.end(name) - start;
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
      modelStart: members.start('model'),
      modelEnd: members.end('model'),
      streamOptionsStart: members.start('stream_options'),
      streamOptionsEnd: members.end('stream_options'),
      maxTokensKeyStart: keyStart(members, 'max_tokens'),
      maxCompletionTokensKeyStart: keyStart(members, 'max_completion_tokens'),
      cuts: cutsOf(members),
    };
  }
}

/** Where the key of a known member stands; -1: absent. */
function keyStart(members: Members, name: MemberName): number {
  const end = members.end(name);
  if (end === -1) return -1;
  for (let index = 0; index < members.bounds.length; index += 2) {
    if (members.bounds[index + 1] === end) return members.bounds[index] ?? -1;
  }
  return -1;
}

const NO_CUTS: readonly number[] = [];

/**
 * Spans to cut so that `fallbacks` and `models` go with exactly one comma each: a member goes
 * with the comma before it, or, where nothing before it stays, with the one after it.
 */
function cutsOf(members: Members): readonly number[] {
  if (members.start('fallbacks') === -1 && members.start('models') === -1) return NO_CUTS;
  const gone = [members.end('fallbacks'), members.end('models')];
  const { bounds } = members;
  const cuts: number[] = [];
  let isAnyKept = false;
  for (let index = 0; index < bounds.length; index += 2) {
    const start = bounds[index] ?? 0;
    const end = bounds[index + 1] ?? 0;
    if (!gone.includes(end)) isAnyKept = true;
    else if (isAnyKept) cuts.push(bounds[index - 1] ?? 0, end);
    else cuts.push(start, bounds[index + 2] ?? end);
  }
  return cuts;
}

function promptStart(members: Members): number {
  const messages = members.start('messages');
  return messages === -1 ? members.start('prompt') : messages;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
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

function providerFields(headers: HeaderList): HeaderList {
  let fields: string[] | null = null;
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? '';
    if (name.length < 11 || !PROVIDER_FIELDS.has(name)) continue;
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

/**
 * Hashes `system` and the messages up to the first of the user, cut at the limit: all turns of a
 * conversation have these in common, and conversations with one long system prompt share them.
 */
function hashPrefix(body: Uint8Array, systemStart: number, promptStart: number): number {
  if (promptStart === -1 && systemStart === -1) return 0;
  let hash = 0x2545f491;
  const most = REQUEST_LIMITS.prefixBytesMax;
  if (systemStart !== -1) {
    const end = new JsonScanner(body).skipValue(systemStart, 0);
    hash = hashBytes(body, systemStart, Math.min(end, systemStart + most), hash);
  }
  if (promptStart !== -1) {
    hash = hashBytes(body, promptStart, prefixEnd(body, promptStart, promptStart + most), hash);
  }
  return hash >>> 0;
}

/** The end of the first message of the user, or of the prompt, but at most `most`. */
function prefixEnd(body: Uint8Array, start: number, most: number): number {
  const scanner = new JsonScanner(body);
  if (body[start] !== 0x5b) return Math.min(scanner.skipValue(start, 0), most);
  let at = scanner.skipSpace(start + 1);
  while (at < most && body[at] !== 0x5d) {
    const end = scanner.skipValue(at, 1);
    if (end === -1 || end >= most) return most;
    const role = indexOfBytes(body.subarray(at, end), USER_ROLE);
    if (role !== -1) return end;
    at = scanner.skipSpace(end);
    if (body[at] !== 0x2c) return end;
    at = scanner.skipSpace(at + 1);
  }
  return Math.min(at, most);
}

/** Mixes four bytes a step (murmur3's block step); not for secrets. */
function hashBytes(bytes: Uint8Array, start: number, end: number, seed: number): number {
  let hash = seed;
  const stop = Math.min(end, bytes.length);
  for (let at = start; at < stop; at += 4) {
    const block =
      (bytes[at] ?? 0) |
      ((at + 1 < stop ? (bytes[at + 1] ?? 0) : 0) << 8) |
      ((at + 2 < stop ? (bytes[at + 2] ?? 0) : 0) << 16) |
      ((at + 3 < stop ? (bytes[at + 3] ?? 0) : 0) << 24);
    let mixed = Math.imul(block, 0xcc9e2d51);
    mixed = Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
    hash ^= mixed;
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
  }
  hash ^= stop - start;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
