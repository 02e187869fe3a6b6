/**
 * The control state: what all nodes agree on, as keys with typed, versioned values. One entry of
 * the log is one transaction, and changes all of what it says or nothing. Invariants: SPEC.md.
 */

/** Counts the entries that changed something: 0 for the empty state, then one more for each. */
export type Revision = number;

/** One key that is there. */
export interface KeyValue {
  readonly key: string;
  /** Names what the bytes are, e.g. `weights/1`. A key keeps its type while it lives. */
  readonly type: string;
  readonly value: Uint8Array;
  /** When the key came, this time. */
  readonly createRevision: Revision;
  /** When its value was last put. */
  readonly modRevision: Revision;
  /** Puts since it came: 1 and up. */
  readonly version: number;
}

/** Places in these lists are numbers on the wire. */
export const RELATIONS = ['equal', 'notEqual', 'less', 'greater'] as const;
export type Relation = (typeof RELATIONS)[number];
export const NUMBER_FIELDS = ['version', 'createRevision', 'modRevision'] as const;
export type NumberField = (typeof NUMBER_FIELDS)[number];

/** A condition on one key. A key that is not there has 0 for its numbers, and no value. */
export type Compare =
  | { readonly kind: 'absent'; readonly key: string }
  | {
      readonly kind: 'number';
      readonly key: string;
      readonly field: NumberField;
      readonly relation: Relation;
      readonly number: number;
    }
  | { readonly kind: 'value'; readonly key: string; readonly value: Uint8Array };

/** Carried out in order; a range sees what came before it in its own transaction. */
export type Operation =
  | {
      readonly kind: 'put';
      readonly key: string;
      readonly type: string;
      readonly value: Uint8Array;
    }
  | { readonly kind: 'delete'; readonly key: string }
  | ({ readonly kind: 'range' } & RangeRequest);

/** Keys with this prefix in order. */
export interface RangeRequest {
  readonly prefix: string;
  /** Only keys behind this one: where the page before ended; empty: from the first. */
  readonly after: string;
  readonly keysMax: number;
}

export interface RangePage {
  readonly items: readonly KeyValue[];
  /** What to ask for next as `after`; null: that was all. */
  readonly next: string | null;
  /** The state's, as the page was read. To list and then watch: watch from the first page's + 1. */
  readonly revision: Revision;
}

/** Who changes what, from where and why: part of the transaction, kept with its revision. */
export interface AuditInput {
  readonly who: string;
  readonly from: string;
  readonly what: string;
  /** May be empty. */
  readonly why: string;
}

export type ControlCommand =
  | {
      readonly kind: 'transaction';
      readonly audit: AuditInput;
      /** All must hold for `success`; else it is `failure`. */
      readonly compares: readonly Compare[];
      readonly success: readonly Operation[];
      readonly failure: readonly Operation[];
    }
  /** Watchers can resume behind this revision only. It changes no key and has no revision. */
  | { readonly kind: 'compact'; readonly revision: Revision };

export type Transaction = Extract<ControlCommand, { readonly kind: 'transaction' }>;

export type OperationResult =
  | { readonly kind: 'put'; readonly version: number }
  | { readonly kind: 'delete'; readonly isFound: boolean }
  | { readonly kind: 'range'; readonly items: readonly KeyValue[]; readonly next: string | null };

/** Why nothing was changed. Its place in the list is its number on the wire. */
export const CONTROL_ERRORS = [
  /** The bytes are no command of this version. */
  'malformed',
  'malformed-key',
  'malformed-type',
  'malformed-audit',
  'value-too-long',
  'too-many-operations',
  /** One branch would change one key twice. */
  'duplicate-key',
  /** A put with another type than the key has: delete it first, in an earlier transaction. */
  'type-changed',
  'too-many-keys',
  'state-too-large',
  'future-revision',
] as const;
export type ControlError = (typeof CONTROL_ERRORS)[number];

export type ControlReply =
  | {
      readonly kind: 'done';
      /** `success` ran, not `failure`. */
      readonly isSuccess: boolean;
      /** The state's afterwards: this transaction's own where it changed something. */
      readonly revision: Revision;
      readonly results: readonly OperationResult[];
    }
  | { readonly kind: 'compacted'; readonly oldest: Revision }
  | { readonly kind: 'refused'; readonly error: ControlError };

/** What happened to one key. */
export type ControlEvent =
  | { readonly kind: 'put'; readonly item: KeyValue }
  | { readonly kind: 'delete'; readonly key: string };

/** All that one revision changed, each key once, in order of the operations. */
export interface Change {
  readonly revision: Revision;
  readonly events: readonly ControlEvent[];
}

/** One change as it is remembered for those who answer for it. Values are not in it. */
export interface AuditRecord extends AuditInput {
  readonly revision: Revision;
  /** Log time, ms. */
  readonly timeMs: number;
  readonly changes: readonly { readonly kind: 'put' | 'delete'; readonly key: string }[];
}

export function keyOf(event: ControlEvent): string {
  return event.kind === 'put' ? event.item.key : event.key;
}
