import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { LEASE_LIMITS, WORKER_LIMITS } from '../base/workerLimits.ts';
import { LeasedKey, LeaseLedger, type KeyLimits, type LeaseAnswer } from './lease.ts';

const KEY = 'k';
const MINUTE_MS = 60_000;

function ledgerOf(limits: KeyLimits): LeaseLedger {
  const ledger = new LeaseLedger();
  ledger.setKeys(new Map([[KEY, limits]]), 0);
  return ledger;
}

/** Some processes with one key each, the ledger one step away. */
class Node {
  readonly ledger: LeaseLedger;
  readonly keys: readonly LeasedKey[];
  nowMs = 0;
  admitted = 0;
  #nextId = 0;
  readonly #waiting = new Map<number, (answer: LeaseAnswer) => void>();

  constructor(limits: KeyLimits, processes: number) {
    this.ledger = ledgerOf(limits);
    this.keys = Array.from({ length: processes }, () => new LeasedKey(limits));
  }

  /** One request of `tokens` at a process; `done` says whether it was let in. */
  request(process: number, tokens: number, done: (isIn: boolean) => void = () => {}): void {
    const key = this.keys[process];
    assert.ok(key !== undefined);
    const over = (isIn: boolean): void => {
      if (isIn) this.admitted += 1;
      done(isIn);
    };
    if (key.take(tokens)) return over(true);
    const id = this.#nextId++;
    this.#waiting.set(id, (answer) => {
      key.answered(answer, this.nowMs);
      over(answer.limited === null && key.take(tokens));
    });
    const reply = this.ledger.ask(process, id, key.ask(KEY, tokens), this.nowMs);
    if (reply !== null) this.#answered(reply.id, reply.answer);
  }

  /** An exchange of news. */
  exchange(): void {
    this.keys.forEach((key, process) => {
      const left = key.giveBack();
      if (left !== null) this.ledger.giveBack(process, KEY, left, this.nowMs);
      const renewal = key.renewal(KEY);
      if (renewal === null) return;
      const reply = this.ledger.ask(process, this.#nextId++, renewal, this.nowMs);
      assert.ok(reply !== null, 'a renewal asks for no slot');
      key.renewed(reply.answer, this.nowMs);
    });
    for (const { id, answer } of this.ledger.due(this.nowMs)) this.#answered(id, answer);
  }

  #answered(id: number, answer: LeaseAnswer): void {
    const done = this.#waiting.get(id);
    this.#waiting.delete(id);
    done?.(answer);
  }
}

test('W1: whatever comes where, no more requests are under way than the limit (2 to 8 processes)', () => {
  const step = fc.tuple(
    fc.integer({ min: 0, max: 7 }),
    fc.boolean(),
    fc.integer({ max: 40, min: 0 }),
  );
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 8 }),
      fc.integer({ min: 1, max: 12 }),
      fc.array(step, { maxLength: 200 }),
      (processes, inFlightMax, steps) => {
        const limits = { requestsPerMinute: null, tokensPerMinute: null, inFlightMax };
        const node = new Node(limits, processes);
        const running: number[] = [];
        for (const [at, isEnd, ms] of steps) {
          const process = at % processes;
          node.nowMs += ms;
          if (isEnd) {
            const index = running.indexOf(process);
            if (index >= 0) {
              running.splice(index, 1);
              node.keys[process]?.settle(true, 0, 0);
            }
          } else {
            node.request(process, 0, (isIn) => {
              if (isIn) running.push(process);
            });
          }
          if (node.nowMs % 3 === 0) node.exchange();
          assert.ok(running.length <= inFlightMax);
        }
      },
    ),
  );
});

test('W3: a slot that idles in one process serves a request of another within two exchanges', () => {
  const node = new Node({ requestsPerMinute: null, tokensPerMinute: null, inFlightMax: 1 }, 2);
  node.request(0, 0);
  node.keys[0]?.settle(true, 0, 0); // Over; the slot stays warm in its process.
  let isIn: boolean | null = null;
  node.request(1, 0, (answer) => {
    isIn = answer;
  });
  for (let turn = 0; turn < 2; turn += 1) {
    assert.equal(isIn, null, 'it waits');
    node.nowMs += WORKER_LIMITS.newsMs;
    node.exchange();
  }
  assert.equal(isIn, true);
});

test('W3: where all slots are in use a request is refused when its wait is over, and not before', () => {
  const node = new Node({ requestsPerMinute: null, tokensPerMinute: null, inFlightMax: 1 }, 2);
  node.request(0, 0);
  let isIn: boolean | null = null;
  node.request(1, 0, (answer) => {
    isIn = answer;
  });
  node.nowMs += LEASE_LIMITS.slotWaitMs - 1;
  node.exchange();
  assert.equal(isIn, null);
  node.nowMs += 1;
  node.exchange();
  assert.equal(isIn, false);
});

test('W2: over any time t at most limit * (1 + (t + h) / minute) are let in, h one exchange', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 8 }),
      fc.integer({ min: 10, max: 6_000 }),
      fc.array(fc.tuple(fc.integer({ min: 0, max: 7 }), fc.integer({ min: 0, max: 300 })), {
        minLength: 50,
        maxLength: 400,
      }),
      (processes, requestsPerMinute, arrivals) => {
        const limits = { requestsPerMinute, tokensPerMinute: null, inFlightMax: null };
        const node = new Node(limits, processes);
        const atMs: number[] = [];
        let dueMs = WORKER_LIMITS.newsMs;
        for (const [at, burst] of arrivals) {
          node.nowMs += 5;
          while (node.nowMs >= dueMs) {
            node.exchange();
            dueMs += WORKER_LIMITS.newsMs;
          }
          for (let count = 0; count < burst; count += 1) {
            const before = node.admitted;
            node.request(at % processes, 0);
            if (node.admitted > before) atMs.push(node.nowMs);
          }
        }
        const first = atMs[0] ?? 0;
        for (const [index, ms] of atMs.entries()) {
          const heldMs = WORKER_LIMITS.newsMs + 5;
          const most = requestsPerMinute * (1 + (ms - first + heldMs) / MINUTE_MS);
          assert.ok(index + 1 <= most + 1, `${index + 1} of at most ${most}`);
        }
      },
    ),
    { numRuns: 30 },
  );
});

test('a bucket that is asked for from many sides is used up to the last request', () => {
  const node = new Node({ requestsPerMinute: 600, tokensPerMinute: null, inFlightMax: null }, 4);
  for (let turn = 0; turn < 40; turn += 1) {
    for (let count = 0; count < 20; count += 1) node.request(count % 4, 0);
    node.nowMs += 1;
    if (turn % 10 === 9) node.exchange();
  }
  assert.equal(node.admitted, 600, 'the first 600 of 800, and none is lost between processes');
});

test('tokens over the estimate are a debt of the node, not of one process', () => {
  const node = new Node({ requestsPerMinute: null, tokensPerMinute: 1_000, inFlightMax: null }, 2);
  node.request(0, 100);
  node.keys[0]?.settle(false, 100, 900);
  node.exchange();
  let isIn = true;
  node.request(1, 200, (answer) => {
    isIn = answer;
  });
  assert.equal(isIn, false, '100 are left');
  node.request(1, 100, (answer) => {
    isIn = answer;
  });
  assert.equal(isIn, true);
});

test('W4: slots of a process that died are free at once', () => {
  const node = new Node({ requestsPerMinute: null, tokensPerMinute: null, inFlightMax: 2 }, 2);
  node.request(0, 0);
  node.request(0, 0);
  assert.equal(node.ledger.heldSlots(KEY), 2);
  node.ledger.forget(0);
  node.request(1, 0);
  node.request(1, 0);
  assert.equal(node.admitted, 4);
});

test('clients see what is left in the node: the bucket and what this process has leased', () => {
  const limits = { requestsPerMinute: 100, tokensPerMinute: null, inFlightMax: null };
  const node = new Node(limits, 2);
  for (let count = 0; count < 10; count += 1) node.request(0, 0);
  const fields = node.keys[0]?.headers(node.nowMs) ?? [];
  assert.equal(fields[fields.indexOf('x-ratelimit-remaining-requests') + 1], '90');
});

test('a reload that changes a limit keeps what is under way counted', () => {
  const limits = { requestsPerMinute: null, tokensPerMinute: null, inFlightMax: 3 };
  const node = new Node(limits, 2);
  for (let count = 0; count < 3; count += 1) node.request(count % 2, 0);
  const next = { ...limits, inFlightMax: 4 };
  node.ledger.setKeys(new Map([[KEY, next]]), node.nowMs);
  for (const key of node.keys) key.limits = next;
  node.request(0, 0);
  assert.equal(node.ledger.heldSlots(KEY), 4);
  for (const at of [0, 0, 1]) node.keys[at]?.settle(true, 0, 0);
  node.exchange();
  node.exchange();
  assert.equal(node.ledger.heldSlots(KEY), 1);
});
