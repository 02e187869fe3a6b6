/** What a person sees of a stage: plain values, made anew at each look. */

import type { RaftErrorCode } from '../../raft/errors.ts';
import type { EntryKind, Index, MessageKind, NodeId, Role, Term } from '../../raft/types.ts';

export interface EntryView {
  readonly index: Index;
  readonly term: Term;
  readonly kind: EntryKind;
  /** `key = value` for a command, else empty. */
  readonly text: string;
  readonly isCommitted: boolean;
}

export interface NodeView {
  readonly id: NodeId;
  readonly region: string;
  /** `starting`: its process reads its disk. */
  readonly state: 'up' | 'starting' | 'down';
  /** Of the running process, or of the last one. Null before the first. */
  readonly role: Role | null;
  readonly term: Term;
  readonly votedFor: NodeId;
  readonly leader: NodeId;
  readonly commit: Index;
  readonly applied: Index;
  readonly lastIndex: Index;
  /** Entries before the first one shown. */
  readonly hiddenCount: number;
  readonly log: readonly EntryView[];
  /** Who voted for it in its term, itself included; for candidates and leaders. */
  readonly voters: readonly NodeId[];
  /** Pairs of the applied store, by key. */
  readonly pairs: readonly (readonly [key: string, value: string])[];
}

/** A message on its way. */
export interface FlightView {
  readonly id: number;
  readonly from: NodeId;
  readonly to: NodeId;
  readonly kind: MessageKind;
  /** Entries in an append. */
  readonly entryCount: number;
  readonly isGranted: boolean;
  /** How much of the way it has gone, 0 to 1. A lost one goes half of it. */
  readonly progress: number;
  readonly isLost: boolean;
}

/** What has happened, newest last. */
export type StoryLine = { readonly atMs: number } & (
  | { readonly kind: 'leads' | 'stands' | 'steps-down'; readonly node: NodeId; readonly term: Term }
  | { readonly kind: 'killed' | 'restarted'; readonly node: NodeId }
  | { readonly kind: 'cut' | 'mended'; readonly a: NodeId; readonly b: NodeId }
  | { readonly kind: 'cut-off' | 'joined'; readonly region: string }
  | { readonly kind: 'proposed'; readonly node: NodeId; readonly text: string }
  | { readonly kind: 'committed'; readonly text: string; readonly tookMs: number }
  | { readonly kind: 'refused'; readonly text: string; readonly error: RaftErrorCode }
  | { readonly kind: 'lost'; readonly text: string }
);

export interface StageView {
  readonly nowMs: number;
  readonly nodes: readonly NodeView[];
  readonly flights: readonly FlightView[];
  /** Pairs of nodes whose link is cut, the smaller number first. */
  readonly cuts: readonly (readonly [NodeId, NodeId])[];
  readonly story: readonly StoryLine[];
  readonly sentCount: number;
  readonly lostCount: number;
}
