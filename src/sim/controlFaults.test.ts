/**
 * Both engines of the control state under faults, many seeds each: what clients see is linearizable.
 * `CONTROL_SEEDS=N` runs as many; `CONTROL_SEED=N` one alone.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createPrng, type Prng } from '../base/prng.ts';
import { checkLinearizability, describeRefusal } from './checkers/linearizability.ts';
import { KV_MODEL } from './checkers/kvModel.ts';
import type { Outcome } from './checkers/history.ts';
import type { KvOutput } from './checkers/kvModel.ts';
import { callKv, KvHistory } from './controlCalls.ts';
import { EtcdWorld, RaftWorld } from './controlWorlds.ts';
import { inVirtualTime } from './driveTime.ts';

const RUN_MS = 30_000;
const SEEDS = seedsOf();

function seedsOf(): readonly number[] {
  const one = process.env['CONTROL_SEED'];
  if (one !== undefined) return [Number(one)];
  const count = Number(process.env['CONTROL_SEEDS'] ?? '6');
  return Array.from({ length: count }, (_, at) => at + 1);
}

type World = RaftWorld | EtcdWorld;

/** Clients at all nodes until the time is over; a node that crashes leaves its calls unanswered. */
class Clients {
  readonly history = new KvHistory();
  readonly #world: World;
  readonly #abandoned = new Map<number, () => void>();
  readonly #down = new Set<number>();
  isOver = false;

  constructor(world: World) {
    this.#world = world;
  }

  async run(name: string, node: number, prng: Prng): Promise<void> {
    const seen = new Map<string, string | null>();
    while (!this.isOver) {
      await this.#world.sleep(1 + prng.nextBelow(400));
      if (this.#down.has(node)) continue;
      const input = this.history.draw(prng, seen);
      const calledAtMs = this.#world.nowMs();
      const engine = this.#world.engine(node);
      const call = callKv(engine, input, () => this.#world.nowMs());
      const lost = new Promise<Outcome<KvOutput>>((resolve) => {
        const before = this.#abandoned.get(node);
        this.#abandoned.set(node, () => {
          before?.();
          resolve({ kind: 'unknown' });
        });
      });
      const outcome = await Promise.race([call, lost]);
      this.history.record(name, input, calledAtMs, outcome, seen);
    }
  }

  async crash(node: number): Promise<void> {
    this.#down.add(node);
    await this.#world.crash(node);
    this.#abandoned.get(node)?.();
    this.#abandoned.delete(node);
  }

  async restart(node: number): Promise<void> {
    await this.#world.restart(node);
    this.#down.delete(node);
  }
}

async function fault(world: World, clients: Clients, prng: Prng): Promise<void> {
  const node = prng.nextBelow(3);
  // Some last longer than a transaction is tried for.
  const isLong = prng.nextBelow(5) === 0;
  const pause = (): Promise<void> => world.sleep((isLong ? 11_000 : 100) + prng.nextBelow(3_000));
  const dice = prng.nextBelow(8);
  if (dice === 0) {
    await clients.crash(node);
    await pause();
    return clients.restart(node);
  }
  if (world instanceof RaftWorld) {
    const cut = node + 1;
    const chance = dice < 4 ? 1 : 0.3;
    world.drops = (from, to) => (from === cut || to === cut) && prng.nextFloat() < chance;
    await pause();
    world.drops = () => false;
    return;
  }
  if (dice === 1) world.etcd.setQuorum(false);
  else if (dice === 2) world.etcd.compact();
  else if (dice === 3) world.etcd.silenceWatches(`n${node}`);
  else if (dice === 4) world.etcd.setFaults(`n${node}`, { isCut: true });
  else if (dice === 5) world.etcd.setFaults(`n${node}`, { answerLost: 1 });
  else {
    const faults = { requestLost: 0.2, answerLost: 0.3, late: 0.2 };
    for (const each of [0, 1, 2]) world.etcd.setFaults(`n${each}`, faults);
  }
  await pause();
  world.etcd.setQuorum(true);
  for (const each of [0, 1, 2]) world.etcd.setFaults(`n${each}`, {});
  world.etcd.breakWatches(`n${node}`);
}

async function run(world: World, seed: number): Promise<Readonly<Record<string, number>>> {
  await world.open();
  const clients = new Clients(world);
  const running = [0, 1, 2, 0, 1, 2].map((node, at) =>
    clients.run(`c${at}`, node, createPrng(seed * 100 + at)),
  );
  const prng = createPrng(seed);
  while (world.nowMs() < RUN_MS) {
    await fault(world, clients, prng);
    await world.sleep(prng.nextBelow(1_500));
  }
  await world.heal();
  await world.sleep(5_000);
  clients.isOver = true;
  await Promise.all(running);
  const { operations } = clients.history;
  for (const key of new Set(operations.map(({ input }) => input.key))) {
    const calledAtMs = world.nowMs();
    const outcome = await callKv(world.engine(0), { kind: 'get', key }, () => world.nowMs());
    assert.equal(outcome.kind, 'answered', 'in the end all is well');
    clients.history.record('end', { kind: 'get', key }, calledAtMs, outcome, new Map());
  }
  const verdict = checkLinearizability(KV_MODEL, operations);
  if (verdict.kind === 'refused') assert.fail(describeRefusal(KV_MODEL, verdict.refusal));
  assert.equal(verdict.kind, 'linearizable');
  const { view } = world.engine(0);
  for (const node of [1, 2]) {
    await callKv(world.engine(node), { kind: 'get', key: 'k' }, () => world.nowMs());
    const page = (at: number) =>
      JSON.stringify(world.engine(at).view.range({ prefix: '', after: '', keysMax: 1_000 }));
    assert.equal(page(node), page(0), 'all nodes have the same state');
    assert.deepEqual(world.engine(node).view.audit(1, 10_000), view.audit(1, 10_000));
  }
  return clients.history.tally();
}

for (const [name, create] of [
  ['own group', () => new RaftWorld()],
  ['etcd', (seed: number) => new EtcdWorld(seed)],
] as const) {
  test(`${name}: under faults the history is linearizable (seeds=${SEEDS.length})`, async (t) => {
    const all = { answered: 0, refused: 0, unknown: 0 };
    for (const seed of SEEDS) {
      const world = create(seed);
      const tally = await inVirtualTime(world.time, run(world, seed)).catch((cause: unknown) => {
        const notes = world instanceof EtcdWorld ? world.notes.slice(-40).join('\n') : '';
        throw new Error(`CONTROL_SEED=${seed} replays it\n${notes}`, { cause });
      });
      for (const kind of ['answered', 'refused', 'unknown'] as const) all[kind] += tally[kind] ?? 0;
    }
    t.diagnostic(JSON.stringify(all));
    assert.ok(all.answered > 100 * SEEDS.length, JSON.stringify(all));
    assert.ok(all.unknown > 0, 'faults are seen');
  });
}
