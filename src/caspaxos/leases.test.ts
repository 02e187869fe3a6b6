/**
 * Leases over a register that is linearizable and nothing more: answers are late or lost, processes
 * pause, restart and leave, clocks run at different rates. What must hold is looked at all the time;
 * the same runs with a clock out of its bound, or without fencing, must be seen to fail.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPrng, type Prng } from '../base/prng.ts';
import { admitFence, decodeLease, holderMs, Lease, takeoverMs, type LeaseAsk } from './leases.ts';
import { ABSENT, judge } from './register.ts';
import type { Register, Reply } from './types.ts';

const TTL_MS = 1_000;

interface RunOptions {
  /** How much faster the fastest clock is than the slowest, parts in a thousand. */
  readonly driftPermille: number;
  readonly isFenced: boolean;
}

interface Holder {
  readonly index: number;
  lease: Lease;
  /** Local time: real time by this rate. */
  readonly rate: number;
  pausedUntilMs: number;
  life: number;
  /** A number that was good when it was looked at; acted on when the pause is over. */
  pausedFence: number | null;
}

interface Counts {
  held: number;
  takeovers: number;
  refused: number;
  both: number;
  harm: number;
}

class World {
  readonly #prng: Prng;
  readonly #options: RunOptions;
  readonly #holders: Holder[] = [];
  #register: Register = ABSENT;
  #nowMs = 0;
  #events: { readonly atMs: number; readonly run: () => void }[] = [];
  /** Of the resource. */
  #highest = 0;
  #lastWriter = 0;
  readonly #byFence = new Map<number, string>();
  readonly counts: Counts = { held: 0, takeovers: 0, refused: 0, both: 0, harm: 0 };

  constructor(seed: number, options: RunOptions) {
    this.#prng = createPrng(seed);
    this.#options = options;
    for (let index = 0; index < 3; index += 1) {
      const rate = 1 + (options.driftPermille / 1_000) * (index / 2);
      const lease = new Lease({ holder: `n${index}.0`, ttlMs: TTL_MS });
      this.#holders.push({ index, lease, rate, pausedUntilMs: 0, life: 0, pausedFence: null });
    }
  }

  run(): void {
    for (const holder of this.#holders) this.#step(holder, { kind: 'acquire' });
    while (this.#nowMs < 20_000) {
      this.#nowMs += 10;
      const due = this.#events.filter(({ atMs }) => atMs <= this.#nowMs);
      this.#events = this.#events.filter(({ atMs }) => atMs > this.#nowMs);
      for (const { run } of due) run();
      for (const holder of this.#holders) this.#live(holder);
      this.#look();
    }
  }

  #local({ rate }: Holder): number {
    return this.#nowMs * rate;
  }

  #live(holder: Holder): void {
    if (this.#nowMs < holder.pausedUntilMs) return;
    if (holder.pausedFence !== null) {
      // It looked, was paused, and acts on what it saw.
      this.#write(holder.pausedFence);
      holder.pausedFence = null;
    }
    const local = this.#local(holder);
    if (local >= holder.lease.nextWakeMs()) this.#step(holder, { kind: 'tick' });
    const fence = holder.lease.fenceAt(local);
    if (fence !== null) this.#write(fence);
    const dice = this.#prng.nextBelow(400);
    if (dice === 0) {
      holder.pausedFence = fence;
      holder.pausedUntilMs = this.#nowMs + this.#prng.nextBelow(4_000);
    } else if (dice === 1) {
      this.#step(holder, { kind: 'release' });
      this.#at(500, holder, () => this.#step(holder, { kind: 'acquire' }));
    } else if (dice === 2) {
      holder.life += 1;
      holder.lease = new Lease({ holder: `n${holder.index}.${holder.life}`, ttlMs: TTL_MS });
      this.#step(holder, { kind: 'acquire' });
    }
  }

  /** L3. */
  #write(fence: number): void {
    const { isAdmitted, highest } = admitFence(this.#highest, fence);
    this.#highest = highest;
    if (!isAdmitted) this.counts.refused += 1;
    if (!isAdmitted && this.#options.isFenced) return;
    if (fence < this.#lastWriter) this.counts.harm += 1;
    this.#lastWriter = fence;
  }

  #at(delayMs: number, holder: Holder, run: () => void): void {
    const { life } = holder;
    const later = (): void => {
      if (holder.life !== life) return;
      if (this.#nowMs < holder.pausedUntilMs) {
        this.#events.push({ atMs: holder.pausedUntilMs, run: later });
      } else run();
    };
    this.#events.push({ atMs: this.#nowMs + delayMs, run: later });
  }

  #step(holder: Holder, input: Parameters<Lease['step']>[0]): void {
    const { ask, event } = holder.lease.step(input, this.#local(holder));
    if (event?.kind === 'held') {
      const name = `n${holder.index}.${holder.life}`;
      const known = this.#byFence.get(event.fence);
      // L1.
      assert.ok(known === undefined || known === name, 'a fencing number has one holder');
      if (known === undefined) this.counts.takeovers += 1;
      this.#byFence.set(event.fence, name);
      this.counts.held += 1;
    }
    if (ask !== null) this.#ask(holder, ask);
  }

  #ask(holder: Holder, ask: LeaseAsk): void {
    const { life } = holder;
    const fate = this.#prng.nextBelow(10);
    const wayMs = 5 + this.#prng.nextBelow(60);
    const backMs = 5 + this.#prng.nextBelow(this.#prng.nextBelow(10) === 0 ? 900 : 60);
    this.#events.push({
      atMs: this.#nowMs + wayMs,
      run: () => {
        const done = fate === 0 ? null : this.#apply(ask);
        const isLost = fate <= 1;
        const lost: Reply = {
          kind: 'failed',
          id: 0,
          error: ask.kind === 'read' ? 'no-quorum' : 'outcome-unknown',
        };
        const reply = isLost || done === null ? lost : done;
        if (holder.life !== life) return;
        this.#at(backMs, holder, () => this.#step(holder, { kind: 'answer', reply }));
      },
    });
  }

  #apply(ask: LeaseAsk): Reply {
    if (ask.kind === 'read') return { kind: 'value', id: 0, register: this.#register };
    const { change } = ask;
    const verdict = judge(this.#register, change, change.isRetry);
    if (verdict.kind === 'unknown') return { kind: 'failed', id: 0, error: 'outcome-unknown' };
    if (verdict.kind === 'conflict') return { kind: 'conflict', id: 0, register: this.#register };
    if (verdict.kind === 'apply') this.#register = verdict.register;
    return { kind: 'changed', id: 0, version: change.expect + 1, isStanding: true };
  }

  /** L2: by all clocks, one holder at a time. */
  #look(): void {
    const holding = this.#holders.filter(
      (holder) => holder.lease.fenceAt(this.#local(holder)) !== null,
    );
    if (holding.length > 1) this.counts.both += 1;
  }
}

function runAll(seeds: number, options: RunOptions): Counts {
  const sum: Counts = { held: 0, takeovers: 0, refused: 0, both: 0, harm: 0 };
  for (let seed = 1; seed <= seeds; seed += 1) {
    const world = new World(seed, options);
    world.run();
    for (const name of Object.keys(sum) as (keyof Counts)[]) sum[name] += world.counts[name];
  }
  return sum;
}

test('one holder at a time, one holder a number, no harm by a paused one (200 seeds)', () => {
  const counts = runAll(200, { driftPermille: 10, isFenced: true });
  assert.equal(counts.both, 0, 'never two by their clocks');
  assert.equal(counts.harm, 0, 'no older number acts after a newer one');
  assert.ok(
    counts.takeovers > 1_000 && counts.held > counts.takeovers,
    'the lease moves and lasts',
  );
  assert.ok(counts.refused > 0, 'a paused holder did try');
});

test('a clock out of its bound can make two holders, and fencing still keeps them from harm', () => {
  const counts = runAll(40, { driftPermille: 1_000, isFenced: true });
  assert.ok(counts.both > 0);
  assert.equal(counts.harm, 0);
});

test('the planted bug of a resource that looks at no fencing number is seen', () => {
  assert.ok(runAll(40, { driftPermille: 10, isFenced: false }).harm > 0);
});

test('a holder counts less and a challenger more than the time to live', () => {
  for (const ttlMs of [100, 999, 60_000]) {
    assert.ok(holderMs(ttlMs) * 1.01 <= takeoverMs(ttlMs));
  }
});

test('a lease whose holder renews is never taken, and a released one at once', () => {
  const holder = new Lease({ holder: 'a', ttlMs: TTL_MS });
  const other = new Lease({ holder: 'b', ttlMs: TTL_MS });
  const first = holder.step({ kind: 'acquire' }, 0).ask;
  assert.ok(first?.kind === 'change');
  let register = judgeApplied(ABSENT, first);
  const held = holder.step(
    { kind: 'answer', reply: { kind: 'changed', id: 0, version: 1, isStanding: true } },
    20,
  );
  assert.deepEqual(held.event, { kind: 'held', fence: 1, untilMs: 990 });
  const attempt = other.step({ kind: 'acquire' }, 0).ask;
  assert.ok(attempt?.kind === 'change');
  const refused = other.step({ kind: 'answer', reply: { kind: 'conflict', id: 0, register } }, 30);
  assert.deepEqual(refused, { ask: null, event: null });
  // The holder renews from its side; the other sees a new version and begins to wait again.
  const renewal = holder.step({ kind: 'tick' }, 250).ask;
  assert.ok(renewal?.kind === 'change');
  register = judgeApplied(register, renewal);
  holder.step(
    { kind: 'answer', reply: { kind: 'changed', id: 0, version: 2, isStanding: true } },
    270,
  );
  assert.equal(other.step({ kind: 'tick' }, 300).ask?.kind, 'read');
  other.step({ kind: 'answer', reply: { kind: 'value', id: 0, register } }, 320);
  assert.equal(other.step({ kind: 'tick' }, 1_200).ask?.kind, 'read', 'too early to take it');
  const { ask, event } = holder.step({ kind: 'release' }, 400);
  assert.deepEqual(event, { kind: 'lost', fence: 1 });
  assert.ok(ask?.kind === 'change');
  register = judgeApplied(register, ask);
  const taken = other.step({ kind: 'answer', reply: { kind: 'value', id: 0, register } }, 1_220);
  assert.ok(taken.ask?.kind === 'change');
  assert.deepEqual(decodeLease(taken.ask.change.value)?.fence, 2);
});

function judgeApplied(register: Register, ask: LeaseAsk): Register {
  assert.ok(ask.kind === 'change');
  const verdict = judge(register, ask.change, false);
  assert.ok(verdict.kind === 'apply');
  return verdict.register;
}
