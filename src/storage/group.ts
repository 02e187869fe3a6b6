/** Encodes persists into one buffer, chained, as they will stand in the segment. @hot */

import { assert } from '../base/assert.ts';
import { STORAGE_LIMITS } from '../base/limits.ts';
import {
  BLOCK_BYTES,
  encodeBlock,
  ENTRY_HEAD_BYTES,
  FLAG_DISCARD,
  FLAG_LAST,
  MAGIC,
  nextLink,
  putU64,
  RECORD,
  RECORD_HEAD_BYTES,
  recordBytes,
  sealRecord,
  viewOf,
} from './layout.ts';
import {
  BASE_BYTES,
  HARD_STATE_BYTES,
  type LogState,
  putHardState,
  putSnapshotRef,
  putState,
  SNAPSHOT_BYTES,
  type SnapshotRef,
} from './replay.ts';
import type { LogEntry, LogHardState, LogIdentity, LogPersist } from './types.ts';

type Planned =
  | { readonly type: 'snapshot'; readonly snapshot: SnapshotRef; readonly isDiscard: boolean }
  | { readonly type: 'entry'; readonly entry: LogEntry }
  | { readonly type: 'hardState'; readonly hardState: LogHardState }
  | { readonly type: 'compact'; readonly index: number };

/** What a disk may lose as one. */
const PAGE_BYTES = 4_096;
const BUFFER_BYTES = STORAGE_LIMITS.groupBytesMax / 4;

export class GroupWriter {
  /** What the log says once everything encoded is written. */
  readonly state: LogState;
  readonly #kindNumbers: ReadonlyMap<string, number>;
  #buffer = new Uint8Array(BUFFER_BYTES);
  #length = 0;
  /** Where the buffer goes in the segment, and how long that is. */
  #offset = 0;
  #segmentBytes = 0;
  #sequence: number;
  #link: number;
  /** The last record that is known to be durable. */
  #durable: number;
  #planned: Planned[] = [];
  #toName: SnapshotRef | null = null;

  constructor(kinds: readonly string[], state: LogState, sequence: number, link: number) {
    this.#kindNumbers = new Map(kinds.map((kind, number) => [kind, number]));
    this.state = state;
    this.#sequence = sequence;
    this.#link = link;
    this.#durable = sequence - 1;
  }

  get pendingBytes(): number {
    return this.#length;
  }

  /** Goes on in a segment at `offset`. */
  open(offset: number, segmentBytes: number): void {
    this.#offset = offset;
    this.#segmentBytes = segmentBytes;
    this.#length = 0;
  }

  /** Goes on in an empty segment: its head and the state come first. */
  openFresh(segmentBytes: number, number: number, identity: LogIdentity): void {
    assert(this.#length === 0, 'a segment is begun when all before it is durable (S4)');
    this.open(0, segmentBytes);
    const numbers = [number, this.#sequence, this.#link, 0] as const;
    this.#reserve(BLOCK_BYTES);
    this.#buffer.set(encodeBlock({ magic: MAGIC.segment, identity, numbers }), 0);
    this.#length = BLOCK_BYTES;
    const payload = this.#payload(BASE_BYTES);
    putState(viewOf(payload), 0, this.state);
    this.#seal(RECORD.base, 0, 0, BASE_BYTES);
  }

  /** A group begins: all that was flushed is durable. */
  begin(): void {
    assert(this.#length === 0, 'a group begins when the one before is durable');
    this.#durable = this.#sequence - 1;
  }

  /** The next plan also names this snapshot, written beside the log. */
  nameSnapshot(snapshot: SnapshotRef): void {
    this.#toName = snapshot;
  }

  /** Lists the records of one persist; returns how many. */
  plan(persist: LogPersist, snapshot: SnapshotRef | null): number {
    const planned: Planned[] = [];
    const isDiscard = persist.isLogDiscarded;
    if (this.#toName !== null && this.#toName.index > this.state.snapshot.index) {
      planned.push({ type: 'snapshot', snapshot: this.#toName, isDiscard: false });
    }
    this.#toName = null;
    // A snapshot past the log's end leaves a gap behind it: nothing before it goes on.
    if (snapshot !== null) planned.push({ type: 'snapshot', snapshot, isDiscard: true });
    assert(snapshot !== null || !isDiscard, 'a log is discarded for a snapshot');
    for (const entry of persist.entries) planned.push({ type: 'entry', entry });
    if (persist.hardState !== null) {
      planned.push({ type: 'hardState', hardState: persist.hardState });
    }
    this.#planned = planned;
    return planned.length;
  }

  planCompact(index: number): void {
    this.#planned = [{ type: 'compact', index }];
  }

  /** The entry's index at this place of the plan; 0 where no entry stands there. */
  plannedIndex(place: number): number {
    const planned = this.#planned[place];
    return planned?.type === 'entry' ? planned.entry.index : 0;
  }

  fits(place: number): boolean {
    const planned = this.#planned[place];
    assert(planned !== undefined, 'the plan has this place');
    const bytes = recordBytes(payloadBytes(planned));
    const fresh = BLOCK_BYTES + recordBytes(BASE_BYTES);
    assert(fresh + bytes <= this.#segmentBytes, 'every record fits an empty segment');
    return this.#offset + this.#length + bytes <= this.#segmentBytes;
  }

  put(place: number): void {
    const planned = this.#planned[place];
    assert(planned !== undefined, 'the plan has this place');
    const flags = place === this.#planned.length - 1 ? FLAG_LAST : 0;
    const bytes = payloadBytes(planned);
    const payload = this.#payload(bytes);
    switch (planned.type) {
      case 'entry':
        this.#putEntry(planned.entry, payload, flags, bytes);
        return;
      case 'hardState':
        putHardState(viewOf(payload), 0, planned.hardState);
        this.#seal(RECORD.hardState, 0, flags, bytes);
        this.state.hardState = planned.hardState;
        return;
      case 'snapshot':
        putSnapshotRef(viewOf(payload), 0, planned.snapshot);
        this.#seal(RECORD.snapshot, 0, flags | (planned.isDiscard ? FLAG_DISCARD : 0), bytes);
        this.#applySnapshot(planned.snapshot, planned.isDiscard);
        return;
      case 'compact':
        putU64(viewOf(payload), 0, planned.index);
        this.#seal(RECORD.compact, 0, flags, bytes);
        this.state.compactTo = planned.index;
        return;
    }
  }

  /** What is to be written, and where. Lent until `flushed`. */
  pending(): { readonly offset: number; readonly bytes: Uint8Array } {
    return { offset: this.#offset, bytes: this.#buffer.subarray(0, this.#length) };
  }

  flushed(): void {
    this.#offset += this.#length;
    this.#length = 0;
  }

  hasRoomForMark(): boolean {
    return this.#markOffset() + RECORD_HEAD_BYTES <= this.#segmentBytes;
  }

  /** In a page of its own, else a sector: what loses the last records must not take it along. */
  #markOffset(): number {
    const page = Math.ceil(this.#offset / PAGE_BYTES) * PAGE_BYTES;
    if (page + RECORD_HEAD_BYTES <= this.#segmentBytes) return page;
    return Math.ceil(this.#offset / BLOCK_BYTES) * BLOCK_BYTES;
  }

  /** A record that says that all before it is durable. It is no part of the chain. */
  mark(): { readonly offset: number; readonly bytes: Uint8Array } {
    const bytes = new Uint8Array(RECORD_HEAD_BYTES);
    sealRecord(bytes, 0, {
      type: RECORD.mark,
      kind: 0,
      flags: 0,
      length: 0,
      sequence: this.#sequence,
      durable: this.#sequence - 1,
      link: this.#link,
    });
    return { offset: this.#markOffset(), bytes };
  }

  #putEntry(entry: LogEntry, payload: Uint8Array, flags: number, bytes: number): void {
    const { state } = this;
    assert(entry.index <= state.lastIndex + 1, 'entries follow one another');
    const kind = this.#kindNumbers.get(entry.kind);
    assert(kind !== undefined, 'every kind of entry has its number');
    const view = viewOf(payload);
    putU64(view, 0, entry.term);
    putU64(view, 8, entry.index);
    putU64(view, 16, entry.timeMs);
    payload.set(entry.data, ENTRY_HEAD_BYTES);
    this.#seal(RECORD.entry, kind, flags, bytes);
    state.lastIndex = entry.index;
    state.lastTerm = entry.term;
  }

  #applySnapshot(snapshot: SnapshotRef, isDiscard: boolean): void {
    const { state } = this;
    state.snapshot = snapshot;
    if (!isDiscard) return;
    state.compactTo = snapshot.index;
    state.lastIndex = snapshot.index;
    state.lastTerm = snapshot.term;
  }

  /** Room for a payload behind the head of the record to come. */
  #payload(bytes: number): Uint8Array {
    this.#reserve(recordBytes(bytes));
    const from = this.#length + RECORD_HEAD_BYTES;
    return this.#buffer.subarray(from, from + bytes);
  }

  #seal(type: number, kind: number, flags: number, length: number): void {
    const crc = sealRecord(this.#buffer, this.#length, {
      type,
      kind,
      flags,
      length,
      sequence: this.#sequence,
      durable: this.#durable,
      link: this.#link,
    });
    this.#link = nextLink(this.#link, crc);
    this.#sequence += 1;
    this.#length += recordBytes(length);
  }

  #reserve(more: number): void {
    if (this.#length + more <= this.#buffer.length) return;
    const grown = new Uint8Array(Math.max(this.#buffer.length * 2, this.#length + more));
    grown.set(this.#buffer.subarray(0, this.#length));
    this.#buffer = grown;
  }
}

function payloadBytes(planned: Planned): number {
  switch (planned.type) {
    case 'entry':
      return ENTRY_HEAD_BYTES + planned.entry.data.length;
    case 'hardState':
      return HARD_STATE_BYTES;
    case 'snapshot':
      return SNAPSHOT_BYTES;
    case 'compact':
      return 8;
  }
}
