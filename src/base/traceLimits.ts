/** Limits of traces; the others stand in `limits.ts`. */

import { assert } from './assert.ts';

const KIB = 1024;

/** W3C trace context, of a client's header fields, and spans on their way to a collector. */
export const TRACE_LIMITS = {
  /** Characters of `traceparent`; version 00 has 55, later ones may be longer. */
  parentCharsMax: 256,
  /** Characters of all `tracestate` together; the recommendation asks for 512 at least. */
  stateCharsMax: 512,
  /** Members of `tracestate` (W3C trace context, §3.3.1.1). */
  stateMembersMax: 32,
  /** Share of the traces that begin here, where the configuration names none. */
  sampleRatioDefault: 0.01,
  /** One text in a span, characters. */
  textCharsMax: 256,
  /** Spans that wait for the collector; past it they are dropped and counted. */
  queueSpansMax: 4_096,
  /** Spans of one call: its body, about 1 KB a span, is written in one go, in half a millisecond. */
  batchSpansMax: 128,
  /** A batch that is not full waits for more, ms. */
  batchMs: 2_000,
  connectMs: 5_000,
  /** From the start of a call to the end of the collector's answer, ms. */
  exportMs: 10_000,
  /** Calls for one batch, the first included; then it is dropped. */
  exportTriesMax: 4,
  /** Wait before the second call, doubling; a collector's Retry-After counts up to the most, ms. */
  retryMs: 1_000,
  retryMsMax: 30_000,
  /** Read of a collector's answer, bytes. */
  answerBytesMax: 64 * KIB,
  /** How long a node that stops waits for what it has not yet sent, ms. */
  closeMs: 2_000,
} as const;

assert(
  TRACE_LIMITS.batchSpansMax <= TRACE_LIMITS.queueSpansMax,
  'a batch fits into the queue it is taken from',
);
