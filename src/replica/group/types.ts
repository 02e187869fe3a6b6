/**
 * One member of a Raft group as its node runs it: the core (raft), the durable log (storage) and a
 * state machine behind the ports. The same class runs in production, in the simulator and in a
 * browser; who makes it picks Disk, Clock, Timers and GroupTransport.
 */

import type { Disk } from '../../base/disk.ts';
import type { Clock, Timers } from '../../base/ports.ts';
import type { Result } from '../../base/result.ts';
import type { RaftErrorCode } from '../../raft/errors.ts';
import type { RaftNode } from '../../raft/node.ts';
import type { StateMachine } from '../../raft/sessions.ts';
import type { StartError } from '../../raft/start.ts';
import type {
  Alarm,
  Index,
  Input,
  Member,
  MemberChange,
  NodeId,
  Output,
  RaftOptions,
  RaftStatus,
} from '../../raft/types.ts';
import type { LogDiskState, LogOpenFailure, LogOptions } from '../../storage/types.ts';

/** How bytes get to the other members. Loss, delay, order and doubles are allowed. */
export interface GroupTransport {
  /** Sends one encoded raft message. `bytes` may be kept. Never calls back inside. */
  send(to: NodeId, bytes: Uint8Array): void;
}

/**
 * The state machine with its durable side, if it has one. The host calls `apply` and `restore`,
 * then `settle` with the index that they reached; what is not settled may be lost in a crash, and
 * is applied again.
 */
export interface GroupMachine extends StateMachine {
  /** A hash of the whole applied state, for checkpoints: equal states, equal hashes. */
  hash(): number;
  /** The index that its own durable state stands for; 0: it keeps none, or none of use. */
  durableIndex(): Index;
  /** Everything up to `index` has been applied or restored: makes one step of it. */
  settle(index: Index): void;
}

export interface GroupOptions {
  /** `incarnation` is that of `mode`; where that is null it is taken from the folder. */
  readonly raft: RaftOptions;
  /** The data folder on the disk. */
  readonly folder: string;
  readonly mode: LogOptions['mode'];
  /** The first members of a new cluster, the same for all; null for a node that will be added. */
  readonly bootstrap: readonly Member[] | null;
  /** The same for all members: no entry can be larger. */
  readonly segmentBytes: number;
  /** Hash the state every so many entries, the same for all members. */
  readonly checkpointEntries: number;
  /** Take a snapshot after so many entries; a long log asks for one earlier. */
  readonly snapshotEntries: number;
}

export interface GroupPorts {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly transport: GroupTransport;
}

/** What the group tells its owner. All called later than the call that caused them (P1). */
export interface GroupEvents {
  /** Role, term or leader changed. */
  status(status: RaftStatus): void;
  alarm(alarm: Alarm, node: NodeId, index: Index): void;
  /** After `failed` the member takes part in nothing: its owner stops it. */
  disk(state: LogDiskState, detail: string): void;
}

/** `leader` is where to ask instead, 0 if unknown. RAFT_ERRORS says whether the error is definite. */
export interface GroupRefusal {
  readonly error: RaftErrorCode;
  readonly leader: NodeId;
}

export type GroupReply<T> = Result<T, GroupRefusal>;
export type GroupDone<T> = (reply: GroupReply<T>) => void;

/** Bytes from the transport that were no message for this member, counted. */
export interface GroupDrops {
  /** No message of this version, or malformed. */
  readonly malformed: number;
  /** The message names another sender than the transport, or is for another node. */
  readonly misaddressed: number;
  /** An entry is larger than a segment of this log: members must have equal ones. */
  readonly unstorable: number;
}

export interface GroupMember {
  /**
   * Bytes from the transport, which are this member's from now on. `from` is who the transport says
   * it was; a message that says otherwise, or is none, is dropped and counted.
   */
  receive(from: NodeId, bytes: Uint8Array): void;
  /** The transport has lost its way to this member: a hint, which may be wrong. */
  unreachable(id: NodeId): void;
  /** Replicates one command, answered with the state machine's reply at its index. */
  propose(data: Uint8Array, done: GroupDone<Uint8Array>): void;
  /** Linearizable read: `done` is called when the machine may be read; read it inside the call. */
  read(done: GroupDone<Index>): void;
  changeMembers(changes: readonly MemberChange[], done: GroupDone<Index>): void;
  transfer(to: NodeId, done: GroupDone<NodeId>): void;
  setLevel(level: number, done: GroupDone<Index>): void;
  status(): RaftStatus;
  drops(): GroupDrops;
  /** The applied machine, for local (possibly stale) reads. */
  readonly machine: GroupMachine;
  /** Clean stop: nothing is sent or answered any more; the folder is given back. */
  stop(done: () => void): void;
}

/** Why a member did not start. Its folder is as it was. */
export type GroupOpenFailure =
  | LogOpenFailure
  /** The log is sound, and yet not one that this member may go on with. */
  | { readonly kind: 'refused'; readonly error: StartError; readonly detail: string };

/** One step of the core, for checkers. */
export interface GroupStep {
  readonly id: NodeId;
  readonly input: Input;
  readonly output: Output;
  readonly nowMs: number;
  readonly node: RaftNode;
}

/** Sees every step before it is carried out. Null in production. */
export type GroupObserver = ((step: GroupStep) => void) | null;
