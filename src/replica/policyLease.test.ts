import assert from 'node:assert/strict';
import { test } from 'node:test';

import type { ClientRequest } from '../base/ports.ts';
import type { ParsedRequest } from '../protocol/adapter.ts';
import { LeaseLedger, type KeyLimits, type LeaseAnswer } from '../routing/lease.ts';
import { Policy, type Admission } from './policy.ts';

const HASH = 'a'.repeat(64);
const REQUEST = { keyHash: HASH, forwardedFrom: null, headers: [] } as unknown as ClientRequest;
const PARSED = { operation: 'embeddings', promptTokensEstimate: 10 } as unknown as ParsedRequest;

/** One process with a policy; the ledger answers when it is told to. */
class Process {
  readonly ledger = new LeaseLedger();
  readonly asked: (() => void)[] = [];
  readonly clock = { nowMs: () => this.nowMs, wallMs: () => 0 };
  readonly policy: Policy;
  nowMs = 0;
  questions = 0;

  constructor(limits: KeyLimits) {
    this.ledger.setKeys(new Map([[HASH, limits]]), 0);
    const key = { name: 'k', sha256: HASH, models: ['*'], priority: 'standard' as const };
    const bound = { residency: null, share: null };
    this.policy = new Policy(
      [{ ...key, ...bound, ...limits }],
      (ask, done: (word: LeaseAnswer) => void) => {
        this.questions += 1;
        const reply = this.ledger.ask(1, this.questions, ask, this.nowMs);
        assert.ok(reply !== null, 'rates are answered at once');
        this.asked.push(() => done(reply.answer));
      },
    );
  }

  /** One request; `null` in the results while it waits. */
  request(results: (Admission | string | null)[]): void {
    const caller = this.policy.callerOf(REQUEST);
    assert.ok(caller.ok);
    const at = results.push(null) - 1;
    const told = this.policy.admit(caller.value, PARSED, this.nowMs);
    if (told !== null) {
      results[at] = told.ok ? told.value : told.error.failure.code;
      return;
    }
    this.policy.admitLater(caller.value, PARSED, this.clock, (result) => {
      results[at] = result.ok ? result.value : result.error.failure.code;
    });
  }

  answer(): void {
    while (this.asked.length > 0) this.asked.shift()?.();
  }

  exchange(): void {
    this.nowMs += 25;
    for (const [key, left] of this.policy.exchange(this.clock)) {
      this.ledger.giveBack(1, key, left, this.nowMs);
    }
  }
}

const RATES = { requestsPerMinute: 1_000, tokensPerMinute: null, inFlightMax: null };

test('many requests that come at once ask twice: the first for itself, one for all who wait', () => {
  const process = new Process(RATES);
  const results: (Admission | string | null)[] = [];
  for (let count = 0; count < 100; count += 1) process.request(results);
  assert.ok(results.every((result) => result === null));
  process.answer();
  assert.ok(results.every((result) => typeof result === 'object' && result !== null));
  assert.equal(process.questions, 2);
});

test('a busy key is renewed with each exchange of news: no request has to wait', () => {
  const process = new Process({ ...RATES, requestsPerMinute: 100_000 });
  const results: (Admission | string | null)[] = [];
  for (let count = 0; count < 20; count += 1) process.request(results);
  process.answer();
  for (let turn = 0; turn < 10; turn += 1) {
    process.exchange();
    process.answer();
    for (let count = 0; count < 20; count += 1) process.request(results);
    assert.ok(!results.includes(null), `turn ${turn}`);
  }
  assert.equal(process.questions, 2 + 10);
});

test('all who wait for what is used up are refused by one answer', () => {
  const process = new Process({ ...RATES, requestsPerMinute: 5 });
  const results: (Admission | string | null)[] = [];
  for (let count = 0; count < 50; count += 1) process.request(results);
  process.answer();
  assert.equal(results.filter((result) => result === 'rate_limited').length, 45);
  assert.ok(process.questions <= 7);
});

test('a key without a share here is refused without a question to the ledger', () => {
  const process = new Process({ ...RATES, requestsPerMinute: 0 });
  const share = { percent: 0, places: ['eu', 'us'], isComing: false };
  const key = { name: 'k', sha256: HASH, models: ['*'], priority: 'standard' as const };
  process.policy.replace([{ ...key, ...RATES, requestsPerMinute: 0, residency: null, share }], 0);
  const results: (Admission | string | null)[] = [];
  process.request(results);
  assert.deepEqual([results, process.questions], [['no_share'], 0]);
});

test('a share that shrinks is in force for the next question; what was used stays used', () => {
  const process = new Process({ ...RATES, requestsPerMinute: 100 });
  const results: (Admission | string | null)[] = [];
  for (let count = 0; count < 30; count += 1) process.request(results);
  process.answer();
  for (let turn = 0; turn < 3; turn += 1) {
    process.exchange();
    process.answer();
  }
  process.ledger.setKeys(new Map([[HASH, { ...RATES, requestsPerMinute: 20 }]]), process.nowMs);
  const after: (Admission | string | null)[] = [];
  for (let count = 0; count < 50; count += 1) process.request(after);
  process.answer();
  const isLetIn = (result: Admission | string | null) => typeof result === 'object';
  assert.equal(after.filter(isLetIn).length, 20);
});

test('an idle key holds nothing after two exchanges, and is not looked at any more', () => {
  const process = new Process(RATES);
  const results: (Admission | string | null)[] = [];
  for (let count = 0; count < 10; count += 1) process.request(results);
  process.answer();
  for (let turn = 0; turn < 3; turn += 1) {
    process.exchange();
    process.answer();
  }
  const asked = process.questions;
  process.nowMs += 60_000;
  process.request(results);
  process.answer();
  assert.equal(process.questions, asked + 1, 'it asks again');
  const [last] = results.slice(-1);
  assert.ok(typeof last === 'object' && last !== null);
  const at = last.headers.indexOf('x-ratelimit-remaining-requests');
  assert.equal(last.headers[at + 1], '999');
});
