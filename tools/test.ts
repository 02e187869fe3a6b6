/**
 * `npm test`: all tests, each file in a process of its own, with one closing report. One more at a time
 * than there are cores: the long ones wait for processes more than they work.
 *
 * With arguments (`npm test -- src/io/http1/*.test.ts`) only those files run.
 */

import { globSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { ensureChromium } from './chromium.ts';

const chosen = process.argv.slice(2);
const files = (chosen.length > 0 ? chosen : ['{src,tools,bench,test}/**/*.test.ts'])
  .flatMap((pattern) => globSync(pattern))
  .toSorted();
if (files.length === 0) {
  console.error(`test: no test file matches ${chosen.join(' ')}`);
  process.exit(2);
}
if (chosen.length === 0) ensureChromium();
const run = spawnSync(
  process.execPath,
  [
    '--disable-warning=ExperimentalWarning',
    `--import=${join(import.meta.dirname, 'testWatchdog.ts')}`,
    '--test',
    `--test-concurrency=${availableParallelism() + 1}`,
    '--test-timeout=300000',
    `--test-reporter=${process.env['BANYAN_TEST_REPORTER'] ?? 'spec'}`,
    ...files,
  ],
  { stdio: 'inherit' },
);
process.exitCode = run.status ?? 1;
