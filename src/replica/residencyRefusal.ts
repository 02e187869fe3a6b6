/** What a client is told where the regions that its key may be served in do not serve it. */

import { failure, type Failure } from '../base/errors.ts';
import { wishOf } from '../regions/desired.ts';
import { mayServe, type Residency } from '../regions/residency.ts';
import type { NodeConfig } from './config.ts';

/** Asked again so long after, where labels are not known yet, ms. */
const RETRY_MS = 1_000;

/** Why no region can ever serve it as things are; null: there is one that may. */
export function residencyRefusal(
  { region, wishes }: Pick<NodeConfig, 'region' | 'wishes'>,
  residency: Residency,
  isForwarded: boolean,
): Failure | null {
  if (mayServe(residency, wishes, region) || residency === null) return null;
  if (isForwarded) {
    const label = wishOf(wishes, region).residency ?? 'none';
    return failure(
      'residency_elsewhere',
      `Its label is ${label}; the key's: ${listed(residency)}.`,
    );
  }
  if (wishes === null) return unavailable(residency, RETRY_MS);
  if (wishes.some((wish) => mayServe(residency, wishes, wish.region))) return null;
  return failure('residency_refused', `No region has one of its labels: ${listed(residency)}.`);
}

/** Such regions there are; none of them can take it now. */
export function unavailable(residency: readonly string[], retryAfterMs: number): Failure {
  return failure('residency_unavailable', `Its labels: ${listed(residency)}.`, { retryAfterMs });
}

function listed(residency: readonly string[]): string {
  return residency.length === 0 ? 'none' : residency.join(', ');
}
