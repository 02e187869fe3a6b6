/**
 * `npm run chaos -- --of WHAT --minutes M --seed N`: real processes under kills, pauses, cut links and
 * clock steps, while clients read and write; the history must be linearizable and all equal in the
 * end. WHAT is `kv` (three `banyan kv`, full disks too), `raft` or `etcd` (the control state of three
 * regions, kept by their own group or by three etcd servers, which are broken too), `claims` or
 * `claims-etcd` (leases and claims of the same, the nodes' clocks stepped often). Runs of a minute
 * follow one another, each with its own seed.
 *
 * Exit codes: 0 all well, 1 something is not, 2 the command line is wrong.
 */

import { parseArgs } from 'node:util';

import { helpIfAsked } from '../support/usage.ts';
import { runControlChaos } from './controlRun.ts';
import { runChaos } from './run.ts';

const USAGE = `usage: npm run chaos -- [--of kv|raft|etcd|claims|claims-etcd] [--minutes N] [--seed N]
  --of WHAT    what is broken (default kv)
  --minutes N  how long (default 10)
  --seed N     of clients and faults (default: from the clock; it is printed)`;
const RUN_MS = 60_000;

const KINDS = ['kv', 'raft', 'etcd', 'claims', 'claims-etcd'] as const;

interface Options {
  readonly of: (typeof KINDS)[number];
  readonly minutes: number;
  readonly seed: number;
}

function readOptions(args: readonly string[]): Options | null {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: { of: { type: 'string' }, minutes: { type: 'string' }, seed: { type: 'string' } },
    });
    const minutes = Number(values.minutes ?? '10');
    const seed = Number(values.seed ?? String(Date.now() % 1_000_000));
    const of = KINDS.find((kind) => kind === (values.of ?? 'kv'));
    if (of === undefined) return null;
    return minutes > 0 && Number.isSafeInteger(seed) ? { of, minutes, seed } : null;
  } catch {
    return null; // An unknown option.
  }
}

helpIfAsked(USAGE);
const options = readOptions(process.argv.slice(2));
if (options === null) {
  console.error(USAGE);
  process.exitCode = 2;
} else {
  const endMs = performance.now() + options.minutes * 60_000;
  for (let seed = options.seed; performance.now() < endMs; seed += 1) {
    const durationMs = Math.min(RUN_MS, endMs - performance.now());
    console.log(`seed ${seed}`);
    const run = { seed, durationMs, log: (line: string) => console.log(`  ${line}`) };
    const { of } = options;
    const ofClaims = of === 'claims' || of === 'claims-etcd';
    const engine = of === 'etcd' || of === 'claims-etcd' ? 'etcd' : 'raft';
    const result = await (of === 'kv'
      ? runChaos(run)
      : runControlChaos({ ...run, engine, ofClaims }));
    const { operations, answered, refused, unknown, faults, skipped, refusal } = result;
    const drawn = [...faults].map(([fault, count]) => `${fault} ${count}`).join(', ');
    console.log(
      `  ${operations} operations: ${answered} answered, ${refused} refused, ${unknown} unknown`,
    );
    console.log(`  faults: ${drawn}`);
    for (const line of skipped) console.log(`  not done here: ${line}`);
    if (refusal !== null) {
      console.error(refusal);
      process.exitCode = 1;
      break;
    }
  }
}
