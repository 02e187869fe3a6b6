/**
 * Transactions on the control state of an etcd cluster. Each is decided here, by the state as this
 * node has it, and sent as one etcd transaction that compares the head: it takes effect only if
 * nothing else has meanwhile, else it is decided anew. One at a time.
 *
 * Checked by `src/sim/controlFaults.test.ts` and the suite of the engines.
 *
 * EP1: an attempt whose answer is lost is sent again unchanged: the head lets one copy of it take
 *      effect, and the mark in the record says that it was ours.
 * EP2: a transaction is decided anew only when no copy of its last attempt can take effect any more.
 * EP3: what changes nothing is answered only if the head says that it was decided by the newest state.
 */

import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import { ETCD_CHANGES_MAX, ETCD_LIMITS } from '../../base/etcdLimits.ts';
import type { Clock, TimerHandle, Timers } from '../../base/ports.ts';
import type { Prng } from '../../base/prng.ts';
import { err, ok } from '../../base/result.ts';
import { checkCommand } from '../control/check.ts';
import type { ControlOutcome } from '../control/engine.ts';
import type { Plan } from '../control/transaction.ts';
import type { ControlReply, Revision, Transaction } from '../control/types.ts';
import { bytesOf, operationsOf } from './agreed.ts';
import { decodeHead, decodeRecord, type Layout } from './layout.ts';
import type { EtcdReplica } from './replica.ts';
import type {
  EtcdFailure,
  EtcdOperation,
  EtcdRevision,
  EtcdStore,
  EtcdTransacted,
} from './store.ts';

interface Call {
  readonly transaction: Transaction;
  readonly done: (outcome: ControlOutcome) => void;
  readonly untilMs: number;
  /** What kept it from being answered, newest. */
  detail: string;
}

/** One decision of the first call, on its way. */
interface Attempt {
  readonly call: Call;
  readonly plan: Plan;
  readonly mark: string;
  readonly at: EtcdRevision;
  /** The revision that it makes, if it changes anything. */
  readonly revision: Revision;
  readonly operations: readonly EtcdOperation[];
  /** A copy may take effect, or may have. */
  isIndefinite: boolean;
  isUnderWay: boolean;
}

export interface ProposerOptions {
  readonly store: EtcdStore;
  readonly layout: Layout;
  readonly replica: EtcdReplica;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly prng: Prng;
  /** The cluster says something that the replica's follower should look at. */
  readonly onDoubt: () => void;
  /** False: what was not sent yet never is. */
  readonly mayDecide: () => boolean;
}

export class EtcdProposer {
  readonly #options: ProposerOptions;
  /** The first is under way. */
  readonly #calls: Call[] = [];
  #attempt: Attempt | null = null;
  /** The state has to be past this before anything is decided again. */
  #waitsFor: Revision = 0;
  #retry: TimerHandle | null = null;
  readonly #timers = new Set<TimerHandle>();
  /** Own changes that are done, and not shown here yet. */
  #untold: { readonly revision: Revision; readonly tell: () => void }[] = [];
  #isStopped = false;

  constructor(options: ProposerOptions) {
    this.#options = options;
  }

  transact(transaction: Transaction, done: (outcome: ControlOutcome) => void): void {
    const { clock } = this.#options;
    const error = checkCommand(transaction);
    if (error !== null) return this.#later(0, () => done(err({ kind: 'refused', error })));
    if (this.#calls.length >= CONTROL_LIMITS.transactionsMax) {
      const detail = `${CONTROL_LIMITS.transactionsMax} transactions are under way here`;
      return this.#later(0, () => done(err({ kind: 'unavailable', detail })));
    }
    const untilMs = clock.nowMs() + CONTROL_LIMITS.transactMs;
    const call = { transaction, done, untilMs, detail: 'etcd has not been heard yet' };
    this.#calls.push(call);
    this.#later(CONTROL_LIMITS.transactMs, () => this.#expire(call));
    this.#later(0, () => this.#next());
  }

  /** The state has moved. */
  moved(): void {
    const { revision } = this.#options.replica;
    const ready = this.#untold.filter((each) => each.revision <= revision);
    this.#untold = this.#untold.filter((each) => each.revision > revision);
    for (const { tell } of ready) tell();
    this.#next();
  }

  stop(): void {
    this.#isStopped = true;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
    this.#retry?.cancel();
  }

  #later(delayMs: number, run: () => void): void {
    if (this.#isStopped) return;
    const timer: TimerHandle = this.#options.timers.after(delayMs, () => {
      this.#timers.delete(timer);
      run();
    });
    this.#timers.add(timer);
  }

  #again(run: () => void): void {
    this.#retry?.cancel();
    this.#retry = this.#options.timers.after(CONTROL_LIMITS.retryMs, () => {
      this.#retry = null;
      if (!this.#isStopped) run();
    });
  }

  /** Decides the first call. */
  #next(): void {
    const { replica, layout, prng, clock } = this.#options;
    const [call] = this.#calls;
    if (this.#isStopped || call === undefined || this.#attempt !== null) return;
    if (!this.#options.mayDecide()) return; // Each ends when its time is over.
    if (replica.lineage === null || replica.revision < this.#waitsFor) return;
    const plan = replica.plan(call.transaction, clock.wallMs());
    const mark = `${prng.nextUint32().toString(16)}-${prng.nextUint32().toString(16)}`;
    const changes = operationsOf(layout, replica.lineage, plan, mark);
    const refusal = changes === null ? null : tooLarge(plan, changes);
    if (refusal !== null) return this.#finish(call, refusal);
    this.#attempt = {
      call,
      plan,
      mark,
      at: replica.at,
      revision: replica.revision + 1,
      operations: changes ?? [],
      isIndefinite: false,
      isUnderWay: false,
    };
    this.#send(this.#attempt);
  }

  #send(attempt: Attempt): void {
    const { store, layout } = this.#options;
    const { at, revision, operations } = attempt;
    const range = (key: string): EtcdOperation => ({ kind: 'range', key, end: null });
    attempt.isUnderWay = true;
    store.transact(
      {
        compares: [{ key: layout.head, field: 'mod', equals: at }],
        success: operations,
        failure: [range(layout.head), range(layout.record(revision))],
      },
      (result) => {
        if (this.#isStopped || this.#attempt !== attempt) return; // Its time was over.
        attempt.isUnderWay = false;
        if (!result.ok) this.#failed(attempt, result.error);
        else if (result.value.isSuccess) this.#applied(attempt);
        else this.#overtaken(attempt, result.value);
      },
    );
  }

  #failed(attempt: Attempt, failure: EtcdFailure): void {
    attempt.call.detail = failure.detail;
    if (!failure.isDefinite) attempt.isIndefinite = true;
    if (failure.isFinal && !attempt.isIndefinite) {
      return this.#finish(attempt.call, unavailable(failure.detail));
    }
    this.#again(() => {
      if (this.#attempt === attempt) this.#send(attempt);
    });
  }

  #applied(attempt: Attempt): void {
    const { replica } = this.#options;
    const { call, plan, revision } = attempt;
    const outcome = outcomeOf(plan.reply);
    if (plan.change === null || replica.revision >= revision) return this.#finish(call, outcome);
    // Whoever is told that it is done can read it here.
    this.#waitsFor = revision;
    this.#remove(call);
    let isTold = false;
    const tell = (): void => {
      if (isTold) return;
      isTold = true;
      call.done(outcome);
    };
    this.#untold.push({ revision, tell });
    this.#later(ETCD_LIMITS.tellMs, tell);
  }

  /** The head is another one: an earlier copy of this attempt did it, or none can any more. */
  #overtaken(attempt: Attempt, { ranges }: EtcdTransacted): void {
    const { replica, onDoubt } = this.#options;
    const [headItem] = ranges[0] ?? [];
    const [recordItem] = ranges[1] ?? [];
    const head = headItem === undefined ? null : decodeHead(headItem.value);
    if (head === null || head.lineage !== replica.lineage || head.revision < attempt.revision) {
      attempt.call.detail = 'etcd holds another control state than this node knows';
      onDoubt();
      return this.#again(() => {
        if (this.#attempt === attempt) this.#send(attempt);
      });
    }
    if (attempt.isIndefinite && attempt.plan.change !== null) {
      const marked = recordItem === undefined ? null : decodeRecord(recordItem.value);
      if (marked === null) return this.#finish(attempt.call, unknown('its record is gone by age'));
      if (marked.mark === attempt.mark) return this.#applied(attempt);
    }
    attempt.call.detail = 'other changes came first';
    this.#attempt = null;
    this.#waitsFor = attempt.revision;
    this.#next();
  }

  #finish(call: Call, outcome: ControlOutcome): void {
    this.#remove(call);
    this.#later(0, () => call.done(outcome));
    this.#later(0, () => this.#next());
  }

  #remove(call: Call): void {
    const at = this.#calls.indexOf(call);
    if (at >= 0) this.#calls.splice(at, 1);
    if (this.#attempt?.call === call) this.#attempt = null;
  }

  #expire(call: Call): void {
    if (!this.#calls.includes(call)) return;
    const attempt = this.#attempt?.call === call ? this.#attempt : null;
    const isOpen =
      attempt !== null &&
      attempt.plan.change !== null &&
      (attempt.isUnderWay || attempt.isIndefinite);
    this.#remove(call);
    call.done(isOpen ? unknown(call.detail) : unavailable(call.detail));
    this.#next();
  }
}

function tooLarge(plan: Plan, operations: readonly EtcdOperation[]): ControlOutcome | null {
  if ((plan.change?.events.length ?? 0) > ETCD_CHANGES_MAX) {
    return err({ kind: 'refused', error: 'too-many-operations' });
  }
  const bytes = bytesOf(operations);
  if (bytes <= ETCD_LIMITS.requestBytesMax) return null;
  return unavailable(
    `the transaction has ${bytes} bytes, etcd takes ${ETCD_LIMITS.requestBytesMax} at once`,
  );
}

function unavailable(detail: string): ControlOutcome {
  return err({ kind: 'unavailable', detail });
}

function unknown(detail: string): ControlOutcome {
  return err({ kind: 'unknown', detail });
}

function outcomeOf(reply: ControlReply): ControlOutcome {
  if (reply.kind === 'refused') return err({ kind: 'refused', error: reply.error });
  if (reply.kind === 'compacted') return unknown('a transaction compacts nothing');
  const { isSuccess, revision, results } = reply;
  return ok({ isSuccess, revision, results });
}
