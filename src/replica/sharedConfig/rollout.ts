/**
 * Takes a version through the regions, one after the other: what is to be done next, decided from
 * the head and from what the nodes say. Pure; whoever leads asks again and again, and sends the
 * step as a transaction that is compared with the head it was decided from. Two at once cannot both
 * take a step, and one that dies is followed by the next, which reads where it had come to.
 *
 * RO1: one region at a time has a version that has not baked there.
 * RO2: a region is done only after it had the version for the time of the bake, and was well.
 * RO3: the version counts for all once every region that is heard is done, and not before.
 * RO4: a halted roll-out does nothing until an operator resumes or ends it.
 * RO5: the nodes of a region that had the version as the bake began bake it: each of them may not
 *      lose it or restart. One that is gone is left out while another one is heard; one that comes
 *      later takes the version, and counts for nothing in this bake unless it refuses.
 */

import { regionOfPeer } from '../../base/peerName.ts';
import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import { judge } from './judge.ts';
import type { ConfigHead, Mark, Rollout, Stage } from './records.ts';
import {
  combined,
  namesOf,
  regionsSeen,
  type NodeReport,
  type NodeReports,
  type RegionReport,
  type RegionSeen,
  type SeenNodes,
} from './regionReport.ts';

export interface RolloutStep {
  readonly head: ConfigHead;
  /** For the audit log. */
  readonly what: string;
  /** The version counts everywhere now. */
  readonly isOver: boolean;
}

/**
 * The next step; null: nothing is to be done now. What the nodes say must not be older than the
 * head. `last`: a region that goes last, if it may.
 */
export function nextStep(
  head: ConfigHead,
  seen: SeenNodes,
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
    case 'unknown': {
      const what = `leaves ${stage.region}, of which no node is known any more`;
      return stepOf(head, { ...rollout, stage: null }, what);
    }
    case 'halt': {
      const halted = `${stage.region}: ${found.why}`.slice(0, SHARED_CONFIG_LIMITS.refusalCharsMax);
      return stepOf(head, { ...rollout, halted }, `halted in ${halted}`);
    }
    case 'bake': {
      const bake = { sinceMs: nowMs, marks: marksOf(stage.region, seen) };
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
  seen: SeenNodes,
  last: string | null,
  nowMs: number,
): RolloutStep | null {
  const regions = regionsSeen(seen);
  const left = inOrder([...regions.keys()], rollout.order, last).filter(
    (region) => !rollout.done.includes(region),
  );
  // One that has been silent for long is put off: it takes the version when it comes back.
  const region = left.find((name) => !isGone(regions.get(name)));
  if (region === undefined) {
    if (rollout.done.length === 0) return null;
    const missed = [...seen].filter(([, node]) => isGone(node)).map(([peer]) => peer);
    const without = missed.length === 0 ? '' : `; not heard: ${missed.toSorted().join(', ')}`;
    return {
      head: { newest: head.newest, base: rollout.version, rollout: null }, // RO3
      what: `config roll-out of ${rollout.version}: everywhere${without}`,
      isOver: true,
    };
  }
  const report = regions.get(region)?.report ?? null;
  if (report === null) return null;
  const stage: Stage = {
    region,
    startedMs: nowMs,
    before: beforeOf(report),
    bake: null,
  };
  return stepOf(head, { ...rollout, stage }, `goes to ${region}`);
}

function isGone(seen: { readonly silentMs: number } | undefined): boolean {
  return (seen?.silentMs ?? 0) >= SHARED_CONFIG_LIMITS.silentMs;
}

type Found =
  | { readonly kind: 'wait' }
  /** Its nodes were taken out of the cluster: nothing is to be heard of it. */
  | { readonly kind: 'unknown' }
  | { readonly kind: 'halt'; readonly why: string }
  | { readonly kind: 'bake'; readonly before: Stage['before'] }
  | { readonly kind: 'done' };

/** How the region fares that the roll-out is at. */
function lookAt(rollout: Rollout, stage: Stage, seen: SeenNodes, nowMs: number): Found {
  const region = regionsSeen(seen).get(stage.region);
  const report = region?.report ?? null;
  if (region === undefined) return { kind: 'unknown' };
  if (report === null) {
    return isGone(region) ? { kind: 'halt', why: 'it stopped answering' } : { kind: 'wait' };
  }
  const { version } = rollout;
  const { isSingle } = region;
  const { refused } = report;
  // Where an operator has mended the cause, the node tries again.
  const isResumed = stage.before === null && stage.bake === null;
  const isTrying = isResumed && nowMs - stage.startedMs <= SHARED_CONFIG_LIMITS.applyMs;
  if (refused?.version === version && !isTrying) {
    const who = namesOf([refused.peer], isSingle, 'it');
    return { kind: 'halt', why: `${who} refuses the version: ${refused.why}` };
  }
  if (stage.bake !== null) return lookAtBake(rollout, stage, stage.bake, seen, region, nowMs);
  if (report.applied === version) {
    return { kind: 'bake', before: stage.before ?? beforeOf(report) };
  }
  if (nowMs - stage.startedMs <= SHARED_CONFIG_LIMITS.applyMs) return { kind: 'wait' };
  const who = namesOf(without(report.nodes, version), isSingle, 'it');
  return { kind: 'halt', why: `${who} did not take the version in time` };
}

/** RO5. */
function lookAtBake(
  rollout: Rollout,
  { region: name, before }: Stage,
  { sinceMs, marks }: NonNullable<Stage['bake']>,
  seen: SeenNodes,
  { report: all, isSingle }: RegionSeen,
  nowMs: number,
): Found {
  const marked = new Set(marks.map(({ peer }) => peer));
  const nodes = new Map([...(all?.nodes ?? [])].filter(([peer]) => marked.has(peer)));
  if (nodes.size === 0) return { kind: 'halt', why: 'none of its nodes that baked answers' };
  const report = combined(nodes);
  const lost = without(nodes, rollout.version);
  if (lost.length > 0) {
    return { kind: 'halt', why: `${namesOf(lost, isSingle, 'it')} lost the version` };
  }
  const others = othersOf(rollout, name, seen);
  const why = judge({ nodes, isSingle }, before ?? beforeOf(report), marks, others);
  if (why !== null) return { kind: 'halt', why };
  return nowMs - sinceMs < rollout.bakeMs ? { kind: 'wait' } : { kind: 'done' };
}

/** Nodes that do not have a version in force. */
function without(nodes: NodeReports, version: number): readonly string[] {
  return [...nodes].filter(([, { applied }]) => applied !== version).map(([peer]) => peer);
}

/** Nodes that answer, of regions without the version. */
function othersOf({ done }: Rollout, region: string, seen: SeenNodes): NodeReports {
  const others = new Map<string, NodeReport>();
  for (const [peer, { report }] of seen) {
    const of = regionOfPeer(peer);
    if (report !== null && of !== region && !done.includes(of)) others.set(peer, report);
  }
  return others;
}

function beforeOf({ before, out }: RegionReport): NonNullable<Stage['before']> {
  return { counts: before, out };
}

/** All nodes that answer, those of the region first: the list has a limit. */
function marksOf(region: string, seen: SeenNodes): readonly Mark[] {
  const marks = [...seen].flatMap(([peer, { report }]) =>
    report === null ? [] : [{ peer, boot: report.boot, counts: report.counts }],
  );
  const isOwn = ({ peer }: Mark): boolean => regionOfPeer(peer) === region;
  const ordered = [...marks.filter(isOwn), ...marks.filter((mark) => !isOwn(mark))];
  return ordered.slice(0, SHARED_CONFIG_LIMITS.nodesMax);
}

function stepOf(head: ConfigHead, rollout: Rollout, what: string): RolloutStep {
  const text = `config roll-out of ${rollout.version}: ${what}`;
  return { head: { ...head, rollout }, what: text, isOver: false };
}
