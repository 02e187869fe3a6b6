/**
 * Who looks after the membership of the simulated group: replaces lost disks by machines with new
 * ids, carries out the changes that faults ask for, and switches off who was removed. It never asks
 * for a group that could not go on with the disks that are left.
 */

import type { ConfState, MemberChange, NodeId } from '../raft/types.ts';
import type { RaftErrorCode } from '../raft/errors.ts';
import type { Prng } from '../base/prng.ts';
import type { SimNode } from './node.ts';
import { streamOf } from './streams.ts';
import type { World } from './world.ts';

const LOOK_EVERY_MS = 150;
/** A request to a leader that died is never answered. */
const ASK_AGAIN_MS = 2_000;
const RETIRE_AFTER_MS = 1_500;

export class Operator {
  private readonly world: World;
  private readonly prng: Prng;
  private readonly wanted: number;
  /** Nothing is asked for, and nobody added. */
  isResting = false;
  private busyUntilMs = 0;
  private readonly retiring = new Set<NodeId>();
  /** Machines that were made and are no members yet. */
  private readonly spares: SimNode[] = [];

  constructor(world: World) {
    this.world = world;
    this.prng = streamOf(world.plan.seed, 'operator');
    this.wanted = world.plan.voters;
    for (let count = 0; count < world.plan.learners; count += 1) this.addSpare(false);
    this.look();
  }

  private look(): void {
    this.world.queue.after(LOOK_EVERY_MS, () => this.look());
    const leader = this.world.leader();
    const conf = leader?.status?.conf;
    if (leader === null || conf === undefined) return;
    this.retireRemoved(leader, conf);
    if (this.isResting || this.isBusy || conf.votersOutgoing.length > 0) return;
    this.replaceLost(conf);
    if (!this.isBusy) this.addFirstSpare(conf);
  }

  get isBusy(): boolean {
    return this.world.queue.nowMs < this.busyUntilMs;
  }

  /** Asks the leader for a change of members, unless one is being asked for. */
  ask(changes: readonly MemberChange[], what: string): boolean {
    const leader = this.world.leader();
    if (leader === null || this.isBusy) return false;
    const { queue, story } = this.world;
    this.busyUntilMs = queue.nowMs + ASK_AGAIN_MS;
    story.tell(`the operator asks node ${leader.id} to ${what}`);
    const { askedToLeave } = this.world;
    const leaving = changes.flatMap((change) => {
      const isLeaving = change.kind === 'remove' || change.kind === 'demote';
      return isLeaving ? [{ id: change.id, process: leader.process }] : [];
    });
    for (const asked of leaving) askedToLeave.add(asked);
    leader.process?.enter(() =>
      leader.group?.changeMembers(changes, (reply) => {
        this.busyUntilMs = queue.nowMs;
        for (const asked of leaving) askedToLeave.delete(asked);
        if (reply.ok) story.tell(`done: ${what}`);
        else this.refused(what, reply.error.error);
      }),
    );
    return true;
  }

  private refused(what: string, error: RaftErrorCode): void {
    if (error === 'id-used') this.world.marks.reach('used id refused');
    this.world.story.tell(`refused (${error}): ${what}`);
  }

  /** A new machine, with a new id and an empty disk, that waits to be added. */
  addSpare(isPromotable: boolean): SimNode {
    const { world } = this;
    const node = world.addMachine(world.newMember(false, isPromotable), null);
    node.start();
    this.spares.push(node);
    return node;
  }

  private addFirstSpare(conf: ConfState): void {
    const known = (node: SimNode): boolean => node.id <= conf.idMax;
    while (this.spares[0] !== undefined && known(this.spares[0])) this.spares.shift();
    // Ids go up: whoever was passed over can never be added.
    const spare = this.spares.find((node) => !known(node) && !node.isDamaged);
    if (spare !== undefined) this.addMember(spare);
  }

  private addMember(node: SimNode): void {
    this.ask([{ kind: 'add', member: node.member }], `add node ${node.id}`);
  }

  /** A member whose disk is lost is removed, and a new machine takes its place. */
  private replaceLost(conf: ConfState): void {
    const { nodes, atlas, marks } = this.world;
    const lost = conf.members.find(({ id }) => nodes.get(id)?.isDamaged === true);
    const sound = conf.voters.filter((id) => nodes.get(id)?.isDamaged === false);
    const coming = conf.members.filter(({ id, isPromotable }) => {
      return isPromotable && conf.learners.includes(id) && nodes.get(id)?.isDamaged === false;
    });
    const isShort = sound.length + coming.length < this.wanted;
    if (isShort && this.spares.every((node) => node.id <= conf.idMax || node.isDamaged)) {
      this.addSpare(true);
    }
    if (lost === undefined) return;
    const rest = conf.voters.filter((id) => id !== lost.id);
    const canWait = isShort && this.prng.nextBelow(2) === 0;
    if (canWait || (conf.voters.includes(lost.id) && !atlas.canGoOn(rest))) return;
    if (this.ask([{ kind: 'remove', id: lost.id }], `remove node ${lost.id}, whose disk is lost`)) {
      marks.reach('lost disk replaced by a new id');
    }
  }

  /** Who is out by a committed configuration is switched off a little later. */
  private retireRemoved(leader: SimNode, conf: ConfState): void {
    const { world } = this;
    const commit = leader.status?.commit ?? 0;
    for (const node of world.nodes.values()) {
      const isOut = node.id <= conf.idMax && !conf.members.some(({ id }) => id === node.id);
      if (!isOut || node.isRetired || this.retiring.has(node.id)) continue;
      this.retiring.add(node.id);
      world.queue.after(RETIRE_AFTER_MS + this.prng.nextBelow(1_500), () => {
        this.retiring.delete(node.id);
        const now = world.leader()?.status;
        const isStillOut = now?.conf.members.every(({ id }) => id !== node.id) ?? false;
        const isCommitted = isStillOut && (now?.commit ?? 0) > commit;
        if (!isCommitted || now?.conf.votersOutgoing.length !== 0) return;
        if (node.id > now.conf.idMax) return;
        world.story.tell(`node ${node.id}, removed, is switched off`);
        node.isRetired = true;
        node.kill(false);
      });
    }
  }
}
