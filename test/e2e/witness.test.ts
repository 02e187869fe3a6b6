/** Two regions and a witness, as real processes: any one of the three may die, and changes go on. */

import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';

import {
  banyan,
  controlCluster,
  makeKey,
  startAll,
  untilLed,
  untilWorks,
} from '../support/controlCluster.ts';
import { startFakeUpstream } from '../support/fakeUpstream.ts';
import { atEnd, TEST_KEY, until } from '../support/node.ts';

it('two regions and a witness: whichever dies, keys can be made and requests are served', async () => {
  const fake = await startFakeUpstream();
  atEnd(() => fake.close());
  const target = `${fake.origin}/v1`;
  const control = { heartbeatMs: 50, electionMs: 500 };
  const places = await controlCluster([
    { region: 'eu-central-1', target, control },
    { region: 'us-east-2', target, control },
    { region: 'eu-west-1', control },
  ]);
  await startAll(places);
  const serving = places.slice(0, 2);
  const [first, , third] = places;
  assert.ok(first !== undefined && third !== undefined);
  const roles = async () => {
    const { json } = await third.admin('members');
    return json?.items?.map(({ region, role }) => [region, role]) ?? [];
  };
  await until('a region leads, the witness only votes', async () => {
    const told = new Map((await roles()).map(([region, role]) => [region, role]));
    return told.get('eu-west-1') === 'witness' && told.size === 3;
  });
  await untilWorks(serving, await makeKey(serving, 'all-there'));
  // What does not fit is said, and the old certificates stay.
  const certificate = join(third.folder, 'node.pem');
  const before = await readFile(certificate, 'utf8');
  await writeFile(certificate, 'none');
  third.signal('SIGHUP');
  await until('it says so', () => Promise.resolve(third.output.includes('tls-refused')));
  await writeFile(certificate, before);
  assert.equal((await roles()).length, 3, 'and goes on');
  for (const dead of places) {
    await dead.end('SIGKILL');
    const alive = places.filter((place) => place !== dead);
    const servingNow = serving.filter((place) => place !== dead);
    const secret = await makeKey(servingNow, `without-${dead.region}`);
    await untilWorks(servingNow, secret);
    assert.ok(
      (await Promise.all(servingNow.map((place) => place.models(TEST_KEY)))).every(
        (s) => s === 200,
      ),
    );
    await untilLed(alive);
    await dead.start();
    await untilLed(places);
    await until(
      'any may be lost again',
      async () => {
        return (await first.admin('outlook')).json?.verdict === 'safe';
      },
      30_000,
    );
  }
  // Whoever only votes takes no requests: of two regions one may be drained.
  const drain = (region: string) =>
    banyan(['region', 'set', region, '--desired', 'drained', '--server', first.adminUrl]);
  assert.equal((await drain('us-east-2')).code, 0);
  const last = await drain('eu-central-1');
  assert.notEqual(last.code, 0);
  assert.match(last.stderr, /No other region is active/);
  const refused = await third.admin('status');
  assert.equal(refused.json?.error?.code, 'witness');
  const outside = await fetch(`${third.apiUrl}/v1/models`).then(
    () => 'served',
    () => 'nobody listens',
  );
  assert.equal(outside, 'nobody listens');
});
