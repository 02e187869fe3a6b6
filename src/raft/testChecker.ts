/**
 * Looks at a test cluster after every step and asserts what must always hold: election safety,
 * leader completeness, log matching, state machine safety, and that indices only go forward.
 */

import { assert } from '../base/assert.ts';
import type { RaftNode } from './node.ts';
import type { Entry, Index, Message, NodeId, Output, Term } from './types.ts';

interface Seen {
  readonly term: Term;
  readonly commit: Index;
  readonly applied: Index;
  readonly role: string;
}

export class ClusterChecker {
  /** The leader of each term. */
  readonly leaders = new Map<Term, NodeId>();
  /** What is committed at each index: its term and kind name the entry. */
  readonly committed = new Map<Index, Entry>();
  /** The first entry seen with (index, term): every other must be it. */
  readonly #entries = new Map<string, Entry>();
  readonly #seen = new Map<NodeId, Seen>();
  readonly #votes = new Map<string, NodeId>();
  readonly #appliedTo = new Map<NodeId, Index>();
  commitMax = 0;
  steps = 0;

  /** A node has ended: what it had in memory binds it no more. */
  forget(id: NodeId): void {
    this.#seen.delete(id);
    this.#appliedTo.delete(id);
  }

  look(_nowMs: number, id: NodeId, raft: RaftNode, output: Output): void {
    this.steps += 1;
    const status = raft.status();
    const before = this.#seen.get(id);
    this.#checkForward(status.term, status.commit, before);
    if (status.role === 'leader') this.#checkLeader(id, status.term, raft, before);
    for (const entry of output.persist?.entries ?? []) this.#checkEntry(raft, entry);
    for (let index = (before?.commit ?? 0) + 1; index <= status.commit; index += 1) {
      this.#checkCommitted(raft.entryAt(index));
    }
    this.commitMax = Math.max(this.commitMax, status.commit);
    const { term, commit, applied, role } = status;
    this.#seen.set(id, { term, commit, applied, role });
  }

  /** A message leaves: what it promises is durable. */
  leaves(message: Message): void {
    if (message.kind !== 'voteReply' || !message.isGranted) return;
    const key = `${message.term}:${message.from}`;
    const voted = this.#votes.get(key) ?? message.to;
    assert(voted === message.to, 'E3: one vote a term');
    this.#votes.set(key, voted);
  }

  #checkForward(term: Term, commit: Index, before: Seen | undefined): void {
    assert(term >= (before?.term ?? 0), 'terms never fall');
    assert(commit >= (before?.commit ?? 0), 'A1: the commit index never falls');
  }

  #checkLeader(id: NodeId, term: Term, raft: RaftNode, before: Seen | undefined): void {
    const known = this.leaders.get(term) ?? id;
    assert(known === id, 'E1: one leader a term');
    this.leaders.set(term, id);
    if (before?.role === 'leader' && before.term === term) return;
    const { firstIndex, lastIndex } = raft.status();
    for (const [index, entry] of this.committed) {
      // An entry committed in this leader's term or later is no matter of its election.
      if (entry.term >= term || index < firstIndex) continue;
      assert(index <= lastIndex, 'leader completeness: nothing committed is missing');
      assert(raft.entryAt(index)?.term === entry.term, 'leader completeness: nothing is another');
    }
  }

  #checkEntry(raft: RaftNode, entry: Entry): void {
    const key = `${entry.index}:${entry.term}`;
    const first = this.#entries.get(key);
    if (first === undefined) {
      this.#entries.set(key, entry);
      return;
    }
    assert(isSame(first, entry), 'log matching: one (index, term), one entry');
    const before = raft.entryAt(entry.index - 1);
    if (before === null) return;
    const known = this.#entries.get(`${before.index}:${before.term}`);
    assert(known === undefined || isSame(known, before), 'log matching: equal up to there');
  }

  #checkCommitted(entry: Entry | null): void {
    if (entry === null) return; // A snapshot came in its place.
    const known = this.committed.get(entry.index);
    if (known === undefined) this.committed.set(entry.index, entry);
    else assert(isSame(known, entry), 'state machine safety: one entry an index');
  }

  /** The state machine of `id` gets `entry`. */
  applied(id: NodeId, entry: Entry): void {
    const before = this.#appliedTo.get(id) ?? 0;
    assert(entry.index > before, 'A3: entries are applied in order, once');
    this.#appliedTo.set(id, entry.index);
    this.#checkCommitted(entry);
  }
}

function isSame(left: Entry, right: Entry): boolean {
  return (
    left.term === right.term &&
    left.kind === right.kind &&
    left.timeMs === right.timeMs &&
    left.data.length === right.data.length &&
    left.data.every((byte, at) => byte === right.data[at])
  );
}
