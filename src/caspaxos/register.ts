/**
 * A register and what a change does to it: a pure function of data, so that it may be tried as
 * often as rounds need.
 *
 * V1: a change takes effect at most once: it makes version `expect + 1` and no other.
 * V2: `conflict` is said only where the request did not make version `expect + 1`; where the ring
 *     of request ids no longer reaches back so far and an earlier try may have, it is `unknown`.
 */

import { assert } from '../base/assert.ts';
import { CASPAXOS_LIMITS } from '../base/caspaxosLimits.ts';
import type { Change, Register } from './types.ts';

/** A register that holds nothing. */
export const ABSENT: Register = { version: 0, value: new Uint8Array(0), recent: [] };

export type Verdict =
  /** The change makes this register of it. */
  | { readonly kind: 'apply'; readonly register: Register }
  /** The change made a version of its history: it has taken effect. */
  | { readonly kind: 'applied' }
  /** The change is no part of its history and does not fit. */
  | { readonly kind: 'conflict' }
  /** The history no longer tells. */
  | { readonly kind: 'unknown' };

/** What `change` does to `register`; `wasTried`: an earlier try may have taken effect. */
export function judge(register: Register, change: Change, wasTried: boolean): Verdict {
  const { version, recent } = register;
  assert(recent.length <= version, 'a register remembers no more requests than it has versions');
  if (version === change.expect) return { kind: 'apply', register: applyChange(register, change) };
  if (version < change.expect) return { kind: 'conflict' };
  const maker = recent[recent.length - (version - change.expect)];
  if (maker === undefined) return { kind: wasTried ? 'unknown' : 'conflict' };
  return { kind: maker === change.requestId ? 'applied' : 'conflict' };
}

function applyChange(register: Register, change: Change): Register {
  const recent = [...register.recent, change.requestId].slice(-CASPAXOS_LIMITS.recentMax);
  return { version: register.version + 1, value: change.value, recent };
}
