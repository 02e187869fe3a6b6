/**
 * A simulated machine with the production host of a group member on it. The machine has a disk and a
 * clock that stay; its process comes and goes. What the host says is handed to the world.
 */

import type { Member, NodeId, RaftOptions, RaftStatus } from '../raft/types.ts';
import { raftOptions } from '../raft/start.ts';
import { decodeMessage, encodeMessage } from '../raft/messageCodec.ts';
import { openGroup } from '../replica/group/open.ts';
import type { GroupMember, GroupOpenFailure, GroupStep } from '../replica/group/types.ts';
import { MachineClock } from './clock.ts';
import { SimDisk } from './disk.ts';
import { SimMachine, type MachineStore } from './machine.ts';
import { FOLDER, hasTornTail } from './damage.ts';
import { SimProcess } from './process.ts';
import { streamOf } from './streams.ts';
import type { Site } from './site.ts';

const CLUSTER = 'sim';

/** How the machine's process is. */
export type NodeState =
  | 'down'
  | 'starting'
  | 'up'
  /** Its disk was refused: it is never started again under this number. */
  | 'refused';

export class SimNode {
  readonly id: NodeId;
  readonly member: Member;
  readonly disk: SimDisk;
  readonly clock: MachineClock;
  state: NodeState = 'down';
  process: SimProcess | null = null;
  group: GroupMember | null = null;
  machine: SimMachine | null = null;
  /** What the running core last said of itself; kept when it ends. */
  status: RaftStatus | null = null;
  /** The highest feature level of the program that the next start runs. */
  levelMax = 1;
  /** Its disk was damaged, lost or swapped: its promises are void, and it may say no more. */
  isDamaged = false;
  /** Its log was changed so that it must notice: it may not open. */
  mustRefuse = false;
  /** Stays switched off, whoever would start it. */
  isHeld = false;
  /** Removed from the group and switched off. */
  isRetired = false;
  /** A process has run on this disk. */
  hasFolder = false;
  /** A folder was found where one was to be made: a process died before it could say so. */
  private isHalfMade = false;
  /** Of the disk that stands in this machine now. */
  incarnation: number;
  lives = 0;
  private hasLostPower = false;
  private readonly site: Site;
  private readonly bootstrap: readonly Member[] | null;
  private readonly store: MachineStore | null;

  constructor(site: Site, member: Member, bootstrap: readonly Member[] | null) {
    const { plan, queue } = site;
    const { id } = member;
    this.site = site;
    this.id = id;
    this.member = member;
    this.incarnation = member.incarnation;
    this.bootstrap = bootstrap;
    const prng = streamOf(plan.seed, `machine/${id}`);
    const offsetMs = plan.clockOffsetMs;
    const startMs = offsetMs === 0 ? 0 : prng.nextBelow(offsetMs);
    this.clock = new MachineClock(queue, startMs, offsetMs === 0 ? 0 : prng.nextBelow(offsetMs));
    this.disk = new SimDisk(this.diskTimers(), streamOf(plan.seed, `disk/${id}`), plan.disk);
    this.store = plan.isMachineDurable ? { index: 0, bytes: new Uint8Array(0) } : null;
  }

  /** Operations of the disk end in the process that asked for them; of a dead one they are void. */
  private diskTimers(): SimDisk['timers'] {
    return {
      after: (delayMs, fire) =>
        this.site.queue.after(delayMs, () => {
          if (this.process === null) fire();
          else this.process.enter(fire);
        }),
    };
  }

  start(): void {
    const { site, id } = this;
    if (this.state !== 'down' || this.isHeld) return;
    this.state = 'starting';
    this.lives += 1;
    const process = new SimProcess(this.clock);
    this.process = process;
    const { plan } = site;
    const mode =
      this.hasFolder || this.isHalfMade
        ? ({ kind: 'open', incarnation: this.incarnation } as const)
        : ({ kind: 'create', incarnation: this.incarnation } as const);
    if (this.hasLostPower && hasTornTail(this.disk)) site.marks.reach('torn tail cut');
    site.story.tell(`node ${id} starts (${mode.kind})`);
    const machine = this.createMachine();
    openGroup(
      {
        raft: this.raftOptions(),
        folder: FOLDER,
        mode,
        bootstrap: this.bootstrap,
        segmentBytes: plan.segmentBytes,
        checkpointEntries: plan.checkpointEntries,
        snapshotEntries: plan.snapshotEntries,
      },
      {
        disk: this.disk.mount(),
        clock: this.clock,
        timers: process,
        transport: { send: (to, bytes) => this.send(to, bytes) },
      },
      {
        status: () => {},
        alarm: (alarm, node, index) => site.onAlarm(this, alarm, node, index),
        disk: (state, detail) => site.onDisk(this, state, detail),
      },
      machine,
      (step) => this.observe(step),
      (opened) => {
        if (this.process !== process) return;
        if (!opened.ok) {
          this.refuse(opened.error);
          return;
        }
        this.hasFolder = true;
        this.state = 'up';
        this.group = opened.value;
        this.machine = machine;
        const status = opened.value.status();
        this.status = status;
        site.checkers.started(id, status);
        site.onStarted(this, status);
      },
    );
  }

  private createMachine(): SimMachine {
    const { site, id } = this;
    const { sessionsMax, sessionIdleMs } = site.plan;
    return new SimMachine(
      {
        applied: (index, chain) => site.checkers.applied(id, index, chain),
        executed: (index, call) => site.checkers.executed(id, index, call),
        restored: (index, chain) => site.checkers.restored(id, index, chain),
      },
      { sessionsMax, sessionIdleMs, sessionCallsMax: 16, sessionReplyBytesMax: 32_768 },
      this.store,
    );
  }

  private raftOptions(): RaftOptions {
    const { plan } = this.site;
    return raftOptions({
      ...plan.times,
      id: this.id,
      cluster: CLUSTER,
      incarnation: this.incarnation,
      prng: streamOf(plan.seed, `raft/${this.id}/${this.lives}`),
      levelMax: this.levelMax,
      commitRegionsMin: plan.regionsMin,
      appendBytesMax: plan.appendBytes,
      inFlightCountMax: 4,
      snapshotChunkBytes: plan.chunkBytes,
      snapshotWindowBytes: plan.chunkBytes * 4,
      trailingEntries: plan.trailingEntries,
      promoteLagEntries: 4,
    });
  }

  private refuse(failure: GroupOpenFailure): void {
    this.stopProcess();
    this.disk.kill();
    const isUnsure = !this.hasFolder && !this.isDamaged;
    if (isUnsure && (failure.kind === 'not-empty' || failure.kind === 'no-log')) {
      this.isHalfMade = failure.kind === 'not-empty';
      this.site.restartSoon(this);
      return;
    }
    this.site.onRefused(this, failure);
  }

  private observe(step: GroupStep): void {
    const { site, id } = this;
    const { input, output, node } = step;
    const status = node.status();
    site.trace.add(id * 65_536 + output.send.length * 256 + output.reply.length);
    site.trace.add(status.term * 4_096 + status.commit);
    site.checkers.step({ id, input, output, status, node });
    site.onStep(this, step, status);
    this.status = status;
  }

  private send(to: NodeId, bytes: Uint8Array): void {
    const kind = bytes[1] ?? 0;
    if (PROMISES.has(kind)) {
      const message = decodeMessage(bytes);
      if (message !== null) this.site.checkers.leaves(message);
    }
    this.site.network.send(this.id, to, bytes);
  }

  /** Ends the process: `power` takes what was not synced with it. */
  kill(power: boolean): void {
    this.stopProcess();
    this.hasLostPower = power;
    if (power) this.disk.losePower();
    else this.disk.kill();
  }

  private stopProcess(): void {
    if (this.process === null) return;
    const drops = this.group?.drops() ?? null;
    this.process.end();
    this.process = null;
    this.group = null;
    this.machine = null;
    if (this.state !== 'refused') this.state = 'down';
    this.site.checkers.ended(this.id);
    this.site.onEnded(this, drops);
  }

  pause(): void {
    if (this.process !== null) this.process.isPaused = true;
  }

  resume(): void {
    if (this.process?.isPaused === true) this.process.resume();
  }

  get isPaused(): boolean {
    return this.process?.isPaused === true;
  }

  /** Runs, is not paused, and its disk is sound. */
  get isWell(): boolean {
    return this.state === 'up' && !this.isPaused && !this.isDamaged;
  }

  get isLeader(): boolean {
    return this.state === 'up' && this.status?.role === 'leader';
  }

  /** Forgets all: a new and empty disk. */
  loseDisk(): void {
    this.disk.wipe();
    if (this.store !== null) this.store.index = 0;
  }
}

/** The second byte of messages that promise something. */
const PROMISES: ReadonlySet<number> = new Set(
  [
    { kind: 'vote', lastIndex: 0, lastTerm: 0, isTransfer: false } as const,
    { kind: 'voteReply', isGranted: true } as const,
    { kind: 'appendOk', match: 0, level: 0 } as const,
  ].map((body) => {
    const header = { cluster: CLUSTER, from: 1, to: 2, incarnation: 1, term: 1 };
    return encodeMessage({ ...header, ...body })[1] ?? 0;
  }),
);
