/** Where the watches of others broke, each bug a test. Numbers are those of SPEC.md, section 3. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { driverOf, put, transaction } from './controlTestkit.ts';
import { ControlMachine } from './machine.ts';
import { keyOf, type Change, type ControlReply } from './types.ts';
import { WatchHub, type WatchId, type WatchLimits } from './watch.ts';

interface World {
  readonly machine: ControlMachine;
  readonly hub: WatchHub;
  readonly put: (key: string, value?: string) => ControlReply;
  readonly delete: (key: string) => ControlReply;
  readonly compact: (revision: number) => ControlReply;
}

function createWorld(limits: Partial<WatchLimits> = {}): World {
  const machine = new ControlMachine();
  const drive = driverOf(machine);
  return {
    machine,
    hub: new WatchHub(machine, { ...CONTROL_LIMITS, ...limits }),
    put: (key, value = 'x') => drive(transaction([put(key, value)])),
    delete: (key) => drive(transaction([{ kind: 'delete', key }])),
    compact: (revision) => drive({ kind: 'compact', revision }),
  };
}

function open(hub: WatchHub, prefix: string, from: number | null): WatchId {
  const opened = hub.open(prefix, from);
  assert.ok(opened.ok);
  return opened.value;
}

function revisionsOf(changes: readonly Change[]): readonly number[] {
  return changes.map(({ revision }) => revision);
}

test('#15271: a watch moved to a member that is behind does not travel back in time', () => {
  const ahead = createWorld();
  const behind = createWorld();
  for (const world of [ahead, behind]) for (let n = 1; n <= 3; n += 1) world.put('/a', `${n}`);
  for (let n = 4; n <= 6; n += 1) ahead.put('/a', `${n}`);
  const first = ahead.hub.take(open(ahead.hub, '/', 1));
  assert.ok(first.kind === 'changes' && first.bookmark === 6);
  const again = open(behind.hub, '/', first.bookmark + 1);
  for (let n = 4; n <= 6; n += 1) {
    behind.put('/a', `${n}`);
    assert.equal(behind.hub.take(again, true).kind, 'nothing', 'it has had these');
    assert.deepEqual(behind.hub.due(), []);
  }
  behind.put('/a', '7');
  const next = behind.hub.take(again);
  assert.ok(next.kind === 'changes');
  assert.deepEqual(revisionsOf(next.changes), [7]);
});

test('#20221: a watch from a future revision gets nothing before it, a snapshot in between or not', () => {
  const { machine, hub, put: set } = createWorld();
  set('/a');
  const id = open(hub, '/', 5);
  const ahead = createWorld();
  for (let n = 0; n < 3; n += 1) ahead.put('/a');
  assert.equal(machine.restore(ahead.machine.snapshot()), true);
  assert.equal(hub.take(id, true).kind, 'nothing');
  for (let n = 0; n < 3; n += 1) ahead.put('/a');
  assert.equal(machine.restore(ahead.machine.snapshot()), true);
  const taken = hub.take(id, true);
  assert.ok(taken.kind === 'changes');
  assert.deepEqual(revisionsOf(taken.changes), [5, 6]);
});

test('#18089: the deletion at the first revision behind a compaction is not lost', () => {
  const { hub, put: set, delete: remove, compact } = createWorld();
  set('/a');
  set('/b');
  remove('/a');
  compact(2);
  const taken = hub.take(open(hub, '/a', 3));
  assert.ok(taken.kind === 'changes');
  assert.deepEqual(
    taken.changes.map(({ revision, events }) => [revision, events.map(keyOf)]),
    [[3, ['/a']]],
  );
});

test('#18089: a deletion at the compacted revision itself is compacted, never passed over', () => {
  const { hub, put: set, delete: remove, compact } = createWorld();
  set('/a');
  const id = open(hub, '/a', 2);
  remove('/a');
  set('/b');
  compact(2);
  assert.deepEqual(hub.take(id), { kind: 'compacted', oldest: 3 });
  assert.deepEqual(hub.open('/a', 2), { ok: false, error: { kind: 'compacted', oldest: 3 } });
});

test('#19179: a snapshot that jumps over a watcher ends it; no event is left out in silence', () => {
  const ahead = createWorld();
  for (let n = 0; n < 6; n += 1) ahead.put('/a');
  ahead.compact(4);
  const { machine, hub, put: set } = createWorld();
  set('/a');
  const late = open(hub, '/', 2);
  const fine = open(hub, '/', 5);
  assert.equal(machine.restore(ahead.machine.snapshot()), true);
  assert.deepEqual(hub.due(), [late, fine]);
  assert.deepEqual(hub.take(late), { kind: 'compacted', oldest: 5 });
  assert.deepEqual(hub.due(), [fine]);
  const taken = hub.take(fine);
  assert.ok(taken.kind === 'changes');
  assert.deepEqual(revisionsOf(taken.changes), [5, 6]);
});

test('#17247: whoever resumes behind its last bookmark gets nothing twice and misses nothing', () => {
  const step = fc.oneof(
    fc.constantFrom('/a', '/b').map((key) => ({ kind: 'put' as const, key })),
    fc.boolean().map((isAgain) => ({ kind: 'take' as const, isAgain })),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), fc.integer({ min: 1, max: 4 }), (steps, max) => {
      const { machine, hub, put: set } = createWorld({ watchEventsMax: max, bookmarkRevisions: 2 });
      let id = open(hub, '/a', 1);
      let bookmark = 0;
      const heard: number[] = [];
      const expected: number[] = [];
      const take = (isAgain: boolean): void => {
        if (isAgain) {
          hub.close(id);
          id = open(hub, '/a', bookmark + 1);
        }
        const taken = hub.take(id);
        if (taken.kind !== 'changes') return;
        assert.ok(taken.changes.length > 0 || taken.bookmark > bookmark);
        heard.push(...revisionsOf(taken.changes));
        bookmark = taken.bookmark;
      };
      for (const each of steps) {
        if (each.kind === 'take') take(each.isAgain);
        else set(each.key);
        if (each.kind === 'put' && each.key === '/a') expected.push(machine.revision);
      }
      while (hub.due().length > 0) take(false);
      assert.deepEqual(heard, expected);
    }),
    { numRuns: 500 },
  );
});

test('#15220: a bookmark never comes before an event that it covers, in pages too', () => {
  const { hub, put: set } = createWorld({ watchEventsMax: 2 });
  for (let n = 0; n < 5; n += 1) set('/a');
  const id = open(hub, '/a', 1);
  const told: (readonly number[])[] = [];
  while (hub.due().length > 0) {
    const taken = hub.take(id, true);
    assert.ok(taken.kind === 'changes');
    told.push([...revisionsOf(taken.changes), taken.bookmark]);
  }
  assert.deepEqual(told, [
    [1, 2, 2],
    [3, 4, 4],
    [5, 5],
  ]);
});

test('#17529: under steady writes a watcher far behind catches up and idle ones are named', () => {
  const { machine, hub, put: set } = createWorld({ watchEventsMax: 10 });
  for (let n = 0; n < 500; n += 1) set('/a');
  const behind = open(hub, '/a', 1);
  const quiet = open(hub, '/b', null);
  const busy = Array.from({ length: 20 }, () => open(hub, '/a', null));
  let rounds = 0;
  while (hub.due().includes(behind)) {
    rounds += 1;
    assert.ok(rounds <= 60, 'every round brings it ten nearer and one away');
    set('/a');
    for (const id of hub.due()) hub.take(id);
  }
  set('/b');
  assert.deepEqual(hub.due(), [behind, quiet, ...busy]);
  const taken = hub.take(quiet);
  assert.ok(taken.kind === 'changes');
  assert.deepEqual(revisionsOf(taken.changes), [machine.revision]);
});

test('one revision is never split, however large it is', () => {
  const machine = new ControlMachine();
  const drive = driverOf(machine);
  const hub = new WatchHub(machine, { ...CONTROL_LIMITS, watchEventsMax: 1, watchBytesMax: 1 });
  drive(transaction([put('/a', '1'), put('/b', '1'), put('/c', '1')]));
  drive(transaction([put('/a', '2')]));
  const taken = hub.take(open(hub, '', 1));
  assert.ok(taken.kind === 'changes' && taken.bookmark === 1);
  assert.deepEqual(taken.changes[0]?.events.map(keyOf), ['/a', '/b', '/c']);
});

test('a watcher that hears nothing of its keys is told how far it is, after so many revisions', () => {
  const { hub, put: set } = createWorld({ bookmarkRevisions: 3 });
  const id = open(hub, '/a', 1);
  set('/b');
  set('/b');
  assert.deepEqual(hub.take(id), { kind: 'nothing' });
  set('/b');
  assert.deepEqual(hub.take(id), { kind: 'changes', changes: [], bookmark: 3 });
  assert.deepEqual(hub.take(id), { kind: 'nothing' });
});

test('watchers are limited, and a closed one makes room', () => {
  const { hub } = createWorld({ watchersMax: 2 });
  const id = open(hub, '/a', null);
  open(hub, '/a', null);
  assert.deepEqual(hub.open('/a', null), { ok: false, error: { kind: 'too-many-watchers' } });
  hub.close(id);
  assert.deepEqual(hub.take(id), { kind: 'nothing' });
  open(hub, '/a', null);
});
