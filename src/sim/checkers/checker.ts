/**
 * What an on-line checker sees of a simulated group, and how it objects. Each checker stands in a
 * file of its own and holds one claim; the world calls it as things happen.
 */

import type { RaftNode } from '../../raft/node.ts';
import type { Input, Message, NodeId, Output, RaftStatus } from '../../raft/types.ts';

/** One step of one node's core, before its host carries it out. */
export interface StepSeen {
  readonly id: NodeId;
  readonly input: Input;
  readonly output: Output;
  readonly status: RaftStatus;
  readonly node: RaftNode;
}

/** Says that the claim does not hold. The run ends there. */
export type Refute = (text: string) => void;

export interface Checker {
  /** A process has started from its disk; `status` is what it found. */
  started?(id: NodeId, status: RaftStatus): void;
  /** A process has ended. */
  ended?(id: NodeId): void;
  step?(seen: StepSeen): void;
  /** A message leaves a node. Only kinds that promise something: votes and acknowledgements. */
  leaves?(message: Message): void;
  /** A state machine has applied the command at `index`. */
  applied?(id: NodeId, index: number, chain: number): void;
  /** A state machine took over a snapshot. */
  restored?(id: NodeId, index: number, chain: number): void;
  /** The store of a replica ran a call: no copy, not refused by its session. */
  executed?(id: NodeId, index: number, call: number): void;
  /** A client has the answer of a call. */
  acknowledged?(call: number): void;
  /** A read began; what it must see is noted under `read`. */
  readBegan?(read: number): void;
  /** A read was answered by a machine that had applied up to `applied`. */
  readDone?(read: number, applied: number): void;
}
