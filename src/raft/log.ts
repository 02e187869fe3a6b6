/**
 * The log as the core sees it: entries in memory since the floor, the newest snapshot, and the
 * configuration at every index.
 *
 * L1: indices are consecutive and terms and log time never fall.
 * L2: (term, index) names one content: what is appended is never changed, only cut off.
 * L3: the floor is at or below the snapshot: every index is covered by one or both.
 * Entries below the floor are gone; their place is remembered by the floor's index and term.
 */

import { assert } from '../base/assert.ts';
import { RAFT_LIMITS } from '../base/limits.ts';
import { decodeConf } from './codec.ts';
import { EMPTY_CONF } from './membership.ts';
import type { ConfState, Entry, Index, Snapshot, Stored, Term } from './types.ts';

/** A configuration and where the log sets it. */
export interface ConfAt {
  readonly index: Index;
  readonly conf: ConfState;
}

/** What an entry counts for in every limit of bytes. */
export function entryBytes(entry: Entry): number {
  return entry.data.length + RAFT_LIMITS.entryOverheadBytes;
}

export class RaftLog {
  #entries: Entry[];
  #floorIndex: Index;
  #floorTerm: Term;
  #snapshot: Snapshot | null;
  /** Ascending; the first is at or below the floor. */
  #confs: ConfAt[];
  #bytes = 0;

  /** Takes over what was stored; its form has been verified by the caller (start.ts). */
  constructor(stored: Pick<Stored, 'snapshot' | 'entries'>) {
    const { snapshot, entries } = stored;
    const first = entries[0];
    this.#snapshot = snapshot;
    this.#entries = [];
    this.#floorIndex = snapshot?.meta.index ?? 0;
    this.#floorTerm = snapshot?.meta.term ?? 0;
    this.#confs = [{ index: this.#floorIndex, conf: snapshot?.meta.conf ?? EMPTY_CONF }];
    if (first === undefined) return;
    // Entries kept behind the snapshot have no term before the first one; that one is the floor.
    const keepsOlder = first.index <= this.#floorIndex;
    const kept = keepsOlder ? entries.slice(1) : entries;
    if (keepsOlder) {
      this.#floorIndex = first.index;
      this.#floorTerm = first.term;
    }
    for (const entry of kept) this.#push(entry);
  }

  get floorIndex(): Index {
    return this.#floorIndex;
  }
  get firstIndex(): Index {
    return this.#floorIndex + 1;
  }
  get lastIndex(): Index {
    return this.#floorIndex + this.#entries.length;
  }
  get lastTerm(): Term {
    return this.#entries.at(-1)?.term ?? this.#floorTerm;
  }
  get lastTimeMs(): number {
    return this.#entries.at(-1)?.timeMs ?? this.#snapshot?.meta.timeMs ?? 0;
  }
  get snapshot(): Snapshot | null {
    return this.#snapshot;
  }
  get bytes(): number {
    return this.#bytes;
  }
  /** The configuration in effect: the last one appended. */
  get conf(): ConfAt {
    const last = this.#confs.at(-1);
    assert(last !== undefined, 'there is always a configuration');
    return last;
  }

  /** The term at `index`, or null where the log does not reach. */
  termAt(index: Index): Term | null {
    if (index === this.#floorIndex) return this.#floorTerm;
    if (index === this.#snapshot?.meta.index) return this.#snapshot.meta.term;
    return this.entryAt(index)?.term ?? null;
  }

  entryAt(index: Index): Entry | null {
    if (index <= this.#floorIndex) return null;
    return this.#entries[index - this.#floorIndex - 1] ?? null;
  }

  /** The configuration in effect at `index`, which is at or above the floor. */
  confAt(index: Index): ConfAt {
    const found = this.#confs.findLast((at) => at.index <= index);
    assert(found !== undefined, 'a configuration is known from the floor on');
    return found;
  }

  /** Log time at `index`, at or above the floor; 0 where it is not known. */
  timeMsAt(index: Index): number {
    if (index === this.#snapshot?.meta.index) return this.#snapshot.meta.timeMs;
    return this.entryAt(index)?.timeMs ?? 0;
  }

  /** Entries from `from` on: at least one if there is any, at most `bytesMax` and `countMax`. */
  slice(from: Index, bytesMax: number, countMax: number, to = this.lastIndex): readonly Entry[] {
    assert(from > this.#floorIndex, 'compacted entries are not read');
    const begin = from - this.#floorIndex - 1;
    const endMax = Math.min(to - this.#floorIndex, begin + countMax);
    let end = begin;
    let bytes = 0;
    while (end < endMax) {
      const entry = this.#entries[end];
      if (entry === undefined) break;
      bytes += entryBytes(entry);
      if (end > begin && bytes > bytesMax) break;
      end += 1;
    }
    return this.#entries.slice(begin, Math.max(begin, end));
  }

  append(entries: readonly Entry[]): void {
    for (const entry of entries) this.#push(entry);
  }

  /** Cuts off everything from `index` on; configurations go with it. */
  truncateFrom(index: Index): void {
    assert(index > this.#floorIndex, 'what a snapshot covers is committed and stays');
    const cut = this.#entries.splice(index - this.#floorIndex - 1);
    for (const entry of cut) this.#bytes -= entryBytes(entry);
    while (this.conf.index >= index) this.#confs.pop();
  }

  /** A snapshot taken here: the log stays; `compactTo` takes entries away. */
  setSnapshot(snapshot: Snapshot): void {
    assert(snapshot.meta.index > (this.#snapshot?.meta.index ?? 0), 'snapshots go forward');
    assert(this.termAt(snapshot.meta.index) === snapshot.meta.term, 'the log agrees with it');
    this.#snapshot = snapshot;
  }

  /** A snapshot received in place of a log that does not reach it: everything else goes. */
  restore(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    this.#entries = [];
    this.#bytes = 0;
    this.#floorIndex = snapshot.meta.index;
    this.#floorTerm = snapshot.meta.term;
    this.#confs = [{ index: snapshot.meta.index, conf: snapshot.meta.conf }];
  }

  /** Forgets entries up to `index`, which the snapshot covers. */
  compactTo(index: Index): void {
    if (index <= this.#floorIndex) return;
    assert(index <= (this.#snapshot?.meta.index ?? 0), 'a snapshot covers what is forgotten');
    const term = this.termAt(index);
    assert(term !== null, 'the new floor is inside the log');
    const gone = this.#entries.splice(0, index - this.#floorIndex);
    for (const entry of gone) this.#bytes -= entryBytes(entry);
    this.#floorIndex = index;
    this.#floorTerm = term;
    const keptFrom = this.#confs.findLastIndex((at) => at.index <= index);
    if (keptFrom > 0) this.#confs.splice(0, keptFrom);
  }

  /** The highest index at most `index` whose term is at most `term`: where logs may still agree. */
  agreementAt(index: Index, term: Term): Index {
    let at = Math.min(index, this.lastIndex);
    while (at > this.#floorIndex && (this.termAt(at) ?? 0) > term) at -= 1;
    return at;
  }

  /** Whether a log that ends in (index, term) holds at least as much. */
  isUpToDate(index: Index, term: Term): boolean {
    return term > this.lastTerm || (term === this.lastTerm && index >= this.lastIndex);
  }

  #push(entry: Entry): void {
    assert(entry.index === this.lastIndex + 1, 'entries are consecutive');
    assert(entry.term >= this.lastTerm, 'terms never fall');
    assert(entry.index <= RAFT_LIMITS.integerMax, 'indices stay below 2^53');
    this.#entries.push(entry);
    this.#bytes += entryBytes(entry);
    // The snapshot's own configuration stands at its index already.
    if (entry.kind !== 'config' || entry.index <= this.conf.index) return;
    const conf = decodeConf(entry.data);
    assert(conf !== null, 'a configuration was checked before it was appended');
    this.#confs.push({ index: entry.index, conf });
  }
}
