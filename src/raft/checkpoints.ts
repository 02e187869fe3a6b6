/**
 * Guard against state machines that are not deterministic: replicas hash their state at the same
 * indices, followers report the hash with heartbeats, the leader compares.
 */

import { RAFT_LIMITS } from '../base/limits.ts';
import type { Progress } from './progress.ts';
import { raiseAlarm, type Core } from './state.ts';
import type { Checkpoint } from './types.ts';

/** Keeps this node's own checkpoint and compares it with what followers said before. */
export function addCheckpoint(self: Core, checkpoint: Checkpoint): void {
  self.checkpoints.push(checkpoint);
  if (self.checkpoints.length > RAFT_LIMITS.checkpointsMax) self.checkpoints.shift();
  if (self.role !== 'leader') return;
  for (const progress of self.progress.values()) {
    compareCheckpoint(self, progress, progress.checkpoint);
  }
}

/** Raises an alarm if the follower's state differs from this node's at the same index. */
export function compareCheckpoint(self: Core, progress: Progress, theirs: Checkpoint): void {
  progress.checkpoint = theirs;
  const own = self.checkpoints.find((checkpoint) => checkpoint.index === theirs.index);
  if (own === undefined || own.hash === theirs.hash) return;
  raiseAlarm(self, 'state-diverged', progress.id, theirs.index);
}
