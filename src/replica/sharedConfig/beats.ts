/**
 * How nodes without links hear each other: every few seconds while a roll-out is under way, else
 * every half minute, each one tells that it is there, and what it has counted. A port: what is told
 * so often has no place in a state that keeps a record of every change.
 */

export interface Beat {
  readonly value: Uint8Array;
  /** Another one each time that the node tells. */
  readonly modRevision: number;
}

export interface Beats {
  /** Tells `own` if there is anything, and gives what all tell, by peer name; null: no answer. */
  exchange(own: Uint8Array | null, done: (beats: ReadonlyMap<string, Beat> | null) => void): void;
}
