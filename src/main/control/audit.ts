/** Who changes what, for the audit log. */

import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import type { Caller } from '../../io/admin/route.ts';
import { encodeUtf8 } from '../../base/bytes.ts';
import type { AuditInput } from '../../replica/control/types.ts';
import type { ControlBackend } from './backend.ts';

/** Where the last operation that changed no key of the state by itself is kept. */
const OPERATION_KEY = 'operations/last';
const OPERATION_TYPE = 'operation/1';

/** What a request says of itself, unproven. */
interface Claimed {
  readonly who: string;
  readonly why: string;
}

/** Of a request that does not ask for it. */
export const NOTHING_CLAIMED: Claimed = { who: 'unknown', why: '' };

/** What the credentials prove stands first, what the request says of its sender in brackets. */
export function auditOf({ who, from }: Caller, claimed: Claimed, what: string): AuditInput {
  const told = claimed.who === 'unknown' ? who : `${who} (${claimed.who.replace(/[()]/g, '')})`;
  const { auditCharsMax } = CONTROL_LIMITS;
  return {
    who: told.slice(0, auditCharsMax),
    from,
    what: what.slice(0, auditCharsMax),
    why: claimed.why,
  };
}

/**
 * Leaves a record of what is done already and is no transaction: a change of the members, a backup that
 * was taken, a claim or a name that somebody gave back or took. It is not
 * waited for: where the group has no quorum just now there is none to be had.
 */
export function recordOperation(side: Pick<ControlBackend, 'engine'>, audit: AuditInput): void {
  const value = encodeUtf8(JSON.stringify({ what: audit.what }));
  side.engine.transact(
    {
      kind: 'transaction',
      audit,
      compares: [],
      success: [{ kind: 'put', key: OPERATION_KEY, type: OPERATION_TYPE, value }],
      failure: [],
    },
    () => {},
  );
}
