/**
 * Tells how this node fares through the control state, and hears the others from there: where etcd
 * keeps the control state, nodes need no links between them.
 *
 * SR1: without a roll-out the state is told once that a node is there, and which version it has.
 * SR2: a node counts as heard while it tells anew; what it told stays in the state, and means nothing.
 * SR3: what changes with every request is told beside the state, which keeps a record of each change:
 *      a roll-out of a day leaves no more records than one of a minute. Before every program knows
 *      that (feature `beats`), it is told in the state.
 * SR4: who told nothing beside the state for `forgetMs`, by the clock of a node that listened all the
 *      while, is taken out, but not during a roll-out. If it lives after all it tells anew.
 */

import { ETCD_LIMITS } from '../../base/etcdLimits.ts';
import { SHARED_CONFIG_LIMITS } from '../../base/sharedConfigLimits.ts';
import type { Clock, TimerHandle, Timers } from '../../base/ports.ts';
import type { ControlEngine } from '../../replica/control/engine.ts';
import { clusterFeatureLevel, isFeatureOn } from '../../replica/control/features.ts';
import type { Beat, Beats } from '../../replica/sharedConfig/beats.ts';
import { readHead } from '../../replica/sharedConfig/records.ts';
import type { NodeReport } from '../../replica/sharedConfig/regionReport.ts';
import {
  decodeReport,
  dropReport,
  encodeReport,
  readReport,
  reportingPeers,
  tellReport,
} from '../../replica/sharedConfig/reports.ts';

/** Only its counts have changed: it tells as often, ms; else at once. Well below `silentMs`. */
const COUNTS_MS = SHARED_CONFIG_LIMITS.silentMs / 4;
/** Without a roll-out, ms: before what was told beside the state goes. */
const IDLE_MS = ETCD_LIMITS.beatMs / 3;

export interface StateReportsOptions {
  /** This node's own peer name. */
  readonly name: string;
  readonly engine: ControlEngine;
  readonly beats: Beats;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly report: () => Promise<NodeReport>;
}

export class StateReports {
  readonly #options: StateReportsOptions;
  readonly #heard = new Map<string, { modRevision: number; atMs: number }>();
  /** What nodes told beside the state since this roll-out began. */
  readonly #beats = new Map<string, Beat>();
  /** When something of a node stood beside the state, by own clock; and since when this one listens. */
  readonly #presentMs = new Map<string, number>();
  #listensSinceMs: number | null = null;
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
    const known = this.#heard.get(peer);
    // It may have told that long ago: only the next time counts.
    if (known === undefined) this.#heard.set(peer, { modRevision, atMs: -Infinity });
    else if (known.modRevision !== modRevision) {
      this.#heard.set(peer, { modRevision, atMs: clock.nowMs() });
    }
    const { atMs = -Infinity } = this.#heard.get(peer) ?? {};
    if (clock.nowMs() - atMs >= SHARED_CONFIG_LIMITS.silentMs / 2) return null;
    return this.#withCounts(peer, report);
  }

  /** What was counted since, by the same process; the rest is what the state says, as its head is. */
  #withCounts(peer: string, report: NodeReport): NodeReport {
    const beat = this.#beats.get(peer);
    const newer = beat === undefined ? null : decodeReport(beat.value);
    if (newer === null || newer.boot !== report.boot) return report;
    return { ...report, counts: newer.counts, before: newer.before };
  }

  get #isRolling(): boolean {
    const rollout = readHead(this.#options.engine.view)?.head.rollout ?? null;
    return rollout !== null && rollout.halted === '';
  }

  async #turn(): Promise<void> {
    const { name, engine, clock, report } = this.#options;
    const next = await report();
    if (this.#isStopped) return;
    const told = readReport(engine.view, name)?.report ?? null;
    const isSame = told !== null && factsOf(told) === factsOf(next);
    const isRolling = this.#isRolling;
    const isDue = clock.nowMs() - this.#toldMs >= (isRolling ? COUNTS_MS : IDLE_MS);
    const isBeside = isFeatureOn(clusterFeatureLevel(engine.view), 'beats');
    if (!isSame || (isDue && isRolling && !isBeside)) await this.#tell(next);
    if (!isRolling) this.#beats.clear();
    if (!isBeside || this.#isStopped || (!isRolling && !isDue)) return;
    await this.#exchange(isDue ? next : null);
    await this.#forget();
  }

  async #tell(next: NodeReport): Promise<void> {
    const { name, engine, clock } = this.#options;
    const what = `config report of ${name}: version ${next.applied}`;
    const audit = { who: 'banyan', from: name, what, why: '' };
    await new Promise<void>((resolve) => {
      engine.transact(tellReport(name, next, audit), (outcome) => {
        if (outcome.ok) this.#toldMs = clock.nowMs();
        resolve();
      });
    });
  }

  /** SR3. */
  async #exchange(own: NodeReport | null): Promise<void> {
    const { beats, clock } = this.#options;
    const all = await new Promise<ReadonlyMap<string, Beat> | null>((resolve) => {
      beats.exchange(own === null ? null : encodeReport(own), resolve);
    });
    if (all === null) {
      this.#listensSinceMs = null;
      return;
    }
    const nowMs = clock.nowMs();
    this.#listensSinceMs ??= nowMs;
    for (const peer of all.keys()) this.#presentMs.set(peer, nowMs);
    if (own !== null) this.#toldMs = nowMs;
    for (const [peer, beat] of all) {
      const known = this.#beats.get(peer);
      if (known?.modRevision === beat.modRevision) continue;
      this.#beats.set(peer, beat);
      const heard = this.#heard.get(peer);
      // The first one may be left from an earlier roll-out.
      if (known !== undefined && heard !== undefined) heard.atMs = nowMs;
    }
  }

  /** SR4: one a turn; several nodes that do it at once do it once. */
  async #forget(): Promise<void> {
    const { name, engine, clock } = this.#options;
    const { view } = engine;
    // Others may have taken it out.
    const told = new Set(reportingPeers(view));
    for (const known of [this.#presentMs, this.#heard]) {
      for (const peer of known.keys()) if (!told.has(peer)) known.delete(peer);
    }
    const listensSinceMs = this.#listensSinceMs;
    if (listensSinceMs === null || this.#isStopped) return;
    if ((readHead(view)?.head.rollout ?? null) !== null) return;
    const untilMs = clock.nowMs() - SHARED_CONFIG_LIMITS.forgetMs;
    const peer = [...told].find((other) => {
      const sinceMs = Math.max(this.#presentMs.get(other) ?? listensSinceMs, listensSinceMs);
      return other !== name && sinceMs <= untilMs;
    });
    if (peer === undefined) return;
    const audit = { who: 'banyan', from: name, what: `config report of ${peer}: gone`, why: '' };
    const drop = dropReport(view, peer, audit);
    if (drop === null) return;
    await new Promise<void>((resolve) => engine.transact(drop, () => resolve()));
    this.#presentMs.delete(peer);
    this.#heard.delete(peer);
  }
}

/** What has to be told at once. */
function factsOf({ boot, applied, refused, out }: NodeReport): string {
  return JSON.stringify([boot, applied, refused, out]);
}
