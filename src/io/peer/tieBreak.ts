/**
 * Which of two connections of one pair stays. Both sides decide alike, from what both know.
 *
 * T1: of two connections between the same two processes, dialled by different sides, both sides keep
 * the one that the peer with the smaller name dialled (tieBreak.test.ts).
 */

/** One connection, as both sides know it. */
export interface LinkFacts {
  /** The peer that dialled it. */
  readonly dialer: string;
  /** The other side's session: another one means that its process restarted. */
  readonly session: number;
}

/** True: `later` replaces `earlier`. */
export function replaces(later: LinkFacts, earlier: LinkFacts, own: string, peer: string): boolean {
  // The peer restarted: the earlier one is a leftover of a process that is gone.
  if (later.session !== earlier.session) return true;
  // The same side dials again only where its earlier connection is gone.
  if (later.dialer === earlier.dialer) return true;
  return later.dialer === (own < peer ? own : peer);
}
