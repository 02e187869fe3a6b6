/**
 * The digest: what a region tells its peers of itself every 100 ms, as JSON. Unknown members are
 * passed over, so that newer regions may say more; known ones are checked.
 */

import { decodeUtf8Strict, encodeUtf8 } from '../../base/bytes.ts';
import { PEER_LIMITS } from '../../base/limits.ts';

/** Load and health of one model in the region. */
export interface ModelDigest {
  /** Targets that can take requests, and all of them. */
  readonly healthy: number;
  readonly total: number;
  readonly inFlight: number;
  /** Prompt tokens that wait for their first output. */
  readonly queuedTokens: number;
}

/** How the region sees another one. */
export interface RegionViewDigest {
  /** A `RegionHealth` of `regions/`; a newer peer may have more words. */
  readonly state: string;
  /** Since it last heard from it, ms; null: never. */
  readonly ageMs: number | null;
}

/** All of it. */
export interface RegionDigest {
  readonly region: string;
  readonly node: string;
  /** Grows by one with each digest of a process. */
  readonly seq: number;
  readonly models: Readonly<Record<string, ModelDigest>>;
  readonly inFlight: number;
  readonly views: Readonly<Record<string, RegionViewDigest>>;
  readonly isDraining: boolean;
}

/** Bytes of a digest. Models past the limits are left out: peers then do not send them here. */
export function encodeDigest(digest: RegionDigest): Uint8Array {
  const names = Object.keys(digest.models).slice(0, PEER_LIMITS.digestModelsMax);
  for (;;) {
    const models = Object.fromEntries(names.map((name) => [name, digest.models[name]]));
    const bytes = encodeUtf8(JSON.stringify({ ...digest, models }));
    if (bytes.length <= PEER_LIMITS.digestBytesMax || names.length === 0) return bytes;
    names.length = Math.floor(names.length / 2);
  }
}

/** Reads a digest, or null where it is not one. */
export function decodeDigest(bytes: Uint8Array): RegionDigest | null {
  if (bytes.length > PEER_LIMITS.digestBytesMax) return null;
  const text = decodeUtf8Strict(bytes);
  if (text === null) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null; // The only error of JSON.parse is text that is not JSON.
  }
  if (!isRecord(value)) return null;
  const { region, node, seq, inFlight, isDraining } = value;
  if (typeof region !== 'string' || typeof node !== 'string') return null;
  if (!isCount(seq) || !isCount(inFlight) || typeof isDraining !== 'boolean') return null;
  const models = readEntries(value['models'], PEER_LIMITS.digestModelsMax, readModel);
  const views = readEntries(value['views'], PEER_LIMITS.digestRegionsMax, readView);
  if (models === null || views === null) return null;
  return { region, node, seq, models, inFlight, views, isDraining };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}

function readEntries<T>(
  value: unknown,
  countMax: number,
  read: (entry: Readonly<Record<string, unknown>>) => T | null,
): Readonly<Record<string, T>> | null {
  if (!isRecord(value)) return null;
  const names = Object.keys(value);
  if (names.length > countMax) return null;
  const entries: [string, T][] = [];
  for (const name of names) {
    const raw = value[name];
    const entry = isRecord(raw) ? read(raw) : null;
    if (entry === null) return null;
    entries.push([name, entry]);
  }
  return Object.fromEntries(entries);
}

function readModel(entry: Readonly<Record<string, unknown>>): ModelDigest | null {
  const { healthy, total, inFlight, queuedTokens } = entry;
  if (!isCount(healthy) || !isCount(total) || !isCount(inFlight) || !isCount(queuedTokens)) {
    return null;
  }
  return { healthy, total, inFlight, queuedTokens };
}

function readView(entry: Readonly<Record<string, unknown>>): RegionViewDigest | null {
  const { state, ageMs } = entry;
  if (typeof state !== 'string' || state.length > 32) return null;
  if (ageMs !== null && !isCount(ageMs)) return null;
  return { state, ageMs };
}
