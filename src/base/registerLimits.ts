/** Limits of registers as a node hosts them: leases, claims, names. */

import { assert } from './assert.ts';
import { CASPAXOS_LIMITS } from './caspaxosLimits.ts';
import { GROUP_LIMITS } from './groupLimits.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

export const REGISTER_LIMITS = {
  /** One round; above the longest round trip between regions and an fsync, ms. */
  roundMs: 1_000,
  /** One try of a request, ms. */
  requestMs: 3_000,
  /** A request with all its tries; past it the caller is told what is known, ms. */
  answerMs: 8_000,
  /** Before a try whose outcome is not known is made again, ms. */
  retryMs: 20,
  /** Requests under way at one node. */
  requestsMax: 4_096,
  /** Size of one file of an acceptor's log, bytes. */
  segmentBytes: 4 * MIB,
  /** The log is shortened after so many slots at least, and as many as there are keys. */
  digestSlotsMin: 16_384,
  /** Slots of one record of a shortened log: full ones fit into a message of the group. */
  digestSlots: 32,
  /** A digest is made in slices of this, ms, records and bytes, with as long a pause behind each. */
  digestSliceMs: 3,
  digestSliceRecords: 64,
  digestSliceBytes: 64 * KIB,
  /** It waits while so many writes of the log are not durable. */
  digestBacklogMax: 64,
  /** The log says that all so far is durable once nothing was written for so long, ms. */
  settleMs: 500,
  /** A full disk is asked for space again after this, ms. */
  spaceRetryMs: 1_000,
  /** Whoever looks after acceptors and generations looks as often, ms. */
  careMs: 500,
  /** Acceptors are first agreed on without the regions that did not come within this, ms. */
  foundingMs: 5_000,
  /** A peer's name: two labels and a slash. */
  peerNameBytesMax: 127,
  /** Nodes that announce themselves, in all regions. */
  nodesMax: 128,
  /** Operators are warned from here on, percent of the room for claims. */
  fillWarnPercent: 80,
  /** Where there is no room a new key is tried as often, ms. */
  fullProbeMs: 5_000,
  /** Whoever finds no room is told to come again within this, ms. */
  roomMsMax: 3_600_000,
  /** How long a claim stands at least, ms; at most half as long again. */
  claimMsMin: 1_000,
  claimMsDefault: 24 * 3_600_000,
  claimMsMax: 30 * 24 * 3_600_000,
  /** Names of leases, claims and names, bytes. */
  nameBytesMax: 200,
  /** What a claim came to, bytes. */
  resultBytesMax: 1_024,
  /** Lease of whoever opens and closes generations, ms. */
  generationsLeaseMs: 10_000,
  /** Leases that one process holds or waits for. */
  heldMax: 1_024,
  /** Rows of a list. */
  rowsMax: 1_000,
} as const;

assert(
  REGISTER_LIMITS.roundMs * 2 <= REGISTER_LIMITS.requestMs &&
    REGISTER_LIMITS.requestMs * 2 <= REGISTER_LIMITS.answerMs,
  'a request has time for a second round, and a call for a second try',
);
assert(
  REGISTER_LIMITS.digestSlots * (CASPAXOS_LIMITS.valueBytesMax + 4_096) <
    GROUP_LIMITS.messageBytesMax,
  'a record of a digest fits into a frame',
);
assert(
  REGISTER_LIMITS.peerNameBytesMax + '/req_'.length + 26 <= CASPAXOS_LIMITS.holderBytesMax,
  'the owner of a claim is a node and the id of a request',
);
assert(REGISTER_LIMITS.nameBytesMax + 16 <= CASPAXOS_LIMITS.keyNameBytesMax, 'names fit into keys');
