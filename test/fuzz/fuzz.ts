/**
 * `npm run fuzz -- --inputs 1000000 --area all`: seeded inputs for everything that reads what others
 * send. The same generators run with `npm test`, fewer times. Each input has a generator of its own:
 * what fails is printed with the command that runs it alone.
 *
 * Exit codes: 0 no claim was broken, 1 one was, 2 the command line is wrong.
 */

import { parseArgs } from 'node:util';

import { helpIfAsked } from '../support/usage.ts';
import { AREA_NAMES, AREAS, runArea, type AreaName } from './areas.ts';

const USAGE = `usage: npm run fuzz -- [--inputs N] [--seed N] [--from N] [--area NAME]
  --inputs N   of each area (default 1000000)
  --seed N     (default: from the clock; it is printed)
  --from N     the first input (default 0)
  --area NAME  ${AREA_NAMES.join(', ')} or all (default)`;

interface Options {
  readonly inputs: number;
  readonly seed: number;
  readonly from: number;
  readonly areas: readonly AreaName[];
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function readOptions(args: readonly string[]): Options | string {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        inputs: { type: 'string', default: '1000000' },
        seed: { type: 'string', default: String(Date.now() % 1_000_000) },
        from: { type: 'string', default: '0' },
        area: { type: 'string', default: 'all' },
      },
    });
    const [inputs, seed, from] = [Number(values.inputs), Number(values.seed), Number(values.from)];
    if (!isCount(inputs) || !isCount(seed) || !isCount(from)) {
      return '--inputs, --seed and --from: whole numbers';
    }
    const areas = AREA_NAMES.filter((name) => values.area === 'all' || values.area === name);
    if (areas.length === 0) return `--area: ${AREA_NAMES.join(', ')} or all`;
    return { inputs, seed, from, areas };
  } catch (cause) {
    return cause instanceof Error ? cause.message : String(cause);
  }
}

/** The whole story of an error, its causes included. */
function storyOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  const text = cause.stack ?? cause.message;
  return cause.cause === undefined ? text : `${text}\ncaused by ${storyOf(cause.cause)}`;
}

async function main(): Promise<number> {
  helpIfAsked(USAGE);
  const options = readOptions(process.argv.slice(2));
  if (typeof options === 'string') {
    console.error(`fuzz: ${options}\n${USAGE}`);
    return 2;
  }
  const { inputs, seed, from } = options;
  let isStopped = false;
  process.once('SIGINT', () => {
    isStopped = true; // The second one ends the process.
  });
  let failedCount = 0;
  for (const area of options.areas) {
    if (isStopped) break;
    const progress = (done: number, perSecond: number): boolean => {
      console.log(`${area}: ${done} inputs, ${Math.round(perSecond)}/s`);
      return !isStopped;
    };
    const { done, taken, seconds, failure } = await runArea({ area, seed, from, inputs, progress });
    if (failure === null) {
      const rate = Math.round(done / seconds);
      const share = ((taken / Math.max(1, done)) * 100).toFixed(1);
      const spent = `in ${seconds.toFixed(1)} s, ${rate}/s, seed ${seed}`;
      console.log(`${area}: ok, ${done} inputs, ${share} % of them taken, ${spent}`);
      continue;
    }
    failedCount += 1;
    console.log(`${area}: input ${failure.index} breaks the claim "${AREAS[area]().claim}"`);
    console.log(storyOf(failure.cause));
    const replay = `--area ${area} --seed ${seed} --from ${failure.index} --inputs 1`;
    console.log(`replay: npm run fuzz -- ${replay}`);
  }
  return failedCount === 0 ? 0 : 1;
}

process.exitCode = await main();
