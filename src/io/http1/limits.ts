/** The limits of one listener or pool: the product's, each of which may be lowered. */

import { HTTP_LIMITS } from '../../base/limits.ts';

/** Every limit of HTTP/1.1, by its name in `base/limits.ts`. */
export type HttpLimits = { -readonly [K in keyof typeof HTTP_LIMITS]: number };

/** The product's limits with `overrides` in their place. */
export function httpLimits(overrides: Partial<HttpLimits> = {}): HttpLimits {
  return { ...HTTP_LIMITS, ...overrides };
}
