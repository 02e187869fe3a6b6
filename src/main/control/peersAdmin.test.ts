import { deepEqual, equal } from 'node:assert/strict';
import { after, test } from 'node:test';

import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { CONFIG_LIMITS } from '../../base/limits.ts';
import type { Transaction } from '../../replica/control/types.ts';
import { listPeers, putPeer } from '../../replica/control/peers.ts';
import { PeerBook } from './peerBook.ts';
import { addPeer, type PeersDesk } from './peersAdmin.ts';
import { endWorlds, until, World } from './sideTestkit.ts';

after(endWorlds);

const NONE = { place: null, modRevision: 0 };
const AUDIT = { who: 'test', from: 'here', what: 'put', why: '' };

const firstOf = (region: string): string => `${region}-1`;

/** Adds; the code of what is refused. */
function adder(desk: PeersDesk, force = true): (peer: string) => Promise<string> {
  return async (peer) => {
    const asked = { action: 'add', force, dryRun: false, who: 'test', why: '' } as const;
    const caller = { who: 'test', from: 'here', role: 'admin', authorization: null } as const;
    const told = await addPeer(desk, { ...asked, peer, address: 'h:2' }, caller);
    return told.ok ? 'done' : told.error.code;
  };
}

test('no more nodes than all read are added, by force neither; one of them may still move', async () => {
  const world = new World('full', ['ap']);
  await world.startAll();
  const side = world.side('ap');
  const { peerRecordsMax } = CONTROL_LIMITS;
  const puts = Array.from({ length: peerRecordsMax }, (_, at): Transaction =>
    putPeer({ peer: `r${at}`, host: 'h', port: 1 }, NONE, AUDIT),
  );
  const success = puts.flatMap((each) => each.success);
  const all: Transaction = {
    kind: 'transaction',
    audit: AUDIT,
    compares: [],
    success,
    failure: [],
  };
  await new Promise((resolve) => side.engine.transact(all, resolve));
  await until(() => listPeers(side.engine.view).length === peerRecordsMax, 'all are there');
  const add = adder({ side, book: world.book('ap'), name: 'ap', firstOf });
  deepEqual([await add('one-more'), await add('r7')], ['too_many_peers', 'done']);
  equal(listPeers(side.engine.view).length, peerRecordsMax);
  await world.stopAll();
});

test('no more regions than a file may name are added, by force neither; nodes of theirs are', async () => {
  const world = new World('regions', ['ap']);
  await world.startAll();
  const regions = Array.from({ length: CONFIG_LIMITS.regionsMax }, (_, at) => `r${at}`);
  const listed = regions.map((peer) => ({ peer, host: 'h', port: 1, delayMs: 0 }));
  const book = new PeerBook('ap', listed, () => {});
  const add = adder({ side: world.side('ap'), book, name: 'ap', firstOf });
  deepEqual([await add('one-more'), await add('r7/two')], ['too_many_peers', 'done']);
  await world.stopAll();
});

test('a further node does not get the name that the first one of its region has there', async () => {
  const world = new World('namesake', ['ap']);
  await world.startAll();
  const desk = { side: world.side('ap'), book: world.book('ap'), name: 'ap', firstOf };
  const add = adder(desk, false);
  deepEqual([await add('ap/ap-1'), await add('ap/ap-2')], ['peer_exists', 'done']);
  equal(await adder(desk)('ap/ap-1'), 'peer_exists', 'by force neither');
  await world.stopAll();
});

test('where nobody knows what the first node is called a further one is added by force only', async () => {
  const world = new World('unknownFirst', ['ap', 'eu']);
  await world.startAll();
  const desk = { side: world.side('ap'), book: world.book('ap'), name: 'ap', firstOf: () => null };
  deepEqual([await adder(desk, false)('eu/b'), await adder(desk)('eu/b')], ['no_link', 'done']);
  equal(await adder(desk, false)('eu/b'), 'done', 'it is there already');
  equal(await adder(desk, false)('sa'), 'done', 'a first node');
  await world.stopAll();
});
