/**
 * The contract of the Raft core: what is stored, what goes over the wire, what goes in and out.
 *
 * A node is driven as `step(input, nowMs) -> Output` and does nothing else: it reads no clock,
 * opens no socket and awaits nothing. `Output` is the only way out. The order that its host keeps:
 *
 * 1. `send` leaves at once.
 * 2. `persist` is written in order of `seq` and made durable (fsync). The host may put many into
 *    one write. Then it feeds `{ kind: 'persisted', seq }` back, the newest durable `seq`.
 * 3. `afterFsync` leaves once everything up to `afterSeq` is durable, in the order of outputs. Where
 *    `afterSeq` is already durable that is at once. A crash before drops it.
 * 4. `apply` goes to the state machine in order; then `{ kind: 'applied', index }` comes back.
 * 5. `reply` answers whoever asked, at once.
 *
 * Terms, indices and ids are u64 by meaning and safe integers by form: asserted below 2^53.
 * Source: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (extended
 * version, 2014); Ongaro's thesis (2014). Invariants by number: SPEC.md.
 */

import type { Prng } from '../base/prng.ts';
import type { RaftErrorCode } from './errors.ts';

/** A node of the cluster: 1 and up, handed out by the log, never used twice. 0 means none. */
export type NodeId = number;
/** An election's number: 0 before the first. */
export type Term = number;
/** A place in the log: the first entry has index 1. */
export type Index = number;

/** What an entry is. Its place in this list is its number on disk and on the wire. */
export const ENTRY_KINDS = ['noop', 'command', 'config', 'level'] as const;
/**
 * `noop` opens a term; `command` is the state machine's; `config` holds a whole `ConfState`
 * (codec.ts); `level` holds the cluster's feature level.
 */
export type EntryKind = (typeof ENTRY_KINDS)[number];

/** One entry of the log. (term, index) names its content: two with the same pair are equal. */
export interface Entry {
  readonly term: Term;
  readonly index: Index;
  readonly kind: EntryKind;
  /** Log time, ms: what leaders have measured on monotonic clocks. Never goes back in the log. */
  readonly timeMs: number;
  readonly data: Uint8Array;
}

/**
 * What a node must remember besides its log. `term` and `votedFor` are durable before anything that
 * rests on them leaves. `commit` is a hint that rides along: a restart may find an older one.
 */
export interface HardState {
  readonly term: Term;
  /** 0: no vote in this term. */
  readonly votedFor: NodeId;
  readonly commit: Index;
}

/** What all know of one member. */
export interface Member {
  readonly id: NodeId;
  readonly region: string;
  /** Its name in the region, where it is a further node; absent: the first. As long at most. */
  readonly node?: string;
  /** Names the member's disk: drawn when its data folder is made. A lost disk needs a new id. */
  readonly incarnation: number;
  /** Higher leads first; 0 leads last. */
  readonly priority: number;
  /** Votes and stores the log, leads only in order to hand over, serves no client. */
  readonly isWitness: boolean;
  /** A learner that is made a voter as soon as it has caught up. */
  readonly isPromotable: boolean;
}

/** The cluster's members. Effective from the moment it is appended. Lists are sorted by id. */
export interface ConfState {
  readonly voters: readonly NodeId[];
  /** The old voters of a joint configuration: both majorities must agree. Empty outside of one. */
  readonly votersOutgoing: readonly NodeId[];
  readonly learners: readonly NodeId[];
  /** Old voters that become learners when the joint configuration ends. */
  readonly learnersNext: readonly NodeId[];
  /** The leader ends the joint configuration by itself. */
  readonly autoLeave: boolean;
  /** One for every id in the lists. */
  readonly members: readonly Member[];
  /** The highest id ever given out: at most this and no member means removed. */
  readonly idMax: NodeId;
}

/** What a snapshot says about itself. `conf` is the configuration committed at `index`. */
export interface SnapshotMeta {
  readonly cluster: string;
  readonly index: Index;
  readonly term: Term;
  readonly timeMs: number;
  readonly conf: ConfState;
  /** The feature level at `index`. */
  readonly level: number;
  readonly dataBytes: number;
  /** CRC-32C of the data. */
  readonly checksum: number;
}

/** The state machine's state at `meta.index`, whole. */
export interface Snapshot {
  readonly meta: SnapshotMeta;
  readonly data: Uint8Array;
}

/**
 * What must be made durable, all of it or nothing visible after a crash in this order: `snapshot`,
 * then the truncation, then `entries`, then `hardState`. Later ones never become durable before
 * earlier ones.
 */
export interface Persist {
  /** 1 and up, without gaps, from the start of this process. */
  readonly seq: number;
  /** Null: as it was. */
  readonly hardState: HardState | null;
  /** A new snapshot, taken here or received. It replaces the older one. */
  readonly snapshot: Snapshot | null;
  /** True with a snapshot whose log does not go on from ours: every stored entry goes first. */
  readonly isLogDiscarded: boolean;
  /** Consecutive. Whatever was stored at or after the first one's index goes. */
  readonly entries: readonly Entry[];
  /** Entries up to here may go: the snapshot covers them. Never falls. */
  readonly compactTo: Index;
}

/** What a node finds on its disk when it starts, verified by the store. */
export interface Stored {
  readonly hardState: HardState;
  readonly snapshot: Snapshot | null;
  /** Consecutive; the first is at most `snapshot.meta.index + 1`, or 1 without a snapshot. */
  readonly entries: readonly Entry[];
  /** How far the state machine's own durable state goes; 0: it has none and gets the snapshot. */
  readonly applied: Index;
}

/** On every message. */
export interface Header {
  readonly cluster: string;
  readonly from: NodeId;
  readonly to: NodeId;
  /** Of the sender's disk. */
  readonly incarnation: number;
  readonly term: Term;
}

interface VoteAsk {
  readonly lastIndex: Index;
  readonly lastTerm: Term;
  /** Sent by a candidate whom the leader has told to take over: stickiness does not apply. */
  readonly isTransfer: boolean;
}

/** The wire. What a term means depends on the kind: `preVote` carries the term to come. */
export type Body =
  /** `preVote`: would you vote for me? It changes nothing at the one asked. */
  | ({ readonly kind: 'preVote' } & VoteAsk)
  | ({ readonly kind: 'vote' } & VoteAsk)
  | { readonly kind: 'preVoteReply'; readonly isGranted: boolean }
  | { readonly kind: 'voteReply'; readonly isGranted: boolean }
  | {
      readonly kind: 'append';
      readonly prevIndex: Index;
      readonly prevTerm: Term;
      readonly commit: Index;
      readonly entries: readonly Entry[];
    }
  /** Everything up to `match` is durable here and equal to the leader's log of this term. */
  | { readonly kind: 'appendOk'; readonly match: Index; readonly level: number }
  /** `prevIndex` as asked; the hint is the highest place where the logs may still agree. */
  | {
      readonly kind: 'appendNo';
      readonly prevIndex: Index;
      readonly hintIndex: Index;
      readonly hintTerm: Term;
    }
  /** Never waits for a disk. `round` confirms reads: it counts up within a term. */
  | { readonly kind: 'heartbeat'; readonly commit: Index; readonly round: number }
  | {
      readonly kind: 'heartbeatOk';
      readonly round: number;
      readonly level: number;
      /** The newest checkpoint of the state machine; index 0 means none. */
      readonly checkpoint: Checkpoint;
    }
  | {
      readonly kind: 'snapshotChunk';
      readonly meta: SnapshotMeta;
      readonly offset: number;
      readonly data: Uint8Array;
      /** CRC-32C of this chunk. */
      readonly checksum: number;
    }
  /** `offset` bytes of the snapshot (index, checksum) are here. */
  | {
      readonly kind: 'snapshotOk';
      readonly index: Index;
      readonly checksum: number;
      readonly offset: number;
    }
  | { readonly kind: 'timeoutNow' }
  /**
   * Proposals for the leader of exactly this term. (nonce, attempt) is never used twice by one
   * sender, not even across its restarts: the nonce is drawn at each start.
   */
  | {
      readonly kind: 'forward';
      readonly nonce: number;
      readonly attempt: number;
      readonly proposals: readonly Proposal[];
    }
  | {
      readonly kind: 'forwardReply';
      readonly nonce: number;
      readonly attempt: number;
      /** Index of the first proposal; 0 where none was taken. */
      readonly firstIndex: Index;
      readonly error: RaftErrorCode | null;
    }
  /** Each attempt, retries too, has its own number: an answer to an older one proves less. */
  | { readonly kind: 'readAsk'; readonly nonce: number; readonly attempt: number }
  | {
      readonly kind: 'readReply';
      readonly nonce: number;
      readonly attempt: number;
      readonly index: Index;
      readonly error: RaftErrorCode | null;
    }
  /** You are no member any more: the configuration committed at `index` says so. */
  | { readonly kind: 'removed'; readonly index: Index };

export type Message = Header & Body;
export type MessageKind = Body['kind'];
export type MessageOf<Kind extends MessageKind> = Header & Extract<Body, { readonly kind: Kind }>;

/** A state machine's hash at an index that all replicas hash at. */
export interface Checkpoint {
  readonly index: Index;
  readonly hash: number;
}

/** A command to replicate. */
export interface Proposal {
  /** The host's name for it, unique among those under way. */
  readonly id: number;
  readonly data: Uint8Array;
}

/** One step of a change of members. */
export type MemberChange =
  /** A new node always begins as a learner; `isPromotable` makes it a voter once caught up. */
  | { readonly kind: 'add'; readonly member: Member }
  /** A learner that has caught up becomes a voter. */
  | { readonly kind: 'promote'; readonly id: NodeId }
  | { readonly kind: 'demote'; readonly id: NodeId }
  | { readonly kind: 'remove'; readonly id: NodeId };

export type DiskState =
  | 'ok'
  /** Nothing more is taken; what is there stays. */
  | 'full'
  /** A write or fsync failed: this process never votes, acknowledges or leads again. */
  | 'failed';

export type Input =
  /** Time has passed; due at `nextWakeMs()`. */
  | { readonly kind: 'tick' }
  | { readonly kind: 'message'; readonly message: Message }
  | { readonly kind: 'propose'; readonly proposals: readonly Proposal[] }
  /** A linearizable read: answered `readable` once the state machine may be read. */
  | { readonly kind: 'read'; readonly id: number }
  | {
      readonly kind: 'changeMembers';
      readonly id: number;
      readonly changes: readonly MemberChange[];
    }
  | { readonly kind: 'transfer'; readonly id: number; readonly to: NodeId }
  | { readonly kind: 'setLevel'; readonly id: number; readonly level: number }
  /** Everything up to this `Persist.seq` is durable. */
  | { readonly kind: 'persisted'; readonly seq: number }
  /** The state machine has applied up to `index`; `checkpoint` where this was a hashed index. */
  | { readonly kind: 'applied'; readonly index: Index; readonly checkpoint: Checkpoint | null }
  /** The state machine's state at an applied index, to replace the log before it. */
  | { readonly kind: 'snapshotTaken'; readonly index: Index; readonly data: Uint8Array }
  | { readonly kind: 'disk'; readonly state: DiskState }
  /** Nothing was written for a while: what is known to be committed is noted on the disk. */
  | { readonly kind: 'settle' }
  /** The way to this node is gone: its process has ended, or the link broke. May be wrong. */
  | { readonly kind: 'unreachable'; readonly id: NodeId };

/** For the state machine, in order. */
export type ApplyItem =
  /** Throw the state away and take this one. */
  | { readonly kind: 'restore'; readonly snapshot: Snapshot }
  | { readonly kind: 'entries'; readonly entries: readonly Entry[] };

export type Reply =
  /** Committed at (index, term); the result is the state machine's at that index. */
  | {
      readonly kind: 'committed';
      readonly id: number;
      readonly index: Index;
      readonly term: Term;
    }
  /** The state machine has applied `index`: a read of it now is linearizable. */
  | { readonly kind: 'readable'; readonly id: number; readonly index: Index }
  | { readonly kind: 'transferred'; readonly id: number; readonly to: NodeId }
  /** `leader` is where to ask instead, 0 if unknown. RAFT_ERRORS says whether it is definite. */
  | {
      readonly kind: 'failed';
      readonly id: number;
      readonly error: RaftErrorCode;
      readonly leader: NodeId;
    }
  /** For the operator; nobody asked. */
  | { readonly kind: 'alarm'; readonly alarm: Alarm; readonly node: NodeId; readonly index: Index };

export type Alarm =
  /** Two replicas hash the same prefix to different states. */
  | 'state-diverged'
  /** A member's id speaks from another disk. */
  | 'wrong-incarnation'
  | 'wrong-cluster'
  /** Entries that this node had acknowledged are gone: it takes part in nothing any more. */
  | 'log-lost'
  /** The cluster's feature level is above what this program understands: it stops taking part. */
  | 'level-unsupported'
  /** This node has learnt that it is no member any more. */
  | 'removed'
  /** Own writes take longer than `diskStallMs`: leadership was given up. */
  | 'disk-stalled'
  /** A received snapshot did not match its checksum; it starts again. */
  | 'snapshot-damaged'
  /** The log holds more than `logBytesMax`: take a snapshot. */
  | 'log-too-long';

export interface Output {
  readonly send: readonly Message[];
  readonly persist: Persist | null;
  readonly reply: readonly Reply[];
  readonly afterFsync: readonly Message[];
  /** `afterFsync` waits for this `Persist.seq`; 0: for nothing. */
  readonly afterSeq: number;
  readonly apply: readonly ApplyItem[];
}

export const ROLES = ['follower', 'preCandidate', 'candidate', 'leader'] as const;
export type Role = (typeof ROLES)[number];

/** Times in ms, sizes in bytes. Ceilings and defaults: RAFT_LIMITS in base/limits.ts. */
export interface RaftOptions {
  readonly id: NodeId;
  readonly cluster: string;
  readonly incarnation: number;
  /** Draws election time-outs and the nonce of reads. One stream, used for nothing else. */
  readonly prng: Prng;
  readonly heartbeatMs: number;
  /** T: time-outs are drawn from [T, 2T). */
  readonly electionMs: number;
  /** The highest feature level that this program understands. */
  readonly levelMax: number;
  /** Commit only what voters of so many regions hold; 1 switches it off. */
  readonly commitRegionsMin: 1 | 2;
  readonly appendBytesMax: number;
  readonly inFlightCountMax: number;
  readonly inFlightBytesMax: number;
  readonly uncommittedBytesMax: number;
  readonly applyBytesMax: number;
  readonly snapshotChunkBytes: number;
  readonly snapshotWindowBytes: number;
  /** Entries kept behind a snapshot, for followers that are a little late. */
  readonly trailingEntries: number;
  /** Past it a snapshot is asked for; past twice as much proposals are refused. */
  readonly logBytesMax: number;
  /** A learner this close to the commit index has caught up. */
  readonly promoteLagEntries: number;
  readonly diskStallMs: number;
  /** A forwarded proposal or read without an answer fails after this. */
  readonly requestMs: number;
  /** A leader hands over to a voter of higher priority that was well for so long; 0: never. */
  readonly handOverMs: number;
}

/** What an operator sees. */
export interface RaftStatus {
  readonly id: NodeId;
  readonly role: Role;
  readonly term: Term;
  readonly votedFor: NodeId;
  /** 0: unknown. */
  readonly leader: NodeId;
  readonly firstIndex: Index;
  readonly lastIndex: Index;
  readonly lastTerm: Term;
  readonly durableIndex: Index;
  readonly commit: Index;
  readonly applied: Index;
  readonly snapshotIndex: Index;
  readonly logBytes: number;
  readonly uncommittedBytes: number;
  readonly proposals: number;
  readonly reads: number;
  readonly level: number;
  readonly conf: ConfState;
  /** Of its entry, which may not be committed yet. */
  readonly confIndex: Index;
  readonly disk: DiskState;
  readonly isRemoved: boolean;
  /** Elections begun here without a leader to show for it: grows while links are cut in part. */
  readonly electionsLost: number;
  /** Only at a leader. */
  readonly peers: readonly PeerStatus[];
}

export interface PeerStatus {
  readonly id: NodeId;
  readonly state: 'probe' | 'replicate' | 'snapshot';
  readonly match: Index;
  readonly next: Index;
  readonly inFlightCount: number;
  readonly inFlightBytes: number;
  readonly isActive: boolean;
  /** The feature level that its program has said that it supports; -1: not known. */
  readonly level: number;
}
