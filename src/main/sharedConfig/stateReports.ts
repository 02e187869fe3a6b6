/**
 * Tells how this region fares through the control state, and hears the others from there: where etcd
 * keeps the control state, regions need no links between them.
 *
 * SR1: without a roll-out a region tells that it is there, and which version it has: once.
 * SR2: a region counts as heard while it tells anew; what it told stays in the state, and means nothing.
 */

import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import type { Clock, TimerHandle, Timers } from '../../base/ports.ts';
import type { ControlEngine } from '../../replica/control/engine.ts';
import type { RegionReport } from '../../replica/sharedConfig/judge.ts';
import { readHead } from '../../replica/sharedConfig/records.ts';
import { readReport, tellReport } from '../../replica/sharedConfig/reports.ts';

/** Only its counts have changed: it tells as often, ms; else at once. Well below `silentMs`. */
const COUNTS_MS = SHARED_CONFIG_LIMITS.silentMs / 4;

export interface StateReportsOptions {
  readonly region: string;
  readonly engine: ControlEngine;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly report: () => Promise<RegionReport>;
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

  /** What a region told, if that is not too long ago. */
  heard(region: string): RegionReport | null {
    const { engine, clock } = this.#options;
    const stored = readReport(engine.view, region);
    if (stored === null) return null;
    const { modRevision, report } = stored;
    const nowMs = clock.nowMs();
    const known = this.#heard.get(region);
    if (known === undefined) {
      // It may have told that long ago: only the next time counts.
      this.#heard.set(region, { modRevision, atMs: -Infinity });
      return null;
    }
    if (known.modRevision !== modRevision) this.#heard.set(region, { modRevision, atMs: nowMs });
    const { atMs = -Infinity } = this.#heard.get(region) ?? {};
    return nowMs - atMs < SHARED_CONFIG_LIMITS.silentMs / 2 ? report : null;
  }

  get #isRolling(): boolean {
    const rollout = readHead(this.#options.engine.view)?.head.rollout ?? null;
    return rollout !== null && rollout.halted === '';
  }

  async #turn(): Promise<void> {
    const { region, engine, clock, report } = this.#options;
    const next = await report();
    const told = readReport(engine.view, region)?.report ?? null;
    const isSame = told !== null && factsOf(told) === factsOf(next);
    const isDue = this.#isRolling && clock.nowMs() - this.#toldMs >= COUNTS_MS;
    if ((isSame && !isDue) || this.#isStopped) return;
    const what = `config report of ${region}: version ${next.applied}`;
    const audit = { who: 'banyan', from: region, what, why: '' };
    await new Promise<void>((resolve) => {
      engine.transact(tellReport(region, next, audit), (outcome) => {
        if (outcome.ok) this.#toldMs = clock.nowMs();
        resolve();
      });
    });
  }
}

/** What has to be told at once. */
function factsOf({ boot, applied, refused, out }: RegionReport): string {
  return JSON.stringify([boot, applied, refused, out]);
}
