/**
 * How a region fares, from what its nodes say. Pure.
 *
 * RN1: a region is heard once every node of it is, or was silent for `silentMs`: one that is silent
 *      for a moment is waited for, one that is gone holds nobody up while another one is heard.
 * RN2: a region has a version once every node of it that is heard has it.
 * RN3: what any node of it refuses, the region refuses; what its nodes count is added up.
 */

import { nodeOfPeer, regionOfPeer } from '../../base/peerName.ts';
import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import type { Counts } from './records.ts';

/** What a node says of itself. */
export interface NodeReport {
  /** Tells one process from the next. */
  readonly boot: number;
  /** The version in force there; 0: none. */
  readonly applied: number;
  /** A version that it could not take. */
  readonly refused: { readonly version: number; readonly why: string } | null;
  /** Since its process began. */
  readonly counts: Counts;
  /** In the last minutes (`beforeMs`). */
  readonly before: Counts;
  /** Targets that take no requests because of their health. */
  readonly out: readonly string[];
}

/** A node, as whoever leads sees it. */
export interface NodeSeen {
  /** Null: it does not answer. */
  readonly report: NodeReport | null;
  /** Since it was heard last, ms; 0 where it answers. */
  readonly silentMs: number;
}

/** By peer name. */
export type SeenNodes = ReadonlyMap<string, NodeSeen>;
export type NodeReports = ReadonlyMap<string, NodeReport>;

export interface RegionReport {
  /** The oldest version in force at a node of it. */
  readonly applied: number;
  /** Of the newest version that a node could not take. */
  readonly refused: {
    readonly version: number;
    readonly why: string;
    readonly peer: string;
  } | null;
  readonly before: Counts;
  readonly out: readonly string[];
  /** Who is heard, by peer name. */
  readonly nodes: NodeReports;
}

/** A region, as whoever leads sees it. */
export interface RegionSeen {
  /** Null: it is not heard. */
  readonly report: RegionReport | null;
  /** Since the last of its nodes was heard, ms; 0 where it is heard. */
  readonly silentMs: number;
  /** It has one node that is known. */
  readonly isSingle: boolean;
}

/** What is seen of nodes, by region. */
export function regionsSeen(seen: SeenNodes): ReadonlyMap<string, RegionSeen> {
  const byRegion = new Map<string, Map<string, NodeSeen>>();
  for (const [peer, node] of [...seen].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const region = regionOfPeer(peer);
    const nodes = byRegion.get(region) ?? new Map<string, NodeSeen>();
    byRegion.set(region, nodes.set(peer, node));
  }
  return new Map([...byRegion].map(([region, nodes]) => [region, regionSeen(nodes)]));
}

/** RN1. */
function regionSeen(nodes: SeenNodes): RegionSeen {
  const isSingle = nodes.size === 1;
  const heard = new Map<string, NodeReport>();
  const silences: number[] = [];
  for (const [peer, { report, silentMs }] of nodes) {
    if (report === null) silences.push(silentMs);
    else heard.set(peer, report);
  }
  const leastMs = Math.min(...silences);
  const isHeard = heard.size > 0 && leastMs >= SHARED_CONFIG_LIMITS.silentMs;
  if (isHeard) return { report: combined(heard), silentMs: 0, isSingle };
  return { report: null, silentMs: leastMs, isSingle };
}

/** RN2, RN3. */
export function combined(nodes: NodeReports): RegionReport {
  const reports = [...nodes.values()];
  let refused: RegionReport['refused'] = null;
  for (const [peer, report] of nodes) {
    const isNewer = (report.refused?.version ?? 0) > (refused?.version ?? 0);
    if (report.refused !== null && isNewer) refused = { ...report.refused, peer };
  }
  return {
    applied: Math.min(...reports.map(({ applied }) => applied)),
    refused,
    before: sumOf(reports.map(({ before }) => before)),
    out: unionOf(reports).slice(0, SHARED_CONFIG_LIMITS.outMax),
    nodes,
  };
}

/** Targets that are out at any node. */
export function unionOf(reports: Iterable<NodeReport>): readonly string[] {
  return [...new Set([...reports].flatMap(({ out }) => out))];
}

export function sumOf(counts: Iterable<Counts>): Counts {
  const sum = { requests: 0, errors: 0 };
  for (const { requests, errors } of counts) {
    sum.requests += requests;
    sum.errors += errors;
  }
  return sum;
}

/** How nodes of a region are called in a sentence; `single` where it has no other. */
export function namesOf(peers: Iterable<string>, isSingle: boolean, single: string): string {
  if (isSingle) return single;
  return [...peers].map((peer) => nodeLabelOf(peer)).join(', ');
}

function nodeLabelOf(peer: string): string {
  const node = nodeOfPeer(peer);
  return node === null ? 'its first node' : `node ${node}`;
}
