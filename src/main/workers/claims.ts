/**
 * Claims of requests that a worker takes: the registers are in the first process, so a worker asks it,
 * and tells it how each claimed request ended.
 *
 * WC1: a claim whose worker is gone stays: what it did may have run.
 * WC2: an answer that finds its worker gone is given back, and is never told to the next worker,
 *      which counts its requests from the same number on.
 */

import type { ClaimDesk } from '../../replica/idempotency.ts';
import { claimAskOf, type ClaimClerk, type ClaimWord } from '../registers/claimClerk.ts';
import type { FromWorker, ToWorker } from './messages.ts';

type FromClaimer = Extract<FromWorker, { kind: 'claim' | 'claim-over' }>;
type ToClaimer = Extract<ToWorker, { kind: 'claimed' }>;

/** The worker's side. */
export class WorkerClaims {
  readonly #send: (message: FromClaimer) => void;
  readonly #asked = new Map<number, (word: ClaimWord) => void>();
  #nextId = 0;

  constructor(send: (message: FromClaimer) => void) {
    this.#send = send;
  }

  desk(peer: () => string): ClaimDesk {
    return (request, done) => {
      const id = this.#nextId++;
      this.#asked.set(id, (word) => {
        const over = (result: string | null): void =>
          this.#send({ kind: 'claim-over', id, result });
        done(word.kind === 'yours' ? { kind: 'yours', over } : word);
      });
      this.#send({ kind: 'claim', id, ask: claimAskOf(peer(), request) });
    };
  }

  came({ id, word }: ToClaimer): void {
    const tell = this.#asked.get(id);
    this.#asked.delete(id);
    tell?.(word);
  }
}

/** The first process's side, for one worker. */
export class ClaimCounter {
  readonly #clerk: Pick<ClaimClerk, 'claim'>;
  readonly #send: (message: ToClaimer) => void;
  readonly #open = new Map<number, (result: string | null) => void>();
  /** Workers that this one followed. */
  #gone = 0;

  constructor(clerk: Pick<ClaimClerk, 'claim'>, send: (message: ToClaimer) => void) {
    this.#clerk = clerk;
    this.#send = send;
  }

  came(message: FromClaimer): void {
    const { id } = message;
    if (message.kind === 'claim-over') {
      this.#open.get(id)?.(message.result);
      this.#open.delete(id);
      return;
    }
    const gone = this.#gone;
    this.#clerk.claim(message.ask, (word, over) => {
      if (gone !== this.#gone) return word.kind === 'yours' ? over(null) : undefined; // WC2
      if (word.kind === 'yours') this.#open.set(id, over);
      this.#send({ kind: 'claimed', id, word });
    });
  }

  /** WC1. The worker is gone. */
  close(): void {
    this.#gone += 1;
    for (const over of this.#open.values()) over('its process ended');
    this.#open.clear();
  }
}
