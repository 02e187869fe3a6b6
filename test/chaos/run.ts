/** One run of chaos: a cluster, clients, faults, and the judgement in the end. */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { createPrng } from '../../src/base/prng.ts';
import { KV_MODEL } from '../../src/sim/checkers/kvModel.ts';
import { checkLinearizability, describeRefusal } from '../../src/sim/checkers/linearizability.ts';
import { createKvCluster, type KvCluster } from '../support/kvCluster.ts';
import { abilitiesIn, mountSmallDisk, Nemesis, SteppedClock, type Fault } from './faults.ts';
import { Workload } from './workload.ts';

const MEMBERS = [1, 2, 3];
/** Keeps its state in SQLite, on a disk that is never full: its hash must be that of the others. */
const SQLITE_MEMBER = 1;
const CLIENTS = 6;
const CHECK_MS = 120_000;
const LOG_CHARS_TOLD = 4_000;

export interface ChaosOptions {
  readonly seed: number;
  readonly durationMs: number;
  readonly log: (line: string) => void;
}

export interface ChaosResult {
  /** Null: linearizable. */
  readonly refusal: string | null;
  readonly operations: number;
  readonly answered: number;
  readonly refused: number;
  readonly unknown: number;
  readonly faults: ReadonlyMap<Fault, number>;
  /** What could not be done on this machine. */
  readonly skipped: readonly string[];
}

/** Runs chaos; rejects where the cluster does not come back, or its members differ. */
export async function runChaos({ seed, durationMs, log }: ChaosOptions): Promise<ChaosResult> {
  const folder = await mkdtemp(join(tmpdir(), 'banyan-chaos-'));
  const undo: (() => void | Promise<void>)[] = [];
  let describe: (() => Promise<void>) | null = null;
  try {
    const { canMount, canStepClock } = await abilitiesIn(folder);
    const skipped = [
      ...(canMount ? [] : ['full disks: this user may not mount a small one']),
      ...(canStepClock ? [] : ['clock steps: libfaketime is not installed']),
    ];
    const small = new Map<number, string>();
    if (canMount) {
      for (const id of MEMBERS.filter((one) => one !== SQLITE_MEMBER)) {
        const at = join(folder, `disk-${id}`);
        const unmount = await mountSmallDisk(at);
        if (unmount === null) continue;
        undo.push(unmount);
        small.set(id, at);
      }
    }
    const cluster = await createKvCluster({
      config: { segmentBytes: 524_288, snapshotEntries: 2_000, trailingEntries: 200 },
      configOf: (id) => ({ state: id === SQLITE_MEMBER ? 'sqlite' : 'memory' }),
      dataOf: (id) => {
        const at = small.get(id);
        return at === undefined ? null : join(at, 'data');
      },
    });
    undo.push(() => cluster.close());
    describe = () => tellAll(cluster, log);
    const clocks = new Map<number, SteppedClock>();
    for (const id of canStepClock ? MEMBERS : []) {
      const clock = new SteppedClock(folder, id);
      await clock.step(0);
      clocks.set(id, clock);
    }
    const nemesis = new Nemesis(cluster, MEMBERS, createPrng(seed), clocks, small, log);
    const initial = MEMBERS.map((id) => cluster.member(id));
    for (const member of initial) assert.equal((await member.init()).code, 0, member.output());
    for (const member of initial) await nemesis.start(member);
    await cluster.leader();
    const workload = new Workload(cluster);
    workload.start(Array.from({ length: CLIENTS }, (_, at) => createPrng(seed * 100 + at)));
    const endMs = performance.now() + durationMs;
    while (performance.now() < endMs) {
      await nemesis.once();
      for (const member of initial) {
        assert.ok(member.isRunning, `member ${member.id} ended: ${member.output().slice(-2_000)}`);
      }
    }
    await nemesis.heal();
    await cluster.leader(60_000);
    await workload.stop();
    await cluster.converged(MEMBERS, 60_000);
    await workload.readAll();
    const checkEndMs = performance.now() + CHECK_MS;
    const verdict = checkLinearizability(KV_MODEL, workload.operations, {
      time: () => performance.now() > checkEndMs,
    });
    assert.notEqual(verdict.kind, 'unknown', 'the checker came to its limit');
    return {
      refusal: verdict.kind === 'refused' ? describeRefusal(KV_MODEL, verdict.refusal) : null,
      operations: workload.operations.length,
      ...workload.tally(),
      faults: nemesis.counts,
      skipped,
    };
  } catch (cause) {
    await describe?.();
    throw cause;
  } finally {
    for (const step of undo.toReversed()) await step();
    await rm(folder, { recursive: true, force: true });
  }
}

/** What there is to see of each member, for whoever looks for the reason of a failure. */
async function tellAll(cluster: KvCluster, log: (line: string) => void): Promise<void> {
  for (const id of MEMBERS) {
    const member = cluster.member(id);
    log(`member ${id}: ${JSON.stringify(await member.status())}`);
    log(member.output().slice(-LOG_CHARS_TOLD));
  }
}
