/**
 * `npm run check`: everything that can be said about the tree without running the product, the
 * quick checks side by side. `--fix` formats instead of checking the format.
 */

import { spawn } from 'node:child_process';
import { globSync } from 'node:fs';
import { cpus } from 'node:os';

interface Step {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
}

const isFix = process.argv.includes('--fix');
const CORES = 'base,protocol,raft,caspaxos,storage,routing,providers,exchange,regions,replica,sim';
/** Hunts of many seconds: `npm test` runs them. */
const LONG: ReadonlySet<string> = new Set([
  'src/caspaxos/bugs.test.ts',
  'src/caspaxos/cluster.test.ts',
  'src/caspaxos/model.test.ts',
  'src/sim/caspaxos.test.ts',
  'src/sim/controlFaults.test.ts',
  'src/sim/registers.test.ts',
  'src/sim/simulator.test.ts',
]);

function coreTests(): readonly string[] {
  return globSync(`src/{${CORES}}/**/*.test.ts`).filter((file) => !LONG.has(file));
}

const STEPS: readonly Step[] = [
  { name: 'types of cores', command: 'tsc', args: ['-p', 'tsconfig.core.json'] },
  { name: 'types', command: 'tsc', args: ['-p', 'tsconfig.json'] },
  { name: 'lint', command: 'oxlint', args: ['--deny-warnings', 'src', 'tools', 'test', 'bench'] },
  { name: 'format', command: 'oxfmt', args: isFix ? ['.'] : ['--check', '.'] },
  { name: 'tidy', command: 'node', args: ['tools/tidy.ts'] },
  { name: 'generated files', command: 'node', args: ['tools/generate.ts', '--check'] },
  { name: 'dead code', command: 'knip', args: ['--no-progress'] },
  {
    name: 'unit tests of cores',
    command: 'node',
    args: ['--test', '--test-isolation=none', '--test-reporter=dot', ...coreTests()],
  },
];

/** Runs one step and resolves with its output and whether it passed. */
function run(step: Step): Promise<{ step: Step; isGood: boolean; output: string; ms: number }> {
  const startedMs = Date.now();
  return new Promise((resolve) => {
    const child = spawn(step.command, step.args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const parts: Buffer[] = [];
    child.stdout.on('data', (part: Buffer) => parts.push(part));
    child.stderr.on('data', (part: Buffer) => parts.push(part));
    const done = (isGood: boolean, more: string): void => {
      const output = Buffer.concat(parts).toString('utf8') + more;
      resolve({ step, isGood, output, ms: Date.now() - startedMs });
    };
    child.on('error', (cause) => done(false, cause.message));
    child.on('close', (code) => done(code === 0, ''));
  });
}

const waiting = [...STEPS];
let failedCount = 0;
const lanes = Array.from({ length: Math.max(1, Math.min(2, cpus().length)) }, async () => {
  for (let step = waiting.shift(); step !== undefined; step = waiting.shift()) {
    const result = await run(step);
    const seconds = (result.ms / 1000).toFixed(1);
    console.log(`${result.isGood ? 'ok    ' : 'FAILED'} ${result.step.name} (${seconds} s)`);
    if (result.isGood) continue;
    failedCount += 1;
    console.log(result.output.trimEnd());
  }
});
await Promise.all(lanes);
console.log(
  failedCount === 0 ? 'check: all good' : `check: ${failedCount} of ${STEPS.length} failed`,
);
process.exitCode = failedCount === 0 ? 0 : 1;
