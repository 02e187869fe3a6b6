/** All on-line checkers as one. */

import type { Message, NodeId, RaftStatus } from '../../raft/types.ts';
import { AppliedState } from './appliedState.ts';
import { Calls } from './calls.ts';
import type { Checker, Refute, StepSeen } from './checker.ts';
import { Committed } from './committed.ts';
import { Durability } from './durability.ts';
import { ElectionSafety } from './electionSafety.ts';
import { FreshReads } from './freshReads.ts';
import { LogMatching } from './logMatching.ts';
import { OneVote } from './oneVote.ts';
import { Proposals } from './proposals.ts';
import { QuorumProof } from './quorumProof.ts';
import { Quorums } from './quorums.ts';
import { Snapshots } from './snapshots.ts';

/** A claim that did not hold. */
export interface Violation {
  readonly checker: string;
  readonly text: string;
}

export class Checkers {
  readonly committed: Committed;
  readonly calls: Calls;
  readonly proposals: Proposals;
  readonly state: AppliedState;
  private readonly all: readonly Checker[];

  constructor(
    report: (violation: Violation) => void,
    isExcused: (id: NodeId) => boolean,
    attemptOf: (data: Uint8Array) => number | null,
  ) {
    const by =
      (checker: string): Refute =>
      (text) =>
        report({ checker, text });
    this.proposals = new Proposals(by('proposals'), attemptOf);
    this.committed = new Committed(by('committed entries'), (entry) =>
      this.proposals.isCommitted(entry),
    );
    const durability = new Durability(by('durability'), isExcused);
    this.calls = new Calls(by('calls run once, and stay'));
    this.state = new AppliedState(by('applied state'));
    this.all = [
      new ElectionSafety(by('election safety')),
      new OneVote(by('one vote a term')),
      new LogMatching(by('log matching')),
      this.committed,
      durability,
      new QuorumProof(by('proof of a quorum'), durability),
      new Quorums(by('quorums meet')),
      new Snapshots(by('snapshots'), this.committed),
      this.state,
      this.calls,
      new FreshReads(by('fresh reads'), this.calls),
    ];
  }

  started(id: NodeId, status: RaftStatus): void {
    for (const checker of this.all) checker.started?.(id, status);
  }

  ended(id: NodeId): void {
    for (const checker of this.all) checker.ended?.(id);
  }

  step(seen: StepSeen): void {
    for (const checker of this.all) checker.step?.(seen);
  }

  leaves(message: Message): void {
    for (const checker of this.all) checker.leaves?.(message);
  }

  applied(id: NodeId, index: number, chain: number): void {
    for (const checker of this.all) checker.applied?.(id, index, chain);
  }

  restored(id: NodeId, index: number, chain: number): void {
    for (const checker of this.all) checker.restored?.(id, index, chain);
  }

  executed(id: NodeId, index: number, call: number): void {
    for (const checker of this.all) checker.executed?.(id, index, call);
  }

  acknowledged(call: number): void {
    for (const checker of this.all) checker.acknowledged?.(call);
  }

  readBegan(read: number): void {
    for (const checker of this.all) checker.readBegan?.(read);
  }

  readDone(read: number, applied: number): void {
    for (const checker of this.all) checker.readDone?.(read, applied);
  }
}
