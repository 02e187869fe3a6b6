/** What least tokens remembers: the homes of sessions, and which prefixes are popular. Bounded. */

import { ROUTING_LIMITS } from '../../base/limits.ts';
import type { TargetName } from '../../base/names.ts';

/** Half-life of the counts of prefixes, ms. */
const POPULARITY_HALF_LIFE_MS = 30_000;
/** Shares mean nothing before about this many recent requests: one conversation is not hot. */
const POPULARITY_REQUESTS_MIN = 20;

/** Where a session's cache is warm. */
export interface Home {
  readonly target: TargetName;
  /** Tokens that its cache holds of the session: the last prompt. */
  readonly tokens: number;
  readonly usedMs: number;
}

/** The homes of sessions, forgotten after a while without requests. */
export interface Homes {
  /** The home of `key`; null asks for none. */
  of(key: string | null, nowMs: number): Home | undefined;
  /** The session of `key` went to `target` with a prompt of `tokens`. */
  remember(key: string | null, tokens: number, target: TargetName, nowMs: number): void;
  /** How many are kept. */
  count(): number;
}

/** Makes an empty memory of homes. */
export function createHomes(): Homes {
  const homes = new Map<string, Home>();
  // The walk from old to young is kept: a new one would pass over the gaps of all that was deleted.
  let walk = homes.entries();
  let oldest: readonly [string, Home] | null = null;

  /** The oldest home, or null. */
  function findOldest(): readonly [string, Home] | null {
    // One that was used again stands elsewhere now.
    while (oldest === null || homes.get(oldest[0]) !== oldest[1]) {
      const step = walk.next();
      if (step.done === true) {
        walk = homes.entries();
        oldest = null;
        return null; // The next call begins anew.
      }
      oldest = step.value;
    }
    return oldest;
  }

  /**
   * Drops the two oldest homes where they are past their time or too many: two for each one that
   * comes, so that the memory follows the load down as well as up.
   */
  function shrink(nowMs: number): void {
    for (let count = 0; count < 2; count += 1) {
      const found = findOldest();
      if (found === null) return;
      const isTooMany = homes.size > ROUTING_LIMITS.sessionHomesMax;
      if (!isTooMany && nowMs - found[1].usedMs <= ROUTING_LIMITS.sessionHomeMs) return;
      homes.delete(found[0]);
    }
  }

  return {
    of(key, nowMs) {
      const home = key === null ? undefined : homes.get(key);
      if (home === undefined || nowMs - home.usedMs > ROUTING_LIMITS.sessionHomeMs) {
        return undefined;
      }
      return home;
    },
    remember(key, tokens, target, nowMs) {
      if (key === null) return;
      homes.delete(key); // Re-inserted at the young end.
      homes.set(key, { target, tokens, usedMs: nowMs });
      shrink(nowMs);
    },
    count: () => homes.size,
  };
}

/** How popular prefixes are. */
export interface Popularity {
  /** Counts one request. */
  count(prefixHash: number, nowMs: number): void;
  /** The prefix's share of recent requests that have one, 0 to 1. */
  share(prefixHash: number, nowMs: number): number;
  /** Enough requests were seen for shares to mean something. */
  isKnown(nowMs: number): boolean;
}

/** Counts with a half-life; a bounded table, the least recently seen goes first. */
export function createPopularity(): Popularity {
  const counts = new Map<number, { weight: number; atMs: number }>();
  let total = 0;
  let totalMs = 0;
  const faded = (weight: number, ageMs: number): number =>
    weight * 2 ** (-Math.max(ageMs, 0) / POPULARITY_HALF_LIFE_MS);
  return {
    count(prefixHash, nowMs) {
      total = faded(total, nowMs - totalMs) + 1;
      totalMs = nowMs;
      const before = counts.get(prefixHash);
      const weight = before === undefined ? 1 : faded(before.weight, nowMs - before.atMs) + 1;
      counts.delete(prefixHash);
      counts.set(prefixHash, { weight, atMs: nowMs });
      if (counts.size > ROUTING_LIMITS.prefixesMax) dropOldest(counts);
    },
    share(prefixHash, nowMs) {
      const entry = counts.get(prefixHash);
      if (entry === undefined || total <= 0) return 0;
      const weight = faded(entry.weight, nowMs - entry.atMs);
      return Math.min(1, weight / faded(total, nowMs - totalMs));
    },
    isKnown: (nowMs) => faded(total, nowMs - totalMs) >= POPULARITY_REQUESTS_MIN,
  };
}

function dropOldest<Key>(map: Map<Key, unknown>): void {
  for (const oldest of map.keys()) {
    map.delete(oldest);
    return;
  }
}
