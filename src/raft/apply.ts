/**
 * From committed to applied: the commit index, what the state machine gets and when, and what that
 * means for those who wait.
 *
 * A1: the commit index never falls, and what is at or below it never changes.
 * A2: an entry is applied only if it is committed and on this node's disk.
 * A3: entries are handed out in order, once, within a limit of bytes.
 * A4: a proposal is told `committed` only if the entry committed at its index is of its term, and
 *     `superseded` only if it is of another; a proposal overtaken by a snapshot has no known outcome.
 */

import { assert } from '../base/assert.ts';
import { RAFT_LIMITS } from '../base/limits.ts';
import { decodeLevel } from './codec.ts';
import { entryBytes } from './log.ts';
import { isRemovedFrom } from './membership.ts';
import { fail, raiseAlarm, type Core } from './state.ts';
import type { Entry, Index } from './types.ts';

/** Commits up to `index`, which is in the log. */
export function advanceCommit(self: Core, index: Index): void {
  if (index <= self.commit) return;
  assert(index <= self.log.lastIndex, 'what is committed here is in this log');
  for (let at = self.commit + 1; at <= index; at += 1) {
    const entry = self.log.entryAt(at);
    assert(entry !== null, 'entries go only once they are committed');
    if (self.role === 'leader') self.uncommittedBytes -= entryBytes(entry);
    if (entry.kind === 'level') {
      onLevelCommitted(self, decodeLevel(entry.data) ?? self.level, at);
    }
  }
  self.commit = index;
  onConfCommitted(self);
}

/** Takes note of the configuration committed last. */
export function onConfCommitted(self: Core): void {
  const before = self.committedConf;
  self.committedConf = self.log.confAt(self.commit);
  if (self.committedConf.index === before.index) return;
  if (isRemovedFrom(self.committedConf.conf, self.options.id)) {
    self.isRemoved = true;
    raiseAlarm(self, 'removed', self.options.id, self.committedConf.index);
  }
}

/** The cluster speaks `level` now. Who does not understand it must not guess: it stops. */
export function onLevelCommitted(self: Core, level: number, index: Index): void {
  self.level = level;
  self.levels.push({ index, level });
  if (level <= self.options.levelMax) return;
  self.disk = 'failed';
  raiseAlarm(self, 'level-unsupported', self.options.id);
}

/** Hands out what may be applied, and settles the proposals in it. */
export function handOut(self: Core): void {
  if (self.restoring !== null) {
    if (self.durableIndex < self.restoring.meta.index) return;
    self.out.apply.push({ kind: 'restore', snapshot: self.restoring });
    self.handedIndex = self.restoring.meta.index;
    self.handedBytes = 0;
    self.restoring = null;
  }
  const to = Math.min(self.commit, self.durableIndex);
  if (to <= self.handedIndex) return;
  const roomBytes = self.options.applyBytesMax - self.handedBytes;
  if (roomBytes <= 0) return;
  const entries = self.log.slice(self.handedIndex + 1, roomBytes, RAFT_LIMITS.appendEntriesMax, to);
  const last = entries.at(-1);
  if (last === undefined) return;
  self.out.apply.push({ kind: 'entries', entries });
  self.handedIndex = last.index;
  for (const entry of entries) {
    self.handedBytes += entryBytes(entry);
    settleProposals(self, entry);
  }
}

function settleProposals(self: Core, entry: Entry): void {
  const waiting = self.proposals.get(entry.index);
  if (waiting === undefined) return;
  self.proposals.delete(entry.index);
  self.proposalCount -= waiting.length;
  for (const { id, term } of waiting) {
    if (term === entry.term) {
      self.out.reply.push({ kind: 'committed', id, index: entry.index, term });
    } else {
      fail(self, id, 'superseded');
    }
  }
}

/** A snapshot has jumped over these indices: what became of their proposals is not known. */
export function forgetProposalsTo(self: Core, index: Index): void {
  for (const [at, waiting] of self.proposals) {
    if (at > index) continue;
    self.proposals.delete(at);
    self.proposalCount -= waiting.length;
    for (const { id } of waiting) fail(self, id, 'outcome-unknown');
  }
}

/** The state machine is at `index`. */
export function onApplied(self: Core, index: Index): void {
  assert(index <= self.handedIndex, 'only what was handed out is applied');
  const from = Math.max(self.appliedIndex, self.log.floorIndex) + 1;
  for (let at = from; at <= index; at += 1) {
    const entry = self.log.entryAt(at);
    if (entry !== null) self.handedBytes -= entryBytes(entry);
  }
  self.appliedIndex = Math.max(self.appliedIndex, index);
}

/** Answers confirmed reads that the state machine has caught up with. */
export function answerReadable(self: Core): void {
  if (self.readable.length === 0) return;
  const waiting: typeof self.readable = [];
  for (const read of self.readable) {
    if (read.index <= self.appliedIndex) self.out.reply.push({ kind: 'readable', ...read });
    else waiting.push(read);
  }
  self.readable = waiting;
}
