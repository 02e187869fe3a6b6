/**
 * The host of one CASPaxos core: feeds what comes in one turn of the loop, one input at a time, and
 * carries out what the core says in the order that it asks for (H1-H5 of src/caspaxos/SPEC.md):
 * `send` at once, `persist` to the log in order, `afterFsync` once its `afterSeq` is durable, `reply`
 * to whoever asked. A failed disk is told to the core once; what it would have said is never sent.
 */

import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import type { Clock, TimerHandle, Timers } from '../../base/ports.ts';
import { decodeMessage, encodeMessage } from '../../caspaxos/messageCodec.ts';
import type { CasNode } from '../../caspaxos/node.ts';
import type { SlotTable } from '../../caspaxos/slotTable.ts';
import type {
  Alarm,
  CasStatus,
  Change,
  Control,
  Input,
  Key,
  Message,
  NodeId,
  Output,
  Reply,
} from '../../caspaxos/types.ts';
import type { LogDiskState } from '../../storage/types.ts';
import type { AcceptorLog, AcceptorLogEvents } from './acceptorLog.ts';
import { writeDigest } from './digest.ts';

export type HostReply = Exclude<Reply, { readonly kind: 'alarm' }>;
export type HostDone = (reply: HostReply) => void;

export interface HostPorts {
  readonly clock: Clock;
  readonly timers: Timers;
  send(to: NodeId, bytes: Uint8Array): void;
  alarm(alarm: Alarm, node: NodeId): void;
  disk(state: LogDiskState, detail: string): void;
}

/** What was dropped at the door. */
export interface HostDrops {
  readonly malformed: number;
  /** Not from whom the stream belongs to. */
  readonly misaddressed: number;
}

export class RegisterHost implements AcceptorLogEvents {
  readonly #node: CasNode;
  readonly #log: AcceptorLog;
  readonly #ports: HostPorts;
  readonly #answers = new Map<number, HostDone>();
  #ids = 0;
  #inputs: Input[] = [];
  #durableSeq = 0;
  #durableFed = 0;
  #diskState: LogDiskState;
  #diskFed: LogDiskState = 'ok';
  #held: { readonly seq: number; readonly messages: readonly Message[] }[] = [];
  #drops = { malformed: 0, misaddressed: 0 };
  #isTurnDue = false;
  #isShortening = false;
  #isStopped = false;
  #wake: { readonly atMs: number; readonly timer: TimerHandle } | null = null;
  #settleTimer: TimerHandle | null = null;
  #spaceTimer: TimerHandle | null = null;

  constructor(node: CasNode, log: AcceptorLog, ports: HostPorts) {
    this.#node = node;
    this.#log = log;
    this.#ports = ports;
    this.#diskState = log.diskState;
  }

  get control(): Control | null {
    return this.#node.control;
  }

  /** What this acceptor keeps, by bucket and name. */
  get kept(): ReadonlyMap<number, SlotTable> {
    return this.#node.kept;
  }

  status(): CasStatus {
    return this.#node.status();
  }

  drops(): HostDrops {
    return { ...this.#drops };
  }

  /** Asks are taken: who the acceptors are is known, and this start may propose. */
  get isReady(): boolean {
    const { proposer, control, disk } = this.#node.status();
    return proposer > 0 && control !== null && disk !== 'failed' && !this.#isStopped;
  }

  receive(from: NodeId, bytes: Uint8Array): void {
    if (this.#isStopped) return;
    const message = decodeMessage(bytes);
    if (message === null) this.#drops.malformed += 1;
    else if (message.from !== from) this.#drops.misaddressed += 1;
    else this.#feed({ kind: 'message', message });
  }

  change(key: Key, change: Change, done: HostDone): void {
    this.#feed({ kind: 'change', id: this.#expect(done), key, change });
  }

  /** Linearizable. */
  read(key: Key, done: HostDone): void {
    this.#feed({ kind: 'read', id: this.#expect(done), key });
  }

  rescan(done: HostDone): void {
    this.#feed({ kind: 'rescan', id: this.#expect(done) });
  }

  /** Committed by the control state; older ones than known are dropped by the core. */
  setControl(control: Control): void {
    this.#feed({ kind: 'control', control });
  }

  setProposer(proposer: number): void {
    this.#feed({ kind: 'proposer', proposer });
  }

  stop(done: () => void): void {
    this.#isStopped = true;
    for (const timer of [this.#wake?.timer, this.#settleTimer, this.#spaceTimer]) timer?.cancel();
    this.#held = [];
    const open = [...this.#answers];
    this.#answers.clear();
    // What was proposed may have taken effect, or may yet.
    for (const [id, answer] of open) answer({ kind: 'failed', id, error: 'outcome-unknown' });
    this.#log.close(done);
  }

  // What the log says.

  persisted(seq: number): void {
    this.#durableSeq = seq;
    this.#turnSoon();
    if (this.#settleTimer !== null || this.#isStopped) return;
    this.#settleTimer = this.#ports.timers.after(REGISTER_LIMITS.settleMs, () => {
      this.#settleTimer = null;
      this.#log.settle();
    });
  }

  disk(state: LogDiskState, detail: string): void {
    this.#diskState = state;
    this.#turnSoon();
    if (state === 'full') this.#retrySpaceLater();
    this.#ports.timers.after(0, () => {
      if (!this.#isStopped) this.#ports.disk(state, detail);
    });
  }

  #retrySpaceLater(): void {
    if (this.#spaceTimer !== null || this.#isStopped) return;
    this.#shortenSoon(); // It lets old segments go.
    this.#spaceTimer = this.#ports.timers.after(REGISTER_LIMITS.spaceRetryMs, () => {
      this.#spaceTimer = null;
      if (this.#diskState !== 'full') return;
      this.#log.retrySpace();
      this.#retrySpaceLater();
    });
  }

  // Turns.

  #expect(done: HostDone): number {
    this.#ids += 1;
    const id = this.#ids;
    if (this.#isStopped) {
      this.#ports.timers.after(0, () => done({ kind: 'failed', id, error: 'disk-failed' }));
    } else this.#answers.set(id, done);
    return id;
  }

  #feed(input: Input): void {
    this.#inputs.push(input);
    this.#turnSoon();
  }

  #turnSoon(): void {
    if (this.#isTurnDue || this.#isStopped) return;
    this.#isTurnDue = true;
    this.#ports.timers.after(0, () => {
      this.#isTurnDue = false;
      if (!this.#isStopped) this.#turn();
    });
  }

  #turn(): void {
    if (this.#diskState !== this.#diskFed) {
      this.#diskFed = this.#diskState;
      this.#step({ kind: 'disk', state: this.#diskState });
    }
    if (this.#durableSeq > this.#durableFed) {
      this.#durableFed = this.#durableSeq;
      this.#releaseHeld();
      this.#step({ kind: 'persisted', seq: this.#durableSeq });
    }
    const inputs = this.#inputs;
    this.#inputs = [];
    for (const input of inputs) this.#step(input);
    if (this.#ports.clock.nowMs() >= this.#node.nextWakeMs()) this.#step({ kind: 'tick' });
    if (this.#isStopped) return;
    if (this.#log.isLong(this.#keys())) this.#shortenSoon();
    this.#armWake();
  }

  #keys(): number {
    let keys = 0;
    for (const bucket of this.#node.kept.values()) keys += bucket.size;
    return keys;
  }

  /** One at a time. */
  #shortenSoon(): void {
    if (this.#isShortening || this.#isStopped) return;
    this.#isShortening = true;
    const { clock, timers } = this.#ports;
    const digest = this.#node.digest(REGISTER_LIMITS.digestSlots);
    writeDigest(this.#log, digest, { clock, timers, isStopped: () => this.#isStopped }, () => {
      this.#isShortening = false;
    });
  }

  #step(input: Input): void {
    if (this.#isStopped) return;
    const output: Output = this.#node.step(input, this.#ports.clock.nowMs());
    for (const message of output.send) this.#send(message);
    if (output.persist !== null) this.#log.persist(output.persist);
    const { afterFsync, afterSeq } = output;
    if (afterFsync.length > 0) {
      if (afterSeq > this.#durableFed) this.#held.push({ seq: afterSeq, messages: afterFsync });
      else for (const message of afterFsync) this.#send(message);
    }
    for (const reply of output.reply) this.#answer(reply);
  }

  #send(message: Message): void {
    this.#ports.send(message.to, encodeMessage(message));
  }

  #releaseHeld(): void {
    let count = 0;
    for (const { seq, messages } of this.#held) {
      if (seq > this.#durableFed) break;
      count += 1;
      for (const message of messages) this.#send(message);
    }
    this.#held.splice(0, count);
  }

  #answer(reply: Reply): void {
    if (reply.kind === 'alarm') return this.#ports.alarm(reply.alarm, reply.node);
    const answer = this.#answers.get(reply.id);
    this.#answers.delete(reply.id);
    answer?.(reply);
  }

  /** The timer is moved only where it would come too late: it looks again when it fires. */
  #armWake(): void {
    const atMs = this.#node.nextWakeMs();
    if (this.#wake !== null && this.#wake.atMs <= atMs) return;
    this.#wake?.timer.cancel();
    this.#wake = null;
    if (atMs === Number.POSITIVE_INFINITY) return;
    const delayMs = Math.max(0, Math.ceil(atMs - this.#ports.clock.nowMs()));
    const timer = this.#ports.timers.after(delayMs, () => {
      this.#wake = null;
      this.#turnSoon();
    });
    this.#wake = { atMs, timer };
  }
}
