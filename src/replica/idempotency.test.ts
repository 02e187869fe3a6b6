import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';

import { failure, type Failure } from '../base/errors.ts';
import type { ClientEvents, ClientRequest } from '../base/ports.ts';
import { ClaimQueue, resultOf, type ClaimDesk, type ClaimTold } from './idempotency.ts';

function client(key: string | null, forwardedFrom: string | null = null): ClientRequest {
  return {
    method: 'POST',
    path: '/v1/chat/completions',
    query: '',
    headers: key === null ? [] : ['idempotency-key', key],
    body: new Uint8Array(0),
    keyHash: null,
    receivedMs: 0,
    remote: '',
    forwardedFrom,
  };
}

/** One request through a `ClaimQueue`: what happened, in order. */
class Trial {
  readonly told: string[] = [];
  readonly queue: ClaimQueue;
  readonly events: ClientEvents;
  answer: (told: ClaimTold) => void = () => {};

  constructor(request: ClientRequest, operation: 'chat' | 'count_tokens' = 'chat') {
    const desk: ClaimDesk = ({ caller, key }, done) => {
      this.told.push(`claim ${caller} ${key}`);
      this.answer = done;
    };
    const events = (name: string): ClientEvents => ({
      onGone: () => this.told.push(`${name} gone`),
      onDrain: () => {},
    });
    this.queue = new ClaimQueue(desk);
    this.events = this.queue.first(
      { client: request, requestId: 'r', caller: { name: 'shop' }, request: { operation } },
      {
        begin: (over) => {
          this.told.push(over === null ? 'begin' : 'begin claimed');
          return events('exchange');
        },
        refuse: ({ code }: Failure) => {
          this.told.push(`refuse ${code}`);
          return events('refusal');
        },
        gone: () => this.told.push('gone'),
      },
    );
  }

  yours(): void {
    this.answer({ kind: 'yours', over: (result) => this.told.push(`over ${String(result)}`) });
  }
}

test('an exchange begins once its claim is won, and not before', () => {
  const trial = new Trial(client('k 1'));
  deepEqual(trial.told, ['claim shop k 1']);
  trial.yours();
  trial.events.onGone();
  deepEqual(trial.told, ['claim shop k 1', 'begin claimed', 'exchange gone']);
});

test('a key that is taken is told, and nothing begins', () => {
  const trial = new Trial(client('k'));
  trial.answer({ kind: 'refused', failure: failure('idempotency_done') });
  deepEqual(trial.told, ['claim shop k', 'refuse idempotency_done']);
});

test('a client that leaves before the answer gives its key back', () => {
  const trial = new Trial(client('k'));
  trial.events.onGone();
  trial.yours();
  deepEqual(trial.told, ['claim shop k', 'over null', 'gone']);
});

test('without a key, from another region, and to count tokens nothing is claimed', () => {
  for (const trial of [
    new Trial(client(null)),
    new Trial(client('k', 'eu-central-1')),
    new Trial(client('k'), 'count_tokens'),
  ]) {
    deepEqual(trial.told, ['begin']);
  }
});

test('a malformed key is refused', () => {
  for (const key of ['', ' k', 'k\u00e9', 'x'.repeat(256)]) {
    deepEqual(new Trial(client(key)).told, ['refuse invalid_request'], JSON.stringify(key));
  }
  equal(new Trial(client('x'.repeat(255))).told.length, 1);
});

test('what certainly did not run gives its key back, what may have run keeps it', () => {
  const good = { reason: '', status: 200 };
  const refused = { reason: 'refused', status: 0 };
  const reset = { reason: 'reset', status: 0 };
  const rejected = { reason: 'invalid', status: 400 };
  const broken = { reason: 'server', status: 500 };
  const of = (end: 'answered' | 'failed' | 'client-gone', status: number, tries: object[]) =>
    resultOf({ end, status, attempts: tries.length, tries: tries as (typeof good)[] });
  equal(of('answered', 200, [refused, good]), 'answered 200');
  equal(of('failed', 502, [reset]), 'failed 502');
  equal(of('failed', 503, [reset, refused]), 'failed 503', 'an earlier attempt may have run');
  equal(of('failed', 502, [broken]), 'failed 502');
  equal(of('client-gone', 0, [good]), 'client-gone');
  equal(resultOf({ end: 'client-gone', status: 0, attempts: 1, tries: [] }), 'client-gone');
  const unlinked = { reason: 'link-down', status: 0 };
  for (const tries of [[], [refused], [unlinked], [rejected], [refused, rejected]]) {
    equal(of('failed', 503, tries), null, JSON.stringify(tries));
  }
});
