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
  const homes = new AgeOrdered<string, Home>();
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
      homes.set(key, { target, tokens, usedMs: nowMs });
      // Two go for each one that comes: the memory follows the load down as well as up.
      for (let count = 0; count < 2; count += 1) {
        const isTooMany = homes.size > ROUTING_LIMITS.sessionHomesMax;
        const usedMs = homes.oldest()?.usedMs ?? nowMs;
        if (!isTooMany && nowMs - usedMs <= ROUTING_LIMITS.sessionHomeMs) return;
        homes.dropOldest();
      }
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
  const counts = new AgeOrdered<number, { readonly weight: number; readonly atMs: number }>();
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
      counts.set(prefixHash, { weight, atMs: nowMs });
      if (counts.size > ROUTING_LIMITS.prefixesMax) counts.dropOldest();
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

/**
 * A map in the order of last use. The walk from old to young is kept between calls: a new one would
 * pass over the gaps of all that was deleted before it finds the oldest.
 */
class AgeOrdered<Key, Value extends object> {
  readonly #map = new Map<Key, Value>();
  #walk = this.#map.entries();
  /** Where the walk stands; it may have been used again or deleted since. */
  #next: readonly [Key, Value] | null = null;
  #youngest: Key | null = null;

  get size(): number {
    return this.#map.size;
  }

  get(key: Key): Value | undefined {
    return this.#map.get(key);
  }

  /** Sets a new value and makes it the youngest. */
  set(key: Key, value: Value): void {
    // Who is the youngest already stays where it is: to move it would grow the map for nothing.
    if (key !== this.#youngest) this.#map.delete(key);
    this.#youngest = key;
    this.#map.set(key, value);
  }

  /** Undefined where the map is empty. */
  oldest(): Value | undefined {
    return this.#find()?.[1];
  }

  dropOldest(): void {
    const found = this.#find();
    if (found !== null) this.#map.delete(found[0]);
  }

  #find(): readonly [Key, Value] | null {
    if (this.#map.size === 0) return null;
    while (this.#next === null || this.#map.get(this.#next[0]) !== this.#next[1]) {
      const step = this.#walk.next();
      // At its end a walk stays there: what came later needs another one.
      if (step.done === true) this.#walk = this.#map.entries();
      else this.#next = step.value;
    }
    return this.#next;
  }
}
