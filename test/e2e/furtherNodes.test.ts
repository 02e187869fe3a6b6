/**
 * A second node in one of three regions, as real processes: it comes by one command, serves with the
 * keys of all, and stands in for the first one, which dies.
 */

import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { it } from 'node:test';

import {
  banyan,
  growingCluster,
  makeKey,
  startAll,
  untilWorks,
  type Place,
} from '../support/controlCluster.ts';
import { ask } from '../support/client.ts';
import { startFakeUpstream } from '../support/fakeUpstream.ts';
import { atEnd, until } from '../support/node.ts';

const FURTHER = 'eu/eu-2';

/** `ID NAME ROLE` of the members as one node knows them; a leader is a voter. */
async function members(at: Place): Promise<readonly string[]> {
  const { json } = await at.admin('members');
  return (json?.items ?? []).map(
    ({ id, peer, role }) => `${id} ${peer} ${role === 'leader' ? 'voter' : role}`,
  );
}

function settles(at: Place, expected: readonly string[]) {
  const told = async () => (await members(at)).join(', ') === expected.join(', ');
  return until(expected.join(', '), told, 40_000).catch(async () =>
    assert.deepEqual(await members(at), expected),
  );
}

/** The status of a request to the model with this key. */
async function chat(at: Place, key: string): Promise<number> {
  const headers = { authorization: `Bearer ${key}` };
  return (await ask(at.apiUrl, { dialect: 'openai', model: 'm', isStream: false, headers })).status;
}

/** How long until a key that `at` revokes ends at `where`, ms. */
async function revoked(at: Place, name: string, key: string, where: Place): Promise<number> {
  assert.equal((await at.admin('keys', { action: 'revoke', name })).status, 200);
  const startMs = performance.now();
  await until(`${name} ends`, async () => (await where.models(key)) === 401, 1_000);
  return Math.round(performance.now() - startMs);
}

async function run(at: Place, ...args: readonly string[]) {
  return banyan([...args, '--server', at.adminUrl]);
}

it('a further node comes by one command, serves with all keys, votes, and heals its disk', async () => {
  const fake = await startFakeUpstream();
  atEnd(() => fake.close());
  const target = `${fake.origin}/v1`;
  const control = { heartbeatMs: 50, electionMs: 500 };
  const specs = ['ap', 'eu', 'us'].map((region) => ({ region, target, control }));
  const cluster = await growingCluster(specs);
  const [ap, eu, us] = cluster.places;
  assert.ok(ap !== undefined && eu !== undefined && us !== undefined);
  await startAll(cluster.places);
  const before = await makeKey([us], 'before');

  // It is added; its own file knows the first node of its region only.
  const two = await cluster.add({ region: 'eu', node: 'eu-2', target, control }, [eu]);
  const add = ['member', 'add', FURTHER, '--address', two.peerAddress];
  assert.equal((await run(us, ...add, '--why', 'more room')).code, 0);
  const elsewhere = { action: 'add', peer: FURTHER, address: '127.0.0.1:1' };
  const moved = await ap.admin('members', elsewhere);
  assert.equal(moved.json?.error?.code, 'peer_exists');
  await two.start();
  await settles(us, ['1 ap voter', '2 eu voter', '3 us voter', '4 eu/eu-2 learner']);
  const shown = await run(ap, 'get', 'members');
  assert.ok(shown.stdout.includes(FURTHER) && shown.stdout.includes(two.peerAddress), shown.stdout);
  const audit = (await ap.admin('audit')).json?.items ?? [];
  assert.ok(audit.some(({ what }) => what === `member add ${FURTHER} at ${two.peerAddress}`));

  // Keys from before and after count on it, and end on it.
  await untilWorks([two], before);
  assert.equal(await chat(two, before), 200);
  const later = await makeKey([ap], 'after');
  await untilWorks([two], later, 2_000);
  const [brief, mine] = [await makeKey([us], 'brief'), await makeKey([two], 'mine')];
  await untilWorks([ap, us, two], mine);
  await untilWorks([two], brief);
  console.log(
    `# revoked in us, ended on ${FURTHER} after ${await revoked(us, 'brief', brief, two)} ms`,
  );

  // The first node of the region dies.
  await eu.end('SIGKILL');
  assert.equal(await chat(two, before), 200);
  await until(
    'there is a leader',
    async () => (await us.admin('leader')).json?.leader !== 'eu',
    20_000,
  );
  const gone = await makeKey([us], 'gone');
  await untilWorks([two], gone);
  await revoked(us, 'gone', gone, two);
  await until('its status says who could vote', async () => {
    const { json } = await two.admin('outlook');
    const told = json?.findings?.find(({ code }) => code === 'stand-in')?.message ?? '';
    return told.includes('eu: its voter, member 2,') && told.includes(`${FURTHER} (member 4)`);
  });
  const refused = await us.admin('members', { action: 'promote', id: 4 });
  assert.equal(refused.json?.error?.code, 'region_votes');
  assert.equal((await run(us, 'member', 'promote', '4', '--replace')).code, 0);
  await settles(two, ['1 ap voter', '2 eu learner', '3 us voter', '4 eu/eu-2 voter']);

  // Back again the first one learns, and knows what was revoked meanwhile.
  await eu.start();
  await until(
    'it knows',
    async () => (await eu.models(gone)) === 401 && (await eu.models(later)) === 200,
  );
  await settles(eu, ['1 ap voter', '2 eu learner', '3 us voter', '4 eu/eu-2 voter']);

  // The disk of the further node is lost: a new number, the vote and all keys.
  await two.end('SIGKILL');
  await rm(two.dataDir, { recursive: true });
  await two.start();
  await settles(us, ['1 ap voter', '2 eu learner', '3 us voter', '5 eu/eu-2 voter']);
  await untilWorks([two], later);
  assert.equal(await two.models(gone), 401);
});
