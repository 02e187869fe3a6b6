/** Limits of a Raft group's host and of the small state machine behind it. */

import { assert } from './assert.ts';
import { RAFT_LIMITS } from './limits.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** One member of a Raft group as its node hosts it. */
export const GROUP_LIMITS = {
  /** The log says that all so far is durable once nothing was written for so long, ms. */
  settleMs: 500,
  /** What stands around one entry in a segment of its own. */
  segmentOverheadBytes: 1 * KIB,
  /** A full disk is asked for space again after this, ms. */
  spaceRetryMs: 1_000,
  /** Replies kept for requests whose place in the log is learnt after it was applied. */
  resultsMax: RAFT_LIMITS.appendEntriesMax,
  /** One encoded message: entries of an append or a chunk, and what stands around them. */
  messageBytesMax: 4 * MIB,
  /** Bytes that wait for one member; past it messages are dropped. */
  outletBytesMax: 32 * MIB,
  /** A stream of messages that broke is opened again after this, ms. */
  reopenMs: 100,
  checkpointEntries: 4_096,
  snapshotEntries: 100_000,
} as const;

assert(
  RAFT_LIMITS.appendBytesMax + RAFT_LIMITS.entryBytesMax < GROUP_LIMITS.messageBytesMax &&
    RAFT_LIMITS.snapshotWindowBytes + RAFT_LIMITS.inFlightBytesMax < GROUP_LIMITS.outletBytesMax,
  'what the core may have under way to one member fits into its outlet',
);
assert(
  GROUP_LIMITS.resultsMax >= RAFT_LIMITS.appendEntriesMax,
  'the replies of all entries that are applied at once are there when they are given',
);

/** The key-value machine: what a key, a value and all together may take, bytes. */
export const KV_LIMITS = {
  keyBytesMax: 1 * KIB,
  /** A read through the log fits into the replies that sessions keep. */
  valueBytesMax: 48 * KIB,
  /** Keys, values and what each pair counts for besides. */
  totalBytesMax: 256 * MIB,
  pairOverheadBytes: 64,
} as const;

assert(
  KV_LIMITS.valueBytesMax < RAFT_LIMITS.sessionReplyBytesMax &&
    KV_LIMITS.totalBytesMax <= RAFT_LIMITS.snapshotBytesMax / 2,
  'a value fits into a reply, all pairs and the sessions into a snapshot',
);
