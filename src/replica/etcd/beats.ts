/**
 * What nodes tell of themselves again and again, in an etcd cluster beside the control state: keys
 * `PREFIX/beats/PEER`.
 *
 * EB1: none of it is in the state: it makes no revision and no audit record.
 * EB2: a key goes with an etcd lease once its node has not told for long.
 *
 * Checked by `src/sim/etcdBeats.test.ts`.
 */

import { ETCD_LIMITS } from '../../base/etcdLimits.ts';
import type { Clock } from '../../base/ports.ts';
import type { Beat, Beats } from '../sharedConfig/beats.ts';
import { endOf, type EtcdOperation, type EtcdStore } from './store.ts';

export interface EtcdBeatsOptions {
  readonly store: EtcdStore;
  /** As of the control state; without `/` at its end. */
  readonly prefix: string;
  /** This node's own peer name. */
  readonly name: string;
  readonly clock: Clock;
}

export class EtcdBeats implements Beats {
  readonly #options: EtcdBeatsOptions;
  readonly #root: string;
  #lease: { readonly id: string; readonly sinceMs: number } | null = null;

  constructor(options: EtcdBeatsOptions) {
    this.#options = options;
    this.#root = `${options.prefix}/beats/`;
  }

  exchange(own: Uint8Array | null, done: (beats: ReadonlyMap<string, Beat> | null) => void): void {
    const { store, name, clock } = this.#options;
    const nowMs = clock.nowMs();
    if (own === null) return this.#send([], done);
    const put = (lease: string): void => {
      this.#send([{ kind: 'put', key: this.#root + name, value: own, lease }], done);
    };
    // A key goes with the lease that it was put with last: one that is half over is not renewed.
    const isFresh = this.#lease !== null && nowMs - this.#lease.sinceMs < ETCD_LIMITS.beatMs / 2;
    if (this.#lease !== null && isFresh) return put(this.#lease.id);
    store.grant(ETCD_LIMITS.beatMs / 1_000, (granted) => {
      if (!granted.ok) return done(null);
      this.#lease = { id: granted.value.id, sinceMs: nowMs };
      put(granted.value.id);
    });
  }

  #send(
    puts: readonly EtcdOperation[],
    done: (beats: ReadonlyMap<string, Beat> | null) => void,
  ): void {
    const range = { kind: 'range', key: this.#root, end: endOf(this.#root) } as const;
    const transaction = { compares: [], success: [...puts, range], failure: [] };
    this.#options.store.transact(transaction, (result) => {
      if (!result.ok) {
        if (result.error.isLeaseGone) this.#lease = null;
        return done(null);
      }
      const items = result.value.ranges[0] ?? [];
      const beats = items.map(({ key, value, modRevision }): [string, Beat] => {
        return [key.slice(this.#root.length), { value, modRevision }];
      });
      done(new Map(beats));
    });
  }
}
