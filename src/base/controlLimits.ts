/**
 * Limits of the control state: what all nodes agree on, key by key. Those that decide whether a
 * command is taken are part of the replicated state machine: to change one takes a feature level,
 * because all members must refuse the same commands.
 */

import { assert } from './assert.ts';
import { RAFT_LIMITS } from './limits.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

export const CONTROL_LIMITS = {
  /** A key: printable ASCII without space. */
  keyCharsMax: 512,
  /** The name of a value's type. */
  typeCharsMax: 64,
  valueBytesMax: 256 * KIB,
  keysMax: 100_000,
  /** Keys, types and values together, each key with its overhead. */
  stateBytesMax: 64 * MIB,
  /** What a key counts for besides its own bytes and its value's. */
  keyOverheadBytes: 64,
  comparesMax: 128,
  /** Operations of one branch of a transaction. */
  operationsMax: 128,
  /** Keys of one page of a range, and what the pages of one transaction hold, bytes. */
  rangeKeysMax: 1_000,
  rangeBytesMax: 48 * KIB,
  /** Each text of an audit record, characters. */
  auditCharsMax: 256,
  /** Audit records kept; the oldest go. */
  auditRecordsMax: 10_000,
  /** Revisions kept for watchers, and what their events hold, bytes; the oldest go. */
  historyRevisionsMax: 10_000,
  historyBytesMax: 16 * MIB,
  watchersMax: 10_000,
  /** Events and bytes of one answer to a watcher; at least one revision goes whatever it has. */
  watchEventsMax: 1_000,
  watchBytesMax: 1 * MIB,
  /** A watcher without events is told how far it is after so many revisions. */
  bookmarkRevisions: 1_000,
  /** Defaults of the group between regions, ms: the longest round trip is about 250 ms. */
  heartbeatMs: 200,
  electionMs: 1_500,
  /** A transaction or a confirmed read of this node is tried for so long, ms. */
  transactMs: 10_000,
  /** What one node asks of another beside the group is answered in this, or not at all, ms. */
  peerAnswerMs: 5_000,
  /** A change may take so long at the node that is asked, ms; whoever asks it waits longer. */
  changeMs: 40_000,
  /** What could not be sent is tried again after this, ms. */
  retryMs: 50,
  /** A member that is further behind counts for no quorum in what an operator is told, entries. */
  lagEntriesMax: 1_000,
  /** A voter that was silent for so long gives its vote to a further node of its region, ms. */
  takeOverMs: 10 * 60_000,
  /** Nodes whose addresses are in the state, and the characters of one's host. */
  peerRecordsMax: 64,
  hostCharsMax: 253,
  /** Transactions of this node under way. */
  transactionsMax: 256,
} as const;

assert(
  CONTROL_LIMITS.rangeBytesMax + (CONTROL_LIMITS.operationsMax * KIB) / 8 <=
    RAFT_LIMITS.sessionReplyBytesMax,
  'the reply of a transaction is kept by its session',
);
assert(
  CONTROL_LIMITS.stateBytesMax * 2 + CONTROL_LIMITS.historyBytesMax * 2 <=
    RAFT_LIMITS.snapshotBytesMax,
  'the whole state fits into a snapshot',
);
assert(
  CONTROL_LIMITS.changeMs >= 3 * CONTROL_LIMITS.transactMs + 2 * CONTROL_LIMITS.peerAnswerMs,
  'a change is tried, looked at and tried again, and asks other nodes before and after',
);
