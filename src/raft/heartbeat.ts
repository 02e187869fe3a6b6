/** Heartbeats: they keep a leader in place and confirm its reads. */

import { sendNow, type Core } from './state.ts';

/** Heartbeats go to all, whatever waits for a disk or a window. */
export function broadcastHeartbeat(self: Core): void {
  self.heartbeatDueMs = self.nowMs + self.options.heartbeatMs;
  for (const progress of self.progress.values()) {
    const commit = Math.min(progress.match, self.commit);
    sendNow(self, progress.id, { kind: 'heartbeat', commit, round: self.round });
  }
}
