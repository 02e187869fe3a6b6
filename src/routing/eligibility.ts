/**
 * Which targets may take a request now, in passes: usable ones; ones that seem to want rest; sick
 * ones (panic); unreachable ones (panic, last). Within a pass the lowest tier that has any serves.
 *
 * Panic has two grades. With too few healthy targets in a tier (`panicPercent`, Envoy's threshold)
 * those ejected for bad answers help the survivors, but not unreachable ones: a refused connection
 * is no doubtful evidence. With none healthy anywhere everything is tried, the unreachable last.
 */

import { unreachable } from '../base/assert.ts';
import type { TargetName } from '../base/names.ts';
import type { HealthState } from './health.ts';
import type { HealthSpec, RouteTarget } from './spec.ts';
import type { TargetState } from './target.ts';

/** One target of a router: its configuration and its state. */
export interface Entry {
  readonly route: RouteTarget;
  readonly state: TargetState;
}

/** Health, or the operator's hold before it. */
export type EntryState = HealthState | 'held';

/** Grade of a target for one pick. */
type Pass = 'usable' | 'soft-rest' | 'sick' | 'unreachable';

const PASSES: readonly Pass[] = ['usable', 'soft-rest', 'sick', 'unreachable'];
const NO_TARGETS: ReadonlySet<TargetName> = new Set();
/** Told to wait where nothing says when a target comes back, ms. */
const RETRY_UNKNOWN_MS = 1_000;

/** The entries to choose from: the first pass, and in it the first tier, that has any. */
export function eligible(
  tiers: readonly (readonly Entry[])[],
  spec: HealthSpec,
  excluded: ReadonlySet<TargetName>,
  nowMs: number,
): { readonly entries: readonly Entry[]; readonly isPanic: boolean } | null {
  for (const pass of PASSES) {
    const isPanicPass = pass === 'sick' || pass === 'unreachable';
    if (isPanicPass && spec.panicPercent <= 0) return null;
    for (const tier of tiers) {
      const entries = tier.filter((entry) => passOf(entry, spec, excluded, nowMs) === pass);
      if (entries.length === 0) continue;
      if (pass !== 'usable' || !isInPanic(tier, spec, nowMs)) {
        return { entries, isPanic: isPanicPass };
      }
      const sick = tier.filter((entry) => passOf(entry, spec, excluded, nowMs) === 'sick');
      return { entries: [...entries, ...sick], isPanic: sick.length > 0 };
    }
  }
  return null;
}

/** Health of an entry, the operator's hold first. */
export function stateOf(entry: Entry, spec: HealthSpec, nowMs: number): EntryState {
  return entry.state.isHeld ? 'held' : entry.state.health.state(spec, nowMs);
}

/** Taken out for its failures, or still on trial. */
export function isSick(state: EntryState): boolean {
  return state === 'ejected' || state === 'unreachable' || state === 'half-open';
}

/** True while it can take a request without panic. */
export function isUsable(entry: Entry, spec: HealthSpec, nowMs: number): boolean {
  const pass = passOf(entry, spec, NO_TARGETS, nowMs);
  return pass === 'usable' || pass === 'soft-rest';
}

/** Ms until an entry may take work; a guess of a second where nothing says when. */
export function waitMs(entry: Entry, spec: HealthSpec, nowMs: number): number {
  if (isUsable(entry, spec, nowMs)) return 0;
  const rest = entry.state.health.rest();
  const restMs = rest.isTold ? rest.untilMs - nowMs : 0;
  const openMs = (entry.state.health.openUntilMs() ?? nowMs) - nowMs;
  const ms = Math.max(restMs, openMs);
  return ms > 0 ? ms : RETRY_UNKNOWN_MS;
}

/** Why an entry was not among the eligible, one phrase. */
export function exclusion(
  entry: Entry,
  spec: HealthSpec,
  excluded: ReadonlySet<TargetName>,
  nowMs: number,
): string {
  const { route, state } = entry;
  const health = stateOf(entry, spec, nowMs);
  const rest = state.health.rest();
  if (route.weight <= 0) return 'its weight is 0';
  if (excluded.has(route.target)) return 'tried already';
  if (health === 'held') return 'held by the operator';
  if (route.inFlightMax !== null && state.inFlight >= route.inFlightMax) {
    return `at its limit of ${route.inFlightMax} in flight`;
  }
  if (rest.isTold && nowMs < rest.untilMs) return `resting: ${state.health.reason}`;
  if (health === 'half-open' && !state.health.hasTrialRoom) {
    return 'half-open: enough trials are under way';
  }
  if (health === 'ejected' || health === 'unreachable' || health === 'resting') {
    return `${health}: ${state.health.reason}`;
  }
  return 'a tier before it serves';
}

/** Too few of a tier's targets are healthy for its load. */
function isInPanic(tier: readonly Entry[], spec: HealthSpec, nowMs: number): boolean {
  let total = 0;
  let healthy = 0;
  for (const entry of tier) {
    const state = stateOf(entry, spec, nowMs);
    if (state === 'held' || entry.route.weight <= 0) continue;
    total += 1;
    if (!isSick(state)) healthy += 1;
  }
  return healthy * 100 < total * spec.panicPercent;
}

/** Null: never in this pick (R1). */
function passOf(
  entry: Entry,
  spec: HealthSpec,
  excluded: ReadonlySet<TargetName>,
  nowMs: number,
): Pass | null {
  const { route, state } = entry;
  if (route.weight <= 0 || excluded.has(route.target)) return null;
  if (route.inFlightMax !== null && state.inFlight >= route.inFlightMax) return null;
  const health = stateOf(entry, spec, nowMs);
  const rest = state.health.rest();
  if (rest.isTold && nowMs < rest.untilMs) return null;
  switch (health) {
    case 'held':
      return null;
    case 'healthy':
    case 'slow-start':
      return 'usable';
    case 'resting':
      return 'soft-rest';
    case 'half-open':
      return state.health.hasTrialRoom ? 'usable' : 'sick';
    case 'ejected':
      return 'sick';
    case 'unreachable':
      return 'unreachable';
    default:
      return unreachable(health);
  }
}
