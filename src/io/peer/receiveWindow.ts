/**
 * How much of one stream the peer may send before we read it. A stream begins with a small window
 * and grows while it uses it up within a round trip or two and the link has growth left: a large
 * body over a long way gets its bandwidth, and a slow reader holds little.
 */

import { PEER_LIMITS } from '../../base/limits.ts';

/** What the windows of one link may have grown by, together, bytes. */
export interface GrowthBudget {
  leftBytes: number;
}

/** The receiving half of one stream. */
export class ReceiveWindow {
  private readonly budget: GrowthBudget;
  private windowBytes: number = PEER_LIMITS.windowBytesInitial;
  private allowedBytes: number = PEER_LIMITS.windowBytesInitial;
  private consumedBytes = 0;
  private lastGrantMs: number;

  constructor(budget: GrowthBudget, nowMs: number) {
    this.budget = budget;
    this.lastGrantMs = nowMs;
  }

  /** Counts what came. False: the peer sent more than it was allowed. */
  received(bytes: number): boolean {
    this.allowedBytes -= bytes;
    return this.allowedBytes >= 0;
  }

  /** Counts what was read; returns what to allow the peer now, 0: nothing yet. */
  consumed(bytes: number, nowMs: number, rttMs: number): number {
    this.consumedBytes += bytes;
    if (this.consumedBytes * 2 < this.windowBytes) return 0;
    let grant = this.consumedBytes;
    this.consumedBytes = 0;
    if (nowMs - this.lastGrantMs < 2 * rttMs + 50) grant += this.grow();
    this.lastGrantMs = nowMs;
    this.allowedBytes += grant;
    return grant;
  }

  /** Gives the growth back. */
  close(): void {
    this.budget.leftBytes += this.windowBytes - PEER_LIMITS.windowBytesInitial;
    this.windowBytes = PEER_LIMITS.windowBytesInitial;
  }

  private grow(): number {
    const room = PEER_LIMITS.windowBytesMax - this.windowBytes;
    const extra = Math.min(this.windowBytes, room, this.budget.leftBytes);
    this.budget.leftBytes -= extra;
    this.windowBytes += extra;
    return extra;
  }
}
