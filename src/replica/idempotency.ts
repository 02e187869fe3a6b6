/**
 * Requests with an `Idempotency-Key`: claimed in all regions together before any target is asked, so
 * that no other region runs the same key while it runs here, or after. The limits of the caller come
 * first: whoever is over them takes up no room among the claims.
 *
 * IK1: an exchange begins only once its claim is won; who presents a key that is taken is told so.
 * IK2: what certainly did not run gives its key back; what may have run keeps it, whatever came of it.
 * IK3: without a quorum such a request is refused, and definitely has not run; others are served.
 */

import { failure, type Failure } from '../base/errors.ts';
import { headerValue } from '../base/headers.ts';
import type { ClientEvents, ClientRequest, UpstreamFailureKind } from '../base/ports.ts';
import { err, ok, type Result } from '../base/result.ts';
import type { AttemptReport } from '../exchange/place.ts';
import type { Operation } from '../protocol/dialect.ts';
import type { ExchangeRecord } from './observer.ts';

/** What a claim is asked for. */
export interface ClaimRequest {
  /** Whose key it is: two callers never share one. */
  readonly caller: string;
  readonly key: string;
  readonly requestId: string;
  readonly client: ClientRequest;
}

export type ClaimTold =
  /** Ours. `over` is called once. */
  | { readonly kind: 'yours'; readonly over: ClaimOver }
  | { readonly kind: 'refused'; readonly failure: Failure };

/** Answers once, later (P1). */
export type ClaimDesk = (request: ClaimRequest, done: (told: ClaimTold) => void) => void;

/** Told once how a claimed request ended; null: it certainly did not run. */
export type ClaimOver = (result: string | null) => void;

const KEY = /^[!-~](?:[ -~]{0,253}[!-~])?$/;

/** The key that a request presents here; null: none, or not for us to look at. */
function idempotencyKeyOf(
  client: ClientRequest,
  operation: Operation,
): Result<string | null, Failure> {
  // The region that took the request has claimed it.
  if (client.forwardedFrom !== null || operation === 'count_tokens') return ok(null);
  const key = headerValue(client.headers, 'idempotency-key');
  if (key === null || KEY.test(key)) return ok(key);
  const detail = 'Idempotency-Key must be 1 to 255 printable ASCII characters.';
  return err(failure('invalid_request', detail));
}

/** A request whose caller and body are known. */
interface Opening {
  readonly client: ClientRequest;
  readonly requestId: string;
  readonly caller: { readonly name: string };
  readonly request: { readonly operation: Operation };
}

interface Ways {
  /** Opens the exchange; `over` is null where nothing was claimed. */
  begin(over: ClaimOver | null): ClientEvents;
  refuse(told: Failure): ClientEvents;
  /** The client left before there was an exchange. */
  gone(): void;
}

/** The requests of a process that wait for the answers to their claims. */
export class ClaimQueue {
  /** How many, and the bytes of their bodies: admission counts them as under way. */
  waiting = 0;
  bodiesBytes = 0;
  readonly #desk: ClaimDesk | null;

  /** `desk` is null where `Idempotency-Key` is not looked at. */
  constructor(desk: ClaimDesk | null) {
    this.#desk = desk;
  }

  /** IK1. Goes on at once where there is nothing to claim. A client may leave meanwhile. */
  first({ client, requestId, caller, request }: Opening, ways: Ways): ClientEvents {
    if (this.#desk === null) return ways.begin(null);
    const key = idempotencyKeyOf(client, request.operation);
    if (!key.ok) return ways.refuse(key.error);
    if (key.value === null) return ways.begin(null);
    let events: ClientEvents | null = null;
    let isGone = false;
    this.#count(1, client);
    this.#desk({ caller: caller.name, key: key.value, requestId, client }, (told) => {
      this.#count(-1, client);
      if (isGone) {
        if (told.kind === 'yours') told.over(null);
        return ways.gone();
      }
      events = told.kind === 'yours' ? ways.begin(told.over) : ways.refuse(told.failure);
    });
    return {
      onGone: () => {
        isGone = true;
        events?.onGone();
      },
      onDrain: () => events?.onDrain(),
    };
  }

  #count(by: 1 | -1, { body }: ClientRequest): void {
    this.waiting += by;
    this.bodiesBytes += by * body.length;
  }
}

/** Why an attempt ended without a byte of the request at whoever could have run it. */
const NOT_SENT: ReadonlySet<string> = new Set([
  'refused',
  'unresolved',
  'tls',
  'connect-timeout',
  'pool-full',
  'link-down',
] satisfies readonly UpstreamFailureKind[]);

/** IK2. What an exchange came to, in a word; null: it certainly did not run. */
export function resultOf({ end, status, attempts, tries }: Ended): string | null {
  const hasRun = ({ reason, status: answered }: Ended['tries'][number]): boolean =>
    !NOT_SENT.has(reason) && (answered < 400 || answered >= 500);
  const isAllTold = tries.length === attempts;
  if (isAllTold && !tries.some(hasRun)) return null;
  return end === 'client-gone' ? end : `${end} ${status}`;
}

type Ended = Pick<ExchangeRecord, 'end' | 'status' | 'attempts'> & {
  readonly tries: readonly Pick<AttemptReport, 'reason' | 'status'>[];
};
