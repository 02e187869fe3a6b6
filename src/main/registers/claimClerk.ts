/**
 * Claims of requests with an `Idempotency-Key`, on the registers of this node: what is claimed, what
 * whoever comes later is told, and what becomes of a claim whose answer got lost.
 *
 * CC1: a request that was refused because its claim's outcome is not known did not run: where the
 *      claim turns out to be ours it is given back.
 * CC3: where no more claims can be kept the request is refused: served without one it might run twice.
 * CC2: a node that stops first tells what its requests came to, as far as a quorum answers in time.
 */

import { createHash } from 'node:crypto';

import { encodeUtf8 } from '../../base/bytes.ts';
import { failure, type Failure } from '../../base/errors.ts';
import type { TimerHandle, Timers } from '../../base/ports.ts';
import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import type { Log } from '../../io/observe/log.ts';
import type { ClaimDesk, ClaimRequest } from '../../replica/idempotency.ts';
import type { ClaimStore, ClaimView, WonClaim } from '../../replica/registers/port.ts';

/** Before something that did not come about is tried again, ms. */
const AGAIN_MS = 1_000;
/** A node that stops waits so long for what is still to be told, ms. */
const CLOSE_MS = 2_000;
/** Tries of what happens behind the client's back. */
const TRIES_MAX = 30;

/** A claim as it is asked for: plain data, for the channel between processes. */
export interface ClaimAsk {
  readonly key: string;
  readonly owner: string;
  readonly about: string;
}

export type ClaimWord =
  | { readonly kind: 'yours' }
  | { readonly kind: 'refused'; readonly failure: Failure };

/** What a request claims, at the node of this name. */
export function claimAskOf(peer: string, request: ClaimRequest): ClaimAsk {
  const { caller, key, requestId, client } = request;
  const name = `request/${caller}/${key}`;
  const isShort = encodeUtf8(name).length <= REGISTER_LIMITS.nameBytesMax;
  return {
    key: isShort ? name : `request/sha256/${digestOf([encodeUtf8(name)])}`,
    owner: `${peer}/${requestId}`,
    about: digestOf([encodeUtf8(`${client.path}\n`), client.body]),
  };
}

function digestOf(parts: readonly Uint8Array[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
}

export class ClaimClerk {
  readonly #store: ClaimStore;
  readonly #timers: Timers;
  readonly #log: Log;
  readonly #waiting = new Set<TimerHandle>();
  /** Claims that are over and not told yet. */
  #untold = 0;
  #onTold: () => void = () => {};

  constructor(store: ClaimStore, timers: Timers, log: Log) {
    this.#store = store;
    this.#timers = timers;
    this.#log = log;
  }

  /** For the gateway of this process. */
  desk(peer: () => string): ClaimDesk {
    return (request, done) => {
      this.claim(claimAskOf(peer(), request), (word, over) => {
        done(word.kind === 'yours' ? { kind: 'yours', over } : word);
      });
    };
  }

  /** `over` is to be called once where the claim is ours; null: it certainly did not run. */
  claim(
    ask: ClaimAsk,
    done: (word: ClaimWord, over: (result: string | null) => void) => void,
  ): void {
    const { key, owner, about } = ask;
    this.#store.claim(key, owner, about, (answer) => {
      if (!answer.ok) {
        const { error } = answer;
        if (error.kind === 'unknown') this.#giveBackLater(ask, TRIES_MAX);
        const told =
          error.kind === 'full'
            ? failure('idempotency_full', error.detail, { retryAfterMs: error.roomInMs })
            : failure('idempotency_unavailable', error.detail, { retryAfterMs: AGAIN_MS });
        return done({ kind: 'refused', failure: told }, () => {});
      }
      const { value } = answer;
      if (value.kind === 'taken') {
        return done({ kind: 'refused', failure: failureOf(about, value.claim) }, () => {});
      }
      done({ kind: 'yours' }, (result) => {
        this.#untold += 1;
        this.#over(value.claim, result, TRIES_MAX);
      });
    });
  }

  /** CC2. */
  async close(): Promise<void> {
    if (this.#untold > 0) {
      await new Promise<void>((resolve) => {
        const limit = this.#timers.after(CLOSE_MS, resolve);
        this.#onTold = () => {
          limit.cancel();
          resolve();
        };
      });
    }
    for (const timer of this.#waiting) timer.cancel();
    this.#waiting.clear();
  }

  #over(won: WonClaim, result: string | null, triesLeft: number): void {
    const told = (done: { readonly ok: boolean; readonly error?: { readonly kind: string } }) => {
      const isTold = done.ok || done.error?.kind === 'not-yours';
      if (!isTold && triesLeft > 0) {
        return this.#later(() => this.#over(won, result, triesLeft - 1));
      }
      if (!isTold) this.#log.warn('claim-not-settled', { key: won.key, owner: won.owner });
      this.#untold -= 1;
      if (this.#untold === 0) this.#onTold();
    };
    if (result === null) this.#store.release(won, told);
    else this.#store.settle(won, result.slice(0, REGISTER_LIMITS.resultBytesMax), told);
  }

  /** CC1. */
  #giveBackLater(ask: ClaimAsk, triesLeft: number): void {
    this.#later(() => {
      this.#store.abandon(ask.key, ask.owner, ask.about, (answer) => {
        if (answer.ok) return;
        if (triesLeft > 0) this.#giveBackLater(ask, triesLeft - 1);
        else this.#log.warn('claim-not-given-back', { key: ask.key, owner: ask.owner });
      });
    });
  }

  #later(run: () => void): void {
    const timer: TimerHandle = this.#timers.after(AGAIN_MS, () => {
      this.#waiting.delete(timer);
      run();
    });
    this.#waiting.add(timer);
  }
}

function failureOf(about: string, { owner, about: theirs, result }: ClaimView): Failure {
  const detail = `It was taken by ${owner}`;
  if (theirs !== about) return failure('idempotency_mismatch', `${detail}.`);
  if (result === null) return failure('idempotency_in_progress', `${detail}.`);
  return failure('idempotency_done', `${detail} and came to: ${result}.`);
}
