/**
 * A key-value store with get, put, append, compare-and-set and delete for each key. One key of it
 * is a register with compare-and-set.
 */

import { unreachable } from '../../base/assert.ts';
import type { LinearizabilityModel } from './history.ts';

export type KvInput =
  | { readonly kind: 'get'; readonly key: string }
  | { readonly kind: 'put'; readonly key: string; readonly value: string }
  | { readonly kind: 'append'; readonly key: string; readonly value: string }
  | { readonly kind: 'delete'; readonly key: string }
  /** Writes `value` if the key holds `expected` (null: if it holds nothing). */
  | {
      readonly kind: 'cas';
      readonly key: string;
      readonly expected: string | null;
      readonly value: string;
    };

export type KvOutput =
  /** What a get found; null: nothing. */
  | { readonly kind: 'value'; readonly value: string | null }
  /** A put, an append or a delete took effect. */
  | { readonly kind: 'done' }
  /** A compare-and-set took effect, or found another value. */
  | { readonly kind: 'swapped'; readonly isSwapped: boolean };

type KvState = string | null;

const NOTHING: readonly KvState[] = [];

export const KV_MODEL: LinearizabilityModel<KvState, KvInput, KvOutput> = {
  initial: null,
  step(state, input, output) {
    switch (input.kind) {
      case 'get':
        if (output === undefined) return [state];
        return output.kind === 'value' && output.value === state ? [state] : NOTHING;
      case 'put':
        return isDone(output) ? [input.value] : NOTHING;
      case 'append':
        return isDone(output) ? [(state ?? '') + input.value] : NOTHING;
      case 'delete':
        return isDone(output) ? [null] : NOTHING;
      case 'cas': {
        const isSwapped = state === input.expected;
        if (output !== undefined) {
          if (output.kind !== 'swapped' || output.isSwapped !== isSwapped) return NOTHING;
        }
        return [isSwapped ? input.value : state];
      }
      default:
        return unreachable(input);
    }
  },
  isRead: (input, output) =>
    input.kind === 'get' || (output.kind === 'swapped' && !output.isSwapped),
  // Values get a mark in front, so that none is taken for the absent one.
  stateKey: (state) => (state === null ? '' : `=${state}`),
  inputKey: (input) => JSON.stringify(input),
  partOf: (input) => input.key,
  describeInput: (input) => {
    switch (input.kind) {
      case 'get':
      case 'delete':
        return `${input.kind} ${input.key}`;
      case 'put':
      case 'append':
        return `${input.kind} ${input.key} ${JSON.stringify(input.value)}`;
      case 'cas':
        return `cas ${input.key} ${JSON.stringify(input.expected)} -> ${JSON.stringify(input.value)}`;
      default:
        return unreachable(input);
    }
  },
  describeOutput: (output) => {
    switch (output.kind) {
      case 'value':
        return JSON.stringify(output.value);
      case 'done':
        return 'done';
      case 'swapped':
        return output.isSwapped ? 'swapped' : 'not swapped';
      default:
        return unreachable(output);
    }
  },
  describeState: (state) => JSON.stringify(state),
};

function isDone(output: KvOutput | undefined): boolean {
  return output === undefined || output.kind === 'done';
}
