/**
 * The deadlines of an exchange: when the next of them is due, and which one an attempt has missed.
 * Pure: the exchange owns the one timer, re-armed when it fires early.
 */

import { EXCHANGE_LIMITS } from '../base/limits.ts';
import type { Attempt } from './attempt.ts';
import { judgeDeadline, type Verdict } from './verdict.ts';

/** The four deadlines, milliseconds; see `replica/config.ts`. */
export interface ExchangeDeadlines {
  readonly connectMs: number;
  readonly firstByteMs: number;
  readonly idleMs: number;
  readonly totalMs: number;
}

/** What deadlines look at beside the attempt; an exchange is one. */
export interface Watched {
  readonly info: { readonly receivedMs: number; readonly deadlines: ExchangeDeadlines };
  readonly request: { readonly isStream: boolean };
  readonly client: { readonly lastSentMs: number };
  /** The client is slow: nothing is sent to it. */
  readonly isPaused: boolean;
}

/** When the exchange has taken too long, Clock.nowMs(). */
export function totalDueMs({ info }: Watched): number {
  return info.receivedMs + info.deadlines.totalMs;
}

/**
 * A whole answer comes only when generation is over, so its first byte gets half of the total:
 * one more attempt still fits.
 */
function firstByteMs({ info, request }: Watched): number {
  const { deadlines } = info;
  return request.isStream
    ? deadlines.firstByteMs
    : Math.max(deadlines.firstByteMs, deadlines.totalMs / 2);
}

function isWaiting(watched: Watched, attempt: Attempt): boolean {
  return watched.request.isStream ? !attempt.isAnswering : !attempt.hasHead;
}

/** When `attempt` is to be looked at next, Clock.nowMs(). */
export function attemptDueMs(watched: Watched, attempt: Attempt): number {
  const dueMs = isWaiting(watched, attempt)
    ? attempt.startedMs + firstByteMs(watched)
    : attempt.lastPieceMs + watched.info.deadlines.idleMs;
  return Math.min(dueMs, totalDueMs(watched));
}

/** When the client's connection is to be kept awake, Clock.nowMs(). */
export function commentDueMs(watched: Watched): number {
  if (!watched.request.isStream || watched.isPaused) return Infinity;
  return watched.client.lastSentMs + EXCHANGE_LIMITS.keepAliveCommentMs;
}

/** The deadline that `attempt` has missed at `nowMs`; null: none. */
export function missedDeadline(watched: Watched, attempt: Attempt, nowMs: number): Verdict | null {
  const { deadlines } = watched.info;
  const { hasContent } = attempt;
  if (nowMs >= totalDueMs(watched)) return judgeDeadline('total', hasContent, deadlines.totalMs);
  if (isWaiting(watched, attempt)) {
    const limitMs = firstByteMs(watched);
    const isMissed = nowMs >= attempt.startedMs + limitMs;
    return isMissed ? judgeDeadline('first-byte', hasContent, limitMs) : null;
  }
  // A slow client holds its own target back: that is no silence of the target.
  if (watched.isPaused || nowMs < attempt.lastPieceMs + deadlines.idleMs) return null;
  return judgeDeadline('idle', hasContent, deadlines.idleMs);
}
