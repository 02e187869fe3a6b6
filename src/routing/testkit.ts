/** What the tests of this room share: specs and requests in few words. */

import { assert } from '../base/assert.ts';
import { parseModelName, parseTargetName, type TargetName } from '../base/names.ts';
import { HEALTH_DEFAULTS } from './health.ts';
import type { RouteRequest } from './router.ts';
import type { AlgorithmName, HealthSpec, RouteSpec, RouteTarget } from './spec.ts';

/** A target's name; the text must be one. */
export function targetName(text: string): TargetName {
  const parsed = parseTargetName(text);
  assert(parsed.ok, 'a test names its targets well');
  return parsed.value;
}

/** A target, weight 1 and tier 0 unless said otherwise. */
export function target(name: string, more: Partial<Omit<RouteTarget, 'target'>> = {}): RouteTarget {
  return { weight: 1, priority: 0, inFlightMax: null, ...more, target: targetName(name) };
}

/** A spec with default health rules, least tokens unless said otherwise. */
export function routeSpec(
  targets: readonly (string | RouteTarget)[],
  algorithm: AlgorithmName = 'least-tokens',
  health: Partial<HealthSpec> = {},
): RouteSpec {
  const model = parseModelName('m');
  assert(model.ok, 'a test names its model well');
  return {
    model: model.value,
    algorithm,
    targets: targets.map((entry) => (typeof entry === 'string' ? target(entry) : entry)),
    health: { ...HEALTH_DEFAULTS, ...health },
  };
}

/** A request of 100 tokens without session or prefix unless said otherwise. */
export function request(
  more: Partial<Omit<RouteRequest, 'excluded'>> & { readonly excluded?: readonly string[] } = {},
): RouteRequest {
  return {
    sessionKey: more.sessionKey ?? null,
    prefixHash: more.prefixHash ?? 0,
    promptTokens: more.promptTokens ?? 100,
    excluded: new Set((more.excluded ?? []).map(targetName)),
  };
}
