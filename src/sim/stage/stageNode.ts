/** One node on a stage: a simulated disk that stays, and the production host while it runs. */

import { assert } from '../../base/assert.ts';
import { encodeUtf8 } from '../../base/bytes.ts';
import type { Clock, Timers } from '../../base/ports.ts';
import { createPrng, type Prng } from '../../base/prng.ts';
import { raftOptions } from '../../raft/start.ts';
import type { RaftNode } from '../../raft/node.ts';
import type { Member, NodeId, RaftStatus } from '../../raft/types.ts';
import { openGroup } from '../../replica/group/open.ts';
import type { GroupMachine, GroupMember, GroupStep } from '../../replica/group/types.ts';
import { encodeKvCommand } from '../../replica/kv/codec.ts';
import { KvMachine } from '../../replica/kv/machine.ts';
import { createMemoryStore } from '../../replica/kv/memoryStore.ts';
import { SimDisk } from '../disk.ts';

/** What a node needs of its stage. */
export interface StagePorts {
  readonly time: Clock & Timers;
  readonly prng: Prng;
  send(from: NodeId, to: NodeId, bytes: Uint8Array): void;
  /** A step of the core of `node` is about to be carried out. */
  stepped(node: StageNode, step: GroupStep): void;
}

/** A sync of a solid disk takes about a millisecond. */
const DISK_MS = { latencyMs: 0.5, latencySpreadMs: 0.5 };
const SEGMENT_BYTES = 64 * 1024;
const CLUSTER = 'stage';
const NEVER = 1_000_000_000;

export class StageNode {
  readonly id: NodeId;
  readonly member: Member;
  state: 'up' | 'starting' | 'down' = 'down';
  group: GroupMember | null = null;
  /** The core that runs, or that ran last: its log can be looked at. */
  core: RaftNode | null = null;
  status: RaftStatus | null = null;
  kv = new KvMachine(createMemoryStore());
  readonly #ports: StagePorts;
  readonly #members: readonly Member[];
  readonly #disk: SimDisk;
  /** Counts starts: what an earlier life asked for comes to nobody. */
  #life = 0;

  constructor(ports: StagePorts, member: Member, members: readonly Member[]) {
    this.id = member.id;
    this.member = member;
    this.#ports = ports;
    this.#members = members;
    this.#disk = new SimDisk(ports.time, createPrng(ports.prng.nextUint32()), DISK_MS);
  }

  start(): void {
    if (this.state !== 'down') return;
    this.state = 'starting';
    this.#life += 1;
    const life = this.#life;
    const isThisLife = (): boolean => this.#life === life;
    const { id, member } = this;
    const { incarnation } = member;
    const { time, prng } = this.#ports;
    this.kv = new KvMachine(createMemoryStore());
    openGroup(
      {
        raft: raftOptions({
          id,
          cluster: CLUSTER,
          incarnation,
          prng: createPrng(prng.nextUint32()),
        }),
        folder: 'log',
        mode: { kind: life === 1 ? 'create' : 'open', incarnation },
        bootstrap: this.#members,
        segmentBytes: SEGMENT_BYTES,
        checkpointEntries: 1_000,
        snapshotEntries: NEVER,
      },
      {
        disk: this.#disk.mount(),
        clock: time,
        timers: time,
        transport: {
          send: (to, bytes) => {
            if (isThisLife() && this.state !== 'down') this.#ports.send(id, to, bytes);
          },
        },
      },
      { status: () => {}, alarm: () => {}, disk: () => {} },
      machineOf(this.kv),
      (step) => {
        if (!isThisLife()) return;
        this.core = step.node;
        this.#ports.stepped(this, step);
        this.status = step.node.status();
      },
      (opened) => {
        if (!isThisLife()) return;
        assert(opened.ok, 'a disk without faults opens');
        this.group = opened.value;
        this.state = 'up';
        this.status = opened.value.status();
      },
    );
  }

  /** The process ends as by `kill -9`; its disk keeps what was synced, and what the system has. */
  kill(): void {
    if (this.state === 'down') return;
    this.#life += 1;
    this.state = 'down';
    this.group?.stop(() => {}); // Its timers go; its disk calls die with `kill`.
    this.group = null;
    this.#disk.kill();
  }

  /** Proposes to write `value` under `key`; false if the node does not run. */
  propose(key: string, value: string, done: Parameters<GroupMember['propose']>[1]): boolean {
    if (this.group === null) return false;
    this.group.propose(encodeKvCommand({ kind: 'put', key, value: encodeUtf8(value) }), done);
    return true;
  }
}

/** The store without sessions: whoever proposes on a stage sees for himself what came of it. */
function machineOf(kv: KvMachine): GroupMachine {
  return {
    apply: (index, timeMs, data) => kv.apply(index, timeMs, data),
    snapshot: () => kv.snapshot(),
    restore: (data) => kv.restore(data),
    hash: () => kv.hash(),
    durableIndex: () => 0,
    settle: () => {},
  };
}
