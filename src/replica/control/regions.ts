/**
 * What operators say of regions in the control state: `regions/NAME`. A region without a record is
 * active, with the usual weight and no label.
 *
 * RR1: a change counts only where every record that it was decided by is as it was then, so that
 * two operators at once cannot do together what neither may do alone. Held by `regions.test.ts`.
 */

import { assert } from '../../base/assert.ts';
import { encodeUtf8 } from '../../base/bytes.ts';
import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { LABEL } from '../../base/names.ts';
import { REGION_RECORD_LIMITS } from '../../base/regionLimits.ts';
import { DESIRED_STATES, usualWish, type RegionWish } from '../../regions/desired.ts';
import type { ControlView } from './engine.ts';
import { readFields, unchanged } from './records.ts';
import type { AuditInput, KeyValue, Transaction } from './types.ts';

const PREFIX = 'regions/';
const TYPE = 'region/1';

/** A wish as it stands in the state. */
export interface StoredRegion {
  readonly wish: RegionWish;
  /** 0: there is no record. */
  readonly modRevision: number;
  /** Changes since it came; 0: there is no record. */
  readonly version: number;
}

/** Letters, digits and `. _ -` inside: `eu`, `cn-north`, `us.gov`. */
const KEPT_LABEL = /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$/;
/** The same where one is given: `none` is the word for no label. */
export const RESIDENCY_LABEL = /^(?!none$)[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$/;

/** All regions with a record, by name. What is none of this version is left out. */
export function listRegions(view: ControlView): readonly RegionWish[] {
  // There are far fewer regions than one page has keys.
  const { items } = view.range({
    prefix: PREFIX,
    after: '',
    keysMax: CONTROL_LIMITS.rangeKeysMax,
  });
  return items.map(decode).filter((wish) => wish !== null);
}

/** Null: what is there is not of this version of the program. */
export function readRegion(view: ControlView, region: string): StoredRegion | null {
  const item = view.get(PREFIX + region);
  if (item === null) return { wish: usualWish(region), modRevision: 0, version: 0 };
  const wish = decode(item);
  return wish === null ? null : { wish, modRevision: item.modRevision, version: item.version };
}

/** Puts a wish; does nothing where it, or one of `others`, has changed since it was read (RR1). */
export function putRegion(
  wish: RegionWish,
  before: StoredRegion,
  others: readonly StoredRegion[],
  audit: AuditInput,
): Transaction {
  assert(isWish(wish), 'what is put can be read again');
  const compares = [before, ...others].map((one) =>
    unchanged(PREFIX + one.wish.region, one.modRevision),
  );
  const value = encodeUtf8(JSON.stringify(wish));
  const key = PREFIX + wish.region;
  const success = [{ kind: 'put' as const, key, type: TYPE, value }];
  return { kind: 'transaction', audit, compares, success, failure: [] };
}

function decode(item: KeyValue): RegionWish | null {
  if (item.type !== TYPE) return null;
  const value = readFields(item.value);
  if (!isWish(value) || item.key !== PREFIX + value.region) return null;
  const { region, desired, weight, residency } = value;
  return { region, desired, weight, residency };
}

function isWish(value: unknown): value is RegionWish {
  if (typeof value !== 'object' || value === null) return false;
  const { region, desired, weight, residency }: Partial<Record<keyof RegionWish, unknown>> = value;
  const { weightMin, weightMax, residencyCharsMax } = REGION_RECORD_LIMITS;
  return (
    typeof region === 'string' &&
    LABEL.test(region) &&
    DESIRED_STATES.some((known) => known === desired) &&
    typeof weight === 'number' &&
    Number.isSafeInteger(weight) &&
    weight >= weightMin &&
    weight <= weightMax &&
    (residency === null ||
      (typeof residency === 'string' &&
        residency.length <= residencyCharsMax &&
        KEPT_LABEL.test(residency)))
  );
}
