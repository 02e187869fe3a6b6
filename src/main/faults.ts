/** `POST /admin/v1/faults` of a node: what an accident would do, on purpose. For demos only. */

import { err, ok, type Result } from '../base/result.ts';
import type { AdminAnswer } from '../io/admin/route.ts';
import type { LlamaFault } from '../io/llamaChildren.ts';
import type { FaultReply, FaultRequest } from './adminTypes.ts';

/** What faults act on. */
export interface FaultParts {
  readonly region: string;
  /** Does it to an embedded target; the value says what was done. */
  readonly fault: (
    name: string,
    action: LlamaFault,
  ) => Result<string, 'unknown-target' | 'not-running'>;
  /** Cuts the link to another region; false: there is no such link. */
  readonly cut: (region: string) => boolean;
  /** Heals all cut links. */
  readonly heal: () => void;
}

/** Does what `fault` asks. */
export function applyFault(parts: FaultParts, fault: FaultRequest): AdminAnswer<FaultReply> {
  switch (fault.action) {
    case 'heal':
      parts.heal();
      return done(`${parts.region}: links healed`);
    case 'cut': {
      const other = fault.a === parts.region ? fault.b : fault.a;
      const isOurs = fault.a === parts.region || fault.b === parts.region;
      if (isOurs && parts.cut(other)) return done(`${parts.region}: link to ${other} cut`);
      const message = `${parts.region} has no link between ${fault.a} and ${fault.b}.`;
      return err({ status: 404, code: 'region_not_found', message });
    }
    case 'kill':
    case 'pause':
    case 'resume':
    case 'restart':
      return childFault(parts, fault);
  }
}

function childFault(
  { region, fault: act }: FaultParts,
  fault: Extract<FaultRequest, { target: string | null }>,
): AdminAnswer<FaultReply> {
  if (fault.region !== region || fault.target === null) {
    const message = `A node takes faults of its own targets only; this is ${region}.`;
    return err({ status: 404, code: 'region_not_found', message });
  }
  const result = act(fault.target, fault.action);
  if (result.ok) return done(`${region}/${result.value}`);
  if (result.error === 'unknown-target') {
    const message = `${region} has no embedded target ${fault.target}.`;
    return err({ status: 404, code: 'target_not_found', message });
  }
  const message = `${fault.target} is not in a state for ${fault.action}.`;
  return err({ status: 409, code: 'wrong_state', message });
}

function done(sentence: string): AdminAnswer<FaultReply> {
  const reply: FaultReply = { done: [sentence] };
  return ok(reply);
}
