/**
 * The control state used as a key-value store: calls of `checkers/kvModel.ts` on an engine, and what
 * their clients saw. For histories that are checked to be linearizable.
 */

import { decodeUtf8, encodeUtf8 } from '../base/bytes.ts';
import type { Prng } from '../base/prng.ts';
import type { ControlEngine } from '../replica/control/engine.ts';
import type { Compare, Operation as ControlOperation } from '../replica/control/types.ts';
import type { Operation, Outcome } from './checkers/history.ts';
import type { KvInput, KvOutput } from './checkers/kvModel.ts';

/** Makes one call; a get is confirmed first. */
export function callKv(
  engine: ControlEngine,
  input: KvInput,
  nowMs: () => number,
): Promise<Outcome<KvOutput>> {
  return new Promise((resolve) => {
    const answered = (output: KvOutput): void => {
      resolve({ kind: 'answered', atMs: nowMs(), output });
    };
    if (input.kind === 'get') {
      engine.confirm((result) => {
        const value = engine.view.get(input.key)?.value ?? null;
        if (!result.ok) resolve({ kind: 'refused' });
        else answered({ kind: 'value', value: value === null ? null : decodeUtf8(value) });
      });
      return;
    }
    const audit = { who: 'client', from: 'test', what: input.kind, why: '' };
    const [operation, compares] = [operationOf(input), comparesOf(input)];
    engine.transact(
      { kind: 'transaction', audit, compares, success: [operation], failure: [] },
      (outcome) => {
        if (!outcome.ok) {
          resolve({ kind: outcome.error.kind === 'unknown' ? 'unknown' : 'refused' });
        } else if (input.kind === 'cas') {
          answered({ kind: 'swapped', isSwapped: outcome.value.isSuccess });
        } else answered({ kind: 'done' });
      },
    );
  });
}

function operationOf(input: Exclude<KvInput, { readonly kind: 'get' }>): ControlOperation {
  const { key } = input;
  if (input.kind === 'delete') return { kind: 'delete', key };
  return { kind: 'put', key, type: 'text', value: encodeUtf8(input.value) };
}

function comparesOf(input: KvInput): readonly Compare[] {
  if (input.kind !== 'cas') return [];
  const { key, expected } = input;
  if (expected === null) return [{ kind: 'absent', key }];
  return [{ kind: 'value', key, value: encodeUtf8(expected) }];
}

/** Keys change so often: the search for an order grows with what one key has seen. */
const EPOCH_OPERATIONS = 120;
const KEYS = 3;

/** What all clients of one run saw. */
export class KvHistory {
  readonly operations: Operation<KvInput, KvOutput>[] = [];
  #values = 0;

  /** Draws what to do next; every value is written once only. */
  draw(prng: Prng, seen: ReadonlyMap<string, string | null>): KvInput {
    const epoch = Math.floor(this.operations.length / EPOCH_OPERATIONS);
    const key = `e${epoch}-k${prng.nextBelow(KEYS)}`;
    const dice = prng.nextBelow(10);
    this.#values += 1;
    const value = `v${this.#values}`;
    if (dice < 4) return { kind: 'get', key };
    if (dice < 6) return { kind: 'put', key, value };
    if (dice < 7) return { kind: 'delete', key };
    return { kind: 'cas', key, expected: seen.get(key) ?? null, value };
  }

  record(
    client: string,
    input: KvInput,
    calledAtMs: number,
    outcome: Outcome<KvOutput>,
    seen: Map<string, string | null>,
  ): void {
    this.operations.push({ client, input, calledAtMs, outcome });
    if (outcome.kind !== 'answered') return;
    if (outcome.output.kind === 'value') seen.set(input.key, outcome.output.value);
    else if (input.kind === 'put') seen.set(input.key, input.value);
  }

  tally(): Readonly<Record<Outcome<KvOutput>['kind'], number>> {
    const counts = { answered: 0, refused: 0, unknown: 0 };
    for (const { outcome } of this.operations) counts[outcome.kind] += 1;
    return counts;
  }
}
