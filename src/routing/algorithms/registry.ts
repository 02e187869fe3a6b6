/** The algorithms by name. A new one is a file, a line here and a name in `spec.ts`. */

import type { AlgorithmName } from '../spec.ts';
import type { Algorithm } from './algorithm.ts';
import { createBoundedLoadConsistentHash } from './boundedLoadConsistentHash.ts';
import { createLeastTokens } from './leastTokens.ts';
import { createP2cPeakEwma } from './p2cPeakEwma.ts';
import { createSmoothWeightedRoundRobin } from './smoothWeightedRoundRobin.ts';
import { createWeightedLeastConnections } from './weightedLeastConnections.ts';
import { createWeightedRandom } from './weightedRandom.ts';

/** Makes an algorithm with empty memory. */
export const ALGORITHMS: Readonly<Record<AlgorithmName, () => Algorithm>> = {
  'least-tokens': () => createLeastTokens(),
  'smooth-weighted-round-robin': createSmoothWeightedRoundRobin,
  'weighted-least-connections': createWeightedLeastConnections,
  'p2c-peak-ewma': createP2cPeakEwma,
  'bounded-load-consistent-hash': createBoundedLoadConsistentHash,
  'weighted-random': createWeightedRandom,
};

/** Every name, in the order of the documentation. */
export const ALGORITHM_NAMES = Object.keys(ALGORITHMS) as readonly AlgorithmName[];
