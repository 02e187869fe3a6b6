/**
 * `npm test`: all tests, each file in a process of its own, with one closing report. Two lanes run
 * beside each other. Files of real time (processes, sockets) wait most of the time: one more of them at
 * once than there are cores. Files that compute run in what those leave, at a lower priority, one for
 * each core.
 *
 * With arguments (`npm test -- src/io/http1/*.test.ts`) only those files run.
 */

import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { ensureChromium } from './chromium.ts';
import { report, runLane, SilenceWatch } from './testLanes.ts';

const TEST_MS = 300_000;
/** More than a file may take (`testWatchdog.ts`). */
const SILENT_MS = 540_000;
const REAL_TIME = /^(?:test\/(?:e2e|conformance)|src\/(?:io|main))\//;

/**
 * Compiles what almost every process of the tests loads. Without it all that start before the first of
 * them has ended well do so, each by itself: 2.1 s of processor time for a node's start in place of 0.8 s.
 */
const WARM_UP = `
  for (const name of ['serve', 'witness', 'up/supervisor', 'kv/serve', 'top/snapshot'])
    await import(\`./src/main/\${name}.ts\`);
  process.argv.splice(1, Infinity, 'banyan', '--version');
  await import('./src/main/cli.ts');`;

const chosen = process.argv.slice(2);
const files = (chosen.length > 0 ? chosen : ['{src,tools,bench,test}/**/*.test.ts'])
  .flatMap((pattern) => globSync(pattern))
  .toSorted()
  .toReversed(); // The long ones, those of `test/`, come first: no core is idle at the end.
if (files.length === 0) {
  console.error(`test: no test file matches ${chosen.join(' ')}`);
  process.exit(2);
}
if (chosen.length === 0) {
  ensureChromium();
  spawnSync(process.execPath, ['--input-type=module', '--eval', WARM_UP], { stdio: 'ignore' });
}
const stopped = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stopped.abort());
const { signal } = stopped;
const cores = availableParallelism();
const real = files.filter((file) => REAL_TIME.test(file));
const computing = files.filter((file) => !REAL_TIME.test(file));
const lanes = [
  runLane(real, { concurrency: cores + 1, limitMs: TEST_MS, imports: ['testWatchdog.ts'], signal }),
  runLane(computing, {
    concurrency: cores,
    limitMs: TEST_MS,
    imports: ['testWatchdog.ts', 'testGentle.ts'],
    signal,
  }),
];
const watch = new SilenceWatch(SILENT_MS, (under) => {
  console.error(`test: nothing came for ${SILENT_MS / 1000} s; under way: ${under.join(' ')}`);
  stopped.abort();
});
const isGood = await report(lanes, process.env['BANYAN_TEST_REPORTER'] ?? 'spec', watch);
process.exitCode = isGood ? 0 : 1;
