/**
 * Streams that go on, but far slower than their target's do: a stall is a death that has not been
 * told. The rate is that of the stream's bytes: it counts all that a target sends, needs no reading
 * of events, and a target writes tokens of one kind with much the same bytes around them.
 */

import type { Attempt } from './attempt.ts';

/** When a stream counts as stalled. */
export interface StallSpec {
  /** Below this share of the target's usual rate, percent. */
  readonly belowPercent: number;
  /** For so long, ms. */
  readonly windowMs: number;
}

/** As long as the idle deadline: silence is judged by that one, a trickle by this. */
export const STALL_DEFAULTS: StallSpec = { belowPercent: 10, windowMs: 30_000 };

/** Watches the stream of one attempt after another: windows that follow each other. */
export class StallWatch {
  /** When the window ends, Clock.nowMs(); Infinity: nothing is watched. */
  dueMs = Infinity;
  private readonly spec: StallSpec | null;
  private bytesBefore = 0;

  /** Null: stalls are not watched for. */
  constructor(spec: StallSpec | null) {
    this.spec = spec;
  }

  /** A window begins now. */
  begin(attempt: Attempt, nowMs: number): void {
    if (this.spec === null) return;
    this.bytesBefore = attempt.contentBytes;
    this.dueMs = nowMs + this.spec.windowMs;
  }

  stop(): void {
    this.dueMs = Infinity;
  }

  /** A window is over: was it a stall? The next one begins. */
  isStalled(attempt: Attempt, nowMs: number): boolean {
    if (this.spec === null || nowMs < this.dueMs) return false;
    const { belowPercent, windowMs } = this.spec;
    const bytes = attempt.contentBytes - this.bytesBefore;
    const seconds = (nowMs - this.dueMs + windowMs) / 1_000;
    this.begin(attempt, nowMs);
    const usual = attempt.place.bytesPerSecond();
    return usual !== null && bytes < (seconds * usual * belowPercent) / 100;
  }
}
