/**
 * Leases in an etcd cluster: a key that goes with the etcd lease of its holder. The fencing number is
 * the modification revision of that key, which no later holder can have again.
 *
 * Checked by the suite of the stores (`../registers/storeSuite.ts`), on real servers too.
 *
 * EL1: a lease is ours only until its time is over by our own clock, counted from before the call
 *      that lengthened it was sent, less what the clocks may differ in rate: etcd frees it later.
 * EL2: a renewal counts only if the key is still the one that was put: one that was freed by force
 *      is lost at the next renewal.
 */

import { assert } from '../../base/assert.ts';
import type { TimerHandle } from '../../base/ports.ts';
import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import { err, ok } from '../../base/result.ts';
import { PageBuilder, type Page, type PageAsk } from '../registers/page.ts';
import type {
  LeaseEvents,
  LeaseHandle,
  LeaseStore,
  LeaseView,
  StoreDone,
} from '../registers/port.ts';
import type { EtcdAsker } from './asker.ts';
import {
  decodeLeaseValue,
  encodeLeaseValue,
  isRegisterName,
  type RegisterLayout,
} from './registerLayout.ts';
import { RegisterMirror } from './mirror.ts';

/** Clocks may run apart by so much of a time, in percent. */
const RATE_PERCENT = 5;
/** Whether it has become free is asked at least as often, ms. */
const LOOK_MS_MAX = 1_000;
const LOOK_MS_MIN = 50;

export class EtcdLeases implements LeaseStore {
  readonly #asker: EtcdAsker;
  readonly #layout: RegisterLayout;
  readonly #mirror: RegisterMirror;
  readonly #nameOf: () => string;
  readonly #held = new Set<HeldLease>();

  /** `nameOf` gives a holder's name that was never used before. */
  constructor(
    asker: EtcdAsker,
    layout: RegisterLayout,
    mirror: RegisterMirror,
    nameOf: () => string,
  ) {
    this.#asker = asker;
    this.#layout = layout;
    this.#mirror = mirror;
    this.#nameOf = nameOf;
  }

  get heldCount(): number {
    return [...this.#held].filter((lease) => lease.fence() !== null).length;
  }

  hold(name: string, ttlMs: number, events: LeaseEvents): LeaseHandle {
    assert(this.#held.size < REGISTER_LIMITS.heldMax, 'leases of a process are limited');
    assert(isRegisterName(name), 'a lease has a name of fitting length');
    const lease = new HeldLease(this.#asker, this.#layout.leases + name, ttlMs, this.#nameOf, {
      ...events,
      closed: () => this.#held.delete(lease),
    });
    this.#held.add(lease);
    return lease;
  }

  /** A key of leases is gone: whoever waits for it asks now. */
  gone(key: string): void {
    for (const lease of this.#held) if (lease.key === key) lease.look();
  }

  /** Gives back what is held; `done` when the cluster has it, or has not answered in time. */
  close(done: () => void): void {
    let open = 1;
    const given = (): void => {
      open -= 1;
      if (open === 0) done();
    };
    for (const lease of this.#held) {
      open += 1;
      lease.end(given);
    }
    this.#asker.timers.after(0, given);
  }

  list(asked: PageAsk): Page<LeaseView> {
    const rows = new PageBuilder<LeaseView>(asked);
    for (const { key, value, modRevision } of this.#mirror.leases) {
      const name = key.slice(this.#layout.leases.length);
      rows.add(name, () => {
        const read = decodeLeaseValue(value);
        return read === null ? null : { name, ...read, fence: modRevision, isFree: false };
      });
    }
    return rows.page();
  }

  free(name: string, done: StoreDone<boolean>): void {
    const key = this.#layout.leases + name;
    this.#asker.read(key, (asked) => {
      if (asked.kind === 'failed') return done(err(asked.failure));
      if (asked.item === null) return done(ok(false));
      this.#asker.transact(
        {
          compares: [{ key, field: 'mod', equals: asked.item.modRevision }],
          success: [{ kind: 'delete', key, end: null }],
          failure: [],
        },
        (freed) => {
          if (freed.kind === 'failed') return done(err(freed.failure));
          if (freed.isSuccess || freed.wasUncertain) return done(ok(true));
          const detail = 'It was given back or taken meanwhile; look, and try again.';
          done(err({ kind: 'unavailable', detail }));
        },
      );
    });
  }
}

/** A lease that is ours. */
interface Own {
  readonly id: string;
  readonly ttlMs: number;
  readonly fence: number;
  untilMs: number;
}

class HeldLease implements LeaseHandle {
  readonly key: string;
  readonly #asker: EtcdAsker;
  readonly #ttlMs: number;
  readonly #nameOf: () => string;
  readonly #events: LeaseEvents & { closed(): void };
  #own: Own | null = null;
  #isBusy = false;
  #timer: TimerHandle | null = null;
  #endTimer: TimerHandle | null = null;
  #isClosed = false;

  constructor(
    asker: EtcdAsker,
    key: string,
    ttlMs: number,
    nameOf: () => string,
    events: LeaseEvents & { closed(): void },
  ) {
    this.#asker = asker;
    this.key = key;
    this.#ttlMs = ttlMs;
    this.#nameOf = nameOf;
    this.#events = events;
    this.#lookIn(0);
  }

  fence(): number | null {
    const own = this.#own;
    return own !== null && this.#asker.clock.nowMs() < own.untilMs ? own.fence : null;
  }

  close(): void {
    this.end(() => {});
  }

  end(done: () => void): void {
    if (this.#isClosed) return done();
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#endTimer?.cancel();
    const own = this.#own;
    this.#own = null;
    this.#events.closed();
    if (own === null) done();
    else this.#drop(own.id, done);
  }

  /** Asks whether it can be had, unless it is ours or is being asked for. */
  look(): void {
    if (this.#isClosed || this.#isBusy || this.#own !== null) return;
    this.#isBusy = true;
    this.#asker.store.range({ key: this.key, end: null, limit: 0, revision: 0 }, (result) => {
      this.#isBusy = false;
      if (this.#isClosed) return;
      if (result.ok && result.value.items.length === 0) this.#take();
      else this.#lookIn(Math.max(LOOK_MS_MIN, Math.min(this.#ttlMs / 4, LOOK_MS_MAX)));
    });
  }

  #lookIn(delayMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#asker.later(delayMs, () => this.look());
  }

  #take(): void {
    const { store, clock } = this.#asker;
    this.#isBusy = true;
    const sentMs = clock.nowMs();
    store.grant(Math.ceil(this.#ttlMs / 1_000), (granted) => {
      if (!granted.ok) return this.#notTaken(null);
      const { id, ttlSeconds } = granted.value;
      const holder = this.#nameOf();
      const ttlMs = ttlSeconds * 1_000;
      const value = encodeLeaseValue({ holder, ttlMs });
      this.#asker.transact(
        {
          compares: [{ key: this.key, field: 'create', equals: 0 }],
          success: [{ kind: 'put', key: this.key, value, lease: id }],
          failure: [{ kind: 'range', key: this.key, end: null }],
        },
        (asked) => {
          if (asked.kind === 'failed') return this.#notTaken(id);
          const found = asked.item === null ? null : decodeLeaseValue(asked.item.value);
          const isEarlier = !asked.isSuccess && found?.holder === holder;
          if (!asked.isSuccess && !isEarlier) return this.#notTaken(id);
          const fence = asked.isSuccess ? asked.revision : (asked.item?.modRevision ?? 0);
          this.#taken({ id, ttlMs, fence, untilMs: sentMs + heldMs(ttlMs) });
        },
      );
    });
  }

  #notTaken(id: string | null): void {
    this.#isBusy = false;
    if (id !== null) this.#drop(id);
    if (!this.#isClosed) this.#lookIn(LOOK_MS_MIN);
  }

  #taken(own: Own): void {
    this.#isBusy = false;
    if (this.#isClosed || this.#asker.clock.nowMs() >= own.untilMs) return this.#notTaken(own.id);
    this.#own = own;
    this.#events.held(own.fence);
    this.#endAt(own);
    this.#renewIn(own, own.ttlMs / 3);
  }

  #endAt(own: Own): void {
    this.#endTimer?.cancel();
    const delayMs = Math.max(0, Math.ceil(own.untilMs - this.#asker.clock.nowMs()));
    this.#endTimer = this.#asker.later(delayMs, () => this.#lost(own));
  }

  #renewIn(own: Own, delayMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#asker.later(delayMs, () => this.#renew(own));
  }

  /** EL1, EL2. */
  #renew(own: Own): void {
    const { store, clock } = this.#asker;
    const sentMs = clock.nowMs();
    const isOver = (): boolean => this.#isClosed || this.#own !== own;
    store.keepAlive(own.id, (kept) => {
      if (isOver()) return;
      if (!kept.ok) return this.#renewIn(own, LOOK_MS_MIN);
      const ttlMs = kept.value * 1_000;
      if (ttlMs === 0) return this.#lost(own);
      store.range({ key: this.key, end: null, limit: 0, revision: 0 }, (result) => {
        if (isOver()) return;
        if (!result.ok) return this.#renewIn(own, LOOK_MS_MIN);
        if (result.value.items[0]?.modRevision !== own.fence) return this.#lost(own);
        own.untilMs = sentMs + heldMs(ttlMs);
        this.#endAt(own);
        this.#events.held(own.fence);
        this.#renewIn(own, ttlMs / 3);
      });
    });
  }

  #lost(own: Own): void {
    if (this.#isClosed || this.#own !== own) return;
    this.#own = null;
    this.#endTimer?.cancel();
    this.#drop(own.id);
    this.#events.lost(own.fence);
    this.#lookIn(LOOK_MS_MIN);
  }

  /** Best effort: what cannot be revoked goes by its time. */
  #drop(id: string, done: () => void = () => {}): void {
    this.#asker.store.revoke(id, () => done());
  }
}

/** How long it is ours by our own clock. */
function heldMs(ttlMs: number): number {
  return (ttlMs * (100 - RATE_PERCENT)) / 100;
}
