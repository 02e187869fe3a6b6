/** How many worker processes a node has. */

import { WORKER_LIMITS } from '../../base/workerLimits.ts';

/**
 * `wanted` as the configuration says it. Processes that share a port need the kernel to deal
 * connections out among them, which Linux does; elsewhere a node is one process, and so is one with a
 * single core.
 */
export function workerCount(
  wanted: number | 'auto',
  platform: NodeJS.Platform,
  cores: number,
): number {
  if (platform !== 'linux') return 1;
  return wanted === 'auto' ? Math.min(cores, WORKER_LIMITS.autoMax) : wanted;
}
