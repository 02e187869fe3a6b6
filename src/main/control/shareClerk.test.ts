import { deepEqual, ok } from 'node:assert/strict';
import { test } from 'node:test';

import { ok as good } from '../../base/result.ts';
import { VirtualTime } from '../../base/virtualTime.ts';
import { divide, type Shares } from '../../replica/control/allotments.ts';
import { decodeReply, encodeCommand } from '../../replica/control/codec.ts';
import type { ControlEngine, ControlOutcome } from '../../replica/control/engine.ts';
import { API_KEYS } from '../../replica/control/keys.ts';
import { createSecret, findSecret, replaceOwn } from '../../replica/control/keyStore.ts';
import { ControlMachine } from '../../replica/control/machine.ts';
import type { Transaction } from '../../replica/control/types.ts';
import { ShareClerk } from './shareClerk.ts';

const AUDIT = { who: 'ops', from: 'here', what: 'test', why: '' };
const KEY = {
  name: 'shop',
  sha256: 'a'.repeat(64),
  createdMs: 1,
  previous: null,
  models: ['*'],
  requestsPerMinute: 1_000,
  tokensPerMinute: null,
  inFlightMax: null,
  residency: null,
  priority: 'standard' as const,
  allotment: null,
};

/** A control state whose listeners are told when a test says so, and the clerk of `us`. */
class World {
  readonly machine = new ControlMachine();
  readonly answers: ((outcome: ControlOutcome) => void)[] = [];
  /** What the clerk has said, in order. */
  readonly said: string[] = [];
  readonly clerk: ShareClerk;
  #index = 0;

  constructor() {
    const engine: ControlEngine = {
      view: this.machine,
      transact: (transaction, done) => {
        this.said.push(transaction.audit.what);
        this.#put(transaction);
        this.answers.push(done);
      },
      confirm: () => {},
      onMoved: () => () => {},
    };
    this.clerk = new ShareClerk({ engine, place: 'us', timers: new VirtualTime() });
    this.#put(createSecret(API_KEYS, KEY, AUDIT));
    this.#put(createSecret(API_KEYS, { ...KEY, name: 'other', sha256: 'b'.repeat(64) }, AUDIT));
  }

  divide(name: string, shares: Shares): void {
    const stored = findSecret(API_KEYS, this.machine, name);
    ok(stored !== null);
    const allotment = divide(stored.record.allotment, shares, ['eu', 'us'], false);
    this.#put(replaceOwn(API_KEYS, stored, { allotment }, AUDIT));
  }

  /** What the state says now reaches all processes. */
  putInForce(): void {
    this.clerk.seen(this.machine.revision, true);
    this.clerk.given();
    this.clerk.settled();
  }

  #put(transaction: Transaction): void {
    this.#index += 1;
    const reply = decodeReply(this.machine.apply(this.#index, 0, encodeCommand(transaction)));
    ok(reply?.kind === 'done' && reply.isSuccess);
  }
}

test('a smaller share is told of once it is in force, not once the state says so (AL2)', () => {
  const world = new World();
  world.divide('shop', { eu: 60, us: 40 });
  deepEqual(world.said, [], 'nothing was put in force');
  world.clerk.seen(world.machine.revision, true);
  world.clerk.given();
  deepEqual(world.said, [], 'it is on its way');
  world.clerk.settled();
  deepEqual(world.said, ['keys allot shop: us has taken its share']);
  // The answer comes in the moment in which the state holds more, and nobody was told of that yet.
  world.divide('other', { eu: 90, us: 10 });
  const { revision } = world.machine;
  world.answers[0]?.(good({ isSuccess: true, revision, results: [] }));
  deepEqual(world.said.length, 1, 'the other one is not in force');
  world.putInForce();
  deepEqual(world.said[1], 'keys allot other: us has taken its share');
});

test('what was given out before the keys moved on does not count for those', () => {
  const world = new World();
  world.clerk.seen(world.machine.revision, true);
  world.clerk.given();
  world.divide('shop', { eu: 60, us: 40 });
  world.clerk.seen(world.machine.revision, true);
  world.clerk.settled();
  deepEqual(world.said, []);
  world.clerk.given();
  world.clerk.settled();
  deepEqual(world.said.length, 1);
});
