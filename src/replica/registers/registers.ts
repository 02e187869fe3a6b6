/**
 * One node's registers, joined: the host of its core, what the control state says of it, care for
 * acceptors and generations, and leases, claims and names on top. Everything that it needs of the
 * world is a port, so that the simulator can run it too.
 *
 * RG1: a node takes part under a number that was given to this very disk; a disk without its log
 *      announces itself anew and is an acceptor only after a rescan has filled it.
 * RG2: what the acceptors have agreed on needs no leader and no control state: with those out of
 *      reach, leases and claims go on with the acceptors that are known.
 */

import type { Disk } from '../../base/disk.ts';
import type { Clock, TimerHandle, Timers } from '../../base/ports.ts';
import type { Prng } from '../../base/prng.ts';
import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import type { Result } from '../../base/result.ts';
import { CasNode } from '../../caspaxos/node.ts';
import { casOptions } from '../../caspaxos/start.ts';
import type { Alarm, CasOptions, NodeId } from '../../caspaxos/types.ts';
import type { LogDiskState, LogOpenFailure } from '../../storage/types.ts';
import type { ControlEngine, ControlOutcome } from '../control/engine.ts';
import type { Transaction } from '../control/types.ts';
import { openAcceptorLog, type AcceptorLogEvents } from './acceptorLog.ts';
import { Asker } from './asker.ts';
import { afterRescan, GENERATIONS_KEPT, nextStep, type Agreed, type GroupPlace } from './care.ts';
import { ClaimBook } from './claimBook.ts';
import { RegisterHost } from './host.ts';
import { LeaseBook } from './leaseBook.ts';
import { NameBook } from './nameBook.ts';
import type { LeaseHandle, RegisterStore } from './port.ts';
import {
  forgetNode,
  grantProposer,
  putState,
  readNodes,
  readState,
  type RegisterNode,
} from './state.ts';

/** Whoever holds this lease opens and closes generations of claims. */
const GENERATIONS = 'registers/generations';

export interface RegistersOptions {
  /** This node's own peer name. */
  readonly name: string;
  readonly claimMs: number;
  /** The log's folder on `disk`. */
  readonly folder: string;
  readonly engine: ControlEngine;
  /** Members of the group that keeps the control state; empty: not known. */
  readonly members: () => readonly GroupPlace[];
  /** For tests: less room than CASPAXOS_LIMITS. */
  readonly limits?: Partial<Pick<CasOptions, 'keysMax' | 'keyBytesMax' | 'permanentKeysMax'>>;
  /** Whether this node looks after the acceptors. One at a time is enough. */
  readonly isLeading: () => boolean;
}

export interface RegistersPorts {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly prng: Prng;
  send(to: NodeId, bytes: Uint8Array): void;
  told(
    event: 'step' | 'alarm' | 'disk',
    detail: Readonly<Record<string, string | number | boolean>>,
  ): void;
  /** The disk failed, or holds what cannot be read: this number takes part no more. */
  failed(detail: string): void;
}

export type RegisterIdentity = Pick<CasOptions, 'id' | 'cluster' | 'incarnation'>;

/** What may be wrong with the log of this number. */
export type RegistersFailure =
  | LogOpenFailure
  | { readonly kind: 'refused'; readonly detail: string };

export class Registers implements RegisterStore {
  readonly leases: LeaseBook;
  readonly claims: ClaimBook;
  readonly names: NameBook;
  readonly #options: RegistersOptions;
  readonly #ports: RegistersPorts;
  readonly #asker: Asker;
  #own: RegisterIdentity | null = null;
  #host: RegisterHost | null = null;
  /** The lease of the generations. */
  #generations: LeaseHandle | null = null;
  #stopListening: () => void = () => {};
  #timer: TimerHandle | null = null;
  #isBusy = false;
  #isStopped = false;
  /** The newest generation as it is known, and since when; 0: none. */
  #newest = { bucket: 0, sinceMs: 0 };

  constructor(options: RegistersOptions, ports: RegistersPorts) {
    this.#options = options;
    this.#ports = ports;
    this.#asker = new Asker(ports.clock, ports.timers, () => this.#roomInMs());
    this.leases = new LeaseBook(this.#asker);
    this.claims = new ClaimBook(this.#asker);
    this.names = new NameBook(this.#asker);
  }

  get host(): RegisterHost | null {
    return this.#host;
  }

  /** Makes the log of a new number. */
  create(own: RegisterIdentity, done: (made: Result<null, LogOpenFailure>) => void): void {
    const nobody: AcceptorLogEvents = { persisted: () => {}, disk: () => {} };
    const { folder } = this.#options;
    openAcceptorLog(this.#ports.disk, folder, own, 'create', nobody, (opened) => {
      if (opened.ok) opened.value.log.close(() => done({ ok: true, value: null }));
      else done(opened);
    });
  }

  /** Opens the log and takes part. */
  open(own: RegisterIdentity, done: (opened: Result<null, RegistersFailure>) => void): void {
    const { disk, clock, prng } = this.#ports;
    const relay: AcceptorLogEvents = {
      persisted: (seq) => this.#host?.persisted(seq),
      disk: (state, detail) => this.#host?.disk(state, detail),
    };
    openAcceptorLog(disk, this.#options.folder, own, 'open', relay, (opened) => {
      if (!opened.ok) return done(opened);
      const { log, stored } = opened.value;
      const { roundMs, requestMs, requestsMax } = REGISTER_LIMITS;
      const limits = { roundMs, requestMs, requestsMax, ...this.#options.limits };
      const node = CasNode.start(casOptions({ ...own, ...limits, prng }), stored, clock.nowMs());
      if (!node.ok) {
        const detail = `the registers of this disk do not fit: ${node.error}`;
        return log.close(() => done({ ok: false, error: { kind: 'refused', detail } }));
      }
      this.#own = own;
      this.#host = new RegisterHost(node.value, log, {
        ...this.#ports,
        send: (to, bytes) => this.#ports.send(to, bytes),
        alarm: (alarm, from) => this.#onAlarm(alarm, from),
        disk: (state, detail) => this.#onDisk(state, detail),
      });
      this.#stopListening = this.#options.engine.onMoved(() => this.#look());
      this.#look();
      this.#grant();
      this.#careSoon();
      this.#generations = this.leases.hold(GENERATIONS, REGISTER_LIMITS.generationsLeaseMs, {
        held: () => {},
        lost: () => {},
      });
      done({ ok: true, value: null });
    });
  }

  /** Lets others have what it holds, as far as they can be reached, then closes the log. */
  stop(done: () => void): void {
    this.#isStopped = true;
    this.#stopListening();
    this.#timer?.cancel();
    this.leases.close();
    const host = this.#host;
    this.#host = null;
    if (host === null) return done();
    // One turn, so that what was given back leaves.
    this.#ports.timers.after(0, () => {
      this.#ports.timers.after(0, () => {
        this.#asker.detach();
        host.stop(done);
      });
    });
  }

  #onAlarm(alarm: Alarm, from: NodeId): void {
    this.#ports.told('alarm', { alarm, from });
  }

  #onDisk(state: LogDiskState, detail: string): void {
    this.#ports.told('disk', { state, detail });
    if (state === 'failed') this.#ports.failed(`a write to the disk failed: ${detail}`);
  }

  /** When the oldest generation of claims will be closed. */
  #roomInMs(): number {
    const { engine, claimMs } = this.#options;
    const own = this.#own;
    const state = own === null ? null : readState(engine.view, own.cluster);
    if (state === null) return REGISTER_LIMITS.roomMsMax;
    const { openTo, floor } = state.control;
    const partMs = claimMs / GENERATIONS_KEPT;
    const parts = Math.max(1, GENERATIONS_KEPT + 1 - (openTo - floor - 1));
    const untilMs = state.openedMs + parts * partMs - this.#ports.clock.wallMs();
    return Math.min(Math.max(untilMs, REGISTER_LIMITS.careMs * 2), REGISTER_LIMITS.roomMsMax);
  }

  /** The control state may have moved. */
  #look(): void {
    const own = this.#own;
    const state = own === null ? null : readState(this.#options.engine.view, own.cluster);
    const bucket = state?.control.openTo ?? 0;
    if (this.#newest.sinceMs === 0 || bucket !== this.#newest.bucket) {
      this.#newest = { bucket, sinceMs: Math.max(1, this.#ports.clock.nowMs()) };
    }
    if (state !== null && state.control.index > (this.#host?.control?.index ?? 0)) {
      this.#host?.setControl(state.control);
    }
  }

  /** B1 of src/caspaxos: the revision of a transaction of this very start. */
  #grant(): void {
    const { engine, name } = this.#options;
    const own = this.#own;
    if (own === null || this.#isStopped) return;
    const audit = auditOf(name, 'registers: proposer');
    engine.transact(grantProposer(name, own.incarnation, audit), (outcome) => {
      const host = this.#host;
      if (host === null) return;
      if (!outcome.ok) {
        this.#ports.timers.after(REGISTER_LIMITS.careMs, () => this.#grant());
        return;
      }
      const { revision } = outcome.value;
      host.setProposer(revision);
      this.#asker.attach(host, `${name}/${revision}`);
    });
  }

  // Care.

  #careSoon(): void {
    this.#timer = this.#ports.timers.after(REGISTER_LIMITS.careMs, () => {
      if (this.#isStopped) return;
      this.#look();
      this.#care();
      this.#careSoon();
    });
  }

  #care(): void {
    const { engine, members, isLeading, claimMs } = this.#options;
    const own = this.#own;
    const host = this.#host;
    if (own === null || host === null || this.#isBusy) return;
    const { clock } = this.#ports;
    const state = readState(engine.view, own.cluster);
    const step = nextStep({
      state,
      isLeading: isLeading(),
      fence: this.#generations?.fence() ?? null,
      nodes: readNodes(engine.view, own.cluster),
      members: members(),
      claimMs,
      wallMs: clock.wallMs(),
      seenMs: clock.nowMs() - this.#newest.sinceMs,
    });
    if (step.kind === 'put') return this.#put(own.cluster, step.what, step.next);
    if (step.kind === 'forget') return this.#forget(step.node);
    if (step.kind === 'none' || state === null || !host.isReady) return;
    this.#isBusy = true;
    host.rescan((reply) => {
      this.#isBusy = false;
      const next = reply.kind === 'rescanned' ? afterRescan(state.control, reply.epoch) : null;
      // Looked at again in a moment where it was lost.
      if (next !== null) this.#put(own.cluster, 'end change', { ...state, control: next });
    });
  }

  #forget(node: RegisterNode): void {
    const what = `registers: forget ${node.peer}`;
    this.#transact(forgetNode(node, auditOf(this.#options.name, what)), (outcome) => {
      const isDone = outcome.ok && outcome.value.isSuccess;
      this.#ports.told('step', { what: 'forget', isDone, peer: node.peer, id: node.id });
    });
  }

  #put(cluster: string, what: string, next: Agreed): void {
    const { engine, name } = this.#options;
    const audit = auditOf(name, `registers: ${what}`);
    this.#transact(putState(engine.view, cluster, next, audit), (outcome) => {
      const { epoch, acceptors, acceptorsNext, openTo, floor } = next.control;
      const ids = (list: typeof acceptors) => list.map(({ id }) => id).join();
      const isDone = outcome.ok && outcome.value.isSuccess;
      this.#ports.told('step', {
        what,
        isDone,
        epoch,
        acceptors: ids(acceptors),
        next: ids(acceptorsNext),
        openTo,
        floor,
      });
    });
  }

  #transact(transaction: Transaction, done: (outcome: ControlOutcome) => void): void {
    this.#isBusy = true;
    this.#options.engine.transact(transaction, (outcome) => {
      this.#isBusy = false;
      done(outcome);
    });
  }
}

function auditOf(name: string, what: string) {
  return { who: 'banyan', from: name, what, why: '' };
}
