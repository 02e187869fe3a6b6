/**
 * What the admin API changes of an API key of the control state: where it may run, and its shares.
 *
 * KB2: no key is bound or divided while a program may take part that does not know of it: it would serve
 *      the key anywhere, with the whole of its rates, and drop both where it rotates the key.
 */

import { err, ok, type Result } from '../../base/result.ts';
import type { AdminRefusal } from '../../io/admin/route.ts';
import {
  areShares,
  divide,
  partOf,
  waitsFor,
  type Shares,
} from '../../replica/control/allotments.ts';
import { isFeatureOn } from '../../replica/control/features.ts';
import type { ApiKey } from '../../replica/control/keys.ts';
import type { KeysBody } from './controlRoutes.ts';
import type { ReplaceOwn, SecretChange, SecretRow } from './secretsAdmin.ts';

/** KB2. Null: what the body asks for may be done in a cluster at `level`. */
export function tooEarly(body: KeysBody, level: number): AdminRefusal | null {
  const isBound = (body.action === 'create' || body.action === 'set') && body.residency !== null;
  const isDivided = body.action === 'allot' && body.shares !== null;
  if (!(isBound || isDivided) || isFeatureOn(level, 'keyPlaces')) return null;
  const message =
    `The cluster is at feature level ${level}: a node whose program does not know of this is in it, or ` +
    'was not heard lately. "banyan status" names those that hold it back.';
  return { status: 409, code: 'feature_level', message };
}

/** A change as the body asks for it. `places`: all that rates can be divided between. */
export function keyChange(body: KeysBody, places: readonly string[]): SecretChange<ApiKey> {
  switch (body.action) {
    case 'create': {
      const { action, name, dryRun, who, why, ...own } = body;
      return { action, name, dryRun, who, why, own: { ...own, allotment: null } };
    }
    case 'set': {
      const { residency, ...asked } = body;
      const what = `residency ${residency?.join(', ') ?? 'none'}`;
      return { ...asked, next: () => ok({ own: { residency }, what }) };
    }
    case 'allot': {
      const { shares, force, ...asked } = body;
      if (shares === null) {
        const next = () => ok({ own: { allotment: null }, what: 'not divided', told: WHOLE });
        return { ...asked, next };
      }
      return { ...asked, next: (key) => divided(key, shares, places, force) };
    }
    case 'revoke':
    case 'rotate':
      return body;
  }
}

const WHOLE = { shares: null, waitsFor: [] };

/** A row of `GET /admin/v1/keys`. */
export function keyRow({ allotment, ...row }: SecretRow<ApiKey>) {
  const shares = allotment?.shares ?? null;
  return { ...row, shares, waitsFor: allotment === null ? [] : waitsFor(allotment) };
}

function divided(
  key: ApiKey,
  asked: Shares,
  places: readonly string[],
  isForced: boolean,
): ReturnType<ReplaceOwn<ApiKey>['next']> {
  // A share of 0 says the same as none at all.
  const parts = Object.entries(asked).filter(([, share]) => share > 0);
  const shares = Object.fromEntries(parts.toSorted(([left], [right]) => (left < right ? -1 : 1)));
  const refusal = refusalOf(key, shares, [...places, ...Object.keys(key.allotment?.shares ?? {})]);
  if (!refusal.ok) return refusal;
  const allotment = divide(key.allotment, shares, places, isForced);
  const text = Object.entries(shares).map(([place, share]) => `${place} ${share} %`);
  const what = `${text.join(', ') || 'nobody'}${isForced ? ', by force' : ''}`;
  return ok({ own: { allotment }, what, told: { shares, waitsFor: waitsFor(allotment) } });
}

function refusalOf(
  key: ApiKey,
  shares: Shares,
  places: readonly string[],
): Result<null, AdminRefusal> {
  const { requestsPerMinute, tokensPerMinute } = key;
  const unknown = Object.keys(shares).find((place) => !places.includes(place));
  if (unknown !== undefined) {
    const message = `There is no region "${unknown}"; there are ${places.join(', ')}.`;
    return refused(404, 'unknown_region', message);
  }
  if (requestsPerMinute === null && tokensPerMinute === null) {
    const message = 'The key has neither requests nor tokens per minute: nothing can be divided.';
    return refused(400, 'nothing_to_divide', message);
  }
  if (!areShares(shares)) {
    return refused(400, 'too_much', 'Shares are whole percents, 100 together at most.');
  }
  for (const [place, share] of Object.entries(shares)) {
    const parts = [partOf(requestsPerMinute, share), partOf(tokensPerMinute, share)];
    if (!parts.includes(0)) continue;
    const message = `${share} % of its limits is less than 1 per minute in ${place}.`;
    return refused(400, 'share_too_small', message);
  }
  return ok(null);
}

function refused(status: number, code: string, message: string): Result<null, AdminRefusal> {
  return err({ status, code, message });
}
