/** Runs promises while virtual time goes on. */

import type { VirtualTime } from '../base/virtualTime.ts';

/** Awaits `work`; whenever nothing else is to be done, time goes on to the next timer. */
export async function inVirtualTime<T>(time: VirtualTime, work: Promise<T>): Promise<T> {
  let isDone = false;
  const watched = work.finally(() => {
    isDone = true;
  });
  while (!isDone) {
    // Promises go on in turns of their own: a few of them stand between two timers at most.
    for (let turn = 0; turn < TURNS; turn += 1) await Promise.resolve();
    const dueMs = time.nextDueMs();
    if (dueMs !== null && !isDone) time.advance(dueMs - time.nowMs());
  }
  return await watched;
}

const TURNS = 16;
