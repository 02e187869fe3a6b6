/**
 * The proposer: requests, and the rounds that carry them out. One round at a time for each key;
 * more requests of the key wait in order.
 *
 * R1: a value is proposed only after a quorum promised its ballot, and it goes on from the register
 *     of the highest ballot that the quorum had accepted.
 * R2: the promise that comes with an acceptance serves one change more (one round trip); any
 *     refusal, lost answer or new epoch drops it.
 * R3: a read needs a quorum that has accepted one and the same ballot (one round trip), else it
 *     carries what is there through a whole round before it tells.
 * R4: a round belongs to one epoch; a newer one begins it again.
 * R5: a conflict is told only when a quorum has accepted a register without the change, and the
 *     change can win no more.
 * R6: rounds, waiting requests and remembered keys are limited; every request is answered in time.
 * R7: what may have taken effect, by this call or an earlier one of its id, is never called a failure.
 */

import { encodeUtf8 } from '../base/bytes.ts';
import { CASPAXOS_LIMITS } from '../base/caspaxosLimits.ts';
import { isClosed, isOpen } from './control.ts';
import type { CasErrorCode } from './errors.ts';
import { keyText, scheduleAt, tell, type Core, type Request } from './state.ts';
import type { Change, Control, Key, NodeId } from './types.ts';

/** Takes a request of the host, or refuses it. */
export function startRequest(self: Core, id: number, key: Key, change: Change | null): void {
  const error = refusalOf(self, key, change);
  if (error === null) enqueue(self, { id, key, change, lane: 0 });
  else tellFailure(self, id, error, change?.isRetry === true);
}

const NOBODY: ReadonlySet<NodeId> = new Set();

type Asked = Pick<Request, 'id' | 'key' | 'change' | 'lane'>;

/** Puts a request behind the others of its key; the first of a key is ready to begin. */
export function enqueue(self: Core, asked: Asked): void {
  const request: Request = {
    ...asked,
    deadlineMs: self.nowMs + self.options.requestMs,
    rounds: 0,
    wasProposed: false,
    isFullNeeded: false,
    carriedTo: NOBODY,
    hindrance: 'silence',
  };
  self.requestCount += 1;
  scheduleAt(self, request.deadlineMs);
  const text = keyText(asked.key);
  const queue = self.queues.get(text);
  if (queue !== undefined) {
    queue.push(request);
    return;
  }
  self.queues.set(text, [request]);
  self.ready.push(request);
}

function refusalOf(self: Core, key: Key, change: Change | null): CasErrorCode | null {
  const { control, options } = self;
  if (self.disk === 'failed') return 'disk-failed';
  if (self.proposer === 0) return 'no-proposer';
  if (control === null) return 'no-control';
  if (self.requestCount >= options.requestsMax) return 'too-many';
  if (!isGoodKey(key) || (change !== null && !isGoodChange(change))) return 'bad-request';
  if (change !== null && change.value.length > options.valueBytesMax) return 'too-large';
  if (isClosed(control, key.bucket)) return 'bucket-closed';
  return isOpen(control, key.bucket) ? null : 'bucket-not-open';
}

function isGoodKey({ bucket, name }: Key): boolean {
  const bytes = encodeUtf8(name).length;
  const isNamed = bytes > 0 && bytes <= CASPAXOS_LIMITS.keyNameBytesMax;
  return Number.isSafeInteger(bucket) && bucket >= 0 && isNamed;
}

function isGoodChange({ expect, requestId }: Change): boolean {
  const bytes = encodeUtf8(requestId).length;
  const isNamed = bytes > 0 && bytes <= CASPAXOS_LIMITS.requestIdBytesMax;
  return Number.isSafeInteger(expect + 1) && expect >= 0 && isNamed;
}

/** A request is over; the next of its key is ready. */
export function endRequest(self: Core, request: Request, isDone: boolean): void {
  const text = keyText(request.key);
  const queue = self.queues.get(text) ?? [];
  const at = queue.indexOf(request);
  if (at < 0) return;
  self.requestCount -= 1;
  if (request.lane !== 0) self.laneKeysDone.push({ lane: request.lane, isDone });
  queue.splice(at, 1);
  if (at > 0) return;
  self.rounds.delete(text);
  const [next] = queue;
  if (next === undefined) self.queues.delete(text);
  else self.ready.push(next);
}

/** Ends a request without an outcome. */
export function failRequest(self: Core, request: Request, error: CasErrorCode): void {
  const { id, lane, wasProposed, change } = request;
  if (lane === 0) tellFailure(self, id, error, wasProposed || change?.isRetry === true);
  // A key of a closed bucket needs no new home.
  endRequest(self, request, error === 'bucket-closed');
}

/** R7. */
function tellFailure(self: Core, id: number, error: CasErrorCode, mayHaveEffect: boolean): void {
  const isUnknown = mayHaveEffect && !self.bugs.has('unknown-as-failure');
  tell(self, { kind: 'failed', id, error: isUnknown ? 'outcome-unknown' : error });
}

/** Fails requests of closed buckets and begins rounds of older epochs again. R4. */
export function onNewControl(self: Core, control: Control): void {
  for (const [text, { key, epoch }] of self.cache) {
    if (epoch < control.epoch || isClosed(control, key.bucket)) self.cache.delete(text);
  }
  for (const queue of self.queues.values()) {
    if (!isClosed(control, queue[0]?.key.bucket ?? 0)) continue;
    for (const request of queue.toReversed()) failRequest(self, request, 'bucket-closed');
  }
  for (const [text, round] of self.rounds) {
    if (round.control.epoch === control.epoch) continue;
    self.rounds.delete(text);
    self.ready.push(round.request);
  }
}

/** Answers every request: the disk has failed. */
export function failAll(self: Core, error: CasErrorCode): void {
  for (const queue of self.queues.values()) {
    for (const request of queue.toReversed()) failRequest(self, request, error);
  }
}

/** Requests that waited for others of their key until their time was over. R6. */
export function sweepWaiting(self: Core): void {
  for (const queue of self.queues.values()) {
    for (const request of queue.slice(1).toReversed()) {
      if (self.nowMs >= request.deadlineMs) failRequest(self, request, 'no-quorum');
    }
  }
}
