import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';

import { encodeUtf8 } from '../../base/bytes.ts';
import { decodeReply, encodeCommand } from './codec.ts';
import {
  createKey,
  findKey,
  keysInForce,
  listKeys,
  revokeKey,
  rotateKey,
  type KeyRecord,
} from './keys.ts';
import { ControlMachine } from './machine.ts';
import type { Transaction } from './types.ts';

const AUDIT = { who: 'ops', from: 'here', what: 'test', why: '' };
const [A, B] = ['a'.repeat(64), 'b'.repeat(64)];

function record(name: string, sha256 = A): KeyRecord {
  return {
    name,
    sha256,
    models: ['*'],
    requestsPerMinute: 60,
    tokensPerMinute: null,
    inFlightMax: null,
    priority: 'standard',
    createdMs: 1_000,
    previous: null,
  };
}

class World {
  readonly machine = new ControlMachine();
  #index = 0;

  run(transaction: Transaction): boolean {
    this.#index += 1;
    const reply = decodeReply(this.machine.apply(this.#index, 0, encodeCommand(transaction)));
    ok(reply?.kind === 'done', JSON.stringify(reply));
    return reply.isSuccess;
  }
}

test('a key is created once, and what is kept is its hash', () => {
  const world = new World();
  equal(world.run(createKey(record('app'), AUDIT)), true);
  equal(world.run(createKey(record('app', B), AUDIT)), false);
  deepEqual(
    listKeys(world.machine).map(({ record: { name, sha256 } }) => [name, sha256]),
    [['app', A]],
  );
});

test('a revoked key is not in force; who revokes what has changed since changes nothing', () => {
  const world = new World();
  world.run(createKey(record('app'), AUDIT));
  const before = findKey(world.machine, 'app');
  ok(before !== null);
  world.run(rotateKey(before, B, 0, 5_000, AUDIT));
  equal(world.run(revokeKey(before, AUDIT)), false);
  const now = findKey(world.machine, 'app');
  ok(now !== null);
  equal(world.run(revokeKey(now, AUDIT)), true);
  deepEqual(keysInForce(world.machine, 5_000), { keys: [], changesMs: null });
});

test('after a rotation both secrets work until the time of grace is over', () => {
  const world = new World();
  world.run(createKey(record('app'), AUDIT));
  const before = findKey(world.machine, 'app');
  ok(before !== null);
  world.run(rotateKey(before, B, 10_000, 5_000, AUDIT));
  const during = keysInForce(world.machine, 14_999);
  deepEqual(
    during.keys.map(({ sha256 }) => sha256),
    [B, A],
  );
  equal(during.changesMs, 15_000);
  const after = keysInForce(world.machine, 15_000);
  deepEqual(
    after.keys.map(({ sha256 }) => sha256),
    [B],
  );
  equal(after.changesMs, null);
});

test('what is no key of this version is left alone', () => {
  const world = new World();
  const value = encodeUtf8('{"name":"odd","sha256":"short"}');
  world.run({
    kind: 'transaction',
    audit: AUDIT,
    compares: [],
    success: [
      { kind: 'put', key: 'keys/odd', type: 'api-key/1', value },
      { kind: 'put', key: 'keys/new', type: 'api-key/9', value },
      { kind: 'put', key: 'keys/junk', type: 'api-key/1', value: encodeUtf8('{') },
    ],
    failure: [],
  });
  deepEqual(listKeys(world.machine), []);
});
