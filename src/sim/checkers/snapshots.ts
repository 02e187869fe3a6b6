/**
 * S1: a snapshot names the configuration and the feature level that were committed at its index, and
 * never one that may yet be cut off.
 */

import { decodeLevel, encodeConf } from '../../raft/codec.ts';
import type { SnapshotMeta } from '../../raft/types.ts';
import type { Checker, Refute, StepSeen } from './checker.ts';
import type { Committed } from './committed.ts';

export class Snapshots implements Checker {
  private readonly refute: Refute;
  private readonly committed: Committed;

  constructor(refute: Refute, committed: Committed) {
    this.refute = refute;
    this.committed = committed;
  }

  step({ id, output }: StepSeen): void {
    const meta = output.persist?.snapshot?.meta;
    if (meta !== undefined) this.look(id, meta);
  }

  private look(id: number, meta: SnapshotMeta): void {
    let index = meta.index;
    while (index > 0 && this.committed.at(index)?.kind !== 'config') index -= 1;
    const conf = this.committed.at(index)?.data;
    const own = encodeConf(meta.conf);
    if (conf !== undefined && !isEqual(conf, own)) {
      const what = `the snapshot of node ${id} at ${meta.index}`;
      this.refute(`${what} holds another configuration than was committed at ${index}`);
    }
    index = meta.index;
    while (index > 0 && this.committed.at(index)?.kind !== 'level') index -= 1;
    const data = this.committed.at(index)?.data;
    const level = data === undefined ? 0 : (decodeLevel(data) ?? 0);
    if (level === meta.level) return;
    this.refute(
      `the snapshot of node ${id} at ${meta.index} is of level ${meta.level}, not ${level}`,
    );
  }
}

function isEqual(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, at) => byte === right[at]);
}
