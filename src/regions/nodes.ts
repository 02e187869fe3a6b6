/**
 * The nodes of regions, each behind a link of its own, made one for the directory: it knows regions,
 * and a node is never chosen by what its neighbour told. Nodes of our own region are kept for people
 * to see; no region is made of them.
 *
 * N1: the link to a region is up while that to any of its nodes is. N2: one node at a time gives a
 * region its heartbeats, so that the death of another one is no irregular beat; a silent one is
 * relieved. N3: what a region tells is made of the nodes that are linked and were heard just now.
 * A region of one node is what that node is. Held by nodes.test.ts.
 */

import { regionOfPeer } from '../base/peerName.ts';
import type { RegionDigest } from '../protocol/peer/digest.ts';
import type { LinkState, ProbeResult } from '../protocol/peer/linkState.ts';
import { combineDigests, combineLinks, combineProbes } from './combine.ts';
import type { RegionDirectory } from './directory.ts';
import { RttEstimate } from './rtt.ts';

/** Who leads the heartbeats of its region is relieved when silent for so long, ms. */
const LEAD_MS = 300;
/** A digest counts no more when it is so old, ms: ten were missed. */
const DIGEST_MS = 1_000;

/** What the directory is told. */
export type RegionSink = Pick<
  RegionDirectory,
  'setPeers' | 'onLink' | 'onDigest' | 'onRtt' | 'onProbe'
>;

/** One node as it looks from here. */
export interface NodeView {
  readonly peer: string;
  readonly region: string;
  readonly link: LinkState;
  readonly isDraining: boolean;
  readonly rttMs: number | null;
  /** Since its last digest, ms; null: none since its link is up. */
  readonly heardMs: number | null;
  /** Requests under way there; null: not known. */
  readonly inFlight: number | null;
}

interface Node {
  readonly peer: string;
  readonly region: string;
  readonly rtt: RttEstimate;
  link: LinkState;
  digest: RegionDigest | null;
  digestMs: number;
  probe: ProbeResult | null;
}

export class RegionNodes {
  readonly #ownRegion: string;
  readonly #sink: RegionSink;
  readonly #nodes = new Map<string, Node>();
  /** By region: who gives it its heartbeats (N2). */
  readonly #leads = new Map<string, Node>();

  constructor(ownRegion: string, sink: RegionSink) {
    this.#ownRegion = ownRegion;
    this.#sink = sink;
  }

  /** All other nodes by their peer names; what is known of those that stay, stays. */
  setPeers(peers: readonly string[], nowMs: number): void {
    const regions = new Set(peers.map(regionOfPeer));
    regions.delete(this.#ownRegion);
    this.#sink.setPeers([...regions], nowMs);
    const gone = [...this.#nodes.values()].filter(({ peer }) => !peers.includes(peer));
    for (const node of gone) this.#nodes.delete(node.peer);
    for (const peer of peers) if (!this.#nodes.has(peer)) this.#nodes.set(peer, createNode(peer));
    for (const node of gone) {
      if (this.#leads.get(node.region) === node) this.#leads.delete(node.region);
      this.#tellLink(node.region, nowMs);
    }
  }

  onLink(peer: string, link: LinkState, nowMs: number): void {
    const node = this.#nodes.get(peer);
    if (node === undefined) return;
    if (node.link.kind !== link.kind) {
      node.digest = null;
      node.probe = null;
      if (link.kind === 'up') node.rtt.reset();
    }
    node.link = link;
    this.#tellLink(node.region, nowMs);
  }

  /** A digest came from `peer`: also its heartbeat. */
  onDigest(peer: string, digest: RegionDigest, nowMs: number): void {
    const node = this.#nodes.get(peer);
    // A node speaks for its region only.
    if (node === undefined || digest.region !== node.region) return;
    node.digest = digest;
    node.digestMs = nowMs;
    node.probe = null;
    const { region } = node;
    if (region === this.#ownRegion) return;
    const lead = this.#leads.get(region);
    const isLed = lead !== undefined && isLinked(lead) && ageMs(lead, nowMs) <= LEAD_MS;
    if (!isLed) this.#leads.set(region, node);
    if (this.#leads.get(region) !== node) return;
    const fresh = this.#of(region).filter((each) => ageMs(each, nowMs) <= DIGEST_MS);
    const digests = fresh.flatMap((each) => (each.digest === null ? [] : [each.digest]));
    this.#sink.onDigest(region, combineDigests(digest, digests), nowMs);
  }

  onRtt(peer: string, rttMs: number, nowMs: number): void {
    const node = this.#nodes.get(peer);
    if (node === undefined) return;
    node.rtt.sample(rttMs, nowMs);
    const { region } = node;
    if (region === this.#ownRegion) return;
    const own = node.rtt.rttMs ?? Infinity;
    const isBest = this.#of(region).every((other) => {
      return !isLinked(other) || own <= (other.rtt.rttMs ?? Infinity);
    });
    if (isBest) this.#sink.onRtt(region, rttMs, nowMs);
  }

  onProbe(peer: string, probe: ProbeResult): void {
    const node = this.#nodes.get(peer);
    if (node === undefined) return;
    node.probe = probe;
    const { region } = node;
    if (region === this.#ownRegion) return;
    // A region is silent where all of its nodes are.
    const probes = this.#of(region)
      .filter(isLinked)
      .map((each) => each.probe);
    const found = combineProbes(probes);
    if (found !== null) this.#sink.onProbe(region, found);
  }

  /**
   * Others of its region come first: it stops, has not spoken, or has no target of `model` that is
   * well; null: none of any model.
   */
  isAvoided(peer: string, model: string | null): boolean {
    const digest = this.#nodes.get(peer)?.digest ?? null;
    if (digest === null || digest.isDraining) return true;
    if (model !== null) return (digest.models[model]?.healthy ?? 0) === 0;
    const models = Object.values(digest.models);
    return models.length > 0 && models.every(({ healthy }) => healthy === 0);
  }

  views(nowMs: number): readonly NodeView[] {
    return Array.from(this.#nodes.values(), (node): NodeView => ({
      peer: node.peer,
      region: node.region,
      link: node.link,
      isDraining: node.digest?.isDraining ?? false,
      rttMs: node.rtt.rttMs,
      heardMs: node.digest === null ? null : ageMs(node, nowMs),
      inFlight: node.digest?.inFlight ?? null,
    }));
  }

  #of(region: string): readonly Node[] {
    return [...this.#nodes.values()].filter((node) => node.region === region);
  }

  #tellLink(region: string, nowMs: number): void {
    if (region === this.#ownRegion) return;
    const links = this.#of(region).map(({ link }) => link);
    const combined = combineLinks(links);
    if (combined !== null) this.#sink.onLink(region, combined, nowMs);
  }
}

function createNode(peer: string): Node {
  return {
    peer,
    region: regionOfPeer(peer),
    rtt: new RttEstimate(),
    link: { kind: 'down', cause: 'starting', detail: 'not tried yet' },
    digest: null,
    digestMs: 0,
    probe: null,
  };
}

function isLinked({ link }: Node): boolean {
  return link.kind === 'up';
}

/** Of its last digest; there is none where its link is down. */
function ageMs(node: Node, nowMs: number): number {
  return node.digest === null ? Infinity : Math.max(0, nowMs - node.digestMs);
}
