/**
 * The time of a simulated world: a heap of events in the order (time, tie, number). The tie is
 * drawn, so that what happens at the same moment happens in any order; one seed gives one order.
 *
 * A binary heap: adding and taking cost the logarithm of what is waiting. @hot
 */

import { assert } from '../base/assert.ts';
import type { TimerHandle, Timers } from '../base/ports.ts';
import type { Prng } from '../base/prng.ts';

class SimEvent implements TimerHandle {
  readonly atMs: number;
  readonly tie: number;
  readonly number: number;
  run: (() => void) | null;

  constructor(atMs: number, tie: number, number: number, run: () => void) {
    this.atMs = atMs;
    this.tie = tie;
    this.number = number;
    this.run = run;
  }

  cancel(): void {
    this.run = null;
  }
}

export class EventQueue implements Timers {
  /** Milliseconds since the world began. */
  nowMs = 0;
  /** Events that have happened. */
  fired = 0;
  private readonly prng: Prng;
  private readonly heap: SimEvent[] = [];
  private numbers = 0;

  constructor(prng: Prng) {
    this.prng = prng;
  }

  after(delayMs: number, fire: () => void): TimerHandle {
    assert(delayMs >= 0, 'nothing happens in the past');
    return this.at(this.nowMs + delayMs, fire);
  }

  at(atMs: number, fire: () => void): TimerHandle {
    this.numbers += 1;
    const dueMs = Math.max(this.nowMs, atMs);
    const event = new SimEvent(dueMs, this.prng.nextUint32(), this.numbers, fire);
    this.heap.push(event);
    this.rise(this.heap.length - 1);
    return event;
  }

  /** Lets the next event happen, if it is due by `untilMs`. False, and time moved there, if not. */
  step(untilMs: number): boolean {
    for (;;) {
      const event = this.heap[0];
      if (event === undefined || event.atMs > untilMs) {
        this.nowMs = Math.max(this.nowMs, untilMs);
        return false;
      }
      this.takeFirst();
      const { run } = event;
      if (run === null) continue;
      event.run = null;
      this.nowMs = event.atMs;
      this.fired += 1;
      run();
      return true;
    }
  }

  private takeFirst(): void {
    const last = this.heap.pop();
    if (last === undefined || this.heap.length === 0) return;
    this.heap[0] = last;
    this.sink();
  }

  private rise(from: number): void {
    const { heap } = this;
    const event = heap[from] as SimEvent;
    let at = from;
    while (at > 0) {
      const above = (at - 1) >>> 1;
      const parent = heap[above] as SimEvent;
      if (isBefore(parent, event)) break;
      heap[at] = parent;
      at = above;
    }
    heap[at] = event;
  }

  private sink(): void {
    const { heap } = this;
    const event = heap[0] as SimEvent;
    const count = heap.length;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= count) break;
      const right = child + 1;
      if (right < count && isBefore(heap[right] as SimEvent, heap[child] as SimEvent)) {
        child = right;
      }
      const least = heap[child] as SimEvent;
      if (isBefore(event, least)) break;
      heap[at] = least;
      at = child;
    }
    heap[at] = event;
  }
}

function isBefore(left: SimEvent, right: SimEvent): boolean {
  if (left.atMs !== right.atMs) return left.atMs < right.atMs;
  if (left.tie !== right.tie) return left.tie < right.tie;
  return left.number < right.number;
}
