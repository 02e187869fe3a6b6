/**
 * The part of the Raft log's state that rules this room: the acceptor set with its epoch, and which
 * buckets may be used. Pure functions for the state machine that applies the log: each takes the
 * control state and the index of the entry, and gives the next one or why the entry changes nothing.
 *
 * K1: acceptor sets change as C_n -> joint(C_n, C_n+1) -> rescan -> C_n+1, each step an entry with an
 *     epoch of its own; the last step needs a rescan of exactly the joint epoch.
 * K2: quorums of neighbouring epochs meet: a joint one holds a majority of both sets.
 * K3: a closed bucket is closed for ever: `floor` never falls, and `closed` only moves into it.
 *     Bucket 0 is never closed: for keys that must outlive every other bucket.
 * K4: opening buckets begins an epoch with the same acceptors: once a quorum has answered in it,
 *     nothing that was begun before wins any more, in the older buckets too.
 */

import { assert } from '../base/assert.ts';
import { CASPAXOS_LIMITS } from '../base/caspaxosLimits.ts';
import { err, ok, type Result } from '../base/result.ts';
import type { Acceptor, Control, NodeId } from './types.ts';

export type ControlError =
  | 'change-in-flight'
  | 'no-change'
  | 'no-acceptors'
  | 'too-many-acceptors'
  /** An id with two incarnations: a lost disk needs a new id. */
  | 'incarnation-changed'
  | 'not-joint'
  /** The rescan was of another epoch. */
  | 'not-rescanned'
  | 'already-closed'
  | 'not-open'
  /** Bucket 0. */
  | 'permanent'
  | 'too-many-buckets';

/** Always open, never closed. */
export const PERMANENT_BUCKET = 0;

/** The control state that the cluster begins with. */
export function firstControl(
  acceptors: readonly Acceptor[],
  openTo: number,
  index: number,
): Control {
  const set = sorted(acceptors);
  assert(problemOf(set) === null, 'the first acceptor set is well-formed');
  return { index, epoch: 1, acceptors: set, acceptorsNext: [], floor: 0, closed: [], openTo };
}

/** Begins a change of acceptors. */
export function beginChange(
  control: Control,
  next: readonly Acceptor[],
  index: number,
): Result<Control, ControlError> {
  if (isJoint(control)) return err('change-in-flight');
  const set = sorted(next);
  const problem = problemOf(set);
  if (problem !== null) return err(problem);
  const known = new Map(control.acceptors.map((one) => [one.id, one.incarnation]));
  const isMoved = set.some((one) => (known.get(one.id) ?? one.incarnation) !== one.incarnation);
  if (isMoved) return err('incarnation-changed');
  if (set.length === known.size && set.every((one) => known.has(one.id))) return err('no-change');
  return ok({ ...control, index, epoch: control.epoch + 1, acceptorsNext: set });
}

/** Ends a change of acceptors after the rescan of `rescannedEpoch`. K1. */
export function finishChange(
  control: Control,
  rescannedEpoch: number,
  index: number,
): Result<Control, ControlError> {
  if (!isJoint(control)) return err('not-joint');
  if (rescannedEpoch !== control.epoch) return err('not-rescanned');
  const { acceptorsNext: acceptors, epoch } = control;
  return ok({ ...control, index, epoch: epoch + 1, acceptors, acceptorsNext: [] });
}

/** Closes a bucket for ever. K3. */
export function closeBucket(
  control: Control,
  bucket: number,
  index: number,
): Result<Control, ControlError> {
  if (bucket === PERMANENT_BUCKET) return err('permanent');
  if (isClosed(control, bucket)) return err('already-closed');
  if (!isOpen(control, bucket)) return err('not-open');
  const closed = [...control.closed, bucket].toSorted((a, b) => a - b);
  let { floor } = control;
  while (closed[0] === floor + 1) {
    floor += 1;
    closed.shift();
  }
  return ok({ ...control, index, floor, closed });
}

/** Opens buckets up to `openTo`. K4. */
export function openBuckets(
  control: Control,
  openTo: number,
  index: number,
): Result<Control, ControlError> {
  if (isJoint(control)) return err('change-in-flight');
  if (!Number.isSafeInteger(openTo) || openTo <= control.openTo) return err('no-change');
  if (openTo - control.floor > CASPAXOS_LIMITS.bucketsMax) return err('too-many-buckets');
  return ok({ ...control, index, epoch: control.epoch + 1, openTo });
}

export function isJoint(control: Control): boolean {
  return control.acceptorsNext.length > 0;
}

export function isClosed(control: Control, bucket: number): boolean {
  if (bucket === PERMANENT_BUCKET) return false;
  return bucket <= control.floor || control.closed.includes(bucket);
}

/** May be used: neither closed nor still to come. */
export function isOpen(control: Control, bucket: number): boolean {
  return bucket <= control.openTo && !isClosed(control, bucket);
}

/** Everyone who is asked: the acceptors of both sets, in order of their ids. */
export function acceptorsOf(control: Control): readonly Acceptor[] {
  const { acceptors, acceptorsNext } = control;
  const known = new Set(acceptors.map((one) => one.id));
  return sorted([...acceptors, ...acceptorsNext.filter((one) => !known.has(one.id))]);
}

/** The acceptor with this id, or null. */
export function acceptorOf(control: Control, id: NodeId): Acceptor | null {
  const isIt = (one: Acceptor): boolean => one.id === id;
  return control.acceptors.find(isIt) ?? control.acceptorsNext.find(isIt) ?? null;
}

/** K2: whether those for whom `has` holds are a majority of each set. */
export function isQuorum(control: Control, has: (id: NodeId) => boolean): boolean {
  return (
    isMajority(control.acceptors, has) &&
    (!isJoint(control) || isMajority(control.acceptorsNext, has))
  );
}

/** Whether those for whom `has` holds are more than half of `set`. */
export function isMajority(set: readonly Acceptor[], has: (id: NodeId) => boolean): boolean {
  let count = 0;
  for (const one of set) if (has(one.id)) count += 1;
  return count * 2 > set.length;
}

/** What every control state is; a decoder lets nothing else through. */
export function isWellFormedControl(control: Control): boolean {
  const { acceptors, acceptorsNext, floor, closed, openTo, epoch } = control;
  if (problemOf(acceptors) !== null || epoch < 1) return false;
  if (acceptorsNext.length > 0 && problemOf(acceptorsNext) !== null) return false;
  const isRising = closed.every((bucket, at) => bucket > (closed[at - 1] ?? floor + 1));
  return isRising && (closed.at(-1) ?? floor) <= openTo;
}

function problemOf(set: readonly Acceptor[]): ControlError | null {
  if (set.length === 0) return 'no-acceptors';
  if (set.length > CASPAXOS_LIMITS.acceptorsMax) return 'too-many-acceptors';
  const isRising = set.every((one, at) => one.id > (set[at - 1]?.id ?? 0));
  return isRising ? null : 'incarnation-changed';
}

function sorted(set: readonly Acceptor[]): readonly Acceptor[] {
  return set.toSorted((a, b) => a.id - b.id);
}
