/**
 * The registers of one node, running: its disk's number, its log, its messages over the links between
 * regions. It opens when the control state has a cluster and closes with the node.
 *
 * RS1: nothing is promised before `registers.json` says that this log may have promised.
 * RS2: a log that is gone, damaged or of another cluster is put aside, never written on; the disk
 *      comes back under a new number and is filled by a rescan.
 */

import { randomBytes } from 'node:crypto';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { makeFolderDurably } from '../durableFile.ts';
import type {
  ClientEvents,
  ClientReply,
  ClientRequest,
  Clock,
  TimerHandle,
  Timers,
  Upstream,
} from '../../base/ports.ts';
import { createPrng } from '../../base/prng.ts';
import { NodeDisk } from '../../io/disk/nodeDisk.ts';
import type { Log } from '../../io/observe/log.ts';
import type { GaugeValues } from '../../io/observe/metrics.ts';
import { GroupStreams } from '../../replica/group/streams.ts';
import {
  Registers,
  type RegisterIdentity,
  type RegistersFailure,
} from '../../replica/registers/registers.ts';
import { announceNode, readNodes } from '../../replica/registers/state.ts';
import type { ControlBackend } from '../control/backend.ts';
import { answerPeer } from '../control/peerCalls.ts';
import type { RegisterBackend } from './registerBackend.ts';
import { readRegisterFile, writeRegisterFile, type RegisterFile } from './registerFile.ts';

const PATH = '/group/registers';
const LOG_FOLDER = 'log';
/** A node without a number looks again after this, ms. */
const JOIN_MS = 250;

/** Another disk, another cluster or damage: nothing of it can be used under this number. */
const LOST: ReadonlySet<RegistersFailure['kind']> = new Set([
  'no-log',
  'damaged',
  'refused',
  'wrong-cluster',
  'wrong-node',
  'wrong-incarnation',
]);

export interface RegisterSideOptions {
  /** `registers` inside the node's data folder. */
  readonly folder: string;
  readonly region: string;
  /** This node's own peer name. */
  readonly name: string;
  readonly claimMs: number;
  readonly control: ControlBackend;
  readonly upstream: Upstream;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
}

export type RegisterSideState =
  | { readonly kind: 'joining'; readonly detail: string }
  | { readonly kind: 'member'; readonly id: number }
  | { readonly kind: 'stopped' }
  | { readonly kind: 'failed'; readonly detail: string };

export class RegisterSide implements RegisterBackend {
  readonly registers: Registers;
  readonly #options: RegisterSideOptions;
  readonly #streams: GroupStreams;
  #state: RegisterSideState = { kind: 'joining', detail: 'the control state has no cluster yet' };
  #file: RegisterFile | null = null;
  #timer: TimerHandle | null = null;
  #step: Promise<void> = Promise.resolve();
  #stopListening: () => void;
  #isStopped = false;

  constructor(options: RegisterSideOptions) {
    this.#options = options;
    const { folder, region, claimMs, control, upstream, clock, timers, log } = options;
    this.#streams = new GroupStreams(
      upstream,
      timers,
      [],
      (from, bytes) => this.registers.host?.receive(from, bytes),
      PATH,
    );
    this.registers = new Registers(
      {
        region,
        claimMs,
        folder: LOG_FOLDER,
        engine: control.engine,
        regions: () => regionsOf(control),
        isLeading: () => isLeading(control),
      },
      {
        disk: new NodeDisk(folder),
        clock,
        timers,
        prng: createPrng(randomBytes(4).readUInt32LE()),
        send: (to, bytes) => this.#streams.send(to, bytes),
        told: (event, detail) => log.info(`registers-${event}`, detail),
        failed: (detail) => this.#fail(`${detail}; restart the node once the disk is well`),
      },
    );
    this.#stopListening = control.engine.onMoved(() => this.#look());
  }

  get state(): RegisterSideState {
    return this.#state;
  }

  /** Begins; takes part when it can. Rejects where the folder cannot be had at all. */
  async open(): Promise<void> {
    await makeFolderDurably(this.#options.folder);
    const read = await readRegisterFile(this.#options.folder);
    if (!read.ok) throw new Error(read.error);
    this.#file = read.value;
    this.#joinSoon(0);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#stopListening();
    this.#timer?.cancel();
    await this.#step;
    await new Promise<void>((resolve) => this.registers.stop(resolve));
    this.#streams.close();
    this.#state = { kind: 'stopped' };
  }

  linkChanged(region: string, isUp: boolean): void {
    if (isUp) this.#streams.linkUp(region);
  }

  /** Takes what other nodes ask; null: the request is for somebody else. */
  handle(request: ClientRequest, reply: ClientReply): ClientEvents | null {
    if (request.forwardedFrom === null || request.path !== PATH) return null;
    const events = this.#streams.handle(request, reply);
    if (events !== null) return events;
    answerPeer(reply, 503, { error: 'unknown-region' });
    return { onGone: () => {}, onDrain: () => {} };
  }

  /** What an operator should know though requests are served. */
  warnings(): readonly string[] {
    const { state, registers } = this;
    if (state.kind === 'failed') return [`registers: ${state.detail}`];
    if (state.kind === 'joining') return [`registers: joining: ${state.detail}`];
    if (state.kind !== 'member' || registers.host?.isReady === true) return [];
    return ['registers: not ready: the control state has not let this start in yet'];
  }

  gauges(): GaugeValues {
    const { host, leases } = this.registers;
    const status = host?.status();
    return [
      ['banyan_registers_ready', host?.isReady === true ? 1 : 0],
      ['banyan_registers_epoch', status?.epoch ?? 0],
      ['banyan_registers_acceptors', status?.control?.acceptors.length ?? 0],
      ['banyan_registers_keys', status?.keys ?? 0],
      ['banyan_registers_requests', status?.requests ?? 0],
      ['banyan_registers_rounds', status?.rounds ?? 0],
      ['banyan_registers_conflicts', status?.conflicts ?? 0],
      ['banyan_registers_leases_held', leases.heldCount],
    ];
  }

  // Coming in.

  #joinSoon(delayMs: number): void {
    if (this.#isStopped) return;
    this.#timer?.cancel();
    this.#timer = this.#options.timers.after(delayMs, () => {
      this.#timer = null;
      this.#step = this.#join().catch((cause: unknown) => {
        this.#fail(cause instanceof Error ? cause.message : String(cause));
      });
    });
  }

  #fail(detail: string): void {
    this.#state = { kind: 'failed', detail };
    this.#options.log.error('registers-failed', { detail });
  }

  /** One step towards being a member. */
  async #join(): Promise<void> {
    const { cluster } = this.#options.control;
    if (cluster === null) return this.#joinSoon(JOIN_MS);
    const file = this.#file;
    if (file?.cluster !== cluster) await this.#begin(cluster);
    else if (file.state === 'new') await this.#announce(file);
    else if (file.state === 'creating') await this.#create(file);
    else return this.#open(file);
    this.#joinSoon(this.#state.kind === 'joining' ? JOIN_MS : 0);
  }

  async #write(file: RegisterFile): Promise<void> {
    await writeRegisterFile(this.#options.folder, file);
    this.#file = file;
  }

  /** RS2. A disk without a past in this cluster. */
  async #begin(cluster: string): Promise<void> {
    const { folder, clock } = this.#options;
    const aside = join(folder, `aside-${clock.wallMs()}`);
    await rename(join(folder, LOG_FOLDER), aside).catch(() => rm(aside, { force: true }));
    const incarnation = 1 + randomBytes(6).readUIntBE(0, 6);
    await this.#write({ state: 'new', cluster, incarnation });
  }

  /** Asks the control state for a number: the revision of the announcement. */
  async #announce({ cluster, incarnation }: RegisterFile): Promise<void> {
    const { control, region } = this.#options;
    const { view } = control.engine;
    const own = readNodes(view, cluster).find((node) => node.region === region);
    if (own?.incarnation === incarnation) {
      return this.#write({ state: 'creating', cluster, incarnation, id: own.id });
    }
    this.#state = { kind: 'joining', detail: 'the control state gives it a number' };
    const audit = { who: 'banyan', from: region, what: 'registers: announce a disk', why: '' };
    const transaction = announceNode(view, cluster, region, incarnation, audit);
    await new Promise<void>((resolve) => control.engine.transact(transaction, () => resolve()));
  }

  async #create(file: Extract<RegisterFile, { readonly id: number }>): Promise<void> {
    const failure = await new Promise<RegistersFailure | null>((resolve) => {
      this.registers.create(identityOf(file), (made) => resolve(made.ok ? null : made.error));
    });
    if (failure !== null && failure.kind !== 'not-empty') throw new Error(failure.detail);
    await this.#write({ ...file, state: 'member' });
  }

  async #open(file: Extract<RegisterFile, { readonly id: number }>): Promise<void> {
    const { log } = this.#options;
    const failure = await new Promise<RegistersFailure | null>((resolve) => {
      this.registers.open(identityOf(file), (opened) => resolve(opened.ok ? null : opened.error));
    });
    if (failure === null) {
      this.#state = { kind: 'member', id: file.id };
      log.info('registers-member', { cluster: file.cluster, member: file.id });
      return this.#look();
    }
    if (!LOST.has(failure.kind)) return this.#fail(failure.detail);
    log.error('registers-log-lost', { detail: failure.detail, next: 'a new number' });
    await this.#begin(file.cluster);
    this.#joinSoon(0);
  }

  /** Streams go to whoever stands for a region now. */
  #look(): void {
    const { control, region } = this.#options;
    const file = this.#file;
    if (file === null || this.#state.kind !== 'member') return;
    const nodes = readNodes(control.engine.view, file.cluster);
    const others = nodes.filter((node) => node.region !== region);
    this.#streams.setPeers(others.map((node) => ({ id: node.id, name: node.region })));
  }
}

function identityOf({ cluster, id, incarnation }: RegisterIdentity): RegisterIdentity {
  return { cluster, id, incarnation };
}

/** Regions that have a member in the group. */
function regionsOf({ group }: ControlBackend): readonly string[] {
  const members = group?.status().conf.members ?? [];
  return [...new Set(members.map(({ region }) => region))];
}

function isLeading({ group }: ControlBackend): boolean {
  const status = group?.status();
  return status !== undefined && status.leader === status.id;
}
