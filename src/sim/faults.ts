/**
 * The catalogue of faults, and the drawing of a list of them. A fault names no node: whom it hits is
 * drawn from its own number when it happens, so that taking one out of the list changes no other.
 */

import type { Prng } from '../base/prng.ts';

/** Each kind, by what it hits. */
export const FAULT_GROUPS = {
  network: [
    'cut-link',
    'halves',
    'isolate',
    'cut-leader',
    'deaf-leader',
    'lag-leader',
    'bridge',
    'chain',
    'ring',
    'flap',
    'clog',
    'swizzle',
  ],
  process: ['kill', 'kill-leader', 'power', 'power-all', 'pause', 'pause-leader', 'crash-loop'],
  clock: ['drift', 'freeze', 'jump', 'step'],
  disk: ['stall', 'full', 'fail-sync', 'fail-write', 'flip', 'zero', 'misdirect', 'wipe', 'swap'],
  members: [
    'add',
    'promote',
    'demote',
    'remove',
    'remove-leader',
    'swap-voters',
    'grow',
    'reuse-id',
    'ghost',
  ],
  operation: ['transfer', 'upgrade', 'raise-level', 'downgrade'],
} as const;

export type FaultGroup = keyof typeof FAULT_GROUPS;
export type FaultKind = (typeof FAULT_GROUPS)[FaultGroup][number];

export const FAULT_KINDS: readonly FaultKind[] = Object.values(FAULT_GROUPS).flat();

export interface Fault {
  /** Its place in the list as drawn: its name when a run is made smaller. */
  readonly number: number;
  readonly kind: FaultKind;
  readonly atMs: number;
  readonly forMs: number;
  /** Seeds what it draws when it happens. */
  readonly draw: number;
}

/** Faults of `kinds` until `endMs`, one every `everyMs` on average. */
export function drawFaults(
  prng: Prng,
  kinds: readonly FaultKind[],
  everyMs: number,
  endMs: number,
): Fault[] {
  const faults: Fault[] = [];
  if (kinds.length === 0) return faults;
  let atMs = prng.nextFloat() * everyMs;
  while (atMs < endMs) {
    const kind = kinds[prng.nextBelow(kinds.length)] ?? 'kill';
    // Most are short, some last.
    const forMs = 50 + Math.floor(-Math.log(1 - prng.nextFloat()) * 1_200);
    const draw = prng.nextUint32();
    faults.push({
      number: faults.length + 1,
      kind,
      atMs: Math.floor(atMs),
      forMs: Math.min(forMs, 6_000),
      draw,
    });
    atMs -= everyMs * Math.log(1 - prng.nextFloat());
  }
  return faults;
}
