/** Which models a request may be served by, in order: the one asked for, then its fallbacks. */

import { failure, type Failure } from '../base/errors.ts';
import { headerValue } from '../base/headers.ts';
import type { ClientRequest } from '../base/ports.ts';
import { clip } from './localReply.ts';
import { allowsModel, type Caller } from './policy.ts';
import type { Serving } from './serving.ts';

/** Between nodes: the model of the list that a forwarded request is for. */
export const MODEL_FIELD = 'x-banyan-model';

/** The models to try in order, or why none may be used. */
export function namesToTry(
  serving: Serving,
  others: { isKnownElsewhere(model: string): boolean },
  caller: Caller,
  request: ClientRequest,
  parsed: { readonly model: string; readonly fallbacks: readonly string[] },
): { readonly names: readonly string[] } | { readonly failure: Failure } {
  if (request.forwardedFrom !== null) {
    // The region that took the request decides about fallbacks; here it is one model.
    return { names: [headerValue(request.headers, MODEL_FIELD) ?? parsed.model] };
  }
  const { model } = parsed;
  if (!allowsModel(caller, model)) {
    return { failure: failure('model_not_allowed', `"${clip(model)}"`, { param: 'model' }) };
  }
  const own = serving.models.get(model);
  const isKnown = own !== undefined || others.isKnownElsewhere(model);
  const ownFallbacks = own?.config.fallbacks;
  if (own !== undefined && parsed.fallbacks.length === 0 && ownFallbacks?.length === 0) {
    return { names: [model] };
  }
  const wanted = [...parsed.fallbacks, ...(ownFallbacks ?? [])];
  const usable = wanted.filter(
    (name) =>
      allowsModel(caller, name) && (serving.models.has(name) || others.isKnownElsewhere(name)),
  );
  if (!isKnown && usable.length === 0) {
    return { failure: failure('model_not_found', `"${clip(model)}"`, { param: 'model' }) };
  }
  return { names: [...new Set(isKnown ? [model, ...usable] : usable)] };
}
