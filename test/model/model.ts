/**
 * `npm run model [-- WORD]`: the model checker of CASPaxos over every instance whose name holds WORD,
 * the large ones too, as a table for docs/internals/verification.md. Ends with 1 where something does
 * not hold, and shows the steps that lead there.
 */

import { parseArgs } from 'node:util';
import { checkInstance } from '../../src/caspaxos/modelChecker.ts';
import { INSTANCES } from '../../src/caspaxos/modelInstances.ts';

const { values, positionals } = parseArgs({
  options: { states: { type: 'string', default: '10000000' } },
  allowPositionals: true,
});
const [word = ''] = positionals;

console.log('| instance | states | steps | seen whole | seconds of processor |');
console.log('|---|---|---|---|---|');
for (const instance of INSTANCES) {
  if (!instance.name.includes(word)) continue;
  const before = process.cpuUsage().user;
  const report = checkInstance(instance, Number(values.states));
  const seconds = ((process.cpuUsage().user - before) / 1e6).toFixed(1);
  const counts = `${report.states.toLocaleString('en')} | ${report.steps.toLocaleString('en')}`;
  console.log(`| ${report.name} | ${counts} | ${report.isComplete ? 'yes' : 'no'} | ${seconds} |`);
  if (report.violation === null) continue;
  console.error(`${report.violation.truth}\n${report.violation.trace.join('\n')}`);
  process.exitCode = 1;
  break;
}
