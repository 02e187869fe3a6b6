/**
 * The lag of the event loop: how late a short timer fires. A busy loop is late every time; one that
 * had a burst, or a collection of garbage, is late once. What is told is the least lag of an
 * interval, so that only a lag that stands is seen (the minimum of CoDel, RFC 8289, 3).
 */

import { ADMISSION_LIMITS } from '../base/limits.ts';
import type { Clock } from '../base/ports.ts';

/** Watches until it is closed; does not keep the process alive. */
export function watchLoop(
  clock: Clock,
  report: (lagMs: number) => void,
): { close(): Promise<void> } {
  const { sampleMs, intervalMs } = ADMISSION_LIMITS;
  let dueMs = clock.nowMs() + sampleMs;
  let startMs = clock.nowMs();
  let samples = 0;
  let leastMs = Infinity;
  const sample = (): void => {
    const nowMs = clock.nowMs();
    samples += 1;
    leastMs = Math.min(leastMs, Math.max(0, nowMs - dueMs));
    dueMs = nowMs + sampleMs;
    timer.refresh();
    if (samples < 2 || nowMs - startMs < intervalMs) return;
    const lagMs = leastMs;
    startMs = nowMs;
    samples = 0;
    leastMs = Infinity;
    report(lagMs);
  };
  const timer = setTimeout(sample, sampleMs);
  timer.unref();
  return {
    close: () => {
      clearTimeout(timer);
      return Promise.resolve();
    },
  };
}
