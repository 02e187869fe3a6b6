/** Changes of the shared configuration at a node that may be behind. */

import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';

import { err, ok } from '../../base/result.ts';
import type { Caller } from '../../io/admin/route.ts';
import type { ControlEngine } from '../../replica/control/engine.ts';
import { RolloutWorld } from '../../replica/sharedConfig/rolloutTestkit.ts';
import type { ControlBackend } from '../control/backend.ts';
import { configHandlers } from './configAdmin.ts';
import type { ConfigBody } from './configRoutes.ts';
import type { SharedConfigNode } from './sharedNode.ts';

const HERE = 'eu-central-1';
const TEXT = 'rollout: { bakeMs: 0 }\n';
const CALLER: Caller = { who: 'local', role: 'admin', from: '::1', authorization: null };
const BACK: ConfigBody = {
  action: 'rollback',
  version: 1,
  emergency: false,
  dryRun: true,
  who: 'ops',
  why: '',
};

/** A node that has nothing yet of what the others did; `hasQuorum`: it can learn of it. */
function behind(hasQuorum: boolean) {
  const [seen, done] = [new RolloutWorld(HERE), new RolloutWorld(HERE)];
  done.push(TEXT, { isEmergency: true });
  done.push(`${TEXT}# 2\n`, { isEmergency: true });
  let { machine: view } = seen;
  const engine: Pick<ControlEngine, 'view' | 'confirm'> = {
    get view() {
      return view;
    },
    confirm: (told) => {
      if (!hasQuorum) return told(err({ kind: 'unavailable', detail: 'No quorum.' }));
      view = done.machine;
      told(ok(view.revision));
    },
  };
  let checks = 0;
  // Only what a change looks at.
  const backend = { engine, group: null } as unknown as ControlBackend;
  const shared = {
    regions: [HERE],
    checkEverywhere: () => {
      checks += 1;
      return Promise.resolve(new Map([[HERE, []]]));
    },
  } as unknown as SharedConfigNode;
  const { changeConfig } = configHandlers({ backend, shared, wallMs: () => 1_000 });
  return {
    ask: async (body: ConfigBody) => changeConfig({ query: null, body, caller: CALLER }),
    checks: () => checks,
  };
}

test('a node that is behind goes back to a version that it has not heard of yet', async () => {
  const would = `config rollback 1 as 3: to ${HERE}; 0 s in each`;
  deepEqual(await behind(true).ask(BACK), ok({ dryRun: true, would }));
});

test('a version is unknown only where the node is not behind', async () => {
  const answer = await behind(true).ask({ ...BACK, version: 9 });
  equal(answer.ok ? '' : answer.error.code, 'unknown_version');
});

test('without a quorum a rollback is refused as any other change, before nodes are asked', async () => {
  const node = behind(false);
  const answer = await node.ask(BACK);
  deepEqual(answer.ok ? null : [answer.error.status, answer.error.code], [503, 'no_quorum']);
  equal(node.checks(), 0);
});
