/**
 * Virtual time and a network that loses, doubles, delays and reorders, for tests of sans-IO cores. One
 * seed gives one run.
 */

import { createPrng, type Prng } from './prng.ts';

export interface MessageFaults {
  /** Probabilities of one message. */
  readonly loss: number;
  readonly duplicate: number;
  readonly delayMsMin: number;
  readonly delayMsMax: number;
}

interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

/** What a test cluster is built on; it says how a message is handed over. */
export abstract class TestNetwork<
  Message extends { readonly from: number; readonly to: number },
  Faults extends MessageFaults,
> {
  readonly prng: Prng;
  nowMs = 0;
  faults: Faults;
  /** Directed links that carry nothing: `from>to`. */
  readonly cuts = new Set<string>();
  #events: Event[] = [];
  #orders = 0;

  constructor(seed: number, faults: Faults) {
    this.prng = createPrng(seed);
    this.faults = faults;
  }

  /** Hands a message over at once, unless its receiver is down or the link is cut. */
  abstract deliver(message: Message): void;

  protected isCut({ from, to }: Message): boolean {
    return this.cuts.has(`${from}>${to}`);
  }

  /** How long a copy is on its way. */
  protected delayMs(): number {
    const { delayMsMin, delayMsMax } = this.faults;
    return delayMsMin + this.prng.nextBelow(delayMsMax - delayMsMin + 1);
  }

  protected post(message: Message): void {
    if (this.isCut(message)) return;
    const { loss, duplicate } = this.faults;
    if (loss > 0 && this.prng.nextFloat() < loss) return;
    const copies = duplicate > 0 && this.prng.nextFloat() < duplicate ? 2 : 1;
    for (let copy = 0; copy < copies; copy += 1) {
      this.at(this.nowMs + this.delayMs(), () => this.deliver(message));
    }
  }

  cut(from: number, to: number, isBothWays = true): void {
    this.cuts.add(`${from}>${to}`);
    if (isBothWays) this.cuts.add(`${to}>${from}`);
  }

  /** Cuts every link between nodes of different groups. */
  partition(...groups: readonly (readonly number[])[]): void {
    for (const group of groups) {
      for (const other of groups) {
        if (group === other) continue;
        for (const from of group) for (const to of other) this.cut(from, to, false);
      }
    }
  }

  heal(): void {
    this.cuts.clear();
  }

  at(atMs: number, run: () => void): void {
    this.#orders += 1;
    const event = { atMs, order: this.#orders, run };
    let low = 0;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#events[middle]?.atMs ?? 0) <= atMs) low = middle + 1;
      else high = middle;
    }
    this.#events.splice(low, 0, event);
  }

  /** Lets time pass. */
  run(ms: number): void {
    this.runUntil(() => false, ms);
  }

  /** Lets time pass until `isDone` or `ms` are over. True if it was done. */
  runUntil(isDone: () => boolean, ms = 20_000): boolean {
    const endMs = this.nowMs + ms;
    while (!isDone()) {
      const next = this.#events[0];
      if (next === undefined || next.atMs > endMs) {
        this.nowMs = endMs;
        return isDone();
      }
      this.#events.shift();
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.run();
    }
    return true;
  }
}
