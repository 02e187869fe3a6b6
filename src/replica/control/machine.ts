/**
 * The control state behind the log: the state machine that a Raft group drives, and what this node
 * may read of it. Reads here are local; the group says when one is linearizable.
 *
 * M1: each entry is applied once, in order of the log.
 * M2: equal logs give equal replies, states, snapshots and hashes.
 * M3: what is no snapshot leaves the state as it was.
 */

import { assert } from '../../base/assert.ts';
import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import type { StateMachine } from '../../raft/sessions.ts';
import type { Index } from '../../raft/types.ts';
import { checkCommand } from './check.ts';
import { decodeCommand, encodeReply } from './codec.ts';
import { decodeState, encodeState } from './snapshot.ts';
import { ControlState } from './state.ts';
import { runTransaction } from './transaction.ts';
import type {
  AuditRecord,
  Change,
  ControlCommand,
  ControlReply,
  KeyValue,
  RangePage,
  RangeRequest,
  Revision,
} from './types.ts';

export class ControlMachine implements StateMachine {
  #state = new ControlState();

  /** The reply as bytes: `decodeReply`. */
  apply(index: Index, timeMs: number, data: Uint8Array): Uint8Array {
    assert(index > this.#state.appliedIndex, 'an entry is applied once');
    this.#state.appliedIndex = index;
    const command = decodeCommand(data);
    if (command === null) return encodeReply({ kind: 'refused', error: 'malformed' });
    return encodeReply(this.#run(command, timeMs));
  }

  snapshot(): Uint8Array {
    return encodeState(this.#state);
  }

  restore(data: Uint8Array): boolean {
    const state = decodeState(data);
    if (state === null) return false;
    this.#state = state;
    return true;
  }

  /** Equal states have equal hashes; costs the same whatever the size. */
  hash(): number {
    return this.#state.hash();
  }

  get revision(): Revision {
    return this.#state.revision;
  }

  /** Changes up to here are gone: a watch begins behind it. */
  get compactedTo(): Revision {
    return this.#state.compactedTo;
  }

  get(key: string): KeyValue | null {
    return this.#state.get(key);
  }

  range(request: RangeRequest): RangePage {
    return this.#state.range(request, CONTROL_LIMITS.watchBytesMax);
  }

  /** The change of a revision in (`compactedTo`, `revision`]. */
  changeAt(revision: Revision): Change {
    return this.#state.changeAt(revision);
  }

  /** Records from a revision on, the oldest first; those that are gone are left out. */
  audit(from: Revision, countMax: number): readonly AuditRecord[] {
    const records = this.#state.audit;
    const first = records[0]?.revision ?? 0;
    const at = Math.max(0, from - first);
    return records.slice(at, at + countMax);
  }

  #run(command: ControlCommand, timeMs: number): ControlReply {
    const error = checkCommand(command);
    if (error !== null) return { kind: 'refused', error };
    if (command.kind === 'transaction') return runTransaction(this.#state, command, timeMs);
    if (command.revision > this.#state.revision) {
      return { kind: 'refused', error: 'future-revision' };
    }
    this.#state.compactTo(command.revision);
    return { kind: 'compacted', oldest: this.#state.compactedTo + 1 };
  }
}
