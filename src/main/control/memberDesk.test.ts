import { deepEqual, equal } from 'node:assert/strict';
import { after, test } from 'node:test';

import { encodeUtf8 } from '../../base/bytes.ts';
import { regionOfPeer } from '../../base/peerName.ts';
import { JUDGE_PATH, OPERATE_PATH } from './peerCalls.ts';
import { endWorlds, World } from './sideTestkit.ts';

after(endWorlds);

test('only members change members through a node: a peer that is none is refused', async () => {
  const world = new World('desk', ['ap']);
  await world.startAll();
  const side = world.side('ap');
  const operation = { kind: 'transfer', id: 1 };
  const ask = (peer: string, path = OPERATE_PATH): Promise<number> =>
    new Promise((resolve) => {
      side.handle(
        {
          method: 'POST',
          path,
          query: '',
          headers: [],
          body: encodeUtf8(JSON.stringify(operation)),
          keyHash: null,
          receivedMs: 0,
          remote: peer,
          forwardedFrom: regionOfPeer(peer),
          peer,
        },
        { head: resolve, write: () => true, end: () => {}, abort: () => resolve(0) },
      );
    });
  deepEqual([await ask('sa'), await ask('ap/two'), await ask('ap')], [503, 503, 200]);
  deepEqual([await ask('sa', JUDGE_PATH), await ask('ap', JUDGE_PATH)], [503, 200]);
  equal(world.leader(), 'ap');
  await world.stopAll();
});
