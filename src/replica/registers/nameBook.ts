/** Unique names on registers, in the bucket that is never closed: a name has one owner at a time. */

import { assert } from '../../base/assert.ts';
import { encodeUtf8 } from '../../base/bytes.ts';
import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import { err, ok } from '../../base/result.ts';
import { giveName, nameOutcome, takeName, type NameOutcome } from '../../caspaxos/claims.ts';
import { PERMANENT_BUCKET } from '../../caspaxos/control.ts';
import type { Change, Key } from '../../caspaxos/types.ts';
import type { Asked, Asker } from './asker.ts';
import type { NameAnswer, NameStore, StoreDone, StoreFailure } from './port.ts';

const PREFIX = 'name/';

function keyOf(name: string): Key {
  const bytes = encodeUtf8(name).length;
  assert(bytes > 0 && bytes <= REGISTER_LIMITS.nameBytesMax, 'a name has a fitting length');
  return { bucket: PERMANENT_BUCKET, name: PREFIX + name };
}

export class NameBook implements NameStore {
  readonly #asker: Asker;

  constructor(asker: Asker) {
    this.#asker = asker;
  }

  take(name: string, owner: string, done: StoreDone<NameAnswer>): void {
    if (this.#asker.host === null) {
      const detail = 'The registers are not open here yet.';
      return void this.#asker.timers.after(0, () => done(err({ kind: 'unavailable', detail })));
    }
    this.#take(keyOf(name), owner, 0, false, done);
  }

  /**
   * Each call has an id of its own, and what is the owner's already is taken as a new version: what an
   * earlier call of this owner still gives back is of an older one.
   */
  #take(
    key: Key,
    owner: string,
    version: number,
    hasChanged: boolean,
    done: StoreDone<NameAnswer>,
  ): void {
    const change = { ...takeName(owner, version, false), requestId: this.#asker.uniqueName() };
    this.#asker.change(key, change, (asked) => {
      const outcome = outcomeOf(owner, change, asked);
      if (outcome.kind === 'failed') {
        const { failure } = outcome;
        done(err(hasChanged ? { kind: 'unknown', detail: failure.detail } : failure));
      } else if (asked.kind === 'changed' && asked.isStanding) done(ok({ kind: 'yours' }));
      else if (asked.kind === 'changed') this.#take(key, owner, 0, true, done);
      else if (outcome.kind === 'taken') done(ok(outcome));
      else this.#take(key, owner, outcome.version, hasChanged, done);
    });
  }

  give(name: string, owner: string, done: StoreDone<null>): void {
    const key = keyOf(name);
    this.#asker.read(key, (asked) => {
      const outcome = outcomeOf(owner, null, asked);
      if (outcome.kind === 'failed') return done(err(outcome.failure));
      if (outcome.kind !== 'yours') return done(ok(null));
      this.#asker.change(key, giveName(owner, outcome.version, false), (given) => {
        // At another version it is not ours any more: given back already.
        if (given.kind === 'failed') done(err(given.failure));
        else done(ok(null));
      });
    });
  }

  ownerOf(name: string, done: StoreDone<string | null>): void {
    this.#asker.read(keyOf(name), (asked) => {
      const outcome = outcomeOf('', null, asked);
      if (outcome.kind === 'failed') done(err(outcome.failure));
      else done(ok(outcome.kind === 'taken' ? outcome.owner : null));
    });
  }
}

type Outcome =
  | Exclude<NameOutcome, { readonly kind: 'foreign' | 'failed' }>
  | { readonly kind: 'failed'; readonly failure: StoreFailure };

function outcomeOf(owner: string, change: Change | null, asked: Asked): Outcome {
  if (asked.kind === 'failed') return asked;
  assert(asked.kind !== 'closed', 'the bucket of names is never closed');
  const outcome =
    asked.kind === 'changed'
      ? nameOutcome(owner, change, { ...asked, id: 0 })
      : nameOutcome(owner, change, { kind: 'value', id: 0, register: asked.register });
  if (outcome.kind !== 'foreign' && outcome.kind !== 'failed') return outcome;
  return { kind: 'failed', failure: { kind: 'unavailable', detail: 'The key holds no name.' } };
}
