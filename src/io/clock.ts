/** The real clock and timers, behind the ports of the cores. */

import { assert } from '../base/assert.ts';
import type { Clock, TimerHandle, Timers } from '../base/ports.ts';

const DELAY_MS_MAX = 2 ** 31 - 1;

/** The machine's clock: `nowMs` counts from the start of the process and never steps. */
export function createClock(): Clock {
  return {
    nowMs: () => performance.now(),
    wallMs: () => Date.now(),
  };
}

/** Timers of the event loop. They keep the process alive until they fire or are cancelled. */
export function createTimers(): Timers {
  return {
    after(delayMs: number, fire: () => void): TimerHandle {
      assert(delayMs >= 0 && delayMs <= DELAY_MS_MAX, 'a delay fits into 31 bits');
      if (delayMs === 0) {
        // `setTimeout` waits 1 ms at least; this one comes right behind what is being handled.
        const soon = setImmediate(fire);
        return { cancel: () => clearImmediate(soon) };
      }
      const timer = setTimeout(fire, delayMs);
      return { cancel: () => clearTimeout(timer) };
    },
  };
}
