/**
 * Leases of this process on registers: one state machine of `src/caspaxos/leases.ts` for each that
 * is held or waited for. They live in the bucket that is never closed.
 */

import { assert } from '../../base/assert.ts';
import { encodeUtf8 } from '../../base/bytes.ts';
import type { TimerHandle } from '../../base/ports.ts';
import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import { err, ok } from '../../base/result.ts';
import { PERMANENT_BUCKET } from '../../caspaxos/control.ts';
import { decodeLease, encodeLease, Lease } from '../../caspaxos/leases.ts';
import type { LeaseAsk, LeaseInput, LeaseRecord } from '../../caspaxos/leases.ts';
import type { Key, Register, Reply } from '../../caspaxos/types.ts';
import type { Asker } from './asker.ts';
import { PageBuilder, type Page, type PageAsk } from './page.ts';
import type { LeaseEvents, LeaseHandle, LeaseStore, LeaseView, StoreDone } from './port.ts';

const PREFIX = 'lease/';

function keyOf(name: string): Key {
  const bytes = encodeUtf8(name).length;
  assert(
    bytes > 0 && bytes <= REGISTER_LIMITS.nameBytesMax,
    'a lease has a name of fitting length',
  );
  return { bucket: PERMANENT_BUCKET, name: PREFIX + name };
}

export class LeaseBook implements LeaseStore {
  readonly #asker: Asker;
  readonly #held = new Set<HeldLease>();
  #isClosed = false;

  constructor(asker: Asker) {
    this.#asker = asker;
  }

  /** Leases that are ours now. */
  get heldCount(): number {
    return [...this.#held].filter((lease) => lease.fence() !== null).length;
  }

  hold(name: string, ttlMs: number, events: LeaseEvents): LeaseHandle {
    assert(this.#held.size < REGISTER_LIMITS.heldMax, 'leases of a process are limited');
    const lease = new HeldLease(this.#asker, keyOf(name), ttlMs, events, () => {
      this.#held.delete(lease);
    });
    if (!this.#isClosed) this.#held.add(lease);
    return lease;
  }

  /** Gives back what is held: others need not wait for its time to be over. */
  close(): void {
    this.#isClosed = true;
    for (const lease of this.#held) lease.close();
  }

  list(asked: PageAsk): Page<LeaseView> {
    const kept = this.#asker.host?.kept.get(PERMANENT_BUCKET);
    const rows = new PageBuilder<LeaseView>(asked);
    for (const [key, { register }] of kept?.after(PREFIX + asked.after) ?? []) {
      if (!key.startsWith(PREFIX)) break;
      const name = key.slice(PREFIX.length);
      const isInReach = rows.add(name, () => {
        const record = recordOf(register);
        return record === null ? null : { name, ...record };
      });
      if (!isInReach) break;
    }
    return rows.page();
  }

  free(name: string, done: StoreDone<boolean>): void {
    const key = keyOf(name);
    this.#asker.read(key, (asked) => {
      if (asked.kind === 'failed') return done(err(asked.failure));
      const register = asked.kind === 'register' ? asked.register : null;
      const record = register === null ? null : recordOf(register);
      if (register === null || record === null || record.isFree) return done(ok(false));
      // The number stays: whoever comes next has a higher one.
      const value = encodeLease({ ...record, isFree: true });
      const requestId = `free ${this.#asker.uniqueName()}`;
      const change = { expect: register.version, value, requestId, isRetry: false };
      this.#asker.change(key, change, (freed) => {
        if (freed.kind === 'failed') return done(err(freed.failure));
        if (freed.kind === 'changed') return done(ok(true));
        const detail = 'It was renewed or taken meanwhile; look, and try again.';
        done(err({ kind: 'unavailable', detail }));
      });
    });
  }
}

function recordOf(register: Register): LeaseRecord | null {
  return register.version === 0 ? null : decodeLease(register.value);
}

/** One lease: its state machine, its timer, its answers. */
class HeldLease implements LeaseHandle {
  readonly #asker: Asker;
  readonly #key: Key;
  readonly #ttlMs: number;
  readonly #events: LeaseEvents;
  readonly #onClosed: () => void;
  #lease: Lease | null = null;
  #isAsking = false;
  #heldUntilMs = Number.POSITIVE_INFINITY;
  #timer: TimerHandle | null = null;
  #isClosed = false;

  constructor(asker: Asker, key: Key, ttlMs: number, events: LeaseEvents, onClosed: () => void) {
    this.#asker = asker;
    this.#key = key;
    this.#ttlMs = ttlMs;
    this.#events = events;
    this.#onClosed = onClosed;
    asker.whenAttached(() => {
      if (this.#isClosed) return;
      this.#lease = new Lease({ holder: asker.uniqueName(), ttlMs });
      this.#step({ kind: 'acquire' });
    });
  }

  fence(): number | null {
    return this.#lease?.fenceAt(this.#asker.nowMs()) ?? null;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#step({ kind: 'release' });
    this.#timer?.cancel();
    this.#onClosed();
  }

  #step(input: LeaseInput): void {
    const lease = this.#lease;
    if (lease === null) return;
    const { ask, event } = lease.step(input, this.#asker.nowMs());
    if (event?.kind === 'held') {
      this.#heldUntilMs = event.untilMs;
      this.#events.held(event.fence);
    } else if (event?.kind === 'lost') {
      this.#heldUntilMs = Number.POSITIVE_INFINITY;
      this.#events.lost(event.fence);
    }
    if (ask !== null) this.#send(ask);
    this.#arm(lease);
  }

  #send(ask: LeaseAsk): void {
    const { host } = this.#asker;
    this.#isAsking = true;
    const came = (reply: Reply): void => {
      this.#isAsking = false;
      this.#step({ kind: 'answer', reply });
    };
    if (host === null) {
      const failed = { kind: 'failed', id: 0, error: 'no-control' } as const;
      this.#asker.timers.after(0, () => came(failed));
    } else if (ask.kind === 'read') host.read(this.#key, came);
    else host.change(this.#key, ask.change, came);
  }

  #arm(lease: Lease): void {
    this.#timer?.cancel();
    this.#timer = null;
    // While it is asked only the end of what is held can come in between.
    const atMs = this.#isAsking ? this.#heldUntilMs : lease.nextWakeMs();
    if (this.#isClosed || atMs === Number.POSITIVE_INFINITY) return;
    const delayMs = Math.max(1, Math.ceil(atMs - this.#asker.nowMs()));
    this.#timer = this.#asker.timers.after(Math.min(delayMs, this.#ttlMs), () => {
      this.#timer = null;
      this.#step({ kind: 'tick' });
    });
  }
}
