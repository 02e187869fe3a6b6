/** Limits of a node of several processes; `limits.ts` holds all others. */

import { assert } from './assert.ts';

/** Worker processes of one node. */
export const WORKER_LIMITS = {
  countMax: 64,
  /** What `auto` takes at most: more than a gateway needs, less than a large machine has. */
  autoMax: 8,
  /** How often a process tells the others its numbers, ms. */
  newsMs: 25,
  /** A worker that told nothing for so long hangs: it is killed and started again, ms. */
  silenceMs: 5_000,
  /** From its start to its listener, ms. */
  startMs: 60_000,
  /** Metrics of a worker are kept for its death, at most so old, ms. */
  metricsMs: 1_000,
  /** A scrape waits for a worker's metrics at most, ms; then it shows the last. */
  metricsAskMs: 500,
  /** A new configuration, or a certificate, is taken within, ms. */
  applyMs: 5_000,
  /** Bytes of an answer of another region on the way to a worker: high and low water. */
  callHighWaterBytes: 256 * 1024,
  callLowWaterBytes: 64 * 1024,
} as const;

/** Limits of keys, leased to the processes of a node. */
export const LEASE_LIMITS = {
  /** A request waits for a slot that idles in another process at most, ms. */
  slotWaitMs: 75,
  /** Questions that wait in the ledger. */
  waitingMax: 4_096,
  /** Requests that may be leased ahead with one question. */
  extraMax: 1_000,
  /** A process waits for the ledger's word at most, ms. */
  answerMs: 1_000,
} as const;

assert(
  LEASE_LIMITS.slotWaitMs >= 3 * WORKER_LIMITS.newsMs,
  'a slot that idles comes back before a request is refused for the lack of it',
);
