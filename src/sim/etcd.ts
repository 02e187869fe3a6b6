/**
 * An etcd cluster in memory and virtual time, behind the port of `replica/etcd/store.ts`, with what
 * can go wrong between it and those who call: requests and answers that get lost, requests that take
 * effect after their caller gave up, watches that break or fall silent, no quorum, compaction.
 */

import { assert } from '../base/assert.ts';
import { ETCD_LIMITS } from '../base/etcdLimits.ts';
import type { Timers } from '../base/ports.ts';
import type { Prng } from '../base/prng.ts';
import { err, ok } from '../base/result.ts';
import {
  KEEP_LEASE,
  type EtcdCompare,
  type EtcdDone,
  type EtcdEvent,
  type EtcdFailure,
  type EtcdItem,
  type EtcdOperation,
  type EtcdPage,
  type EtcdRange,
  type EtcdRevision,
  type EtcdStore,
  type EtcdTransacted,
  type EtcdTransaction,
  type EtcdWatchHandler,
} from '../replica/etcd/store.ts';

/** What happens to calls of one client. */
export interface EtcdFaults {
  /** Chances of 1, each call anew. */
  readonly requestLost: number;
  readonly answerLost: number;
  /** It takes effect after its caller gave up. */
  readonly late: number;
  /** Nothing comes through, and watches break. */
  readonly isCut: boolean;
  /** Watches end as soon as they are opened. */
  readonly hasNoWatches: boolean;
}

const NO_FAULTS: EtcdFaults = {
  requestLost: 0,
  answerLost: 0,
  late: 0,
  isCut: false,
  hasNoWatches: false,
};

interface Watcher {
  readonly client: string;
  readonly key: string;
  readonly end: string;
  next: EtcdRevision;
  /** It stays open and tells nothing. */
  isSilent: boolean;
  /** Its changes are not told; null: all are. */
  lost: EtcdRevision | null;
  readonly handler: EtcdWatchHandler;
}

interface Lease {
  readonly ttlMs: number;
  /** Counts the renewals: an older timer is none. */
  turn: number;
}

export class SimEtcd {
  readonly #timers: Timers;
  readonly #prng: Prng;
  #revision: EtcdRevision = 1;
  #compactedTo: EtcdRevision = 0;
  readonly #items = new Map<string, EtcdItem & { readonly lease: string | null }>();
  /** All that ever happened; `#compactedTo` says what may be seen of it. */
  #log: { readonly revision: EtcdRevision; readonly events: readonly EtcdEvent[] }[] = [];
  #watchers: Watcher[] = [];
  readonly #faults = new Map<string, EtcdFaults>();
  readonly #leases = new Map<string, Lease>();
  #leaseCount = 0;
  #hasQuorum = true;

  constructor(timers: Timers, prng: Prng) {
    this.#timers = timers;
    this.#prng = prng;
  }

  get revision(): EtcdRevision {
    return this.#revision;
  }

  setQuorum(hasQuorum: boolean): void {
    this.#hasQuorum = hasQuorum;
  }

  setFaults(client: string, faults: Partial<EtcdFaults>): void {
    this.#faults.set(client, { ...NO_FAULTS, ...faults });
    if (faults.isCut === true) this.breakWatches(client);
  }

  breakWatches(client: string): void {
    const broken = this.#watchers.filter((watcher) => watcher.client === client);
    this.#watchers = this.#watchers.filter((watcher) => watcher.client !== client);
    for (const { handler } of broken) {
      this.#timers.after(1, () => handler.onEnd('the connection broke', null));
    }
  }

  /** Those that are open now stay so, and tell nothing any more. */
  silenceWatches(client: string): void {
    for (const watcher of this.#watchers) if (watcher.client === client) watcher.isSilent = true;
  }

  /**
   * Those that are open now tell nothing until the result is called, and then everything at once but
   * the changes of `lost`.
   */
  holdWatches(client: string): (lost: EtcdRevision) => void {
    const held = this.#watchers.filter((watcher) => watcher.client === client);
    for (const watcher of held) watcher.isSilent = true;
    return (lost) => {
      for (const watcher of held) {
        watcher.isSilent = false;
        watcher.lost = lost;
        this.#feedSoon(watcher);
      }
    };
  }

  compact(): void {
    this.#compactedTo = this.#revision;
  }

  /** The cluster as it was: what a restore from a backup does. */
  backup(): () => void {
    const [revision, items, log] = [this.#revision, [...this.#items], [...this.#log]];
    return () => {
      this.#revision = revision;
      this.#items.clear();
      for (const [key, item] of items) this.#items.set(key, item);
      this.#log = log;
      this.#watchers = [];
    };
  }

  /** Writes past Banyan, as an operator with etcdctl would. */
  putByHand(key: string, value: Uint8Array): void {
    this.#run([{ kind: 'put', key, value, lease: null }]);
  }

  client(name: string): EtcdStore {
    return {
      range: (range, done) => this.#call(name, done, () => this.#page(range)),
      transact: (transaction, done) => this.#call(name, done, () => this.#transact(transaction)),
      watch: (key, end, from, handler) => this.#watch(name, key, end, from, handler),
      grant: (ttlSeconds, done) =>
        this.#call(name, done, () => {
          this.#leaseCount += 1;
          const id = String(this.#leaseCount);
          this.#leases.set(id, { ttlMs: ttlSeconds * 1_000, turn: 0 });
          this.#arm(id);
          return ok({ id, ttlSeconds });
        }),
      keepAlive: (id, done) =>
        this.#call(name, done, () => {
          const lease = this.#leases.get(id);
          if (lease === undefined) return ok(0);
          this.#arm(id);
          return ok(lease.ttlMs / 1_000);
        }),
      revoke: (id, done) =>
        this.#call(name, done, () => {
          this.#end(id);
          return ok(null);
        }),
      turn: () => {},
    };
  }

  /** Carries one call there and its answer back, if it comes there and comes back. */
  #call<T>(
    client: string,
    done: EtcdDone<T>,
    effect: () => { readonly ok: true; readonly value: T } | ReturnType<typeof err<EtcdFailure>>,
  ): void {
    const faults = this.#faults.get(client) ?? NO_FAULTS;
    let isOver = false;
    const finish: EtcdDone<T> = (result) => {
      if (!isOver) done(result);
      isOver = true;
    };
    if (faults.isCut) {
      this.#timers.after(1, () => finish(err(failed(true, 'connection refused'))));
      return;
    }
    this.#timers.after(ETCD_LIMITS.requestMs, () =>
      finish(err(failed(false, 'no answer in time'))),
    );
    if (!this.#hasQuorum || this.#happens(faults.requestLost)) return;
    const isLate = this.#happens(faults.late);
    const delayMs = 1 + this.#prng.nextBelow(4) + (isLate ? ETCD_LIMITS.requestMs : 0);
    const isLost = this.#happens(faults.answerLost);
    this.#timers.after(delayMs, () => {
      if (!this.#hasQuorum) return;
      const result = effect();
      if (!isLost) this.#timers.after(1 + this.#prng.nextBelow(4), () => finish(result));
    });
  }

  #happens(chance: number): boolean {
    return this.#prng.nextFloat() < chance;
  }

  #page({ key, end, limit, revision }: EtcdRange) {
    if (revision !== 0 && revision < this.#compactedTo) {
      return err<EtcdFailure>({ ...failed(true, 'compacted'), isFinal: true, isCompacted: true });
    }
    const all = find(revision === 0 ? this.#items : this.#itemsAt(revision), key, end);
    const items = limit === 0 ? all : all.slice(0, limit);
    const page: EtcdPage = { items, hasMore: items.length < all.length, revision: this.#revision };
    return ok(page);
  }

  #itemsAt(revision: EtcdRevision): ReadonlyMap<string, EtcdItem> {
    const items = new Map<string, EtcdItem>();
    for (const entry of this.#log) {
      if (entry.revision > revision) break;
      for (const event of entry.events) {
        if (event.kind === 'put') items.set(event.item.key, event.item);
        else items.delete(event.key);
      }
    }
    return items;
  }

  #transact({ compares, success, failure }: EtcdTransaction) {
    const isSuccess = compares.every((compare) => this.#holds(compare));
    const operations = isSuccess ? success : failure;
    assert(operations.length <= ETCD_LIMITS.operationsMax, 'etcd takes so many operations');
    const isLeaseGone = operations.some(
      (operation) => operation.kind === 'put' && !this.#hasLease(operation.lease),
    );
    if (isLeaseGone) {
      const gone = { ...failed(true, 'requested lease not found'), isFinal: true, isLeaseGone };
      return err<EtcdFailure>(gone);
    }
    const ranges = this.#run(operations);
    return ok<EtcdTransacted>({ isSuccess, revision: this.#revision, ranges });
  }

  #hasLease(lease: string | null): boolean {
    return lease === null || lease === KEEP_LEASE || this.#leases.has(lease);
  }

  #holds({ key, field, equals }: EtcdCompare): boolean {
    const item = this.#items.get(key);
    return (field === 'mod' ? item?.modRevision : item?.createRevision) === (equals || undefined);
  }

  /** Carries them out in order; what the ranges found. */
  #run(operations: readonly EtcdOperation[]): readonly (readonly EtcdItem[])[] {
    const revision = this.#revision + 1;
    const ranges: (readonly EtcdItem[])[] = [];
    const events: EtcdEvent[] = [];
    for (const operation of operations) {
      if (operation.kind === 'put') {
        const { key, value } = operation;
        const before = this.#items.get(key);
        const lease = operation.lease === KEEP_LEASE ? (before?.lease ?? null) : operation.lease;
        const createRevision = before?.createRevision ?? revision;
        const item = { key, value: value.slice(), createRevision, modRevision: revision, lease };
        this.#items.set(key, item);
        events.push({ kind: 'put', item });
      } else if (operation.kind === 'delete') {
        for (const { key } of find(this.#items, operation.key, operation.end)) {
          this.#items.delete(key);
          events.push({ kind: 'delete', key, modRevision: revision });
        }
      } else ranges.push(find(this.#items, operation.key, operation.end));
    }
    if (events.length === 0) return ranges;
    this.#revision = revision;
    this.#log.push({ revision, events });
    for (const watcher of this.#watchers) this.#feedSoon(watcher);
    return ranges;
  }

  // Watches.

  #watch(client: string, key: string, end: string, from: EtcdRevision, handler: EtcdWatchHandler) {
    const place = { client, key, end, next: from };
    const watcher: Watcher = { ...place, isSilent: false, lost: null, handler };
    const faults = this.#faults.get(client) ?? NO_FAULTS;
    let isClosed = false;
    this.#timers.after(2, () => {
      if (isClosed) return;
      if (faults.isCut || faults.hasNoWatches) return handler.onEnd('not to be had', null);
      if (from <= this.#compactedTo) return handler.onEnd('compacted', this.#compactedTo);
      this.#watchers.push(watcher);
      this.#feedSoon(watcher);
    });
    return {
      close: () => {
        isClosed = true;
        this.#watchers = this.#watchers.filter((other) => other !== watcher);
      },
    };
  }

  #feedSoon(watcher: Watcher): void {
    this.#timers.after(1 + this.#prng.nextBelow(5), () => this.#feed(watcher));
  }

  #feed(watcher: Watcher): void {
    if (!this.#watchers.includes(watcher) || watcher.isSilent || !this.#hasQuorum) return;
    const { key, end, next, handler } = watcher;
    const due = this.#log.filter(({ revision }) => revision >= next && revision !== watcher.lost);
    watcher.next = Math.max(next, this.#revision + 1);
    const events = due
      .flatMap((entry) => entry.events)
      .filter((event) => {
        const name = event.kind === 'put' ? event.item.key : event.key;
        return name >= key && name < end;
      });
    if (events.length > 0) handler.onEvents(events);
  }

  // Leases.

  #arm(id: string): void {
    const lease = this.#leases.get(id);
    if (lease === undefined) return;
    lease.turn += 1;
    const { turn, ttlMs } = lease;
    this.#timers.after(ttlMs, () => {
      if (lease.turn !== turn) return;
      if (this.#hasQuorum) this.#end(id);
      else this.#arm(id); // Nobody leads; a new leader gives all leases their time again.
    });
  }

  #end(id: string): void {
    if (!this.#leases.delete(id)) return;
    const keys = [...this.#items.values()].filter(({ lease }) => lease === id);
    this.#run(keys.map(({ key }) => ({ kind: 'delete', key, end: null })));
  }
}

function find(
  items: ReadonlyMap<string, EtcdItem>,
  key: string,
  end: string | null,
): readonly EtcdItem[] {
  const isIn = (name: string): boolean => (end === null ? name === key : name >= key && name < end);
  const keys = [...items.keys()].filter(isIn).toSorted();
  return keys.flatMap((name) => items.get(name) ?? []);
}

function failed(isDefinite: boolean, detail: string): EtcdFailure {
  return { isDefinite, isFinal: false, isCompacted: false, isLeaseGone: false, detail };
}
