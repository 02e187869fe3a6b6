/**
 * What several nodes of a region are together: pure. Load is summed, for every node brings its own;
 * health is the best node's, for a request goes where it can be served.
 */

import type { ModelDigest, RegionDigest, RegionViewDigest } from '../protocol/peer/digest.ts';
import type { LinkDownCause, LinkState, ProbeResult } from '../protocol/peer/linkState.ts';

/** How much sign of life there is in a link that is down: the most of it counts for the region. */
const LIFE: Readonly<Record<LinkDownCause, number>> = {
  silent: 5,
  rejected: 4,
  refused: 3,
  reset: 2,
  unreachable: 1,
  starting: 0,
};

const PROBE_LIFE: Readonly<Record<ProbeResult, number>> = {
  accepted: 2,
  refused: 1,
  unreachable: 0,
};

/** Up where any is; else the one with the most sign of life. Null: there are none. */
export function combineLinks(links: readonly LinkState[]): LinkState | null {
  let best: LinkState | null = null;
  for (const link of links) if (best === null || lifeOf(link) > lifeOf(best)) best = link;
  return best;
}

function lifeOf(link: LinkState): number {
  return link.kind === 'up' ? Infinity : LIFE[link.cause];
}

/** What met the most life, where all were probed; null: one was not, or there are none. */
export function combineProbes(probes: readonly (ProbeResult | null)[]): ProbeResult | null {
  let best: ProbeResult | null = null;
  for (const probe of probes) {
    if (probe === null) return null;
    if (best === null || PROBE_LIFE[probe] > PROBE_LIFE[best]) best = probe;
  }
  return best;
}

/**
 * What a region tells through `lead`, one of its nodes, made of the digests of all of them. Who
 * drains tells nothing of targets while another one stays.
 */
export function combineDigests(lead: RegionDigest, digests: readonly RegionDigest[]): RegionDigest {
  if (digests.length < 2) return lead;
  const staying = digests.filter(({ isDraining }) => !isDraining);
  const serving = staying.length === 0 ? digests : staying;
  return {
    ...lead,
    models: joined(
      serving.map(({ models }) => models),
      both,
    ),
    inFlight: digests.reduce((sum, { inFlight }) => sum + inFlight, 0),
    views: joined(
      digests.map(({ views }) => views),
      fresher,
    ),
    isDraining: staying.length === 0,
  };
}

/** All entries; those of one name as one. */
function joined<T>(
  records: readonly Readonly<Record<string, T>>[],
  join: (one: T, other: T) => T,
): Readonly<Record<string, T>> {
  const found = new Map<string, T>();
  for (const [name, value] of records.flatMap(Object.entries<T>)) {
    const before = found.get(name);
    found.set(name, before === undefined ? value : join(before, value));
  }
  return Object.fromEntries(found);
}

function both(one: ModelDigest, other: ModelDigest): ModelDigest {
  const { healthy, total } = other.healthy > one.healthy ? other : one;
  const inFlight = one.inFlight + other.inFlight;
  return { healthy, total, inFlight, queuedTokens: one.queuedTokens + other.queuedTokens };
}

function fresher(one: RegionViewDigest, other: RegionViewDigest): RegionViewDigest {
  return (other.ageMs ?? Infinity) < (one.ageMs ?? Infinity) ? other : one;
}
