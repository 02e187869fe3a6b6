/** Who opens an exchange: what is fixed for it, and what the exchange asks and tells its owner. */

import type { ErrorCode, Failure } from '../base/errors.ts';
import type { HeaderList } from '../base/headers.ts';
import type { ParsedRequest } from '../protocol/adapter.ts';
import type { AttemptCall } from './attempt.ts';
import type { ExchangeDeadlines } from './deadlines.ts';
import type { Exchange } from './exchange.ts';
import type { StallSpec } from './stall.ts';
import type { AttemptReport, Place, PlaceChoice, PlaceQuery } from './place.ts';

/** What is fixed for one exchange. */
export interface ExchangeInfo {
  readonly requestId: string;
  readonly receivedMs: number;
  readonly deadlines: ExchangeDeadlines;
  readonly attemptsMax: number;
  /** An answer whose target dies after its first content may go on at another one. */
  readonly mayContinue: boolean;
  /** It may go on with another model of the list, too. */
  readonly mayChangeModel: boolean;
  /** When a stream that goes on too slowly is given up for another one; null: never. */
  readonly stall: StallSpec | null;
  /** Header fields of the client's request that its dialect reads. */
  readonly clientHeaders: HeaderList;
}

export type ExchangeEnd = 'answered' | 'refused' | 'failed' | 'client-gone';

/** Who opened the exchange: chooses places, adds header fields and takes the account. */
export interface ExchangeOwner {
  choose(query: PlaceQuery): PlaceChoice;
  /** Makes the call for a place, or says why it cannot be made. */
  prepare(
    place: Place,
    request: ParsedRequest,
  ): { readonly call: AttemptCall } | { readonly failure: Failure };
  /** How long the stream of `place` is waited for before another one races it, ms; null: for good. */
  hedgeDelayMs(place: Place): number | null;
  /** Takes one hedge of the stream of `place` out of the budget; false: it is spent. */
  takeHedge(place: Place): boolean;
  /** Header fields of every reply: request id, rate limits, what served it. */
  replyHeaders(exchange: Exchange): string[];
  /** How the answer came about, as JSON on one line; null: the client did not ask. */
  metadata(exchange: Exchange): string | null;
  attemptOver(exchange: Exchange, report: AttemptReport): void;
  exchangeOver(exchange: Exchange, end: ExchangeEnd, errorCode: ErrorCode | null): void;
}
