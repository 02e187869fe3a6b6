import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';

import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import type { Control } from '../../caspaxos/types.ts';
import { afterRescan, nextStep, type Agreed, type CareView } from './care.ts';
import type { RegisterNode } from './state.ts';

const REGIONS = ['a', 'b', 'c'];
const CLAIM_MS = 60_000;

function node(region: string, id: number): RegisterNode {
  return { region, id, incarnation: id * 10 };
}

const THREE = [node('a', 1), node('b', 2), node('c', 3)];

function view(more: Partial<CareView>): CareView {
  const fresh = { wallMs: 1_000_000, seenMs: 0, claimMs: CLAIM_MS };
  const roles = { isLeading: true, fence: null };
  return { state: null, nodes: THREE, regions: REGIONS, ...roles, ...fresh, ...more };
}

function put(asked: CareView): Agreed {
  const step = nextStep(asked);
  ok(step.kind === 'put', JSON.stringify(step));
  return step.next;
}

const FOUNDED = put(view({}));

function acceptors({ acceptors: set }: Control): readonly number[] {
  return set.map(({ id }) => id);
}

test('acceptors are founded by the one that leads, once all regions have come or were waited for', () => {
  deepEqual(acceptors(FOUNDED.control), [1, 2, 3]);
  equal(nextStep(view({ isLeading: false })).kind, 'none');
  const two = THREE.slice(0, 2);
  equal(nextStep(view({ nodes: two })).kind, 'none');
  const late = view({ nodes: two, seenMs: REGISTER_LIMITS.foundingMs });
  deepEqual(acceptors(put(late).control), [1, 2]);
  equal(
    nextStep({ ...late, nodes: THREE.slice(0, 1) }).kind,
    'none',
    'one of three is no majority',
  );
});

test('a disk under a new number becomes an acceptor by a joint set, a rescan, and then alone', () => {
  const nodes = [node('a', 1), node('b', 2), node('c', 9)];
  const joint = put(view({ state: FOUNDED, nodes }));
  deepEqual(acceptors(joint.control), [1, 2, 3]);
  deepEqual(
    joint.control.acceptorsNext.map(({ id }) => id),
    [1, 2, 9],
  );
  equal(nextStep(view({ state: joint, nodes })).kind, 'rescan');
  equal(nextStep(view({ state: joint, nodes, isLeading: false })).kind, 'none');
  equal(afterRescan(joint.control, joint.control.epoch - 1), null, 'a rescan of another epoch');
  const done = afterRescan(joint.control, joint.control.epoch);
  ok(done !== null);
  deepEqual(acceptors(done), [1, 2, 9]);
});

test('a region that has left the group is no acceptor any more', () => {
  const next = put(view({ state: FOUNDED, regions: ['a', 'b'] }));
  deepEqual(
    next.control.acceptorsNext.map(({ id }) => id),
    [1, 2],
  );
});

test('a generation ends after its time, by the holder of its lease alone', () => {
  const due = { state: FOUNDED, seenMs: CLAIM_MS };
  equal(nextStep(view(due)).kind, 'none', 'it is led, and has no lease');
  equal(nextStep(view({ ...due, fence: 1, seenMs: CLAIM_MS - 1 })).kind, 'none');
  const next = put(view({ ...due, fence: 1, isLeading: false }));
  deepEqual([next.control.openTo, next.control.floor, next.fence], [2, 0, 1]);
  const third = put(view({ ...due, state: next, fence: 1 }));
  deepEqual(
    [third.control.openTo, third.control.floor],
    [3, 1],
    'the one before the last is closed',
  );
});

test('a holder that was paused past its time changes nothing: its number is lower than was seen', () => {
  const seen = { ...FOUNDED, fence: 7 };
  equal(nextStep(view({ state: seen, seenMs: CLAIM_MS, fence: 6 })).kind, 'none');
  equal(nextStep(view({ state: seen, seenMs: CLAIM_MS, fence: 7 })).kind, 'put');
});

test('a wall clock that jumps ends no generation that was seen for less than a tenth of its time', () => {
  const jumped = { state: FOUNDED, fence: 1, wallMs: FOUNDED.openedMs + 10 * CLAIM_MS };
  equal(nextStep(view({ ...jumped, seenMs: CLAIM_MS / 10 - 1 })).kind, 'none');
  equal(nextStep(view({ ...jumped, seenMs: CLAIM_MS / 10 })).kind, 'put');
});
