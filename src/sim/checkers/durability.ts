/**
 * E2, W3: what leaves as a promise is on the sender's disk: votes and acknowledgements. A2, R2: so is
 * what a machine applies and what a leader counts. And what the log called durable is there again
 * after any crash, unless the disk itself was damaged.
 */

import type { Message, NodeId, Output, Persist, RaftStatus, Term } from '../../raft/types.ts';
import type { Checker, Refute, StepSeen } from './checker.ts';

/** One disk, as the log has spoken of it. */
interface Durable {
  term: Term;
  votedFor: NodeId;
  lastIndex: number;
  /** Terms of entries by index, as far as this life has written them. */
  terms: (Term | undefined)[];
  /** Written, and not confirmed yet. */
  waiting: Persist[];
  /** Left before the log has confirmed what they rest on, as far as was seen. */
  promised: Message[];
}

export class Durability implements Checker {
  private readonly refute: Refute;
  /** Disks that may lack what they promised: damaged, lost, replaced. */
  private readonly isExcused: (id: NodeId) => boolean;
  private readonly disks = new Map<NodeId, Durable>();

  constructor(refute: Refute, isExcused: (id: NodeId) => boolean) {
    this.refute = refute;
    this.isExcused = isExcused;
  }

  started(id: NodeId, status: RaftStatus): void {
    const before = this.disks.get(id);
    if (before !== undefined && !this.isExcused(id)) this.compare(id, before, status);
    const { term, votedFor, lastIndex } = status;
    this.disks.set(id, { term, votedFor, lastIndex, terms: [], waiting: [], promised: [] });
  }

  step({ id, input, output, status, node }: StepSeen): void {
    const disk = this.disks.get(id);
    if (disk === undefined) return;
    if (input.kind === 'persisted') {
      while ((disk.waiting[0]?.seq ?? Infinity) <= input.seq) {
        const persist = disk.waiting.shift();
        if (persist !== undefined) write(disk, persist);
      }
    }
    for (const promise of disk.promised) this.check(promise, disk);
    disk.promised = [];
    if (output.persist !== null) disk.waiting.push(output.persist);
    this.checkApplied(id, output, disk);
    const { durableIndex } = status;
    const known = disk.terms[durableIndex];
    const own = node.entryAt(durableIndex)?.term;
    if (
      durableIndex > disk.lastIndex ||
      (known !== undefined && own !== undefined && known !== own)
    ) {
      this.refute(`node ${id} takes entry ${durableIndex}/${own} for durable, and it is not`);
    }
  }

  /** The host may send what has become durable just before it tells the core so, not earlier. */
  /** Whether the disk of `id` holds (index, term), as far as is known. */
  holds(id: NodeId, index: number, term: Term): boolean {
    const disk = this.disks.get(id);
    if (disk === undefined || this.isExcused(id)) return disk !== undefined;
    return index <= disk.lastIndex && (disk.terms[index] ?? term) === term;
  }

  /** Whether the disk of `id` holds a vote for `candidate` in `term`, or is in a later one. */
  hasVoted(id: NodeId, term: Term, candidate: NodeId): boolean {
    const disk = this.disks.get(id);
    if (disk === undefined || this.isExcused(id)) return disk !== undefined;
    return disk.term > term || (disk.term === term && disk.votedFor === candidate);
  }

  leaves(message: Message): void {
    const disk = this.disks.get(message.from);
    if (disk !== undefined && describeBroken(message, disk) !== null) disk.promised.push(message);
  }

  /** A2: what a machine applies is on this disk. */
  private checkApplied(id: NodeId, output: Output, disk: Durable): void {
    for (const item of output.apply) {
      const index = item.kind === 'restore' ? item.snapshot.meta.index : item.entries.at(-1)?.index;
      if ((index ?? 0) <= disk.lastIndex) continue;
      this.refute(`node ${id} applies entry ${index}, and its disk has ${disk.lastIndex}`);
    }
  }

  private check(message: Message, disk: Durable): void {
    const broken = describeBroken(message, disk);
    if (broken !== null) this.refute(`node ${message.from} ${broken}`);
  }

  private compare(id: NodeId, disk: Durable, status: RaftStatus): void {
    if (status.term < disk.term) {
      this.refute(`node ${id} had term ${disk.term} on its disk, and found ${status.term}`);
    }
    const isVoteLost = status.term === disk.term && status.votedFor !== disk.votedFor;
    if (isVoteLost && disk.votedFor !== 0) {
      this.refute(`node ${id} had a vote in term ${disk.term} on its disk, and it is gone`);
    }
    const cutFrom = disk.waiting.reduce((least, persist) => {
      if (persist.isLogDiscarded) return 0;
      return Math.min(least, persist.entries[0]?.index ?? Infinity);
    }, Infinity);
    const keptTo = Math.min(disk.lastIndex, cutFrom - 1);
    if (status.lastIndex < keptTo) {
      this.refute(`node ${id} had entry ${keptTo} on its disk, and found ${status.lastIndex}`);
    }
  }
}

/** What is wrong with a message by what the disk has; null: nothing. */
function describeBroken(message: Message, disk: Durable): string | null {
  const { kind, term } = message;
  if (kind === 'appendOk') {
    if (message.match <= disk.lastIndex) return null;
    return `acknowledges ${message.match}, and its disk has ${disk.lastIndex}`;
  }
  if (kind !== 'vote' && (kind !== 'voteReply' || !message.isGranted)) return null;
  const votedFor = kind === 'vote' ? message.from : message.to;
  // A vote of an older term may still be on its way out; the disk has gone on.
  if (disk.term > term || (disk.term === term && disk.votedFor === votedFor)) return null;
  const has = `its disk has term ${disk.term}, vote ${disk.votedFor}`;
  return `votes for ${votedFor} in term ${term}; ${has}`;
}

function write(disk: Durable, persist: Persist): void {
  if (persist.hardState !== null) {
    disk.term = persist.hardState.term;
    disk.votedFor = persist.hardState.votedFor;
  }
  if (persist.isLogDiscarded && persist.snapshot !== null) {
    disk.lastIndex = persist.snapshot.meta.index;
    disk.terms = [];
  }
  const first = persist.entries[0];
  if (first === undefined) return;
  disk.terms.length = Math.min(disk.terms.length, first.index);
  for (const entry of persist.entries) disk.terms[entry.index] = entry.term;
  disk.lastIndex = first.index + persist.entries.length - 1;
}
