/**
 * Takes a version through the regions, one after the other: what is to be done next, decided from
 * the head and from what the regions say. Pure; whoever leads asks again and again, and sends the
 * step as a transaction that is compared with the head it was decided from. Two at once cannot both
 * take a step, and one that dies is followed by the next, which reads where it had come to.
 *
 * RO1: one region at a time has a version that has not baked there.
 * RO2: a region is done only after it had the version for the time of the bake, and was well.
 * RO3: the version counts for all once every region that is heard is done, and not before.
 * RO4: a halted roll-out does nothing until an operator resumes or ends it.
 */

import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import { judge, type RegionReport } from './judge.ts';
import type { ConfigHead, Mark, Rollout, Stage } from './records.ts';

/** A region, as whoever leads sees it. */
export interface RegionSeen {
  /** Null: it does not answer. */
  readonly report: RegionReport | null;
  /** Since it was heard last, ms; 0 where it answers. */
  readonly silentMs: number;
}

export type SeenRegions = ReadonlyMap<string, RegionSeen>;

export interface RolloutStep {
  readonly head: ConfigHead;
  /** For the audit log. */
  readonly what: string;
  /** The version counts everywhere now. */
  readonly isOver: boolean;
}

/**
 * The next step; null: nothing is to be done now. What the regions say must not be older than the
 * head. `last`: a region that goes last, if it may.
 */
export function nextStep(
  head: ConfigHead,
  seen: SeenRegions,
  last: string | null,
  nowMs: number,
): RolloutStep | null {
  const { rollout } = head;
  if (rollout === null || rollout.halted !== '') return null; // RO4
  const { stage } = rollout;
  if (stage === null) return nextRegion(head, rollout, seen, last, nowMs);
  const found = lookAt(rollout, stage, seen, nowMs);
  switch (found.kind) {
    case 'wait':
      return null;
    case 'halt': {
      const halted = `${stage.region}: ${found.why}`.slice(0, SHARED_CONFIG_LIMITS.refusalCharsMax);
      return stepOf(head, { ...rollout, halted }, `halted in ${halted}`);
    }
    case 'bake': {
      const bake = { sinceMs: nowMs, marks: marksOf(seen) };
      const baking = { ...rollout, stage: { ...stage, before: found.before, bake } };
      return stepOf(head, baking, `bakes in ${stage.region}`);
    }
    case 'done': {
      const done = { ...rollout, stage: null, done: [...rollout.done, stage.region] };
      // In one step where the next region stands ready: half the transactions.
      const next = nextRegion(head, done, seen, last, nowMs);
      return next ?? stepOf(head, done, `done in ${stage.region}`);
    }
    default:
      return found satisfies never;
  }
}

/** Regions in the order that they are taken in: those that were named, then by name, `last` last. */
export function inOrder(
  regions: readonly string[],
  order: readonly string[],
  last: string | null,
): readonly string[] {
  const named = order.filter((region) => regions.includes(region));
  const others = regions.filter((region) => !order.includes(region)).toSorted();
  const isLast = (region: string) => region === last;
  return [...named, ...others.filter((region) => !isLast(region)), ...others.filter(isLast)];
}

function nextRegion(
  head: ConfigHead,
  rollout: Rollout,
  seen: SeenRegions,
  last: string | null,
  nowMs: number,
): RolloutStep | null {
  const left = inOrder([...seen.keys()], rollout.order, last).filter(
    (region) => !rollout.done.includes(region),
  );
  // One that has been silent for long is put off: it takes the version when it comes back.
  const region = left.find(
    (name) => (seen.get(name)?.silentMs ?? 0) < SHARED_CONFIG_LIMITS.silentMs,
  );
  if (region === undefined) {
    if (rollout.done.length === 0) return null;
    const without = left.length === 0 ? '' : `; not heard: ${left.join(', ')}`;
    return {
      head: { newest: head.newest, base: rollout.version, rollout: null }, // RO3
      what: `config roll-out of ${rollout.version}: everywhere${without}`,
      isOver: true,
    };
  }
  const report = seen.get(region)?.report ?? null;
  if (report === null) return null;
  const stage: Stage = {
    region,
    startedMs: nowMs,
    before: beforeOf(report),
    bake: null,
  };
  return stepOf(head, { ...rollout, stage }, `goes to ${region}`);
}

type Found =
  | { readonly kind: 'wait' }
  | { readonly kind: 'halt'; readonly why: string }
  | { readonly kind: 'bake'; readonly before: Stage['before'] }
  | { readonly kind: 'done' };

/** How the region fares that the roll-out is at. */
function lookAt(rollout: Rollout, stage: Stage, seen: SeenRegions, nowMs: number): Found {
  const { report = null, silentMs = Infinity } = seen.get(stage.region) ?? {};
  if (report === null) {
    if (silentMs < SHARED_CONFIG_LIMITS.silentMs) return { kind: 'wait' };
    return { kind: 'halt', why: 'it stopped answering' };
  }
  const { refused, applied } = report;
  if (refused?.version === rollout.version) {
    return { kind: 'halt', why: `it refuses the version: ${refused.why}` };
  }
  if (applied !== rollout.version) {
    const isLate = nowMs - stage.startedMs > SHARED_CONFIG_LIMITS.applyMs;
    if (stage.bake !== null) return { kind: 'halt', why: 'it lost the version' };
    return isLate ? { kind: 'halt', why: 'it did not take the version in time' } : { kind: 'wait' };
  }
  const { region, bake, before } = stage;
  if (bake === null) return { kind: 'bake', before: before ?? beforeOf(report) };
  const others = othersOf(rollout, stage, seen);
  const why = judge(region, before ?? beforeOf(report), bake, report, others);
  if (why !== null) return { kind: 'halt', why };
  return nowMs - bake.sinceMs < rollout.bakeMs ? { kind: 'wait' } : { kind: 'done' };
}

/** Regions without the version that answer. */
function othersOf(
  rollout: Rollout,
  stage: Stage,
  seen: SeenRegions,
): ReadonlyMap<string, RegionReport> {
  const others = new Map<string, RegionReport>();
  for (const [region, { report }] of seen) {
    const hasIt = region === stage.region || rollout.done.includes(region);
    if (report !== null && !hasIt) others.set(region, report);
  }
  return others;
}

function beforeOf({ before, out }: RegionReport): Stage['before'] & object {
  return { counts: before, out };
}

function marksOf(seen: SeenRegions): readonly Mark[] {
  return [...seen].flatMap(([region, { report }]) =>
    report === null ? [] : [{ region, boot: report.boot, counts: report.counts }],
  );
}

function stepOf(head: ConfigHead, rollout: Rollout, what: string): RolloutStep {
  const text = `config roll-out of ${rollout.version}: ${what}`;
  return { head: { ...head, rollout }, what: text, isOver: false };
}
