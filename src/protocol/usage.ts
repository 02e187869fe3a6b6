/**
 * Token counts as providers write them, read from bytes (the end of a body, one event) or from
 * parsed JSON, in either dialect. OpenAI counts cached tokens among the prompt's; Anthropic counts
 * them apart, so that they are added. @hot
 */

import { decodeUtf8, encodeUtf8 } from '../base/bytes.ts';
import type { Usage } from './dialect.ts';
import { countOf, isRecord, type JsonRecord } from './json.ts';
import { JsonScanner } from './jsonScan.ts';

const USAGE_KEY = encodeUtf8('"usage"');

/** Counts by the names on the wire; -1: absent. One object of fixed shape. */
interface Counts {
  /** OpenAI's `prompt_tokens`: says which dialect's rules hold. */
  prompt: number;
  input: number;
  output: number;
  /** Cached tokens that are part of the prompt's count. */
  cachedWithin: number;
  writtenWithin: number;
  /** Cached tokens that are not (Anthropic). */
  readApart: number;
  writtenApart: number;
  reasoning: number;
}

function noCounts(): Counts {
  return {
    prompt: -1,
    input: -1,
    output: -1,
    cachedWithin: -1,
    writtenWithin: -1,
    readApart: -1,
    writtenApart: -1,
    reasoning: -1,
  };
}

/** What a member of a `usage` object is; names of both dialects and of DeepSeek. */
const FIELDS: Readonly<Record<string, keyof Counts | 'details'>> = {
  prompt_tokens: 'prompt',
  input_tokens: 'input',
  completion_tokens: 'output',
  output_tokens: 'output',
  cached_tokens: 'cachedWithin',
  prompt_cache_hit_tokens: 'cachedWithin',
  cache_write_tokens: 'writtenWithin',
  cache_read_input_tokens: 'readApart',
  cache_creation_input_tokens: 'writtenApart',
  reasoning_tokens: 'reasoning',
  thinking_tokens: 'reasoning',
  // Details stand in objects of their own; what else they count (audio, images) is not ours.
  prompt_tokens_details: 'details',
  input_tokens_details: 'details',
  completion_tokens_details: 'details',
  output_tokens_details: 'details',
};
type Field = keyof Counts | 'details';
const FIELD_OF_NAME: ReadonlyMap<string, Field> = new Map(Object.entries(FIELDS));
/** By the hash of the name's bytes: a name of a provider that hits one of these is not to be feared. */
const FIELD_OF_HASH: ReadonlyMap<number, Field> = new Map(
  Object.entries(FIELDS).map(([name, field]) => {
    const bytes = encodeUtf8(name);
    return [hashName(bytes, 0, bytes.length), field];
  }),
);

/** FNV-1a over the bytes of a name, and its length. */
function hashName(bytes: Uint8Array, start: number, end: number): number {
  let hash = (end - start) | 0;
  for (let at = start; at < end; at += 1) hash = Math.imul(hash ^ (bytes[at] ?? 0), 0x01000193);
  return hash;
}

/** Notes one count; of two for the same the larger holds. */
function note(counts: Counts, field: keyof Counts, value: number): void {
  if (value > counts[field]) counts[field] = value;
}

function usageOfCounts(counts: Counts): Usage | null {
  const isApart = counts.prompt === -1;
  const input = isApart ? counts.input : counts.prompt;
  if (input === -1 && counts.output === -1) return null;
  const read = Math.max(0, counts.readApart);
  const written = Math.max(0, counts.writtenApart);
  const cached = Math.max(0, counts.cachedWithin);
  return {
    inputTokens: Math.max(0, input) + (isApart ? read + written : 0),
    outputTokens: Math.max(0, counts.output),
    cachedInputTokens: isApart ? Math.max(cached, read) : cached,
    cacheWriteTokens: isApart ? written : Math.max(0, counts.writtenWithin),
    reasoningTokens: Math.max(0, counts.reasoning),
    isExact: true,
  };
}

/** Usage of a parsed `usage` object of either dialect; null where it holds no counts. */
export function usageOfJson(value: unknown): Usage | null {
  if (!isRecord(value)) return null;
  const counts = noCounts();
  noteRecord(counts, value, true);
  return usageOfCounts(counts);
}

function noteRecord(counts: Counts, record: JsonRecord, isOutermost: boolean): void {
  for (const name of Object.keys(record)) {
    const field = FIELD_OF_NAME.get(name);
    const value = record[name];
    if (field === 'details') {
      if (isOutermost && isRecord(value)) noteRecord(counts, value, false);
    } else if (field !== undefined) {
      const count = countOf(value);
      if (count !== null) note(counts, field, count);
    }
  }
}

/** Usage of the last `"usage": {…}` in a body or an event; null where there is none. */
export function usageOfBytes(bytes: Uint8Array): Usage | null {
  const key = lastUsageKey(bytes);
  if (key === -1) return null;
  const start = valueStart(bytes, key + USAGE_KEY.length);
  if (bytes[start] !== 0x7b) return null;
  const counts = noCounts();
  if (!noteBytes(counts, bytes, start)) return usageOfSpan(bytes, start);
  return usageOfCounts(counts);
}

/** Where the last `"usage"` stands; -1: nowhere. It is near the end: a search from there is short. */
function lastUsageKey(bytes: Uint8Array): number {
  for (let at = bytes.length - USAGE_KEY.length; at >= 0; at -= 1) {
    if (bytes[at] !== 0x22 || bytes[at + 1] !== 0x75) continue;
    let matched = 2;
    while (matched < USAGE_KEY.length && bytes[at + matched] === USAGE_KEY[matched]) matched += 1;
    if (matched === USAGE_KEY.length) return at;
  }
  return -1;
}

/** What is not as plain as counts should be (escapes, fractions) is parsed. */
function usageOfSpan(bytes: Uint8Array, start: number): Usage | null {
  const end = new JsonScanner(bytes).skipValue(start, 1);
  return end === -1 ? null : usageOfJson(JSON.parse(decodeUtf8(bytes.subarray(start, end))));
}

/** The first byte of the value after a key, or of whatever stands there. */
function valueStart(bytes: Uint8Array, afterKey: number): number {
  let at = afterKey;
  while (bytes[at] === 0x20 || bytes[at] === 0x3a || bytes[at] === 0x0a || bytes[at] === 0x0d)
    at += 1;
  return at;
}

/** Objects inside the details: none are known, deeper ones are left to the parser. */
const DEPTH_MAX = 2;

/** Reads `{ "name": digits, "details": { … } }`; false: it is not as plain as that. */
function noteBytes(counts: Counts, bytes: Uint8Array, start: number): boolean {
  let depth = 1;
  let isRelevant = true;
  let at = start + 1;
  while (at < bytes.length) {
    const byte = bytes[at] ?? 0;
    at += 1;
    if (byte === 0x7d) {
      depth -= 1;
      if (depth === 0) return true;
      isRelevant = true;
    } else if (byte === 0x22) {
      const nameStart = at;
      while (at < bytes.length && bytes[at] !== 0x22) at += 1;
      const field = FIELD_OF_HASH.get(hashName(bytes, nameStart, at));
      at = valueStart(bytes, at + 1);
      const first = bytes[at] ?? 0;
      if (first === 0x7b) {
        depth += 1;
        if (depth > DEPTH_MAX) return false;
        isRelevant = field === 'details';
        at += 1;
      } else if (first === 0x6e) {
        at += 4; // null
      } else {
        const end = digitsEnd(bytes, at);
        if (end === -1) return false;
        if (isRelevant && field !== undefined && field !== 'details') {
          note(counts, field, numberAt(bytes, at, end));
        }
        at = end;
      }
    } else if (byte !== 0x2c && byte > 0x20) return false;
  }
  return false;
}

/** The end of a run of 1 to 15 digits that is a whole value; -1: it is none. */
function digitsEnd(bytes: Uint8Array, start: number): number {
  let end = start;
  while ((bytes[end] ?? 0) >= 0x30 && (bytes[end] ?? 0) <= 0x39) end += 1;
  return end > start && end - start <= 15 && isEndOfValue(bytes[end] ?? 0) ? end : -1;
}

function numberAt(bytes: Uint8Array, start: number, end: number): number {
  let value = 0;
  for (let at = start; at < end; at += 1) value = value * 10 + (bytes[at] ?? 0) - 0x30;
  return value;
}

function isEndOfValue(byte: number): boolean {
  return byte === 0x2c || byte === 0x7d || byte <= 0x20;
}

/** `usage` as OpenAI writes it. */
export function usageToOpenai(usage: Usage): JsonRecord {
  return {
    prompt_tokens: usage.inputTokens,
    completion_tokens: usage.outputTokens,
    total_tokens: usage.inputTokens + usage.outputTokens,
    prompt_tokens_details: { cached_tokens: usage.cachedInputTokens },
    completion_tokens_details: { reasoning_tokens: usage.reasoningTokens },
  };
}

/** `usage` as Anthropic writes it: cached and newly cached tokens apart from the others. */
export function usageToAnthropic(usage: Usage): JsonRecord {
  const { cachedInputTokens, cacheWriteTokens } = usage;
  return {
    input_tokens: Math.max(0, usage.inputTokens - cachedInputTokens - cacheWriteTokens),
    cache_creation_input_tokens: cacheWriteTokens,
    cache_read_input_tokens: cachedInputTokens,
    output_tokens: usage.outputTokens,
  };
}
