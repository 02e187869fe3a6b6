/** A process of the swarm: runs the seeds that it is given and says what became of each. */

import { drawPlan } from '../../src/sim/plan.ts';
import { runPlan } from '../../src/sim/run.ts';
import type { SeedReport } from './swarmReport.ts';

/** What the swarm asks for. */
interface Order {
  readonly from: number;
  readonly count: number;
}

process.on('message', (order: Order) => {
  const reports: SeedReport[] = [];
  for (let seed = order.from; seed < order.from + order.count; seed += 1) {
    const startMs = performance.now();
    const { violation, figures, marks } = runPlan(drawPlan(seed));
    const wallMs = performance.now() - startMs;
    reports.push({ seed, violation, figures, marks: [...marks], wallMs });
  }
  process.send?.(reports);
});
// Ctrl-C is the swarm's matter: it lets what is under way finish.
process.on('SIGINT', () => {});
process.on('disconnect', () => process.exit(0));
