import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';

import { encodeUtf8 } from '../../base/bytes.ts';
import { encodeCommand } from './codec.ts';
import {
  clusterFeatureLevel,
  FEATURE_LEVEL_MAX,
  holdingBack,
  isFeatureOn,
  levelRefusal,
  levelToRaise,
  raiseLevel,
  writeSupport,
  writtenSupport,
} from './features.ts';
import { ControlMachine } from './machine.ts';
import type { Transaction } from './types.ts';

function nodes(...levels: readonly (number | null)[]) {
  return levels.map((level, at) => ({ name: `n${at}`, level }));
}

function apply(machine: ControlMachine, index: number, transaction: Transaction): void {
  machine.apply(index, 0, encodeCommand(transaction));
}

test('FL1 the level rises to the least that all support, and not while one has not said it', () => {
  equal(levelToRaise(1, nodes(2, 2, 2)), 2);
  equal(levelToRaise(1, nodes(4, 3, 2)), 2);
  equal(levelToRaise(2, nodes(4, 3, 3)), 3);
  equal(levelToRaise(1, nodes(2, 1, 2)), null);
  equal(levelToRaise(1, nodes(2, null, 2)), null);
  equal(levelToRaise(1, []), null);
});

test('FL2 the level is never lowered, whatever a node says', () => {
  for (const least of [0, 1, 2, null]) equal(levelToRaise(2, nodes(3, least)), null);
  // A log of before has level 0, which means the same as 1.
  equal(levelToRaise(0, nodes(1, 1)), null);
});

test('who keeps the level down is named, and nobody once it is as high as this program goes', () => {
  deepEqual(holdingBack(1, nodes(2, null, 1)), ['n1', 'n2']);
  deepEqual(holdingBack(FEATURE_LEVEL_MAX - 1, nodes(FEATURE_LEVEL_MAX)), []);
  deepEqual(holdingBack(FEATURE_LEVEL_MAX, nodes(2, null)), []);
});

test('FL3 a program below the level is told both numbers, one at it nothing', () => {
  equal(levelRefusal(2, 2), null);
  equal(/feature level 3, and this program supports 2/.test(levelRefusal(3, 2) ?? ''), true);
});

test('the level is a key of the state: 1 without it, and two that raise it at once do it once', () => {
  const machine = new ControlMachine();
  equal(clusterFeatureLevel(machine), 1);
  equal(isFeatureOn(clusterFeatureLevel(machine), 'furtherNodes'), false);
  const [one, other] = [raiseLevel(machine, 2, 'eu'), raiseLevel(machine, 2, 'us')];
  apply(machine, 1, one);
  apply(machine, 2, other);
  equal(clusterFeatureLevel(machine), 2);
  equal(isFeatureOn(clusterFeatureLevel(machine), 'furtherNodes'), true);
  deepEqual(
    machine.audit(1, 10).map(({ who, from, what }) => [who, from, what]),
    [['banyan', 'eu', 'feature level 2']],
  );
});

test('what a node supports is written once for each program, and what nobody wrote means nothing', () => {
  const machine = new ControlMachine();
  const first = writeSupport(machine, 'eu/2', 2);
  if (first !== null) apply(machine, 1, first);
  equal(writeSupport(machine, 'eu/2', 2), null);
  deepEqual(writtenSupport(machine), [{ name: 'eu/2', level: 2 }]);
  const put = (key: string, type: string, text: string): Transaction => ({
    kind: 'transaction',
    audit: { who: 'x', from: 'x', what: 'x', why: '' },
    compares: [],
    success: [{ kind: 'put', key, type, value: encodeUtf8(text) }],
    failure: [],
  });
  apply(machine, 2, put('cluster/level', 'other/1', '{"level":9}'));
  apply(machine, 3, put('cluster/nodes/us', 'cluster-node/1', 'no JSON'));
  equal(clusterFeatureLevel(machine), 1);
  deepEqual(writtenSupport(machine).at(-1), { name: 'us', level: null });
});
