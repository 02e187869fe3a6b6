/** Unique names in an etcd cluster: a key that its owner put, until its owner takes it away. */

import { assert } from '../../base/assert.ts';
import { err, ok } from '../../base/result.ts';
import type { NameAnswer, NameStore, StoreDone } from '../registers/port.ts';
import type { EtcdAsker } from './asker.ts';
import {
  decodeNameValue,
  encodeNameValue,
  isRegisterName,
  type RegisterLayout,
} from './registerLayout.ts';

export class EtcdNames implements NameStore {
  readonly #asker: EtcdAsker;
  readonly #layout: RegisterLayout;

  constructor(asker: EtcdAsker, layout: RegisterLayout) {
    this.#asker = asker;
    this.#layout = layout;
  }

  take(name: string, owner: string, done: StoreDone<NameAnswer>): void {
    this.#take(this.#keyOf(name), owner, null, done);
  }

  /**
   * `modRevision`: what is this owner's already is put anew: what an earlier call of it still gives
   * back is of an older revision. Null: there is none.
   */
  #take(key: string, owner: string, modRevision: number | null, done: StoreDone<NameAnswer>): void {
    const isFree = { key, field: 'create', equals: 0 } as const;
    const isOwn = { key, field: 'mod', equals: modRevision ?? 0 } as const;
    this.#asker.transact(
      {
        compares: [modRevision === null ? isFree : isOwn],
        success: [{ kind: 'put', key, value: encodeNameValue(owner), lease: null }],
        failure: [{ kind: 'range', key, end: null }],
      },
      (asked) => {
        if (asked.kind === 'failed') return done(err(asked.failure));
        if (asked.isSuccess) return done(ok({ kind: 'yours' }));
        // Given back by its owner in this very moment.
        if (asked.item === null) return this.#take(key, owner, null, done);
        const holder = decodeNameValue(asked.item.value);
        if (holder === owner) return this.#take(key, owner, asked.item.modRevision, done);
        if (holder !== null) return done(ok({ kind: 'taken', owner: holder }));
        done(err({ kind: 'unavailable', detail: 'The key holds no name of this version.' }));
      },
    );
  }

  give(name: string, owner: string, done: StoreDone<null>): void {
    const key = this.#keyOf(name);
    this.#asker.read(key, (asked) => {
      if (asked.kind === 'failed') return done(err(asked.failure));
      const { item } = asked;
      if (item === null || decodeNameValue(item.value) !== owner) return done(ok(null));
      this.#asker.transact(
        {
          compares: [{ key, field: 'mod', equals: item.modRevision }],
          success: [{ kind: 'delete', key, end: null }],
          failure: [],
        },
        // At another revision it is not ours any more: given back already.
        (given) => done(given.kind === 'failed' ? err(given.failure) : ok(null)),
      );
    });
  }

  ownerOf(name: string, done: StoreDone<string | null>): void {
    this.#asker.read(this.#keyOf(name), (asked) => {
      if (asked.kind === 'failed') return done(err(asked.failure));
      done(ok(asked.item === null ? null : decodeNameValue(asked.item.value)));
    });
  }

  #keyOf(name: string): string {
    assert(isRegisterName(name), 'a name has a fitting length');
    return this.#layout.names + name;
  }
}
