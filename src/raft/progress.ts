/**
 * What a leader knows of one follower, and how much it may send to it.
 *
 * F1: match < next, always (etcd-io/raft #149 shows what happens otherwise).
 * F2: at most `inFlightCountMax` messages and `inFlightBytesMax` bytes are on the way, or one probe.
 */

import { assert } from '../base/assert.ts';
import type { Checkpoint, Index, NodeId, RaftOptions, Snapshot } from './types.ts';

interface InFlight {
  readonly lastIndex: Index;
  readonly bytes: number;
}

/** A snapshot on its way. */
export interface Transfer {
  readonly snapshot: Snapshot;
  /** Bytes the follower says that it has. */
  ackedBytes: number;
  sentBytes: number;
  isStarted: boolean;
  /** Of the last acknowledgement that moved. */
  movedMs: number;
  isStalled: boolean;
}

export class Progress {
  readonly id: NodeId;
  state: 'probe' | 'replicate' | 'snapshot' = 'probe';
  match: Index = 0;
  next: Index;
  /** A probe is on its way; the next goes with an answer or a heartbeat's. */
  isProbing = false;
  transfer: Transfer | null = null;
  /** When this follower last said anything in this term; -Infinity: never. */
  heardMs = Number.NEGATIVE_INFINITY;
  /** Since when it has been heard without a gap of an election time-out. */
  activeFromMs = Number.POSITIVE_INFINITY;
  /** The commit index that it was last told. */
  commitSent: Index = 0;
  /** The newest heartbeat round that it answered. */
  round = 0;
  /** The feature level that it understands; -1: not known. */
  level = -1;
  checkpoint: Checkpoint = { index: 0, hash: 0 };
  #inFlight: InFlight[] = [];
  #inFlightBytes = 0;

  constructor(id: NodeId, next: Index) {
    this.id = id;
    this.next = next;
  }

  get inFlightCount(): number {
    return this.#inFlight.length;
  }
  get inFlightBytes(): number {
    return this.#inFlightBytes;
  }

  /** Something was heard. `gapMs` is the silence after which activity begins anew. */
  hear(nowMs: number, gapMs: number): void {
    if (nowMs - this.heardMs > gapMs) this.activeFromMs = nowMs;
    this.heardMs = nowMs;
  }

  isPaused(options: RaftOptions): boolean {
    if (this.state === 'snapshot') return true;
    if (this.state === 'probe') return this.isProbing;
    return (
      this.#inFlight.length >= options.inFlightCountMax ||
      this.#inFlightBytes >= options.inFlightBytesMax
    );
  }

  /** Entries up to `lastIndex` leave in one message. */
  sent(lastIndex: Index, bytes: number): void {
    if (this.state === 'probe') {
      this.isProbing = true;
      return;
    }
    assert(this.state === 'replicate', 'a follower that takes a snapshot gets no entries');
    assert(lastIndex >= this.next, 'entries go out once, until the follower says otherwise');
    this.next = lastIndex + 1;
    this.#inFlight.push({ lastIndex, bytes });
    this.#inFlightBytes += bytes;
  }

  /** Everything up to `match` is durable at the follower. True if that is news. */
  acknowledge(match: Index): boolean {
    const isNews = match > this.match;
    if (isNews) this.match = match;
    this.next = Math.max(this.next, match + 1);
    this.#free(match);
    if (this.state === 'probe') this.becomeReplicate();
    const covers = this.transfer?.snapshot.meta.index ?? Number.POSITIVE_INFINITY;
    if (this.state === 'snapshot' && match >= covers) this.becomeReplicate();
    return isNews;
  }

  /** The follower refused `prevIndex`; `hint` is where the logs may agree. False: old news. */
  refuse(prevIndex: Index, hint: Index): boolean {
    if (this.state === 'snapshot') return false;
    if (this.state === 'replicate') {
      if (prevIndex <= this.match) return false;
      this.becomeProbe();
      return true;
    }
    if (prevIndex !== this.next - 1) return false;
    this.next = Math.max(this.match + 1, Math.min(prevIndex, hint + 1));
    this.isProbing = false;
    return true;
  }

  becomeProbe(): void {
    // After a snapshot that the follower has, it goes on behind it.
    this.#reset('probe');
    this.next = this.match + 1;
  }

  becomeReplicate(): void {
    this.#reset('replicate');
    this.next = this.match + 1;
  }

  becomeSnapshot(snapshot: Snapshot, nowMs: number): void {
    this.#reset('snapshot');
    this.next = Math.max(this.match, snapshot.meta.index) + 1;
    this.transfer = {
      snapshot,
      ackedBytes: 0,
      sentBytes: 0,
      isStarted: false,
      movedMs: nowMs,
      isStalled: false,
    };
  }

  #reset(state: 'probe' | 'replicate' | 'snapshot'): void {
    this.state = state;
    this.isProbing = false;
    this.transfer = null;
    this.#inFlight = [];
    this.#inFlightBytes = 0;
  }

  #free(match: Index): void {
    let count = 0;
    while (count < this.#inFlight.length) {
      const first = this.#inFlight[count];
      if (first === undefined || first.lastIndex > match) break;
      this.#inFlightBytes -= first.bytes;
      count += 1;
    }
    if (count > 0) this.#inFlight.splice(0, count);
  }
}
