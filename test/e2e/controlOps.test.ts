/**
 * Looking after the control group of three real regions by the command line: what may be lost, a
 * backup under load and a new cluster from it, a quorum that is lost for good, a disk that is lost.
 */

import assert from 'node:assert/strict';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import {
  banyan,
  controlCluster,
  makeKey,
  startAll,
  untilLed,
  untilWorks,
  type Place,
} from '../support/controlCluster.ts';
import { startFakeUpstream } from '../support/fakeUpstream.ts';
import { atEnd, cleanUp, tempDir, TEST_KEY, until } from '../support/node.ts';

const REGIONS = ['ap-northeast-1', 'eu-central-1', 'us-east-2'] as const;
const QUICK = { heartbeatMs: 50, electionMs: 500 };

async function threeRegions(): Promise<readonly [Place, Place, Place]> {
  const fake = await startFakeUpstream();
  atEnd(() => fake.close());
  const specs = REGIONS.map((region) => ({ region, target: `${fake.origin}/v1`, control: QUICK }));
  const [a, b, c] = await controlCluster(specs);
  assert.ok(a !== undefined && b !== undefined && c !== undefined);
  return [a, b, c];
}

/** `banyan status` against one node. */
async function status(place: Place): Promise<{ code: number | null; text: string }> {
  const { code, stdout, stderr } = await banyan(['status', '--server', place.adminUrl]);
  return { code, text: stdout + stderr };
}

/** Until the verdict of `banyan status` is this one; asked for without a process. */
function untilVerdict(place: Place, verdict: string, limitMs?: number): Promise<true> {
  const look = async () => (await place.admin('outlook')).json?.verdict === verdict || null;
  return until(`${place.region} says ${verdict}`, look, limitMs);
}

describe('banyan status', () => {
  after(cleanUp);
  let places: readonly [Place, Place, Place];

  before(async () => {
    places = await threeRegions();
    await startAll(places);
  });

  it('says yes with 0, no with 6, and without a quorum no with 7 and how old that is', async () => {
    const [a, b, c] = places;
    await untilVerdict(a, 'safe', 20_000);
    const all = await status(a);
    assert.equal(all.code, 0, all.text);
    assert.match(all.text, /^YES: any one region may be lost now/);
    assert.match(all.text, /3 of 3 voters are there and up to date; 2 are needed/);
    await c.end('SIGKILL');
    await untilLed([a, b]);
    // Who leads may have heard it just before it died.
    await untilVerdict(b, 'at-risk');
    const two = await status(b);
    assert.equal(two.code, 6, two.text);
    assert.match(two.text, /would stop without: ap-northeast-1, eu-central-1/);
    assert.match(two.text, /us-east-2 \(member 3\) does not answer/);
    await b.end('SIGKILL');
    await until('it knows no leader', async () => (await a.admin('leader')).json?.leader === null);
    const one = await status(a);
    assert.equal(one.code, 7, one.text);
    assert.match(one.text, /^NO: nothing can be changed now\. Requests are served/);
    assert.match(one.text, /last heard of a leader [\d.]+ m?s ago/);
    assert.match(one.text, /recover --force/);
    assert.equal(await a.models(TEST_KEY), 200);
    await b.start();
    await c.start();
    await untilLed(places);
  });
});

describe('backups', () => {
  after(cleanUp);
  it('one that is made under load is restored into three new regions; old members stay out', async () => {
    const old = await threeRegions();
    const [a, , c] = old;
    await startAll(old);
    const secret = await makeKey(old, 'shop');
    let made = 0;
    let isOver = false;
    const load = (async () => {
      while (!isOver) {
        await makeKey([c], `load-${made}`);
        made += 1;
      }
    })();
    await until('there is load', () => made >= 5);
    const file = join(await tempDir(), 'control.backup');
    const create = ['backup', 'create', file, '--server', a.adminUrl];
    const created = await banyan(create);
    assert.equal(created.code, 0, created.stderr);
    isOver = true;
    await load;
    const again = await banyan(create);
    assert.equal(again.code, 5, again.stderr);
    assert.match(again.stderr, /is there already; --force replaces it/);
    const verified = await banyan(['backup', 'verify', file, '-o', 'json']);
    assert.equal(verified.code, 0, verified.stderr);
    const about = JSON.parse(verified.stdout) as { keys: number; isConfirmed: boolean };
    assert.ok(about.isConfirmed && about.keys > 5, verified.stdout);

    // New folders, and the region that the old cluster had most of keeps its log.
    await Promise.all(old.map((place) => place.end()));
    for (const place of [old[0], old[1]]) await rm(place.dataDir, { recursive: true });
    const taken = await banyan(['backup', 'restore', file, '-c', c.configFile]);
    assert.equal(taken.code, 5, taken.stderr);
    assert.match(taken.stderr, /this node has a control state/);
    const dry = await banyan(['backup', 'restore', file, '-c', a.configFile, '--dry-run']);
    assert.equal(dry.code, 0, dry.stderr);
    assert.deepEqual(await readdir(a.dataDir).catch(() => []), []);
    const restored = await banyan(['backup', 'restore', file, '-c', a.configFile]);
    assert.equal(restored.code, 0, restored.stderr);
    await a.start();
    await old[1].start();
    await untilWorks([a, old[1]], secret);
    await c.start();
    const stranger = await until('it says whom it does not belong to', async () => {
      const told = await status(c);
      return told.text.includes('they never mix') ? told : null;
    });
    assert.equal(stranger.code, 7, stranger.text);
    assert.equal(await c.models(secret), 200, 'it serves by what it has');
    await c.end();
    const rejoined = await banyan(['recover', '--rejoin', '-c', c.configFile]);
    assert.equal(rejoined.code, 0, rejoined.stderr);
    await c.start();
    const later = await makeKey([a], 'later');
    await untilWorks(old, later);
    await untilVerdict(c, 'safe', 20_000);
    const { json } = await a.admin('audit');
    assert.ok(json?.items?.some(({ what }) => what.startsWith('restored from a backup of test-')));
  });

  it('a file that is cut off or of a newer version is refused for what it is', async () => {
    const file = join(await tempDir(), 'control.backup');
    await writeFile(file, 'BNYNBKUP\x09\x00\x00\x00');
    const future = await banyan(['backup', 'verify', file]);
    assert.equal(future.code, 1);
    assert.match(future.stderr, /version 9 of the format/);
    await writeFile(file, 'BNYNBKUP\x01\x00\x00\x00');
    assert.match((await banyan(['backup', 'verify', file])).stderr, /ends in the middle/);
  });
});

describe('a quorum that is lost for good', () => {
  after(cleanUp);
  it('one region goes on by force, the others join anew; whoever is of the old one is refused', async () => {
    const places = await threeRegions();
    const [a, b, c] = places;
    await startAll(places);
    const secret = await makeKey(places, 'before');
    await untilWorks(places, secret);
    const running = await banyan(['recover', '--force', '-c', a.configFile]);
    assert.equal(running.code, 5);
    assert.match(running.stderr, /a node runs on it; stop it first/);
    await Promise.all(places.map((place) => place.end('SIGKILL')));
    await rm(b.dataDir, { recursive: true });

    const asked = await banyan(['recover', '-c', a.configFile]);
    assert.equal(asked.code, 5, 'nothing without --force');
    assert.match(asked.stdout, /LOST: what eu-central-1, us-east-2 agreed on behind entry \d+/);
    const done = await banyan(['recover', '--force', '-c', a.configFile, '--why', 'flood']);
    assert.equal(done.code, 0, done.stderr);
    await a.start();
    await makeKey([a], 'alone');
    // A region with a new disk joins by itself, one with the old log does not.
    await b.start();
    const after = await makeKey([a], 'after');
    await untilWorks([a, b], after);
    await c.start();
    const told = await until('it says why it stands alone', async () => {
      const { text } = await status(c);
      return text.includes('they never mix') ? text : null;
    });
    assert.match(told, /recover --rejoin/);
    assert.equal(await c.models(after), 401, 'it takes nothing of the new cluster');
    await c.end();
    assert.equal((await banyan(['recover', '--rejoin', '-c', c.configFile])).code, 0);
    await c.start();
    await untilWorks([c], after);
    const { json } = await a.admin('audit');
    assert.ok(json?.items?.some(({ what }) => what.startsWith('recovered by force from test-')));
    await untilVerdict(a, 'safe', 20_000);
    const members = (await a.admin('members')).json?.items ?? [];
    assert.deepEqual(members.map(({ id, region }) => `${id} ${region}`).toSorted(), [
      '1 ap-northeast-1',
      '4 eu-central-1',
      '5 us-east-2',
    ]);
  });
});

describe('a disk that is lost', () => {
  after(cleanUp);
  it('comes back under a new number, whole, without a person; then any region may be lost', async () => {
    const places = await threeRegions();
    const [a, b, c] = places;
    await startAll(places);
    const secret = await makeKey(places, 'kept');
    await c.end('SIGKILL');
    await rm(c.dataDir, { recursive: true });
    const meanwhile = await makeKey([a, b], 'meanwhile');
    await c.start();
    await untilWorks([c], secret);
    await untilWorks([c], meanwhile);
    await untilVerdict(c, 'safe', 30_000);
    const { json } = await c.admin('members');
    assert.deepEqual(
      json?.items?.map(({ id }) => id),
      [1, 2, 4],
    );
  });
});
