/**
 * The control state of an etcd cluster behind the port of a node (`../control/engine.ts`): CE1 and CE2
 * by `propose.ts`, CE3 by `follow.ts` and `keep.ts`. Invariants: ../control/SPEC.md, section 3.
 */

import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import type { Disk } from '../../base/disk.ts';
import type { Clock, TimerHandle, Timers } from '../../base/ports.ts';
import type { Prng } from '../../base/prng.ts';
import { err, ok, type Result } from '../../base/result.ts';
import type {
  ControlEngine,
  ControlFailure,
  ControlOutcome,
  ControlView,
} from '../control/engine.ts';
import { clusterFeatureLevel, levelRefusal } from '../control/features.ts';
import type { Revision, Transaction } from '../control/types.ts';
import { EtcdFollower, type FollowState } from './follow.ts';
import { EtcdKeep } from './keep.ts';
import { decodeHead, layoutOf, type Layout } from './layout.ts';
import { EtcdProposer } from './propose.ts';
import { EtcdReplica } from './replica.ts';
import type { EtcdStore } from './store.ts';

export interface EtcdEngineOptions {
  readonly store: EtcdStore;
  /** Where the last known state is kept. */
  readonly disk: Disk;
  readonly folder: string;
  /** All keys begin so; without `/` at its end. */
  readonly prefix: string;
  /** The feature level that this program supports. */
  readonly levelMax: number;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly prng: Prng;
  readonly onState: (state: FollowState) => void;
  readonly onNote: (note: string, detail: string) => void;
}

export class EtcdControlEngine implements ControlEngine {
  readonly #options: EtcdEngineOptions;
  readonly #layout: Layout;
  readonly #replica = new EtcdReplica();
  readonly #keep: EtcdKeep;
  readonly #follower: EtcdFollower;
  readonly #proposer: EtcdProposer;
  readonly #listeners = new Set<() => void>();
  /** Confirmed reads that the state has not come to yet. */
  #waiting: { readonly revision: Revision; readonly tell: () => void }[] = [];
  readonly #timers = new Set<TimerHandle>();
  #isTelling = false;
  #isStopped = false;

  constructor(options: EtcdEngineOptions) {
    const { store, disk, folder, prefix, clock, timers, prng, onState, onNote } = options;
    this.#options = options;
    this.#layout = layoutOf(prefix);
    this.#keep = new EtcdKeep(disk, folder);
    const layout = this.#layout;
    const replica = this.#replica;
    this.#follower = new EtcdFollower({
      store,
      layout,
      replica,
      keep: this.#keep,
      clock,
      timers,
      prng,
      onMoved: () => this.#moved(),
      onState,
      onNote,
    });
    this.#proposer = new EtcdProposer({
      store,
      layout,
      replica,
      clock,
      timers,
      prng,
      onDoubt: () => this.#follower.again(),
      mayDecide: () => this.#levelRefusal === null,
    });
  }

  get view(): ControlView {
    return this.#replica;
  }

  get state(): FollowState {
    const detail = this.#levelRefusal;
    return detail === null ? this.#follower.state : { kind: 'failed', detail };
  }

  /** Names the state that is followed; null: none is known yet. */
  get lineage(): string | null {
    return this.#replica.lineage;
  }

  /** Why the state is not on this node's disk; null: it is. */
  get keepError(): string | null {
    return this.#follower.keepError;
  }

  /** Reads what the disk has, then looks for the cluster. The error is for people. */
  open(done: (result: Result<null, string>) => void): void {
    this.#keep.open((result) => {
      if (!result.ok) return done(err(result.error.detail));
      const kept = result.value;
      const isRestored = this.#replica.restore(kept);
      if (kept.isDamaged || (kept.snapshot !== null && !isRestored)) {
        this.#options.onNote('etcd-keep-damaged', 'the local copy is read anew from etcd');
      }
      if (!this.#leaveIfBelow()) this.#follower.start();
      done(ok(null));
    });
  }

  stop(done: () => void): void {
    this.#isStopped = true;
    this.#follower.stop();
    this.#proposer.stop();
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
    this.#keep.close(done);
  }

  transact(transaction: Transaction, done: (outcome: ControlOutcome) => void): void {
    const detail = this.#levelRefusal;
    if (detail === null) this.#proposer.transact(transaction, done);
    else this.#later(0, () => done(err({ kind: 'unavailable', detail })));
  }

  confirm(done: (result: Result<Revision, ControlFailure>) => void): void {
    const { store, clock } = this.#options;
    const untilMs = clock.nowMs() + CONTROL_LIMITS.transactMs;
    let isDone = false;
    const shown = (): void => finish(ok(this.#replica.revision));
    const finish = (result: Result<Revision, ControlFailure>): void => {
      if (isDone) return;
      isDone = true;
      this.#waiting = this.#waiting.filter(({ tell }) => tell !== shown);
      done(result);
    };
    const refusal = this.#levelRefusal;
    if (refusal !== null) {
      return this.#later(0, () => done(err({ kind: 'unavailable', detail: refusal })));
    }
    let detail = 'etcd has not been heard yet';
    this.#later(CONTROL_LIMITS.transactMs, () => finish(err({ kind: 'unavailable', detail })));
    const attempt = (): void => {
      if (isDone) return;
      const again = (why: string): void => {
        detail = why;
        if (clock.nowMs() < untilMs) this.#later(CONTROL_LIMITS.retryMs, attempt);
      };
      store.range({ key: this.#layout.head, end: null, limit: 0, revision: 0 }, (result) => {
        if (!result.ok) return again(result.error.detail);
        const [item] = result.value.items;
        const head = item === undefined ? null : decodeHead(item.value);
        const isOther = this.lineage !== null && head?.lineage !== this.lineage;
        if (head === null || isOther || this.state.kind === 'failed') {
          return again('etcd does not hold the control state that this node knows');
        }
        detail = `revision ${head.revision} has not come here yet`;
        this.#whenShown(head.revision, shown);
      });
    };
    attempt();
  }

  onMoved(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** FL3 of `../control/features.ts`; null: this node may take part. */
  get #levelRefusal(): string | null {
    return levelRefusal(clusterFeatureLevel(this.#replica), this.#options.levelMax);
  }

  #leaveIfBelow(): boolean {
    if (this.#levelRefusal === null) return false;
    this.#follower.stop();
    this.#options.onState(this.state);
    return true;
  }

  #whenShown(revision: Revision, tell: () => void): void {
    if (this.lineage !== null && this.#replica.revision >= revision) return tell();
    this.#waiting.push({ revision, tell });
  }

  #moved(): void {
    const { revision } = this.#replica;
    const ready = this.#waiting.filter((each) => each.revision <= revision);
    this.#waiting = this.#waiting.filter((each) => each.revision > revision);
    for (const { tell } of ready) tell();
    this.#proposer.moved();
    this.#leaveIfBelow();
    if (this.#isTelling) return;
    this.#isTelling = true;
    this.#later(0, () => {
      this.#isTelling = false;
      for (const listener of this.#listeners) listener();
    });
  }

  #later(delayMs: number, run: () => void): void {
    if (this.#isStopped) return;
    const timer: TimerHandle = this.#options.timers.after(delayMs, () => {
      this.#timers.delete(timer);
      run();
    });
    this.#timers.add(timer);
  }
}
