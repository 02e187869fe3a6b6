/**
 * The rescan between two acceptor sets: every key that the old set may have chosen is brought to a
 * quorum of both.
 *
 * M1: the acceptors of the old set list their keys after the joint epoch is durable with them. Once a
 *     majority has listed all, no round of an older epoch can win, and every key that one has won
 *     was listed.
 * M2: a listed key is done when a read of the joint epoch is: its register is then with a majority
 *     of the new set too.
 */

import { isSameBallot } from './ballot.ts';
import { isJoint, isMajority } from './control.ts';
import { enqueue } from './requests.ts';
import { ask, scheduleAt, takeBallot, tell, type Core, type Lane, type Rescan } from './state.ts';
import type { CasErrorCode } from './errors.ts';
import type { MessageOf } from './types.ts';

/** Begins a rescan; one that is under way gives way to it. */
export function startRescan(self: Core, id: number): void {
  const { control } = self;
  const refuse = (error: CasErrorCode): void => tell(self, { kind: 'failed', id, error });
  if (self.disk === 'failed') return refuse('disk-failed');
  if (self.proposer === 0) return refuse('no-proposer');
  if (control === null) return refuse('no-control');
  if (!isJoint(control)) return refuse('not-joint');
  if (self.rescan !== null) loseRescan(self);
  if (self.bugs.has('no-rescan')) {
    return tell(self, { kind: 'rescanned', id, epoch: control.epoch });
  }
  const deadlineMs = self.nowMs + self.options.requestMs;
  self.rescan = { id, control, lanes: new Map(), deadlineMs };
  for (const { id: node } of control.acceptors) {
    const ballot = takeBallot(self, control.epoch);
    const lane: Lane = {
      node,
      after: null,
      ballot,
      isLast: false,
      pending: 0,
      isDone: false,
      dueMs: self.nowMs,
    };
    self.rescan.lanes.set(ballot.counter, lane);
    askPage(self, self.rescan, lane);
  }
}

function askPage(self: Core, rescan: Rescan, lane: Lane): void {
  lane.ballot = takeBallot(self, rescan.control.epoch);
  lane.dueMs = self.nowMs + self.options.roundMs;
  scheduleAt(self, lane.dueMs);
  const { epoch } = rescan.control;
  ask(self, lane.node, epoch, { kind: 'scan', ballot: lane.ballot, after: lane.after });
}

export function onPage(self: Core, message: MessageOf<'page'>): void {
  const { rescan } = self;
  if (rescan === null) return;
  const acceptor = rescan.control.acceptors.find(({ id }) => id === message.from);
  if (acceptor?.incarnation !== message.incarnation) return;
  for (const [number, lane] of rescan.lanes) {
    if (lane.node !== message.from || lane.isDone || lane.pending > 0) continue;
    if (!isSameBallot(lane.ballot, message.ballot)) continue;
    rescan.deadlineMs = self.nowMs + self.options.requestMs;
    lane.dueMs = Number.POSITIVE_INFINITY;
    lane.after = message.keys.at(-1) ?? lane.after;
    lane.isLast = message.isLast;
    lane.pending = message.keys.length;
    if (lane.pending === 0) endPage(self, rescan, lane);
    for (const key of message.keys) enqueue(self, { id: 0, key, change: null, lane: number });
  }
}

/** M2. A key that could not be brought along loses the rescan: it begins again. */
export function onLaneKeyDone(self: Core, number: number, isDone: boolean): void {
  const { rescan } = self;
  const lane = rescan?.lanes.get(number);
  if (rescan === null || lane === undefined) return;
  if (!isDone) return loseRescan(self);
  rescan.deadlineMs = self.nowMs + self.options.requestMs;
  lane.pending -= 1;
  if (lane.pending === 0) endPage(self, rescan, lane);
}

/** M1. */
function endPage(self: Core, rescan: Rescan, lane: Lane): void {
  if (!lane.isLast) return askPage(self, rescan, lane);
  lane.isDone = true;
  const done = new Set(
    [...rescan.lanes.values()].filter((one) => one.isDone).map(({ node }) => node),
  );
  const { acceptors, epoch } = rescan.control;
  if (!isMajority(acceptors, (id) => done.has(id))) return;
  self.rescan = null;
  tell(self, { kind: 'rescanned', id: rescan.id, epoch });
}

/** A newer configuration, or a key that did not arrive: nothing is certain. */
export function loseRescan(self: Core): void {
  const { rescan } = self;
  if (rescan === null) return;
  self.rescan = null;
  tell(self, { kind: 'failed', id: rescan.id, error: 'rescan-lost' });
}

/** Asks again for pages that did not come. */
export function onRescanTime(self: Core, rescan: Rescan): void {
  if (self.nowMs >= rescan.deadlineMs) return loseRescan(self);
  for (const lane of rescan.lanes.values()) {
    if (self.nowMs >= lane.dueMs) askPage(self, rescan, lane);
  }
}
