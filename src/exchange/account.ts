/** The time that an exchange has spent waiting, and the attempts that it was spent on. */

import type { AttemptReport } from './place.ts';

/** One exchange's account. Times are Clock.nowMs(). */
export class Account {
  /** The attempts that are over, in the order of their ends. */
  readonly reports: AttemptReport[] = [];
  firstContentMs: number | null = null;
  /** Time spent waiting for places and between attempts, ms. */
  waitedMs = 0;
  private readonly receivedMs: number;
  /** Since when the exchange waits for places; null: it does not. */
  private waitFromMs: number | null = null;

  constructor(receivedMs: number) {
    this.receivedMs = receivedMs;
  }

  /** Time since the request that was the gateway's own, ms. */
  overheadMs(nowMs: number): number {
    return Math.max(0, nowMs - this.receivedMs - this.waitedMs);
  }

  /** An attempt began: of two that run at a time the waiting counts once. */
  waitFrom(nowMs: number): void {
    this.waitFromMs ??= nowMs;
  }

  /** The first content of an attempt is there. */
  contentCame(nowMs: number): void {
    this.waitUntil(nowMs);
    this.firstContentMs ??= nowMs;
  }

  /** Nobody is waited for any more. */
  waitUntil(nowMs: number): void {
    // Once there is content the client waits no more: what comes later is no overhead of ours.
    if (this.firstContentMs === null && this.waitFromMs !== null) {
      this.waitedMs += nowMs - this.waitFromMs;
    }
    this.waitFromMs = null;
  }
}
