/**
 * The feature level where an etcd cluster keeps the control state: every node writes down what its
 * program supports, and raises the level once all have. There is no leader: who comes first does it.
 */

import type { TimerHandle, Timers } from '../../base/ports.ts';
import type { ControlEngine } from '../../replica/control/engine.ts';
import {
  clusterFeatureLevel,
  holdingBack,
  levelToRaise,
  raiseLevel,
  writeSupport,
  writtenSupport,
  type FeatureSupport,
} from '../../replica/control/features.ts';
import { listPeers } from '../../replica/control/peers.ts';
import { reportingPeers } from '../../replica/sharedConfig/reports.ts';
import type { Transaction } from '../../replica/control/types.ts';

/** After what could not be written, ms. */
const AGAIN_MS = 5_000;

export interface EtcdLevelsOptions {
  readonly engine: ControlEngine;
  /** This node's. */
  readonly name: string;
  /** The other nodes of its file; empty: it names none, and those that have written count, too. */
  readonly others: readonly string[];
  readonly levelMax: number;
  readonly timers: Timers;
  /** It takes part: its own state is that of the cluster, or was lately. */
  readonly isFollowing: () => boolean;
}

export class EtcdLevels {
  readonly #options: EtcdLevelsOptions;
  #isBusy = false;
  #timer: TimerHandle | null = null;

  constructor(options: EtcdLevelsOptions) {
    this.#options = options;
  }

  stop(): void {
    this.#timer?.cancel();
  }

  /** Nodes for which the level does not rise to what this program supports. */
  heldBackBy(): readonly string[] {
    return holdingBack(clusterFeatureLevel(this.#options.engine.view), this.#nodes());
  }

  /** The state has moved, or is followed now. */
  look(): void {
    const { engine, timers, isFollowing } = this.#options;
    if (this.#isBusy || this.#timer !== null || !isFollowing()) return;
    const next = this.#next();
    if (next === null) return;
    this.#isBusy = true;
    engine.transact(next, (outcome) => {
      this.#isBusy = false;
      if (outcome.ok) return this.look();
      this.#timer = timers.after(AGAIN_MS, () => {
        this.#timer = null;
        this.look();
      });
    });
  }

  #next(): Transaction | null {
    const { engine, name, levelMax } = this.#options;
    const { view } = engine;
    const own = writeSupport(view, name, levelMax);
    if (own !== null) return own;
    const level = levelToRaise(clusterFeatureLevel(view), this.#nodes());
    return level === null ? null : raiseLevel(view, level, name);
  }

  #nodes(): readonly FeatureSupport[] {
    const { engine, name, others } = this.#options;
    const { view } = engine;
    const written = new Map(writtenSupport(view).map((node) => [node.name, node.level]));
    const known = others.length > 0 ? others : [...written.keys(), ...reportingPeers(view)];
    // Those that were added while nodes ran are in no file.
    const added = listPeers(view).map(({ peer }) => peer);
    const names = [...new Set([name, ...known, ...added])];
    return names.map((one) => ({ name: one, level: written.get(one) ?? null }));
  }
}
