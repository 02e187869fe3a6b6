/**
 * `npm test`: all tests, each file in a process of its own, with one closing report. Two lanes run
 * beside each other: files that start processes and wait for them most of the time, as many at once as
 * there are cores, and files that compute, one for each two cores; so that what one leaves idle the
 * other uses, and no test of real processes has more than that beside it.
 *
 * With arguments (`npm test -- src/io/http1/*.test.ts`) only those files run.
 */

import { globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { ensureChromium } from './chromium.ts';
import { report, runLane } from './testLanes.ts';

const TEST_MS = 300_000;

const chosen = process.argv.slice(2);
const files = (chosen.length > 0 ? chosen : ['{src,tools,bench,test}/**/*.test.ts'])
  .flatMap((pattern) => globSync(pattern))
  .toSorted();
if (files.length === 0) {
  console.error(`test: no test file matches ${chosen.join(' ')}`);
  process.exit(2);
}
if (chosen.length === 0) ensureChromium();
const cores = availableParallelism();
const waiting = files.filter((file) => /^test\/(e2e|conformance)\//.test(file));
const computing = files.filter((file) => !waiting.includes(file));
const lanes = [
  runLane(waiting, cores, TEST_MS),
  runLane(computing, waiting.length === 0 ? cores : Math.ceil(cores / 2), TEST_MS),
];
const isGood = await report(lanes, process.env['BANYAN_TEST_REPORTER'] ?? 'spec');
process.exitCode = isGood ? 0 : 1;
