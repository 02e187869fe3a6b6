/**
 * The control state over our own Raft group. Every node has one session in the log, so that a
 * transaction whose answer got lost, or that a new leader has to be asked for again, runs once.
 *
 * A call is sent again until it is answered or its time is over: with the same number in the same
 * session, wherever an earlier copy may have run.
 */

import { CONTROL_LIMITS } from '../../base/controlLimits.ts';
import type { Clock, TimerHandle, Timers } from '../../base/ports.ts';
import { err, ok, type Result } from '../../base/result.ts';
import { RAFT_ERRORS } from '../../raft/errors.ts';
import {
  decodeSessionReply,
  encodeSessionCommand,
  type SessionReply,
} from '../../raft/sessions.ts';
import type { RaftStatus } from '../../raft/types.ts';
import { createMemoryMachine } from '../group/memoryMachine.ts';
import type { GroupMachine, GroupMember, GroupRefusal } from '../group/types.ts';
import { decodeReply, encodeCommand } from './codec.ts';
import type { ControlEngine, ControlFailure, ControlOutcome, ControlView } from './engine.ts';
import { ControlMachine } from './machine.ts';
import type { Revision, Transaction } from './types.ts';

interface Call {
  readonly payload: Uint8Array;
  readonly done: (outcome: ControlOutcome) => void;
  /** Of the session that it was numbered in; 0: of none yet. */
  session: number;
  seq: number;
  /** A copy may be in the log: only its own session may be asked again. */
  isIndefinite: boolean;
  /** What kept it from being answered, newest. */
  detail: string;
}

export class RaftControlEngine implements ControlEngine {
  readonly #machine = new ControlMachine();
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #listeners = new Set<() => void>();
  /** Give it to `openGroup`. */
  readonly groupMachine: GroupMachine;
  #group: GroupMember | null = null;
  #session = 0;
  #isOpening = false;
  #lastSeq = 0;
  /** Sent, without an answer. */
  readonly #open = new Set<Call>();
  /** Wait for a session. */
  #waiting: Call[] = [];
  readonly #retries = new Set<TimerHandle>();
  #isTelling = false;
  #isStopped = false;

  constructor(clock: Clock, timers: Timers) {
    this.#clock = clock;
    this.#timers = timers;
    this.groupMachine = {
      ...createMemoryMachine(this.#machine),
      settle: () => this.#moved(),
    };
  }

  get view(): ControlView {
    return this.#machine;
  }

  /** The member that `groupMachine` was opened with. */
  attach(group: GroupMember): void {
    this.#group = group;
    // Before it is needed: the first transaction then costs one round and not two.
    this.#openSession(group);
  }

  status(): RaftStatus | null {
    return this.#group?.status() ?? null;
  }

  transact(transaction: Transaction, done: (outcome: ControlOutcome) => void): void {
    const call: Call = {
      payload: encodeCommand(transaction),
      done,
      session: 0,
      seq: 0,
      isIndefinite: false,
      detail: 'the control state is not open yet',
    };
    if (this.#waiting.length + this.#open.size >= CONTROL_LIMITS.transactionsMax) {
      const detail = `${CONTROL_LIMITS.transactionsMax} transactions are under way here`;
      this.#later(0, () => done(err({ kind: 'unavailable', detail })));
      return;
    }
    this.#waiting.push(call);
    this.#later(CONTROL_LIMITS.transactMs, () => this.#expire(call));
    this.#sendWaiting();
  }

  confirm(done: (result: Result<Revision, ControlFailure>) => void): void {
    const untilMs = this.#clock.nowMs() + CONTROL_LIMITS.transactMs;
    const attempt = (): void => {
      const group = this.#group;
      const again = (detail: string): void => {
        if (this.#clock.nowMs() < untilMs) this.#later(CONTROL_LIMITS.retryMs, attempt);
        else done(err({ kind: 'unavailable', detail }));
      };
      if (group === null) return again('the control state is not open yet');
      group.read((readable) => {
        if (readable.ok) done(ok(this.#machine.revision));
        else again(RAFT_ERRORS[readable.error.error].sentence);
      });
    };
    attempt();
  }

  onMoved(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  stop(): void {
    this.#isStopped = true;
    for (const timer of this.#retries) timer.cancel();
    this.#retries.clear();
  }

  #moved(): void {
    if (this.#isTelling) return;
    this.#isTelling = true;
    this.#later(0, () => {
      this.#isTelling = false;
      for (const listener of this.#listeners) listener();
    });
  }

  #later(delayMs: number, run: () => void): void {
    if (this.#isStopped) return;
    const timer: TimerHandle = this.#timers.after(delayMs, () => {
      this.#retries.delete(timer);
      run();
    });
    this.#retries.add(timer);
  }

  #sendWaiting(): void {
    const group = this.#group;
    if (group === null || this.#isStopped || this.#waiting.length === 0) return;
    if (this.#session === 0) return this.#openSession(group);
    const calls = this.#waiting;
    this.#waiting = [];
    for (const call of calls) {
      this.#lastSeq += 1;
      call.session = this.#session;
      call.seq = this.#lastSeq;
      this.#open.add(call);
      this.#send(group, call);
    }
  }

  #openSession(group: GroupMember): void {
    if (this.#isOpening) return;
    this.#isOpening = true;
    const failed = (detail: string): void => {
      for (const call of this.#waiting) call.detail = detail;
      this.#later(CONTROL_LIMITS.retryMs, () => {
        this.#isOpening = false;
        this.#openSession(group);
      });
    };
    group.propose(encodeSessionCommand({ kind: 'open' }), (result) => {
      if (!result.ok) return failed(RAFT_ERRORS[result.error.error].sentence);
      const reply = decodeSessionReply(result.value);
      if (reply?.kind !== 'opened') return failed('no session could be opened');
      this.#isOpening = false;
      this.#session = reply.session;
      this.#lastSeq = 0;
      this.#sendWaiting();
    });
  }

  #send(group: GroupMember, call: Call): void {
    const { session, seq, payload } = call;
    let firstUnacked = seq;
    for (const other of this.#open) {
      if (other.session === session) firstUnacked = Math.min(firstUnacked, other.seq);
    }
    const data = encodeSessionCommand({ kind: 'call', session, seq, firstUnacked, payload });
    group.propose(data, (result) => {
      if (!this.#open.has(call)) return; // Its time was over.
      if (result.ok) this.#answer(group, call, decodeSessionReply(result.value));
      else this.#failed(group, call, result.error);
    });
  }

  #failed(group: GroupMember, call: Call, { error }: GroupRefusal): void {
    const { definite, sentence } = RAFT_ERRORS[error];
    call.detail = sentence;
    if (!definite) call.isIndefinite = true;
    if (error === 'too-large') return this.#finish(call, unavailable(sentence));
    this.#again(group, call);
  }

  #again(group: GroupMember, call: Call): void {
    this.#later(CONTROL_LIMITS.retryMs, () => {
      if (this.#open.has(call)) this.#send(group, call);
    });
  }

  #answer(group: GroupMember, call: Call, reply: SessionReply | null): void {
    if (reply?.kind === 'done') return this.#finish(call, outcomeOf(reply.payload));
    if (reply?.kind === 'window') return this.#again(group, call);
    if (reply?.kind === 'expired') return this.#onExpired(call);
    call.isIndefinite = true;
    this.#finish(call, unknown('its session answered without a result'));
  }

  /** The session is gone. What certainly did not run is sent in a new one. */
  #onExpired(call: Call): void {
    this.#open.delete(call);
    // Calls beside it learn the same from their own answers.
    if (this.#session === call.session) this.#session = 0;
    if (call.isIndefinite) {
      call.done(unknown('its session expired before the answer came'));
      return;
    }
    call.session = 0;
    this.#waiting.push(call);
    this.#sendWaiting();
  }

  #finish(call: Call, outcome: ControlOutcome): void {
    this.#open.delete(call);
    call.done(outcome);
  }

  #expire(call: Call): void {
    const isWaiting = this.#waiting.includes(call);
    const isOpen = this.#open.delete(call);
    if (!isWaiting && !isOpen) return;
    this.#waiting = this.#waiting.filter((other) => other !== call);
    // One that is open may be on its way to the leader.
    call.done(isOpen ? unknown(call.detail) : unavailable(call.detail));
  }
}

function unavailable(detail: string): ControlOutcome & { readonly ok: false } {
  return { ok: false, error: { kind: 'unavailable', detail } };
}

function unknown(detail: string): ControlOutcome & { readonly ok: false } {
  return { ok: false, error: { kind: 'unknown', detail } };
}

function outcomeOf(payload: Uint8Array): ControlOutcome {
  const reply = decodeReply(payload);
  if (reply === null || reply.kind === 'compacted') return unknown('the answer cannot be read');
  if (reply.kind === 'refused') return err({ kind: 'refused', error: reply.error });
  const { isSuccess, revision, results } = reply;
  return ok({ isSuccess, revision, results });
}
