/** What provokes the planted bugs: a profile for each kind of trouble. */

import { CALM_NETWORK } from '../../src/sim/network.ts';
import type { Profile } from '../../src/sim/plan.ts';

export const CRASHES: Profile = {
  kinds: ['kill', 'power', 'power-all', 'kill-leader', 'cut-leader', 'halves', 'isolate'],
  everyMs: 200,
};
export const CUTS: Profile = {
  kinds: [
    'cut-leader',
    'deaf-leader',
    'halves',
    'isolate',
    'ring',
    'bridge',
    'transfer',
    'pause-leader',
  ],
  everyMs: 250,
};
export const READS: Profile = {
  kinds: ['lag-leader'],
  everyMs: 400,
  plan: { clients: 4, thinkMs: 8, keys: 1, voters: 3, learners: 0, hasWitness: false },
};
const SLOW_DISKS: Profile = {
  kinds: ['kill-leader', 'cut-leader'],
  everyMs: 300,
  plan: {
    ...READS.plan,
    disk: {
      latencyMs: 10,
      latencySpreadMs: 60,
      stallChance: 0,
      stallMs: 0,
      readErrorChance: 0,
      keptChance: 0.5,
      tornChance: 0,
    },
  },
};
export const JOINT: Profile = {
  kinds: ['swap-voters', 'swap-voters', 'promote', 'cut-leader', 'isolate'],
  everyMs: 120,
  plan: { ...SLOW_DISKS.plan, voters: 5, thinkMs: 30 },
};
export const LATE_ANSWERS: Profile = {
  kinds: ['transfer', 'cut-leader'],
  everyMs: 500,
  plan: {
    ...READS.plan,
    network: { ...CALM_NETWORK, loss: 0.1, replay: 0.3, delayMs: 5, spreadMs: 20, tailChance: 0.1 },
  },
};
export const MEMBERS: Profile = {
  kinds: [
    'add',
    'grow',
    'promote',
    'demote',
    'remove',
    'remove-leader',
    'swap-voters',
    'cut-leader',
    'halves',
    'kill-leader',
  ],
  everyMs: 200,
};
export const DISKS: Profile = {
  kinds: ['flip', 'zero', 'misdirect', 'wipe', 'swap', 'power', 'kill'],
  everyMs: 500,
};
/** Followers fall behind, get snapshots, and see old parts of them again. */
export const LATE_SNAPSHOTS: Profile = {
  kinds: ['isolate', 'kill'],
  everyMs: 400,
  plan: {
    ...READS.plan,
    network: { ...CALM_NETWORK, replay: 0.4, duplicate: 0.2, spreadMs: 10, tailChance: 0.1 },
    snapshotEntries: 4,
    trailingEntries: 0,
    chunkBytes: 512,
  },
};
