/** What the demo's regions agree on: any region's node answers for all of them. */

import { OBSERVE_LIMITS } from '../../base/limits.ts';
import { err } from '../../base/result.ts';
import type {
  AdminAnswer,
  AdminRoute,
  AdminRoutes,
  Caller,
  ServedRoute,
} from '../../io/admin/route.ts';
import { isRow } from '../json.ts';
import { askForAnswer } from './ask.ts';
import type { RegionProcess } from './regionProcess.ts';

/** A region that is asked may itself wait for a new leader, ms. */
const ASK_MS = OBSERVE_LIMITS.adminRequestMs + 1_000;

/** Passes the calls of a table on, as they came; the node checks them. */
export function passOn(
  routes: AdminRoutes,
  regions: readonly RegionProcess[],
): readonly ServedRoute[] {
  return Object.values(routes).map((route) => ({
    route,
    answer: (query, body, caller) => askOne(regions, route, query, body, caller),
  }));
}

async function askOne(
  regions: readonly RegionProcess[],
  route: AdminRoute,
  query: URLSearchParams,
  body: unknown,
  { authorization }: Caller,
): Promise<AdminAnswer> {
  const path = query.size === 0 ? route.path : `${route.path}?${query.toString()}`;
  const isRead = route.method === 'GET';
  if (!isRead && !isRow(body)) {
    return err({ status: 400, code: 'invalid_request', message: 'The body must be an object.' });
  }
  const asked = { limitMs: ASK_MS, authorization, ...(isRow(body) ? { body } : {}) };
  for (const { pid, state, plan } of regions) {
    if (pid === null || state !== 'running') continue;
    const answer = await askForAnswer(plan.adminPort, path, asked);
    if (answer !== null) return answer;
    if (isRead) continue;
    // It may have been done: another region must not do it again.
    const message = `${plan.region} did not answer; look before you try again.`;
    return err({ status: 504, code: 'outcome_unknown', message });
  }
  return err({ status: 503, code: 'unreachable', message: 'No region answers.' });
}
