import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { decideFounding, type Founding, type Hello } from './founding.ts';

type New = Extract<Hello, { readonly kind: 'new' }>;

function fresh(incarnation: number): New {
  return { kind: 'new', incarnation, priority: 1, isWitness: false, mayFound: true };
}

const THREE = [
  ['ap', fresh(11)],
  ['eu', fresh(22)],
  ['us', fresh(33)],
] as const;

/** What the node `name` hears, with some answers replaced. */
function heard(name: string, other: Readonly<Record<string, Hello | null>> = {}) {
  const all = new Map<string, Hello | null>(THREE);
  for (const [name, hello] of Object.entries(other)) all.set(name, hello);
  all.delete(name);
  return all;
}

function founded(): Founding {
  const decision = decideFounding('ap', fresh(11), heard('ap'));
  if (decision.kind !== 'found') throw new Error(decision.kind);
  return { cluster: 'c-1', members: decision.members };
}

test('the first region by name founds, once all have answered that they are new', () => {
  deepEqual(
    founded().members.map(({ id, region, incarnation }) => [id, region, incarnation]),
    [
      [1, 'ap', 11],
      [2, 'eu', 22],
      [3, 'us', 33],
    ],
  );
  equal(decideFounding('eu', fresh(22), heard('eu')).kind, 'wait');
  equal(decideFounding('us', fresh(33), heard('us')).kind, 'wait');
});

test('nobody founds while a region is silent: it may have the log (F1)', () => {
  const decision = decideFounding('ap', fresh(11), heard('ap', { us: null }));
  deepEqual(decision, { kind: 'wait', detail: 'us: silent' });
});

test('a founder that died half-way takes what others already took', () => {
  const founding = founded();
  const eu: Hello = { kind: 'member', cluster: 'c-1', founding };
  deepEqual(decideFounding('ap', fresh(11), heard('ap', { eu, us: null })), {
    kind: 'take',
    founding,
  });
});

test('whoever lost its disk joins under a new number, even while the founding is still known (F3)', () => {
  const eu: Hello = { kind: 'member', cluster: 'c-1', founding: founded() };
  const expected = { kind: 'join', cluster: 'c-1', peers: ['eu'] };
  deepEqual(decideFounding('ap', fresh(99), heard('ap', { eu, us: null })), expected);
});

test('a group that has moved on is joined', () => {
  const member: Hello = { kind: 'member', cluster: 'c-1', founding: null };
  const decision = decideFounding('ap', fresh(11), heard('ap', { eu: member, us: member }));
  deepEqual(decision, { kind: 'join', cluster: 'c-1', peers: ['eu', 'us'] });
});

test('two clusters behind one configuration are told, not mixed', () => {
  const one: Hello = { kind: 'member', cluster: 'c-1', founding: null };
  const two: Hello = { kind: 'member', cluster: 'c-2', founding: null };
  const decision = decideFounding('ap', fresh(11), heard('ap', { eu: one, us: two }));
  deepEqual(decision, { kind: 'wait', detail: 'eu and us are of different clusters' });
});

test('a node alone founds its group of one', () => {
  const decision = decideFounding('eu', fresh(5), new Map());
  equal(decision.kind, 'found');
});

test('whoever had a log founds nothing: no empty group takes the place of a lost one (F4)', () => {
  const lost = { ...fresh(22), mayFound: false };
  const decision = decideFounding('ap', fresh(11), heard('ap', { eu: lost }));
  deepEqual(decision.kind, 'wait');
  const own = { ...fresh(11), mayFound: false };
  deepEqual(decideFounding('ap', own, heard('ap')).kind, 'wait');
});

test('further nodes take no part in a founding, whatever they say, and found nothing', () => {
  const expected = founded().members;
  for (const hello of [null, fresh(44), { ...fresh(44), mayFound: false }]) {
    const decision = decideFounding('ap', fresh(11), heard('ap', { 'ap/a-2': hello }));
    deepEqual(decision, { kind: 'found', members: expected });
  }
  const further = decideFounding('ap/a-2', fresh(44), new Map(THREE));
  deepEqual(further, { kind: 'wait', detail: 'nobody has a group to join' });
  equal(decideFounding('ap/a-2', fresh(44), new Map()).kind, 'wait');
});

test('a further node joins what there is, also while the group is being founded', () => {
  for (const founding of [null, founded()]) {
    const member: Hello = { kind: 'member', cluster: 'c-1', founding };
    const decision = decideFounding('ap/a-2', fresh(11), heard('', { eu: member, us: null }));
    deepEqual(decision, { kind: 'join', cluster: 'c-1', peers: ['eu'] });
  }
});

test('while only a further node has the log, first nodes join it and found nothing (F4)', () => {
  const member: Hello = { kind: 'member', cluster: 'c-1', founding: null };
  const decision = decideFounding('ap', fresh(11), heard('ap', { 'us/u-2': member }));
  deepEqual(decision, { kind: 'join', cluster: 'c-1', peers: ['us/u-2'] });
});
