import { deepEqual, equal, ok } from 'node:assert/strict';
import { open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { endWorlds, fail, has, put, until, World } from './sideTestkit.ts';

after(endWorlds);

test('three new nodes found a group by themselves, and all of it is there after a restart', async () => {
  const world = new World('found', ['ap', 'eu', 'us']);
  await world.startAll();
  for (const [region, side] of world.sides) ok((await put(side, `from-${region}`)).ok, region);
  const cluster = world.side('ap').cluster;
  await until(() => [...world.sides.values()].every((side) => has(side, 'from-us')), 'all have it');
  await world.stopAll();
  await world.startAll();
  await until(() => [...world.sides.values()].every((side) => has(side, 'from-us')), 'again');
  deepEqual(
    [...world.sides.values()].map((side) => side.cluster),
    [cluster, cluster, cluster],
  );
  await world.stopAll();
});

test('a node alone is its own group', async () => {
  const world = new World('alone', ['eu']);
  await world.startAll();
  ok((await put(world.side('eu'), 'k')).ok);
  await world.stopAll();
});

test('a node that lost its disk comes back under a new number, whole, and the old one goes', async () => {
  const world = new World('lost', ['ap', 'eu', 'us']);
  await world.startAll();
  ok((await put(world.side('eu'), 'kept')).ok);
  await world.stop('us');
  await rm(world.folder('us'), { recursive: true });
  await until(() => world.leader() !== null, 'a leader of the rest');
  await world.start('us');
  await until(() => has(world.side('us'), 'kept'), 'the new disk is filled');
  const members = (): readonly (readonly [number, string])[] => {
    const conf = world.side('ap').group?.status().conf;
    return (
      conf?.voters.map((id) => [id, conf.members.find((one) => one.id === id)?.region ?? '']) ?? []
    );
  };
  const expected = [
    [1, 'ap'],
    [2, 'eu'],
    [4, 'us'],
  ];
  await until(() => JSON.stringify(members()) === JSON.stringify(expected), 'the members settle');
  ok((await put(world.side('us'), 'after')).ok);
  await world.stopAll();
});

test('a damaged log is put aside, kept, and its node is filled again under a new number', async () => {
  const world = new World('damaged', ['ap', 'eu', 'us']);
  await world.startAll();
  for (const key of ['a', 'b', 'c']) {
    const told = await put(world.side('ap'), key);
    ok(
      told.ok,
      JSON.stringify([told, [...world.sides.values()].map(({ group }) => group?.status())]),
    );
  }
  await until(() => has(world.side('eu'), 'c'), 'eu has it');
  await new Promise((resolve) => setTimeout(resolve, 1_200)); // It settles: the end is known as such.
  await world.stop('eu');
  const folder = join(world.folder('eu'), 'log');
  const segment = (await readdir(folder)).filter((name) => name.endsWith('.log')).toSorted()[0];
  const handle = await open(join(folder, segment ?? ''), 'r+');
  await handle.write(Buffer.from([0xff, 0xff, 0xff]), 0, 3, 700);
  await handle.close();
  await world.start('eu');
  await until(() => has(world.side('eu'), 'c'), 'eu is filled again');
  const names = await readdir(world.folder('eu'));
  equal(names.filter((name) => name.startsWith('aside-')).length, 1);
  await world.stopAll();
});

test('nothing is founded while one of three is silent', async () => {
  const world = new World('silent', ['ap', 'eu', 'us']);
  await Promise.all([world.start('ap'), world.start('eu')]);
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  deepEqual(
    [...world.sides.values()].map(({ state }) => state.kind),
    ['seeking', 'seeking'],
  );
  await world.start('us');
  await until(() => world.leader() !== null, 'a leader');
  await world.stopAll();
});

test('an operation that would leave no quorum is refused, whoever is asked', async () => {
  const world = new World('operate', ['ap', 'eu', 'us']);
  await world.startAll();
  const leader = world.leader() ?? fail('there is one');
  const [one = '', two = ''] = ['ap', 'eu', 'us'].filter((region) => region !== leader);
  const idOf = (region: string): number => ['ap', 'eu', 'us'].indexOf(region) + 1;
  await world.stop(one);
  // The leader notices within an election time-out.
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const refused = await world.side(two).operate({ kind: 'remove', id: idOf(two), force: false });
  equal(refused.error?.code, 'would-lose-quorum', JSON.stringify(refused));
  const removed = await world.side(two).operate({ kind: 'remove', id: idOf(one), force: false });
  equal(removed.isDone, true, JSON.stringify(removed));
  const moved = await world.side(two).operate({ kind: 'transfer', id: idOf(two) });
  equal(moved.isDone, true, JSON.stringify(moved));
  equal(world.leader(), two);
  await world.stopAll();
});
