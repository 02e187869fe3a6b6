/**
 * What operators want of a region, and when they are not let have it. One of three facts that stay
 * apart: `health` is what is observed, and what follows for traffic is drawn from both.
 *
 * D1: a region is drained only while another one serves: wanted active, and heard.
 * D2: one region at a time: none is drained while another one is drained or silent.
 * Both give way to an operator who forces it. Held by `desired.test.ts`.
 */

import { REGION_RECORD_LIMITS } from '../base/regionLimits.ts';

/**
 * `drained`: it takes no work that another region can do, and is asked for none; it finishes what
 * it has. That it still has some is no wish but an observation.
 */
export const DESIRED_STATES = ['active', 'drained'] as const;
export type RegionDesired = (typeof DESIRED_STATES)[number];

/** What operators say of one region. */
export interface RegionWish {
  readonly region: string;
  readonly desired: RegionDesired;
  /** How gladly others send to it: its cost counts `weightUsual` / weight times. */
  readonly weight: number;
  /** The label of where its data may be; null: none was given. */
  readonly residency: string | null;
}

/** What counts for a region that nobody has said anything of. */
export function usualWish(region: string): RegionWish {
  const { weightUsual } = REGION_RECORD_LIMITS;
  return { region, desired: 'active', weight: weightUsual, residency: null };
}

/** The wish for a region among those that were told; null: nothing is known yet. */
export function wishOf(wishes: readonly RegionWish[] | null, region: string): RegionWish {
  return wishes?.find((wish) => wish.region === region) ?? usualWish(region);
}

export function isDrained(wishes: readonly RegionWish[] | null, region: string): boolean {
  return wishOf(wishes, region).desired === 'drained';
}

/** One of the other regions, as whoever asks for a drain sees it. */
export interface OtherStanding {
  readonly region: string;
  readonly desired: RegionDesired;
  /** It answered just now. */
  readonly isHeard: boolean;
}

/** Why a region must not be drained. */
export type DrainRefusal =
  | { readonly code: 'last_active_region' }
  | { readonly code: 'another_region_out'; readonly out: readonly OtherStanding[] };

/** Null: it may be drained. */
export function drainRefusal(others: readonly OtherStanding[]): DrainRefusal | null {
  const out = others.filter(({ desired, isHeard }) => desired !== 'active' || !isHeard);
  if (out.length === others.length) return { code: 'last_active_region' };
  return out.length === 0 ? null : { code: 'another_region_out', out };
}
