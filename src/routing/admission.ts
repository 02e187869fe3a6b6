/**
 * Admission: which requests a node takes when there are more than it can do. Requests have a class;
 * as load rises the lowest is refused first. Three things are load: exchanges under way, bytes of
 * request bodies held, and the lag of the event loop, which is what a busy processor looks like.
 *
 * The first two are bounds with a reserve for higher classes. The third is judged as CoDel judges a
 * queue (RFC 8289): only a delay that stands for a whole interval is overload, a burst is not. It
 * moves a pressure that refuses first a part of the lowest class, then all of it, then a part of
 * the next. Which part is decided by the request's id, so that a request that one region let in is
 * not drawn again by the next (DAGOR, Zhou et al., SoCC 2018, 4.2: user priority).
 *
 * A1: in one state, a request of a class is refused only if one of any lower class would be.
 * A2: pressure rises above `lagMsMax`, falls below half of it, and stays between (hysteresis).
 * A3: once the lag is gone every class is let in again within `ADMISSION_LIMITS` recovery.
 * Held by `admission.test.ts`.
 */

import { ADMISSION_LIMITS } from '../base/limits.ts';

/** Classes of requests, the highest last. */
export const PRIORITIES = ['batch', 'standard', 'interactive'] as const;
export type Priority = (typeof PRIORITIES)[number];

/** Why a request was not let in. */
export type ShedReason = 'exchanges' | 'bodies' | 'lag';

/** A request that was not. */
export interface Shed {
  readonly reason: ShedReason;
  /** When the class may be let in again if the load goes, ms. */
  readonly retryAfterMs: number;
}

/** What a node takes at most. */
export interface AdmissionLimits {
  /** Exchanges under way. */
  readonly exchangesMax: number;
  /** Their request bodies together, bytes. */
  readonly requestBodiesBytesMax: number;
  /** Lag of the event loop that may stand, ms. */
  readonly loopLagMsMax: number;
}

/** What a node has under way. */
export interface NodeLoad {
  readonly exchanges: number;
  readonly bodiesBytes: number;
}

const RANK: Readonly<Record<Priority, number>> = { batch: 0, standard: 1, interactive: 2 };
/** Of the bounds, what a class may fill; the rest is kept for those above it. */
const SHARE: readonly number[] = [0.8, 0.95, 1];
/** With fewer exchanges than this under way the lag is not theirs, and refusing would not help. */
const FLOOR: readonly number[] = [4, 8, 16];

/** The class that a word names; null: none. */
export function parsePriority(word: string): Priority | null {
  return PRIORITIES.find((priority) => priority === word) ?? null;
}

/** The lower of two classes. */
export function lowerPriority(one: Priority, other: Priority): Priority {
  return RANK[one] <= RANK[other] ? one : other;
}

/** Its place in `PRIORITIES`. */
export function rankOf(priority: Priority): number {
  return RANK[priority];
}

/** The gate of one node. */
export class AdmissionGate {
  #limits: AdmissionLimits;
  /** 0: nothing is refused for lag; n: the lowest n classes are, a fraction of the next with it. */
  #pressure = 0;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
  }

  /** 0 to the number of classes. */
  get pressure(): number {
    return this.#pressure;
  }

  setLimits(limits: AdmissionLimits): void {
    this.#limits = limits;
  }

  /** An interval of measuring is over: `lagMs` stood through all of it. */
  onLag(lagMs: number): void {
    const { loopLagMsMax } = this.#limits;
    const { pressureRise, pressureRiseMax, pressureFall } = ADMISSION_LIMITS;
    if (lagMs >= loopLagMsMax) {
      const rise = Math.min(pressureRiseMax, (pressureRise * lagMs) / loopLagMsMax);
      this.#pressure = Math.min(PRIORITIES.length, this.#pressure + rise);
    } else if (lagMs < loopLagMsMax / 2) {
      this.#pressure = Math.max(0, this.#pressure - pressureFall);
    }
  }

  /** Lets a request in (null) or says why not. `requestId` draws where a part of a class goes. */
  judge(priority: Priority, load: NodeLoad, bodyBytes: number, requestId: string): Shed | null {
    const rank = RANK[priority];
    const share = SHARE[rank] ?? 1;
    const { exchangesMax, requestBodiesBytesMax } = this.#limits;
    if (load.exchanges >= Math.ceil(exchangesMax * share)) return FULL;
    // One request alone is let in whatever its body: the transport has bounded that.
    const bytes = load.bodiesBytes + bodyBytes;
    if (bytes > requestBodiesBytesMax * share && load.exchanges > 0) return HEAVY;
    const excess = this.#pressure - rank;
    if (excess <= 0 || load.exchanges < (FLOOR[rank] ?? 0)) return null;
    if (excess < 1 && drawOf(requestId) >= excess) return null;
    const { intervalMs, pressureFall } = ADMISSION_LIMITS;
    const fallMs = Math.ceil(excess / pressureFall) * intervalMs;
    return { reason: 'lag', retryAfterMs: Math.max(ADMISSION_LIMITS.retryAfterMs, fallMs) };
  }
}

const FULL: Shed = { reason: 'exchanges', retryAfterMs: ADMISSION_LIMITS.retryAfterMs };
const HEAVY: Shed = { reason: 'bodies', retryAfterMs: ADMISSION_LIMITS.retryAfterMs };

/** A number in [0, 1) that is the same for the same id everywhere (FNV-1a, mixed). */
function drawOf(id: string): number {
  let hash = 0x811c9dc5 | 0;
  for (let at = 0; at < id.length; at += 1) hash = Math.imul(hash ^ id.charCodeAt(at), 0x01000193);
  // FNV's high bits hardly change with the last characters: one round of murmur's finalizer.
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return ((hash ^ (hash >>> 13)) >>> 0) / 2 ** 32;
}
