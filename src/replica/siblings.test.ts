import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import type { NodeLoad } from '../routing/admission.ts';
import type { HealthNews } from '../routing/health.ts';
import type { Serving } from './serving.ts';
import { SiblingBoard, Siblings, type SiblingReport, type TargetNews } from './siblings.ts';

const EMPTY: SiblingReport = { exchanges: 0, bodiesBytes: 0, loads: [], news: [] };

function load(inFlight: number, target = 't') {
  return { model: 'm', target, inFlight, queuedTokens: 10 * inFlight };
}

function newsOf(target: string): TargetNews {
  return { model: 'm', target, news: { reason: target } as HealthNews };
}

function boardOf(ids: readonly number[]): SiblingBoard {
  const board = new SiblingBoard();
  for (const id of ids) board.join(id, []);
  for (const id of ids) board.take(id);
  return board;
}

test('Y1: each hears the sum of the others, and never its own', () => {
  const board = boardOf([0, 1, 2]);
  board.tell(0, { ...EMPTY, exchanges: 1, bodiesBytes: 10, loads: [load(1)] });
  board.tell(1, { ...EMPTY, exchanges: 2, bodiesBytes: 20, loads: [load(2)] });
  board.tell(2, { ...EMPTY, exchanges: 4, bodiesBytes: 40, loads: [load(4)] });
  const sums = [0, 1, 2].map((id) => {
    const heard = board.take(id);
    return [heard?.exchanges, heard?.bodiesBytes, heard?.loads[0]?.inFlight];
  });
  assert.deepEqual(sums, [
    [6, 60, 6],
    [5, 50, 5],
    [3, 30, 3],
  ]);
  assert.equal(board.take(0), null, 'nothing is new');
});

test('Y1: what changed since is told, the rest is not', () => {
  const board = boardOf([0, 1]);
  board.tell(1, { ...EMPTY, loads: [load(1, 'a'), load(1, 'b')] });
  assert.equal(board.take(0)?.loads.length, 2);
  board.tell(1, { ...EMPTY, loads: [load(3, 'b')] });
  assert.deepEqual(board.take(0)?.loads, [load(3, 'b')]);
});

test('Y2: news reach every other process once', () => {
  const board = boardOf([0, 1, 2]);
  board.tell(1, { ...EMPTY, news: [newsOf('a')] });
  board.tell(2, { ...EMPTY, news: [newsOf('b')] });
  assert.deepEqual(board.take(0)?.news, [newsOf('a'), newsOf('b')]);
  assert.deepEqual(board.take(1)?.news, [newsOf('b')]);
  assert.deepEqual(board.take(2)?.news, [newsOf('a')]);
  assert.equal(board.take(0), null);
});

test('Y3: what a process that is gone had under way leaves the sums at once', () => {
  const board = boardOf([0, 1, 2]);
  board.tell(1, { ...EMPTY, exchanges: 5, loads: [load(5)] });
  board.tell(2, { ...EMPTY, exchanges: 3, loads: [load(3)] });
  board.take(0);
  board.leave(1);
  const heard = board.take(0);
  assert.equal(heard?.exchanges, 3);
  assert.deepEqual(heard?.loads, [load(3)]);
  board.tell(1, { ...EMPTY, exchanges: 9 });
  assert.equal(board.take(0), null, 'what is late is not counted');
});

test('a process that joins hears what stands, then the loads of all', () => {
  const board = boardOf([0, 1]);
  board.tell(1, { ...EMPTY, exchanges: 2, loads: [load(2)] });
  board.join(2, [newsOf('down')]);
  const heard = board.take(2);
  assert.equal(heard?.exchanges, 2);
  assert.deepEqual(heard?.loads, [load(2)]);
  assert.deepEqual(heard?.news, [newsOf('down')]);
});

test('Y4: in any burst between two exchanges all let in stay below the limit plus one a process', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 8 }),
      fc.integer({ min: 1, max: 60 }),
      fc.array(fc.integer({ min: 0, max: 7 }), { maxLength: 300 }),
      (count, limit, arrivals) => {
        const own = Array.from({ length: count }, () => ({ exchanges: 0, bodiesBytes: 0 }));
        const all = own.map((load: NodeLoad) => new Siblings(load, count));
        let sum = 0;
        for (const at of arrivals) {
          const mine = own[at % count];
          const siblings = all[at % count];
          assert.ok(mine !== undefined && siblings !== undefined);
          if (siblings.exchanges >= limit) continue;
          siblings.admitted(1);
          mine.exchanges += 1;
          sum += 1;
        }
        assert.ok(sum < limit + count, `${sum} with a limit of ${limit}`);
      },
    ),
  );
});

test('a process whose others are idle admits as many as it likes, one after another', () => {
  const own = { exchanges: 0, bodiesBytes: 0 };
  const siblings = new Siblings(own, 2);
  const serving = { models: new Map() } as unknown as Serving;
  for (let turn = 0; turn < 100; turn += 1) {
    siblings.admitted(10);
    siblings.report(serving, turn);
  }
  siblings.report(serving, 100);
  siblings.report(serving, 101);
  assert.equal(siblings.exchanges, 0);
  assert.equal(siblings.bodiesBytes, 0);
});
