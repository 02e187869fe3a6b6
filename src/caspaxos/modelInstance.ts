/**
 * What the model checker is given: a small instance, and what follows from it before the search
 * begins.
 */

import { assert } from '../base/assert.ts';
import type { Bugs } from './bugs.ts';
import { beginChange, closeBucket, finishChange, firstControl, openBuckets } from './control.ts';
import type { Acceptor, Control, Key, NodeId } from './types.ts';

/** The one key of every instance. */
export const MODEL_KEY: Key = { bucket: 1, name: 'k' };

export type LogStep =
  | { readonly kind: 'begin'; readonly acceptors: readonly NodeId[] }
  /** Needs a rescan of the joint epoch. */
  | { readonly kind: 'finish' }
  | { readonly kind: 'close' }
  /** Another bucket: the epoch changes, the acceptors do not. */
  | { readonly kind: 'open' };

/** `retry` asks again what the last answer left open; without one it is passed over. */
export type ClientStep = 'change' | 'read' | 'retry';

export interface Instance {
  readonly name: string;
  /** Every acceptor that there ever is. */
  readonly acceptors: readonly NodeId[];
  readonly first: readonly NodeId[];
  readonly log: readonly LogStep[];
  /** Proposers, by place, that never hear of a new entry. */
  readonly deaf: readonly number[];
  /** What the client of each proposer does, in order. */
  readonly scripts: readonly (readonly ClientStep[])[];
  readonly acceptorCrashes: number;
  readonly proposerCrashes: number;
  /** Time-outs of rounds. */
  readonly ticks: number;
  readonly roundsMax: number;
  readonly cacheMax: number;
  readonly isSyncSplit: boolean;
  readonly bugs?: Bugs;
  /** A planted bug of the host: a new start gets the proposer id of the last. */
  readonly isProposerReused?: boolean;
}

function acceptor(id: NodeId): Acceptor {
  return { id, incarnation: id * 1_000 };
}

/** The control states of the log, the first one included. */
export function controlsOf({ first, log }: Instance): readonly Control[] {
  const controls = [firstControl(first.map(acceptor), 2, 1)];
  for (const step of log) {
    const last = controls.at(-1);
    assert(last !== undefined, 'there is a first control state');
    const index = last.index + 1;
    const made =
      step.kind === 'begin'
        ? beginChange(last, step.acceptors.map(acceptor), index)
        : step.kind === 'finish'
          ? finishChange(last, last.epoch, index)
          : step.kind === 'open'
            ? openBuckets(last, last.openTo + 1, index)
            : closeBucket(last, MODEL_KEY.bucket, index);
    assert(made.ok, 'the log of an instance makes sense');
    controls.push(made.value);
  }
  return controls;
}

/** By acceptor's place: a number that acceptors share whom no configuration tells apart. */
export function kinshipOf({ acceptors, first, log }: Instance): readonly number[] {
  const sets = [first, ...log.map((step) => (step.kind === 'begin' ? step.acceptors : []))];
  return acceptors.map((id) => {
    return sets.reduce((sum, set) => sum * 2 + (set.includes(id) ? 1 : 0), 0);
  });
}
