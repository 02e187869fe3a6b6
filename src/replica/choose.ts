/**
 * Chooses where the next attempt of an exchange goes: a target here; else another region that runs
 * the same model (one hop at most); else the next model of the list, in the same order. The same
 * model anywhere comes before another model here.
 *
 * Where an operator has drained this region, another one that is well goes first; what nobody else
 * takes is served here all the same. A region that the caller's key may not be inferred in takes
 * nothing of it, this one no more than another (RS1).
 */

import { assert } from '../base/assert.ts';
import { failure, type Failure } from '../base/errors.ts';
import { parseTargetName, type TargetName } from '../base/names.ts';
import { regionOrigin } from '../base/peerName.ts';
import type { Prng } from '../base/prng.ts';
import { continuationMode } from '../exchange/continuation.ts';
import type { Place, PlaceChoice, PlaceQuery } from '../exchange/place.ts';
import { isDrained } from '../regions/desired.ts';
import { mayServe, type Residency } from '../regions/residency.ts';
import type { ParsedRequest } from '../protocol/adapter.ts';
import type { ResumeWay } from '../protocol/resume.ts';
import type { Priority } from '../routing/admission.ts';
import type { AttemptOutcome } from '../routing/outcome.ts';
import type { AttemptToken, Pick, RouteRequest } from '../routing/router.ts';
import type { RegionView } from './regionView.ts';
import { unavailable } from './residencyRefusal.ts';
import { peerAdapter, type Serving, type ServingModel, type ServingWay } from './serving.ts';

/** What stays the same for all choices of one exchange. */
export interface Chooser {
  readonly serving: Serving;
  readonly regions: RegionView;
  readonly prng: Prng;
  readonly request: ParsedRequest;
  /** The model asked for, then its fallbacks. */
  readonly models: readonly string[];
  /** It came from another region: it may not be forwarded again. */
  readonly isForwarded: boolean;
  readonly priority: Priority;
  /** Where it may be inferred. */
  readonly residency: Residency;
}

/** Chooses; see the module's comment for the order. */
export function choosePlace(chooser: Chooser, query: PlaceQuery): PlaceChoice {
  const reasons: string[] = [];
  let refusal: Failure | null = null;
  let retryMs: number | null = null;
  let spare: PlaceChoice | null = null;
  let isLimited = false;
  const { region, wishes } = chooser.serving.config;
  const isLeaving = !chooser.isForwarded && isDrained(wishes, region);
  const isAllowed = mayServe(chooser.residency, wishes, region);
  for (let index = query.modelIndex; index < chooser.models.length; index += 1) {
    const name = chooser.models[index] ?? '';
    const model = chooser.serving.models.get(name);
    let isWell = false;
    if (!isAllowed) {
      reasons.push(`${name}: the key may not be served in this region`);
    } else if (model !== undefined) {
      const local = chooseTarget(chooser, model, query);
      if ('place' in local) {
        const here = { kind: 'place', place: local.place, modelIndex: index } as const;
        if (!local.isPanic && !isLeaving) return here;
        if (!local.isPanic || !query.isHealthy) spare ??= here;
        isWell = !local.isPanic;
        reasons.push(`${name}: ${isWell ? 'this region is drained' : 'only sick targets here'}`);
      } else {
        refusal ??= local.refusal;
        isLimited ||= model.router.isOverLimit(query.nowMs);
        const waitMs = model.router.earliestRetryMs(query.nowMs);
        if (waitMs !== null) retryMs = Math.min(retryMs ?? waitMs, waitMs);
        reasons.push(`${name}: ${local.why}`);
      }
    }
    const remote = chooseRegion(chooser, name, query);
    // A region in doubt is no better than this one, drained and well.
    if ('place' in remote && !(isWell && remote.isLastResort)) {
      return { kind: 'place', place: remote.place, modelIndex: index };
    }
    // A sick target may still answer; the same model here comes before another model.
    if (spare !== null) return spare;
    if ('why' in remote) reasons.push(`${name}: ${remote.why}`);
    if (query.isSameModel) break;
  }
  const why = reasons.join('; ');
  const retryAfterMs = Math.max(1_000, retryMs ?? 1_000);
  const { residency } = chooser;
  if (refusal === null && !isLimited && residency !== null) {
    return { kind: 'none', failure: unavailable(residency, retryAfterMs), why };
  }
  const code = isLimited ? 'upstream_rate_limited' : 'no_target';
  return { kind: 'none', failure: refusal ?? failure(code, '', { retryAfterMs }), why };
}

type LocalChoice =
  | { readonly place: Place; readonly isPanic: boolean }
  | { readonly why: string; readonly refusal: Failure | null };

function chooseTarget(chooser: Chooser, model: ServingModel, query: PlaceQuery): LocalChoice {
  let excluded = excludedTargets(query);
  let refusal: Failure | null = null;
  // A target that cannot do what is asked is passed over; each is looked at once at most.
  for (let count = 0; count <= model.ways.size; count += 1) {
    const pick = model.router.pick(
      routeRequest(chooser.request, excluded),
      query.nowMs,
      chooser.prng,
    );
    if (pick === null) break;
    const way = model.ways.get(pick.target);
    if (way === undefined) break;
    refusal = way.target.adapter.refusal(chooser.request, way.adapterTarget);
    if (refusal === null) {
      return { place: targetPlace(chooser, model, way, pick), isPanic: pick.isPanic };
    }
    excluded = new Set([...excluded, pick.target]);
  }
  return { why: refusal === null ? 'no healthy target here' : refusal.code, refusal };
}

const NO_TARGETS: ReadonlySet<TargetName> = new Set();

/** The targets that failed this exchange. */
function excludedTargets(query: PlaceQuery): ReadonlySet<TargetName> {
  if (query.excluded.size === 0) return NO_TARGETS;
  const excluded = new Set<TargetName>();
  for (const key of query.excluded) {
    if (!key.startsWith('target:')) continue;
    const name = parseTargetName(key.slice('target:'.length));
    if (name.ok) excluded.add(name.value);
  }
  return excluded;
}

/** What routing needs to know of a request; the prefix is hashed for those who ask. */
class Routed implements RouteRequest {
  readonly sessionKey: string | null;
  readonly promptTokens: number;
  readonly excluded: ReadonlySet<TargetName>;
  readonly #request: ParsedRequest;

  constructor(request: ParsedRequest, excluded: ReadonlySet<TargetName>) {
    this.sessionKey = request.sessionKey;
    this.promptTokens = request.promptTokensEstimate;
    this.excluded = excluded;
    this.#request = request;
  }

  get prefixHash(): number {
    return this.#request.prefixHash;
  }
}

/** What routing needs to know of a request. */
export function routeRequest(
  request: ParsedRequest,
  excluded: ReadonlySet<TargetName>,
): RouteRequest {
  return new Routed(request, excluded);
}

function targetPlace(chooser: Chooser, model: ServingModel, way: ServingWay, pick: Pick): Place {
  const { router } = model;
  const { name } = way.target.config;
  let token: AttemptToken | null = null;
  return {
    kind: 'target',
    name,
    region: chooser.serving.config.region,
    origin: way.target.config.origin,
    model: model.config.name,
    adapter: way.target.adapter,
    target: way.adapterTarget,
    resume: null,
    reason: pick.reason,
    started: (nowMs) => {
      token = router.started(name, pick.prefillTokens, nowMs, chooser.request.isStream);
    },
    firstContent: (nowMs) => {
      if (token !== null) router.firstContent(token, nowMs);
    },
    finished: (outcome, nowMs) => {
      if (token !== null) router.finished(token, outcome, nowMs);
    },
    streamed: (bytes, ms) => router.paceOf(name)?.streamed(bytes, ms),
    bytesPerSecond: () => router.paceOf(name)?.bytesPerSecond() ?? null,
  };
}

function chooseRegion(
  chooser: Chooser,
  model: string,
  query: PlaceQuery,
): { readonly place: Place; readonly isLastResort: boolean } | { readonly why: string } {
  if (chooser.isForwarded) return { why: 'forwarded once already' };
  const excluded = new Set<string>();
  for (const key of query.excluded) {
    if (key.startsWith('region:')) excluded.add(key.slice('region:'.length));
  }
  const promptTokens = chooser.request.promptTokensEstimate;
  const choice = chooser.regions.choose(
    {
      model,
      promptTokens,
      excluded,
      wishes: chooser.serving.config.wishes,
      residency: chooser.residency,
      priority: chooser.priority,
    },
    query.nowMs,
  );
  if (choice.region === null) return { why: choice.why };
  const { residency, serving } = chooser;
  assert(mayServe(residency, serving.config.wishes, choice.region), 'RS1');
  const place = regionPlace(chooser, choice.region, model, choice.why);
  return { place, isLastResort: choice.isLastResort };
}

function regionPlace(chooser: Chooser, region: string, model: string, reason: string): Place {
  const promptTokens = chooser.request.promptTokensEstimate;
  return {
    kind: 'region',
    name: region,
    region,
    origin: regionOrigin(region),
    model,
    adapter: peerAdapter(chooser.request.dialect),
    target: null,
    resume: regionResume(chooser.serving.models.get(model)),
    reason,
    started: (nowMs) => chooser.regions.started(region, promptTokens, nowMs),
    firstContent: () => {},
    finished: (outcome: AttemptOutcome, nowMs) =>
      chooser.regions.finished(region, promptTokens, outcome, nowMs, chooser.priority),
    // The region that serves it watches for stalls itself.
    streamed: () => {},
    bytesPerSecond: () => null,
  };
}

/** Where nothing is known of the targets: what every chat model understands. */
const RESUME_UNKNOWN: ResumeWay = { mode: 'message', isTrimmed: true };

/**
 * How another region goes on with an answer of `model`: it runs the same model, so that its targets
 * take what ours take. Where ours differ, in the way that every one of them understands.
 */
function regionResume(model: ServingModel | undefined): ResumeWay {
  const ways = [...(model?.ways.values() ?? [])];
  if (ways.length === 0) return RESUME_UNKNOWN;
  const modes = ways.map((way) => continuationMode(way.target.adapter, way.adapterTarget));
  const isTrimmed = ways.some((way) => way.target.adapter.dialect === 'anthropic');
  const [mode = 'message'] = modes;
  return { mode: modes.every((one) => one === mode) ? mode : 'message', isTrimmed };
}
