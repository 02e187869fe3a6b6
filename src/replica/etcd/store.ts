/**
 * What we need of an etcd cluster, as a port: reads and transactions with compares, watches, leases.
 * `io/etcd` implements it over HTTP, `sim/etcd.ts` in memory with faults. Keys are text; everything is
 * called back once, later, never from inside the call (P1). Source: etcd's v3 API.
 *
 * ES1: `definite` says that the call did not and will not take effect.
 * ES2: a watch gives all changes of one revision at once, in the order of revisions, without a gap
 *      from its start until it ends.
 */

import type { Result } from '../../base/result.ts';

/** Of the whole etcd cluster: one more for each transaction that changed something, in any prefix. */
export type EtcdRevision = number;

export interface EtcdItem {
  readonly key: string;
  readonly value: Uint8Array;
  readonly createRevision: EtcdRevision;
  readonly modRevision: EtcdRevision;
}

export type EtcdFailure = {
  readonly isDefinite: boolean;
  /** It will be the same however often it is tried: too large, not allowed, no room. */
  readonly isFinal: boolean;
  /** The revision that was asked for is compacted. */
  readonly isCompacted: boolean;
  /** The lease that a put names is gone. */
  readonly isLeaseGone: boolean;
  readonly detail: string;
};

export type EtcdDone<T> = (result: Result<T, EtcdFailure>) => void;

export interface EtcdRange {
  readonly key: string;
  /** Up to, not with, this key; null: `key` alone. */
  readonly end: string | null;
  /** 0: all. */
  readonly limit: number;
  /** The keys as of this revision; 0: now. */
  readonly revision: EtcdRevision;
}

export interface EtcdPage {
  readonly items: readonly EtcdItem[];
  readonly hasMore: boolean;
  /** Of the cluster when it was read. */
  readonly revision: EtcdRevision;
}

/** Numbers of a key that is not there are 0. */
export type EtcdCompare = {
  readonly key: string;
  readonly field: 'create' | 'mod';
  readonly equals: EtcdRevision;
};

export const KEEP_LEASE = 'keep';

export type EtcdOperation =
  | {
      readonly kind: 'put';
      readonly key: string;
      readonly value: Uint8Array;
      /** The key goes with this lease; null: it stays. `KEEP_LEASE`: with the one that it has. */
      readonly lease: string | null;
    }
  | { readonly kind: 'delete'; readonly key: string; readonly end: string | null }
  | { readonly kind: 'range'; readonly key: string; readonly end: string | null };

export interface EtcdTransaction {
  /** All must hold for `success`. */
  readonly compares: readonly EtcdCompare[];
  readonly success: readonly EtcdOperation[];
  readonly failure: readonly EtcdOperation[];
}

export interface EtcdTransacted {
  readonly isSuccess: boolean;
  readonly revision: EtcdRevision;
  /** Of each range of the branch that ran, in order; nothing for puts and deletions. */
  readonly ranges: readonly (readonly EtcdItem[])[];
}

/** What one revision did to one key. */
export type EtcdEvent =
  | { readonly kind: 'put'; readonly item: EtcdItem }
  | { readonly kind: 'delete'; readonly key: string; readonly modRevision: EtcdRevision };

export interface EtcdWatchHandler {
  onEvents(events: readonly EtcdEvent[]): void;
  /** It is over, and gives no more. Null: not by compaction; try again from where it was. */
  onEnd(detail: string, compactedTo: EtcdRevision | null): void;
}

export interface EtcdWatch {
  /** No callback comes after this. */
  close(): void;
}

export interface EtcdStore {
  /** Linearizable. */
  range(range: EtcdRange, done: EtcdDone<EtcdPage>): void;
  /** Linearizable, all or nothing. */
  transact(transaction: EtcdTransaction, done: EtcdDone<EtcdTransacted>): void;
  /** Changes of keys in [key, end) from revision `from` on. */
  watch(key: string, end: string, from: EtcdRevision, handler: EtcdWatchHandler): EtcdWatch;
  /** A lease of its own number; seconds as etcd may have lengthened them. */
  grant(
    ttlSeconds: number,
    done: EtcdDone<{ readonly id: string; readonly ttlSeconds: number }>,
  ): void;
  /** Seconds that it goes on; 0: it is gone. */
  keepAlive(id: string, done: EtcdDone<number>): void;
  /** Its keys go with it. One that is gone already is fine. */
  revoke(id: string, done: EtcdDone<null>): void;
  /** Another endpoint from now on: this one answers, and does not do what it should. */
  turn(why: string): void;
}

/** The end of a range of all keys that begin with `prefix`. */
export function endOf(prefix: string): string {
  const last = prefix.length - 1;
  return prefix.slice(0, last) + String.fromCharCode(prefix.charCodeAt(last) + 1);
}
