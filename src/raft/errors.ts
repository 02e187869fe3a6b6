/**
 * Every way in which the core refuses or loses a request. *Definite*: it certainly did not and will
 * not take effect, so that asking again is safe. *Indefinite*: it may have, or may yet; only a
 * client session makes asking again safe (sessions.ts). After Maelstrom's table of errors.
 */

interface RaftErrorEntry {
  readonly definite: boolean;
  readonly sentence: string;
}

function definite(sentence: string): RaftErrorEntry {
  return { definite: true, sentence };
}

function indefinite(sentence: string): RaftErrorEntry {
  return { definite: false, sentence };
}

/** An error's place is its number on the wire (messageCodec.ts): new ones go to the end. */
export const RAFT_ERRORS = {
  'no-leader': definite('No leader is known; an election may be under way.'),
  'not-leader': definite('Only the leader takes this; ask it.'),
  'wrong-term': definite('The request was meant for the leader of another term.'),
  'transfer-under-way': definite('Leadership is being handed over; ask the next leader.'),
  overloaded: definite('Too many bytes wait to be committed.'),
  'too-large': definite('The command is larger than one entry may be.'),
  'too-many': definite('Too many requests are under way at this node.'),
  'disk-full': definite('The disk of the leader is full; nothing more is taken.'),
  'disk-failed': definite('A write of this node failed; it takes part in nothing any more.'),
  superseded: definite('Another entry was committed in its place.'),
  'outcome-unknown': indefinite('The request may have taken effect, or may yet.'),
  'read-lost': definite('The read could not be confirmed; ask again.'),
  'change-in-flight': definite('Another change of members is not committed yet.'),
  'term-not-committed': definite('The leader has not committed an entry of its term yet.'),
  'no-change': definite('The change names nothing that is different.'),
  'unknown-member': definite('No member has this id.'),
  'id-used': definite('This id was given out before; ids are never used twice.'),
  'not-learner-first': definite('Only a learner can be made a voter.'),
  'not-caught-up': definite('The node has not caught up.'),
  'last-voter': definite('The last voter that can lead cannot be removed.'),
  'too-many-members': definite('The cluster has as many members as it may.'),
  'bad-target': definite('Leadership cannot go to this node.'),
  'transfer-failed': indefinite('The node did not take over in time.'),
  'level-unsupported': definite('A member does not understand this feature level.'),
} as const satisfies Readonly<Record<string, RaftErrorEntry>>;

export type RaftErrorCode = keyof typeof RAFT_ERRORS;
