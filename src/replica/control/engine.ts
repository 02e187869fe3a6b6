/**
 * What a node needs of whatever keeps the control state: our own Raft group, or a store outside.
 * Reads are of what this node has applied; `confirm` makes them linearizable.
 *
 * CE1: a transaction takes effect at most once, however often it was sent.
 * CE2: `unavailable` is definite: it did not take effect and never will. `unknown` may have.
 * CE3: the state only moves forward; a node without a quorum goes on reading what it has.
 */

import type { Result } from '../../base/result.ts';
import type { WatchSource } from './watch.ts';
import type {
  AuditRecord,
  ControlError,
  KeyValue,
  OperationResult,
  RangePage,
  RangeRequest,
  Revision,
  Transaction,
} from './types.ts';

/** What a transaction came to. */
export interface ControlDone {
  /** `success` ran, not `failure`. */
  readonly isSuccess: boolean;
  readonly revision: Revision;
  readonly results: readonly OperationResult[];
}

export type ControlFailure =
  /** No quorum, or none in time. Definite. */
  | { readonly kind: 'unavailable'; readonly detail: string }
  /** It was sent and the answer is lost. Indefinite. */
  | { readonly kind: 'unknown'; readonly detail: string }
  /** The state machine does not take it. Definite. */
  | { readonly kind: 'refused'; readonly error: ControlError };

export type ControlOutcome = Result<ControlDone, ControlFailure>;

/** The state as far as this node has it. */
export interface ControlView extends WatchSource {
  get(key: string): KeyValue | null;
  range(request: RangeRequest): RangePage;
  /** Records from a revision on, the oldest first. */
  audit(from: Revision, countMax: number): readonly AuditRecord[];
}

export interface ControlEngine {
  readonly view: ControlView;
  /** Answered once, later. */
  transact(transaction: Transaction, done: (outcome: ControlOutcome) => void): void;
  /** Makes the view at least as new as every transaction that was done before this call. */
  confirm(done: (result: Result<Revision, ControlFailure>) => void): void;
  /** Told, later, whenever the view has moved. The result stops it. */
  onMoved(listener: () => void): () => void;
}
