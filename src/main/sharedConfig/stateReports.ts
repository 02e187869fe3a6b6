/**
 * Tells how this node fares through the control state, and hears the others from there: where etcd
 * keeps the control state, nodes need no links between them.
 *
 * SR1: without a roll-out a node tells that it is there, and which version it has: once.
 * SR2: a node counts as heard while it tells anew; what it told stays in the state, and means nothing.
 */

import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import type { Clock, TimerHandle, Timers } from '../../base/ports.ts';
import type { ControlEngine } from '../../replica/control/engine.ts';
import { readHead } from '../../replica/sharedConfig/records.ts';
import type { NodeReport } from '../../replica/sharedConfig/regionReport.ts';
import { readReport, tellReport } from '../../replica/sharedConfig/reports.ts';

/** Only its counts have changed: it tells as often, ms; else at once. Well below `silentMs`. */
const COUNTS_MS = SHARED_CONFIG_LIMITS.silentMs / 4;

export interface StateReportsOptions {
  /** This node's own peer name. */
  readonly name: string;
  readonly engine: ControlEngine;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly report: () => Promise<NodeReport>;
}

export class StateReports {
  readonly #options: StateReportsOptions;
  readonly #heard = new Map<string, { modRevision: number; atMs: number }>();
  #toldMs = -Infinity;
  #timer: TimerHandle | null = null;
  #isBusy = false;
  #isStopped = false;

  constructor(options: StateReportsOptions) {
    this.#options = options;
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }

  /** There may be something to tell. */
  wake(): void {
    if (this.#isStopped || this.#isBusy) return;
    this.#isBusy = true;
    this.#timer?.cancel();
    void this.#turn().finally(() => {
      this.#isBusy = false;
      if (!this.#isRolling || this.#isStopped) return;
      this.#timer = this.#options.timers.after(SHARED_CONFIG_LIMITS.askMs, () => this.wake());
    });
  }

  /** What a node told, if that is not too long ago. */
  heard(peer: string): NodeReport | null {
    const { engine, clock } = this.#options;
    const stored = readReport(engine.view, peer);
    if (stored === null) return null;
    const { modRevision, report } = stored;
    const nowMs = clock.nowMs();
    const known = this.#heard.get(peer);
    if (known === undefined) {
      // It may have told that long ago: only the next time counts.
      this.#heard.set(peer, { modRevision, atMs: -Infinity });
      return null;
    }
    if (known.modRevision !== modRevision) this.#heard.set(peer, { modRevision, atMs: nowMs });
    const { atMs = -Infinity } = this.#heard.get(peer) ?? {};
    return nowMs - atMs < SHARED_CONFIG_LIMITS.silentMs / 2 ? report : null;
  }

  get #isRolling(): boolean {
    const rollout = readHead(this.#options.engine.view)?.head.rollout ?? null;
    return rollout !== null && rollout.halted === '';
  }

  async #turn(): Promise<void> {
    const { name, engine, clock, report } = this.#options;
    const next = await report();
    const told = readReport(engine.view, name)?.report ?? null;
    const isSame = told !== null && factsOf(told) === factsOf(next);
    const isDue = this.#isRolling && clock.nowMs() - this.#toldMs >= COUNTS_MS;
    if ((isSame && !isDue) || this.#isStopped) return;
    const what = `config report of ${name}: version ${next.applied}`;
    const audit = { who: 'banyan', from: name, what, why: '' };
    await new Promise<void>((resolve) => {
      engine.transact(tellReport(name, next, audit), (outcome) => {
        if (outcome.ok) this.#toldMs = clock.nowMs();
        resolve();
      });
    });
  }
}

/** What has to be told at once. */
function factsOf({ boot, applied, refused, out }: NodeReport): string {
  return JSON.stringify([boot, applied, refused, out]);
}
