/**
 * The simulated world: machines, the network between them, time, and all who look on. It moves only
 * by its event queue; one plan gives one run.
 */

import type { Alarm, Index, Member, NodeId, RaftStatus } from '../raft/types.ts';
import type { GroupDrops, GroupOpenFailure, GroupStep } from '../replica/group/types.ts';
import type { LogDiskState } from '../storage/types.ts';
import type { Prng } from '../base/prng.ts';
import { Atlas } from './atlas.ts';
import { Checkers, type Violation } from './checkers/all.ts';
import { EventQueue } from './eventQueue.ts';
import { Marks } from './marks.ts';
import { attemptOf } from './machine.ts';
import { markMembership, markStep } from './markStep.ts';
import { SimNetwork } from './network.ts';
import { SimNode } from './node.ts';
import type { SimProcess } from './process.ts';
import type { Plan } from './plan.ts';
import type { Site } from './site.ts';
import { Story } from './story.ts';
import { streamOf } from './streams.ts';
import { Trace } from './trace.ts';

/** The highest feature level that any program of this world knows. */
export const LEVEL_MAX = 3;

export class World implements Site {
  readonly plan: Plan;
  readonly queue: EventQueue;
  readonly network: SimNetwork;
  readonly checkers: Checkers;
  readonly marks = new Marks();
  readonly trace = new Trace();
  readonly story: Story;
  readonly nodes = new Map<NodeId, SimNode>();
  readonly atlas: Atlas;
  /** Voters that were to leave by requests that are not answered, and who was asked. */
  readonly askedToLeave = new Set<{ readonly id: NodeId; readonly process: SimProcess | null }>();
  /** The first claim that did not hold. */
  violation: Violation | null = null;
  /** The safety phase is over: faults that are still to come do nothing. */
  isHealed = false;
  private readonly prng: Prng;
  private idMax = 0;

  constructor(plan: Plan, isTold: boolean) {
    const { seed } = plan;
    this.plan = plan;
    this.queue = new EventQueue(streamOf(seed, 'schedule'));
    this.story = new Story(isTold, () => this.queue.nowMs);
    this.prng = streamOf(seed, 'supervisor');
    this.network = new SimNetwork(
      this.queue,
      streamOf(seed, 'network'),
      this.marks,
      (from, to, b) => this.deliver(from, to, b),
    );
    this.network.rates = plan.network;
    this.checkers = new Checkers(
      (violation) => this.refute(violation),
      (id) => this.nodes.get(id)?.isDamaged ?? false,
      attemptOf,
    );
    this.atlas = new Atlas(this.nodes, plan.regionsMin, () => this.leaving());
    this.found();
  }

  /** The first machines of the cluster. */
  private found(): void {
    const { voters, hasWitness } = this.plan;
    const members: Member[] = [];
    for (let place = 1; place <= voters; place += 1) {
      members.push(this.newMember(hasWitness && place === voters));
    }
    for (const member of members) this.addMachine(member, members).start();
  }

  newMember(isWitness = false, isPromotable = true): Member {
    this.idMax += 1;
    const id = this.idMax;
    return {
      id,
      region: `r${(id % 3) + 1}`,
      incarnation: id * 1_000 + this.prng.nextBelow(1_000),
      priority: id % 3,
      isWitness,
      isPromotable,
    };
  }

  addMachine(member: Member, bootstrap: readonly Member[] | null): SimNode {
    const node = new SimNode(this, member, bootstrap);
    node.levelMax = Math.max(1, ...[...this.nodes.values()].map(({ levelMax }) => levelMax));
    this.nodes.set(member.id, node);
    this.network.addAddress(member.id);
    return node;
  }

  refute(violation: Violation): void {
    if (this.violation !== null) return;
    this.violation = violation;
    this.story.tell(`VIOLATION of ${violation.checker}: ${violation.text}`);
  }

  /** The leader of the highest term among nodes that run, or null. */
  leader(): SimNode | null {
    let best: SimNode | null = null;
    for (const node of this.nodes.values()) {
      if (!node.isLeader || node.isPaused) continue;
      if (best === null || (node.status?.term ?? 0) > (best.status?.term ?? 0)) best = node;
    }
    return best;
  }

  private leaving(): readonly NodeId[] {
    for (const asked of this.askedToLeave) {
      const isAlive = [...this.nodes.values()].some(({ process }) => process === asked.process);
      if (asked.process === null || !isAlive) this.askedToLeave.delete(asked);
    }
    return [...this.askedToLeave].map(({ id }) => id);
  }

  private deliver(from: NodeId, to: NodeId, bytes: Uint8Array): void {
    const node = this.nodes.get(to);
    node?.process?.enter(() => node.group?.receive(from, bytes));
  }

  restartSoon(node: SimNode): void {
    const afterMs = 20 + this.prng.nextBelow(300);
    this.queue.after(afterMs, () => {
      if (!node.isRetired) node.start();
    });
  }

  onStarted(node: SimNode, status: RaftStatus): void {
    this.trace.add(node.id);
    if (node.mustRefuse) {
      const text = `node ${node.id} opened a log that was damaged or is not its own`;
      this.refute({ checker: 'damage is noticed', text });
    }
    if (status.snapshotIndex > 0) this.marks.reach('start from a snapshot');
    this.story.tell(
      `node ${node.id} is up: term ${status.term}, log to ${status.lastIndex}, commit ${status.commit}`,
    );
  }

  onEnded(node: SimNode, drops: GroupDrops | null): void {
    this.trace.add(node.id + (node.status?.term ?? 0));
    if (drops === null) return;
    if (drops.misaddressed > 0) this.marks.reach('message refused by its receiver');
    if (drops.malformed === 0) return;
    const text = `node ${node.id} was given ${drops.malformed} messages that nobody sent`;
    this.refute({ checker: 'frames', text });
  }

  onRefused(node: SimNode, failure: GroupOpenFailure): void {
    const detail = failure.kind === 'refused' ? `${failure.kind} ${failure.error}` : failure.kind;
    this.story.tell(`node ${node.id} is refused: ${detail}: ${failure.detail}`);
    this.trace.add(node.id * 31);
    if (failure.kind === 'disk') {
      this.restartSoon(node);
      return;
    }
    if (failure.kind === 'refused' && failure.error === 'level-unsupported') {
      this.marks.reach('old program refused');
      node.levelMax = LEVEL_MAX;
      this.restartSoon(node);
      return;
    }
    if (!node.isDamaged && !node.isRetired) {
      const text = `node ${node.id}, whose disk is sound, is refused: ${detail}: ${failure.detail}`;
      this.refute({ checker: 'sound disks open', text });
    }
    node.state = 'refused';
    if (failure.kind === 'damaged') this.marks.reach('damaged log refused');
    if (failure.kind === 'no-log') this.marks.reach('lost disk refused');
    if (failure.kind === 'wrong-node') this.marks.reach('disk of another node refused');
  }

  onStep(node: SimNode, step: GroupStep, status: RaftStatus): void {
    markStep(this.marks, node.status, step, status);
    markMembership(this.marks, this.story, node, status);
  }

  onAlarm(node: SimNode, alarm: Alarm, about: NodeId, index: Index): void {
    this.story.tell(`node ${node.id} raises ${alarm} about ${about} at ${index}`);
    if (alarm === 'state-diverged' || alarm === 'snapshot-damaged') {
      this.refute({ checker: 'no false alarms', text: `node ${node.id} raises ${alarm}` });
    }
    if (alarm === 'log-lost') {
      this.marks.reach('lost log noticed');
      if (node.isDamaged) return;
      const text = `node ${node.id}, whose disk is sound, lacks entry ${index}`;
      this.refute({ checker: 'no false alarms', text });
    }
    if (alarm === 'level-unsupported') {
      this.marks.reach('old program refused');
      node.levelMax = LEVEL_MAX;
      this.stopSoon(node);
    }
  }

  /** Its owner stops a member whose disk has failed, and starts it anew. */
  onDisk(node: SimNode, state: LogDiskState, detail: string): void {
    this.story.tell(`node ${node.id}: disk ${state} (${detail})`);
    if (state === 'full') this.marks.reach('disk full');
    if (state === 'failed') this.stopSoon(node);
  }

  private stopSoon(node: SimNode): void {
    const { lives } = node;
    this.queue.after(10 + this.prng.nextBelow(400), () => {
      if (node.lives !== lives || node.process === null) return;
      this.story.tell(`node ${node.id} is stopped by its supervisor`);
      node.kill(false);
      this.restartSoon(node);
    });
  }

  /** Lets time pass until `isDone` or `untilMs`, or a claim fails. True if it was done. */
  runUntil(untilMs: number, isDone: () => boolean): boolean {
    while (this.violation === null) {
      if (isDone()) return true;
      if (!this.queue.step(untilMs)) return isDone();
    }
    return false;
  }
}
