/** Leases, claims and names of one node in an etcd cluster, joined. */

import type { Clock, Timers } from '../../base/ports.ts';
import type { Prng } from '../../base/prng.ts';
import type { RegisterStore } from '../registers/port.ts';
import { EtcdAsker } from './asker.ts';
import { EtcdClaims } from './claimStore.ts';
import { EtcdLeases } from './leaseStore.ts';
import { RegisterMirror } from './mirror.ts';
import { EtcdNames } from './nameStore.ts';
import { registerLayoutOf } from './registerLayout.ts';
import type { EtcdStore } from './store.ts';

export interface EtcdRegistersOptions {
  readonly store: EtcdStore;
  readonly prefix: string;
  /** This node's own peer name. */
  readonly name: string;
  readonly claimMs: number;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly prng: Prng;
  /** Null: calls may be made; else why not. */
  readonly refusal: () => string | null;
}

export class EtcdRegisters implements RegisterStore {
  readonly leases: EtcdLeases;
  readonly claims: EtcdClaims;
  readonly names: EtcdNames;
  readonly #asker: EtcdAsker;
  readonly #mirror: RegisterMirror;

  constructor(options: EtcdRegistersOptions) {
    const { store, prefix, name, claimMs, clock, timers, prng, refusal } = options;
    const layout = registerLayoutOf(prefix);
    this.#asker = new EtcdAsker(store, clock, timers, refusal);
    this.#mirror = new RegisterMirror(this.#asker, layout, (key) => this.leases.gone(key));
    const unique = (): string => `${name}/${prng.nextUint32()}-${prng.nextUint32()}`;
    this.leases = new EtcdLeases(this.#asker, layout, this.#mirror, unique);
    this.claims = new EtcdClaims(this.#asker, layout, this.#mirror, claimMs);
    this.names = new EtcdNames(this.#asker, layout);
  }

  start(): void {
    this.#mirror.start();
  }

  /** Gives back what is held, as far as the cluster can be reached. */
  stop(done: () => void): void {
    this.#mirror.close();
    this.leases.close(() => {
      this.#asker.close();
      done();
    });
  }
}
