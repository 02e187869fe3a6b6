/** Limits of who calls the admin API. Those of one request are in `OBSERVE_LIMITS`. */

import { assert } from './assert.ts';
import { OBSERVE_LIMITS } from './limits.ts';

export const ADMIN_LIMITS = {
  /** Requests of one admin key, certificate or, without them, address: at once, and a second. */
  burstMax: 400,
  requestsPerSecondMax: 200,
  /** Wrong admin keys of one address; one is forgotten after so long, ms. */
  failuresMax: 10,
  failureForgottenMs: 10_000,
  /** Callers whose requests and failures are counted; past it the one unheard for longest goes. */
  bucketsMax: 10_000,
  /** Open connections of one address. */
  connectionsPerAddressMax: 64,
  /** Admin keys and client certificates of a configuration, each. */
  keysMax: 1_000,
} as const;

assert(
  (1_000 * ADMIN_LIMITS.failuresMax) / ADMIN_LIMITS.failureForgottenMs <=
    ADMIN_LIMITS.requestsPerSecondMax,
  'who guesses is slowed down more than who asks',
);
assert(
  ADMIN_LIMITS.connectionsPerAddressMax * 2 <= OBSERVE_LIMITS.adminConnectionsMax,
  'one address leaves room for others',
);
