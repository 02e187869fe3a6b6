/**
 * Snapshots: taken here, sent in chunks, received and put in the place of the log.
 *
 * S1: a snapshot is of applied entries; its configuration is the one committed at its index, never
 *     a later one that may yet be cut off.
 * S2: the log goes on where the snapshot ends: no index is covered by neither.
 * S3: a chunk counts only with its checksum and at its place, a snapshot only with its checksum.
 * S4: a snapshot at or below the commit index changes nothing.
 * S5: while a snapshot is on its way the entries behind it stay, up to `logBytesMax`.
 * A broken transfer goes on at the first missing byte, also from another leader that has the same
 * snapshot: state machines are deterministic, so that snapshots at one index are equal.
 * Source: Ongaro, thesis, §5.
 */

import { assert } from '../base/assert.ts';
import { crc32c } from '../base/crc32c.ts';
import { RAFT_LIMITS } from '../base/limits.ts';
import { advanceCommit, forgetProposalsTo, onConfCommitted, onLevelCommitted } from './apply.ts';
import type { Progress } from './progress.ts';
import { raiseAlarm, sendDurable, sendNow, type Core } from './state.ts';
import type { Index, MessageOf, Snapshot, SnapshotMeta } from './types.ts';

/** The state machine's state at `index`, which it has applied. */
export function takeSnapshot(self: Core, index: Index, data: Uint8Array): void {
  assert(index <= self.appliedIndex, 'a snapshot is of applied entries');
  assert(data.length <= RAFT_LIMITS.snapshotBytesMax, 'a snapshot fits into its limit');
  if (index <= (self.log.snapshot?.meta.index ?? 0)) return;
  const term = self.log.termAt(index);
  assert(term !== null, 'applied entries behind the last snapshot are in the log');
  const meta: SnapshotMeta = {
    cluster: self.options.cluster,
    index,
    term,
    timeMs: self.log.timeMsAt(index),
    conf: self.log.confAt(index).conf,
    level: levelAt(self, index),
    dataBytes: data.length,
    checksum: crc32c(data),
  };
  const snapshot: Snapshot = { meta, data };
  self.log.setSnapshot(snapshot);
  self.out.snapshot = snapshot;
  const keptFrom = self.levels.findLastIndex((at) => at.index <= index);
  self.levels = self.levels.slice(Math.max(0, keptFrom));
  self.alarmsRaised.delete(`log-too-long:${self.options.id}`);
  compact(self);
}

/** The feature level at `index`: levels that were committed later do not belong to it. */
function levelAt(self: Core, index: Index): number {
  return self.levels.findLast((at) => at.index <= index)?.level ?? 0;
}

/** Lets go of entries that the snapshot covers and that nobody is about to need. */
function compact(self: Core): void {
  const covered = self.log.snapshot?.meta.index ?? 0;
  let to = covered - self.options.trailingEntries;
  if (self.log.bytes > self.options.logBytesMax) to = covered;
  for (const { transfer } of self.progress.values()) {
    if (transfer !== null && self.log.bytes <= self.options.logBytesMax) {
      to = Math.min(to, transfer.snapshot.meta.index); // S5
    }
  }
  self.log.compactTo(Math.max(0, to));
  self.compactTo = Math.max(self.compactTo, to);
}

/** Asks for a snapshot when the log has become long. */
export function watchLogLength(self: Core): void {
  if (self.log.bytes <= self.options.logBytesMax) return;
  raiseAlarm(self, 'log-too-long', self.options.id, self.log.lastIndex);
}

/** The follower needs entries that are gone. False if it does not seem to be there. */
export function beginSnapshot(self: Core, progress: Progress): boolean {
  const { snapshot } = self.log;
  assert(snapshot !== null, 'entries go only once a snapshot covers them');
  if (self.nowMs - progress.heardMs >= self.options.electionMs) return false;
  progress.becomeSnapshot(snapshot, self.nowMs);
  sendSnapshotChunks(self, progress);
  return true;
}

/** Sends what the window allows; what got stuck goes again from the last acknowledged byte. */
export function sendSnapshotChunks(self: Core, progress: Progress): void {
  const { transfer } = progress;
  if (transfer === null) return;
  const { snapshotWindowBytes, heartbeatMs } = self.options;
  const { meta } = transfer.snapshot;
  if (transfer.isStarted && self.nowMs - transfer.movedMs >= heartbeatMs * 2) {
    transfer.isStalled = true;
    transfer.sentBytes = transfer.ackedBytes;
    transfer.isStarted = false;
  }
  // An empty snapshot, and one whose last answer is missing, still send one chunk.
  while (
    !transfer.isStarted ||
    (transfer.sentBytes < meta.dataBytes &&
      transfer.sentBytes - transfer.ackedBytes < snapshotWindowBytes)
  ) {
    if (!transfer.isStarted) transfer.movedMs = self.nowMs;
    transfer.isStarted = true;
    sendChunk(self, progress, transfer.snapshot, transfer.sentBytes);
    transfer.sentBytes = Math.min(
      meta.dataBytes,
      transfer.sentBytes + self.options.snapshotChunkBytes,
    );
  }
}

function sendChunk(self: Core, progress: Progress, snapshot: Snapshot, offset: number): void {
  const { meta } = snapshot;
  const data = snapshot.data.subarray(offset, offset + self.options.snapshotChunkBytes);
  const checksum = crc32c(data);
  sendNow(self, progress.id, { kind: 'snapshotChunk', meta, offset, data, checksum });
}

export function onSnapshotOk(self: Core, message: MessageOf<'snapshotOk'>): void {
  assert(message.term === self.term, 'step() filters other terms');
  const progress = self.progress.get(message.from);
  if (progress === undefined) return;
  progress.hear(self.nowMs, self.options.electionMs);
  const { transfer } = progress;
  if (transfer === null) return;
  const { meta } = transfer.snapshot;
  if (message.index !== meta.index || message.checksum !== meta.checksum) return;
  if (message.offset > meta.dataBytes) return;
  // Backwards only after a stall: the receiver has started again.
  if (message.offset <= transfer.ackedBytes && !transfer.isStalled) return;
  transfer.isStalled = false;
  transfer.movedMs = self.nowMs;
  if (message.offset < transfer.ackedBytes || message.offset > transfer.sentBytes) {
    transfer.sentBytes = message.offset;
  }
  transfer.ackedBytes = message.offset;
  sendSnapshotChunks(self, progress);
}

/** From the leader; `step` has seen to term and time-outs. */
export function onSnapshotChunk(self: Core, message: MessageOf<'snapshotChunk'>): void {
  const { meta, offset, data } = message;
  if (meta.cluster !== self.options.cluster) {
    raiseAlarm(self, 'wrong-cluster', message.from);
    return;
  }
  if (self.disk !== 'ok' || meta.dataBytes > RAFT_LIMITS.snapshotBytesMax) return;
  if (meta.index <= self.commit) {
    // S4. The leader learns how far this log is known to agree.
    acknowledgeCommit(self, message.from);
    return;
  }
  if (self.log.termAt(meta.index) === meta.term) {
    // The log reaches it and agrees: nothing needs to be thrown away.
    advanceCommit(self, meta.index);
    acknowledgeCommit(self, message.from);
    return;
  }
  const incoming = incomingOf(self, meta);
  const fits = offset === incoming.received && offset + data.length <= meta.dataBytes;
  if (fits && crc32c(data) === message.checksum) {
    incoming.data.set(data, offset);
    incoming.received += data.length;
  }
  if (incoming.received === meta.dataBytes && finishIncoming(self, incoming)) {
    acknowledgeCommit(self, message.from);
    return;
  }
  sendNow(self, message.from, {
    kind: 'snapshotOk',
    index: meta.index,
    checksum: meta.checksum,
    offset: incoming.received,
  });
}

function acknowledgeCommit(self: Core, to: number): void {
  const { levelMax } = self.options;
  sendDurable(self, to, { kind: 'appendOk', match: self.commit, level: levelMax });
}

/** The transfer that `meta` belongs to: the one under way if it is the same snapshot. */
function incomingOf(self: Core, meta: SnapshotMeta): NonNullable<Core['incoming']> {
  const current = self.incoming;
  if (
    current !== null &&
    current.meta.index === meta.index &&
    current.meta.term === meta.term &&
    current.meta.checksum === meta.checksum &&
    current.meta.dataBytes === meta.dataBytes
  ) {
    return current;
  }
  self.incoming = { meta, data: new Uint8Array(meta.dataBytes), received: 0 };
  return self.incoming;
}

/** Every byte is here. False if the whole does not have its checksum: it starts again. */
function finishIncoming(self: Core, incoming: NonNullable<Core['incoming']>): boolean {
  const { meta, data } = incoming;
  if (crc32c(data) !== meta.checksum) {
    raiseAlarm(self, 'snapshot-damaged', self.leader, meta.index);
    incoming.received = 0;
    return false;
  }
  self.incoming = null;
  installSnapshot(self, { meta, data });
  return true;
}

function installSnapshot(self: Core, snapshot: Snapshot): void {
  const { meta } = snapshot;
  assert(meta.index > self.commit, 'a snapshot never takes back what is committed');
  self.log.restore(snapshot);
  self.out.snapshot = snapshot;
  self.out.isLogDiscarded = true;
  self.unsavedFrom = meta.index + 1;
  self.compactTo = meta.index;
  self.durableIndex = 0;
  for (const mark of self.marks) mark.lastIndex = 0;
  self.commit = meta.index;
  self.restoring = snapshot;
  self.logClock = { logMs: meta.timeMs, atMs: self.nowMs };
  onConfCommitted(self);
  onLevelCommitted(self, meta.level, meta.index);
  forgetProposalsTo(self, meta.index);
}
