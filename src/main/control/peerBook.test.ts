import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';

import { PeerBook, toldAnew, type KnownPeer } from './peerBook.ts';

function book() {
  const told: (readonly string[])[] = [];
  const listed = [{ peer: 'eu', host: 'file', port: 1, delayMs: 9 }];
  const made = new PeerBook('ap', listed, (peers: readonly KnownPeer[]) =>
    told.push(peers.map(({ peer, host }) => `${peer} ${host}`)),
  );
  return { made, told };
}

function at(peer: string, host: string) {
  return { peer, host, port: 1 };
}

test('PB1: the file counts before the control state, and that before what others say', () => {
  const { made, told } = book();
  made.setTold([at('eu', 'others'), at('sa', 'others'), at('us', 'others'), at('ap', 'others')]);
  made.setRecorded([at('eu', 'state'), at('us', 'state'), at('eu/eu-2', 'state')]);
  deepEqual(told, [
    ['eu file', 'sa others', 'us others'],
    ['eu file', 'eu/eu-2 state', 'sa others', 'us state'],
  ]);
  deepEqual(made.names, ['eu', 'eu/eu-2', 'sa', 'us']);
  equal(made.placeOf('us')?.host, 'state');
  equal(made.placeOf('ap'), null, 'a node links to no record of itself');
  deepEqual(made.peers[0], { peer: 'eu', host: 'file', port: 1, delayMs: 9 });
});

test('nobody is told of what stays as it is; what is gone from all of them is gone', () => {
  const { made, told } = book();
  made.setRecorded([at('us', 'state')]);
  made.setRecorded([at('us', 'state'), at('eu', 'elsewhere'), at('ap', 'itself')]);
  made.setRecorded([]);
  deepEqual(told, [['eu file', 'us state'], ['eu file']]);
});

test('PB2: who is asked again tells of others, not of itself; only who is no member is forgotten', () => {
  const before = [at('ap', 'a'), at('eu', 'e'), at('gone', 'g')];
  deepEqual(toldAnew(before, [at('us', 'u'), at('eu', 'moved')], new Set(['ap', 'eu'])), [
    at('ap', 'a'),
    at('eu', 'moved'),
    at('us', 'u'),
  ]);
});
