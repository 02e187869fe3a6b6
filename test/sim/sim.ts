/**
 * `npm run sim -- --seed 7`: one run of a simulated Raft group, told in words. A run that breaks a
 * claim is made smaller, and ends with the command that shows the smaller one.
 *
 * Exit codes: 0 every claim held, 1 one did not, 2 the command line is wrong.
 */

import { parseArgs } from 'node:util';

import { drawPlan, type Plan } from '../../src/sim/plan.ts';
import { runPlan, type RunResult } from '../../src/sim/run.ts';
import {
  CALMABLE,
  describeReduction,
  reducePlan,
  shrink,
  WHOLE,
  type Calmable,
  type Reduction,
} from '../../src/sim/shrink.ts';

const USAGE = `usage: npm run sim -- [--seed N] [--faults LIST] [--clients N] [--calm LIST] [-o text|json]
  --seed N       which run (default: from the clock; it is printed)
  --faults LIST  only the faults of these numbers, for example 3,7,12; "none" for none
  --clients N    so many clients instead of the number drawn
  --calm LIST    what stays calm, of ${CALMABLE.join(', ')}
  --no-shrink    a run that fails is not made smaller
  -o json        the result as JSON`;

interface Options {
  readonly seed: number;
  readonly reduction: Reduction;
  readonly isShrunk: boolean;
  readonly isJson: boolean;
}

function isCalmable(name: string): name is Calmable {
  return (CALMABLE as readonly string[]).includes(name);
}

function readReduction(values: {
  readonly faults?: string;
  readonly clients?: string;
  readonly calm?: string;
}): Reduction | string {
  const numbers = values.faults === 'none' ? [] : (values.faults?.split(',').map(Number) ?? null);
  const clients = values.clients === undefined ? null : Number(values.clients);
  const calm = values.calm?.split(',') ?? [];
  if (numbers?.some((number) => !Number.isSafeInteger(number)) === true) {
    return '--faults: whole numbers with commas';
  }
  if (clients !== null && !(clients >= 1 && clients <= 16)) return '--clients: 1 to 16';
  if (!calm.every(isCalmable)) return `--calm: of ${CALMABLE.join(', ')}`;
  return { faults: numbers, clients, calm: calm.filter(isCalmable) };
}

function readOptions(args: readonly string[]): Options | string | null {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        seed: { type: 'string', default: String(Date.now() % 1_000_000) },
        faults: { type: 'string' },
        clients: { type: 'string' },
        calm: { type: 'string' },
        'no-shrink': { type: 'boolean', default: false },
        output: { type: 'string', short: 'o', default: 'text' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    if (values.help) return null;
    const seed = Number(values.seed);
    if (!Number.isSafeInteger(seed) || seed < 0) return '--seed: a whole number';
    if (values.output !== 'text' && values.output !== 'json') return '-o: text or json';
    const reduction = readReduction(values);
    if (typeof reduction === 'string') return reduction;
    return {
      seed,
      reduction,
      isShrunk: !values['no-shrink'],
      isJson: values.output === 'json',
    };
  } catch (cause) {
    return cause instanceof Error ? cause.message : String(cause);
  }
}

function commandOf(seed: number, reduction: Reduction): string {
  return `npm run sim -- --seed ${seed} ${describeReduction(reduction)}`.trimEnd();
}

/** The reduction of a failing run to the least that fails in the same way. */
function makeSmaller(plan: Plan, failed: RunResult): Reduction {
  const checker = failed.violation?.checker;
  return shrink(plan, (smaller) => runPlan(smaller).violation?.checker === checker);
}

function tell(options: Options, result: RunResult): void {
  const { plan, figures, violation } = result;
  for (const line of result.story) console.log(line);
  const seconds = (figures.simulatedMs / 1_000).toFixed(1);
  console.log(
    `seed ${plan.seed}: ${plan.voters} voters, ${plan.clients} clients, ${plan.faults.length} faults; ` +
      `${seconds} s simulated, ${figures.events} events, ${figures.messages} messages, ` +
      `${figures.commits} entries committed, ${figures.calls} answers`,
  );
  console.log(`marks reached: ${[...result.marks.keys()].join(', ')}`);
  if (violation === null) console.log('every claim held');
  else console.log(`VIOLATION of ${violation.checker}: ${violation.text}`);
  console.log(`trace ${result.traceHash.toString(16)}`);
  console.log(`replay: ${commandOf(options.seed, options.reduction)}`);
}

function main(): number {
  const options = readOptions(process.argv.slice(2));
  if (options === null) {
    console.log(USAGE);
    return 0;
  }
  if (typeof options === 'string') {
    console.error(`sim: ${options}\n${USAGE}`);
    return 2;
  }
  const whole = drawPlan(options.seed);
  const result = runPlan(reducePlan(whole, options.reduction), true);
  const isWhole = options.reduction.faults === WHOLE.faults;
  const isSmallerSought = result.violation !== null && options.isShrunk && isWhole;
  const smaller = isSmallerSought ? makeSmaller(whole, result) : null;
  if (options.isJson) {
    const { violation, traceHash, figures, story } = result;
    const command = commandOf(options.seed, smaller ?? options.reduction);
    const marks = Object.fromEntries(result.marks);
    console.log(
      JSON.stringify({ seed: options.seed, violation, traceHash, figures, marks, command, story }),
    );
  } else {
    tell(options, result);
    if (smaller !== null) console.log(`smaller: ${commandOf(options.seed, smaller)}`);
  }
  return result.violation === null ? 0 : 1;
}

process.exitCode = main();
