/**
 * Follows the control state of an etcd cluster: finds it or founds it, lists it once, then hears its
 * changes from a watch, keeps each on the own disk and only then shows it.
 *
 * Checked by `src/sim/etcdEngine.test.ts` and `controlFaults.test.ts`.
 *
 * EF1: the state shown moves forward only, one revision after the other, without a gap; a list may
 *      jump ahead. A cluster that went back (restored from a backup, another one) is not followed.
 * EF2: a change is on the own disk before it is shown, as long as the disk takes it.
 * EF3: a watch is believed as far as linearizable reads of the head bear it out: behind them for
 *      `watchLagMs` it is opened anew. Its progress marks are not: 3.4.23 sends them too early (#15220).
 */

import { assert } from '../../base/assert.ts';
import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { ETCD_LIMITS } from '../../base/etcdLimits.ts';
import type { Clock, TimerHandle, Timers } from '../../base/ports.ts';
import type { Prng } from '../../base/prng.ts';
import type { Revision } from '../control/types.ts';
import { readEvents, readList } from './agreed.ts';
import type { EtcdKeep } from './keep.ts';
import { decodeHead, decodeRecord, encodeHead, type Head, type Layout } from './layout.ts';
import { encodeChange, snapshotOf, type AgreedChange, type EtcdReplica } from './replica.ts';
import {
  endOf,
  type EtcdEvent,
  type EtcdItem,
  type EtcdRevision,
  type EtcdStore,
  type EtcdTransacted,
  type EtcdWatch,
} from './store.ts';

const BACKOFF_MS = 100;
const BACKOFF_MS_MAX = 2_000;

export type FollowState =
  | { readonly kind: 'opening' }
  /** The cluster answers, and what it says is heard. */
  | { readonly kind: 'following' }
  /** No answer, or none from a quorum. */
  | { readonly kind: 'away'; readonly detail: string }
  /** It answers, and is not what this node follows: a person must look. */
  | { readonly kind: 'failed'; readonly detail: string };

export interface FollowOptions {
  readonly store: EtcdStore;
  readonly layout: Layout;
  readonly replica: EtcdReplica;
  readonly keep: EtcdKeep;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly prng: Prng;
  readonly onMoved: () => void;
  readonly onState: (state: FollowState) => void;
  /** For the log. */
  readonly onNote: (note: string, detail: string) => void;
}

/** Where a state begins and at which revision of the cluster that was read. */
interface Seen {
  readonly head: Head;
  readonly headItem: EtcdItem;
  readonly revision: EtcdRevision;
  /** The record of this node's own revision; null: it is gone. */
  readonly own: EtcdItem | null;
}

export class EtcdFollower {
  readonly #options: FollowOptions;
  #state: FollowState = { kind: 'opening' };
  #watch: EtcdWatch | null = null;
  /** Answers to an earlier attempt are passed over. */
  #attempt = 0;
  #backoffMs = BACKOFF_MS;
  #timer: TimerHandle | null = null;
  #mustList = false;
  /** Heard, and not on the disk yet. */
  #heard: AgreedChange[] = [];
  #isWriting = false;
  /** Lists on their way to the disk: newer than what is shown. */
  #listsCount = 0;
  #behindSinceMs: number | null = null;
  #keepError: string | null = null;
  #keepTimer: TimerHandle | null = null;
  #isStopped = false;

  constructor(options: FollowOptions) {
    this.#options = options;
  }

  get state(): FollowState {
    return this.#state;
  }

  /** Why the state is not on the disk; null: it is. */
  get keepError(): string | null {
    return this.#keepError;
  }

  start(): void {
    this.#join();
  }

  stop(): void {
    this.#isStopped = true;
    this.#attempt += 1;
    this.#watch?.close();
    this.#watch = null;
    this.#timer?.cancel();
    this.#keepTimer?.cancel();
  }

  /** Something does not fit: looks at the cluster again. */
  again(): void {
    if (!this.#isStopped) this.#join();
  }

  #become(state: FollowState): void {
    const before = this.#state;
    const isSame =
      before.kind === state.kind &&
      ('detail' in before ? before.detail : '') === ('detail' in state ? state.detail : '');
    if (isSame) return;
    this.#state = state;
    this.#options.onState(state);
  }

  #later(delayMs: number, run: () => void): void {
    this.#timer?.cancel();
    this.#timer = this.#options.timers.after(delayMs, () => {
      this.#timer = null;
      if (!this.#isStopped) run();
    });
  }

  #away(detail: string): void {
    this.#become({ kind: 'away', detail });
    const jitter = 0.5 + this.#options.prng.nextFloat();
    this.#later(this.#backoffMs * jitter, () => this.#join());
    this.#backoffMs = Math.min(this.#backoffMs * 2, BACKOFF_MS_MAX);
  }

  #fail(detail: string): void {
    this.#become({ kind: 'failed', detail });
    this.#later(ETCD_LIMITS.failedMs, () => this.#join());
  }

  // Finding the state.

  #join(): void {
    this.#watch?.close();
    this.#watch = null;
    this.#behindSinceMs = null;
    this.#attempt += 1;
    const attempt = this.#attempt;
    const { store, layout, replica } = this.#options;
    const { revision } = replica;
    store.transact(
      {
        compares: [],
        success: [
          { kind: 'range', key: layout.head, end: null },
          { kind: 'range', key: layout.record(revision), end: null },
        ],
        failure: [],
      },
      (result) => {
        if (attempt !== this.#attempt) return;
        // What was heard meanwhile has to be shown first: the answer is about the state before it.
        if (this.#isWriting || replica.revision !== revision) this.#later(1, () => this.#join());
        else if (result.ok) this.#judge(attempt, result.value);
        else this.#away(result.error.detail);
      },
    );
  }

  #judge(attempt: number, { ranges, revision }: EtcdTransacted): void {
    const { replica, layout } = this.#options;
    const [headItem] = ranges[0] ?? [];
    const own = ranges[1]?.[0] ?? null;
    if (headItem === undefined) {
      if (replica.lineage === null) return this.#found(attempt);
      return this.#fail(
        `etcd holds no control state below ${layout.root}, this node has revision ${replica.revision}`,
      );
    }
    const head = decodeHead(headItem.value);
    if (head === null) {
      return this.#fail(`what etcd holds below ${layout.root} is of another version`);
    }
    const seen: Seen = { head, headItem, revision, own };
    const refusal = replica.lineage === null ? null : refusalOf(replica, seen);
    if (refusal !== null) return this.#fail(refusal);
    if (replica.lineage === null || this.#mustList) return this.#list(attempt, seen);
    const from = head.revision === replica.revision ? revision : replica.at;
    this.#follow(attempt, from + 1);
  }

  /** Of several nodes that come at once, one founds it, and all find it. */
  #found(attempt: number): void {
    const { store, layout, prng, onNote } = this.#options;
    const lineage = [prng.nextUint32(), prng.nextUint32(), prng.nextUint32()]
      .map((number) => number.toString(16).padStart(8, '0'))
      .join('');
    store.transact(
      {
        compares: [{ key: layout.head, field: 'create', equals: 0 }],
        success: [
          {
            kind: 'put',
            key: layout.head,
            value: encodeHead({ lineage, revision: 0 }),
            lease: null,
          },
        ],
        failure: [],
      },
      (result) => {
        if (attempt !== this.#attempt) return;
        if (!result.ok) return this.#away(result.error.detail);
        if (result.value.isSuccess) onNote('etcd-founded', lineage);
        this.#join();
      },
    );
  }

  #list(attempt: number, seen: Seen): void {
    const { store, layout } = this.#options;
    const end = endOf(layout.root);
    const items: EtcdItem[] = [];
    const page = (key: string): void => {
      store.range({ key, end, limit: ETCD_LIMITS.pageKeys, revision: seen.revision }, (result) => {
        if (attempt !== this.#attempt) return;
        if (!result.ok) return this.#away(result.error.detail);
        items.push(...result.value.items);
        const last = result.value.items.at(-1);
        if (result.value.hasMore && last !== undefined) page(`${last.key}\0`);
        else this.#listed(attempt, seen, items);
      });
    };
    page(layout.root);
  }

  #listed(attempt: number, seen: Seen, items: readonly EtcdItem[]): void {
    const { layout, replica, keep, onMoved, onNote } = this.#options;
    const read = readList(layout, items);
    if (typeof read === 'string') return this.#fail(`what etcd holds is damaged: ${read}`);
    this.#listsCount += 1;
    keep.replace(snapshotOf(read), (result) => {
      this.#listsCount -= 1;
      this.#kept(result.ok ? null : result.error.detail);
      if (attempt !== this.#attempt) return;
      this.#mustList = false;
      replica.take(read);
      onNote('etcd-listed', `revision ${read.state.revision}`);
      onMoved();
      this.#follow(attempt, seen.revision + 1);
    });
  }

  // Hearing of changes.

  #follow(attempt: number, from: EtcdRevision): void {
    const { store, layout } = this.#options;
    const { clock } = this.#options;
    const beganMs = clock.nowMs();
    this.#become({ kind: 'following' });
    this.#watch = store.watch(layout.root, endOf(layout.root), from, {
      onEvents: (events) => {
        if (attempt === this.#attempt) this.#onEvents(events);
      },
      onEnd: (detail, compactedTo) => {
        if (attempt !== this.#attempt) return;
        this.#watch = null;
        if (compactedTo !== null) this.#mustList = true;
        this.#options.onNote('etcd-watch-ended', detail);
        // One that never lives, because it is not allowed or not understood, is not asked for at once.
        if (clock.nowMs() - beganMs < ETCD_LIMITS.checkMs && compactedTo === null)
          this.#away(detail);
        else this.#join();
      },
    });
    this.#later(ETCD_LIMITS.checkMs, () => this.#check(attempt));
  }

  get #heardRevision(): Revision {
    return this.#heard.at(-1)?.change.revision ?? this.#options.replica.revision;
  }

  #onEvents(events: readonly EtcdEvent[]): void {
    const { layout, replica, onNote } = this.#options;
    const { changes, foreign, unreadable } = readEvents(layout, events);
    for (const revision of foreign) {
      onNote('etcd-foreign-change', `etcd revision ${revision} below ${layout.root}`);
    }
    for (const { head, agreed } of changes) {
      const isNext = head.lineage === replica.lineage && head.revision === this.#heardRevision + 1;
      if (!isNext) {
        this.#onGap(`revision ${head.revision} came out of turn`);
        break;
      }
      this.#heard.push(agreed);
    }
    if (unreadable !== null) this.#onGap(`etcd revision ${unreadable} cannot be read`);
    // What came before a gap too: a list that is taken later finds nothing left to be shown.
    this.#write();
  }

  #onGap(detail: string): void {
    this.#options.onNote('etcd-gap', detail);
    this.#mustList = true;
    this.#later(BACKOFF_MS, () => this.#join());
  }

  #write(): void {
    if (this.#isWriting || this.#heard.length === 0) return;
    this.#isWriting = true;
    const { replica, keep, onMoved } = this.#options;
    const changes = [...this.#heard];
    keep.append(changes.map(encodeChange), (result) => {
      // A disk that fails does not hold up a revoked key: it is shown, and an operator is told.
      this.#kept(result.ok ? null : result.error.detail);
      this.#isWriting = false;
      if (this.#isStopped) return;
      for (const change of changes) replica.apply(change);
      this.#heard.splice(0, changes.length);
      if (keep.journalBytes > ETCD_LIMITS.journalBytesMax) this.#rewrite();
      onMoved();
      this.#write();
    });
  }

  #rewrite(): void {
    const { replica, keep } = this.#options;
    keep.replace(replica.snapshot(), (result) =>
      this.#kept(result.ok ? null : result.error.detail),
    );
  }

  #kept(error: string | null): void {
    if (error !== null && this.#keepError === null) this.#options.onNote('etcd-not-kept', error);
    this.#keepError = error;
    if (error === null || this.#keepTimer !== null || this.#isStopped) return;
    this.#keepTimer = this.#options.timers.after(ETCD_LIMITS.keepRetryMs, () => {
      this.#keepTimer = null;
      // Behind a list this would put the state before it on the disk; the list tells how it ends.
      if (!this.#isWriting && this.#listsCount === 0) this.#rewrite();
    });
  }

  // EF3.

  #check(attempt: number): void {
    const { store, layout } = this.#options;
    store.range({ key: layout.head, end: null, limit: 0, revision: 0 }, (result) => {
      if (attempt !== this.#attempt) return;
      if (!result.ok) {
        this.#watch?.close();
        this.#watch = null;
        this.#attempt += 1;
        return this.#away(result.error.detail);
      }
      const [item] = result.value.items;
      const head = item === undefined ? null : decodeHead(item.value);
      if (!this.#isBorneOut(head)) return this.#join();
      this.#backoffMs = BACKOFF_MS;
      this.#later(ETCD_LIMITS.checkMs, () => this.#check(attempt));
    });
  }

  #isBorneOut(head: Head | null): boolean {
    const { replica, clock, store } = this.#options;
    if (head === null || head.lineage !== replica.lineage) return false;
    if (head.revision < replica.revision) return false;
    if (head.revision <= this.#heardRevision) {
      this.#behindSinceMs = null;
      return true;
    }
    this.#behindSinceMs ??= clock.nowMs();
    if (clock.nowMs() - this.#behindSinceMs < ETCD_LIMITS.watchLagMs) return true;
    store.turn('its watch is behind');
    return false;
  }
}

/** Why the state that was seen is not the one that this node follows; null: it is. */
function refusalOf(replica: EtcdReplica, { head, headItem, own }: Seen): string | null {
  const { revision, at, lineage } = replica;
  assert(lineage !== null, 'only what is known is compared');
  if (head.lineage !== lineage) return 'etcd holds another control state than this node knows';
  if (head.revision < revision) {
    return `etcd went back to revision ${head.revision}, this node has ${revision}`;
  }
  // Revisions of etcd come again after a restore from a backup; marks do not.
  const mark = own === null ? null : (decodeRecord(own.value)?.mark ?? null);
  const isFirst = revision === 0 && (head.revision > 0 || headItem.modRevision === at);
  // The record of an old revision is gone by its age.
  const isGone = own === null && head.revision - revision >= CONTROL_LIMITS.auditRecordsMax;
  if (isFirst || isGone || mark === replica.mark) return null;
  return `etcd has another revision ${revision} than this node`;
}
