/**
 * Drives a roll-out while this node leads: asks all nodes how they fare, lets the core decide, and
 * sends what it decides. Two that run at once do no harm: their steps are compared with the head.
 */

import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import { regionOfPeer } from '../../base/peerName.ts';
import type { Clock, TimerHandle, Timers } from '../../base/ports.ts';
import type { Log } from '../../io/observe/log.ts';
import type { ControlEngine, ControlOutcome } from '../../replica/control/engine.ts';
import type { AuditInput } from '../../replica/control/types.ts';
import { changeHead, outcomeOf } from '../../replica/sharedConfig/changes.ts';
import { readHead } from '../../replica/sharedConfig/records.ts';
import {
  regionsSeen,
  type NodeReport,
  type NodeSeen,
  type SeenNodes,
} from '../../replica/sharedConfig/regionReport.ts';
import { nextStep } from '../../replica/sharedConfig/rollout.ts';

/** What a node said; `none`: it has no configuration to speak of (a witness). */
export type Heard = NodeReport | 'none' | null;

export interface RunnerOptions {
  /** This node's own peer name. */
  readonly name: string;
  /** All nodes that are known, this one too, by peer name. */
  readonly peers: () => readonly string[];
  readonly engine: ControlEngine;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
  /** `alone`: by the group's word; `maybe`: whoever keeps the state names nobody. */
  readonly leads: () => 'no' | 'alone' | 'maybe';
  readonly ask: (peer: string) => Promise<Heard>;
  /** Nodes are asked over links, which tell nothing of who else hears them. */
  readonly asksOverLinks: boolean;
}

export class RolloutRunner {
  readonly #options: RunnerOptions;
  /** When each node was heard last, or this node began to listen. */
  readonly #heardMs = new Map<string, number>();
  #timer: TimerHandle | null = null;
  #isBusy = false;
  /** This node would have to decide alone, and hears too few. */
  #isWaiting = false;
  #isStopped = false;

  constructor(options: RunnerOptions) {
    this.#options = options;
  }

  /** Most other regions are silent: nothing is decided from here. */
  get isWaiting(): boolean {
    return this.#isWaiting;
  }

  /** There may be something to do. */
  wake(delayMs = 0): void {
    if (this.#isStopped || this.#isBusy) return;
    this.#timer?.cancel();
    this.#timer = this.#options.timers.after(delayMs, () => void this.#turn());
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }

  async #turn(): Promise<void> {
    const { engine, leads } = this.#options;
    const rollout = readHead(engine.view)?.head.rollout ?? null;
    if (rollout === null || rollout.halted !== '') {
      this.#isWaiting = false;
      return this.#heardMs.clear();
    }
    const lead = leads();
    if (lead === 'no') {
      this.#isWaiting = false;
      this.#heardMs.clear();
    } else {
      this.#isBusy = true;
      await this.#step(lead === 'alone');
      this.#isBusy = false;
    }
    this.wake(SHARED_CONFIG_LIMITS.askMs);
  }

  async #step(isAlone: boolean): Promise<void> {
    const { engine, name, clock, log } = this.#options;
    // Read before the nodes are asked: one that is older than the head seems to have lost
    // what it has. A head that has moved on meanwhile fails the comparison.
    const stored = readHead(engine.view);
    if (stored === null) return;
    const seen = await this.#look();
    this.#isWaiting = !isAlone && this.#isCutOff(seen);
    if (this.#isStopped || this.#isWaiting) return;
    const last = isAlone ? regionOfPeer(name) : null;
    const step = nextStep(stored.head, seen, last, Math.round(clock.wallMs()));
    if (step === null) return;
    const audit: AuditInput = { who: 'banyan', from: name, what: step.what, why: '' };
    const { rollout } = stored.head;
    const more = step.isOver ? outcomeOf(engine.view, rollout, 'everywhere') : [];
    const outcome = await new Promise<ControlOutcome>((resolve) => {
      engine.transact(changeHead(stored, step.head, cut(audit), more), resolve);
    });
    if (outcome.ok && outcome.value.isSuccess) log.info('config-rollout', { step: step.what });
  }

  /**
   * Most other regions are silent: rather this node's links are broken. Others drive, who hear more;
   * of two regions none calls the other one gone.
   */
  #isCutOff(seen: SeenNodes): boolean {
    const { name, asksOverLinks } = this.#options;
    if (!asksOverLinks) return false;
    const others = [...regionsSeen(seen)].filter(([region]) => region !== regionOfPeer(name));
    const silent = others.filter(([, { silentMs }]) => silentMs >= SHARED_CONFIG_LIMITS.silentMs);
    return silent.length * 2 > others.length;
  }

  async #look(): Promise<SeenNodes> {
    const { peers, ask, clock } = this.#options;
    const seen = new Map<string, NodeSeen>();
    await Promise.all(
      peers().map(async (peer) => {
        const report = await ask(peer);
        const nowMs = clock.nowMs();
        if (report === 'none') return;
        if (report !== null || !this.#heardMs.has(peer)) this.#heardMs.set(peer, nowMs);
        const silentMs = nowMs - (this.#heardMs.get(peer) ?? nowMs);
        seen.set(peer, { report, silentMs });
      }),
    );
    return seen;
  }
}

function cut(audit: AuditInput): AuditInput {
  return { ...audit, what: audit.what.slice(0, CONTROL_LIMITS.auditCharsMax) };
}
