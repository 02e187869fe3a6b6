/**
 * Linearizable reads by ReadIndex: the leader notes its commit index, makes sure by a round of
 * heartbeats that it still led after the read came, and the state machine is read at that index.
 *
 * I1: a leader confirms no read before an entry of its own term is committed.
 * I2: a read is confirmed only by answers to a round that began after the read came. Rounds count
 *     up within a term, so that an answer to an older one proves nothing about it.
 * I3: a follower's every attempt has its own number under a nonce drawn at start: an answer to an
 *     earlier attempt, or to an earlier life, is not taken for this one (etcd #20418).
 * I4: no clock takes part: there are no leases.
 * Source: Ongaro, thesis, §6.4.
 */

import { RAFT_LIMITS } from '../base/limits.ts';
import { majorityCommit, type Acked } from './quorum.ts';
import { broadcastHeartbeat } from './heartbeat.ts';
import {
  fail,
  hasCommittedInTerm,
  nextAttempt,
  sendNow,
  type Core,
  type LeaderRead,
} from './state.ts';
import type { MessageOf } from './types.ts';

/** A read of this node's host. */
export function startRead(self: Core, id: number): void {
  const waiting = self.readQueue.length + (self.readAttempt?.reads.length ?? 0);
  if (waiting + self.leaderReads.length + self.readable.length >= RAFT_LIMITS.requestsMax) {
    fail(self, id, 'too-many');
    return;
  }
  if (self.leader === 0) {
    fail(self, id, 'no-leader');
    return;
  }
  self.readQueue.push({ id, deadlineMs: self.nowMs + self.options.requestMs });
}

/** Moves queued reads on: together, one attempt at a time. Called at the end of each step. */
export function advanceReads(self: Core): void {
  if (self.role === 'leader') {
    advanceLeaderReads(self);
    return;
  }
  if (self.readAttempt !== null || self.readQueue.length === 0 || self.leader === 0) return;
  const reads = self.readQueue;
  self.readQueue = [];
  askLeader(self, reads);
}

function askLeader(self: Core, reads: LeaderRead['reads']): void {
  const attempt = nextAttempt(self);
  self.readAttempt = { attempt, reads, atMs: self.nowMs };
  sendNow(self, self.leader, { kind: 'readAsk', nonce: self.nonce, attempt });
}

function advanceLeaderReads(self: Core): void {
  if (self.readQueue.length > 0) {
    addLeaderRead(self, 0, 0, 0, self.readQueue);
    self.readQueue = [];
  }
  if (!hasCommittedInTerm(self)) return;
  const isRoundUnderWay = self.leaderReads.some((read) => read.round !== 0);
  if (!isRoundUnderWay) beginRound(self);
  confirmReads(self);
}

/** Attaches the waiting reads to a round of heartbeats that begins now (I2). */
function beginRound(self: Core): void {
  const waiting = self.leaderReads.filter((read) => read.round === 0);
  if (waiting.length === 0) return;
  self.round += 1;
  for (const read of waiting) {
    read.round = self.round;
    // I1: at the earliest what this term has committed; later than the read came is as good.
    read.index = self.commit;
  }
  broadcastHeartbeat(self);
}

function addLeaderRead(
  self: Core,
  from: number,
  nonce: number,
  attempt: number,
  reads: LeaderRead['reads'],
): void {
  self.leaderReads.push({ from, nonce, attempt, reads, index: 0, round: 0 });
}

/** Lets go of the reads whose round a majority of each half has answered. */
export function confirmReads(self: Core): void {
  if (self.leaderReads.length === 0) return;
  const { voters, votersOutgoing } = self.log.conf.conf;
  const acked: Acked = (id) => (id === self.options.id ? self.round : self.progress.get(id)?.round);
  const confirmed = Math.min(majorityCommit(voters, acked), majorityCommit(votersOutgoing, acked));
  const isConfirmed = (read: LeaderRead): boolean => read.round !== 0 && read.round <= confirmed;
  const done = self.leaderReads.filter(isConfirmed);
  if (done.length === 0) return;
  self.leaderReads = self.leaderReads.filter((read) => !isConfirmed(read));
  for (const read of done) finishRead(self, read);
  beginRound(self);
}

function finishRead(self: Core, read: LeaderRead): void {
  if (read.from === 0) {
    for (const { id } of read.reads) self.readable.push({ id, index: read.index });
    return;
  }
  const { nonce, attempt, index } = read;
  sendNow(self, read.from, { kind: 'readReply', nonce, attempt, index, error: null });
}

export function onReadAsk(self: Core, message: MessageOf<'readAsk'>): void {
  const { from, nonce, attempt } = message;
  if (self.role !== 'leader' || self.leaderReads.length >= RAFT_LIMITS.requestsMax) {
    const error = self.role === 'leader' ? 'too-many' : 'not-leader';
    sendNow(self, from, { kind: 'readReply', nonce, attempt, index: 0, error });
    return;
  }
  addLeaderRead(self, from, nonce, attempt, []);
}

export function onReadReply(self: Core, message: MessageOf<'readReply'>): void {
  const current = self.readAttempt;
  if (message.nonce !== self.nonce || message.attempt !== current?.attempt) return;
  self.readAttempt = null;
  for (const { id } of current.reads) {
    if (message.error !== null) fail(self, id, message.error);
    else self.readable.push({ id, index: message.index });
  }
}

/** The leader is one no more: it cannot confirm anything. Its host may ask again. */
export function failReadsOfLeader(self: Core): void {
  for (const { from, nonce, attempt, reads } of self.leaderReads) {
    for (const { id } of reads) fail(self, id, 'read-lost');
    if (from === 0) continue;
    const error = 'not-leader';
    sendNow(self, from, { kind: 'readReply', nonce, attempt, index: 0, error });
  }
  self.leaderReads = [];
}

/** Repeats what may be lost, under a new number (I3), and gives up what has waited too long. */
export function sweepReads(self: Core): void {
  const isLate = (read: { readonly deadlineMs: number }): boolean => read.deadlineMs <= self.nowMs;
  for (const read of self.readQueue.filter(isLate)) fail(self, read.id, 'read-lost');
  self.readQueue = self.readQueue.filter((read) => !isLate(read));
  for (const read of self.leaderReads) {
    const late = read.reads.filter(isLate);
    for (const { id } of late) fail(self, id, 'read-lost');
  }
  self.leaderReads = self.leaderReads.map((read) => ({
    ...read,
    reads: read.reads.filter((one) => !isLate(one)),
  }));
  const current = self.readAttempt;
  if (current === null || self.nowMs - current.atMs < self.options.heartbeatMs * 2) return;
  self.readAttempt = null;
  // In front: they have waited longest.
  self.readQueue = [...current.reads.filter((read) => !isLate(read)), ...self.readQueue];
  for (const read of current.reads.filter(isLate)) fail(self, read.id, 'read-lost');
}
