/** Single calls for leases, claims and names in an etcd cluster, made until they are answered. */

import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import type { Clock, TimerHandle, Timers } from '../../base/ports.ts';
import type { StoreFailure } from '../registers/port.ts';
import type { EtcdFailure, EtcdItem, EtcdStore, EtcdTransaction } from './store.ts';

export type Asked =
  | {
      readonly kind: 'done';
      readonly isSuccess: boolean;
      readonly revision: number;
      /** Of the first range; null: there is no such key. */
      readonly item: EtcdItem | null;
      /** An earlier copy of the call may have taken effect before this one. */
      readonly wasUncertain: boolean;
    }
  | {
      readonly kind: 'failed';
      readonly failure: StoreFailure;
      readonly isLeaseGone: boolean;
    };

export class EtcdAsker {
  readonly store: EtcdStore;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Null: calls may be made; else why not. */
  readonly #refusal: () => string | null;
  readonly #open = new Set<TimerHandle>();
  #isClosed = false;

  constructor(store: EtcdStore, clock: Clock, timers: Timers, refusal: () => string | null) {
    this.store = store;
    this.clock = clock;
    this.timers = timers;
    this.#refusal = refusal;
  }

  close(): void {
    this.#isClosed = true;
    for (const timer of this.#open) timer.cancel();
    this.#open.clear();
  }

  later(delayMs: number, run: () => void): TimerHandle | null {
    if (this.#isClosed) return null;
    const timer: TimerHandle = this.timers.after(delayMs, () => {
      this.#open.delete(timer);
      run();
    });
    this.#open.add(timer);
    return timer;
  }

  /** `done` may be told the same transaction twice only by way of `wasUncertain`. */
  transact(transaction: EtcdTransaction, done: (asked: Asked) => void): void {
    const untilMs = this.clock.nowMs() + REGISTER_LIMITS.answerMs;
    let isUncertain = false;
    const finish = (failure: StoreFailure, isLeaseGone = false): void => {
      this.later(0, () => done({ kind: 'failed', failure, isLeaseGone }));
    };
    const attempt = (): void => {
      const refusal = this.#refusal();
      if (refusal !== null) return finish(failureOf(isUncertain, refusal));
      this.store.transact(transaction, (result) => {
        if (this.#isClosed) return;
        if (result.ok) {
          const { isSuccess, revision, ranges } = result.value;
          const item = ranges[0]?.[0] ?? null;
          return done({ kind: 'done', isSuccess, revision, item, wasUncertain: isUncertain });
        }
        const { isDefinite, isFinal, isLeaseGone, detail }: EtcdFailure = result.error;
        if (!isDefinite) isUncertain = true;
        const isOver = this.clock.nowMs() >= untilMs || (isFinal && !isUncertain);
        if (isOver || isLeaseGone) return finish(failureOf(isUncertain, detail), isLeaseGone);
        this.later(REGISTER_LIMITS.retryMs, attempt);
      });
    };
    attempt();
  }

  /** Linearizable. */
  read(key: string, done: (asked: Asked) => void): void {
    const range = { kind: 'range' as const, key, end: null };
    this.transact({ compares: [], success: [range], failure: [] }, (asked) => {
      if (asked.kind === 'failed' && asked.failure.kind === 'unknown') {
        // A read leaves nothing behind.
        const { detail } = asked.failure;
        return done({ ...asked, failure: { kind: 'unavailable', detail } });
      }
      done(asked);
    });
  }
}

function failureOf(isUncertain: boolean, detail: string): StoreFailure {
  return { kind: isUncertain ? 'unknown' : 'unavailable', detail };
}
