/**
 * Says to all regions that this node uses no more than its smaller share of a key, so that larger
 * ones may count elsewhere (AL2 of `replica/control/allotments.ts`).
 */

import { assert } from '../../base/assert.ts';
import type { TimerHandle, Timers } from '../../base/ports.ts';
import { ALLOTMENT_LIMITS } from '../../base/regionLimits.ts';
import { taken } from '../../replica/control/allotments.ts';
import type { ControlEngine } from '../../replica/control/engine.ts';
import { API_KEYS, keysAwaiting } from '../../replica/control/keys.ts';
import { replaceOwn } from '../../replica/control/keyStore.ts';

export interface ShareClerkOptions {
  readonly engine: ControlEngine;
  /** This node's peer name. */
  readonly place: string;
  readonly timers: Timers;
}

export class ShareClerk {
  readonly #options: ShareClerkOptions;
  /** The revision that the keys were read at: the state is newer for a moment, whenever it moves. */
  #seenRevision = -1;
  /** Counted: the keys that were read last, given out last, and in force in all processes. */
  #seen = 0;
  #given = 0;
  #settled = 0;
  #isAsking = false;
  #isClosed = false;
  #again: TimerHandle | null = null;

  constructor(options: ShareClerkOptions) {
    this.#options = options;
  }

  /** The keys were read at `revision`. */
  seen(revision: number, areNew: boolean): void {
    this.#seenRevision = revision;
    if (areNew) this.#seen += 1;
    else this.#look();
  }

  /** What was seen last is on its way into all processes of this node. */
  given(): void {
    this.#given = this.#seen;
  }

  /** What was given last is in force in all of them. */
  settled(): void {
    this.#settled = this.#given;
    this.#look();
  }

  #look(): void {
    const { engine, place } = this.#options;
    const isInForce = this.#settled === this.#seen && this.#seenRevision === engine.view.revision;
    if (this.#isAsking || this.#isClosed || !isInForce) return;
    this.#again?.cancel();
    this.#again = null;
    const [stored] = keysAwaiting(engine.view, place);
    if (stored === undefined) return;
    const { name, allotment } = stored.record;
    assert(allotment !== null, 'only a key that is divided is waited for');
    const what = `keys allot ${name}: ${place} has taken its share`;
    const audit = { who: 'banyan', from: place, what, why: '' };
    const own = { allotment: taken(allotment, place) };
    this.#isAsking = true;
    engine.transact(replaceOwn(API_KEYS, stored, own, audit), (outcome) => {
      this.#isAsking = false;
      // Done, there may be other keys; else the record changed meanwhile, or there is no quorum.
      const isDone = outcome.ok && outcome.value.isSuccess;
      if (isDone) this.#look();
      else if (!this.#isClosed) this.#lookLater();
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#again?.cancel();
  }

  #lookLater(): void {
    this.#again?.cancel();
    this.#again = this.#options.timers.after(ALLOTMENT_LIMITS.againMs, () => this.#look());
  }
}
