/** One life of a node's program: everything that calls into it comes through here. */

import type { TimerHandle, Timers } from '../base/ports.ts';

export class SimProcess implements Timers {
  isPaused = false;
  private isDead = false;
  private backlog: (() => void)[] = [];
  private readonly clock: Timers;

  /** `clock`: the timers of its machine. */
  constructor(clock: Timers) {
    this.clock = clock;
  }

  after(delayMs: number, fire: () => void): TimerHandle {
    return this.clock.after(delayMs, () => this.enter(fire));
  }

  /** Calls into the program: never if it is dead, later if it is paused. */
  enter(call: () => void): void {
    if (this.isDead) return;
    if (this.isPaused) this.backlog.push(call);
    else call();
  }

  resume(): void {
    this.isPaused = false;
    const backlog = this.backlog;
    this.backlog = [];
    for (const call of backlog) this.enter(call);
  }

  end(): void {
    this.isDead = true;
    this.backlog = [];
  }
}
