/**
 * `npm run model [-- WORD]`: the model checker of CASPaxos over every instance whose name holds WORD,
 * the large ones too, as a table for docs/internals/verification.md. Ends with 1 where something does
 * not hold, and shows the steps that lead there.
 */

import { parseArgs } from 'node:util';
import { checkInstance } from '../../src/caspaxos/modelChecker.ts';
import { INSTANCES } from '../../src/caspaxos/modelInstances.ts';
import { helpIfAsked } from '../support/usage.ts';

const USAGE = `usage: npm run model -- [WORD] [--states N]
  WORD        only instances whose name holds it
  --states N  how many states of one are looked at (default 10000000)`;

function readOptions(args: readonly string[]) {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: { states: { type: 'string', default: '10000000' } },
      allowPositionals: true,
    });
    const states = Number(values.states);
    const word = positionals[0] ?? '';
    const chosen = INSTANCES.filter(({ name }) => name.includes(word));
    const isGood = Number.isSafeInteger(states) && states > 0 && positionals.length <= 1;
    return isGood && chosen.length > 0 ? { states, chosen } : null;
  } catch {
    return null; // An unknown option.
  }
}

helpIfAsked(USAGE);
const options = readOptions(process.argv.slice(2));
if (options === null) {
  console.error(USAGE);
  process.exit(2);
}
console.log('| instance | states | steps | seen whole | seconds of processor |');
console.log('|---|---|---|---|---|');
for (const instance of options.chosen) {
  const before = process.cpuUsage().user;
  const report = checkInstance(instance, options.states);
  const seconds = ((process.cpuUsage().user - before) / 1e6).toFixed(1);
  const counts = `${report.states.toLocaleString('en')} | ${report.steps.toLocaleString('en')}`;
  console.log(`| ${report.name} | ${counts} | ${report.isComplete ? 'yes' : 'no'} | ${seconds} |`);
  if (report.violation === null) continue;
  console.error(`${report.violation.truth}\n${report.violation.trace.join('\n')}`);
  process.exitCode = 1;
  break;
}
