import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { after, test } from 'node:test';

import { encodeUtf8 } from '../../base/bytes.ts';
import { clusterFeatureLevel, FEATURE_LEVEL_MAX } from '../../replica/control/features.ts';
import { ADMIT_PATH, BELOW_LEVEL } from './peerCalls.ts';
import type { ControlSide } from './side.ts';
import { endWorlds, fail, has, put, until, World } from './sideTestkit.ts';

after(endWorlds);

function levels(world: World): readonly number[] {
  return [...world.sides.values()].map((side) => clusterFeatureLevel(side.engine.view));
}

function isNewest(level: number): boolean {
  return level === FEATURE_LEVEL_MAX;
}

function startAt(world: World, name: string, levelMax: number): Promise<ControlSide> {
  return world.start(name, undefined, levelMax);
}

function detailOf({ state }: ControlSide): string {
  return 'detail' in state ? state.detail : state.kind;
}

test('the level rises by itself once the last program of three supports it', async () => {
  const world = new World('rise', ['ap', 'eu', 'us']);
  await Promise.all([startAt(world, 'ap', 2), startAt(world, 'eu', 2), startAt(world, 'us', 1)]);
  await until(() => world.leader() !== null, 'a leader');
  await put(world.side('ap'), 'k');
  await new Promise((resolve) => setTimeout(resolve, 700)); // More than the leader waits.
  deepEqual(levels(world), [1, 1, 1]);
  await world.stop('us');
  await new Promise((resolve) => setTimeout(resolve, 700));
  deepEqual(levels(world), [1, 1], 'not while one is away');
  await startAt(world, 'us', 2);
  await until(() => levels(world).every((level) => level === 2), 'all are at level 2');
  deepEqual(
    [...world.sides.values()].map(({ group }) => group?.status().level),
    [2, 2, 2],
  );
  await world.stopAll();
});

test('FL3 an older program takes no part in a cluster above it, and says why', async () => {
  const world = new World('below', ['ap', 'eu', 'us']);
  await world.startAll();
  ok((await put(world.side('ap'), 'before')).ok);
  await until(() => levels(world).every(isNewest), 'all are at the newest level');
  await until(() => has(world.side('us'), 'before'), 'us has it');
  await world.stop('us');
  const old = await startAt(world, 'us', 1);
  equal(old.state.kind, 'failed');
  equal(detailOf(old).includes(`at feature level ${FEATURE_LEVEL_MAX}, and this program`), true);
  equal((await put(world.side('eu'), 'after')).ok, true, 'the others go on');
  equal(old.group, null);
  await world.stop('us');
  // With its disk lost it is given no number, so that it cannot hold anything back.
  await rm(world.folder('us'), { recursive: true });
  const empty = await startAt(world, 'us', 1);
  await until(() => detailOf(empty).includes('feature level'), 'it is refused');
  match(detailOf(empty), /feature level is above 1, what this program supports/);
  equal(world.side('ap').group?.status().conf.members.length, 3);
  await world.stop('us');
  const again = await world.start('us');
  await until(() => has(again, 'after'), 'a newer program is let in');
  await world.stopAll();
});

test('FL3 the leader lets no older program in, whoever passes it on', async () => {
  const world = new World('passedOn', ['ap', 'eu', 'us']);
  await world.startAll();
  await until(() => levels(world).every(isNewest), 'all are at the newest level');
  const leader = world.leader() ?? fail('there is one');
  const passed = { incarnation: 9, priority: 1, isWitness: false, name: 'sa' };
  const peer = leader === 'ap' ? 'eu' : 'ap';
  const asked = (level: number): Promise<number> =>
    new Promise((resolve) => {
      world.side(leader).handle(
        {
          method: 'POST',
          path: ADMIT_PATH,
          query: `level=${level}`,
          headers: [],
          body: encodeUtf8(JSON.stringify(passed)),
          keyHash: null,
          receivedMs: 0,
          remote: peer,
          forwardedFrom: peer,
          peer,
        },
        { head: resolve, write: () => true, end: () => {}, abort: () => resolve(0) },
      );
    });
  equal(await asked(1), BELOW_LEVEL);
  equal(world.side(leader).group?.status().conf.members.length, 3);
  equal(await asked(FEATURE_LEVEL_MAX), 200);
  await world.stopAll();
});

test('FL3 an older program goes on by the state before the level went past it', async () => {
  const world = new World('kept', ['eu']);
  await startAt(world, 'eu', 1);
  await until(() => world.leader() !== null, 'a leader');
  ok((await put(world.side('eu'), 'before')).ok);
  await world.stop('eu');
  await startAt(world, 'eu', 2);
  await until(() => levels(world).every((level) => level === 2), 'it is at level 2');
  ok((await put(world.side('eu'), 'after')).ok);
  await world.stop('eu');
  const old = await startAt(world, 'eu', 1);
  equal(old.state.kind, 'failed');
  deepEqual([has(old, 'before'), has(old, 'after')], [true, false]);
  await world.stopAll();
});
