/**
 * What one run is made of: drawn from its seed, before anything happens. Swarm testing (Groce et
 * al., 2012): each seed turns kinds of faults on or off and draws its own ranges, so that rare
 * mixtures come up. A plan is data: a failing one is made smaller by leaving parts of it out.
 */

import type { Prng } from '../base/prng.ts';
import { drawFaults, FAULT_GROUPS, FAULT_KINDS, type Fault, type FaultKind } from './faults.ts';
import type { NetworkRates } from './network.ts';
import { between, happens, streamOf } from './streams.ts';

/** Rates of every disk. */
export interface DiskRates {
  readonly latencyMs: number;
  readonly latencySpreadMs: number;
  readonly stallChance: number;
  readonly stallMs: number;
  readonly readErrorChance: number;
  readonly keptChance: number;
  readonly tornChance: number;
}

export interface RaftTimes {
  readonly heartbeatMs: number;
  readonly electionMs: number;
  readonly diskStallMs: number;
  readonly requestMs: number;
  readonly handOverMs: number;
}

export interface Plan {
  readonly seed: number;
  readonly voters: number;
  readonly learners: number;
  readonly hasWitness: boolean;
  readonly regionsMin: 1 | 2;
  readonly clients: number;
  readonly keys: number;
  /** Between the calls of one client, on average. */
  readonly thinkMs: number;
  /** Faults happen for so long; then comes the liveness phase. */
  readonly faultsMs: number;
  readonly network: NetworkRates;
  readonly disk: DiskRates;
  readonly times: RaftTimes;
  /** Clocks start up to so far apart. */
  readonly clockOffsetMs: number;
  readonly segmentBytes: number;
  readonly snapshotEntries: number;
  readonly trailingEntries: number;
  readonly chunkBytes: number;
  readonly appendBytes: number;
  readonly checkpointEntries: number;
  readonly sessionsMax: number;
  readonly sessionIdleMs: number;
  /** State machines keep a state of their own on disk. */
  readonly isMachineDurable: boolean;
  /** At first only a quorum is healed, and must go on alone. */
  readonly isCoreAlone: boolean;
  readonly faults: readonly Fault[];
}

/** What a profile fixes of a plan: for provoking one kind of trouble. */
export interface Profile {
  readonly kinds?: readonly FaultKind[];
  /** One fault every so many milliseconds. */
  readonly everyMs?: number;
  readonly plan?: Partial<Omit<Plan, 'seed' | 'faults'>>;
}

/** The plan of a seed. One seed gives one plan, for ever the same in one version of the program. */
export function drawPlan(seed: number, profile: Profile = {}): Plan {
  const prng = streamOf(seed, 'plan');
  const kinds = profile.kinds ?? drawKinds(prng);
  const everyMs = profile.everyMs ?? between(prng, 120, 900);
  const drawn = { ...drawShape(prng), ...drawWorld(prng), ...profile.plan };
  const faults = drawFaults(streamOf(seed, 'faults'), kinds, everyMs, drawn.faultsMs);
  return { ...drawn, seed, faults };
}

/** Some groups are off, and some kinds of those that are on. */
function drawKinds(prng: Prng): FaultKind[] {
  const isAll = prng.nextBelow(8) === 0;
  const groups = Object.values(FAULT_GROUPS).map((kinds) => ({
    kinds,
    isOn: prng.nextBelow(4) > 0,
  }));
  const isOn = FAULT_KINDS.map((kind) => ({ kind, isOn: prng.nextBelow(3) > 0 }));
  return isOn
    .filter(({ kind, isOn: isKindOn }) => {
      const group = groups.find(({ kinds }) => (kinds as readonly FaultKind[]).includes(kind));
      return isAll || (isKindOn && group?.isOn === true);
    })
    .map(({ kind }) => kind);
}

type Shape = Omit<Plan, 'seed' | 'faults' | keyof World>;
type World = Pick<Plan, 'network' | 'disk' | 'clockOffsetMs'>;

function drawShape(prng: Prng): Shape {
  const electionMs = 200 + prng.nextBelow(400);
  const sizes = [3, 3, 3, 3, 5, 5, 4, 2, 1];
  const voters = sizes[prng.nextBelow(sizes.length)] ?? 3;
  return {
    voters,
    learners: prng.nextBelow(3) === 0 ? 1 : 0,
    hasWitness: voters >= 3 && prng.nextBelow(5) === 0,
    regionsMin: voters >= 3 && prng.nextBelow(5) === 0 ? 2 : 1,
    clients: 1 + prng.nextBelow(4),
    keys: 1 + prng.nextBelow(3),
    thinkMs: 10 + prng.nextBelow(150),
    faultsMs: 4_000 + prng.nextBelow(8_000),
    times: {
      heartbeatMs: Math.floor(electionMs / (2 + prng.nextBelow(6))),
      electionMs,
      diskStallMs: electionMs * (1 + prng.nextBelow(4)),
      requestMs: electionMs * (2 + prng.nextBelow(6)),
      handOverMs: prng.nextBelow(2) === 0 ? 0 : electionMs * (2 + prng.nextBelow(6)),
    },
    segmentBytes: [4_096, 4_096, 8_192, 16_384][prng.nextBelow(4)] ?? 8_192,
    snapshotEntries: prng.nextBelow(4) === 0 ? 1 + prng.nextBelow(4) : 5 + prng.nextBelow(60),
    trailingEntries: prng.nextBelow(3) === 0 ? 0 : prng.nextBelow(20),
    chunkBytes: 64 << prng.nextBelow(4),
    appendBytes: 200 << prng.nextBelow(5),
    checkpointEntries: 4 + prng.nextBelow(16),
    sessionsMax: prng.nextBelow(4) === 0 ? 2 : 16,
    sessionIdleMs: prng.nextBelow(4) === 0 ? 400 + prng.nextBelow(2_000) : 600_000,
    isMachineDurable: prng.nextBelow(4) === 0,
    isCoreAlone: prng.nextBelow(2) === 0,
  };
}

/** Ranges after TigerBeetle's VOPR: loss to 30 %, replay to 50 %, delays of 30 to 100 ms. */
function drawWorld(prng: Prng): World {
  const rate = (max: number): number =>
    prng.nextBelow(2) === 0 ? 0 : prng.nextFloat() * prng.nextFloat() * max;
  const isFar = prng.nextBelow(4) === 0;
  return {
    network: {
      loss: rate(0.3),
      duplicate: rate(0.3),
      replay: rate(0.3),
      corrupt: rate(0.1),
      misroute: rate(0.05),
      delayMs: isFar ? between(prng, 10, 30) : between(prng, 0.2, 3),
      spreadMs: isFar ? between(prng, 5, 40) : between(prng, 0.2, 8),
      tailChance: rate(0.05),
    },
    disk: {
      latencyMs: between(prng, 0.05, 0.5),
      latencySpreadMs: between(prng, 0, happens(prng, 0.2) ? 15 : 2),
      stallChance: rate(0.02),
      stallMs: between(prng, 20, 1_000),
      readErrorChance: rate(0.01),
      keptChance: prng.nextFloat(),
      tornChance: prng.nextBelow(2) === 0 ? 0 : prng.nextFloat() * 0.3,
    },
    clockOffsetMs: prng.nextBelow(3) === 0 ? 0 : prng.nextBelow(100_000_000),
  };
}
