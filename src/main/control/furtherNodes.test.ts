import { deepEqual, equal, ok } from 'node:assert/strict';
import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { after, test } from 'node:test';

import { nameOf } from '../../raft/membership.ts';
import { captureBackup } from '../../replica/control/backup.ts';
import { clusterFeatureLevel, FEATURE_LEVEL_MAX } from '../../replica/control/features.ts';
import { putPeer } from '../../replica/control/peers.ts';
import { endWorlds, fail, has, put, until, World } from './sideTestkit.ts';
import { recoverFrom, rejoin, restoreInto } from './offline.ts';
import type { ControlSide } from './side.ts';

after(endWorlds);

const FIRST = ['ap', 'eu', 'us'] as const;
const FURTHER = 'eu/eu-2';

/** The members as one node knows them: `ID NAME`, voters with a star. */
function members(side: ControlSide): readonly string[] {
  const conf = side.group?.status().conf;
  return (conf?.members ?? []).map((member) => {
    const star = conf?.voters.includes(member.id) === true ? '*' : '';
    return `${member.id} ${nameOf(member)}${star}`;
  });
}

async function settles(world: World, name: string, expected: readonly string[]): Promise<void> {
  const told = (): string => members(world.side(name)).join(', ');
  await until(() => told() === expected.join(', '), `${expected.join(', ')} at ${name}`).catch(() =>
    equal(told(), expected.join(', ')),
  );
}

/** Hands leadership over, again and again until it is so: a term may have begun just now. */
async function leads(world: World, name: string, id: number): Promise<void> {
  for (let tries = 0; tries < 40 && world.leader() !== name; tries += 1) {
    await world.side(name).operate({ kind: 'transfer', id });
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  equal(world.leader(), name);
}

async function withFurther(name: string, takeOverMs?: number): Promise<World> {
  const world = new World(name, [...FIRST, FURTHER], takeOverMs);
  await world.startAll();
  await settles(world, FURTHER, ['1 ap*', '2 eu*', '3 us*', '4 eu/eu-2']);
  return world;
}

test('a further node joins as a learner, has what all have, and changes it as the others do', async () => {
  const world = await withFurther('further');
  ok((await put(world.side('us'), 'there')).ok);
  await until(() => has(world.side(FURTHER), 'there'), 'it is here');
  ok((await put(world.side(FURTHER), 'here')).ok);
  await until(() => has(world.side('ap'), 'here'), 'it is there');
  await world.stopAll();
});

test('a further node that lost its disk comes back whole under a new number, without a vote', async () => {
  const world = await withFurther('furtherLost');
  ok((await put(world.side('eu'), 'kept')).ok);
  await world.stop(FURTHER);
  await rm(world.folder(FURTHER), { recursive: true });
  await world.start(FURTHER);
  await until(() => has(world.side(FURTHER), 'kept'), 'the new disk is filled');
  await settles(world, 'ap', ['1 ap*', '2 eu*', '3 us*', '5 eu/eu-2']);
  await world.stopAll();
});

test('M4: the vote of a region goes to its other node in one step, also that of the leader', async () => {
  const world = await withFurther('replace');
  const eu = world.side('eu');
  await leads(world, 'eu', 2);
  ok((await put(eu, 'before')).ok, 'the leader is settled');
  const refused = await world.side('us').operate({ kind: 'promote', id: 4 });
  equal(refused.error?.code, 'region-votes');
  const replace = () => world.side('us').operate({ kind: 'promote', id: 4, replace: true });
  // A leader that is new has yet to hear how far the others are.
  let replaced = await replace();
  for (let tries = 0; replaced.error?.code === 'not-caught-up' && tries < 50; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    replaced = await replace();
  }
  ok(replaced.isDone, JSON.stringify(replaced));
  await settles(world, 'ap', ['1 ap*', '2 eu', '3 us*', '4 eu/eu-2*']);
  await until(() => world.leader() !== null && world.leader() !== 'eu', 'another leader');
  ok((await put(eu, 'after')).ok);
  await until(() => has(world.side(FURTHER), 'after'), 'the new voter has it');
  // It loses its disk: the vote is its own, and comes back to it.
  await world.stop(FURTHER);
  await rm(world.folder(FURTHER), { recursive: true });
  await world.start(FURTHER);
  await settles(world, 'ap', ['1 ap*', '2 eu', '3 us*', '5 eu/eu-2*']);
  await world.stopAll();
});

test('M5: a silent voter is replaced by the other node of its region; back again it learns', async () => {
  const world = await withFurther('takeOver', 1_000);
  await leads(world, 'us', 3);
  await world.stop('eu');
  await settles(world, 'ap', ['1 ap*', '2 eu', '3 us*', '4 eu/eu-2*']);
  const what = (): readonly string[] =>
    world
      .side('ap')
      .engine.view.audit(1, 100)
      .map((record) => record.what);
  const expected = 'member 4 (eu/eu-2) takes the vote of member 2 (eu), silent for 1 s';
  await until(() => what().includes(expected), 'the audit record');
  ok((await put(world.side(FURTHER), 'meanwhile')).ok);
  await world.start('eu');
  await until(() => has(world.side('eu'), 'meanwhile'), 'it is whole again');
  deepEqual(members(world.side('eu')), ['1 ap*', '2 eu', '3 us*', '4 eu/eu-2*']);
  await world.stopAll();
});

test('a new region whose file names one node joins through it, and learns where all others are', async () => {
  const world = new World('newRegion', FIRST);
  await world.startAll();
  await leads(world, 'us', 3);
  const added = await new Promise<boolean>((resolve) => {
    const place = { peer: 'sa', host: 'h', port: 1 };
    const audit = { who: 'test', from: 'here', what: 'add', why: '' };
    const before = { place: null, modRevision: 0 };
    const { engine } = world.side('eu');
    engine.transact(putPeer(place, before, audit), (told) => resolve(told.ok));
  });
  ok(added);
  // It asks one that does not lead, and knows nobody else.
  await world.start('sa', ['ap']);
  await settles(world, 'sa', ['1 ap*', '2 eu*', '3 us*', '4 sa']);
  ok((await put(world.side('sa'), 'from-sa')).ok);
  await world.stop('sa');
  // It has been told where the others are: the one of its file need not be there.
  world.cut.add('ap');
  await world.start('sa', ['ap']);
  ok((await put(world.side('sa'), 'again')).ok);
  await until(() => has(world.side('us'), 'again'), 'the others have it');
  await world.stopAll();
});

/** `sa` lists `ap` only, and was told where the others are; they list it, and `eu` lists more. */
async function withTold(name: string): Promise<World> {
  const world = new World(name, FIRST);
  await world.startAll();
  await leads(world, 'us', 3);
  for (const first of FIRST) {
    await world.stop(first);
    await world.start(first, [...FIRST, 'sa', ...(first === 'eu' ? ['zz'] : [])]);
  }
  await world.start('sa', ['ap']);
  await settles(world, 'sa', ['1 ap*', '2 eu*', '3 us*', '4 sa']);
  deepEqual(world.book('sa').names, ['ap', 'eu', 'us']);
  return world;
}

test('PB2: a node that lives by what it was told keeps its way to the one that it asks again', async () => {
  const world = await withTold('askedAgain');
  world.side('sa').linkChanged('eu', true);
  await until(() => world.book('sa').names.includes('zz'), 'it was told');
  deepEqual(world.book('sa').names, ['ap', 'eu', 'us', 'zz']);
  await world.stopAll();
});

test('a survivor that lives by what it was told knows where others are as a new cluster, too', async () => {
  const doer = { who: 'ops', from: 'here', why: 'a fire', wallMs: 1_765_000_000_000 };
  const world = await withTold('survivor');
  await world.stopAll();
  const told = await recoverFrom(world.folder('sa'), doer, false);
  ok(told.ok, JSON.stringify(told));
  await world.start('sa', ['ap']);
  deepEqual(world.book('sa').names, ['ap', 'eu', 'us']);
  await world.stopAll();
});

test('F1: nothing is founded by nodes whose files name different regions', async () => {
  const world = new World('differ', FIRST);
  await Promise.all([world.start('ap', ['ap', 'eu']), world.start('eu')]);
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  deepEqual(
    [...world.sides.values()].map(({ state }) => state.kind),
    ['seeking', 'seeking'],
  );
  const { state } = world.sides.get('ap') ?? fail('it runs');
  equal('detail' in state ? state.detail : '', 'eu did not take the founding');
  await world.stopAll();
});

test('a further node that is left alone goes on by force; the first one of its region learns', async () => {
  const doer = { who: 'ops', from: 'here', why: 'a fire', wallMs: 1_765_000_000_000 };
  const world = await withFurther('furtherAlone');
  ok((await put(world.side('ap'), 'kept')).ok);
  await until(() => has(world.side(FURTHER), 'kept'), 'it has it');
  await world.stopAll();
  const told = await recoverFrom(world.folder(FURTHER), doer, false);
  ok(told.ok, JSON.stringify(told));
  deepEqual([told.value.region, told.value.id], [FURTHER, 4]);
  await world.start(FURTHER);
  await until(() => world.leader() === FURTHER, 'it leads alone');
  for (const name of ['eu', 'ap']) {
    ok((await rejoin(world.folder(name), doer.wallMs, false)).ok);
    await world.start(name);
    await until(() => has(world.side(name), 'kept'), `${name} is filled`);
  }
  await settles(world, FURTHER, ['4 eu/eu-2*', '5 eu', '6 ap*']);
  await world.stopAll();
});

test('a backup is restored into a further node as well, and a folder is of one name only', async () => {
  const doer = { who: 'ops', from: 'here', why: '', wallMs: 1_765_000_000_000 };
  const old = new World('restoreFrom', ['eu']);
  await old.startAll();
  ok((await put(old.side('eu'), 'kept')).ok);
  const { view } = old.side('eu').engine;
  await until(() => clusterFeatureLevel(view) === FEATURE_LEVEL_MAX, 'further nodes are known');
  const about = { cluster: 'old', isConfirmed: true, madeMs: 1, product: 'test', engine: 'raft' };
  const backup = captureBackup(view, about);
  await old.stopAll();
  const world = new World('restoreInto', [FURTHER]);
  const place = { name: FURTHER, priority: 1, clusterPrefix: 'test' };
  ok((await restoreInto(world.folder(FURTHER), backup, place, doer, false)).ok);
  await world.startAll();
  ok(has(world.side(FURTHER), 'kept'));
  deepEqual(members(world.side(FURTHER)), ['1 eu/eu-2*']);
  await world.stopAll();
  // The same folder, and a file that says that the node is the first one.
  const renamed = new World('furtherRenamed', ['eu']);
  await mkdir(dirname(renamed.folder('eu')), { recursive: true });
  await rename(world.folder(FURTHER), renamed.folder('eu'));
  const { state } = await renamed.start('eu');
  equal(state.kind, 'failed');
  ok('detail' in state && state.detail.includes('member 1, eu/eu-2, and this node is eu'));
  await renamed.stopAll();
});
