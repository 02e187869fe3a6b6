import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Stage } from './stage.ts';
import type { NodeView } from './view.ts';

const REGIONS = [
  { name: 'a', nodeCount: 2 },
  { name: 'b', nodeCount: 2 },
  { name: 'c', nodeCount: 1 },
];

function stageOf(seed: number): Stage {
  const delayMs = (from: string, to: string): number => (from === to ? 1 : 60);
  return new Stage({ seed, regions: REGIONS, delayMs });
}

/** Lets time pass until `isDone`, a minute at most. */
function until(stage: Stage, isDone: () => boolean): void {
  for (let passedMs = 0; !isDone(); passedMs += 10) {
    assert.ok(passedMs < 60_000, 'it happens within a minute');
    stage.advance(10);
  }
}

function leaderOf(stage: Stage): NodeView | undefined {
  return stage
    .view()
    .nodes.filter(({ state, role }) => state === 'up' && role === 'leader')
    .toSorted((left, right) => right.term - left.term)[0];
}

/** A leader that a majority has heard of. */
function elect(stage: Stage): NodeView {
  until(stage, () => {
    const leader = leaderOf(stage);
    return leader !== undefined && leader.commit === leader.lastIndex;
  });
  const leader = leaderOf(stage);
  assert.ok(leader !== undefined);
  return leader;
}

function hasTold(stage: Stage, kind: string): boolean {
  return stage.view().story.some((line) => line.kind === kind);
}

test('a leader is elected with the votes of a majority, and the story says so', () => {
  const stage = stageOf(1);
  const leader = elect(stage);
  assert.ok(leader.voters.length >= 3 && leader.voters.includes(leader.id));
  const lines = stage.view().story.filter(({ kind }) => kind === 'leads');
  assert.deepEqual(
    lines.map((line) => line.kind === 'leads' && [line.node, line.term]),
    [[leader.id, leader.term]],
  );
});

test('a proposal is committed, and every node comes to hold it', () => {
  const stage = stageOf(2);
  const leader = elect(stage);
  stage.propose(leader.id, 'x', '1');
  until(stage, () => hasTold(stage, 'committed'));
  const entry = leaderOf(stage)?.log.at(-1);
  assert.deepEqual([entry?.text, entry?.isCommitted], ['x = 1', true]);
  until(stage, () => stage.view().nodes.every(({ pairs }) => pairs[0]?.[1] === '1'));
});

test('a follower passes a proposal on', () => {
  const stage = stageOf(3);
  const leader = elect(stage);
  const follower = stage.view().nodes.find(({ id, leader: known }) => {
    return id !== leader.id && known === leader.id;
  });
  assert.ok(follower !== undefined);
  stage.propose(follower.id, 'y', '2');
  until(stage, () => hasTold(stage, 'committed'));
});

test('a killed leader is replaced in a higher term; restarted, it follows with all entries', () => {
  const stage = stageOf(4);
  const first = elect(stage);
  stage.propose(first.id, 'x', '1');
  until(stage, () => hasTold(stage, 'committed'));
  stage.kill(first.id);
  const second = elect(stage);
  assert.ok(second.id !== first.id && second.term > first.term);
  assert.ok(second.log.some(({ text, isCommitted }) => text === 'x = 1' && isCommitted));
  stage.restart(first.id);
  const back = (): NodeView | undefined => stage.view().nodes.find(({ id }) => id === first.id);
  until(stage, () => back()?.term === second.term && back()?.pairs.length === 1);
  assert.equal(back()?.role, 'follower');
});

test('without a majority nothing is committed, and nobody says that it was', () => {
  const stage = stageOf(5);
  const leader = elect(stage);
  const others = stage.view().nodes.filter(({ id }) => id !== leader.id);
  for (const { id } of others.slice(0, 3)) stage.kill(id);
  stage.propose(leader.id, 'x', '1');
  stage.advance(30_000);
  assert.equal(hasTold(stage, 'committed'), false);
  assert.equal(leaderOf(stage), undefined, 'a leader that hears no majority steps down');
  stage.heal();
  elect(stage);
});

test('a region that is cut off loses its messages, and is heard again once it has joined', () => {
  const stage = stageOf(6);
  const leader = elect(stage);
  stage.setCutOff('c', true);
  assert.deepEqual(stage.view().cuts, [
    [1, 5],
    [2, 5],
    [3, 5],
    [4, 5],
  ]);
  stage.propose(leader.id === 5 ? 1 : leader.id, 'x', '1');
  until(stage, () => stage.view().nodes.filter(({ pairs }) => pairs.length === 1).length === 4);
  const { nodes, lostCount } = stage.view();
  assert.ok(lostCount > 0);
  assert.deepEqual(nodes[4]?.pairs, []);
  stage.setCutOff('c', false);
  assert.deepEqual(stage.view().cuts, []);
  until(stage, () => stage.view().nodes[4]?.pairs.length === 1);
});

test('messages are seen on their way, each goes forward, and a step ends at an arrival', () => {
  const stage = stageOf(7);
  until(stage, () => stage.view().flights.length > 0);
  const before = stage.view();
  const flight = before.flights[0];
  assert.ok(flight !== undefined && flight.progress < 1);
  stage.advance(0.2);
  const later = stage.view().flights.find(({ id }) => id === flight.id);
  assert.ok(later === undefined || later.progress > flight.progress);
  const ids = new Set(stage.view().flights.map(({ id }) => id));
  stage.step();
  const left = new Set(stage.view().flights.map(({ id }) => id));
  assert.ok([...ids].some((id) => !left.has(id)));
});

test('one seed gives one run', () => {
  const views = [8, 8, 9].map((seed) => {
    const stage = stageOf(seed);
    stage.advance(10_000);
    return JSON.stringify(stage.view());
  });
  assert.equal(views[0], views[1]);
  assert.notEqual(views[0], views[2]);
});
