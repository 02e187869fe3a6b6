/** One target's counters and health: what survives a reload of the configuration. */

import { assert } from '../base/assert.ts';
import type { TargetName } from '../base/names.ts';
import { hashText } from '../base/prng.ts';
import type { Member } from './algorithms/algorithm.ts';
import { TargetHealth } from './health.ts';
import { Pace } from './pace.ts';
import { PeakEwma } from './peakEwma.ts';

/** Weight of the newest sample in the learned means. */
const MEAN_SHARE = 0.1;

/** The state of one target of one model. Only the router writes it. */
export class TargetState implements Member {
  readonly target: TargetName;
  readonly hash: number;
  readonly ttft: PeakEwma = new PeakEwma();
  readonly health: TargetHealth;
  /** How its streams begin and go on. */
  readonly pace: Pace = new Pace();
  /** The operator's hold: no new work. */
  isHeld = false;
  /** Configured; written by the router before each pick, as is `weight`. */
  baseWeight = 1;
  weight = 1;
  /** Of this process: attempts under way, and prompt tokens whose first content has not come. */
  ownInFlight = 0;
  ownQueuedTokens = 0;
  /** The same as told last to the node's other processes. */
  toldInFlight = 0;
  toldQueuedTokens = 0;
  /** The same of the node's other processes, as they told last; 0 where there is none. */
  elsewhereInFlight = 0;
  elsewhereQueuedTokens = 0;
  roundRobinCredit = 0;
  prefillTokensPerMs: number | null = null;
  /** Mean time to first content, ms; null before the first. */
  ttftMeanMs: number | null = null;
  /** When the next active probe is due. */
  probeDueMs = -Infinity;
  /** The state that the observer was told last. */
  stateTold = 'healthy';

  constructor(target: TargetName, joinedMs: number | null) {
    this.target = target;
    this.hash = hashText(target);
    this.health = new TargetHealth(joinedMs);
  }

  get inFlight(): number {
    return this.ownInFlight + this.elsewhereInFlight;
  }

  get queuedTokens(): number {
    return this.ownQueuedTokens + this.elsewhereQueuedTokens;
  }

  /** Learns from a first content after `ttftMs` with `tokensAhead` to prefill, its own included. */
  learn(ttftMs: number, tokensAhead: number, nowMs: number): void {
    this.ttft.observe(ttftMs, nowMs);
    this.ttftMeanMs = mean(this.ttftMeanMs, ttftMs);
    if (ttftMs > 0 && tokensAhead > 0) {
      this.prefillTokensPerMs = mean(this.prefillTokensPerMs, tokensAhead / ttftMs);
    }
  }

  /** Takes tokens off the queue; the counters never go below 0. */
  unqueue(tokens: number): void {
    this.ownQueuedTokens -= tokens;
    assert(this.ownQueuedTokens >= 0, 'what leaves the queue was put there');
  }
}

function mean(before: number | null, sample: number): number {
  return before === null ? sample : before + MEAN_SHARE * (sample - before);
}

/** One attempt under way; made by `started`, given back to `firstContent` and `finished`. */
export interface AttemptToken {
  readonly state: TargetState;
  readonly promptTokens: number;
  readonly tokensAhead: number;
  readonly startedMs: number;
  /** Above 0: the round of trials that it belongs to. */
  readonly trialRound: number;
  readonly isStream: boolean;
  hasContent: boolean;
  isFinished: boolean;
}
