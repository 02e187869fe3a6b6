/**
 * What happens to the members of a `banyan kv` cluster while clients work: kills, pauses, cut links,
 * full disks, clock steps, restarts and changes of leader, as a seed draws them. Every fault ends.
 */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { Prng } from '../../src/base/prng.ts';
import type { KvCluster, KvMember } from '../support/kvCluster.ts';

const FAULTS = [
  'kill-one',
  'kill-leader',
  'kill-all',
  'pause-one',
  'pause-leader',
  'isolate',
  'cut-pair',
  'restart',
  'transfer',
  'fill-disk',
  'step-clock',
] as const;
export type Fault = (typeof FAULTS)[number];

/** Room for two segments and a snapshot: what the members of `chaos` have for their data. */
const SMALL_DISK_MIB = 8;
export const FAKETIME = '/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1';

/** What this machine can do; the reasons for what it cannot. */
export interface Abilities {
  readonly canMount: boolean;
  readonly canStepClock: boolean;
}

/** Finds out what can be done here, by trying it. */
export async function abilitiesIn(folder: string): Promise<Abilities> {
  const at = join(folder, 'mount-trial');
  await mkdir(at, { recursive: true });
  const canMount = mount(at);
  if (canMount) unmount(at);
  await rm(at, { recursive: true, force: true });
  return { canMount, canStepClock: existsSync(FAKETIME) };
}

function mount(at: string): boolean {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${SMALL_DISK_MIB}m`, 'tmpfs', at], {
      stdio: 'ignore',
    });
    return true;
  } catch {
    return false; // Not root, or a kernel that allows it to nobody.
  }
}

function unmount(at: string): void {
  execFileSync('umount', ['-l', at], { stdio: 'ignore' });
}

/** A small disk of its own, for a folder; the result takes it away again. */
export async function mountSmallDisk(at: string): Promise<(() => void) | null> {
  await mkdir(at, { recursive: true });
  return mount(at) ? () => unmount(at) : null;
}

/** Steps the wall clock of a process, never its monotonic one. */
export class SteppedClock {
  readonly #file: string;

  constructor(folder: string, id: number) {
    this.#file = join(folder, `clock-${id}`);
  }

  async step(seconds: number): Promise<void> {
    await writeFile(this.#file, `${seconds >= 0 ? '+' : ''}${seconds}\n`);
  }

  env(): Readonly<Record<string, string>> {
    return {
      LD_PRELOAD: FAKETIME,
      FAKETIME_TIMESTAMP_FILE: this.#file,
      FAKETIME_CACHE_DURATION: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      DONT_FAKE_MONOTONIC: '1',
    };
  }
}

/** Brings faults about, one after another. */
export class Nemesis {
  readonly counts = new Map<Fault, number>();
  readonly #cluster: KvCluster;
  readonly #ids: readonly number[];
  readonly #prng: Prng;
  readonly #clocks: ReadonlyMap<number, SteppedClock>;
  /** Members whose data lie on a small disk, and where that is. */
  readonly #small: ReadonlyMap<number, string>;
  readonly #log: (line: string) => void;

  constructor(
    cluster: KvCluster,
    ids: readonly number[],
    prng: Prng,
    clocks: ReadonlyMap<number, SteppedClock>,
    small: ReadonlyMap<number, string>,
    log: (line: string) => void,
  ) {
    this.#cluster = cluster;
    this.#ids = ids;
    this.#prng = prng;
    this.#clocks = clocks;
    this.#small = small;
    this.#log = log;
  }

  start(member: KvMember): Promise<void> {
    return member.start([], this.#clocks.get(member.id)?.env() ?? {});
  }

  /** One fault from beginning to end, and a while of rest. */
  async once(): Promise<void> {
    const fault = this.#drawFault();
    this.counts.set(fault, (this.counts.get(fault) ?? 0) + 1);
    await this.#run(fault);
    await this.#wait(200, 1_500);
  }

  /** Everybody runs, every link is whole. */
  async heal(): Promise<void> {
    this.#cluster.mendAll();
    for (const at of this.#small.values()) await rm(join(at, 'ballast'), { force: true });
    for (const member of this.#members()) {
      if (!member.isRunning) await this.start(member);
      member.signal('SIGCONT');
    }
  }

  #drawFault(): Fault {
    for (;;) {
      const fault = FAULTS[this.#prng.nextBelow(FAULTS.length)] ?? 'kill-one';
      if (fault === 'fill-disk' && this.#small.size === 0) continue;
      if (fault === 'step-clock' && this.#clocks.size === 0) continue;
      return fault;
    }
  }

  #members(): readonly KvMember[] {
    return this.#ids.map((id) => this.#cluster.member(id));
  }

  #anyMember(): KvMember {
    return this.#cluster.member(this.#ids[this.#prng.nextBelow(this.#ids.length)] ?? 1);
  }

  async #leaderOrAny(): Promise<KvMember> {
    return await this.#cluster.leader(5_000).catch(() => this.#anyMember());
  }

  async #wait(msMin: number, msMax: number): Promise<void> {
    const ms = msMin + this.#prng.nextBelow(msMax - msMin);
    await new Promise((resolve) => setTimeout(resolve, ms));
  }

  async #run(fault: Fault): Promise<void> {
    const needsLeader = fault === 'kill-leader' || fault === 'pause-leader' || fault === 'transfer';
    const member = needsLeader ? await this.#leaderOrAny() : this.#anyMember();
    this.#log(`${fault} ${member.id}`);
    switch (fault) {
      case 'kill-one':
      case 'kill-leader':
        await member.kill9();
        await this.#wait(0, 2_000);
        return await this.start(member);
      case 'kill-all':
        await Promise.all(this.#members().map((one) => one.kill9()));
        for (const one of this.#members()) await this.start(one);
        return;
      case 'pause-one':
      case 'pause-leader':
        member.signal('SIGSTOP');
        await this.#wait(300, 4_000);
        member.signal('SIGCONT');
        return;
      case 'isolate':
        for (const id of this.#ids) this.#cluster.setCut(member.id, id, true);
        await this.#wait(500, 4_000);
        return this.#cluster.mendAll();
      case 'cut-pair': {
        const other = this.#anyMember();
        this.#cluster.setCut(member.id, other.id, true);
        await this.#wait(500, 4_000);
        return this.#cluster.mendAll();
      }
      case 'restart':
        assert.equal(await member.stop(), 0, `member ${member.id} stops well: ${member.output()}`);
        return await this.start(member);
      case 'transfer': {
        const to = this.#anyMember();
        await member.ask('POST', `/v1/leader/${to.id}`);
        return;
      }
      case 'fill-disk':
        return await this.#fillDisk();
      case 'step-clock': {
        const clock = this.#clocks.get(member.id);
        await clock?.step(this.#prng.nextBelow(200_000) - 100_000);
        return;
      }
      default:
        return fault satisfies never;
    }
  }

  /** Takes all that is left of a small disk, and gives it back. */
  async #fillDisk(): Promise<void> {
    const ids = [...this.#small.keys()];
    const at = this.#small.get(ids[this.#prng.nextBelow(ids.length)] ?? 0);
    if (at === undefined) return;
    const ballast = join(at, 'ballast');
    try {
      await writeFile(ballast, new Uint8Array(SMALL_DISK_MIB * 1_048_576));
    } catch {
      // It is full; what was written of the file stays.
    }
    await this.#wait(1_000, 4_000);
    await rm(ballast, { force: true });
  }
}
