/** Limits of CASPaxos (`src/caspaxos`): registers, their acceptors and buckets, and what is on top. */

import { assert } from './assert.ts';

const KIB = 1024;

/** Registers, rounds, buckets; leases and claims. */
export const CASPAXOS_LIMITS = {
  /** Acceptors of one set. */
  acceptorsMax: 9,
  clusterCharsMax: 64,
  keyNameBytesMax: 256,
  requestIdBytesMax: 192,
  /** One register's value, bytes. */
  valueBytesMax: 64 * KIB,
  /** Request ids that a register remembers: so many changes later a retry still finds its own. */
  recentMax: 8,
  /** Buckets from the lowest that is not closed to the highest that is open. */
  bucketsMax: 1_024,
  /** Keys of the bucket that is never closed. */
  permanentKeysMax: 100_000,
  /** Keys of all buckets that will be closed, at one acceptor, and what they may take of its memory. */
  keysMax: 1_000_000,
  keyBytesMax: 512 * 1024 * KIB,
  /** Keys that others keep already are taken up to so much of all three, percent. */
  carriedRoomPercent: 300,
  /** Slots of a bucket that an acceptor keeps as objects: those changed last. All others are packed. */
  liveSlotsMax: 1_024,
  /** Requests under way and waiting at one node. */
  requestsMax: 4_096,
  /** Keys whose next ballot and value a proposer remembers. */
  cacheMax: 16_384,
  /** Rounds of one request. */
  roundsMax: 16,
  /** Above the longest round trip between regions, ms. */
  roundMs: 1_000,
  backoffMsBase: 20,
  backoffMsMax: 2_000,
  requestMs: 10_000,
  /** Keys of one page of a rescan. */
  scanKeysMax: 64,
  /** Records of one persist, as its decoder takes them. */
  persistSlotsMax: 65_536,
  alarmsMax: 64,
  /** A lease's time to live, ms. */
  leaseMsMin: 100,
  leaseMsMax: 3_600_000,
  /** How much two monotonic clocks may differ in rate, parts in a thousand of the time. */
  clockDriftPermille: 10,
  /** Holders of leases, owners of claims and names, bytes: a peer's name and a number fit in. */
  holderBytesMax: 160,
} as const;

assert(
  CASPAXOS_LIMITS.roundMs * 2 <= CASPAXOS_LIMITS.requestMs,
  'a request has time for more than one round',
);
assert(
  CASPAXOS_LIMITS.backoffMsBase <= CASPAXOS_LIMITS.backoffMsMax,
  'the first back-off is within the longest',
);
assert(
  CASPAXOS_LIMITS.holderBytesMax + 24 <= CASPAXOS_LIMITS.requestIdBytesMax,
  'a request id holds its owner, what it is and a number',
);
