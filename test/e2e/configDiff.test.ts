/** What `banyan config diff` compares where no side is named. */

import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';

import { serveRoutes } from '../../src/io/admin/route.ts';
import { startAdminServer } from '../../src/io/admin/server.ts';
import type { ControlBackend } from '../../src/main/control/backend.ts';
import { configHandlers } from '../../src/main/sharedConfig/configAdmin.ts';
import { CONFIG_ROUTES } from '../../src/main/sharedConfig/configRoutes.ts';
import type { SharedConfigNode } from '../../src/main/sharedConfig/sharedNode.ts';
import { RolloutWorld } from '../../src/replica/sharedConfig/rolloutTestkit.ts';
import { runBanyan } from '../support/banyan.ts';

const HERE = 'eu-central-1';

/** The names of both sides, in a world to which this has happened. */
async function compared(happens: (world: RolloutWorld) => void): Promise<readonly string[]> {
  const world = new RolloutWorld(HERE);
  happens(world);
  // Only what is looked at.
  const backend = { engine: { view: world.machine } } as unknown as ControlBackend;
  const shared = { regions: [HERE], peers: [] } as unknown as SharedConfigNode;
  const handlers = configHandlers({ backend, shared, wallMs: () => 1_000 });
  const admin = await startAdminServer({
    host: '127.0.0.1',
    port: 0,
    access: null,
    nowMs: () => performance.now(),
    views: {
      isReady: () => true,
      metrics: () => Promise.resolve({ contentType: 'text/plain', text: '' }),
      warnings: () => [],
    },
    routes: serveRoutes(CONFIG_ROUTES, handlers),
  });
  const server = `http://127.0.0.1:${admin.port}`;
  const run = await runBanyan(['config', 'diff', '-o', 'json', '--server', server]);
  await admin.close();
  equal(run.code, 0, run.stderr);
  const { from, to } = JSON.parse(run.stdout) as { readonly from: string; readonly to: string };
  return [from, to];
}

function everywhere(world: RolloutWorld, text: string): void {
  world.push(text);
  world.steps();
  equal(world.head.rollout, null);
}

function rolledBack(world: RolloutWorld, text: string): void {
  world.push(text);
  world.step();
  world.end();
}

test('the newest version is compared with the one that was in force before it', async () => {
  const sides = await compared((world) => {
    everywhere(world, 'a: 1\n');
    rolledBack(world, 'a: 2\n');
    rolledBack(world, 'a: 3\n');
    everywhere(world, 'a: 4\n');
  });
  deepEqual(sides, ['version 1', 'version 4']);
});

test('where none was in force before, the newest version is compared with nothing', async () => {
  const sides = await compared((world) => {
    rolledBack(world, 'a: 1\n');
    everywhere(world, 'a: 2\n');
  });
  deepEqual(sides, ['version 0', 'version 2']);
  deepEqual(await compared((world) => everywhere(world, 'a: 1\n')), ['version 0', 'version 1']);
});

test('a version that an emergency went before was not in force everywhere', async () => {
  const sides = await compared((world) => {
    everywhere(world, 'a: 1\n');
    world.push('a: 2\n');
    world.step();
    world.push('a: 3\n', { isEmergency: true });
  });
  deepEqual(sides, ['version 1', 'version 3']);
});

test('a version on its way, or rolled back, is compared with what is in force', async () => {
  const onItsWay = await compared((world) => {
    everywhere(world, 'a: 1\n');
    rolledBack(world, 'a: 2\n');
    world.push('a: 3\n');
    world.step();
  });
  deepEqual(onItsWay, ['version 1', 'version 3']);
  const isBack = await compared((world) => {
    everywhere(world, 'a: 1\n');
    rolledBack(world, 'a: 2\n');
  });
  deepEqual(isBack, ['version 1', 'version 2']);
});
