/**
 * An answer to `count_tokens` where no target counts: an estimate from bytes, so that clients which
 * ask before they send keep working. It may be off by a third; the header field that the gateway
 * adds beside it says that it is an estimate.
 */

import { encodeUtf8 } from '../base/bytes.ts';
import type { ParsedRequest } from './adapter.ts';

/** Header field that marks the answer: `x-banyan-token-count: estimate`. */
export const TOKEN_COUNT_FIELD = 'x-banyan-token-count';

/** The body of an estimated answer, in Anthropic's dialect. */
export function estimateCountTokens(request: ParsedRequest): Uint8Array {
  return encodeUtf8(JSON.stringify({ input_tokens: request.promptTokensEstimate }));
}
