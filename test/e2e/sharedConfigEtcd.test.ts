/** The shared configuration of three real nodes whose control state three real etcd servers keep. */

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import {
  startControlRegions,
  type ControlRegion,
  type ControlRegions,
} from '../support/controlRegions.ts';
import { etcdAbsent, startEtcd, type EtcdCluster } from '../support/etcdCluster.ts';
import { until } from '../support/node.ts';

interface Config {
  readonly newest: number;
  readonly base: number;
  readonly rollout: {
    readonly region: string | null;
    readonly done: readonly string[];
    readonly halted: string | null;
  } | null;
  readonly items: readonly { readonly region: string; readonly applied: number | null }[];
}

/** Everything a push says is the same in these tests but the model's name and the time of the bake. */
const textOf = (model: string, bakeMs = 300, more = ''): string =>
  [
    `rollout: { bakeMs: ${bakeMs} }`,
    `targets: [{ name: t, kind: openai, baseUrl: "http://127.0.0.1:9/v1"${more} }]`,
    `models: [{ name: ${model}, targets: [t] }]`,
  ].join('\n');

describe('shared configuration in etcd', { skip: etcdAbsent() }, () => {
  let etcd: EtcdCluster;
  let regions: ControlRegions;

  before(async () => {
    etcd = await startEtcd();
    // A variable that one region does not have.
    const env = (name: string) => (name === 'us' ? {} : { ONLY_HERE: 'x' });
    regions = await startControlRegions({ etcd, env });
  });

  after(async () => {
    await regions.close();
    await etcd.close();
  });

  const push = async (text: string, more: object = {}) => {
    const said = await regions
      .region(0)
      .admin('/admin/v1/config', { action: 'push', text, ...more });
    assert.equal(said?.status, 200, JSON.stringify(said));
  };
  const config = async () => {
    const said = await regions.region(1).admin('/admin/v1/config');
    assert.equal(said?.status, 200, JSON.stringify(said));
    return said.body as unknown as Config;
  };
  const has = async (region: ControlRegion, model: string) => {
    const said = await region.admin('/admin/v1/models');
    return JSON.stringify(said?.body ?? '').includes(`"model":"${model}"`);
  };
  const everywhere = async (model: string) =>
    (await Promise.all(regions.all.map((region) => has(region, model)))).every(Boolean);

  it('an emergency push is in all regions within 2 s', async () => {
    await push(textOf('first'), { emergency: true });
    await until('all have it', () => everywhere('first'), 2_000);
  });

  it('a push goes through the regions one by one, though no link is between them', async () => {
    const knowsAll = async () => (await config()).items.length === 3;
    await until('each has told that it is there', knowsAll, 15_000);
    await push(textOf('second', 1_000));
    const order: string[] = [];
    const isOver = async () => {
      const { rollout, base } = await config();
      assert.equal(rollout?.halted ?? null, null);
      const region = rollout?.region ?? null;
      if (region !== null && !order.includes(region)) order.push(region);
      return base === 2 && rollout === null;
    };
    await until('it is everywhere', isOver, 60_000);
    assert.deepEqual(order.toSorted(), ['ap', 'eu', 'us']);
    assert.ok(await everywhere('second'));
    const audit = await regions.region(2).admin('/admin/v1/audit');
    assert.doesNotMatch(JSON.stringify(audit?.body), /not heard/);
  });

  it('what one region cannot take halts there, and the others keep what they have', async () => {
    await push(textOf('third', 300, ', headers: { x-a: "${ONLY_HERE}" }'));
    const halted = async () => (await config()).rollout?.halted ?? null;
    await until('it halts', async () => (await halted()) !== null, 60_000);
    assert.match((await halted()) ?? '', /^us: it refuses the version: .*ONLY_HERE is not set/s);
    assert.ok(await has(regions.region(2), 'second'), 'us serves by what it had');
    const said = await regions.region(2).admin('/admin/v1/config', { action: 'rollback' });
    assert.equal(said?.status, 200, JSON.stringify(said));
    await until('all are back', () => everywhere('second'), 5_000);
  });

  it('without etcd a node starts with what it had', async () => {
    const region = regions.region(0);
    for (const server of etcd.servers) await server.kill9();
    await region.kill9();
    await region.start();
    assert.ok(await has(region, 'second'));
  });
});
