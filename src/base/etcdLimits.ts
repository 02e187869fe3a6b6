/** Limits of the control state in an etcd cluster. */

import { CONTROL_LIMITS } from './controlLimits.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

export const ETCD_LIMITS = {
  endpointsMax: 16,
  /** Operations of one etcd transaction: `--max-txn-ops` of a server as it comes. */
  operationsMax: 128,
  /** One request: `--max-request-bytes` of a server as it comes, less what surrounds the values. */
  requestBytesMax: 1.5 * MIB - 64 * KIB,
  /** An answer: a page of a list, or what one transaction changed as a watch tells it. */
  answerBytesMax: 64 * MIB,
  /** Keys of one page when the whole state is read. */
  pageKeys: 150,
  /** Connections to an endpoint are made within this, ms. */
  connectMs: 1_000,
  /** One request; a cluster that elects a leader answers later than usual, ms. */
  requestMs: 2_500,
  /** As often it is looked whether there is a quorum and whether the watch has kept up, ms. */
  checkMs: 1_000,
  /** A watch that is behind for longer is opened anew, elsewhere, ms. */
  watchLagMs: 1_500,
  /** A state that a person must look at is looked at again after this, ms. */
  failedMs: 5_000,
  /** Own transactions are told once they can be read here, or after this, ms. */
  tellMs: 500,
  /** Changes in the local file behind its snapshot, bytes; then it is written anew. */
  journalBytesMax: 1 * MIB,
  /** After a failed write the local file is tried again, ms. */
  keepRetryMs: 5_000,
  /** What a node tells again and again is gone so long after it told last, or sooner by half, ms. */
  beatMs: 60_000,
  prefixCharsMax: 128,
} as const;

/** Beside the changed keys each transaction puts the head and its record, and drops an old record. */
export const ETCD_CHANGES_MAX: number = Math.min(
  CONTROL_LIMITS.operationsMax,
  ETCD_LIMITS.operationsMax - 3,
);
