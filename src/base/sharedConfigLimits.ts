/** Limits of the configuration that all regions share, and of how a change of it goes out. */

import { assert } from './assert.ts';
import { CONTROL_LIMITS } from './controlLimits.ts';
import { CONFIG_LIMITS } from './limits.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

export const SHARED_CONFIG_LIMITS = {
  textBytesMax: 192 * KIB,
  /** Versions kept, and their texts together, bytes; the oldest go, none that is in force. */
  versionsMax: 100,
  historyBytesMax: 8 * MIB,
  regionsMax: CONFIG_LIMITS.regionsMax + 1,
  /** Nodes in all regions. */
  nodesMax: 128,
  /** A region bakes for so long before the next one is taken, ms. */
  bakeMs: 60_000,
  bakeMsMax: 24 * 3_600_000,
  /** Whoever leads asks every node as often while a roll-out is under way, ms. */
  askMs: 500,
  /**
   * A node that was not heard for so long is left out while another of its region is, ms; a region
   * none of whose nodes was is put off, and in the middle of its bake it halts.
   */
  silentMs: 10_000,
  /** Without links: who told nothing for so long is not known any more, until it tells again, ms. */
  forgetMs: 3_600_000,
  /** A region that was told of a version has it within, ms; else the roll-out halts. */
  applyMs: 30_000,
  /** What "before" means for a region's errors: the time up to its stage, ms, and the step of it. */
  beforeMs: 300_000,
  beforeStepMs: 10_000,
  /** Errors of a bake count from so many errors, among so many requests, on. */
  errorsMin: 5,
  requestsMin: 20,
  /** … and halt it above `errorsFactor` times the rate before or elsewhere, and this much. */
  errorsFactor: 2,
  errorsMarginPercent: 1,
  /** Targets that a region names as out, and the text of a refusal, characters. */
  outMax: 100,
  refusalCharsMax: 4_096,
} as const;

assert(
  SHARED_CONFIG_LIMITS.textBytesMax <= CONTROL_LIMITS.valueBytesMax,
  'the text of a version is one value',
);
assert(
  SHARED_CONFIG_LIMITS.versionsMax * 2 + 4 <= CONTROL_LIMITS.operationsMax * 2 &&
    SHARED_CONFIG_LIMITS.historyBytesMax * 2 <= CONTROL_LIMITS.stateBytesMax,
  'the history is a part of the state',
);
