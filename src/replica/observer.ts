/**
 * What the gateway tells about itself: one record an exchange and one an attempt, and changes of
 * health. `io/observe` turns them into metrics and logs. No prompt, no answer, no secret is in them.
 */

import type { ErrorCode } from '../base/errors.ts';
import type { AttemptReport } from '../exchange/place.ts';
import type { HedgeEnd } from '../exchange/race.ts';
import type { ContinuationMode } from '../protocol/adapter.ts';
import type { Operation, Usage } from '../protocol/dialect.ts';

/** How an exchange ended. */
export type ExchangeEnd = 'answered' | 'refused' | 'failed' | 'client-gone';

/** One exchange, told when it ends. Times in ms of the monotonic clock. */
export interface ExchangeRecord {
  readonly requestId: string;
  readonly operation: Operation | 'models' | 'other';
  /** The model asked for; empty where the request was refused before it was known. */
  readonly model: string;
  /** The model that answered; differs after a fallback. */
  readonly modelServed: string;
  readonly keyName: string;
  readonly isStream: boolean;
  readonly end: ExchangeEnd;
  readonly status: number;
  readonly errorCode: ErrorCode | null;
  /** The provider's kind, the target and the region that answered; empty where none did. */
  readonly providerKind: string;
  readonly target: string;
  readonly servedRegion: string;
  /** The region that forwarded the request here; empty where a client sent it. */
  readonly forwardedFrom: string;
  readonly attempts: number;
  /** Every attempt, in the order of their ends, with its own tokens. */
  readonly tries: readonly AttemptReport[];
  /** What became of the hedge of its first token; null: none was due. */
  readonly hedge: HedgeEnd | null;
  readonly usage: Usage | null;
  /** Tokens of an attempt that lost the race: used beside `usage`, estimated; null: none. */
  readonly outracedUsage: Usage | null;
  readonly totalMs: number;
  /** From the request to the first content; null where none came. */
  readonly firstContentMs: number | null;
  /** Time in the gateway itself: total less the time spent waiting for targets. */
  readonly overheadMs: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
  /** Decisions in order: places, reasons, waits. Bounded. */
  readonly trace: readonly string[];
}

/** How an attempt ended. */
export type AttemptEnd = 'answered' | 'rejected' | 'failed' | 'cancelled';

/** One attempt, told when it ends. */
export interface AttemptRecord {
  readonly requestId: string;
  readonly model: string;
  readonly target: string;
  readonly region: string;
  readonly providerKind: string;
  readonly end: AttemptEnd;
  /** Why it failed: an UpstreamFailureKind, an UpstreamErrorClass or a deadline; empty: it did not. */
  readonly reason: string;
  readonly status: number;
  readonly firstContentMs: number | null;
  readonly totalMs: number;
  readonly isRetry: boolean;
  /** It raced another attempt for the first content. */
  readonly isHedge: boolean;
  /** How it went on with an answer begun by another one; null: it answered from the start. */
  readonly mode: ContinuationMode | null;
  /** Its own tokens; null: nothing came. */
  readonly usage: Usage | null;
}

/** Receives records. Called on the request path: it must not block or throw. */
export interface Observer {
  exchangeStarted(operation: string, model: string): void;
  exchangeDone(record: ExchangeRecord): void;
  attemptDone(record: AttemptRecord): void;
  targetHealth(model: string, target: string, state: string, reason: string): void;
  retrySuppressed(model: string, why: string): void;
  /** A request was refused under load, by its class and by what there was too much of. */
  shed(priority: string, reason: string): void;
  /** The event loop was watched for an interval; called some times a second. */
  loadMeasured(loopLagMs: number, pressure: number): void;
}
