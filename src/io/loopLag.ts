/**
 * The lag of the event loop: how late a short timer fires. A busy loop is late every time; one that
 * had a burst, or a collection of garbage, is late once. What is told is the least lag of an
 * interval, so that only a lag that stands is seen (the minimum of CoDel, RFC 8289, 3), and only where
 * the loop hardly ever waited: a loop that waits and is late all the same lacks a processor that
 * others use, and to refuse requests would not give it one.
 */

import { performance } from 'node:perf_hooks';

import { ADMISSION_LIMITS } from '../base/limits.ts';
import type { Clock } from '../base/ports.ts';

/** The share of time since the last call in which the loop did not wait, 0 to 1. */
function utilizationSince(): () => number {
  let before = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, before);
    before = now;
    return utilization;
  };
}

/** Watches until it is closed; does not keep the process alive. */
export function watchLoop(
  clock: Clock,
  report: (lagMs: number) => void,
  busyShare: () => number = utilizationSince(),
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
    const lagMs = busyShare() < ADMISSION_LIMITS.busyShareMin ? 0 : leastMs;
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
