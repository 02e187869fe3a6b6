/**
 * One CASPaxos node, proposer and acceptor in one: `step(input, nowMs) -> Output`. This file decides
 * what is let in and what goes out; the rules stand in the files that it calls. Invariants by
 * number: SPEC.md.
 *
 * N1: nothing from another cluster, or from another disk under an acceptor's id, is acted on.
 * N2: a failed disk takes part in nothing: no promise, no acceptance, no request.
 */

import { assert, unreachable } from '../base/assert.ts';
import type { Result } from '../base/result.ts';
import { fillOf, onAccept, onPrepare, onQuery, onScan, slotOf, takeControl } from './acceptor.ts';
import { isZeroBallot } from './ballot.ts';
import { NO_BUGS, type Bugs } from './bugs.ts';
import { acceptorOf } from './control.ts';
import { failAll, onNewControl, startRequest, sweepWaiting } from './requests.ts';
import { loseRescan, onLaneKeyDone, onPage, onRescanTime, startRescan } from './rescan.ts';
import { beginRound, onAccepted, onPromise, onRefused, onRoundTime, onState } from './rounds.ts';
import type { SlotTable } from './slotTable.ts';
import { startCore, type StartError } from './start.ts';
import { emptyOutbox, isDirty, raiseAlarm, scheduleAt, type Core } from './state.ts';
import type {
  CasOptions,
  CasStatus,
  Control,
  DiskState,
  Input,
  Key,
  Message,
  Output,
  Persist,
  Slot,
  SlotRecord,
  Stored,
} from './types.ts';

export class CasNode {
  readonly #core: Core;

  private constructor(core: Core) {
    this.#core = core;
  }

  /** Starts from what the disk holds, and takes it over. An error says why this disk may not take part. */
  static start(options: CasOptions, stored: Stored, nowMs: number): Result<CasNode, StartError> {
    return CasNode.startBroken(options, stored, nowMs, NO_BUGS);
  }

  /** For tests alone: a node with planted bugs. */
  static startBroken(
    options: CasOptions,
    stored: Stored,
    nowMs: number,
    bugs: Bugs,
  ): Result<CasNode, StartError> {
    const core = startCore(options, stored, nowMs, bugs);
    return core.ok ? { ok: true, value: new CasNode(core.value) } : core;
  }

  /** Takes one input at `nowMs` (monotonic; a smaller one counts as the last). */
  step(input: Input, nowMs: number): Output {
    return stepCore(this.#core, input, nowMs);
  }

  /** When the next `tick` is due, in the time of `step`; infinite: when there is something to do. */
  nextWakeMs(): number {
    return this.#core.wakeMs;
  }

  status(): CasStatus {
    const { options, proposer, epoch, control, buckets, requestCount, cache, disk } = this.#core;
    let keys = 0;
    for (const bucket of buckets.values()) keys += bucket.size;
    return {
      id: options.id,
      proposer,
      epoch,
      control,
      keys,
      fill: fillOf(this.#core),
      requests: requestCount,
      cached: cache.size,
      disk,
      rounds: this.#core.roundCount,
      conflicts: this.#core.conflictCount,
    };
  }

  /** What the Raft log says of the acceptors, as far as it was heard. */
  get control(): Control | null {
    return this.#core.control;
  }

  /** All that this acceptor keeps, by bucket and name. */
  get kept(): ReadonlyMap<number, SlotTable> {
    return this.#core.buckets;
  }

  /**
   * All that was given out to persist, as persists with so many slots at most, while the state goes on:
   * the epoch and the control state as they are now, then every key that is there now, as it is when
   * it comes or later, unless its bucket was closed meanwhile.
   */
  digest(slotsMax: number): Iterator<Persist> {
    const { seq, epoch, control, buckets } = this.#core;
    const head: Persist = { seq: Math.max(1, seq), epoch, control, slots: [] };
    return digestOf(head, [...buckets.keys()], buckets, slotsMax);
  }

  /** What this acceptor keeps of a key. For checkers and for a page that shows it. */
  slot(key: Key): Slot {
    return slotOf(this.#core, key);
  }
}

function* digestOf(
  head: Persist,
  numbers: readonly number[],
  buckets: ReadonlyMap<number, SlotTable>,
  slotsMax: number,
): Generator<Persist, void, undefined> {
  yield head;
  for (const bucket of numbers) {
    for (let after = ''; ;) {
      const slots: SlotRecord[] = [];
      for (const [name, { promised, accepted, register }] of buckets.get(bucket)?.after(after) ??
        []) {
        const what = isZeroBallot(accepted) ? null : { ballot: accepted, register };
        slots.push({ key: { bucket, name }, promised, accepted: what });
        if (slots.length === slotsMax) break;
      }
      const last = slots.at(-1);
      if (last === undefined) break;
      yield { seq: head.seq, epoch: head.epoch, control: null, slots };
      after = last.key.name;
    }
  }
}

/** One step of a node's state. */
export function stepCore(self: Core, input: Input, nowMs: number): Output {
  self.nowMs = Math.max(self.nowMs, nowMs);
  take(self, input);
  settle(self);
  return finish(self);
}

function take(self: Core, input: Input): void {
  switch (input.kind) {
    case 'tick':
      return onTick(self);
    case 'message':
      return onMessage(self, input.message);
    case 'change':
      return startRequest(self, input.id, input.key, input.change);
    case 'read':
      return startRequest(self, input.id, input.key, null);
    case 'control':
      return onControl(self, input.control);
    case 'proposer':
      return onProposer(self, input.proposer);
    case 'rescan':
      return startRescan(self, input.id);
    case 'persisted':
      return onPersisted(self, input.seq);
    case 'disk':
      return onDisk(self, input.state);
    default:
      return unreachable(input);
  }
}

function onTick(self: Core): void {
  if (self.nowMs < self.wakeMs) return;
  self.wakeMs = Number.POSITIVE_INFINITY;
  for (const round of self.rounds.values()) onRoundTime(self, round);
  sweepWaiting(self);
  if (self.rescan !== null) onRescanTime(self, self.rescan);
  // What is still to come.
  for (const { dueMs, request } of self.rounds.values()) {
    scheduleAt(self, Math.min(dueMs, request.deadlineMs));
  }
  for (const queue of self.queues.values()) {
    for (const { deadlineMs } of queue) scheduleAt(self, deadlineMs);
  }
  const { rescan } = self;
  if (rescan === null) return;
  scheduleAt(self, rescan.deadlineMs);
  for (const lane of rescan.lanes.values()) scheduleAt(self, lane.dueMs);
}

/** N2. A full disk may have room again; a failed one stays failed until a new start. */
function onDisk(self: Core, state: DiskState): void {
  if (self.disk === 'failed') return;
  self.disk = state;
  if (state !== 'failed') return;
  self.selfInbox.length = 0;
  self.selfHeld.length = 0;
  loseRescan(self);
  failAll(self, 'disk-failed');
}

function onControl(self: Core, control: Control): void {
  const { control: known } = self;
  if (self.disk === 'failed' || control.index <= (known?.index ?? 0)) return;
  assert(control.epoch >= (known?.epoch ?? 0), 'epochs of the log do not fall');
  takeControl(self, control);
  if (self.rescan !== null && self.rescan.control.epoch !== control.epoch) loseRescan(self);
  onNewControl(self, control);
}

/** B1. Granted once a start; the log's indices never come again. */
function onProposer(self: Core, proposer: number): void {
  assert(self.proposer === 0 || self.proposer === proposer, 'one start has one proposer id');
  self.proposer = proposer;
}

function onPersisted(self: Core, seq: number): void {
  assert(seq <= self.seq, 'only what was given out becomes durable');
  self.durableSeq = Math.max(self.durableSeq, seq);
  let count = 0;
  for (const held of self.selfHeld) {
    if (held.seq > seq) break;
    count += 1;
    self.selfInbox.push(held.message);
  }
  self.selfHeld.splice(0, count);
}

function onMessage(self: Core, message: Message): void {
  if (self.disk === 'failed' || !isAdmitted(self, message)) return;
  dispatch(self, message);
}

/** N1. */
function isAdmitted(self: Core, { cluster, from, to, incarnation }: Message): boolean {
  if (cluster !== self.options.cluster) {
    raiseAlarm(self, 'wrong-cluster', from);
    return false;
  }
  if (to !== self.options.id) return false;
  const acceptor = self.control === null ? null : acceptorOf(self.control, from);
  if (acceptor === null || acceptor.incarnation === incarnation) return true;
  raiseAlarm(self, 'wrong-incarnation', from);
  return false;
}

function dispatch(self: Core, message: Message): void {
  switch (message.kind) {
    case 'prepare':
      return onPrepare(self, message);
    case 'promise':
      return onPromise(self, message);
    case 'accept':
      return onAccept(self, message);
    case 'accepted':
      return onAccepted(self, message);
    case 'query':
      return onQuery(self, message);
    case 'state':
      return onState(self, message);
    case 'refused':
      return onRefused(self, message);
    case 'scan':
      return onScan(self, message);
    case 'page':
      return onPage(self, message);
    default:
      return unreachable(message);
  }
}

/** What follows from an input, whatever it was. */
function settle(self: Core): void {
  for (;;) {
    const message = self.selfInbox.shift();
    if (message !== undefined) {
      dispatch(self, message);
      continue;
    }
    const request = self.ready.shift();
    if (request !== undefined) {
      beginRound(self, request);
      continue;
    }
    const done = self.laneKeysDone.shift();
    if (done === undefined) return;
    onLaneKeyDone(self, done.lane, done.isDone);
  }
}

function finish(self: Core): Output {
  const { send, afterFsync, reply } = self.out;
  self.out = emptyOutbox();
  if (self.disk === 'failed')
    return { send: [], persist: null, reply, afterFsync: [], afterSeq: 0 };
  const persist = isDirty(self) ? takePersist(self) : null;
  const isWaiting = afterFsync.length > 0 && self.durableSeq < self.seq;
  return { send, persist, reply, afterFsync, afterSeq: isWaiting ? self.seq : 0 };
}

/** Everything that the disk does not have yet. */
function takePersist(self: Core): Persist {
  const slots: SlotRecord[] = [];
  for (const { key, isAcceptedNew } of self.dirty.values()) {
    const { promised, accepted: ballot, register } = slotOf(self, key);
    slots.push({ key, promised, accepted: isAcceptedNew ? { ballot, register } : null });
  }
  const control = self.isControlNew ? self.control : null;
  self.dirty.clear();
  self.isControlNew = false;
  self.savedEpoch = self.epoch;
  self.seq += 1;
  return { seq: self.seq, epoch: self.epoch, control, slots };
}
