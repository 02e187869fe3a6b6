/** Both stores of leases, claims and names in virtual time: one suite. */

import { ok } from 'node:assert/strict';
import { test } from 'node:test';

import { createPrng } from '../base/prng.ts';
import { VirtualTime } from '../base/virtualTime.ts';
import { EtcdRegisters } from '../replica/etcd/registers.ts';
import type { RegisterStore } from '../replica/registers/port.ts';
import { STORE_CASES, type StoreWorld } from '../replica/registers/storeSuite.ts';
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
    const { region } = this.inner.node(node);
    for (const other of this.inner.nodes) {
      if (isLost) this.inner.cuts.add(`${other.region} ${region}`);
      else this.inner.cuts.delete(`${other.region} ${region}`);
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

class EtcdWorld implements StoreWorld {
  readonly time = new VirtualTime();
  readonly etcd = new SimEtcd(this.time, createPrng(1));
  readonly stores = [0, 1, 2].map((node) => {
    const store = new EtcdRegisters({
      store: this.etcd.client(`n${node}`),
      prefix: 'banyan',
      region: `r${node}`,
      claimMs: 3_600_000,
      clock: this.time,
      timers: this.time,
      prng: createPrng(node + 7),
      refusal: () => null,
    });
    store.start();
    return store;
  });

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
