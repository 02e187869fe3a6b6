/**
 * The registers of one node, running: its disk's number, its log, its messages over the links between
 * regions. It opens when the control state has a cluster and closes with the node.
 *
 * RS1: nothing is promised before `registers.json` says that this log may have promised.
 * RS2: a log that is gone, damaged or of another cluster is put aside, never written on; the disk
 *      comes back under a new number and is filled by a rescan.
 * RS3: so does one whose number was taken out of the control state, with the last member of its name.
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
import { peerName } from '../../base/peerName.ts';
import { REGISTER_LIMITS } from '../../base/registerLimits.ts';
import { createPrng } from '../../base/prng.ts';
import { NodeDisk } from '../../io/disk/nodeDisk.ts';
import type { Log } from '../../io/observe/log.ts';
import type { GaugeValues } from '../../io/observe/metrics.ts';
import { GroupStreams } from '../../replica/group/streams.ts';
import type { GroupPlace } from '../../replica/registers/care.ts';
import {
  Registers,
  type RegisterIdentity,
  type RegistersFailure,
} from '../../replica/registers/registers.ts';
import { announceNode, readNode, readNodes } from '../../replica/registers/state.ts';
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
    const { folder, name, claimMs, control, upstream, clock, timers, log } = options;
    this.#streams = new GroupStreams(
      upstream,
      timers,
      [],
      (from, bytes) => this.registers.host?.receive(from, bytes),
      PATH,
    );
    this.registers = new Registers(
      {
        name,
        claimMs,
        folder: LOG_FOLDER,
        engine: control.engine,
        members: () => membersOf(control),
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

  linkChanged(peer: string, isUp: boolean): void {
    if (isUp) this.#streams.linkUp(peer);
  }

  /** Takes what other nodes ask; null: the request is for somebody else. */
  handle(request: ClientRequest, reply: ClientReply): ClientEvents | null {
    if (request.forwardedFrom === null || request.path !== PATH) return null;
    const events = this.#streams.handle(request, reply);
    if (events !== null) return events;
    answerPeer(reply, 503, { error: 'unknown-region' });
    return { onGone: () => {}, onDrain: () => {} };
  }

  keepers(): readonly string[] {
    const control = this.registers.host?.control ?? null;
    const file = this.#file;
    if (control === null || file?.state !== 'member') return [];
    const kept = new Set([...control.acceptors, ...control.acceptorsNext].map(({ id }) => id));
    if (kept.has(file.id)) return [];
    const nodes = readNodes(this.#options.control.engine.view, file.cluster);
    return nodes.filter(({ id }) => kept.has(id)).map(({ peer }) => peer);
  }

  /** What an operator should know though requests are served. */
  warnings(): readonly string[] {
    const { state, registers } = this;
    if (state.kind === 'failed') return [`registers: ${state.detail}`];
    if (state.kind === 'joining') return [`registers: joining: ${state.detail}`];
    if (state.kind !== 'member') return [];
    const { host } = registers;
    if (host?.isReady !== true) {
      return ['registers: not ready: the control state has not let this start in yet'];
    }
    const percent = Math.floor(host.status().fill * 100);
    if (percent < REGISTER_LIMITS.fillWarnPercent) return [];
    const what = 'requests with a new Idempotency-Key are refused';
    const remedy = 'shorten control.registers.claimMs on every node';
    return [
      percent >= 100
        ? `registers: no room for claims: ${what}; ${remedy}`
        : `registers: claims take ${percent}% of their room; at 100% ${what}: ${remedy}`,
    ];
  }

  gauges(): GaugeValues {
    const { host, leases } = this.registers;
    const status = host?.status();
    return [
      ['banyan_registers_ready', host?.isReady === true ? 1 : 0],
      ['banyan_registers_epoch', status?.epoch ?? 0],
      ['banyan_registers_acceptors', status?.control?.acceptors.length ?? 0],
      ['banyan_registers_keys', status?.keys ?? 0],
      ['banyan_registers_fill_ratio', status?.fill ?? 0],
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
    else if (this.#isForgotten(file)) await this.#begin(cluster);
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
    const { control, name } = this.#options;
    const { view } = control.engine;
    const own = readNode(view, cluster, name);
    if (own?.incarnation === incarnation) {
      return this.#write({ state: 'creating', cluster, incarnation, id: own.id });
    }
    this.#state = { kind: 'joining', detail: 'the control state gives it a number' };
    const audit = { who: 'banyan', from: name, what: 'registers: announce a disk', why: '' };
    const transaction = announceNode(view, cluster, name, incarnation, audit);
    await new Promise<void>((resolve) => control.engine.transact(transaction, () => resolve()));
  }

  /** RS3. A view that has come past the number and does not hold it has seen it go. */
  #isForgotten({ cluster, id }: Extract<RegisterFile, { readonly id: number }>): boolean {
    const { control, name } = this.#options;
    const { view } = control.engine;
    return view.revision >= id && readNode(view, cluster, name) === null;
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

  /** Streams go to every node that has announced itself. */
  #look(): void {
    const { control, name } = this.#options;
    const file = this.#file;
    if (file === null || file.state !== 'member' || this.#state.kind !== 'member') return;
    if (this.#isForgotten(file)) {
      return this.#fail(
        'its member was removed from the group; restart the node once it is in again',
      );
    }
    const nodes = readNodes(control.engine.view, file.cluster);
    const others = nodes.filter(({ peer }) => peer !== name);
    this.#streams.setPeers(others.map(({ id, peer }) => ({ id, name: peer })));
  }
}

function identityOf({ cluster, id, incarnation }: RegisterIdentity): RegisterIdentity {
  return { cluster, id, incarnation };
}

function membersOf({ group }: ControlBackend): readonly GroupPlace[] {
  const conf = group?.status().conf;
  if (conf === undefined) return [];
  return conf.members.map(({ id, region, node }) => ({
    peer: peerName(region, node ?? null),
    isVoter: conf.voters.includes(id),
  }));
}

function isLeading({ group }: ControlBackend): boolean {
  const status = group?.status();
  return status !== undefined && status.leader === status.id;
}
