/**
 * Makes a failing run smaller: leaves out faults (delta debugging, Zeller and Hildebrandt, 2002),
 * clients, and rates of the network and the disks, as long as the same claim still fails.
 */

import { CALM_NETWORK } from './network.ts';
import type { Plan } from './plan.ts';

/** Parts of the world that can be made calm. */
export const CALMABLE = ['network', 'disk', 'learners', 'core'] as const;
export type Calmable = (typeof CALMABLE)[number];

/** What is left of a plan. It names a smaller run together with the seed. */
export interface Reduction {
  /** Numbers of the faults that stay; null: all. */
  readonly faults: readonly number[] | null;
  /** Null: as many as were drawn. */
  readonly clients: number | null;
  readonly calm: readonly Calmable[];
}

export const WHOLE: Reduction = { faults: null, clients: null, calm: [] };

export function reducePlan(plan: Plan, { faults, clients, calm }: Reduction): Plan {
  return {
    ...plan,
    faults:
      faults === null ? plan.faults : plan.faults.filter((one) => faults.includes(one.number)),
    clients: clients ?? plan.clients,
    network: calm.includes('network') ? CALM_NETWORK : plan.network,
    disk: calm.includes('disk')
      ? { ...plan.disk, latencySpreadMs: 0, stallChance: 0, readErrorChance: 0, tornChance: 0 }
      : plan.disk,
    learners: calm.includes('learners') ? 0 : plan.learners,
    isCoreAlone: plan.isCoreAlone && !calm.includes('core'),
  };
}

/** The smallest reduction found with which `doesFail` holds, in at most `runsMax` runs. */
export function shrink(plan: Plan, doesFail: (smaller: Plan) => boolean, runsMax = 400): Reduction {
  let runs = 0;
  let best: Reduction = { ...WHOLE, faults: plan.faults.map(({ number }) => number) };
  const tryIt = (reduction: Reduction): boolean => {
    if (runs >= runsMax) return false;
    runs += 1;
    if (!doesFail(reducePlan(plan, reduction))) return false;
    best = reduction;
    return true;
  };
  for (const part of CALMABLE) tryIt({ ...best, calm: [...best.calm, part] });
  for (let clients = 1; clients < plan.clients; clients += 1) {
    if (tryIt({ ...best, clients })) break;
  }
  let parts = 2;
  for (;;) {
    const { faults } = best;
    if (faults === null || faults.length === 0 || runs >= runsMax) return best;
    const size = Math.ceil(faults.length / parts);
    let isSmaller = false;
    for (let from = 0; from < faults.length; from += size) {
      const rest = faults.filter((_, at) => at < from || at >= from + size);
      if (!tryIt({ ...best, faults: rest })) continue;
      isSmaller = true;
      break;
    }
    if (isSmaller) parts = Math.max(2, parts - 1);
    else if (size === 1) return best;
    else parts = Math.min(faults.length, parts * 2);
  }
}

/** The arguments that name it on the command line, behind the seed. */
export function describeReduction({ faults, clients, calm }: Reduction): string {
  const parts: string[] = [];
  if (faults !== null) parts.push(`--faults ${faults.length === 0 ? 'none' : faults.join(',')}`);
  if (clients !== null) parts.push(`--clients ${clients}`);
  if (calm.length > 0) parts.push(`--calm ${calm.join(',')}`);
  return parts.join(' ');
}
