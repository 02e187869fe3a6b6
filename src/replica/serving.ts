/**
 * What one applied configuration became: routers, adapters and keys, ready for requests. Made whole
 * and swapped whole; an exchange keeps the one that it began with. Routers of models that stay take
 * over the health and counters of their predecessors.
 */

import { assert } from '../base/assert.ts';
import type { Adapter, AdapterTarget } from '../protocol/adapter.ts';
import type { Dialect } from '../protocol/dialect.ts';
import { adapterOf } from '../providers/registry.ts';
import { HEDGE_SAVED_MAX, HedgeBudget } from '../routing/hedge.ts';
import { ModelRouter } from '../routing/router.ts';
import type { ModelConfig, NodeConfig, TargetConfig } from './config.ts';
import type { Observer } from './observer.ts';

/** One target, ready to be called. */
export interface ServingTarget {
  readonly config: TargetConfig;
  readonly adapter: Adapter;
}

/** One way to run a model here. */
export interface ServingWay {
  readonly target: ServingTarget;
  readonly adapterTarget: AdapterTarget;
}

/** One model, ready to be routed. */
export interface ServingModel {
  readonly config: ModelConfig;
  readonly router: ModelRouter;
  /** What its requests have earned of hedges; outlives a reload. */
  readonly hedges: HedgeBudget;
  readonly ways: ReadonlyMap<string, ServingWay>;
}

/** One applied configuration. */
export interface Serving {
  readonly config: NodeConfig;
  readonly targets: ReadonlyMap<string, ServingTarget>;
  readonly models: ReadonlyMap<string, ServingModel>;
}

/** Builds the serving state; `previous` hands on health, `processes` of the node share budgets. */
export function buildServing(
  config: NodeConfig,
  previous: Serving | null,
  nowMs: number,
  observer: Observer,
  processes = 1,
): Serving {
  const targets = new Map<string, ServingTarget>();
  for (const target of config.targets) {
    const adapter = adapterOf(target.kind);
    assert(adapter !== null, 'the kind of a target is checked with the configuration');
    targets.set(target.name, { config: target, adapter });
  }
  const models = new Map<string, ServingModel>();
  for (const model of config.models) {
    const ways = new Map<string, ServingWay>();
    for (const { target: name } of model.route.targets) {
      const target = targets.get(name);
      assert(target !== undefined, 'the targets of a model are checked with the configuration');
      ways.set(name, { target, adapterTarget: adapterTargetOf(model, target.config) });
    }
    const before = previous?.models.get(model.name);
    const router = new ModelRouter(model.route, before?.router, nowMs, (event) =>
      observer.targetHealth(model.name, event.target, event.state, event.reason),
    );
    const hedges = before?.hedges ?? new HedgeBudget(0, Math.ceil(HEDGE_SAVED_MAX / processes));
    hedges.setPercent(model.hedge?.budgetPercent ?? 0);
    models.set(model.name, { config: model, router, hedges, ways });
  }
  return { config, targets, models };
}

function adapterTargetOf(model: ModelConfig, target: TargetConfig): AdapterTarget {
  return {
    model: model.upstreamNames[target.name] ?? model.name,
    pathPrefix: target.pathPrefix,
    apiKey: target.apiKey,
    headers: target.headers,
    query: target.query,
    options: target.options,
  };
}

/** The adapter that reads a peer region's answer: it comes in the client's own dialect. */
export function peerAdapter(dialect: Dialect): Adapter {
  const adapter = adapterOf(dialect);
  assert(adapter !== null, 'there is an adapter for each dialect');
  return adapter;
}
