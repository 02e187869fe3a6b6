import assert from 'node:assert/strict';
import { test } from 'node:test';

import { HTTP_LIMITS } from '../../base/limits.ts';
import { lateMs, spendTurn, takeTurn, waitForTurn } from './turns.ts';

const { turnBytes, lateFloodBytes } = HTTP_LIMITS;
const FLOOD = lateFloodBytes + 1;

/** The next turn of the loop, after its end was handled. */
async function turnOver(): Promise<void> {
  await new Promise((done) => setImmediate(done));
  await new Promise((done) => setImmediate(done));
}

/** Puts a reader in line that costs `costs` bytes and adds its name to `order`. */
function wait(order: string[], name: string, bytes: number, costs: number): void {
  const handleLate = (): void => {
    order.push(name);
    spendTurn(costs);
  };
  waitForTurn({ handleLate }, bytes);
}

test('a turn has a budget, and the next has it again', async () => {
  let taken = 0;
  while (takeTurn(turnBytes / 8)) taken += 1;
  assert.ok(taken > 4 && taken <= 8, `${taken}`);
  await turnOver();
  assert.ok(takeTurn(turnBytes));
  assert.ok(!takeTurn(1));
  await turnOver();
});

test('who brings little goes before who floods', async () => {
  const order: string[] = [];
  for (const name of ['flood 1', 'flood 2']) wait(order, name, FLOOD, 1);
  for (const name of ['few 1', 'few 2']) wait(order, name, 100, 1);
  await turnOver();
  // One that floods goes on in every turn, whatever the others do (T3).
  assert.deepEqual(order, ['flood 1', 'few 1', 'few 2', 'flood 2']);
});

test('what is over the budget waits for further turns, each of which serves a flood', async () => {
  const order: string[] = [];
  for (const name of ['f1', 'f2', 'f3']) wait(order, name, FLOOD, turnBytes / 2);
  for (const name of ['a', 'b', 'c']) wait(order, name, 100, turnBytes / 2);
  await new Promise((done) => setImmediate(done));
  assert.deepEqual(order, ['f1', 'a']);
  assert.ok(lateMs() > 0, 'the others have waited');
  assert.ok(!takeTurn(1), 'nobody overtakes those in line');
  for (let turn = 0; turn < 4; turn += 1) await turnOver();
  assert.deepEqual(order, ['f1', 'a', 'f2', 'b', 'f3', 'c']);
  assert.equal(lateMs(), 0);
});

test('only floods wait: a token passes them, another flood does not', async () => {
  const order: string[] = [];
  for (const name of ['f1', 'f2']) wait(order, name, FLOOD, turnBytes);
  await new Promise((done) => setImmediate(done));
  assert.deepEqual(order, ['f1']);
  assert.equal(lateMs(), 0, 'a flood waits for itself: that is no lag');
  assert.ok(!takeTurn(FLOOD));
  assert.ok(takeTurn(100));
  await turnOver();
  assert.deepEqual(order, ['f1', 'f2']);
});

test('a long line is served to its end in the order in which it stood', async () => {
  const order: string[] = [];
  const names = Array.from({ length: 5_000 }, (_, index) => `${index}`);
  for (const name of names) wait(order, name, 100, 1);
  for (let turn = 0; turn < 200 && order.length < names.length; turn += 1) await turnOver();
  assert.deepEqual(order, names);
});
