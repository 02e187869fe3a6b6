/** The state that a log's records build up, one after another: what recovery ends with. */

import { ENTRY_HEAD_BYTES, FLAG_DISCARD, getU64, putU64, RECORD, viewOf } from './layout.ts';
import type { RecordHead } from './layout.ts';
import type { LogEntry, LogHardState } from './types.ts';

/** The snapshot that the log names; index 0 means none. */
export interface SnapshotRef {
  readonly index: number;
  readonly term: number;
  readonly dataBytes: number;
  readonly checksum: number;
}

export const NO_SNAPSHOT: SnapshotRef = { index: 0, term: 0, dataBytes: 0, checksum: 0 };
export const BASE_BYTES = 80;
export const HARD_STATE_BYTES = 24;
export const SNAPSHOT_BYTES = 32;

/** What every segment begins with, so that older ones can go. */
export interface LogState {
  hardState: LogHardState;
  snapshot: SnapshotRef;
  compactTo: number;
  lastIndex: number;
  lastTerm: number;
}

export function emptyState(): LogState {
  return {
    hardState: { term: 0, votedFor: 0, commit: 0 },
    snapshot: NO_SNAPSHOT,
    compactTo: 0,
    lastIndex: 0,
    lastTerm: 0,
  };
}

export function putHardState(view: DataView, at: number, hardState: LogHardState): void {
  putU64(view, at, hardState.term);
  putU64(view, at + 8, hardState.votedFor);
  putU64(view, at + 16, hardState.commit);
}

export function putSnapshotRef(view: DataView, at: number, snapshot: SnapshotRef): void {
  putU64(view, at, snapshot.index);
  putU64(view, at + 8, snapshot.term);
  putU64(view, at + 16, snapshot.dataBytes);
  putU64(view, at + 24, snapshot.checksum);
}

export function putState(view: DataView, at: number, state: LogState): void {
  putHardState(view, at, state.hardState);
  putSnapshotRef(view, at + 24, state.snapshot);
  putU64(view, at + 56, state.compactTo);
  putU64(view, at + 64, state.lastIndex);
  putU64(view, at + 72, state.lastTerm);
}

function getHardState(view: DataView, at: number): LogHardState {
  return { term: getU64(view, at), votedFor: getU64(view, at + 8), commit: getU64(view, at + 16) };
}

function getSnapshotRef(view: DataView, at: number): SnapshotRef {
  return {
    index: getU64(view, at),
    term: getU64(view, at + 8),
    dataBytes: getU64(view, at + 16),
    checksum: getU64(view, at + 24),
  };
}

/** Replays records; a sentence instead of null where one cannot follow what came before. */
export class Replay {
  readonly state: LogState = emptyState();
  entries: LogEntry[] = [];
  private readonly kinds: readonly string[];
  private hasBase = false;

  constructor(kinds: readonly string[]) {
    this.kinds = kinds;
  }

  apply(head: RecordHead, payload: Uint8Array): string | null {
    const view = viewOf(payload);
    if (!this.hasBase && head.type !== RECORD.base) return 'the log does not begin with its state';
    switch (head.type) {
      case RECORD.base:
        return this.applyBase(view);
      case RECORD.entry:
        return this.applyEntry(head, payload, view);
      case RECORD.hardState:
        this.state.hardState = getHardState(view, 0);
        return null;
      case RECORD.snapshot:
        this.applySnapshot(head, getSnapshotRef(view, 0));
        return null;
      case RECORD.compact:
        this.state.compactTo = getU64(view, 0);
        return null;
      default:
        return null; // A mark says only what is durable.
    }
  }

  /** What is wrong with the whole, or null. Drops what was compacted. */
  finish(): string | null {
    const { state } = this;
    const first = this.entries[0];
    const from = first === undefined ? state.lastIndex + 1 : first.index;
    if (from > state.compactTo + 1) {
      return `entries ${state.compactTo + 1} to ${from - 1} are missing`;
    }
    if (state.compactTo > state.snapshot.index) return 'entries went before a snapshot had them';
    this.entries = this.entries.slice(Math.max(0, state.compactTo + 1 - from));
    return null;
  }

  private applyBase(view: DataView): string | null {
    const { state } = this;
    const lastIndex = getU64(view, 64);
    if (this.hasBase && lastIndex !== state.lastIndex) return 'a segment goes on from another log';
    this.hasBase = true;
    state.hardState = getHardState(view, 0);
    state.snapshot = getSnapshotRef(view, 24);
    state.compactTo = getU64(view, 56);
    state.lastIndex = lastIndex;
    state.lastTerm = getU64(view, 72);
    return null;
  }

  private applyEntry(head: RecordHead, payload: Uint8Array, view: DataView): string | null {
    const { state, entries } = this;
    const kind = this.kinds[head.kind];
    if (kind === undefined) return `an entry of the unknown kind ${head.kind}`;
    const [term, index, timeMs] = [getU64(view, 0), getU64(view, 8), getU64(view, 16)];
    if (index > state.lastIndex + 1) return `entry ${index} does not follow ${state.lastIndex}`;
    const first = entries[0];
    if (first !== undefined && index <= state.lastIndex) {
      entries.length = Math.max(0, index - first.index);
    }
    entries.push({ term, index, kind, timeMs, data: payload.subarray(ENTRY_HEAD_BYTES) });
    state.lastIndex = index;
    state.lastTerm = term;
    return null;
  }

  private applySnapshot(head: RecordHead, snapshot: SnapshotRef): void {
    const { state } = this;
    state.snapshot = snapshot;
    if ((head.flags & FLAG_DISCARD) === 0) return;
    this.entries = [];
    state.compactTo = snapshot.index;
    state.lastIndex = snapshot.index;
    state.lastTerm = snapshot.term;
  }
}
