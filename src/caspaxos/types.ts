/**
 * The contract of the CASPaxos core: what is stored, what goes over the wire, what goes in and out.
 *
 * A node is driven as `step(input, nowMs) -> Output` and does nothing else. The order that its host
 * keeps is that of the Raft core, so that one host can drive both:
 *
 * 1. `send` leaves at once.
 * 2. `persist` is written in order of `seq` and made durable (fsync); many may share one write. Then
 *    `{ kind: 'persisted', seq }` comes back, the newest durable `seq`.
 * 3. `afterFsync` leaves once everything up to `afterSeq` is durable. A crash before drops it.
 * 4. `reply` answers whoever asked, at once.
 *
 * Source: Rystsov, "CASPaxos: Replicated State Machines without logs" (2018); Lamport, "Paxos Made
 * Simple" (2001). Where it departs from the paper (configurations and buckets that come from the
 * Raft log, the ring of request ids) the model checker looks. Invariants by number: SPEC.md.
 */

import type { Prng } from '../base/prng.ts';
import type { CasErrorCode } from './errors.ts';
import type { SlotTable } from './slotTable.ts';

/** A node: 1 and up, handed out by the Raft log, never used twice. */
export type NodeId = number;

/**
 * A round's number: by epoch, then by counter, then by proposer. `proposer` is the Raft index of the
 * entry that granted it to one start of one process: it is never used again, so no two rounds share
 * a ballot. The epoch comes first, so that what a minority of an older acceptor set was left with is
 * never taken for newer than what a later set has chosen.
 */
export interface Ballot {
  readonly epoch: number;
  readonly counter: number;
  readonly proposer: number;
}

/** A register's name. Keys live and die with their bucket; bucket 0 is never closed. */
export interface Key {
  readonly bucket: number;
  readonly name: string;
}

/** What a register holds. Version 0 is absent; each change makes the next version. Immutable. */
export interface Register {
  readonly version: number;
  readonly value: Uint8Array;
  /** Ids of the requests that made the latest versions, the newest last. */
  readonly recent: readonly string[];
}

/** What an acceptor keeps of one key. `accepted` is at most `promised`. Immutable. */
export interface Slot {
  readonly promised: Ballot;
  readonly accepted: Ballot;
  readonly register: Register;
}

/** One acceptor; `incarnation` names its disk: a lost disk needs a new id. */
export interface Acceptor {
  readonly id: NodeId;
  readonly incarnation: number;
}

/** What the Raft log says about this room, whole. Made and changed by control.ts only. */
export interface Control {
  /** Raft index of the entry that made it. Higher replaces lower. */
  readonly index: number;
  /** Version of the acceptor set; acceptors refuse older ones. */
  readonly epoch: number;
  /** Sorted by id. */
  readonly acceptors: readonly Acceptor[];
  /** The set to come, in a joint configuration: a majority of both must agree. Else empty. */
  readonly acceptorsNext: readonly Acceptor[];
  /** Buckets up to here are closed. */
  readonly floor: number;
  /** Closed ones above `floor + 1`. Ascending. */
  readonly closed: readonly number[];
  /** The highest bucket that may be used. */
  readonly openTo: number;
}

/** One key's change on disk. */
export interface SlotRecord {
  readonly key: Key;
  readonly promised: Ballot;
  /** Null: as it was. */
  readonly accepted: { readonly ballot: Ballot; readonly register: Register } | null;
}

/**
 * What must be made durable, whole. First `epoch` and `control` count (what a closed bucket held
 * goes), then `slots`. Later ones never become durable before earlier ones.
 */
export interface Persist {
  /** 1 and up, without gaps, from the start of this process. */
  readonly seq: number;
  /** The highest epoch seen: older ones are refused for ever. Never falls. */
  readonly epoch: number;
  /** Null: as it was. */
  readonly control: Control | null;
  readonly slots: readonly SlotRecord[];
}

/** What a node finds on its disk when it starts: all `Persist`s folded (start.ts). */
export interface Stored {
  readonly cluster: string;
  readonly id: NodeId;
  readonly incarnation: number;
  epoch: number;
  control: Control | null;
  readonly buckets: Map<number, SlotTable>;
}

export const REFUSALS = ['ballot', 'epoch', 'closed', 'not-open', 'bucket-full', 'disk'] as const;
/**
 * Why an acceptor does not take part. `ballot`: it has promised a higher one. `epoch`: it knows a
 * newer acceptor set. `closed`: the bucket is closed, for ever. `not-open`: it does not know the
 * bucket yet. `bucket-full`: it holds as many keys as it may. `disk`: its disk takes nothing more.
 */
export type Refusal = (typeof REFUSALS)[number];

/** On every message. */
export interface Header {
  readonly cluster: string;
  readonly from: NodeId;
  readonly to: NodeId;
  /** Of the sender's disk. */
  readonly incarnation: number;
  /** A proposer's: of the acceptor set that its round uses. An acceptor's: the highest it has seen. */
  readonly epoch: number;
}

/** The wire. `ballot` names the round also where nothing is promised (`query`, `scan`). */
export type Body =
  | {
      readonly kind: 'prepare';
      readonly key: Key;
      readonly ballot: Ballot;
      /** Nothing new is to be made of it: whoever is full may not have the key, though others have. */
      readonly isCarried?: true;
    }
  | {
      readonly kind: 'promise';
      readonly key: Key;
      readonly ballot: Ballot;
      readonly accepted: Ballot;
      readonly register: Register;
    }
  /** `next`: whoever accepts promises this ballot too, so that the next change skips `prepare`. */
  | {
      readonly kind: 'accept';
      readonly key: Key;
      readonly ballot: Ballot;
      readonly register: Register;
      readonly next: Ballot;
      readonly isCarried?: true;
    }
  | { readonly kind: 'accepted'; readonly key: Key; readonly ballot: Ballot }
  /** What is accepted? Changes nothing at the one asked. */
  | { readonly kind: 'query'; readonly key: Key; readonly ballot: Ballot }
  | {
      readonly kind: 'state';
      readonly key: Key;
      readonly ballot: Ballot;
      readonly accepted: Ballot;
      readonly register: Register;
    }
  | {
      readonly kind: 'refused';
      readonly key: Key;
      readonly ballot: Ballot;
      readonly reason: Refusal;
      /** What was promised instead; the zero ballot for other reasons. */
      readonly promised: Ballot;
    }
  /** Which keys hold something, after this one? Null: from the first. */
  | { readonly kind: 'scan'; readonly ballot: Ballot; readonly after: Key | null }
  | {
      readonly kind: 'page';
      readonly ballot: Ballot;
      readonly keys: readonly Key[];
      readonly isLast: boolean;
    };

export type Message = Header & Body;
export type MessageKind = Body['kind'];
export type BodyOf<Kind extends MessageKind> = Extract<Body, { readonly kind: Kind }>;
export type MessageOf<Kind extends MessageKind> = Header & BodyOf<Kind>;

/** A change as data: `value` becomes version `expect + 1` where the register is at `expect`. */
export interface Change {
  readonly expect: number;
  readonly value: Uint8Array;
  /** The client's name for it, the same at each retry, never for another change. */
  readonly requestId: string;
  /** An earlier call with this id may have taken effect. */
  readonly isRetry: boolean;
}

export type DiskState = 'ok' | 'full' | 'failed';

export type Input =
  /** Time has passed; due at `nextWakeMs()`. */
  | { readonly kind: 'tick' }
  | { readonly kind: 'message'; readonly message: Message }
  | { readonly kind: 'change'; readonly id: number; readonly key: Key; readonly change: Change }
  /** A linearizable read. */
  | { readonly kind: 'read'; readonly id: number; readonly key: Key }
  /** Committed by Raft; older ones than known are dropped. */
  | { readonly kind: 'control'; readonly control: Control }
  /** The Raft index of the entry that grants this start of this process to propose. */
  | { readonly kind: 'proposer'; readonly proposer: number }
  /** In a joint configuration: brings every key to a quorum of the new set. */
  | { readonly kind: 'rescan'; readonly id: number }
  | { readonly kind: 'persisted'; readonly seq: number }
  | { readonly kind: 'disk'; readonly state: DiskState };

export type Reply =
  /** The change took effect, now or at an earlier call with its id, as this version. */
  | {
      readonly kind: 'changed';
      readonly id: number;
      readonly version: number;
      /** Nobody has changed it since. */
      readonly isStanding: boolean;
    }
  /** The change did not and will not take effect: the register is at another version. */
  | { readonly kind: 'conflict'; readonly id: number; readonly register: Register }
  | { readonly kind: 'value'; readonly id: number; readonly register: Register }
  /** Every key of this epoch has reached the new set: the change of acceptors may end. */
  | { readonly kind: 'rescanned'; readonly id: number; readonly epoch: number }
  /** CAS_ERRORS says whether it is definite. */
  | { readonly kind: 'failed'; readonly id: number; readonly error: CasErrorCode }
  /** For the operator; nobody asked. Each is raised once for each node. */
  | { readonly kind: 'alarm'; readonly alarm: Alarm; readonly node: NodeId };

export type Alarm = 'wrong-cluster' | 'wrong-incarnation';

export interface Output {
  readonly send: readonly Message[];
  readonly persist: Persist | null;
  readonly reply: readonly Reply[];
  readonly afterFsync: readonly Message[];
  /** `afterFsync` waits for this `Persist.seq`; 0: for nothing. */
  readonly afterSeq: number;
}

/** Times in ms. Ceilings and defaults: CASPAXOS_LIMITS in base/limits.ts. */
export interface CasOptions {
  readonly id: NodeId;
  readonly cluster: string;
  readonly incarnation: number;
  /** Draws back-offs. One stream, used for nothing else. */
  readonly prng: Prng;
  /** A round without a quorum is given up after this; above the longest round trip. */
  readonly roundMs: number;
  readonly backoffMsBase: number;
  readonly backoffMsMax: number;
  /** A request is answered within this, whatever happens. */
  readonly requestMs: number;
  /** Rounds of one request. */
  readonly roundsMax: number;
  /** Requests under way and waiting at this node. */
  readonly requestsMax: number;
  /** Keys whose next ballot and value are remembered. */
  readonly cacheMax: number;
  /** Keys of the bucket that is never closed. */
  readonly permanentKeysMax: number;
  /** Keys of all buckets that will be closed, together, and the memory that they may take. */
  readonly keysMax: number;
  readonly keyBytesMax: number;
  readonly valueBytesMax: number;
  /** Keys of one page of a rescan. */
  readonly scanKeysMax: number;
}

/** What an operator sees. */
export interface CasStatus {
  readonly id: NodeId;
  readonly proposer: number;
  readonly epoch: number;
  readonly control: Control | null;
  readonly keys: number;
  /** How much of what `keysMax` and `keyBytesMax` allow is taken, the larger of both: 0 to 1. */
  readonly fill: number;
  readonly requests: number;
  readonly cached: number;
  readonly disk: DiskState;
  /** Rounds begun, and those that gave way to a higher ballot: duels show here. */
  readonly rounds: number;
  readonly conflicts: number;
}
