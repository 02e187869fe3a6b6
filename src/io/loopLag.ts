/**
 * The lag of the event loop: how late a short timer fires. A busy loop is late every time; one that
 * had a burst, or a collection of garbage, is late once. What is told is the least lag of an
 * interval, so that only a lag that stands is seen (the minimum of CoDel, RFC 8289, 3), and only where
 * the loop hardly ever waited: a loop that waits and is late all the same lacks a processor that
 * others use, and to refuse requests would not give it one. For the same reason time in which others
 * had the processor does not count, down to a quarter: a machine that is always so is what there is.
 *
 * Streams under way get a part of a turn only (`http1/turns.ts`), so that what a token of theirs waits
 * for its turn is lag as well.
 */

import { performance } from 'node:perf_hooks';

import { ADMISSION_LIMITS } from '../base/limits.ts';
import type { Clock } from '../base/ports.ts';
import { lateMs } from './http1/turns.ts';

/** Shares of the time since the last call, 0 to 1. */
export interface LoopShares {
  /** The loop did not wait. */
  readonly busy: number;
  /** Its thread had a processor. */
  readonly processor: number;
}

function sharesSince(clock: Clock): () => LoopShares {
  let before = performance.eventLoopUtilization();
  let beforeCpu = process.threadCpuUsage();
  let beforeMs = clock.nowMs();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, before);
    const cpu = process.threadCpuUsage(beforeCpu);
    const nowMs = clock.nowMs();
    const processor = (cpu.user + cpu.system) / 1_000 / Math.max(1, nowMs - beforeMs);
    before = now;
    beforeCpu = process.threadCpuUsage();
    beforeMs = nowMs;
    return { busy: utilization, processor };
  };
}

/** Watches until it is closed; does not keep the process alive. */
export function watchLoop(
  clock: Clock,
  report: (lagMs: number) => void,
  shares: () => LoopShares = sharesSince(clock),
  waitMs: () => number = lateMs,
): { close(): Promise<void> } {
  const { sampleMs, intervalMs, busyShareMin, processorShareMin } = ADMISSION_LIMITS;
  let dueMs = clock.nowMs() + sampleMs;
  let startMs = clock.nowMs();
  let samples = 0;
  let leastMs = Infinity;
  const sample = (): void => {
    const nowMs = clock.nowMs();
    samples += 1;
    leastMs = Math.min(leastMs, Math.max(0, nowMs - dueMs, waitMs()));
    dueMs = nowMs + sampleMs;
    timer.refresh();
    if (samples < 2 || nowMs - startMs < intervalMs) return;
    const { busy, processor } = shares();
    const ownShare = Math.min(1, Math.max(processorShareMin, processor));
    const lagMs = busy < busyShareMin ? 0 : leastMs * ownShare;
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
