import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';

import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { AUDIT, driverOf, put, transaction } from './controlTestkit.ts';
import { ControlMachine } from './machine.ts';
import { deletePeer, listPeers, putPeer, readPeer, type PeerPlace } from './peers.ts';
import type { Transaction } from './types.ts';

const EU2: PeerPlace = { peer: 'eu/eu-2', host: '10.0.0.2', port: 8200 };

function world() {
  const machine = new ControlMachine();
  const drive = driverOf(machine);
  const run = (one: Transaction): boolean => {
    const reply = drive(one);
    return reply.kind === 'done' && reply.isSuccess;
  };
  const read = (peer: string) => {
    const stored = readPeer(machine, peer);
    ok(stored !== null);
    return stored;
  };
  return { machine, drive, run, read };
}

test('what was put is read again, listed by name, and gone once it was taken away', () => {
  const { machine, run, read } = world();
  const sa: PeerPlace = { peer: 'sa', host: 'x'.repeat(CONTROL_LIMITS.hostCharsMax), port: 65_535 };
  for (const place of [sa, EU2]) ok(run(putPeer(place, read(place.peer), AUDIT)));
  deepEqual(listPeers(machine), [EU2, sa]);
  ok(run(deletePeer('sa', read('sa'), AUDIT)));
  deepEqual(listPeers(machine), [EU2]);
  equal(read('sa').place, null);
});

test('PR1: of two who read the same record only the first changes it', () => {
  const { run, read } = world();
  const before = read(EU2.peer);
  ok(run(putPeer(EU2, before, AUDIT)));
  equal(run(putPeer({ ...EU2, port: 1 }, before, AUDIT)), false);
  const there = read(EU2.peer);
  ok(run(putPeer({ ...EU2, port: 2 }, there, AUDIT)));
  equal(run(deletePeer(EU2.peer, there, AUDIT)), false);
  equal(read(EU2.peer).place?.port, 2);
});

test('records of another version are left alone: not listed, and not taken for none', () => {
  const { machine, drive } = world();
  const bad = [
    put('peers/a', '{"peer":"a","host":"h","port":1}', 'peer/2'),
    put('peers/b', 'no JSON', 'peer/1'),
    put('peers/c', '{"peer":"d","host":"h","port":1}', 'peer/1'),
    put('peers/e', '{"peer":"e","host":"","port":1}', 'peer/1'),
    put('peers/f', '{"peer":"f","host":"h","port":0}', 'peer/1'),
    put('peers/G', '{"peer":"G","host":"h","port":1}', 'peer/1'),
  ];
  equal(drive(transaction(bad)).kind, 'done');
  deepEqual(listPeers(machine), []);
  for (const name of ['a', 'b', 'c', 'e', 'f', 'G']) equal(readPeer(machine, name), null, name);
});
