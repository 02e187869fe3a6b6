/**
 * A key's rates, divided: the percent that each place may use of its requests and tokens per minute,
 * kept in the key's record. A place is a node by its peer name: the region's name for the first node
 * of a region. A place that is not named has nothing.
 *
 * A place learns of a change when it has applied it, which may be never while it is cut off. So what
 * shrinks counts where it is heard, and what grows waits until every place whose share shrank has
 * said that it uses no more than that (`taken`). No clock decides.
 *
 * AL1: once every place has taken the first allotment of a key, the shares in force never exceed 100
 *      together, in whatever order the places hear of changes; unless an operator forced one.
 * AL2: a place says that it has taken a share once that is in force in all of its processes.
 * AL3: a place that is not named has nothing, whatever it had.
 * Held by `allotments.test.ts`.
 */

import { assert } from '../../base/assert.ts';
import { ALLOTMENT_LIMITS } from '../../base/regionLimits.ts';
import { isPeerName } from '../../base/peerName.ts';
import { fieldsOf } from './records.ts';

/** Percent, by place; each above 0, 100 together at most. */
export type Shares = Readonly<Record<string, number>>;

/** How a key's rates are divided. */
export interface Allotment {
  readonly shares: Shares;
  /** What each place may still be using by what it heard before. */
  readonly before: Shares;
  /** Places whose share shrank and that have said that they use no more. */
  readonly taken: readonly string[];
}

const WHOLE = 100;

/** May these be kept? */
export function areShares(shares: Shares): boolean {
  const entries = Object.entries(shares);
  const sum = entries.reduce((all, [, share]) => all + share, 0);
  return entries.length <= ALLOTMENT_LIMITS.placesMax && entries.every(isShare) && sum <= WHOLE;
}

/** What a place uses at most that has heard of this and of nothing later. */
export function shareInForce(allotment: Allotment, place: string): number {
  const share = of(allotment.shares, place);
  if (waitsFor(allotment).length === 0) return share;
  return Math.min(share, of(allotment.before, place));
}

function of(shares: Shares, place: string): number {
  return Object.hasOwn(shares, place) ? (shares[place] ?? 0) : 0;
}

/** The places that larger shares wait for, by name. */
export function waitsFor({ shares, before, taken }: Allotment): readonly string[] {
  return Object.keys(before)
    .filter((place) => of(shares, place) < of(before, place) && !taken.includes(place))
    .toSorted();
}

/**
 * Divides anew. `places`: all that there are, for a key that was not divided: each may be using the
 * whole. `isForced`: nobody is waited for.
 */
export function divide(
  allotment: Allotment | null,
  shares: Shares,
  places: readonly string[],
  isForced: boolean,
): Allotment {
  assert(areShares(shares), 'shares are checked before they are kept');
  const before = allotment === null ? wholeOf(places) : mostInUse(allotment);
  const divided = { shares, before, taken: [] };
  return isForced ? { ...divided, taken: waitsFor(divided) } : divided;
}

/** `place` uses no more than its share. */
export function taken(allotment: Allotment, place: string): Allotment {
  if (!waitsFor(allotment).includes(place)) return allotment;
  return { ...allotment, taken: [...allotment.taken, place] };
}

/** So much of a rate; null: there is no limit. */
export function partOf(rate: number | null, share: number): number | null {
  return rate === null ? null : Math.floor((rate * share) / WHOLE);
}

/** Reads what JSON held; null: it is none of this version. */
export function readAllotment(value: unknown): Allotment | null {
  const fields = fieldsOf(value);
  const shares = sharesOf(fields?.['shares']);
  const before = sharesOf(fields?.['before']);
  const told = fields?.['taken'];
  if (shares === null || before === null || !areShares(shares)) return null;
  if (!Array.isArray(told) || !told.every((place) => typeof place === 'string')) return null;
  return { shares, before, taken: told };
}

function wholeOf(places: readonly string[]): Shares {
  return Object.fromEntries(places.map((place) => [place, WHOLE]));
}

/** The most that each place may be using, whatever of this it has heard. */
function mostInUse(allotment: Allotment): Shares {
  const { shares, before } = allotment;
  const waited = waitsFor(allotment);
  const places = new Set([...Object.keys(shares), ...waited]);
  return Object.fromEntries(
    [...places]
      .map((place) => {
        const isWaited = waited.includes(place);
        const share = isWaited ? of(before, place) : shareInForce(allotment, place);
        return [place, share] as const;
      })
      .filter(([, share]) => share > 0),
  );
}

function sharesOf(value: unknown): Shares | null {
  const fields = fieldsOf(value);
  if (fields === null) return null;
  const shares: Record<string, number> = {};
  for (const [place, share] of Object.entries(fields)) {
    if (typeof share !== 'number' || !isShare([place, share])) return null;
    shares[place] = share;
  }
  return shares;
}

function isShare([place, share]: readonly [string, number]): boolean {
  return isPeerName(place) && Number.isSafeInteger(share) && share > 0 && share <= WHOLE;
}
