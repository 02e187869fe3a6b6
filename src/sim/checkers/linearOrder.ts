/** The history of one part, laid out for the search. */

import type { LinearizabilityModel, Operation } from './history.ts';

export interface Arranged<Input, Output> {
  /** Answered operations in the order of their answers. An operation's place is its rank. */
  readonly answered: readonly Operation<Input, Output>[];
  /** 1 where the answered operation of that rank is a read. */
  readonly isRead: Uint8Array;
  /**
   * For each rank the ranks behind it whose operations were called before its answer: `open` from
   * `openStart[rank]` to `openStart[rank + 1]`. What bears the same time counts as overlapping.
   */
  readonly open: Uint32Array;
  readonly openStart: Uint32Array;
  /** Unanswered operations by equal input, each class in the order of calls. */
  readonly classes: readonly (readonly Operation<Input, Output>[])[];
}

export function arrange<State, Input, Output>(
  model: LinearizabilityModel<State, Input, Output>,
  operations: readonly Operation<Input, Output>[],
): Arranged<Input, Output> {
  const byCall = operations.toSorted((left, right) => left.calledAtMs - right.calledAtMs);
  const answered = byCall
    .filter((operation) => operation.outcome.kind === 'answered')
    .toSorted((left, right) => answeredAtMs(left) - answeredAtMs(right));
  const unanswered = byCall.filter((operation) => operation.outcome.kind === 'unknown');
  const classes = Map.groupBy(unanswered, (operation) => model.inputKey(operation.input));
  const isRead = Uint8Array.from(answered, ({ input, outcome }) =>
    outcome.kind === 'answered' && model.isRead(input, outcome.output) ? 1 : 0,
  );
  return { answered, isRead, ...openOf(answered), classes: [...classes.values()] };
}

function openOf(
  answered: readonly Operation<unknown, unknown>[],
): Pick<Arranged<never, never>, 'open' | 'openStart'> {
  const calls = answered
    .map((operation, rank) => ({ rank, calledAtMs: operation.calledAtMs }))
    .toSorted((left, right) => left.calledAtMs - right.calledAtMs);
  const open: number[] = [];
  const openStart = new Uint32Array(answered.length + 1);
  let under: number[] = [];
  let called = 0;
  answered.forEach((operation, rank) => {
    for (; called < calls.length; called += 1) {
      const call = calls[called];
      if (call === undefined || call.calledAtMs > answeredAtMs(operation)) break;
      under.push(call.rank);
    }
    under = under.filter((other) => other > rank);
    for (const other of under) open.push(other);
    openStart[rank + 1] = open.length;
  });
  return { open: Uint32Array.from(open), openStart };
}

function answeredAtMs(operation: Operation<unknown, unknown>): number {
  return operation.outcome.kind === 'answered' ? operation.outcome.atMs : Infinity;
}
