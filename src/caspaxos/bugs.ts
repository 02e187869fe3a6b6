/**
 * Planted bugs, each a known mistake of implementations of Paxos: tests switch one on and must see
 * it found. Production has no way in: `CasNode.start` takes none.
 */

export const BUGS = [
  /** An acceptor lets a ballot of the same counter pass as higher. */
  'equal-ballot',
  /** What an acceptor says leaves before it is durable. */
  'early-answer',
  /** A conflict does not drop what the proposer remembers of the key. */
  'stale-cache',
  /** A read believes the highest accepted ballot without asking whether a quorum has it. */
  'phantom-read',
  /** A proposer goes on from the first value that it was told, not from the highest ballot's. */
  'first-promise',
  /** An acceptor takes rounds of an older acceptor set. */
  'old-epoch',
  /** A proposer compares accepted ballots without their epochs. */
  'epoch-blind',
  /** In a joint configuration a majority of the new set is enough. */
  'half-joint',
  /** A change of acceptors ends without bringing the keys along. */
  'no-rescan',
  /** A closed bucket is dropped but not refused. */
  'reopened-bucket',
  /** A conflict is told of although the change that was tried may still win. */
  'early-conflict',
  /** A lost outcome is reported as a failure. */
  'unknown-as-failure',
  /** One acceptor is enough. */
  'quorum-of-one',
] as const;

export type Bug = (typeof BUGS)[number];
export type Bugs = ReadonlySet<Bug>;

export const NO_BUGS: Bugs = new Set();
