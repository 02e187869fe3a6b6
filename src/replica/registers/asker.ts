/**
 * Asks registers until the answer is known or the time is over. A change whose outcome is not known
 * is asked for again under its own request id, so that it takes effect once.
 */

import type { Clock, Timers } from '../../base/ports.ts';
import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import { CAS_ERRORS, type CasErrorCode } from '../../caspaxos/errors.ts';
import type { Change, Control, Key, Register } from '../../caspaxos/types.ts';
import type { HostReply, RegisterHost } from './host.ts';
import type { StoreFailure } from './port.ts';

/** What becomes of a change, or of a read. */
export type Asked =
  /** `isStanding`: nobody has changed it since. */
  | { readonly kind: 'changed'; readonly version: number; readonly isStanding: boolean }
  /** The change will never take effect (or nothing was to be changed): this is what is there. */
  | { readonly kind: 'register'; readonly register: Register }
  /** Its bucket is gone, with all that was in it. */
  | { readonly kind: 'closed' }
  | { readonly kind: 'failed'; readonly failure: StoreFailure };

export type AskedDone = (asked: Asked) => void;

/** Worth another try: who is asked may be back, or know more, in a moment. */
const PASSING: ReadonlySet<CasErrorCode> = new Set([
  'no-proposer',
  'no-control',
  'no-quorum',
  'contended',
  'behind-control',
  'bucket-not-open',
]);

export class Asker {
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #roomInMs: () => number;
  #host: RegisterHost | null = null;
  /** Names this start of this process: no other ever has it. */
  #self = '';
  #count = 0;
  #readers: (() => void)[] = [];

  /** `roomInMs`: where there is no room for a key, in how long there may be. */
  constructor(clock: Clock, timers: Timers, roomInMs: () => number) {
    this.#clock = clock;
    this.#timers = timers;
    this.#roomInMs = roomInMs;
  }

  get host(): RegisterHost | null {
    return this.#host;
  }

  get control(): Control | null {
    return this.#host?.control ?? null;
  }

  nowMs(): number {
    return this.#clock.nowMs();
  }

  get timers(): Timers {
    return this.#timers;
  }

  /** `self` is of this start alone. */
  attach(host: RegisterHost, self: string): void {
    this.#host = host;
    this.#self = self;
    const readers = this.#readers;
    this.#readers = [];
    for (const tell of readers) tell();
  }

  detach(): void {
    this.#host = null;
  }

  /** A name that nobody else ever uses; needs a host. */
  uniqueName(): string {
    this.#count += 1;
    return `${this.#self}/${this.#count}`;
  }

  /** Told when there is a host; at once, later, where there is one. */
  whenAttached(tell: () => void): void {
    if (this.#host === null) this.#readers.push(tell);
    else this.#timers.after(0, tell);
  }

  /** There is no room for a new key. */
  fullFailure(): StoreFailure {
    const detail = CAS_ERRORS['bucket-full'].sentence;
    return { kind: 'full', detail, roomInMs: this.#roomInMs() };
  }

  read(key: Key, done: AskedDone): void {
    this.#ask(key, null, done);
  }

  change(key: Key, change: Change, done: AskedDone): void {
    this.#ask(key, change, done);
  }

  #ask(key: Key, change: Change | null, done: AskedDone): void {
    const untilMs = this.#clock.nowMs() + REGISTER_LIMITS.answerMs;
    let mayHave = change?.isRetry === true;
    const again = (error: CasErrorCode): void => {
      if (error === 'outcome-unknown') mayHave = true;
      if (this.#clock.nowMs() < untilMs) this.#timers.after(REGISTER_LIMITS.retryMs, attempt);
      else done(failed(error, mayHave));
    };
    const came = (reply: HostReply): void => {
      if (reply.kind === 'changed') return done(reply);
      if (reply.kind === 'conflict' || reply.kind === 'value') {
        return done({ kind: 'register', register: reply.register });
      }
      const error = reply.kind === 'failed' ? reply.error : 'no-quorum';
      if (error === 'bucket-closed') return done({ kind: 'closed' });
      if (error === 'outcome-unknown' || PASSING.has(error)) return again(error);
      if (error === 'bucket-full' && !mayHave) {
        return done({ kind: 'failed', failure: this.fullFailure() });
      }
      done(failed(error, mayHave));
    };
    const attempt = (): void => {
      const host = this.#host;
      if (host === null) return again('no-control');
      if (change === null) host.read(key, came);
      else host.change(key, { ...change, isRetry: mayHave }, came);
    };
    attempt();
  }
}

function failed(error: CasErrorCode, mayHave: boolean): Asked {
  const detail = CAS_ERRORS[error].sentence;
  return { kind: 'failed', failure: { kind: mayHave ? 'unknown' : 'unavailable', detail } };
}
