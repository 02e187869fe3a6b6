import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';

import { captureBackup, encodeBackup, type Backup } from '../../replica/control/backup.ts';
import { readBackupFile, sha256 } from './backupFile.ts';
import { readMemberFile } from './memberFile.ts';
import { recoverFrom, rejoin, restoreInto } from './offline.ts';
import { endWorlds, fail, has, put, until, World } from './sideTestkit.ts';

const DOER = { who: 'ann', from: 'desk', why: 'a bad day', wallMs: 1_700_000_000_000 };
const ALL = ['ap', 'eu', 'us'] as const;

after(endWorlds);

function backupOf(world: World, region: string): Backup {
  const { engine, cluster } = world.side(region);
  const about = { isConfirmed: true, madeMs: 1, product: 'banyan', engine: 'raft' };
  return captureBackup(engine.view, { cluster: cluster ?? '', ...about });
}

const auditOf = (world: World, region: string): readonly string[] =>
  world
    .side(region)
    .engine.view.audit(1, 1_000)
    .map(({ what }) => what)
    .filter((what) => !what.startsWith('feature level'));

test('a backup is restored into new nodes: one begins, the others join and are filled', async () => {
  const old = new World('backup-old', ALL);
  await old.startAll();
  for (const key of ['a', 'b']) ok((await put(old.side('eu'), key)).ok);
  const backup = backupOf(old, 'eu');
  const cluster = old.side('eu').cluster;
  await old.stopAll();
  const world = new World('backup-new', ALL);
  const place = { name: 'eu', priority: 1, clusterPrefix: 'test' };
  const dry = await restoreInto(world.folder('eu'), backup, place, DOER, true);
  ok(dry.ok, JSON.stringify(dry));
  equal(dry.value.revision, backup.about.revision + 1);
  deepEqual(await readdir(world.folder('eu')).catch(() => 'nothing'), 'nothing', 'O3');
  ok((await restoreInto(world.folder('eu'), backup, place, DOER, false)).ok);
  await world.startAll();
  await until(() => ALL.every((region) => has(world.side(region), 'b')), 'all are filled');
  ok(world.side('us').cluster !== cluster, 'O2: it has a name of its own');
  deepEqual(auditOf(world, 'us'), ['put', 'put', `restored from a backup of ${cluster}`]);
  ok((await put(world.side('us'), 'c')).ok);
  await until(() => has(world.side('ap'), 'c'), 'it goes on');
  const again = await restoreInto(world.folder('eu'), backup, place, DOER, false);
  match(again.ok ? '' : again.error, /holds log, member\.json/, 'O1');
  await world.stopAll();
});

test('a member of the cluster before is refused by a restored one, and refuses it', async () => {
  const world = new World('strangers', ALL);
  await world.startAll();
  ok((await put(world.side('ap'), 'before')).ok);
  const backup = backupOf(world, 'ap');
  const idOf = (region: string): number => ALL.findIndex((one) => one === region) + 1;
  await world.stopAll();
  for (const region of ['ap', 'eu']) await rm(world.folder(region), { recursive: true });
  const place = { name: 'ap', priority: 1, clusterPrefix: 'test' };
  ok((await restoreInto(world.folder('ap'), backup, place, DOER, false)).ok);
  await world.start('ap');
  await world.start('us');
  await until(() => world.leader() === 'ap', 'the restored one leads alone');
  ok((await put(world.side('ap'), 'after')).ok);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  equal(has(world.side('us'), 'after'), false, 'the old member takes nothing');
  equal(world.side('us').group?.status().leader, 0);
  deepEqual(world.side('ap').group?.status().conf.voters, [1]);
  // What an old one would have its leader change is not changed here.
  const statuses: number[] = [];
  const remove = { kind: 'remove', id: idOf('ap'), force: true };
  world.side('ap').handle(
    {
      method: 'POST',
      path: '/group/operate',
      query: `cluster=${world.side('us').cluster}`,
      headers: [],
      body: Buffer.from(JSON.stringify(remove)),
      keyHash: null,
      receivedMs: 0,
      remote: 'us',
      forwardedFrom: 'us',
      peer: 'us',
    },
    { head: (status) => statuses.push(status), write: () => true, end() {}, abort() {} },
  );
  deepEqual(statuses, [409]);
  await world.stopAll();
});

test('one of three goes on alone by force; the others are refused until they join anew', async () => {
  const world = new World('recover', ALL);
  await world.startAll();
  for (const key of ['a', 'b']) ok((await put(world.side('us'), key)).ok);
  await until(() => ALL.every((region) => has(world.side(region), 'b')), 'all have it');
  const before = world.side('us').cluster ?? fail('it has a name');
  const running = await recoverFrom(world.folder('us'), DOER, true);
  match(running.ok ? '' : running.error, /stop it first/, 'O3');
  await world.stopAll();

  const names = await readdir(world.folder('us'));
  const dry = await recoverFrom(world.folder('us'), DOER, true);
  ok(dry.ok, JSON.stringify(dry));
  equal(dry.value.aside, null);
  deepEqual(dry.value.voters.map(({ region }) => region).toSorted(), [...ALL]);
  deepEqual(await readdir(world.folder('us')), names, 'O3');

  const done = await recoverFrom(world.folder('us'), DOER, false);
  ok(done.ok, JSON.stringify(done));
  await world.start('us');
  await until(() => world.leader() === 'us', 'it leads alone');
  ok(has(world.side('us'), 'b'));
  ok((await put(world.side('us'), 'alone')).ok);
  ok(auditOf(world, 'us').includes(`recovered by force from ${before} in us`));

  // A survivor with the old log comes back: it is no member, and takes nothing.
  await world.start('eu');
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  equal(world.side('eu').cluster, before);
  equal(has(world.side('eu'), 'alone'), false);
  deepEqual(world.side('us').group?.status().conf.voters, [3]);

  // Its log is put aside: it joins by itself, under a number that nobody had.
  await world.stop('eu');
  const anew = await rejoin(world.folder('eu'), DOER.wallMs, false);
  ok(anew.ok, JSON.stringify(anew));
  await world.start('eu');
  await until(() => has(world.side('eu'), 'alone'), 'it is filled');
  await until(() => world.side('us').group?.status().conf.voters.length === 2, 'it votes');
  deepEqual(world.side('us').group?.status().conf.voters, [3, 4]);
  await world.stopAll();
});

test('two old members that are back do not bring the old cluster to life beside the new one', async () => {
  const world = new World('majority', ALL);
  await world.startAll();
  ok((await put(world.side('us'), 'a')).ok);
  await until(() => has(world.side('us'), 'a'), 'us has it');
  await world.stopAll();
  ok((await recoverFrom(world.folder('us'), DOER, false)).ok);
  await Promise.all(ALL.map((region) => world.start(region)));
  await until(() => world.side('us').group?.status().role === 'leader', 'us leads its own');
  ok((await put(world.side('us'), 'new')).ok);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  // They are a majority of the old cluster: an operator must stop them. They never mix.
  equal(has(world.side('ap'), 'new'), false);
  equal(has(world.side('eu'), 'new'), false);
  ok(world.side('ap').cluster !== world.side('us').cluster);
  await world.stopAll();
});

test('a replacement that is broken off at any step keeps the node from starting, then is ended', async () => {
  const world = new World('broken-off', ['eu']);
  await world.startAll();
  ok((await put(world.side('eu'), 'kept')).ok);
  await world.stopAll();
  const folder = world.folder('eu');
  const done = await recoverFrom(folder, DOER, false);
  ok(done.ok, JSON.stringify(done));
  const file = await readMemberFile(folder);
  ok(file.ok && file.value !== null);
  // As after the last step but one: the note still stands.
  const note = JSON.stringify({ member: file.value, aside: 'aside-1' });
  await writeFile(join(folder, 'reborn.json'), note);
  match(await world.start('eu').then(String, String), /run that command again/);
  const ended = await recoverFrom(folder, DOER, false);
  match(ended.ok ? '' : ended.error, /is done now/);
  world.sides.clear();
  await world.startAll();
  ok(has(world.side('eu'), 'kept'));
  await world.stopAll();
});

test('a file that is no whole backup is named for what it is', async () => {
  const world = new World('files', ['eu']);
  await world.startAll();
  ok((await put(world.side('eu'), 'k')).ok);
  const bytes = Buffer.concat([...encodeBackup(backupOf(world, 'eu'), sha256())]);
  const file = join(world.folder('eu'), 'file');
  const told = async (content: Uint8Array): Promise<string> => {
    await writeFile(file, content);
    const read = await readBackupFile(file);
    return read.ok ? `ok ${read.value.backup.about.revision}` : read.error;
  };
  equal(await told(bytes), 'ok 1');
  match(await told(bytes.subarray(0, -1)), /ends in the middle, after \d+ bytes/);
  match(await told(Buffer.from('kind: List')), /no backup of Banyan/);
  const future = Buffer.from(bytes);
  future.writeUInt32LE(2, 8);
  match(await told(future), /version 2 of the format; this program reads version 1/);
  const damaged = Buffer.from(bytes);
  damaged.writeUInt8(damaged.readUInt8(40) ^ 1, 40);
  match(await told(damaged), /damaged at byte 12: a checksum/);
  match((await readBackupFile(join(file, 'nowhere'))).ok ? '' : 'refused', /refused/);
  await world.stopAll();
});
