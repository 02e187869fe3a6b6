import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';

import { encodeUtf8 } from '../../base/bytes.ts';
import { decodeReply, encodeCommand } from './codec.ts';
import { ADMIN_KEYS } from './adminKeys.ts';
import { API_KEYS, keysInForce } from './keys.ts';
import {
  createSecret,
  findSecret,
  listSecrets,
  revokeSecret,
  rotateSecret,
  secretsInForce,
} from './keyStore.ts';
import { ControlMachine } from './machine.ts';
import type { Transaction } from './types.ts';

const AUDIT = { who: 'ops', from: 'here', what: 'test', why: '' };
const [A, B] = ['a'.repeat(64), 'b'.repeat(64)];

function record(name: string, sha256 = A) {
  return {
    name,
    sha256,
    models: ['*'],
    requestsPerMinute: 60,
    tokensPerMinute: null,
    inFlightMax: null,
    priority: 'standard' as const,
    residency: null,
    allotment: null,
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
  equal(world.run(createSecret(API_KEYS, record('app'), AUDIT)), true);
  equal(world.run(createSecret(API_KEYS, record('app', B), AUDIT)), false);
  deepEqual(
    listSecrets(API_KEYS, world.machine).map(({ record: { name, sha256 } }) => [name, sha256]),
    [['app', A]],
  );
});

test('a revoked key is not in force; who revokes what has changed since changes nothing', () => {
  const world = new World();
  world.run(createSecret(API_KEYS, record('app'), AUDIT));
  const before = findSecret(API_KEYS, world.machine, 'app');
  ok(before !== null);
  world.run(rotateSecret(API_KEYS, before, { sha256: B, graceMs: 0, wallMs: 5_000 }, AUDIT));
  equal(world.run(revokeSecret(before, AUDIT)), false);
  const now = findSecret(API_KEYS, world.machine, 'app');
  ok(now !== null);
  equal(world.run(revokeSecret(now, AUDIT)), true);
  deepEqual(keysInForce(world.machine, 5_000, 'eu'), { keys: [], changesMs: null });
});

test('after a rotation both secrets work until the time of grace is over', () => {
  const world = new World();
  world.run(createSecret(API_KEYS, record('app'), AUDIT));
  const before = findSecret(API_KEYS, world.machine, 'app');
  ok(before !== null);
  world.run(rotateSecret(API_KEYS, before, { sha256: B, graceMs: 10_000, wallMs: 5_000 }, AUDIT));
  const during = keysInForce(world.machine, 14_999, 'eu');
  deepEqual(
    during.keys.map(({ sha256 }) => sha256),
    [B, A],
  );
  equal(during.changesMs, 15_000);
  const after = keysInForce(world.machine, 15_000, 'eu');
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
  deepEqual(listSecrets(API_KEYS, world.machine), []);
});

test('keys of operators are a kind of their own, and have a role that is known', () => {
  const world = new World();
  const key = { name: 'ops', sha256: A, createdMs: 1_000, previous: null };
  world.run(createSecret(ADMIN_KEYS, { ...key, role: 'operator' }, AUDIT));
  const value = encodeUtf8(JSON.stringify({ ...key, name: 'odd', role: 'root' }));
  world.run({
    kind: 'transaction',
    audit: AUDIT,
    compares: [],
    success: [{ kind: 'put', key: 'admin-keys/odd', type: 'admin-key/1', value }],
    failure: [],
  });
  const { records } = secretsInForce(ADMIN_KEYS, world.machine, 5_000);
  deepEqual(
    records.map(({ name, role }) => [name, role]),
    [['ops', 'operator']],
  );
  deepEqual(listSecrets(API_KEYS, world.machine), []);
});

test('a key keeps what it is bound to and how it is divided, over rotations too', () => {
  const world = new World();
  const shares = { eu: 60, us: 40 };
  const allotment = { shares, before: { eu: 60, us: 40 }, taken: [] };
  const bound = { residency: ['eu', 'ch'], allotment };
  world.run(createSecret(API_KEYS, { ...record('app'), ...bound, tokensPerMinute: 1_001 }, AUDIT));
  const before = findSecret(API_KEYS, world.machine, 'app');
  ok(before !== null);
  world.run(rotateSecret(API_KEYS, before, { sha256: B, graceMs: 10_000, wallMs: 5_000 }, AUDIT));
  for (const key of keysInForce(world.machine, 5_000, 'eu').keys) {
    deepEqual(key.residency, ['eu', 'ch']);
    deepEqual([key.requestsPerMinute, key.tokensPerMinute, key.inFlightMax], [36, 600, null]);
    deepEqual(key.share, { percent: 60, places: ['eu', 'us'], isComing: false });
  }
  const [elsewhere] = keysInForce(world.machine, 5_000, 'ap').keys;
  deepEqual([elsewhere?.requestsPerMinute, elsewhere?.tokensPerMinute], [0, 0]);
  equal(elsewhere?.share?.isComing, false, 'it is to have none');
});

test('a place that is to have a share, and has none before others said that they use less, knows', () => {
  const world = new World();
  const allotment = { shares: { eu: 60, us: 40 }, before: { eu: 100 }, taken: [] };
  world.run(createSecret(API_KEYS, { ...record('app'), allotment }, AUDIT));
  const of = (place: string) => keysInForce(world.machine, 5_000, place).keys[0]?.share;
  deepEqual(of('us'), { percent: 0, places: ['eu', 'us'], isComing: true });
  deepEqual(of('eu'), { percent: 60, places: ['eu', 'us'], isComing: false });
});

test('a key whose binding or division cannot be read is not known at all (KB1)', () => {
  const bad: readonly object[] = [
    { residency: 'eu' },
    { residency: [1] },
    { allotment: { shares: { eu: 101 }, before: {}, taken: [] } },
    { allotment: 'half' },
  ];
  for (const more of bad) {
    const world = new World();
    const value = encodeUtf8(JSON.stringify({ ...record('app'), ...more }));
    world.run({
      kind: 'transaction',
      audit: AUDIT,
      compares: [],
      success: [{ kind: 'put', key: 'keys/app', type: 'api-key/1', value }],
      failure: [],
    });
    deepEqual(keysInForce(world.machine, 5_000, 'eu').keys, [], JSON.stringify(more));
  }
  const world = new World();
  const { residency: _residency, allotment: _allotment, ...old } = record('app');
  const value = encodeUtf8(JSON.stringify(old));
  world.run({
    kind: 'transaction',
    audit: AUDIT,
    compares: [],
    success: [{ kind: 'put', key: 'keys/app', type: 'api-key/1', value }],
    failure: [],
  });
  const [key] = keysInForce(world.machine, 5_000, 'eu').keys;
  deepEqual([key?.residency, key?.share, key?.requestsPerMinute], [null, null, 60]);
});
