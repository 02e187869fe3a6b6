/**
 * Token counts as providers write them, read from bytes (the end of a body, one event) or from
 * parsed JSON, in either dialect. OpenAI counts cached tokens among the prompt's; Anthropic counts
 * them apart, so that they are added.
 */

import { decodeUtf8, encodeUtf8, lastIndexOfBytes } from '../base/bytes.ts';
import type { Usage } from './dialect.ts';
import { countOf, isRecord, recordOf, type JsonRecord } from './json.ts';
import { JsonScanner } from './jsonScan.ts';

const USAGE_KEY = encodeUtf8('"usage"');

/** Usage of a parsed `usage` object of either dialect; null where it holds no counts. */
export function usageOfJson(value: unknown): Usage | null {
  if (!isRecord(value)) return null;
  const isAnthropic = 'input_tokens' in value || !('prompt_tokens' in value);
  const input = countOf(value['prompt_tokens']) ?? countOf(value['input_tokens']);
  const output = countOf(value['completion_tokens']) ?? countOf(value['output_tokens']);
  if (input === null && output === null) return null;
  const promptDetails = recordOf(value['prompt_tokens_details'] ?? value['input_tokens_details']);
  const outputDetails = recordOf(
    value['completion_tokens_details'] ?? value['output_tokens_details'],
  );
  const cachedApart = countOf(value['cache_read_input_tokens']) ?? 0;
  const writtenApart = countOf(value['cache_creation_input_tokens']) ?? 0;
  const cached =
    countOf(promptDetails['cached_tokens']) ?? countOf(value['prompt_cache_hit_tokens']) ?? 0;
  return {
    inputTokens: (input ?? 0) + (isAnthropic ? cachedApart + writtenApart : 0),
    outputTokens: output ?? 0,
    cachedInputTokens: isAnthropic ? Math.max(cached, cachedApart) : cached,
    cacheWriteTokens: isAnthropic
      ? writtenApart
      : (countOf(promptDetails['cache_write_tokens']) ?? 0),
    reasoningTokens:
      countOf(outputDetails['reasoning_tokens']) ?? countOf(outputDetails['thinking_tokens']) ?? 0,
    isExact: true,
  };
}

/** Usage of the last `"usage": {…}` in the bytes of a body or an event; null where there is none. */
export function usageOfBytes(bytes: Uint8Array): Usage | null {
  const key = lastIndexOfBytes(bytes, USAGE_KEY);
  if (key === -1) return null;
  const scanner = new JsonScanner(bytes);
  const colon = scanner.skipSpace(key + USAGE_KEY.length);
  if (bytes[colon] !== 0x3a) return null;
  const start = scanner.skipSpace(colon + 1);
  if (bytes[start] !== 0x7b) return null;
  const end = scanner.skipValue(start, 1);
  if (end === -1) return null;
  return usageOfJson(JSON.parse(decodeUtf8(bytes.subarray(start, end))));
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
