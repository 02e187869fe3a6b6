/**
 * Active probes: routers say which targets are due, a GET of the target's `probePath` says whether it
 * is well. Only targets that configure a path are asked. A probe that fails tells the routers; it
 * breaks nothing off, because a busy server may miss one.
 */

import { PROBE_LIMITS } from '../base/limits.ts';
import type { Clock, TimerHandle, Timers, Upstream } from '../base/ports.ts';
import type { Prng } from '../base/prng.ts';
import type { TargetConfig } from '../replica/config.ts';
import type { Serving } from '../replica/serving.ts';

/** What the driver needs. */
export interface ProbeParts {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly prng: Prng;
  readonly upstream: Upstream;
  /** The configuration in force now. */
  readonly serving: () => Serving;
  /** Told of every result, for the node's other processes. */
  readonly onResult: (target: string, isHealthy: boolean) => void;
}

/** Starts probing; the result stops it. */
export function startProbes(parts: ProbeParts): () => void {
  const underWay = new Set<string>();
  let tick: TimerHandle | null = null;
  const again = (): void => {
    tick = parts.timers.after(PROBE_LIMITS.tickMs, () => {
      probeDue(parts, underWay);
      again();
    });
  };
  again();
  return () => tick?.cancel();
}

/** Probes every target that is due and is not being asked already. */
function probeDue(parts: ProbeParts, underWay: Set<string>): void {
  const { targets, models } = parts.serving();
  const nowMs = parts.clock.nowMs();
  for (const { router } of models.values()) {
    for (const name of router.probesDue(nowMs, parts.prng)) {
      const target = targets.get(name)?.config;
      if (target === undefined || target.probePath === null || underWay.has(name)) continue;
      if (underWay.size >= PROBE_LIMITS.inFlightMax) return;
      underWay.add(name);
      probe(parts, target, target.probePath, (isHealthy) => {
        underWay.delete(name);
        parts.onResult(target.name, isHealthy);
        for (const model of parts.serving().models.values()) {
          model.router.setProbe(target.name, isHealthy, parts.clock.nowMs());
        }
      });
    }
  }
}

function probe(
  parts: ProbeParts,
  target: TargetConfig,
  path: string,
  done: (isHealthy: boolean) => void,
): void {
  let isOver = false;
  const finish = (isHealthy: boolean): void => {
    if (isOver) return;
    isOver = true;
    limit.cancel();
    done(isHealthy);
  };
  const limit = parts.timers.after(PROBE_LIMITS.answerMs, () => {
    call.cancel();
    finish(false);
  });
  const call = parts.upstream.start(
    {
      origin: target.origin,
      method: 'GET',
      path: target.query === '' ? path : `${path}?${target.query}`,
      headers: probeHeaders(target),
      body: new Uint8Array(0),
      connectMs: PROBE_LIMITS.connectMs,
    },
    {
      // The head says it all; the rest is read so that the connection can be used again.
      onHead: (status) => finish(status >= 200 && status < 300),
      onBody: () => {},
      onEnd: () => finish(false),
      onFailure: () => finish(false),
    },
  );
}

/** The credentials as the target's dialect wants them: a path like `/v1/models` needs them. */
function probeHeaders(target: TargetConfig): readonly string[] {
  const headers = ['accept', '*/*', ...target.headers];
  const { apiKey } = target;
  if (apiKey === null) return headers;
  if (target.kind === 'anthropic') {
    return [...headers, 'x-api-key', apiKey, 'anthropic-version', '2023-06-01'];
  }
  const field = target.options['authHeader'];
  if (typeof field === 'string' && field.toLowerCase() !== 'authorization') {
    return [...headers, field.toLowerCase(), apiKey];
  }
  return [...headers, 'authorization', `Bearer ${apiKey}`];
}
