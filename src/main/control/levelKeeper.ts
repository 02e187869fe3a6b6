/** The feature level of a group of our own: whoever leads raises it; who is below it takes no part. */

import { peerName } from '../../base/peerName.ts';
import { decodeLevel } from '../../raft/codec.ts';
import type { RaftStatus } from '../../raft/types.ts';
import type { ControlEngine } from '../../replica/control/engine.ts';
import {
  clusterFeatureLevel,
  levelRefusal,
  levelToRaise,
  raiseLevel,
  type FeatureSupport,
} from '../../replica/control/features.ts';
import { storedOf } from '../../replica/group/stored.ts';
import type { GroupMachine, GroupMember } from '../../replica/group/types.ts';
import type { ControlMember } from './memberFile.ts';
import { readOwnLog } from './offline.ts';

/** Raises the level of the group that this node leads: that of its log first, then the key. */
export class LevelKeeper {
  readonly #engine: ControlEngine;
  readonly #region: string;
  readonly #levelMax: number;
  #isBusy = false;

  constructor(engine: ControlEngine, region: string, levelMax: number) {
    this.#engine = engine;
    this.#region = region;
    this.#levelMax = levelMax;
  }

  /** To be called again and again. */
  care(group: GroupMember): void {
    const status = group.status();
    if (status.role !== 'leader' || this.#isBusy) return;
    const done = (): void => {
      this.#isBusy = false;
    };
    const { view } = this.#engine;
    const level = levelToRaise(status.level, supportOf(status, this.#levelMax));
    if (level !== null) {
      this.#isBusy = true;
      group.setLevel(level, done);
    } else if (status.level > clusterFeatureLevel(view)) {
      this.#isBusy = true;
      this.#engine.transact(raiseLevel(view, status.level, this.#region), done);
    }
  }

  /** Why this program takes no part in a cluster at `level`. */
  refusalOf(level: number): string {
    return levelRefusal(level, this.#levelMax) ?? 'this program is too old for the cluster';
  }

  /** FL3: what the member's log says is applied as far as this program may; the result is why. */
  async standAside(folder: string, member: ControlMember, machine: GroupMachine): Promise<string> {
    return this.refusalOf((await applyBelow(folder, member, machine, this.#levelMax)) ?? 0);
  }
}

/** Of all members as their leader has heard them lately. */
function supportOf({ id, conf, peers }: RaftStatus, levelMax: number): readonly FeatureSupport[] {
  return conf.members.map((member) => {
    const name = peerName(member.region, member.node ?? null);
    if (member.id === id) return { name, level: levelMax };
    const peer = peers.find((one) => one.id === member.id);
    const isKnown = peer !== undefined && peer.isActive && peer.level >= 0;
    return { name, level: isKnown ? peer.level : null };
  });
}

/**
 * Applies what the log of a member has before its level went past `levelMax`, for reading alone. Gives
 * the level that it is at; null: it cannot be read.
 */
async function applyBelow(
  folder: string,
  member: ControlMember,
  machine: GroupMachine,
  levelMax: number,
): Promise<number | null> {
  const read = await readOwnLog(folder, member);
  if (!read.ok) return null;
  const { lock, recovered } = read.value;
  await new Promise<void>((resolve) => lock.close(() => resolve()));
  const stored = storedOf(recovered, 0);
  if (!stored.ok) return null;
  const { snapshot, entries, hardState } = stored.value;
  let level = snapshot?.meta.level ?? 0;
  let applied = snapshot?.meta.index ?? 0;
  if (snapshot !== null && (level > levelMax || !machine.restore(snapshot.data))) return level;
  for (const { kind, index, timeMs, data } of entries) {
    if (index <= applied || index > hardState.commit) continue;
    if (kind === 'level') level = decodeLevel(data) ?? level;
    if (level > levelMax) continue;
    if (kind === 'command') machine.apply(index, timeMs, data);
    applied = index;
  }
  machine.settle(applied);
  return level;
}
