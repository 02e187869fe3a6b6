/** The control state of the demo: any region's node answers for all of them. */

import { OBSERVE_LIMITS } from '../../base/limits.ts';
import { err } from '../../base/result.ts';
import type { AdminAnswer, AdminControl } from '../../io/admin/server.ts';
import { isControlPath } from '../control/controlAdmin.ts';
import { isRow } from '../json.ts';
import { askForAnswer } from './ask.ts';
import type { RegionProcess } from './regionProcess.ts';

/** A region that is asked may itself wait for a new leader, ms. */
const ASK_MS = OBSERVE_LIMITS.adminRequestMs + 1_000;

export function clusterControl(regions: readonly RegionProcess[]): AdminControl {
  return {
    has: isControlPath,
    async answer(path, body): Promise<AdminAnswer> {
      for (const { pid, state, plan } of regions) {
        if (pid === null || state !== 'running') continue;
        if (body !== null && !isRow(body)) break;
        const answer = await askForAnswer(plan.adminPort, path, body ?? undefined, ASK_MS);
        if (answer !== null) return answer;
        if (body === null) continue;
        // It may have been done: another region must not do it again.
        const message = `${plan.region} did not answer; look before you try again.`;
        return err({ status: 504, code: 'outcome_unknown', message });
      }
      return err({ status: 503, code: 'unreachable', message: 'No region answers.' });
    },
  };
}
