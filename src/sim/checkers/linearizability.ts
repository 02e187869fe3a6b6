/**
 * Is a history linearizable? Each part of the object (each key) is checked apart, within one limit
 * of time for all, and a refusal is told so that a person can follow it.
 *
 * L1: "linearizable" comes with an order of effects that anyone can replay. Tests replay it.
 * L2: "refused" means that every order was tried or ruled out by an order that can do all it can.
 * L3: a limit gives "unknown", never one of the other two.
 *
 * Sources: Herlihy and Wing, 1990; Wing and Gong, 1993; Lowe, "Testing for linearizability", 2017.
 */

import { unreachable } from '../../base/assert.ts';
import type { LinearizabilityModel, Operation } from './history.ts';
import { searchPart, type Limits } from './linearSearch.ts';

/** Why a history is refused, in the smallest terms that the search has. */
export interface Refusal<Input, Output> {
  readonly part: string;
  /** A longest order of effects that was found; all that answered before `blocked` is in it. */
  readonly prefix: readonly Operation<Input, Output>[];
  /** The first operation, in the order of answers, that no order of effects explains. */
  readonly blocked: Operation<Input, Output>;
  /** Operations under way at that time that could not be placed behind `prefix` either. */
  readonly unplaced: readonly Operation<Input, Output>[];
  /** Some of the states in which `blocked` was tried last. */
  readonly states: readonly string[];
}

export type Verdict<Input, Output> =
  | {
      readonly kind: 'linearizable';
      /** For each part its operations in an order of effects; unanswered ones may be missing. */
      readonly orders: ReadonlyMap<string, readonly Operation<Input, Output>[]>;
    }
  | { readonly kind: 'refused'; readonly refusal: Refusal<Input, Output> }
  | { readonly kind: 'unknown'; readonly part: string; readonly limit: keyof Limits };

/** Checks a whole history; operations may come in any order. */
export function checkLinearizability<State, Input, Output>(
  model: LinearizabilityModel<State, Input, Output>,
  history: readonly Operation<Input, Output>[],
  limits: Partial<Limits> = {},
): Verdict<Input, Output> {
  const orders = new Map<string, readonly Operation<Input, Output>[]>();
  let unknown: Verdict<Input, Output> | null = null;
  const spent = { steps: 0 };
  for (const [part, operations] of splitByPart(model, history)) {
    const found = searchPart(model, operations, limits, spent);
    switch (found.kind) {
      case 'linearizable':
        orders.set(part, found.order);
        break;
      case 'refused':
        return { kind: 'refused', refusal: { part, ...found.refusal } };
      case 'unknown':
        unknown ??= { kind: 'unknown', part, limit: found.limit };
        break;
      default:
        return unreachable(found);
    }
  }
  return unknown ?? { kind: 'linearizable', orders };
}

function splitByPart<State, Input, Output>(
  model: LinearizabilityModel<State, Input, Output>,
  history: readonly Operation<Input, Output>[],
): ReadonlyMap<string, readonly Operation<Input, Output>[]> {
  return Map.groupBy(
    history.filter((operation) => operation.outcome.kind !== 'refused'),
    (operation) => model.partOf(operation.input),
  );
}

/** How many operations at the end of the prefix a report shows. */
const PREFIX_SHOWN = 8;

/** The refusal in words, a line for each operation; times as in the history. */
export function describeRefusal<State, Input, Output>(
  model: LinearizabilityModel<State, Input, Output>,
  refusal: Refusal<Input, Output>,
): string {
  const { part, prefix, blocked, unplaced, states } = refusal;
  const line = (operation: Operation<Input, Output>): string =>
    `  ${describeOperation(model, operation)}`;
  const hiddenCount = Math.max(0, prefix.length - PREFIX_SHOWN);
  return [
    `not linearizable: part ${part}`,
    `an order of effects of ${prefix.length} operations, at its end:`,
    ...(hiddenCount > 0 ? [`  (${hiddenCount} before)`] : []),
    ...prefix.slice(-PREFIX_SHOWN).map(line),
    'in no order can this one have its answer:',
    line(blocked),
    `the state when it was tried last: ${states.join(' or ')}`,
    ...(unplaced.length > 0 ? ['also under way and not placed:', ...unplaced.map(line)] : []),
  ].join('\n');
}

function describeOperation<State, Input, Output>(
  model: LinearizabilityModel<State, Input, Output>,
  operation: Operation<Input, Output>,
): string {
  const { client, input, calledAtMs, outcome } = operation;
  const answered = outcome.kind === 'answered';
  const end = answered ? String(outcome.atMs) : '...';
  const answer = answered ? model.describeOutput(outcome.output) : 'no answer';
  return `[${calledAtMs}, ${end}] ${client}: ${model.describeInput(input)} = ${answer}`;
}
