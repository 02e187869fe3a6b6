/**
 * What the durable log stores and says, in plain structures: those of `src/raft/types.ts` fit, and
 * neither room knows the other. Integers are safe integers, 8 bytes on disk.
 */

import type { DiskError } from '../base/disk.ts';

export interface LogEntry {
  readonly term: number;
  /** 1 and up. */
  readonly index: number;
  /** One of `LogOptions.kinds`; its place in that list is its number on disk. */
  readonly kind: string;
  readonly timeMs: number;
  readonly data: Uint8Array;
}

export interface LogHardState {
  readonly term: number;
  readonly votedFor: number;
  readonly commit: number;
}

export interface LogSnapshot {
  readonly index: number;
  readonly term: number;
  /** What the host wants to know of it without reading the data. */
  readonly meta: Uint8Array;
  readonly data: Uint8Array;
}

/**
 * One thing to make durable. After a crash all of it is there or nothing of it, and never without
 * the ones before. `seq` counts up from 1 without gaps for each opened log.
 */
export interface LogPersist {
  readonly seq: number;
  readonly hardState: LogHardState | null;
  readonly snapshot: LogSnapshot | null;
  /** Every stored entry goes; the log begins behind the snapshot. */
  readonly isLogDiscarded: boolean;
  /** Consecutive; whatever was stored at or after the first one's index goes. */
  readonly entries: readonly LogEntry[];
  /** Entries up to here may go, as soon as a snapshot that covers them is durable. */
  readonly compactTo: number;
}

/** Whose log it is. */
export interface LogIdentity {
  readonly cluster: string;
  readonly node: number;
  /** Names the disk: drawn when the folder is made. */
  readonly incarnation: number;
}

export interface LogOptions {
  /** The folder, relative to the disk's root. */
  readonly folder: string;
  readonly cluster: string;
  readonly node: number;
  /**
   * `create` makes a new log with this incarnation, in a folder without one. `open` refuses an
   * empty folder: a lost disk needs a new node number. `incarnation` null takes what is found.
   */
  readonly mode:
    | { readonly kind: 'create'; readonly incarnation: number }
    | { readonly kind: 'open'; readonly incarnation: number | null };
  readonly kinds: readonly string[];
  /** Size of one file of the log, a multiple of 512. */
  readonly segmentBytes: number;
}

export type LogDiskState =
  | 'ok'
  /** No space for another segment: take nothing new; compaction still works. */
  | 'full'
  /** A write or sync failed: nothing more is written, ever, by this process. */
  | 'failed';

export interface LogEvents {
  /** Everything up to this `seq` is durable. */
  persisted(seq: number): void;
  /** `detail` is for the operator. */
  disk(state: LogDiskState, detail: string): void;
}

/** What was found, all of it verified. */
export interface LogRecovered {
  readonly identity: LogIdentity;
  readonly hardState: LogHardState;
  readonly snapshot: LogSnapshot | null;
  readonly entries: readonly LogEntry[];
  /** Records of an unfinished, unacknowledged write that were cut off the end. */
  readonly cutBytes: number;
}

/** Why a folder was not opened. Nothing was written. */
export type LogOpenFailure =
  | { readonly kind: 'disk'; readonly error: DiskError; readonly detail: string }
  /** Another process has it. */
  | { readonly kind: 'locked'; readonly detail: string }
  /** `open`, and no log is there. */
  | { readonly kind: 'no-log'; readonly detail: string }
  /** `create`, and something is there. */
  | { readonly kind: 'not-empty'; readonly detail: string }
  | { readonly kind: 'wrong-cluster'; readonly detail: string }
  | { readonly kind: 'wrong-node'; readonly detail: string }
  /** The same number on another disk: the number was used again, or the disk was swapped. */
  | { readonly kind: 'wrong-incarnation'; readonly detail: string }
  /** Written by a newer program. */
  | { readonly kind: 'future-version'; readonly detail: string }
  /**
   * Something that was durable is not as it was written. The replica must not vote or acknowledge
   * under its number again; it is repaired from its peers.
   */
  | {
      readonly kind: 'damaged';
      readonly file: string;
      readonly offset: number;
      readonly detail: string;
    };
