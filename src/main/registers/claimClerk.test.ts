import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';

import { failure } from '../../base/errors.ts';
import { VirtualTime } from '../../base/virtualTime.ts';
import type { Log } from '../../io/observe/log.ts';
import type { ClaimStore, StoreFailure } from '../../replica/registers/port.ts';
import { ClaimClerk, type ClaimWord } from './claimClerk.ts';

/** What a clerk makes of a store that refuses every claim with `error`. */
function refused(error: StoreFailure): { readonly word: ClaimWord; readonly asked: number } {
  const time = new VirtualTime();
  let asked = 0;
  const store: Pick<ClaimStore, 'claim'> = {
    claim: (_key, _owner, _about, done) => {
      asked += 1;
      done({ ok: false, error });
    },
  };
  const log: Pick<Log, 'warn'> = { warn: () => {} };
  const clerk = new ClaimClerk(store as ClaimStore, time, log as Log);
  const words: ClaimWord[] = [];
  clerk.claim({ key: 'k', owner: 'o', about: '' }, (word) => words.push(word));
  const [word] = words;
  if (word === undefined) throw new Error('a claim is answered');
  time.advance(5_000);
  return { word, asked };
}

test('without room a request is refused with its own code and the time until there is some', () => {
  const { word, asked } = refused({ kind: 'full', detail: 'Full.', roomInMs: 1_234_000 });
  deepEqual(word, {
    kind: 'refused',
    failure: failure('idempotency_full', 'Full.', { retryAfterMs: 1_234_000 }),
  });
  equal(asked, 1, 'there is nothing to give back');
});

test('without a quorum it is to come again in a moment', () => {
  const { word } = refused({ kind: 'unavailable', detail: 'No quorum.' });
  equal(word.kind === 'refused' && word.failure.code, 'idempotency_unavailable');
  equal(word.kind === 'refused' && word.failure.retryAfterMs, 1_000);
});
