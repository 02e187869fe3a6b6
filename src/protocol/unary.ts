/** Whole answers that go through in their own dialect: checked lightly, counted by bytes. @hot */

import { decodeUtf8, encodeUtf8, indexOfBytes } from '../base/bytes.ts';
import type { HeaderList } from '../base/headers.ts';
import { err, ok, type Result } from '../base/result.ts';
import type { UnaryAnswer, UpstreamError } from './adapter.ts';
import { parseJson } from './json.ts';
import { malformedError, readInBandError } from './upstreamError.ts';
import { usageOfBytes } from './usage.ts';

const ERROR_KEY = encodeUtf8('"error"');

/**
 * Passes a body on as it came. Some servers answer an error with status 200: a body that names an
 * error before any usage is parsed. A body that is no JSON object is `malformed`.
 */
export function passUnary(
  headers: HeaderList,
  body: Uint8Array,
): Result<UnaryAnswer, UpstreamError> {
  if (firstByte(body) !== 0x7b || lastByte(body) !== 0x7d) {
    return err(malformedError('The body is no JSON object.'));
  }
  const usage = usageOfBytes(body);
  if (usage === null && indexOfBytes(body, ERROR_KEY) !== -1) {
    const error = readInBandError(parseJson(decodeUtf8(body)));
    if (error !== null) return err(error);
  }
  return ok({ body, usage, headers: passHeaders(headers) });
}

function firstByte(body: Uint8Array): number {
  let at = 0;
  while (at < body.length && (body[at] ?? 0) <= 0x20) at += 1;
  return body[at] ?? -1;
}

function lastByte(body: Uint8Array): number {
  let at = body.length - 1;
  while (at >= 0 && (body[at] ?? 0) <= 0x20) at -= 1;
  return body[at] ?? -1;
}

const NO_FIELDS: HeaderList = [];

/**
 * A provider's fields worth passing on, as `llm_provider-…` (LiteLLM's names): its request id, its
 * rate limits and its time. Under their own names they would speak of this gateway.
 */
export function passHeaders(headers: HeaderList): HeaderList {
  let passed: string[] | null = null;
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? '';
    if (!isPassed(name)) continue;
    passed ??= [];
    passed.push(`llm_provider-${name}`, headers[index + 1] ?? '');
  }
  return passed ?? NO_FIELDS;
}

function isPassed(name: string): boolean {
  switch (name.charCodeAt(0)) {
    case 0x78: // x
      return (
        name.startsWith('x-ratelimit-') ||
        name === 'x-request-id' ||
        name === 'x-ms-region' ||
        name === 'x-envoy-upstream-service-time'
      );
    case 0x61: // a
      return name.startsWith('anthropic-ratelimit-');
    case 0x6f: // o
      return name === 'openai-processing-ms' || name === 'openai-version';
    case 0x72: // r
      return name === 'request-id';
    default:
      return false;
  }
}
