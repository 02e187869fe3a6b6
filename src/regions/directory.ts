/**
 * What this node knows of the other regions: the last digest, link, round trip and suspicion of each,
 * and the verdict that follows. Three facts stay apart: what the operator wants (`desired.ts`), what
 * is observed (`health`), and what of it follows for traffic (`effective`).
 *
 * R1: a verdict changes only in `tick` (and is told there once). R2: a region comes back from any
 * other verdict only after RECOVERY_BEATS heartbeats in a row. R3: a witness counts only where it heard
 * the region well after we did, so that news of the moment before a death is no sign of life; and of
 * a region that was paused or down only for as long as our own link needs to come back too.
 */

import { assert } from '../base/assert.ts';
import { REGION_LIMITS } from '../base/limits.ts';
import type { RegionDigest, RegionViewDigest } from '../protocol/peer/digest.ts';
import type { LinkState, ProbeResult } from '../protocol/peer/linkState.ts';
import {
  assessRegion,
  HEALTH_SETTINGS,
  type HealthSettings,
  type HealthVerdict,
  type RegionHealth,
} from './health.ts';
import { PHI_SETTINGS, PhiAccrual, type PhiSettings } from './phiAccrual.ts';
import { RttEstimate } from './rtt.ts';

/** Heartbeats in a row before a lost region is healthy again. */
const RECOVERY_BEATS = 3;
/** A witness's word is old after, ms. */
const WITNESS_AGE_MS_MAX = 2_000;
/** A witness must have heard it so much later than we did, ms (R3). */
const WITNESS_LEAD_MS = 700;
/** A region that returns is heard by one before the other: no cut within this, ms (R3). */
const RETURN_MS = 5_000;
/** Two ticks further apart than this: we stood still ourselves, ms. */
const OWN_STALL_MS = 1_000;
/** A digest is too old to choose by after, ms. */
const DIGEST_AGE_MS_MAX = 3_000;

/** What follows for traffic. */
export interface RegionEffective {
  /** True: requests may be sent there. */
  readonly isEligible: boolean;
  /** Why not; empty where they may. */
  readonly reason: string;
}

/** One other region, as this node sees it. */
export interface RegionView {
  readonly region: string;
  readonly health: RegionHealth;
  /** Why; empty where all is well. */
  readonly reason: string;
  readonly effective: RegionEffective;
  /** Since the verdict is what it is, ms. */
  readonly forMs: number;
  readonly link: LinkState;
  readonly phi: number;
  /** Average and least round trip and its deviation, ms; null: not measured. */
  readonly rttMs: number | null;
  readonly rttMsMin: number | null;
  readonly jitterMs: number;
  /** Since the last heartbeat, ms; null: none ever came. */
  readonly heardMs: number | null;
  readonly digest: RegionDigest | null;
  /** Age of the digest at its origin: since it came, and half a round trip, ms; null: none. */
  readonly digestAgeMs: number | null;
}

/** A verdict that changed. */
export interface RegionTransition {
  readonly region: string;
  readonly from: RegionHealth;
  readonly to: RegionHealth;
  readonly reason: string;
  /** Monotonic, ms. */
  readonly atMs: number;
}

/** What a directory is made from. */
export interface DirectoryOptions {
  /** Our own region. */
  readonly region: string;
  readonly peers: readonly string[];
  readonly health?: HealthSettings;
  readonly phi?: PhiSettings;
}

interface Entry {
  readonly region: string;
  readonly detector: PhiAccrual;
  readonly rtt: RttEstimate;
  link: LinkState;
  linkSinceMs: number;
  digest: RegionDigest | null;
  digestMs: number;
  probe: ProbeResult | null;
  /** Since another region has been hearing it and we have not; null: none does. */
  witnessSinceMs: number | null;
  verdict: HealthVerdict;
  verdictSinceMs: number;
  /** Heartbeats since it was last in doubt. */
  beats: number;
}

/** The directory of one node. */
export class RegionDirectory {
  private readonly options: DirectoryOptions;
  private readonly healthSettings: HealthSettings;
  private readonly phiSettings: PhiSettings;
  private readonly entries = new Map<string, Entry>();
  private readonly transitions: RegionTransition[] = [];
  private lastTickMs: number;

  constructor(options: DirectoryOptions, nowMs: number) {
    this.options = options;
    this.healthSettings = options.health ?? HEALTH_SETTINGS;
    this.phiSettings = options.phi ?? PHI_SETTINGS;
    this.lastTickMs = nowMs;
    this.setPeers(options.peers, nowMs);
  }

  /** The configured peers; what is known of those that stay, stays. */
  setPeers(peers: readonly string[], nowMs: number): void {
    assert(!peers.includes(this.options.region), 'a region is no peer of itself');
    for (const region of Array.from(this.entries.keys())) {
      if (!peers.includes(region)) this.entries.delete(region);
    }
    for (const region of peers) {
      if (!this.entries.has(region)) this.entries.set(region, this.createEntry(region, nowMs));
    }
  }

  /** A digest came from `region` over its link: also its heartbeat. */
  onDigest(region: string, digest: RegionDigest, nowMs: number): void {
    const entry = this.entries.get(region);
    // A region speaks for itself only.
    if (entry === undefined || digest.region !== region) return;
    entry.detector.heartbeat(nowMs);
    entry.beats += 1;
    entry.probe = null;
    entry.digest = digest;
    entry.digestMs = nowMs;
  }

  onRtt(region: string, rttMs: number, nowMs: number): void {
    this.entries.get(region)?.rtt.sample(rttMs, nowMs);
  }

  /** The link came up, went down, or stays down for another cause. */
  onLink(region: string, link: LinkState, nowMs: number): void {
    const entry = this.entries.get(region);
    if (entry === undefined) return;
    if (entry.link.kind !== link.kind) {
      entry.linkSinceMs = nowMs;
      entry.probe = null;
      if (link.kind === 'up') entry.rtt.reset();
    }
    entry.link = link;
  }

  onProbe(region: string, probe: ProbeResult): void {
    const entry = this.entries.get(region);
    if (entry !== undefined) entry.probe = probe;
  }

  /** Draws the verdicts; call it every heartbeat. Returns those that changed. */
  tick(nowMs: number): readonly RegionTransition[] {
    const gapMs = nowMs - this.lastTickMs;
    this.lastTickMs = nowMs;
    // Lifeguard's lesson: who stood still must not accuse the others of silence.
    if (gapMs > OWN_STALL_MS) {
      for (const entry of this.entries.values()) entry.detector.forgive(gapMs, nowMs);
    }
    const isAlone = this.isAlone();
    const changed: RegionTransition[] = [];
    for (const entry of this.entries.values()) {
      const next = this.assess(entry, isAlone, nowMs);
      const { region, verdict } = entry;
      entry.verdict = next;
      if (next.health === verdict.health) continue;
      entry.verdictSinceMs = nowMs;
      const { health: to, reason } = next;
      changed.push({ region, from: verdict.health, to, reason, atMs: nowMs });
    }
    this.transitions.push(...changed);
    const overflow = this.transitions.length - REGION_LIMITS.transitionsMax * this.entries.size;
    if (overflow > 0) this.transitions.splice(0, overflow);
    return changed;
  }

  /** One region; null: not a peer. */
  view(region: string, nowMs: number): RegionView | null {
    const entry = this.entries.get(region);
    return entry === undefined ? null : viewOf(entry, nowMs);
  }

  /** All peers, in the order of the configuration. */
  views(nowMs: number): readonly RegionView[] {
    return Array.from(this.entries.values(), (entry) => viewOf(entry, nowMs));
  }

  /** The last changes of verdicts, oldest first. */
  history(): readonly RegionTransition[] {
    return this.transitions;
  }

  /** Our view of the others, for our own digest. */
  digestViews(nowMs: number): Readonly<Record<string, RegionViewDigest>> {
    return Object.fromEntries(
      Array.from(this.entries.values(), (entry) => {
        const { heardMs } = entry.detector;
        const ageMs = heardMs === null ? null : Math.max(0, Math.round(nowMs - heardMs));
        return [entry.region, { state: entry.verdict.health, ageMs }];
      }),
    );
  }

  private createEntry(region: string, nowMs: number): Entry {
    return {
      region,
      detector: new PhiAccrual(this.phiSettings),
      rtt: new RttEstimate(),
      link: { kind: 'down', cause: 'starting', detail: 'not tried yet' },
      linkSinceMs: nowMs,
      digest: null,
      digestMs: nowMs,
      probe: null,
      witnessSinceMs: null,
      verdict: { health: 'unknown', reason: 'not tried yet' },
      verdictSinceMs: nowMs,
      beats: 0,
    };
  }

  private assess(entry: Entry, isAlone: boolean, nowMs: number): HealthVerdict {
    const { detector, rtt, link, verdict } = entry;
    const { heardMs } = detector;
    const next = assessRegion(
      {
        link,
        linkForMs: Math.max(0, nowMs - entry.linkSinceMs),
        phi: detector.phi(nowMs),
        heardMs: heardMs === null ? null : Math.max(0, nowMs - heardMs),
        probe: entry.probe,
        rttMs: rtt.rttMs,
        rttMsMin: rtt.rttMsMin,
        heardBy: this.heardBy(entry, nowMs),
        isAlone,
        wasSlow: verdict.health === 'slow',
      },
      this.healthSettings,
    );
    const isGood = next.health === 'healthy' || next.health === 'slow';
    const wasGood = verdict.health === 'healthy' || verdict.health === 'slow';
    if (!isGood) {
      entry.beats = 0;
      return next;
    }
    if (wasGood || entry.beats >= RECOVERY_BEATS) return next;
    return verdict;
  }

  /** The witness that counts, if there is one. */
  private heardBy(entry: Entry, nowMs: number): string | null {
    const witness = this.witness(entry, nowMs);
    entry.witnessSinceMs = witness === null ? null : (entry.witnessSinceMs ?? nowMs);
    const { health } = entry.verdict;
    const wasGone = health === 'paused' || health === 'down';
    const forMs = nowMs - (entry.witnessSinceMs ?? nowMs);
    return wasGone && forMs < RETURN_MS ? null : witness;
  }

  /** A region that heard `entry`'s well after we did (R3). */
  private witness(entry: Entry, nowMs: number): string | null {
    const ownHeardMs = entry.detector.heardMs ?? entry.linkSinceMs;
    for (const other of this.entries.values()) {
      if (other === entry || other.digest === null) continue;
      const view = other.digest.views[entry.region];
      if (view === undefined || view.ageMs === null) continue;
      const digestAgeMs = ageOfDigest(other, nowMs);
      if (digestAgeMs > WITNESS_AGE_MS_MAX) continue;
      const heardMs = nowMs - digestAgeMs - view.ageMs;
      const isRecent = digestAgeMs + view.ageMs <= WITNESS_AGE_MS_MAX;
      if (isRecent && heardMs >= ownHeardMs + WITNESS_LEAD_MS) return other.region;
    }
    return null;
  }

  /** Every peer is out of reach, there are two or more, and nobody refuses: it is us. */
  private isAlone(): boolean {
    if (this.entries.size < 2) return false;
    for (const { link, probe } of this.entries.values()) {
      if (link.kind === 'up') {
        if (probe !== 'unreachable') return false;
      } else if (link.cause !== 'unreachable' && link.cause !== 'reset') {
        return false;
      }
    }
    return true;
  }
}

function ageOfDigest(entry: Entry, nowMs: number): number {
  return Math.max(0, nowMs - entry.digestMs) + (entry.rtt.rttMs ?? 0) / 2;
}

function viewOf(entry: Entry, nowMs: number): RegionView {
  const { detector, rtt, verdict, digest } = entry;
  const { heardMs } = detector;
  const digestAgeMs = digest === null ? null : ageOfDigest(entry, nowMs);
  return {
    region: entry.region,
    health: verdict.health,
    reason: verdict.reason,
    effective: effectiveOf(entry, digestAgeMs),
    forMs: Math.max(0, nowMs - entry.verdictSinceMs),
    link: entry.link,
    phi: detector.phi(nowMs),
    rttMs: rtt.rttMs,
    rttMsMin: rtt.rttMsMin,
    jitterMs: rtt.jitterMs,
    heardMs: heardMs === null ? null : Math.max(0, nowMs - heardMs),
    digest,
    digestAgeMs,
  };
}

function effectiveOf(entry: Entry, digestAgeMs: number | null): RegionEffective {
  const { verdict, link, digest } = entry;
  // The link decides at once; the verdict follows on the next tick.
  if (link.kind === 'down') return { isEligible: false, reason: `no link: ${link.detail}` };
  if (verdict.health !== 'healthy' && verdict.health !== 'slow') {
    return { isEligible: false, reason: `${verdict.health}: ${verdict.reason}` };
  }
  if (digest === null || digestAgeMs === null)
    return { isEligible: false, reason: 'no digest yet' };
  if (digestAgeMs > DIGEST_AGE_MS_MAX) return { isEligible: false, reason: 'its digest is old' };
  if (digest.isDraining) return { isEligible: false, reason: 'it is draining' };
  return { isEligible: true, reason: '' };
}
