/** All areas of the fuzzer, and how their inputs are run. */

import { createPrng } from '../../src/base/prng.ts';
import type { Area } from './area.ts';
import { configArea } from './config.ts';
import { httpArea } from './http.ts';
import { jsonArea } from './json.ts';
import { peerArea } from './peer.ts';
import { providerArea } from './provider.ts';
import { sseArea } from './sse.ts';

/** The areas by name. */
export const AREAS = {
  http: httpArea,
  sse: sseArea,
  json: jsonArea,
  peer: peerArea,
  config: configArea,
  provider: providerArea,
} as const satisfies Readonly<Record<string, () => Area>>;
export type AreaName = keyof typeof AREAS;
export const AREA_NAMES = Object.keys(AREAS) as readonly AreaName[];

/** One input may take so long, ms: more is a bomb. Wide, for a machine that is busy. */
const INPUT_MS_MAX = 5_000;
const REPORT_MS = 10_000;

/** What to run. Input `index` has a generator of its own, so that it can be run alone. */
export interface Run {
  readonly area: AreaName;
  readonly seed: number;
  readonly from: number;
  readonly inputs: number;
  /** Told now and then; false stops the run. */
  readonly progress?: (done: number, perSecond: number) => boolean;
}

/** How a run ended. */
export interface RunResult {
  readonly done: number;
  /** Inputs that were taken, not refused: where there are few, the run says little. */
  readonly taken: number;
  readonly seconds: number;
  /** The first input that breaks a claim; null: none does. */
  readonly failure: { readonly index: number; readonly cause: unknown } | null;
}

/** Runs the inputs of one area until one breaks a claim. */
export async function runArea({ area, seed, from, inputs, progress }: Run): Promise<RunResult> {
  const made: Area = AREAS[area]();
  const startMs = performance.now();
  const seconds = (): number => (performance.now() - startMs) / 1000;
  let reportMs = startMs;
  let done = 0;
  let taken = 0;
  try {
    for (; done < inputs; done += 1) {
      const index = from + done;
      const beginMs = performance.now();
      if (beginMs - reportMs > REPORT_MS) {
        reportMs = beginMs;
        await new Promise((resolve) => setImmediate(resolve));
        if (progress?.(done, done / seconds()) === false) break;
      }
      try {
        const told = made.one(createPrng(Math.imul(seed, 0x9e37_79b1) + index));
        if (typeof told === 'boolean' ? told : await told) taken += 1;
        const tookMs = performance.now() - beginMs;
        if (tookMs > INPUT_MS_MAX) throw new Error(`one input took ${Math.round(tookMs)} ms`);
      } catch (cause) {
        return { done, taken, seconds: seconds(), failure: { index, cause } };
      }
    }
    return { done, taken, seconds: seconds(), failure: null };
  } finally {
    made.close?.();
  }
}
