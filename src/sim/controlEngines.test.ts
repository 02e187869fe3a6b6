/** Both engines of the control state in virtual time: one suite. */

import { test } from 'node:test';

import { ENGINE_CASES } from '../replica/control/engineSuite.ts';
import { EtcdWorld, RaftWorld } from './controlWorlds.ts';
import { inVirtualTime } from './driveTime.ts';

for (const each of ENGINE_CASES) {
  test(`own group: ${each.name}`, async () => {
    const world = new RaftWorld();
    await inVirtualTime(
      world.time,
      world.open().then(() => each.run(world)),
    );
  });
  test(`etcd: ${each.name}`, async () => {
    const world = new EtcdWorld();
    const run = world.open().then(() => each.run(world));
    await inVirtualTime(world.time, run).catch((cause: unknown) => {
      throw new Error(world.notes.join('\n'), { cause });
    });
  });
}
