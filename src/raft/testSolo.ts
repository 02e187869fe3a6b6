/** One node driven by hand, for unit tests of the core. */

import { assert } from '../base/assert.ts';
import { createPrng } from '../base/prng.ts';
import { bootstrapConf } from './membership.ts';
import { RaftNode } from './node.ts';
import { bootstrapStored, raftOptions } from './start.ts';
import { testMember } from './testkit.ts';
import type {
  Body,
  Entry,
  Input,
  Message,
  Output,
  RaftOptions,
  Snapshot,
  Stored,
} from './types.ts';

const THREE = [1, 2, 3].map((id) => testMember(id));

/** Options of a node on its own. */
export function soloOptions(id: number, more: Partial<RaftOptions> = {}): RaftOptions {
  const prng = createPrng(id);
  return raftOptions({ id, cluster: 'test', incarnation: id * 1_000, prng, ...more });
}

/** One node, driven by hand. */
export class Solo {
  readonly raft: RaftNode;
  nowMs = 0;

  constructor(
    id: number,
    stored: Stored = bootstrapStored(THREE),
    more: Partial<RaftOptions> = {},
  ) {
    const started = RaftNode.start(soloOptions(id, more), stored, 0);
    assert(started.ok, 'the disk fits');
    this.raft = started.value;
  }

  step(input: Input): Output {
    return this.raft.step(input, this.nowMs);
  }

  from(from: number, term: number, body: Body, more: Partial<Message> = {}): Output {
    const to = this.raft.status().id;
    const header = { cluster: 'test', from, to, incarnation: from * 1_000, term };
    return this.step({ kind: 'message', message: { ...header, ...body, ...more } as Message });
  }

  append(
    from: number,
    term: number,
    prev: readonly [number, number],
    entries: Entry[],
    commit = 1,
  ) {
    const [prevIndex, prevTerm] = prev;
    return this.from(from, term, { kind: 'append', prevIndex, prevTerm, commit, entries });
  }
}

/** An entry that says where it stands. */
export function entryAt(index: number, term: number): Entry {
  return { index, term, kind: 'command', timeMs: 0, data: Uint8Array.of(index, term) };
}

/** An empty snapshot of a cluster of three. */
export function snapshotAt(index: number, term: number): Snapshot {
  const conf = bootstrapConf(THREE);
  const data = new Uint8Array(0);
  const meta = {
    cluster: 'test',
    index,
    term,
    timeMs: 0,
    conf,
    level: 0,
    dataBytes: 0,
    checksum: 0,
  };
  return { meta, data };
}

/** The whole of an empty snapshot from node 1. */
export function sendSnapshot(solo: Solo, term: number, snapshot: Snapshot): Output {
  const { meta, data } = snapshot;
  return solo.from(1, term, { kind: 'snapshotChunk', meta, offset: 0, data, checksum: 0 });
}
