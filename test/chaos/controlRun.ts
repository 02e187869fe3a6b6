/**
 * One run of chaos on the control state of three real regions, kept by our own group or by three real
 * etcd servers: clients of the admin API, faults, and the judgement in the end.
 */

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { createPrng, type Prng } from '../../src/base/prng.ts';
import { checkLinearizability, describeRefusal } from '../../src/sim/checkers/linearizability.ts';
import { startControlRegions, type ControlRegions } from '../support/controlRegions.ts';
import { startEtcd, type EtcdCluster } from '../support/etcdCluster.ts';
import { ClaimWorkload } from './claimWorkload.ts';
import { FAKETIME, SteppedClock } from './faults.ts';
import { KEY_MODEL, KeyWorkload } from './keyWorkload.ts';

const CLIENTS = 5;
const CHECK_MS = 60_000;
const CONVERGE_MS = 60_000;
const NAMES = ['ap', 'eu', 'us'];

export interface ControlChaosOptions {
  readonly engine: 'raft' | 'etcd';
  /** Clients of leases and claims, not of keys; the clocks are stepped far more often. */
  readonly ofClaims?: boolean;
  readonly seed: number;
  readonly durationMs: number;
  readonly log: (line: string) => void;
}

export interface ControlChaosResult {
  /** Null: linearizable. */
  readonly refusal: string | null;
  readonly operations: number;
  readonly answered: number;
  readonly refused: number;
  readonly unknown: number;
  readonly faults: ReadonlyMap<string, number>;
  /** What could not be done on this machine. */
  readonly skipped: readonly string[];
}

/** Brings one fault about, from its beginning to its end. */
type Fault = () => Promise<void>;

export async function runControlChaos(options: ControlChaosOptions): Promise<ControlChaosResult> {
  const { engine, seed, durationMs, log } = options;
  const folder = await mkdtemp(join(tmpdir(), 'banyan-chaos-control-'));
  const undo: (() => void | Promise<void>)[] = [];
  try {
    const canStepClock = existsSync(FAKETIME);
    const clocks = new Map<string, SteppedClock>();
    for (const [at, name] of canStepClock ? NAMES.entries() : []) {
      const clock = new SteppedClock(folder, at);
      await clock.step(0);
      clocks.set(name, clock);
    }
    const etcd = engine === 'etcd' ? await startEtcd() : null;
    if (etcd !== null) undo.push(() => etcd.close());
    const env = (name: string) => clocks.get(name)?.env() ?? {};
    const { ofClaims = false } = options;
    const regions = await startControlRegions({
      etcd,
      env,
      ...(ofClaims ? { control: { registers: {} } } : {}),
    });
    undo.push(() => regions.close());
    await converged(regions, etcd);
    const prng = createPrng(seed);
    if (ofClaims) await claimsTaken(regions);
    const workload = ofClaims ? new ClaimWorkload(regions) : new KeyWorkload(regions);
    workload.start(Array.from({ length: CLIENTS }, (_, at) => createPrng(seed * 100 + at)));
    const drawn = faultsOf(regions, etcd, clocks, prng);
    const steps = drawn.filter(([name]) => name === 'step-clock');
    const faults = ofClaims ? [...drawn, ...steps, ...steps, ...steps] : drawn;
    const counts = new Map<string, number>();
    const endMs = performance.now() + durationMs;
    while (performance.now() < endMs) {
      const [name, fault] =
        faults[prng.nextBelow(faults.length)] ?? assert.fail('there are faults');
      log(name);
      counts.set(name, (counts.get(name) ?? 0) + 1);
      await fault();
      await wait(prng, 200, 1_200);
    }
    etcd?.heal();
    await regions.heal();
    await workload.stop();
    const there = await converged(regions, etcd);
    const checkEndMs = performance.now() + CHECK_MS;
    const isOver = (): boolean => performance.now() > checkEndMs;
    if (workload instanceof KeyWorkload) {
      workload.see(there);
      await secretsCount(regions, workload);
    }
    const refusal =
      workload instanceof KeyWorkload ? keyRefusal(workload, isOver) : workload.refusal(isOver);
    if (workload instanceof ClaimWorkload && etcd === null) {
      assert.ok(workload.fencesSeen > 0, 'a lease was seen');
    }
    return {
      refusal,
      operations: workload.operations.length,
      ...workload.tally(),
      faults: counts,
      skipped: canStepClock ? [] : ['clock steps: libfaketime is not installed'],
    };
  } finally {
    for (const step of undo.toReversed()) await step();
    await rm(folder, { recursive: true, force: true });
  }
}

function keyRefusal(workload: KeyWorkload, isOver: () => boolean): string | null {
  const verdict = checkLinearizability(KEY_MODEL, workload.operations, { time: isOver });
  assert.notEqual(verdict.kind, 'unknown', 'the checker came to its limit');
  return verdict.kind === 'refused' ? describeRefusal(KEY_MODEL, verdict.refusal) : null;
}

/** Waits until every region takes claims. */
async function claimsTaken(regions: ControlRegions): Promise<void> {
  const endMs = performance.now() + CONVERGE_MS;
  for (const region of regions.all) {
    const body = { action: 'claim', key: `first-${region.name}`, owner: 'test' };
    while ((await region.admin('/admin/v1/claims', body))?.status !== 200) {
      assert.ok(performance.now() < endMs, `${region.name} takes claims:\n${region.output()}`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

function wait(prng: Prng, msMin: number, msMax: number): Promise<void> {
  const ms = msMin + prng.nextBelow(msMax - msMin);
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function faultsOf(
  regions: ControlRegions,
  etcd: EtcdCluster | null,
  clocks: ReadonlyMap<string, SteppedClock>,
  prng: Prng,
): readonly (readonly [string, Fault])[] {
  const any = () => regions.region(prng.nextBelow(3));
  const faults: (readonly [string, Fault])[] = [
    [
      'kill-region',
      async () => {
        const region = any();
        await region.kill9();
        await wait(prng, 0, 1_500);
        await region.start();
      },
    ],
    [
      'pause-region',
      async () => {
        const region = any();
        region.signal('SIGSTOP');
        await wait(prng, 300, 3_000);
        region.signal('SIGCONT');
      },
    ],
    ...(clocks.size === 0
      ? []
      : [
          [
            'step-clock',
            () =>
              clocks.get(any().name)?.step(prng.nextBelow(100_000) - 50_000) ?? Promise.resolve(),
          ] as const,
        ]),
    [
      'transfer',
      async () => {
        const to = etcd === null ? any().name : `s${prng.nextBelow(3)}`;
        await any().admin('/admin/v1/leader', { region: to }, 3_000);
      },
    ],
  ];
  return [...faults, ...(etcd === null ? linkFaults(regions, prng) : etcdFaults(etcd, prng))];
}

function linkFaults(regions: ControlRegions, prng: Prng): readonly (readonly [string, Fault])[] {
  const names = regions.all.map(({ name }) => name);
  const any = (): string => names[prng.nextBelow(3)] ?? '';
  const cut = async (pairs: readonly (readonly [string, string])[]): Promise<void> => {
    for (const [one, other] of pairs) regions.setCut(one, other, true);
    await wait(prng, 500, 3_500);
    for (const [one, other] of pairs) regions.setCut(one, other, false);
  };
  return [
    ['cut-pair', () => cut([[any(), any()]])],
    [
      'isolate',
      () => {
        const one = any();
        return cut(names.map((other) => [one, other]));
      },
    ],
  ];
}

function etcdFaults(etcd: EtcdCluster, prng: Prng): readonly (readonly [string, Fault])[] {
  const any = () => etcd.server(prng.nextBelow(3));
  const leader = async () => etcd.server(await etcd.leader(5_000).catch(() => prng.nextBelow(3)));
  const kill = async (server: ReturnType<typeof any>): Promise<void> => {
    await server.kill9();
    await wait(prng, 0, 2_000);
    server.start();
  };
  const pause = async (server: ReturnType<typeof any>): Promise<void> => {
    server.signal('SIGSTOP');
    await wait(prng, 300, 3_500);
    server.signal('SIGCONT');
  };
  return [
    ['kill-etcd', () => kill(any())],
    ['kill-etcd-leader', async () => kill(await leader())],
    [
      'kill-all-etcd',
      async () => {
        await Promise.all(etcd.servers.map((server) => server.kill9()));
        await wait(prng, 0, 1_000);
        for (const server of etcd.servers) server.start();
      },
    ],
    ['pause-etcd', () => pause(any())],
    ['pause-etcd-leader', async () => pause(await leader())],
    [
      'cut-etcd',
      async () => {
        const server = any();
        const isPeers = prng.nextBelow(2) === 0;
        const wire = isPeers ? server.peerWire : server.clientWire;
        wire.setCut(true);
        await wait(prng, 500, 3_500);
        wire.setCut(false);
      },
    ],
  ];
}

/** Waits until all regions have the same newest state; gives the names of its keys. */
async function converged(
  regions: ControlRegions,
  etcd: EtcdCluster | null,
): Promise<ReadonlySet<string>> {
  await etcd?.leader(CONVERGE_MS);
  const endMs = performance.now() + CONVERGE_MS;
  for (let turn = 1; ; turn += 1) {
    // It comes behind all that went before.
    const name = `fence-${turn}`;
    const made = await regions.region(turn % 3).admin('/admin/v1/keys', { action: 'create', name });
    if (made?.status === 200) {
      await new Promise((resolve) => setTimeout(resolve, 500));
      const all = await Promise.all(regions.all.map((region) => region.admin('/admin/v1/keys')));
      const texts = all.map((said) => JSON.stringify(said?.body['items'] ?? null));
      const isSame = texts.every((text) => text === texts[0] && text.includes(`"${name}"`));
      if (isSame) {
        const items = (all[0]?.body['items'] ?? []) as { readonly name: string }[];
        return new Set(items.map((item) => item.name));
      }
    }
    if (performance.now() > endMs) {
      const outputs = regions.all.map((region) => region.output().slice(-1_500));
      assert.fail(`all regions come to the same state:\n${outputs.join('\n')}`);
    }
  }
}

/** The newest secret of a key that is there is let in nowhere or everywhere, of one that is not, nowhere. */
async function secretsCount(regions: ControlRegions, workload: KeyWorkload): Promise<void> {
  const newest = [...workload.secrets].slice(-20);
  for (const [key, secret] of newest) {
    const statuses = await Promise.all(regions.all.map((region) => region.statusWith(secret)));
    assert.equal(
      new Set(statuses).size,
      1,
      `${key} counts in all regions or in none: ${statuses.join()}`,
    );
  }
}
