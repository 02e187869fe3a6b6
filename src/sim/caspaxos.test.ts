/**
 * What clients of CASPaxos saw in random runs, judged by the general checker of histories: a second
 * opinion beside the room's own checks, which know versions and what was chosen.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AssertionError } from '../base/assert.ts';
import type { Bugs } from '../caspaxos/bugs.ts';
import { runSeed, type TestOperation } from '../caspaxos/testRun.ts';
import type { Operation, Outcome } from './checkers/history.ts';
import { KV_MODEL, type KvInput, type KvOutput } from './checkers/kvModel.ts';
import { checkLinearizability } from './checkers/linearizability.ts';

const SEEDS = Number(process.env['CASPAXOS_SEEDS'] ?? 60);

/** A register is changed where it holds the expected value; each value is written by one request. */
function operationOf(one: TestOperation): Operation<KvInput, KvOutput> {
  const { client, key, writes, expects, calledAt } = one;
  const input: KvInput =
    writes === null ? { kind: 'get', key } : { kind: 'cas', key, expected: expects, value: writes };
  return { client, input, calledAtMs: calledAt, outcome: outcomeOf(one) };
}

function outcomeOf({ outcome, answeredAt: atMs }: TestOperation): Outcome<KvOutput> {
  switch (outcome.kind) {
    case 'refused':
    case 'unknown':
      return { kind: outcome.kind };
    case 'value':
      return { kind: 'answered', atMs, output: { kind: 'value', value: outcome.value } };
    default: {
      const isSwapped = outcome.kind === 'changed';
      return { kind: 'answered', atMs, output: { kind: 'swapped', isSwapped } };
    }
  }
}

function historyOf(seed: number, bugs: Bugs): readonly Operation<KvInput, KvOutput>[] {
  const history: TestOperation[] = [];
  try {
    runSeed(seed, { history, bugs });
  } catch (cause) {
    // With a planted bug the room's own checks may stop the run; what clients saw counts.
    if (!(cause instanceof AssertionError) || bugs.size === 0) throw cause;
  }
  return history.map(operationOf);
}

test(`the general checker finds every history of registers linearizable (${SEEDS} seeds)`, () => {
  let operations = 0;
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const history = historyOf(seed, new Set());
    operations += history.length;
    const verdict = checkLinearizability(KV_MODEL, history);
    assert.equal(verdict.kind, 'linearizable', `seed ${seed}`);
  }
  assert.ok(operations > SEEDS * 10, 'clients did something');
});

for (const bug of ['quorum-of-one', 'first-promise', 'phantom-read', 'stale-cache'] as const) {
  test(`the general checker refuses a history of the planted bug ${bug} within 150 seeds`, () => {
    for (let seed = 1; seed <= 150; seed += 1) {
      const history = historyOf(seed, new Set([bug]));
      if (checkLinearizability(KV_MODEL, history).kind === 'refused') return;
    }
    assert.fail('it was not seen');
  });
}
