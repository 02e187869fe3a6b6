/**
 * The clock of one simulated machine: it may run fast or slow, stand still, or jump. Monotonic time
 * never goes back; wall time may. Timers follow the machine's monotonic clock.
 */

import { assert } from '../base/assert.ts';
import type { Clock, TimerHandle, Timers } from '../base/ports.ts';
import type { EventQueue } from './eventQueue.ts';

interface Armed extends TimerHandle {
  readonly dueMs: number;
  readonly fire: () => void;
  event: TimerHandle | null;
}

const WALL_START_MS = 1_700_000_000_000;

export class MachineClock implements Clock, Timers {
  private readonly world: EventQueue;
  private readonly armed = new Set<Armed>();
  /** Machine milliseconds for one of the world; 0: it stands still. */
  private rate = 1;
  /** What the machine's clock and the world's were when the rate was set. */
  private baseMs: number;
  private baseWorldMs: number;
  private wallOffsetMs: number;

  constructor(world: EventQueue, startMs: number, wallOffsetMs: number) {
    this.world = world;
    this.baseMs = startMs;
    this.baseWorldMs = world.nowMs;
    this.wallOffsetMs = WALL_START_MS + wallOffsetMs;
  }

  nowMs(): number {
    return this.baseMs + (this.world.nowMs - this.baseWorldMs) * this.rate;
  }

  wallMs(): number {
    return this.nowMs() + this.wallOffsetMs;
  }

  after(delayMs: number, fire: () => void): TimerHandle {
    assert(delayMs >= 0, 'a timer is not armed in the past');
    const timer: Armed = {
      dueMs: this.nowMs() + delayMs,
      fire,
      event: null,
      cancel: () => {
        timer.event?.cancel();
        this.armed.delete(timer);
      },
    };
    this.armed.add(timer);
    this.arm(timer);
    return timer;
  }

  setRate(rate: number): void {
    assert(rate >= 0, 'a monotonic clock never goes back');
    this.baseMs = this.nowMs();
    this.baseWorldMs = this.world.nowMs;
    this.rate = rate;
    this.armAll();
  }

  /** Monotonic time jumps ahead: the machine was suspended and did not notice. */
  jump(ms: number): void {
    assert(ms >= 0, 'a monotonic clock never goes back');
    this.baseMs += ms;
    this.armAll();
  }

  /** Wall time is set, forwards or back. */
  stepWall(ms: number): void {
    this.wallOffsetMs += ms;
  }

  private armAll(): void {
    for (const timer of this.armed) {
      timer.event?.cancel();
      this.arm(timer);
    }
  }

  private arm(timer: Armed): void {
    if (this.rate === 0) {
      timer.event = null;
      return;
    }
    const waitMs = Math.max(0, timer.dueMs - this.nowMs()) / this.rate;
    timer.event = this.world.after(waitMs, () => {
      this.armed.delete(timer);
      timer.fire();
    });
  }
}
