/**
 * The fault atlas: which disks may be damaged, so that what the protocol claims to survive is never
 * exceeded (after TigerBeetle's). Raft survives the loss of a minority of the voters' disks, in every
 * configuration that is or may come into force, by a request under way too; the rest must always be able
 * to go on.
 */

import type { ConfState, NodeId } from '../raft/types.ts';
import type { SimNode } from './node.ts';

export class Atlas {
  private readonly nodes: ReadonlyMap<NodeId, SimNode>;
  private readonly regionsMin: number;
  /** Voters that a leader is asked to remove, and may still. */
  private readonly leaving: () => readonly NodeId[];

  constructor(
    nodes: ReadonlyMap<NodeId, SimNode>,
    regionsMin: number,
    leaving: () => readonly NodeId[],
  ) {
    this.nodes = nodes;
    this.regionsMin = regionsMin;
    this.leaving = leaving;
  }

  /** Whether the group survives if `id` has lost its disk too. */
  mayDamage(id: NodeId): boolean {
    const node = this.nodes.get(id);
    if (node === undefined || node.isDamaged || node.isRetired) return false;
    return this.confs().every((conf) => this.isAlive(conf, id));
  }

  /** Whether voters of these ids could go on, with the disks as they are. */
  canGoOn(voters: readonly NodeId[], without: NodeId = 0): boolean {
    return this.isQuorum(
      voters,
      voters.filter((id) => id !== without && this.isSound(id)),
    );
  }

  /** Whether `ids` are enough of `voters` to commit. */
  isQuorum(voters: readonly NodeId[], ids: readonly NodeId[]): boolean {
    if (ids.length * 2 <= voters.length) return false;
    return this.regionsMin === 1 || this.regionsOf(voters) < 2 || this.regionsOf(ids) >= 2;
  }

  private isAlive(conf: ConfState, without: NodeId): boolean {
    // A learner may be made a voter before its loss is noticed; others may not be so soon.
    const coming = conf.members
      .filter(({ id, isPromotable }) => isPromotable && conf.learners.includes(id))
      .map(({ id }) => id)
      .filter((id) => id === without || !this.isSound(id));
    const leaving = this.leaving();
    const staying = conf.voters.filter((id) => !leaving.includes(id));
    const halves = [conf.voters, conf.votersOutgoing, [...conf.voters, ...coming], staying];
    return halves.every((half) => half.length === 0 || this.canGoOn(half, without));
  }

  /** What any node that may still speak believes. */
  private confs(): readonly ConfState[] {
    const confs: ConfState[] = [];
    for (const node of this.nodes.values()) {
      if (node.isRetired || node.isDamaged || node.status === null) continue;
      if (node.status.conf.voters.length > 0) confs.push(node.status.conf);
    }
    return confs;
  }

  private isSound(id: NodeId): boolean {
    const node = this.nodes.get(id);
    return node !== undefined && !node.isDamaged && !node.isRetired;
  }

  private regionsOf(ids: readonly NodeId[]): number {
    return new Set(ids.map((id) => this.nodes.get(id)?.member.region)).size;
  }
}
