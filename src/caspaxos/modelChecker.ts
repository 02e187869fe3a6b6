/**
 * An explicit-state search over the core itself: every order of deliveries, crashes, time-outs,
 * requests and log entries of a small instance, each state once. What must hold is looked at in
 * every step (testChecker.ts and the core's own assertions).
 *
 * Reductions, and why they are sound: acceptors that no configuration tells apart may change places
 * (the core compares their ids for nothing else than equality); a message that changes nothing is
 * not followed; back-offs end at once, since what they send may be late all the same. States are
 * known by 53 bits of hash: at a million states two share one with a chance of 1 in 18,000.
 */

import { AssertionError } from '../base/assert.ts';
import type { Instance } from './modelInstance.ts';
import { WorldModel, type World } from './modelWorld.ts';

export interface Report {
  readonly name: string;
  readonly states: number;
  readonly steps: number;
  /** False: the limit of states was reached first. */
  readonly isComplete: boolean;
  /** What did not hold, with the steps that lead there; null: nothing was found. */
  readonly violation: { readonly truth: string; readonly trace: readonly string[] } | null;
}

/** Searches until all is seen, something does not hold, or `statesMax`. */
export function checkInstance(instance: Instance, statesMax: number): Report {
  const model = new WorldModel(instance);
  const seen = new Set<number>();
  const first = model.first();
  const stack: World[] = [first];
  seen.add(model.hash(first));
  let steps = 0;
  const report = (isComplete: boolean, violation: Report['violation']): Report => {
    return { name: instance.name, states: seen.size, steps, isComplete, violation };
  };
  for (let world = stack.pop(); world !== undefined; world = stack.pop()) {
    try {
      model.successors(world, (next) => {
        steps += 1;
        const hash = model.hash(next);
        if (seen.has(hash)) return;
        seen.add(hash);
        stack.push(next);
      });
    } catch (cause) {
      // A broken truth is what the search looks for; anything else is a fault of the search.
      if (!(cause instanceof AssertionError)) throw cause;
      return report(false, { truth: cause.message, trace: model.trace(world) });
    }
    if (seen.size > statesMax) return report(false, null);
  }
  return report(true, null);
}
