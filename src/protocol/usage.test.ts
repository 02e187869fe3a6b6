import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { encodeUtf8 } from '../base/bytes.ts';
import { usageOfBytes, usageOfJson, usageToAnthropic, usageToOpenai } from './usage.ts';

const count = fc.oneof(fc.nat(100_000), fc.constant(null), fc.constant(1.5), fc.constant('7'));
const details = fc.record(
  { cached_tokens: count, reasoning_tokens: count, audio_tokens: count, thinking_tokens: count },
  { requiredKeys: [] },
);
const usage = fc.record(
  {
    prompt_tokens: count,
    input_tokens: count,
    completion_tokens: count,
    output_tokens: count,
    total_tokens: count,
    cache_read_input_tokens: count,
    cache_creation_input_tokens: count,
    prompt_cache_hit_tokens: count,
    prompt_tokens_details: fc.option(details),
    completion_tokens_details: fc.option(details),
    cache_creation: fc.option(details),
    server_tool_use: fc.jsonValue(),
    service_tier: fc.constant('standard'),
  },
  { requiredKeys: [] },
);

test('usage read from bytes is usage read from JSON, compact or pretty (fast-check)', () => {
  fc.assert(
    fc.property(usage, fc.constantFrom(0, 1, 4), (value, indent) => {
      const body = { id: 'x', content: 'say "usage": {"prompt_tokens":1}', usage: value, more: 1 };
      const text = JSON.stringify(body, null, indent);
      assert.deepEqual(usageOfBytes(encodeUtf8(text)), usageOfJson(value));
    }),
    { numRuns: 3000 },
  );
});

test('a body without usage, or with a cut one, has none', () => {
  for (const text of ['', '{}', '{"usage":null}', '{"usage":{', '{"usage":{"prompt_tokens":1']) {
    assert.equal(usageOfBytes(encodeUtf8(text)), null, text);
  }
  assert.equal(usageOfJson({}), null);
  assert.equal(usageOfJson({ total_tokens: 3 }), null);
});

test('what is written in a dialect is read back from it', () => {
  const whole = {
    inputTokens: 100,
    outputTokens: 20,
    cachedInputTokens: 60,
    cacheWriteTokens: 0,
    reasoningTokens: 0,
    isExact: true,
  };
  assert.deepEqual(usageOfJson(usageToOpenai({ ...whole, reasoningTokens: 5 })), {
    ...whole,
    reasoningTokens: 5,
  });
  const written = { ...whole, cacheWriteTokens: 30 };
  assert.deepEqual(usageOfJson(usageToAnthropic(written)), written);
  assert.equal(usageToAnthropic(written)['input_tokens'], 10);
});
