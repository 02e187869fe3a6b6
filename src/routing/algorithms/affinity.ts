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
}

/** Makes an empty memory of homes. */
export function createHomes(): Homes {
  const homes = new Map<string, Home>();
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
      if (homes.size > ROUTING_LIMITS.sessionHomesMax) dropOldest(homes);
    },
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
