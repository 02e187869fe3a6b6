/**
 * The acceptor: what it promises and accepts for one key, and whom it refuses.
 *
 * A1: only a ballot above every promised one is promised.
 * A2: only a ballot that is not below the promised one is accepted; a copy of what was accepted is
 *     acknowledged again and changes nothing.
 * A3: a round of an older epoch than any seen is refused, for ever: the epoch seen is durable.
 * A4: a closed bucket is refused for ever and what it held is dropped whole.
 * A5: whatever an acceptor says leaves after all that it rests on is durable, its answers to queries
 *     too.
 * A6: keys of the bucket that is never closed, and of all others together, are limited: those that
 *     are there may change, new ones are refused. A full disk takes nothing new, and reads go on.
 *     What others keep is taken above the limit: it must fit in beside what was promised for keys that
 *     came to nothing, or no change of acceptors would ever end.
 */

import { assert } from '../base/assert.ts';
import { CASPAXOS_LIMITS } from '../base/caspaxosLimits.ts';
import { compareBallots, isSameBallot, isZeroBallot, ZERO_BALLOT } from './ballot.ts';
import { isClosed, isOpen, PERMANENT_BUCKET } from './control.ts';
import { ABSENT } from './register.ts';
import { SlotTable } from './slotTable.ts';
import { answer, keyText, type Core } from './state.ts';
import type { Control, Header, Key, MessageOf, Refusal, Slot } from './types.ts';

const EMPTY_SLOT: Slot = { promised: ZERO_BALLOT, accepted: ZERO_BALLOT, register: ABSENT };

/** What is kept of `key`. */
export function slotOf(self: Core, key: Key): Slot {
  return self.buckets.get(key.bucket)?.get(key.name) ?? EMPTY_SLOT;
}

export function onPrepare(self: Core, message: MessageOf<'prepare'>): void {
  const { key, ballot } = message;
  const slot = slotOf(self, key);
  const reason = admit(self, message, key) ?? room(self, message);
  if (reason !== null) return refuse(self, message, reason);
  if (!isAbove(self, slot, message)) return refuse(self, message, 'ballot');
  put(self, key, { ...slot, promised: ballot }, false);
  const { accepted, register } = slot;
  answer(self, message, { kind: 'promise', key, ballot, accepted, register });
}

/** A1. */
function isAbove(self: Core, slot: Slot, { ballot }: MessageOf<'prepare'>): boolean {
  const { epoch, counter } = slot.promised;
  if (self.bugs.has('equal-ballot') && ballot.epoch === epoch) return ballot.counter >= counter;
  return compareBallots(ballot, slot.promised) > 0;
}

export function onAccept(self: Core, message: MessageOf<'accept'>): void {
  const { key, ballot, register, next } = message;
  assert(compareBallots(next, ballot) > 0, 'the ballot to come is above the one of now');
  const slot = slotOf(self, key);
  const reason = admit(self, message, key) ?? room(self, message);
  if (reason !== null) return refuse(self, message, reason);
  // A2.
  const isCopy = isSameBallot(slot.accepted, ballot);
  if (!isCopy && compareBallots(ballot, slot.promised) < 0) return refuse(self, message, 'ballot');
  if (!isCopy) put(self, key, { promised: next, accepted: ballot, register }, true);
  answer(self, message, { kind: 'accepted', key, ballot });
}

export function onQuery(self: Core, message: MessageOf<'query'>): void {
  const { key, ballot } = message;
  const reason = admit(self, message, key);
  if (reason !== null) return refuse(self, message, reason);
  const { accepted, register } = slotOf(self, key);
  answer(self, message, { kind: 'state', key, ballot, accepted, register });
}

/** The next keys that hold something, in order. What was listed once may be listed again. */
export function onScan(self: Core, message: MessageOf<'scan'>): void {
  const { ballot, after, epoch } = message;
  if (epoch < self.epoch) return; // The rescan of an older configuration: nobody needs it.
  self.epoch = epoch;
  const keys: Key[] = [];
  let isLast = true;
  for (const bucket of [...self.buckets.keys()].toSorted((a, b) => a - b)) {
    if (after !== null && bucket < after.bucket) continue;
    const from = after?.bucket === bucket ? after.name : '';
    for (const [name, { accepted }] of self.buckets.get(bucket)?.after(from) ?? []) {
      if (isZeroBallot(accepted)) continue;
      isLast = keys.length < self.options.scanKeysMax;
      if (!isLast) break;
      keys.push({ bucket, name });
    }
    if (!isLast) break;
  }
  answer(self, message, { kind: 'page', ballot, keys, isLast });
}

/** A3, A4. Null: it may take part. A newer epoch than any seen is remembered before the answer. */
function admit(self: Core, header: Header, key: Key): Refusal | null {
  if (header.epoch < self.epoch && !self.bugs.has('old-epoch')) return 'epoch';
  self.epoch = Math.max(self.epoch, header.epoch);
  if (self.control === null) return 'not-open';
  if (self.bugs.has('reopened-bucket')) return null;
  if (isClosed(self.control, key.bucket)) return 'closed';
  return isOpen(self.control, key.bucket) ? null : 'not-open';
}

/** A6. */
function room(
  self: Core,
  { key, isCarried }: Pick<MessageOf<'prepare' | 'accept'>, 'key' | 'isCarried'>,
): Refusal | null {
  if (self.disk !== 'ok') return 'disk';
  const bucket = self.buckets.get(key.bucket);
  if (bucket?.has(key.name) === true) return null;
  // What is never closed has room of its own: no lease waits for claims to end.
  const most = isCarried === true ? CASPAXOS_LIMITS.carriedRoomPercent / 100 : 1;
  const isFull =
    key.bucket === PERMANENT_BUCKET
      ? (bucket?.size ?? 0) >= self.options.permanentKeysMax * most
      : fillOf(self) >= most;
  return isFull ? 'bucket-full' : null;
}

/** How full the buckets that will be closed are, together: 1 where nothing new goes in. */
export function fillOf({ buckets, options }: Core): number {
  let [keys, bytes] = [0, 0];
  for (const [bucket, slots] of buckets) {
    if (bucket === PERMANENT_BUCKET) continue;
    keys += slots.size;
    bytes += slots.bytes;
  }
  return Math.max(keys / options.keysMax, bytes / options.keyBytesMax);
}

function refuse(
  self: Core,
  message: MessageOf<'prepare' | 'accept' | 'query'>,
  reason: Refusal,
): void {
  const { key, ballot } = message;
  const promised = reason === 'ballot' ? slotOf(self, key).promised : ZERO_BALLOT;
  answer(self, message, { kind: 'refused', key, ballot, reason, promised });
}

function put(self: Core, key: Key, slot: Slot, isAcceptedNew: boolean): void {
  assert(compareBallots(slot.accepted, slot.promised) <= 0, 'what is accepted was promised');
  let bucket = self.buckets.get(key.bucket);
  if (bucket === undefined) self.buckets.set(key.bucket, (bucket = new SlotTable()));
  bucket.set(key.name, slot);
  const text = keyText(key);
  const dirty = self.dirty.get(text);
  if (dirty === undefined) self.dirty.set(text, { key, isAcceptedNew });
  else dirty.isAcceptedNew ||= isAcceptedNew;
}

/** A4. Takes a newer control state: its epoch counts from now on, its closed buckets are dropped. */
export function takeControl(self: Core, control: Control): void {
  self.control = control;
  self.isControlNew = true;
  self.epoch = Math.max(self.epoch, control.epoch);
  for (const bucket of self.buckets.keys()) {
    if (isClosed(control, bucket)) self.buckets.delete(bucket);
  }
  for (const [text, { key }] of self.dirty) {
    if (isClosed(control, key.bucket)) self.dirty.delete(text);
  }
}
