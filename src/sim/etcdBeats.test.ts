/** What nodes tell beside the control state, in virtual time. */

import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';

import { decodeUtf8, encodeUtf8 } from '../base/bytes.ts';
import { ETCD_LIMITS } from '../base/etcdLimits.ts';
import { createPrng } from '../base/prng.ts';
import { VirtualTime } from '../base/virtualTime.ts';
import { EtcdBeats } from '../replica/etcd/beats.ts';
import type { Beat } from '../replica/sharedConfig/beats.ts';
import { inVirtualTime } from './driveTime.ts';
import { SimEtcd } from './etcd.ts';

type Told = ReadonlyMap<string, Beat> | null;

function inCluster(
  name: string,
  run: (etcd: SimEtcd, time: VirtualTime, of: (name: string) => EtcdBeats) => Promise<void>,
): void {
  test(name, async () => {
    const time = new VirtualTime();
    const etcd = new SimEtcd(time, createPrng(1));
    const of = (peer: string) =>
      new EtcdBeats({ store: etcd.client(peer), prefix: 'banyan', name: peer, clock: time });
    await inVirtualTime(time, run(etcd, time, of));
  });
}

function exchange(beats: EtcdBeats, own: string | null): Promise<Told> {
  return new Promise((resolve) => {
    beats.exchange(own === null ? null : encodeUtf8(own), resolve);
  });
}

function sleep(time: VirtualTime, ms: number): Promise<void> {
  return new Promise((resolve) => time.after(ms, resolve));
}

function textsOf(told: Told): unknown {
  return told === null ? null : [...told].map(([peer, { value }]) => [peer, decodeUtf8(value)]);
}

inCluster('each node hears what all told last, and that it was told anew', async (_, _time, of) => {
  const [eu, us] = [of('eu-central-1'), of('us-east-2/two')];
  deepEqual(textsOf(await exchange(eu, 'a')), [['eu-central-1', 'a']]);
  const first = await exchange(us, 'b');
  deepEqual(textsOf(first), [
    ['eu-central-1', 'a'],
    ['us-east-2/two', 'b'],
  ]);
  await exchange(eu, 'a');
  const second = await exchange(us, null);
  deepEqual(textsOf(second), textsOf(first));
  const at = (told: Told) => told?.get('eu-central-1')?.modRevision ?? 0;
  equal(at(second) > at(first), true);
});

inCluster('who tells no more is gone after a while, who does stays (EB2)', async (_, time, of) => {
  const [eu, us] = [of('eu-central-1'), of('us-east-2')];
  await exchange(us, 'b');
  for (let passed = 0; passed < ETCD_LIMITS.beatMs * 2; passed += 2_500) {
    await exchange(eu, 'a');
    await sleep(time, 2_500);
  }
  deepEqual(textsOf(await exchange(us, null)), [['eu-central-1', 'a']]);
});

inCluster(
  'a cluster without a quorum gives no answer, and is told to later',
  async (etcd, _, of) => {
    const eu = of('eu-central-1');
    etcd.setQuorum(false);
    equal(await exchange(eu, 'a'), null);
    etcd.setQuorum(true);
    deepEqual(textsOf(await exchange(eu, 'a')), [['eu-central-1', 'a']]);
  },
);
