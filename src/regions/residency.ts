/**
 * Where the requests of an API key may be inferred: in regions whose residency label the key names.
 *
 * RS1: no attempt of a bound request goes to a region whose label is not known here to be among its
 *      labels: not the first, no hedge, no failover, no continuation.
 * RS2: the region that serves asks for itself, by its own label, whatever the sender knew.
 * RS3: a region without a label fits nowhere.
 * Held by `residency.test.ts` and `replica/gatewayResidency.test.ts`.
 */

import type { RegionWish } from './desired.ts';
import { wishOf } from './desired.ts';

/** The labels of the regions that may serve; null: any region may, labelled or not. */
export type Residency = readonly string[] | null;

/** May `region` serve what is bound so? `wishes` null: nothing is known of labels yet (RS3). */
export function mayServe(
  residency: Residency,
  wishes: readonly RegionWish[] | null,
  region: string,
): boolean {
  if (residency === null) return true;
  const label = wishOf(wishes, region).residency;
  return label !== null && residency.includes(label);
}

/** What two words on the same request leave: never more than either. */
export function narrower(left: Residency, right: Residency): Residency {
  if (left === null) return right;
  return right === null ? left : left.filter((label) => right.includes(label));
}
