/**
 * The suite of leases, claims and names on an etcd cluster of three real servers. Virtual time, and
 * our own registers: `src/sim/registerStores.test.ts`.
 */

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { createPrng } from '../../src/base/prng.ts';
import { createClock, createTimers } from '../../src/io/clock.ts';
import { EtcdClient } from '../../src/io/etcd/client.ts';
import { EtcdRegisters } from '../../src/replica/etcd/registers.ts';
import type { ClaimAnswer, RegisterStore } from '../../src/replica/registers/port.ts';
import {
  raceUnderFaults,
  STORE_CASES,
  type StoreWorld,
} from '../../src/replica/registers/storeSuite.ts';
import { etcdAbsent, startEtcd, type EtcdCluster } from '../support/etcdCluster.ts';
import { lossyStore } from '../support/lossyEtcd.ts';

const CASE_MS = 60_000;
const clock = createClock();
const timers = createTimers();
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

class RealEtcdWorld implements StoreWorld {
  readonly #cluster: EtcdCluster;
  readonly #clients: EtcdClient[] = [];
  readonly #stores: EtcdRegisters[] = [];
  readonly #losing = new Set<number>();

  constructor(cluster: EtcdCluster, prefix: string, claimMs = 3_600_000) {
    this.#cluster = cluster;
    for (const node of [0, 1, 2]) {
      const client = new EtcdClient({ endpoints: cluster.endpoints, tls: null, user: null });
      const store = new EtcdRegisters({
        store: lossyStore(client, () => this.#losing.has(node)),
        prefix,
        name: `r${node}`,
        claimMs,
        clock,
        timers,
        prng: createPrng(Date.now() + node),
        refusal: () => null,
      });
      store.start();
      this.#clients.push(client);
      this.#stores.push(store);
    }
  }

  async close(): Promise<void> {
    for (const store of this.#stores) {
      await Promise.race([new Promise<void>((resolve) => store.stop(resolve)), sleep(500)]);
    }
    for (const client of this.#clients) client.close();
  }

  store(node: number): RegisterStore {
    return this.#stores[node] ?? assert.fail(`there is a node ${node}`);
  }

  crash(node: number): Promise<void> {
    this.#clients[node]?.close();
    this.#losing.add(node);
    return Promise.resolve();
  }

  loseAnswers(node: number, isLost: boolean): void {
    if (isLost) this.#losing.add(node);
    else this.#losing.delete(node);
  }

  async loseQuorum(): Promise<void> {
    await this.#cluster.server(0).kill9();
    this.#cluster.server(1).signal('SIGSTOP');
  }

  sleep(ms: number): Promise<void> {
    return sleep(ms);
  }

  nowMs(): number {
    return clock.nowMs();
  }
}

// Each of the two breaks servers of its own, and waits for limits of time most of the while.
const options = { skip: etcdAbsent(), concurrency: 2 };
describe('leases, claims and names, three real etcd servers', options, () => {
  describe('the suite', { concurrency: 1 }, () => {
    let cluster: EtcdCluster;

    before(async () => {
      cluster = await startEtcd();
    });

    after(() => cluster.close());

    for (const [at, each] of STORE_CASES.entries()) {
      it(each.name, { timeout: CASE_MS }, async () => {
        const world = new RealEtcdWorld(cluster, `case${at}`);
        try {
          await each.run(world);
        } finally {
          await world.close();
          cluster.heal();
          await cluster.leader();
        }
      });
    }
  });

  describe('time and faults', { concurrency: 1 }, () => {
    let cluster: EtcdCluster;

    before(async () => {
      cluster = await startEtcd();
    });

    after(() => cluster.close());

    it('a claim stands for its time at least, and then the key is free', async () => {
      const claimMs = 3_000;
      const world = new RealEtcdWorld(cluster, 'expiring', claimMs);
      const claim = (node: number, owner: string): Promise<string> =>
        new Promise((resolve, reject) => {
          world.store(node).claims.claim('k', owner, '', (answer) => {
            if (answer.ok) resolve((answer.value satisfies ClaimAnswer).kind);
            else reject(new Error(answer.error.detail));
          });
        });
      try {
        await sleep(claimMs / 3);
        assert.equal(await claim(0, 'a'), 'won');
        const wonMs = clock.nowMs();
        let standsMs = 0;
        while ((await claim(1, 'b')) === 'taken') {
          standsMs = clock.nowMs() - wonMs;
          assert.ok(standsMs < claimMs * 4, `${standsMs} ms`);
          await sleep(100);
        }
        assert.ok(standsMs >= claimMs, `${standsMs} ms`);
      } finally {
        await world.close();
      }
    });

    it('under kills, pauses and cut wires one claim wins, one node holds, and numbers rise', async (t) => {
      const seed = Number(process.env['CHAOS_SEED'] ?? Date.now() % 100_000);
      t.diagnostic(`CHAOS_SEED=${seed}`);
      const prng = createPrng(seed);
      const world = new RealEtcdWorld(cluster, 'race');
      const untilMs = clock.nowMs() + 8_000;
      const breakIt = async (): Promise<void> => {
        while (clock.nowMs() < untilMs) {
          const server = cluster.server(prng.nextBelow(3));
          const dice = prng.nextBelow(4);
          if (dice === 0) await server.kill9();
          else if (dice === 1) server.signal('SIGSTOP');
          else if (dice === 2) server.clientWire.setCut(true);
          else server.peerWire.setCut(true);
          await sleep(prng.nextBelow(3_000));
          cluster.heal();
          await sleep(prng.nextBelow(1_500));
        }
      };
      try {
        const [told] = await Promise.all([
          raceUnderFaults(world, createPrng(seed), untilMs),
          breakIt(),
        ]);
        t.diagnostic(JSON.stringify(told));
        assert.ok(told.won > 2, JSON.stringify(told));
      } finally {
        await world.close();
      }
    });
  });
});
