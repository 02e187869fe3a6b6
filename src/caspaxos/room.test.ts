import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';

import { createPrng } from '../base/prng.ts';
import { closeBucket, firstControl, PERMANENT_BUCKET } from './control.ts';
import { CasNode } from './node.ts';
import { casOptions, emptyStored } from './start.ts';
import { testAcceptor } from './testkit.ts';
import type { BodyOf, CasOptions, Key } from './types.ts';

const CONTROL = firstControl([1, 2, 3].map(testAcceptor), 3, 1);
const HEAD = { cluster: 'test', from: 2, to: 1, incarnation: 2_000, epoch: 1 };

class Acceptor {
  readonly node: CasNode;
  #counter = 0;

  constructor(limits: Partial<CasOptions>) {
    const own = { id: 1, cluster: 'test', incarnation: 1_000, prng: createPrng(1) };
    const started = CasNode.start(casOptions({ ...own, ...limits }), emptyStored(own), 0);
    ok(started.ok);
    this.node = started.value;
    this.node.step({ kind: 'control', control: CONTROL }, 0);
  }

  ask(body: BodyOf<'prepare' | 'accept'>): string {
    const output = this.node.step({ kind: 'message', message: { ...HEAD, ...body } }, 0);
    const [told] = [...output.send, ...output.afterFsync];
    return told?.kind === 'refused' ? told.reason : (told?.kind ?? 'nothing');
  }

  prepare(key: Key, more: { readonly isCarried?: true } = {}): string {
    this.#counter += 1;
    const ballot = { epoch: 1, counter: this.#counter, proposer: 9 };
    return this.ask({ kind: 'prepare', key, ballot, ...more });
  }

  accept(key: Key, valueBytes: number): string {
    this.#counter += 2;
    const ballot = { epoch: 1, counter: this.#counter - 1, proposer: 9 };
    const register = { version: 1, value: new Uint8Array(valueBytes), recent: ['r'] };
    return this.ask({
      kind: 'accept',
      key,
      ballot,
      register,
      next: { ...ballot, counter: this.#counter },
    });
  }
}

test('at its limit an acceptor takes no new key; what is there may change, and leases go on (A6)', () => {
  const acceptor = new Acceptor({ keysMax: 3 });
  const key = (bucket: number, name: string): Key => ({ bucket, name });
  deepEqual(
    ['a', 'b'].map((name) => acceptor.prepare(key(1, name))),
    ['promise', 'promise'],
  );
  equal(acceptor.prepare(key(2, 'c')), 'promise');
  equal(acceptor.node.status().fill, 1);
  equal(acceptor.prepare(key(2, 'd')), 'bucket-full');
  equal(acceptor.prepare(key(3, 'e')), 'bucket-full');
  equal(acceptor.accept(key(1, 'a'), 10), 'accepted');
  equal(acceptor.prepare(key(1, 'b')), 'promise');
  equal(acceptor.prepare(key(PERMANENT_BUCKET, 'lease')), 'promise');
  const closed = closeBucket(CONTROL, 1, 2);
  ok(closed.ok);
  acceptor.node.step({ kind: 'control', control: closed.value }, 0);
  equal(acceptor.prepare(key(3, 'e')), 'promise', 'a generation that is closed makes room');
  equal(acceptor.prepare(key(3, 'f')), 'promise');
  equal(acceptor.prepare(key(3, 'g')), 'bucket-full');
});

test('what others keep is taken up to three times the limit, and nothing new beside it (A6)', () => {
  for (const bucket of [1, PERMANENT_BUCKET]) {
    const acceptor = new Acceptor({ keysMax: 3, permanentKeysMax: 3 });
    const carried = { isCarried: true } as const;
    const key = (at: number): Key => ({ bucket, name: `k${at}` });
    for (let at = 0; at < 3; at += 1) equal(acceptor.prepare(key(at)), 'promise');
    equal(acceptor.prepare(key(3)), 'bucket-full');
    for (let at = 3; at < 9; at += 1) equal(acceptor.prepare(key(at), carried), 'promise');
    equal(acceptor.prepare(key(9), carried), 'bucket-full');
    equal(acceptor.prepare(key(9)), 'bucket-full');
    equal(acceptor.prepare(key(8)), 'promise', 'it is there');
  }
});

test('the limit of memory counts as that of keys does', () => {
  const acceptor = new Acceptor({ keyBytesMax: 8 * 1024 * 1024 });
  let count = 0;
  while (acceptor.accept({ bucket: 1, name: `k${count}` }, 4_000) === 'accepted') count += 1;
  // Those that changed last are objects, not packed yet.
  ok(count > 2_000 && count < 3_300, `${count} of 4 kB in 8 MiB`);
  equal(acceptor.prepare({ bucket: 2, name: 'other' }), 'bucket-full');
  equal(acceptor.accept({ bucket: 1, name: 'k0' }, 5_000), 'accepted');
});
