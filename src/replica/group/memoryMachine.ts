/** A state machine in memory as a group drives it: behind sessions, rebuilt at each start. */

import { createSessionMachine, type StateMachine } from '../../raft/sessions.ts';
import type { GroupMachine } from './types.ts';

export function createMemoryMachine(
  inner: StateMachine & { readonly hash: () => number },
): GroupMachine {
  const machine = createSessionMachine(inner);
  return {
    apply: (index, timeMs, data) => machine.apply(index, timeMs, data),
    snapshot: () => machine.snapshot(),
    restore: (data) => machine.restore(data),
    hash: () => (machine.sessionsHash() ^ inner.hash()) >>> 0,
    durableIndex: () => 0,
    settle: () => {},
  };
}
