/**
 * Leases with fencing numbers on a register: one holder at a time by the clocks, one holder a number
 * whatever the clocks do. Pure: `step(input, nowMs)` says what to ask of the register, and is fed
 * the answer. Each side counts by its own monotonic clock alone.
 *
 * L1: a fencing number has one holder: every acquisition is a change of the register that raises it.
 * L2: the holder counts from before it asked, and less; a challenger counts from when it saw the
 *     holder's latest version, and more. While clocks differ in rate by no more than
 *     `clockDriftPermille`, the holder's view is over before anyone takes over.
 * L3: a resource refuses numbers below the highest that it has seen: a holder that was paused past
 *     its time does no harm, whatever it believes.
 * L4: whoever wants a lease has it some time once it is free. A change whose outcome is unknown is
 *     asked for again only while it could matter: later the register may no longer tell.
 *
 * A lease is named by its register and lives no longer than the bucket.
 */

import { assert } from '../base/assert.ts';
import { ByteReader, ByteWriter } from '../base/byteCodec.ts';
import { CASPAXOS_LIMITS } from '../base/caspaxosLimits.ts';
import type { Change, Register, Reply } from './types.ts';

/** What the register of a lease holds. */
export interface LeaseRecord {
  readonly holder: string;
  readonly fence: number;
  readonly ttlMs: number;
  readonly isFree: boolean;
}

export interface LeaseOptions {
  /** Names one start of one process: never used by another, nor after a restart. */
  readonly holder: string;
  readonly ttlMs: number;
}

/** What to ask of the register; its answer comes back as `answer`. */
export type LeaseAsk =
  | { readonly kind: 'read' }
  | { readonly kind: 'change'; readonly change: Change };

export type LeaseEvent =
  /** It is ours with this number until `untilMs`, by our clock; told again after each renewal. */
  | { readonly kind: 'held'; readonly fence: number; readonly untilMs: number }
  /** It may be another's from now on. */
  | { readonly kind: 'lost'; readonly fence: number };

export type LeaseInput =
  | { readonly kind: 'acquire' }
  | { readonly kind: 'release' }
  | { readonly kind: 'answer'; readonly reply: Reply }
  | { readonly kind: 'tick' };

export interface LeaseOutput {
  readonly ask: LeaseAsk | null;
  readonly event: LeaseEvent | null;
}

/** A change that was asked for and is not answered. */
interface Asked {
  readonly what: 'read' | 'acquire' | 'renew' | 'release';
  readonly change: Change | null;
  readonly fence: number;
  /** When it was first sent: from then on it may count. */
  readonly sentMs: number;
}

interface Held {
  readonly fence: number;
  readonly version: number;
  readonly untilMs: number;
}

/** The holder as it was seen. */
interface Seen {
  readonly version: number;
  readonly record: LeaseRecord;
  /** When this version was first seen here. */
  readonly sinceMs: number;
}

const NOTHING: LeaseOutput = { ask: null, event: null };

export class Lease {
  readonly #options: LeaseOptions;
  #isWanted = false;
  #asked: Asked | null = null;
  /** A change whose outcome is not known: asked again with the same id. */
  #unknown: Asked | null = null;
  #held: Held | null = null;
  #seen: Seen | null = null;
  /** The version to expect where nobody holds it, and its number. */
  #free = { version: 0, fence: 0 };
  #requests = 0;
  #dueMs = Number.POSITIVE_INFINITY;

  constructor(options: LeaseOptions) {
    const { leaseMsMin, leaseMsMax } = CASPAXOS_LIMITS;
    assert(
      options.ttlMs >= leaseMsMin && options.ttlMs <= leaseMsMax,
      'a lease lives within its limits',
    );
    this.#options = options;
  }

  /** The number to act with, or null: it is not ours, or may not be any more. */
  fenceAt(nowMs: number): number | null {
    const held = this.#held;
    return held !== null && nowMs < held.untilMs ? held.fence : null;
  }

  /** When the next `tick` is due. */
  nextWakeMs(): number {
    return Math.min(this.#dueMs, this.#held?.untilMs ?? Number.POSITIVE_INFINITY);
  }

  step(input: LeaseInput, nowMs: number): LeaseOutput {
    const event = this.#expire(nowMs);
    const output = this.#take(input, nowMs);
    return { ask: output.ask, event: output.event ?? event };
  }

  #take(input: LeaseInput, nowMs: number): LeaseOutput {
    if (input.kind === 'answer') return this.#onAnswer(input.reply, nowMs);
    if (input.kind === 'acquire') this.#isWanted = true;
    if (input.kind === 'release') return this.#release(nowMs);
    return this.#go(nowMs);
  }

  /** L2: our own view ends, whoever has answered or not. */
  #expire(nowMs: number): LeaseEvent | null {
    const held = this.#held;
    if (held === null || nowMs < held.untilMs) return null;
    this.#held = null;
    this.#dueMs = nowMs;
    return { kind: 'lost', fence: held.fence };
  }

  /** The next thing to ask, if it is time. */
  #go(nowMs: number): LeaseOutput {
    if (this.#asked !== null || !this.#isWanted) return NOTHING;
    const isDue = nowMs >= this.#dueMs || this.#dueMs === Number.POSITIVE_INFINITY;
    if (this.#unknown !== null) return isDue ? this.#again(this.#unknown) : NOTHING;
    const held = this.#held;
    if (held !== null) return isDue ? this.#change('renew', held, nowMs) : NOTHING;
    const seen = this.#seen;
    if (seen === null) return isDue ? this.#change('acquire', this.#free, nowMs) : NOTHING;
    const { version, record, sinceMs } = seen;
    if (nowMs >= sinceMs + takeoverMs(record.ttlMs)) {
      return this.#change('acquire', { version, fence: record.fence }, nowMs);
    }
    return isDue ? this.#read(nowMs) : NOTHING;
  }

  #read(nowMs: number): LeaseOutput {
    this.#asked = { what: 'read', change: null, fence: 0, sentMs: nowMs };
    return { ask: { kind: 'read' }, event: null };
  }

  /** L1: an acquisition raises the number; a renewal keeps it. */
  #change(
    what: 'acquire' | 'renew' | 'release',
    from: { readonly version: number; readonly fence: number },
    nowMs: number,
  ): LeaseOutput {
    const { holder, ttlMs } = this.#options;
    const fence = what === 'acquire' ? from.fence + 1 : from.fence;
    const value = encodeLease({ holder, fence, ttlMs, isFree: what === 'release' });
    this.#requests += 1;
    const requestId = `${holder}#${this.#requests}`;
    const change = { expect: from.version, value, requestId, isRetry: false };
    this.#asked = { what, change, fence, sentMs: nowMs };
    return { ask: { kind: 'change', change }, event: null };
  }

  #again(asked: Asked): LeaseOutput {
    assert(asked.change !== null, 'only changes have an outcome');
    this.#unknown = null;
    this.#asked = asked;
    return { ask: { kind: 'change', change: { ...asked.change, isRetry: true } }, event: null };
  }

  #release(nowMs: number): LeaseOutput {
    this.#isWanted = false;
    this.#unknown = null;
    const held = this.#held;
    if (held === null) return NOTHING;
    this.#held = null;
    const event: LeaseEvent = { kind: 'lost', fence: held.fence };
    // A renewal that is under way would make this fail; then the time to live frees it.
    if (this.#asked !== null) return { ask: null, event };
    return { ...this.#change('release', held, nowMs), event };
  }

  #onAnswer(reply: Reply, nowMs: number): LeaseOutput {
    const asked = this.#asked;
    if (asked === null) return NOTHING;
    this.#asked = null;
    if (reply.kind === 'changed') return this.#onChanged(asked, reply.version, nowMs);
    if (reply.kind === 'conflict' || reply.kind === 'value') {
      return this.#onRegister(asked, reply.register, nowMs);
    }
    if (reply.kind !== 'failed') return NOTHING;
    const mayHave = reply.error === 'outcome-unknown' && asked.change !== null;
    // Once its time is over nothing depends on it: what is there is looked at anew.
    const isOver = nowMs >= asked.sentMs + holderMs(this.#options.ttlMs);
    if (mayHave && asked.what !== 'release' && !isOver) this.#unknown = asked;
    this.#dueMs = nowMs + pauseMs(this.#options.ttlMs);
    return NOTHING;
  }

  #onChanged({ what, fence, sentMs }: Asked, version: number, nowMs: number): LeaseOutput {
    if (what === 'release') return NOTHING;
    const { ttlMs } = this.#options;
    const held = { fence, version, untilMs: sentMs + holderMs(ttlMs) };
    this.#seen = null;
    this.#free = { version, fence };
    // Released meanwhile, or so late that it is over already: time frees it.
    if (!this.#isWanted || nowMs >= held.untilMs) {
      this.#see({ version, value: EMPTY, recent: [] }, nowMs, {
        holder: this.#options.holder,
        fence,
        ttlMs,
        isFree: false,
      });
      return NOTHING;
    }
    this.#held = held;
    this.#dueMs = sentMs + pauseMs(ttlMs);
    return { ask: null, event: { kind: 'held', fence, untilMs: held.untilMs } };
  }

  /** Another version than expected, or what a read has found. */
  #onRegister(asked: Asked, register: Register, nowMs: number): LeaseOutput {
    const lost = asked.what === 'renew' ? this.#held : null;
    if (asked.what === 'renew') this.#held = null;
    const record = register.version === 0 ? null : decodeLease(register.value);
    if (record === null || record.isFree) {
      this.#seen = null;
      this.#free = { version: register.version, fence: record?.fence ?? 0 };
      this.#dueMs = nowMs;
    } else this.#see(register, nowMs, record);
    const event: LeaseEvent | null = lost === null ? null : { kind: 'lost', fence: lost.fence };
    const { ask } = this.#go(nowMs);
    return { ask, event };
  }

  /** Time runs from when a version was first seen; each new one begins it again. */
  #see({ version }: Register, nowMs: number, record: LeaseRecord): void {
    if (this.#seen?.version !== version) this.#seen = { version, record, sinceMs: nowMs };
    const endMs = this.#seen.sinceMs + takeoverMs(record.ttlMs);
    this.#dueMs = Math.min(endMs, nowMs + pauseMs(record.ttlMs));
  }
}

const EMPTY = new Uint8Array(0);

/** How long a holder counts on a lease, from before it asked. L2. */
export function holderMs(ttlMs: number): number {
  return ttlMs - Math.ceil((ttlMs * CASPAXOS_LIMITS.clockDriftPermille) / 1_000);
}

/** How long a challenger waits from when it saw the holder's latest version. L2. */
export function takeoverMs(ttlMs: number): number {
  return ttlMs + Math.ceil((ttlMs * CASPAXOS_LIMITS.clockDriftPermille) / 1_000);
}

/** Between renewals, looks and retries: three of them fit into a lease. */
function pauseMs(ttlMs: number): number {
  return Math.floor(ttlMs / 4);
}

/** L3. What a resource does with a number: whether to act, and the highest number seen. */
export function admitFence(
  highest: number,
  fence: number,
): { readonly isAdmitted: boolean; readonly highest: number } {
  return { isAdmitted: fence >= highest, highest: Math.max(highest, fence) };
}

const VERSION = 1;

/** The bytes of a lease's register. */
export function encodeLease({ holder, fence, ttlMs, isFree }: LeaseRecord): Uint8Array {
  const writer = new ByteWriter();
  return writer.u8(VERSION).text(holder).u64(fence).u64(ttlMs).bool(isFree).finish();
}

/** The lease of `bytes`, or null where they are none. */
export function decodeLease(bytes: Uint8Array): LeaseRecord | null {
  const reader = new ByteReader(bytes);
  if (reader.u8() !== VERSION) return null;
  const holder = reader.text(CASPAXOS_LIMITS.holderBytesMax);
  const record = { holder, fence: reader.u64(), ttlMs: reader.u64(), isFree: reader.bool() };
  const isGood = holder !== '' && record.fence >= 1 && record.ttlMs <= CASPAXOS_LIMITS.leaseMsMax;
  return reader.isDone() && isGood ? record : null;
}
