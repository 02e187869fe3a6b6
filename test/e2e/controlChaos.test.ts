/** The control state of three real regions under faults, with both engines: `npm run chaos -- --of …`. */

import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';

import { runControlChaos } from '../chaos/controlRun.ts';
import { etcdAbsent } from '../support/etcdCluster.ts';

for (const engine of ['raft', 'etcd'] as const) {
  const skip = engine === 'etcd' ? etcdAbsent() : false;
  test(
    `${engine}: under kills, pauses, cut links and clock steps the history of keys is linearizable`,
    { skip },
    async (t) => {
      const seed = Number(process.env['CHAOS_SEED'] ?? Date.now() % 100_000);
      t.diagnostic(`CHAOS_SEED=${seed}`);
      const log = (line: string): void => t.diagnostic(line);
      const result = await runControlChaos({ engine, seed, durationMs: 8_000, log });
      for (const line of result.skipped) t.diagnostic(`not done here: ${line}`);
      equal(result.refusal, null);
      ok(result.answered > 20, `${result.answered} answered`);
    },
  );
}
