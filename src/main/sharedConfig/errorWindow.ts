/** How a region fared in the last minutes: its counts of requests, taken from time to time. */

import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import type { MetricSamples } from '../../io/observe/mergedMetrics.ts';
import type { Counts } from '../../replica/sharedConfig/records.ts';

export class ErrorWindow {
  #taken: { readonly atMs: number; readonly counts: Counts }[] = [];

  /** Keeps what the counts are now. */
  add(nowMs: number, counts: Counts): void {
    const oldestMs = nowMs - SHARED_CONFIG_LIMITS.beforeMs;
    this.#taken = [...this.#taken.filter(({ atMs }) => atMs >= oldestMs), { atMs: nowMs, counts }];
  }

  /** What came since the oldest that is kept. */
  before(counts: Counts): Counts {
    const [oldest] = this.#taken;
    if (oldest === undefined) return { requests: 0, errors: 0 };
    const { requests, errors } = oldest.counts;
    return { requests: counts.requests - requests, errors: counts.errors - errors };
  }
}

/** Refusals that a configuration can cause: no such key, not for this key, no such model. */
const REFUSALS: ReadonlySet<number> = new Set([401, 403, 404]);

/** Requests of clients, and those that failed or were refused as a bad configuration would. */
export function countsOf(samples: MetricSamples): Counts {
  let [requests, errors] = [0, 0];
  for (const { name, values } of samples) {
    if (name !== 'banyan_exchanges_total') continue;
    for (const { labels, value } of values) {
      const status = Number(labels['status']);
      const isError =
        labels['end'] === 'failed' ||
        (labels['end'] === 'refused' && (status >= 500 || REFUSALS.has(status)));
      requests += value;
      if (isError) errors += value;
    }
  }
  return { requests, errors };
}
