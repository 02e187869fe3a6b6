/**
 * Virtual time: `Clock` and `Timers` that move only when told to. For the simulator and for tests
 * of cores: the same steps give the same run, and an hour passes in no time.
 */

import { assert } from './assert.ts';
import type { Clock, TimerHandle, Timers } from './ports.ts';

interface Armed {
  readonly dueMs: number;
  readonly order: number;
  readonly fire: () => void;
  isCancelled: boolean;
}

/** A clock that stands still until `advance`. Timers due at the same time fire in arming order. */
export class VirtualTime implements Clock, Timers {
  private currentMs: number;
  private readonly wallOffsetMs: number;
  private armed: Armed[] = [];
  private armedCount = 0;

  constructor(startMs = 0, wallStartMs = 1_700_000_000_000) {
    this.currentMs = startMs;
    this.wallOffsetMs = wallStartMs - startMs;
  }

  nowMs(): number {
    return this.currentMs;
  }

  wallMs(): number {
    return this.currentMs + this.wallOffsetMs;
  }

  after(delayMs: number, fire: () => void): TimerHandle {
    assert(delayMs >= 0, 'a timer is not armed in the past');
    const timer: Armed = {
      dueMs: this.currentMs + delayMs,
      order: this.armedCount,
      fire,
      isCancelled: false,
    };
    this.armedCount += 1;
    this.armed.push(timer);
    return {
      cancel: () => {
        timer.isCancelled = true;
      },
    };
  }

  /** Timers that are armed now. */
  get pendingCount(): number {
    return this.armed.filter((timer) => !timer.isCancelled).length;
  }

  /** When the next timer is due, or null. */
  nextDueMs(): number | null {
    return this.earliest()?.dueMs ?? null;
  }

  /** Moves time forward by `deltaMs` and fires what comes due on the way, in order. */
  advance(deltaMs: number): void {
    const untilMs = this.currentMs + deltaMs;
    for (;;) {
      const timer = this.earliest();
      if (timer === null || timer.dueMs > untilMs) break;
      this.armed = this.armed.filter((other) => other !== timer);
      this.currentMs = timer.dueMs;
      timer.fire();
    }
    this.currentMs = untilMs;
  }

  private earliest(): Armed | null {
    this.armed = this.armed.filter((timer) => !timer.isCancelled);
    let best: Armed | null = null;
    for (const timer of this.armed) {
      const isEarlier =
        best === null ||
        timer.dueMs < best.dueMs ||
        (timer.dueMs === best.dueMs && timer.order < best.order);
      if (isEarlier) best = timer;
    }
    return best;
  }
}
