/**
 * Where an attempt can go, and who decides: the exchange knows how an attempt is run and when the
 * next one may follow; its host knows the targets and regions. Provider names appear in neither.
 */

import type { Failure } from '../base/errors.ts';
import type { Clock, Timers, Upstream } from '../base/ports.ts';
import type { Prng } from '../base/prng.ts';
import type { Adapter, AdapterTarget, ContinuationMode } from '../protocol/adapter.ts';
import type { Usage } from '../protocol/dialect.ts';
import type { ResumeWay } from '../protocol/resume.ts';
import type { AttemptOutcome } from '../routing/outcome.ts';

/** One place chosen for one attempt. The host counts its load through the three methods. */
export interface Place {
  readonly kind: 'target' | 'region';
  /** The target's name; of a region its name. */
  readonly name: string;
  /** The region that will run it. */
  readonly region: string;
  /** For the `Upstream` port. */
  readonly origin: string;
  /** The model that will answer: the one asked for, or a fallback. */
  readonly model: string;
  readonly adapter: Adapter;
  /** What the adapter needs of the target; null for a region, which gets the request as it came. */
  readonly target: AdapterTarget | null;
  /** How a region goes on with an answer; null of a target, whose adapter and options say it. */
  readonly resume: ResumeWay | null;
  /** Why it was chosen, for the trace. */
  readonly reason: string;
  started(nowMs: number): void;
  firstContent(nowMs: number): void;
  finished(outcome: AttemptOutcome, nowMs: number): void;
  /** A whole answer streamed `bytes` after its first content, within `ms`. */
  streamed(bytes: number, ms: number): void;
  /** What streams of this place usually do, bytes a second; null: not known. */
  bytesPerSecond(): number | null;
}

/** Names a place among those of one exchange. */
export function keyOf(place: Place): string {
  return `${place.kind}:${place.name}`;
}

/** What the exchange asks when it needs a place. */
export interface PlaceQuery {
  /** Targets and regions that already failed this exchange, by `kind:name`. */
  readonly excluded: ReadonlySet<string>;
  /** Index into [the model asked for, its fallbacks …]: where to begin. */
  readonly modelIndex: number;
  /** What the last attempt said; null before the first. */
  readonly lastFailure: Failure | null;
  /** Only for the model at `modelIndex`. */
  readonly isSameModel: boolean;
  /** Only at a place that is not sick. */
  readonly isHealthy: boolean;
  readonly nowMs: number;
}

/** The answer: a place, with the model's index that it serves, or a refusal. */
export type PlaceChoice =
  | { readonly kind: 'place'; readonly place: Place; readonly modelIndex: number }
  | { readonly kind: 'none'; readonly failure: Failure; readonly why: string };

/** What an exchange needs of its surroundings. One object for all exchanges of a configuration. */
export interface ExchangeHost {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly prng: Prng;
  readonly upstream: Upstream;
  /** Takes one retry out of the budget, unless it is free; false where it is spent. */
  takeRetry(nowMs: number, mayHaveRun: boolean, isFree: boolean): boolean;
  /** Bytes of answers that all exchanges together keep so that they can go on. */
  readonly kept: { bytes: number; readonly bytesMax: number };
}

/** What the exchange reports of one attempt when it is over. */
export interface AttemptReport {
  readonly place: Place;
  readonly end: 'answered' | 'rejected' | 'failed' | 'cancelled';
  readonly reason: string;
  readonly status: number;
  /** When it began, Clock.nowMs(). */
  readonly startedMs: number;
  readonly firstContentMs: number | null;
  readonly totalMs: number;
  readonly isRetry: boolean;
  /** It raced another attempt for the first content. */
  readonly isHedge: boolean;
  /** How it went on with an answer begun by another one; null: it answered from the start. */
  readonly mode: ContinuationMode | null;
  /** Its own tokens: told by the provider, or estimated from what came; null: nothing came. */
  readonly usage: Usage | null;
}
