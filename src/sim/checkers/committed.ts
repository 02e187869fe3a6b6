/**
 * What is committed stays: the commit index of a process never falls, no two nodes commit different
 * entries at one index (A1, state machine safety), every leader of a later term holds all that was
 * committed before (figure 3: leader completeness), and counts only entries of its own term (R1).
 */

import type { RaftNode } from '../../raft/node.ts';
import type { Entry, NodeId, RaftStatus, Term } from '../../raft/types.ts';
import type { Checker, Refute, StepSeen } from './checker.ts';
import { isSame } from './logMatching.ts';

export class Committed implements Checker {
  /** The highest commit index that any node has known. */
  commitMax = 0;
  private readonly refute: Refute;
  private readonly entries: (Entry | undefined)[] = [];
  private readonly commits = new Map<NodeId, number>();
  private readonly terms = new Map<NodeId, Term>();
  /** The newest term in which a node has been seen as leader. */
  private readonly led = new Map<NodeId, Term>();

  /** Is told of each entry when it is first known to be committed. */
  private readonly onNew: (entry: Entry) => void;

  constructor(refute: Refute, onNew: (entry: Entry) => void) {
    this.refute = refute;
    this.onNew = onNew;
  }

  /** The entry that is committed at `index`, if any node has known it. */
  at(index: number): Entry | undefined {
    return this.entries[index];
  }

  started(id: NodeId, status: RaftStatus): void {
    this.commits.set(id, 0);
    this.terms.set(id, status.term);
    this.led.delete(id);
  }

  step({ id, status, node }: StepSeen): void {
    if (status.term < (this.terms.get(id) ?? 0)) this.refute(`the term of node ${id} falls`);
    this.terms.set(id, status.term);
    if (status.role === 'leader' && this.led.get(id) !== status.term) {
      this.led.set(id, status.term);
      this.checkLeader(id, status, node);
    }
    this.checkOwnTerm(id, status, node);
    this.advance(id, status.commit, node);
  }

  /** R1: a leader commits by counting only what is of its own term (figure 8). */
  private checkOwnTerm(id: NodeId, status: RaftStatus, node: RaftNode): void {
    if (status.role !== 'leader' || status.commit === this.commits.get(id)) return;
    // What was known to be committed before it led is not of its counting.
    if (status.commit <= this.commitMax) return;
    const term = node.entryAt(status.commit)?.term;
    if (term === undefined || term === status.term) return;
    const what = `node ${id}, leader of term ${status.term}, commits up to ${status.commit}`;
    this.refute(`${what}, an entry of term ${term}`);
  }

  private advance(id: NodeId, commit: number, node: RaftNode): void {
    const before = this.commits.get(id) ?? 0;
    if (commit === before) return;
    if (commit < before) {
      this.refute(`the commit index of node ${id} falls from ${before} to ${commit}`);
      return;
    }
    this.commits.set(id, commit);
    this.commitMax = Math.max(this.commitMax, commit);
    for (let index = before + 1; index <= commit; index += 1) {
      const entry = node.entryAt(index);
      if (entry === null) continue; // A snapshot stands in its place.
      const known = this.entries[index];
      if (known === undefined) {
        this.entries[index] = entry;
        this.onNew(entry);
      } else if (known !== entry && !isSame(known, entry)) {
        const terms = `${known.term} and ${entry.term}`;
        this.refute(`two entries are committed at ${index}, of terms ${terms} (node ${id})`);
      }
    }
  }

  private checkLeader(id: NodeId, status: RaftStatus, node: RaftNode): void {
    for (let index = status.firstIndex; index <= this.commitMax; index += 1) {
      const known = this.entries[index];
      // What was committed in this leader's term or later is no matter of its election.
      if (known === undefined || known.term >= status.term) continue;
      const own = node.entryAt(index);
      if (own?.term === known.term) continue;
      const has = own === null ? 'lacks it' : `holds one of term ${own.term}`;
      const what = `entry ${index} of term ${known.term} was committed`;
      this.refute(`${what}; node ${id}, leader of term ${status.term}, ${has}`);
      return;
    }
  }
}
