/**
 * Leases and claims of an etcd cluster as this node has last heard of them: for lists, and to know
 * when it is worth to ask. Nothing is decided by it.
 */

import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import type { EtcdAsker } from './asker.ts';
import type { RegisterLayout } from './registerLayout.ts';
import { endOf, type EtcdEvent, type EtcdItem, type EtcdWatch } from './store.ts';

const RETRY_MS = 1_000;
/** Claims that are known at once, and leases; of claims that come later the oldest go. */
const ITEMS_MAX = 10_000;

export class RegisterMirror {
  readonly #asker: EtcdAsker;
  readonly #layout: RegisterLayout;
  readonly #onLeaseGone: (key: string) => void;
  #leases = new Map<string, EtcdItem>();
  #claims = new Map<string, EtcdItem>();
  #watch: EtcdWatch | null = null;
  #isClosed = false;

  constructor(asker: EtcdAsker, layout: RegisterLayout, onLeaseGone: (key: string) => void) {
    this.#asker = asker;
    this.#layout = layout;
    this.#onLeaseGone = onLeaseGone;
  }

  get leases(): Iterable<EtcdItem> {
    return this.#leases.values();
  }

  get claims(): Iterable<EtcdItem> {
    return this.#claims.values();
  }

  start(): void {
    this.#list(this.#layout.leases, (leases, from) => {
      this.#leases = leases;
      this.#list(this.#layout.claims, (claims) => {
        this.#claims = claims;
        this.#follow(from + 1);
      });
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#watch?.close();
    this.#watch = null;
  }

  #again(): void {
    this.#asker.later(RETRY_MS, () => {
      if (!this.#isClosed) this.start();
    });
  }

  #list(prefix: string, done: (items: Map<string, EtcdItem>, revision: number) => void): void {
    const found = new Map<string, EtcdItem>();
    // All pages as of one revision, so that the watch goes on from there.
    const page = (key: string, at: number): void => {
      const range = { key, end: endOf(prefix), limit: REGISTER_LIMITS.rowsMax, revision: at };
      this.#asker.store.range(range, (result) => {
        if (this.#isClosed) return;
        if (!result.ok) return this.#again();
        const { items, hasMore, revision } = result.value;
        for (const item of items) found.set(item.key, item);
        const last = items.at(-1)?.key;
        const asOf = at === 0 ? revision : at;
        if (!hasMore || last === undefined || found.size >= ITEMS_MAX) return done(found, asOf);
        page(`${last}\0`, asOf);
      });
    };
    page(prefix, 0);
  }

  #follow(from: number): void {
    const { root } = this.#layout;
    this.#watch = this.#asker.store.watch(root, endOf(root), from, {
      onEvents: (events) => {
        for (const event of events) this.#take(event);
      },
      onEnd: () => {
        this.#watch = null;
        if (!this.#isClosed) this.#again();
      },
    });
  }

  #take(event: EtcdEvent): void {
    const key = event.kind === 'put' ? event.item.key : event.key;
    const isLease = key.startsWith(this.#layout.leases);
    if (!isLease && !key.startsWith(this.#layout.claims)) return;
    const items = isLease ? this.#leases : this.#claims;
    if (event.kind === 'put') items.set(key, event.item);
    else items.delete(key);
    if (isLease && event.kind === 'delete') this.#onLeaseGone(key);
    for (const oldest of this.#claims.keys()) {
      if (this.#claims.size <= ITEMS_MAX) break;
      this.#claims.delete(oldest);
    }
  }
}
