/**
 * What is the matter with a region, from what is observed of it: a pure decision, no memory.
 *
 * | observed | verdict |
 * |---|---|
 * | link up, heartbeats come | `healthy`, or `slow` where the round trip is far above its norm |
 * | link up, heartbeats stop, the machine accepts connections | `paused` |
 * | link lost, or heartbeats stop, while another region still hears it | `cut` |
 * | connections refused, or no answer, and nobody hears it | `down` |
 * | no region at all can be reached, and none refuses | `cut`: it is us |
 * | the first moments of any of these | `suspect` |
 * | nothing was ever heard, and not for long | `unknown` |
 *
 * V1: a region that another one hears is never called `down`. V2: `paused` needs a sign of life of
 * the machine: a link that stays up, or a connection that was accepted (health.test.ts).
 */

import { unreachable } from '../base/assert.ts';
import type { LinkState, ProbeResult } from '../protocol/peer/linkState.ts';

/** The words for a region's health. */
export const REGION_HEALTHS = [
  'healthy',
  'slow',
  'suspect',
  'cut',
  'paused',
  'down',
  'unknown',
] as const;
export type RegionHealth = (typeof REGION_HEALTHS)[number];

/** Thresholds. Times in ms. */
export interface HealthSettings {
  /** phi from which a region is suspect, and from which its silence is certain. */
  readonly phiSuspect: number;
  readonly phiCertain: number;
  /** A lost link is suspect for so long before a verdict: other regions need time to tell. */
  readonly confirmMs: number;
  /** Nothing heard since our start: after so long that is a verdict too. */
  readonly startMs: number;
  /** Slow: average over `factor` x least + `marginMs`; it ends below half of both. */
  readonly slowFactor: number;
  readonly slowMarginMs: number;
}

/** Defaults: Akka's phi 8, Cassandra's 12 over a WAN; the rest from what three regions need. */
export const HEALTH_SETTINGS: HealthSettings = {
  phiSuspect: 8,
  phiCertain: 12,
  confirmMs: 1_500,
  startMs: 5_000,
  slowFactor: 3,
  slowMarginMs: 150,
};

/** All that is observed of one region. */
export interface RegionEvidence {
  readonly link: LinkState;
  /** How long the link has been in that state, ms. */
  readonly linkForMs: number;
  readonly phi: number;
  /** Since the last heartbeat, ms; null: none ever came. */
  readonly heardMs: number | null;
  /** The last probe since the last heartbeat; null: none. */
  readonly probe: ProbeResult | null;
  readonly rttMs: number | null;
  readonly rttMsMin: number | null;
  /** A region that heard it well after we last did; null: none did or none can be asked. */
  readonly heardBy: string | null;
  /** True: every region is lost to us, there are at least two, and none of them refuses. */
  readonly isAlone: boolean;
  /** It was slow just before: hysteresis. */
  readonly wasSlow: boolean;
}

/** A verdict with its reason: a few words, empty where all is well. */
export interface HealthVerdict {
  readonly health: RegionHealth;
  readonly reason: string;
}

function verdict(health: RegionHealth, reason: string): HealthVerdict {
  return { health, reason };
}

/** Decides; see the table above. */
export function assessRegion(
  evidence: RegionEvidence,
  settings: HealthSettings = HEALTH_SETTINGS,
): HealthVerdict {
  if (evidence.link.kind === 'up') return assessLinked(evidence, settings);
  return assessUnlinked(evidence, evidence.link, settings);
}

function assessLinked(evidence: RegionEvidence, settings: HealthSettings): HealthVerdict {
  const { heardMs, phi, heardBy, probe } = evidence;
  if (heardMs === null) {
    if (evidence.linkForMs < settings.startMs) {
      return verdict('unknown', 'linked, no heartbeat yet');
    }
    if (heardBy !== null) return verdict('cut', `linked, but only ${heardBy} hears it`);
    if (probe === 'refused') return verdict('down', 'linked once; connections are refused now');
    return verdict('paused', 'linked, but it never sent a heartbeat');
  }
  if (phi < settings.phiSuspect) return assessPace(evidence, settings);
  const silence = `no heartbeat for ${Math.round(heardMs)} ms`;
  if (heardBy !== null) return verdict('cut', `${silence} here; ${heardBy} hears it`);
  if (probe === 'accepted') return verdict('paused', `${silence}; its machine accepts connections`);
  if (phi < settings.phiCertain) return verdict('suspect', silence);
  switch (probe) {
    case 'refused':
      return verdict('down', `${silence}; connections are refused`);
    case 'unreachable':
      return evidence.isAlone
        ? verdict('cut', `${silence}; no region can be reached from here`)
        : verdict('down', `${silence}; its machine does not answer`);
    case null:
      return verdict('paused', `${silence}; its link is up`);
    default:
      return unreachable(probe);
  }
}

function assessPace(evidence: RegionEvidence, settings: HealthSettings): HealthVerdict {
  const { rttMs, rttMsMin, wasSlow } = evidence;
  if (rttMs === null || rttMsMin === null) return verdict('healthy', '');
  const share = wasSlow ? 0.5 : 1;
  const factor = 1 + (settings.slowFactor - 1) * share;
  const limitMs = rttMsMin * factor + settings.slowMarginMs * share;
  if (rttMs <= limitMs) return verdict('healthy', '');
  const figures = `${Math.round(rttMs)} ms, at best ${Math.round(rttMsMin)} ms`;
  return verdict('slow', `round trip ${figures}`);
}

function assessUnlinked(
  evidence: RegionEvidence,
  link: LinkState & { readonly kind: 'down' },
  settings: HealthSettings,
): HealthVerdict {
  const { heardMs, heardBy, linkForMs } = evidence;
  if (heardBy !== null) return verdict('cut', `${link.detail} from here; ${heardBy} hears it`);
  const sinceMs = heardMs ?? linkForMs;
  const waitMs = heardMs === null ? settings.startMs : settings.confirmMs;
  switch (link.cause) {
    case 'starting':
      return verdict('unknown', link.detail);
    case 'silent':
      return verdict('paused', link.detail);
    case 'refused':
    case 'reset':
    case 'unreachable':
    case 'rejected':
      if (sinceMs < waitMs) {
        return verdict(heardMs === null ? 'unknown' : 'suspect', link.detail);
      }
      if (evidence.isAlone) return verdict('cut', 'no region can be reached from here');
      return verdict('down', link.detail);
    default:
      return unreachable(link.cause);
  }
}
