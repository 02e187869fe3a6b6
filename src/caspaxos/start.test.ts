import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPrng } from '../base/prng.ts';
import { firstControl } from './control.ts';
import { CasNode } from './node.ts';
import { SlotTable } from './slotTable.ts';
import { casOptions, copyStored, emptyStored, foldPersist } from './start.ts';
import { testAcceptor } from './testkit.ts';

const OWN = { id: 1, cluster: 'test', incarnation: 1_000, prng: createPrng(1) };
const OPTIONS = casOptions(OWN);
const CONTROL = firstControl([1, 2, 3].map(testAcceptor), 3, 1);

function errorOf(change: object): string | null {
  const started = CasNode.start(OPTIONS, { ...emptyStored(OWN), ...change }, 0);
  return started.ok ? null : started.error;
}

test('a disk of another cluster, node or incarnation does not start', () => {
  assert.equal(errorOf({}), null);
  assert.equal(errorOf({ cluster: 'other' }), 'wrong-cluster');
  assert.equal(errorOf({ id: 2 }), 'wrong-node');
  assert.equal(errorOf({ incarnation: 2_000 }), 'wrong-incarnation');
  const foreign = firstControl([{ id: 1, incarnation: 7 }], 3, 1);
  assert.equal(errorOf({ control: foreign, epoch: 1 }), 'wrong-incarnation');
});

test('a disk with a slot that no acceptor writes does not start', () => {
  const slot = {
    promised: { epoch: 1, counter: 1, proposer: 1 },
    accepted: { epoch: 1, counter: 2, proposer: 1 },
    register: { version: 0, value: new Uint8Array(0), recent: [] },
  };
  const table = new SlotTable();
  table.set('k', slot);
  const buckets = new Map([[1, table]]);
  assert.equal(errorOf({ control: CONTROL, epoch: 1, buckets }), 'bad-slot');
  assert.equal(errorOf({ control: { ...CONTROL, floor: 1 }, epoch: 1, buckets }), 'bad-slot');
  assert.equal(errorOf({ control: CONTROL, epoch: 0 }), 'bad-control');
});

test('persists fold to what the node held, a promise without its value too', () => {
  const stored = emptyStored(OWN);
  const started = CasNode.start(OPTIONS, copyStored(stored), 0);
  assert.ok(started.ok);
  const node = started.value;
  const key = { bucket: 1, name: 'k' };
  const head = { cluster: 'test', from: 2, to: 1, incarnation: 2_000, epoch: 1 };
  const register = { version: 1, value: Uint8Array.of(7), recent: ['r'] };
  const ballot = { epoch: 1, counter: 1, proposer: 9 };
  const next = { epoch: 1, counter: 2, proposer: 9 };
  const later = { epoch: 1, counter: 5, proposer: 8 };
  const outputs = [
    node.step({ kind: 'control', control: CONTROL }, 0),
    node.step({ kind: 'message', message: { ...head, kind: 'prepare', key, ballot } }, 0),
    node.step(
      { kind: 'message', message: { ...head, kind: 'accept', key, ballot, register, next } },
      0,
    ),
    node.step({ kind: 'message', message: { ...head, kind: 'prepare', key, ballot: later } }, 0),
  ];
  for (const { persist } of outputs) {
    assert.ok(persist !== null);
    foldPersist(stored, persist);
  }
  const again = CasNode.start(OPTIONS, stored, 0);
  assert.ok(again.ok);
  assert.deepEqual(again.value.slot(key), node.slot(key));
  assert.deepEqual(again.value.slot(key), { promised: later, accepted: ballot, register });
});
