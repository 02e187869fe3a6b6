import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { after, test } from 'node:test';

import { serveRoutes } from '../../io/admin/route.ts';
import { controlHandlers } from './controlAdmin.ts';
import { CONTROL_ROUTES } from './controlRoutes.ts';
import { endWorlds, fail, put, until, World } from './sideTestkit.ts';

after(endWorlds);

const ALL = ['ap', 'eu', 'us'] as const;
const CALLER = { who: 'key:ann', role: 'admin', from: 'here', authorization: null } as const;

/** Asks the admin API of one node: the code and the message of a refusal, or `done`, or what would be. */
async function ask(world: World, name: string, body: object): Promise<readonly string[]> {
  const desk = { side: world.side(name), book: world.book(name), name, firstOf: () => null };
  const served = serveRoutes(
    CONTROL_ROUTES,
    controlHandlers(desk, () => 0, { places: ALL, isConfigured: () => false }),
  );
  const route = 'region' in body ? CONTROL_ROUTES.moveLeader : CONTROL_ROUTES.changeMembers;
  const row = served.find((one) => one.route === route) ?? fail('it is a row of the table');
  const answer = await row.answer(new URLSearchParams(), body, CALLER);
  if (!answer.ok) return [answer.error.code, answer.error.message];
  const { value } = answer;
  const isWould = typeof value === 'object' && value !== null && 'would' in value;
  return isWould ? ['would', String(value.would)] : ['done', ''];
}

/** All know who leads, and the leader takes what it is asked for. */
async function started(name: string, names: readonly string[] = ALL): Promise<World> {
  const world = new World(name, names);
  await world.startAll();
  for (const one of names) ok((await put(world.side(one), one)).ok);
  return world;
}

function idOf(world: World, name: string): number {
  const { members } = world.side(name).group?.status().conf ?? fail('it is in the group');
  return members.find(({ region }) => region === name)?.id ?? fail('it is a member');
}

function leaderOf(world: World): string {
  return world.leader() ?? fail('there is one');
}

function othersOf(world: World): readonly [string, string] {
  const [one = '', two = ''] = ALL.filter((name) => name !== world.leader());
  return [one, two];
}

test('no member takes itself out: another one is asked, and has the record of it', async () => {
  const world = await started('removeSelf');
  const gone = leaderOf(world);
  const [asked, third] = othersOf(world);
  for (const name of [gone, asked]) {
    for (const dryRun of [true, false]) {
      const body = { action: 'remove', id: idOf(world, name), dryRun, force: true };
      const [code, message = ''] = await ask(world, name, body);
      equal(code, 'is_self');
      match(message, /ask another node, (ap|eu|us) for one/);
    }
  }
  const removal = { action: 'remove', id: idOf(world, gone) };
  deepEqual(await ask(world, asked, removal), ['done', '']);
  const what = `remove member ${removal.id} (${gone})`;
  const records = () => world.side(third).engine.view.audit(1, 100);
  await until(() => records().some((one) => one.what === what), 'the record of it');
  await world.stopAll();
});

test('one that is alone is not taken out either: it is the last voter', async () => {
  const world = await started('removeLast', ['ap']);
  const removal = { action: 'remove', id: 1, force: true };
  equal((await ask(world, 'ap', removal))[0], 'last_voter');
  await world.stopAll();
});

test('a dry run refuses what would be refused, whoever is asked', async () => {
  const world = await started('dryRun');
  const leader = leaderOf(world);
  const [one, two] = othersOf(world);
  const [removed, heard] = [idOf(world, one), idOf(world, two)];
  const dry = (name: string, body: object) => ask(world, name, { dryRun: true, ...body });
  for (const name of [leader, two]) {
    for (const action of ['remove', 'demote', 'promote']) {
      equal((await dry(name, { action, id: 99 }))[0], 'unknown_member', `${action} at ${name}`);
    }
    equal((await dry(name, { action: 'promote', id: removed }))[0], 'not_learner_first');
    deepEqual(await dry(name, { action: 'remove', id: removed }), [
      'would',
      `remove member ${removed} (${one})`,
    ]);
    deepEqual(await dry(name, { region: two }), ['would', `leadership goes to ${two}`]);
  }
  await world.stop(one);
  for (const name of [leader, two]) {
    const other = name === leader ? heard : idOf(world, leader);
    const refused = async (): Promise<string> =>
      (await dry(name, { action: 'demote', id: other }))[0] ?? '';
    let code = await refused();
    for (let tries = 0; code !== 'would_lose_quorum' && tries < 40; tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      code = await refused();
    }
    equal(code, 'would_lose_quorum', name);
    equal((await dry(name, { action: 'demote', id: other, force: true }))[0], 'would');
  }
  equal(world.side(two).group?.status().conf.voters.length, 3, 'nothing was changed');
  await world.stopAll();
});

test('a dry run that the leader cannot be asked about says so', async () => {
  const world = await started('dryRunAlone');
  const [one, two] = othersOf(world);
  const id = idOf(world, two);
  world.cut.add(leaderOf(world));
  const answer = await ask(world, one, { action: 'remove', id, dryRun: true });
  deepEqual(answer, [
    'would',
    `remove member ${id} (${two}); the leader was not asked: it may refuse`,
  ]);
  await world.stopAll();
});
