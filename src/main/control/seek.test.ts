import { deepEqual } from 'node:assert/strict';
import { test } from 'node:test';

import { JOIN_PATH, PLACES_PATH, type PeerAnswer } from './peerCalls.ts';
import { seekGroup, type Sought } from './seek.ts';

/** What becomes of a node that a member lets in, and that is answered so about where others are. */
function joined(places: PeerAnswer<unknown> | null): Promise<Sought> {
  const hello = { kind: 'member', cluster: 'c', founding: null };
  const number = { cluster: 'c', id: 4, peers: [{ id: 1, region: 'ap' }] };
  return seekGroup({
    name: 'sa',
    others: ['ap'],
    cluster: 'c',
    levelMax: 2,
    own: { kind: 'new', incarnation: 7, priority: 1, isWitness: false, mayFound: true },
    ask: (_peer, path, _body, schema) => {
      const isJoin = path.startsWith(JOIN_PATH);
      const told = { status: 200, value: isJoin ? number : hello };
      const answer = path === PLACES_PATH ? places : told;
      if (answer === null) return Promise.resolve(null);
      const value = schema.safeParse(answer.value).data ?? null;
      return Promise.resolve({ status: answer.status, value });
    },
  });
}

test('who was let in, and did not hear where the others are, asks again before it takes part', async () => {
  const place = { peer: 'us', host: 'h', port: 1 };
  const whole = await joined({ status: 200, value: { places: [place] } });
  deepEqual(whole.kind === 'joined' && whole.places, [place]);
  deepEqual(await joined(null), { kind: 'wait', detail: 'ap: nobody could give a number' });
  // A program that does not know the question knows nobody that is in no file.
  const older = await joined({ status: 404, value: { error: 'no-such-path' } });
  deepEqual(older.kind === 'joined' && older.places, []);
});
