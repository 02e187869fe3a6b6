/**
 * Leases, claims and names as the rest of a node uses them, whatever keeps them: our own registers
 * (CASPaxos) or a store outside. Answers come once, later, never from inside the call.
 *
 * RP1: a fencing number is a positive integer; every acquisition of a lease has a higher one than
 *      all before it, in every region and over every restart.
 * RP2: the first claim of a key wins, for at least the time to live, in all regions together; asking
 *      again with the same owner finds one's own claim.
 * RP3: `unavailable` and `full` are definite: nothing was or will be changed. `unknown` may have been.
 */

import type { Result } from '../../base/result.ts';
import type { Page, PageAsk } from './page.ts';

export type StoreFailure =
  /** No quorum, not open yet. Definite. */
  | { readonly kind: 'unavailable'; readonly detail: string }
  /** As many are kept as may be. Definite; there is room again in this time, where that is known. */
  | { readonly kind: 'full'; readonly detail: string; readonly roomInMs: number }
  /** It is another's, or its time is over. Definite. */
  | { readonly kind: 'not-yours'; readonly detail: string }
  /** It was sent and the answer is lost: asking again with the same owner finds out. */
  | { readonly kind: 'unknown'; readonly detail: string };

export type StoreDone<T> = (result: Result<T, StoreFailure>) => void;

// Leases.

/** A lease as it was last seen here. */
export interface LeaseView {
  readonly name: string;
  readonly holder: string;
  readonly fence: number;
  readonly ttlMs: number;
  /** Given back, or freed by force: anyone may have it at once. */
  readonly isFree: boolean;
}

export interface LeaseEvents {
  /** It is ours with this number; told again after each renewal. */
  held(fence: number): void;
  /** It may be another's from now on. */
  lost(fence: number): void;
}

/** One lease that this process wants, until it lets go. */
export interface LeaseHandle {
  /** The number to act with now; null: it is not ours. */
  fence(): number | null;
  /** Gives it back and wants it no more. */
  close(): void;
}

export interface LeaseStore {
  /** Takes it as soon as it can be had, renews it, and takes it again where it was lost. */
  hold(name: string, ttlMs: number, events: LeaseEvents): LeaseHandle;
  /** As this node has them. */
  list(page: PageAsk): Page<LeaseView>;
  /** Frees it whoever holds it; its number is refused where a higher one was seen. False: no holder. */
  free(name: string, done: StoreDone<boolean>): void;
}

// Claims.

/** What is known of a claim that is not ours. */
export interface ClaimView {
  readonly key: string;
  readonly owner: string;
  /** What was claimed for: the digest of a request. */
  readonly about: string;
  /** Null: the work is under way, or whoever did it is gone. */
  readonly result: string | null;
}

/** A claim that was won: `place` is the store's own. */
export interface WonClaim {
  readonly key: string;
  readonly owner: string;
  readonly about: string;
  readonly place: readonly number[];
}

export type ClaimAnswer =
  | { readonly kind: 'won'; readonly claim: WonClaim }
  | { readonly kind: 'taken'; readonly claim: ClaimView };

export interface ClaimStore {
  /** `owner` names one piece of work and is used for no other. */
  claim(key: string, owner: string, about: string, done: StoreDone<ClaimAnswer>): void;
  /**
   * The work did not run and never will under this owner: whatever stands of it, or may come to stand
   * by a call whose outcome is `unknown`, is freed.
   */
  abandon(key: string, owner: string, about: string, done: StoreDone<null>): void;
  /** The work is over: what it came to is told to whoever comes later. */
  settle(claim: WonClaim, result: string, done: StoreDone<null>): void;
  /** The work certainly did not run: the key may be claimed again. */
  release(claim: WonClaim, done: StoreDone<null>): void;
  /** Linearizable. Null: nobody has claimed it. */
  lookup(key: string, done: StoreDone<ClaimView | null>): void;
  /** As this node has them. */
  list(page: PageAsk): Page<ClaimView>;
}

// Names.

export type NameAnswer =
  | { readonly kind: 'yours' }
  | { readonly kind: 'taken'; readonly owner: string };

export interface NameStore {
  /** One owner at a time, in all regions together. */
  take(name: string, owner: string, done: StoreDone<NameAnswer>): void;
  /** Does nothing where it is another's. */
  give(name: string, owner: string, done: StoreDone<null>): void;
  /** Linearizable. Null: it is free. */
  ownerOf(name: string, done: StoreDone<string | null>): void;
}

/** All three. */
export interface RegisterStore {
  readonly leases: LeaseStore;
  readonly claims: ClaimStore;
  readonly names: NameStore;
}
