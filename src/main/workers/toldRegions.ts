/** The other regions as the first process of the node told of them, grown older since. */

import type { Clock } from '../../base/ports.ts';
import type { RegionView as KnownRegion } from '../../regions/directory.ts';
import type { RegionSource } from '../../replica/knownRegions.ts';

/** What was told last. */
export class ToldRegions implements RegionSource {
  readonly #clock: Clock;
  #regions: readonly KnownRegion[] = [];
  #toldMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  told(regions: readonly KnownRegion[]): void {
    this.#regions = regions;
    this.#toldMs = this.#clock.nowMs();
  }

  views(nowMs: number): readonly KnownRegion[] {
    const olderMs = Math.max(0, nowMs - this.#toldMs);
    return this.#regions.map((region) => ({
      ...region,
      forMs: region.forMs + olderMs,
      heardMs: older(region.heardMs, olderMs),
      digestAgeMs: older(region.digestAgeMs, olderMs),
    }));
  }
}

function older(ms: number | null, byMs: number): number | null {
  return ms === null ? null : ms + byMs;
}
