/** Both stores of leases, claims and names in virtual time: one suite. */

import { deepEqual, ok } from 'node:assert/strict';
import { test } from 'node:test';

import { createPrng } from '../base/prng.ts';
import { REGISTER_LIMITS } from '../base/registerLimits.ts';
import { VirtualTime } from '../base/virtualTime.ts';
import { EtcdRegisters } from '../replica/etcd/registers.ts';
import type { RegisterStore } from '../replica/registers/port.ts';
import { raceUnderFaults, STORE_CASES, type StoreWorld } from '../replica/registers/storeSuite.ts';
import { SimEtcd } from './etcd.ts';
import { RegisterWorld } from './registersTestkit.ts';

/** Runs `work` while virtual time goes on. */
async function drive(work: Promise<void>, step: () => void): Promise<void> {
  let isDone = false;
  const watched = work.finally(() => {
    isDone = true;
  });
  while (!isDone) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    step();
  }
  await watched;
}

function tick(time: VirtualTime): void {
  const dueMs = time.nextDueMs();
  if (dueMs !== null) time.advance(dueMs - time.nowMs());
}

class OwnWorld implements StoreWorld {
  readonly inner = new RegisterWorld(3);

  store(node: number): RegisterStore {
    return this.inner.registers(node);
  }

  crash(node: number): Promise<void> {
    this.inner.crash(node);
    return Promise.resolve();
  }

  loseAnswers(node: number, isLost: boolean): void {
    const { name } = this.inner.node(node);
    for (const other of this.inner.nodes) {
      if (isLost) this.inner.cuts.add(`${other.name} ${name}`);
      else this.inner.cuts.delete(`${other.name} ${name}`);
    }
  }

  async loseQuorum(): Promise<void> {
    await this.crash(1);
    await this.crash(2);
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.inner.time.after(ms, resolve));
  }

  nowMs(): number {
    return this.inner.time.nowMs();
  }
}

function storeOf(time: VirtualTime, etcd: SimEtcd, node: number): EtcdRegisters {
  const store = new EtcdRegisters({
    store: etcd.client(`n${node}`),
    prefix: 'banyan',
    name: `r${node}`,
    claimMs: 3_600_000,
    clock: time,
    timers: time,
    prng: createPrng(node + 7),
    refusal: () => null,
  });
  store.start();
  return store;
}

class EtcdWorld implements StoreWorld {
  readonly time = new VirtualTime();
  readonly etcd = new SimEtcd(this.time, createPrng(1));
  readonly stores = [0, 1, 2].map((node) => storeOf(this.time, this.etcd, node));

  store(node: number): RegisterStore {
    const store = this.stores[node];
    ok(store !== undefined);
    return store;
  }

  crash(node: number): Promise<void> {
    this.etcd.setFaults(`n${node}`, { isCut: true });
    return Promise.resolve();
  }

  loseAnswers(node: number, isLost: boolean): void {
    this.etcd.setFaults(`n${node}`, isLost ? { answerLost: 1 } : {});
  }

  loseQuorum(): Promise<void> {
    this.etcd.setQuorum(false);
    return Promise.resolve();
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.time.after(ms, resolve));
  }

  nowMs(): number {
    return this.time.nowMs();
  }
}

for (const each of STORE_CASES) {
  test(`own registers: ${each.name}`, async () => {
    const world = new OwnWorld();
    await drive(each.run(world), () => {
      tick(world.inner.time);
      world.inner.spread();
    });
  });
  test(`etcd: ${each.name}`, async () => {
    const world = new EtcdWorld();
    await drive(each.run(world), () => tick(world.time));
  });
}

test('etcd: a node that starts lists more claims than one answer holds, page by page', () => {
  const world = new EtcdWorld();
  const count = REGISTER_LIMITS.rowsMax + 1;
  let open = count;
  for (let at = 0; at < count; at += 1) {
    world.store(0).claims.claim(`k${at}`, 'a', '', (answer) => {
      ok(answer.ok && answer.value.kind === 'won');
      open -= 1;
    });
  }
  while (open > 0) tick(world.time);
  const late = storeOf(world.time, world.etcd, 9);
  const pages = () => {
    const first = late.claims.list({ after: '', limit: REGISTER_LIMITS.rowsMax });
    const { next } = first;
    const rest = next === null ? null : late.claims.list({ after: next, limit: count });
    return [first.items.length, rest?.items.length ?? 0, rest?.next];
  };
  for (let ticks = 0; ticks < 1_000 && pages()[1] === 0; ticks += 1) tick(world.time);
  deepEqual(pages(), [REGISTER_LIMITS.rowsMax, 1, null]);
});

test('etcd: under faults one claim wins, one node holds, and numbers rise (seeds=8)', async (t) => {
  const all = { won: 0, holders: 0 };
  for (let seed = 1; seed <= 8; seed += 1) {
    const world = new EtcdWorld();
    const prng = createPrng(seed);
    const untilMs = 90_000;
    const breakIt = async (): Promise<void> => {
      while (world.nowMs() < untilMs) {
        const node = `n${prng.nextBelow(3)}`;
        const dice = prng.nextBelow(4);
        if (dice === 0) world.etcd.setQuorum(false);
        else if (dice === 1) world.etcd.setFaults(node, { isCut: true });
        else if (dice === 2) world.etcd.setFaults(node, { answerLost: 1 });
        else world.etcd.setFaults(node, { requestLost: 0.3, answerLost: 0.3, late: 0.3 });
        // Some last longer than a call is tried for.
        await world.sleep(prng.nextBelow(4) === 0 ? 14_000 : prng.nextBelow(6_000));
        world.etcd.setQuorum(true);
        for (const each of [0, 1, 2]) world.etcd.setFaults(`n${each}`, {});
        await world.sleep(prng.nextBelow(2_000));
      }
    };
    const work = Promise.all([raceUnderFaults(world, createPrng(seed * 7), untilMs), breakIt()]);
    await drive(
      work.then(([told]) => {
        all.won += told.won;
        all.holders += told.holders;
      }),
      () => tick(world.time),
    ).catch((cause: unknown) => {
      throw new Error(`seed ${seed}`, { cause });
    });
  }
  t.diagnostic(JSON.stringify(all));
  ok(all.won > 100 && all.holders > 16, JSON.stringify(all));
});
