/**
 * C1, P2: configurations that follow one another in a log have quorums that meet, and one is made
 * only when the one before it is committed and so is an entry of its maker's term.
 */

import { decodeConf } from '../../raft/codec.ts';
import type { RaftNode } from '../../raft/node.ts';
import type { ConfState, Entry, NodeId, RaftStatus } from '../../raft/types.ts';
import type { Checker, Refute, StepSeen } from './checker.ts';

export class Quorums implements Checker {
  private readonly refute: Refute;
  /** What each node last believed. */
  private readonly confs = new Map<NodeId, ConfState>();
  /** The last configuration that the leader of a term made. */
  private readonly made = new Map<number, number>();

  constructor(refute: Refute) {
    this.refute = refute;
  }

  started(id: NodeId, status: RaftStatus): void {
    this.confs.set(id, status.conf);
  }

  step({ id, output, status, node }: StepSeen): void {
    const before = this.confs.get(id);
    this.confs.set(id, status.conf);
    if (status.role !== 'leader' || output.persist === null || before === undefined) return;
    let last = before;
    for (const entry of output.persist.entries) {
      if (entry.kind !== 'config' || entry.term !== status.term) continue;
      const conf = decodeConf(entry.data);
      if (conf === null) continue;
      this.look(id, last, conf, entry, status, node);
      last = conf;
    }
  }

  private look(
    id: NodeId,
    before: ConfState,
    after: ConfState,
    entry: Entry,
    status: RaftStatus,
    node: RaftNode,
  ): void {
    const where = `node ${id} makes configuration ${entry.index} of term ${entry.term}`;
    if (!doQuorumsMeet(before, after)) {
      this.refute(`${where}, whose quorums need not meet those of the one before`);
    }
    const last = this.made.get(entry.term) ?? 0;
    this.made.set(entry.term, entry.index);
    if (last > status.commit) this.refute(`${where} before ${last} was committed`);
    // `persist` may come later than the entry was made: only what is certain is refuted.
    if (node.entryAt(status.commit)?.term !== entry.term && status.commit < entry.index) {
      const committed = node.entryAt(status.commit)?.term;
      if (committed !== undefined && committed < entry.term) {
        this.refute(`${where} before any entry of that term was committed`);
      }
    }
  }
}

/** Whether every quorum of `left` shares a voter with every quorum of `right`. */
function doQuorumsMeet(left: ConfState, right: ConfState): boolean {
  const halves = (conf: ConfState): (readonly NodeId[])[] =>
    [conf.voters, conf.votersOutgoing].filter((half) => half.length > 0);
  // Two sets of which one has at most one voter more or less than the other always meet; a joint
  // configuration meets whatever one of its halves meets.
  return halves(left).some((one) => halves(right).some((other) => difference(one, other) <= 1));
}

function difference(left: readonly NodeId[], right: readonly NodeId[]): number {
  const gone = left.filter((id) => !right.includes(id)).length;
  return gone + right.filter((id) => !left.includes(id)).length;
}
