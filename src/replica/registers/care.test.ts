import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';

import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import type { Control } from '../../caspaxos/types.ts';
import {
  afterRescan,
  GENERATIONS_KEPT,
  nextStep,
  type Agreed,
  type CareStep,
  type CareView,
  type GroupPlace,
} from './care.ts';
import type { RegisterNode } from './state.ts';

const CLAIM_MS = 60_000;
const PART_MS = CLAIM_MS / GENERATIONS_KEPT;

function node(peer: string, id: number): RegisterNode {
  return { peer, id, incarnation: id * 10 };
}

function voters(...peers: readonly string[]): readonly GroupPlace[] {
  return peers.map((peer) => ({ peer, isVoter: true }));
}

function learners(...peers: readonly string[]): readonly GroupPlace[] {
  return peers.map((peer) => ({ peer, isVoter: false }));
}

const MEMBERS = voters('a', 'b', 'c');

const THREE = [node('a', 1), node('b', 2), node('c', 3)];

function view(more: Partial<CareView>): CareView {
  const fresh = { wallMs: 1_000_000, seenMs: 0, claimMs: CLAIM_MS };
  const roles = { isLeading: true, fence: null };
  return { state: null, nodes: THREE, members: MEMBERS, ...roles, ...fresh, ...more };
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
  const next = put(view({ state: FOUNDED, members: voters('a', 'b') }));
  deepEqual(
    next.control.acceptorsNext.map(({ id }) => id),
    [1, 2],
  );
});

test('a generation ends after its part of the time, by the holder of its lease alone', () => {
  const due = { state: FOUNDED, seenMs: PART_MS };
  equal(nextStep(view(due)).kind, 'none', 'it is led, and has no lease');
  equal(nextStep(view({ ...due, fence: 1, seenMs: PART_MS - 1 })).kind, 'none');
  const next = put(view({ ...due, fence: 1, isLeading: false }));
  deepEqual([next.control.openTo, next.control.floor, next.fence], [2, 0, 1]);
});

test('a generation that is not the newest any more is closed after as many parts as there are', () => {
  let state = FOUNDED;
  const floors: number[] = [];
  for (let part = 0; part < GENERATIONS_KEPT + 3; part += 1) {
    state = put(view({ state, seenMs: PART_MS, fence: 1 }));
    floors.push(state.control.floor);
  }
  // The first one takes no new claims from the first step on: two whole parts later it is closed.
  deepEqual(floors, [0, 0, 1, 2, 3]);
});

test('a holder that was paused past its time changes nothing: its number is lower than was seen', () => {
  const seen = { ...FOUNDED, fence: 7 };
  equal(nextStep(view({ state: seen, seenMs: CLAIM_MS, fence: 6 })).kind, 'none');
  equal(nextStep(view({ state: seen, seenMs: CLAIM_MS, fence: 7 })).kind, 'put');
});

test('a wall clock that jumps ends no generation that was seen for less than a tenth of its time', () => {
  const jumped = { state: FOUNDED, fence: 1, wallMs: FOUNDED.openedMs + 10 * CLAIM_MS };
  equal(nextStep(view({ ...jumped, seenMs: PART_MS / 10 - 1 })).kind, 'none');
  equal(nextStep(view({ ...jumped, seenMs: PART_MS / 10 })).kind, 'put');
});

/** The acceptors that a change begun now leads to; null: none begins. */
function changesTo(asked: CareView): readonly number[] | null {
  const step = nextStep(asked);
  if (step.kind !== 'put' || step.what !== 'begin change') return null;
  return step.next.control.acceptorsNext.map(({ id }) => id);
}

test('a further node of a region is no acceptor while the first one votes for it', () => {
  const nodes = [...THREE, node('a/two', 4)];
  const members = [...MEMBERS, ...learners('a/two')];
  deepEqual(acceptors(put(view({ nodes, members })).control), [1, 2, 3]);
  equal(nextStep(view({ state: FOUNDED, nodes, members })).kind, 'none');
});

test('where the vote goes in a region, the acceptor follows, by a joint set and a rescan', () => {
  const nodes = [...THREE, node('a/two', 4)];
  const members = [...learners('a'), ...voters('a/two', 'b', 'c')];
  const joint = put(view({ state: FOUNDED, nodes, members }));
  deepEqual(acceptors(joint.control), [1, 2, 3]);
  equal(nextStep(view({ state: joint, nodes, members })).kind, 'rescan');
  const done = afterRescan(joint.control, joint.control.epoch);
  ok(done !== null);
  deepEqual(acceptors(done), [2, 3, 4]);
  equal(nextStep(view({ state: { ...joint, control: done }, nodes, members })).kind, 'none');
});

test('a voter that has not announced itself is waited for with the acceptor of before', () => {
  const members = [...learners('a'), ...voters('a/two', 'b', 'c')];
  equal(changesTo(view({ state: FOUNDED, members })), null);
});

test('a region whose nodes only learn has its first one as an acceptor, else the first by name', () => {
  const nodes = [...THREE, node('d/x', 4), node('d', 5), node('d/b', 6)];
  const first = [...MEMBERS, ...learners('d/x', 'd', 'd/b')];
  deepEqual(changesTo(view({ state: FOUNDED, nodes, members: first })), [1, 2, 3, 5]);
  const without = [...MEMBERS, ...learners('d/x', 'd/b')];
  deepEqual(changesTo(view({ state: FOUNDED, nodes, members: without })), [1, 2, 3, 6]);
});

test('acceptors are founded once each region has one, however many nodes are still to come', () => {
  const members = [...MEMBERS, ...learners('a/two', 'a/three')];
  deepEqual(acceptors(put(view({ members })).control), [1, 2, 3]);
  equal(nextStep(view({ members, nodes: [node('a', 1), node('a/two', 4)] })).kind, 'none');
});

test('what is known of a node goes with its last member, and not while it is an acceptor', () => {
  const gone = node('a/two', 4);
  const nodes = [...THREE, gone];
  const forget: CareStep = { kind: 'forget', node: gone };
  deepEqual(nextStep(view({ state: FOUNDED, nodes })), forget);
  equal(nextStep(view({ state: FOUNDED, nodes, isLeading: false })).kind, 'none');
  equal(nextStep(view({ state: FOUNDED, nodes, members: [] })).kind, 'none', 'nobody knows');
  const two = voters('a', 'b');
  const joint = put(view({ state: FOUNDED, members: two }));
  equal(nextStep(view({ state: joint, members: two })).kind, 'rescan', 'first it is replaced');
  const control = afterRescan(joint.control, joint.control.epoch);
  ok(control !== null);
  const after = { ...joint, control };
  deepEqual(nextStep(view({ state: after, members: two })), { kind: 'forget', node: THREE[2] });
});
