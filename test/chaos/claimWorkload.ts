/**
 * Clients that claim and look up pieces of work in three regions, and a watcher of leases. A claim is a
 * compare-and-set of a key that holds nothing; of a lease, one fencing number has one holder for ever.
 */

import { randomBytes } from 'node:crypto';

import type { Prng } from '../../src/base/prng.ts';
import type { Operation, Outcome } from '../../src/sim/checkers/history.ts';
import { KV_MODEL, type KvInput, type KvOutput } from '../../src/sim/checkers/kvModel.ts';
import { checkLinearizability, describeRefusal } from '../../src/sim/checkers/linearizability.ts';
import type { AdminSaid, ControlRegion, ControlRegions } from '../support/controlRegions.ts';

/** A key is used for so many operations: the search for an order grows with them. */
const EPOCH_OPERATIONS = 40;
const KEYS = 4;
const THINK_MS = 60;
const CALL_MS = 14_000;
const LEASES_MS = 150;

interface LeaseRow {
  readonly name: string;
  readonly holder: string;
  readonly fence: number;
}

export class ClaimWorkload {
  readonly operations: Operation<KvInput, KvOutput>[] = [];
  readonly #regions: ControlRegions;
  readonly #running: Promise<void>[] = [];
  readonly #mark = randomBytes(3).toString('hex');
  /** By lease and fencing number. */
  readonly #holders = new Map<string, string>();
  #twoHolders: string | null = null;
  #isOver = false;

  constructor(regions: ControlRegions) {
    this.#regions = regions;
  }

  /** Starts clients, each with randomness of its own. */
  start(prngs: readonly Prng[]): void {
    prngs.forEach((prng, at) => this.#running.push(this.#run(`c${at}`, prng)));
    this.#running.push(this.#watchLeases());
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#running);
  }

  /** How many ended how. */
  tally(): Readonly<Record<Outcome<KvOutput>['kind'], number>> {
    const counts = { answered: 0, refused: 0, unknown: 0 };
    for (const { outcome } of this.operations) counts[outcome.kind] += 1;
    return counts;
  }

  /** Of fencing numbers whose holder was seen. In etcd nobody holds a lease unless it is used. */
  get fencesSeen(): number {
    return this.#holders.size;
  }

  /** Null: all is as it must be. */
  refusal(isOver: () => boolean): string | null {
    if (this.#twoHolders !== null) return this.#twoHolders;
    const verdict = checkLinearizability(KV_MODEL, this.operations, { time: isOver });
    if (verdict.kind === 'unknown') return 'the checker came to its limit';
    return verdict.kind === 'refused' ? describeRefusal(KV_MODEL, verdict.refusal) : null;
  }

  async #run(client: string, prng: Prng): Promise<void> {
    for (let count = 0; !this.#isOver; count += 1) {
      await new Promise((resolve) => setTimeout(resolve, prng.nextBelow(2 * THINK_MS)));
      const running = this.#regions.all.filter((region) => region.isRunning);
      const region = running[prng.nextBelow(Math.max(1, running.length))];
      if (region === undefined) continue;
      const epoch = Math.floor(this.operations.length / EPOCH_OPERATIONS);
      const key = `${this.#mark}-${epoch}-${prng.nextBelow(KEYS)}`;
      const input: KvInput =
        prng.nextBelow(3) === 0
          ? { kind: 'get', key }
          : { kind: 'cas', key, expected: null, value: `${client}-${count}` };
      const calledAtMs = performance.now();
      const outcome = await outcomeOf(input, region);
      this.operations.push({ client, input, calledAtMs, outcome });
    }
  }

  async #watchLeases(): Promise<void> {
    while (!this.#isOver) {
      const path = '/admin/v1/leases';
      const said = await Promise.all(
        this.#regions.all.map((region) => region.admin(path, undefined, 1_000)),
      );
      const rows = said.flatMap((one) => (one?.body['items'] ?? []) as readonly LeaseRow[]);
      for (const { name, holder, fence } of rows) {
        const key = `${name} ${fence}`;
        const known = this.#holders.get(key) ?? holder;
        if (known !== holder) this.#twoHolders = `${key}: held by ${known} and by ${holder}`;
        this.#holders.set(key, known);
      }
      await new Promise((resolve) => setTimeout(resolve, LEASES_MS));
    }
  }
}

async function outcomeOf(input: KvInput, region: ControlRegion): Promise<Outcome<KvOutput>> {
  const said = await asked(input, region);
  const atMs = performance.now();
  if (input.kind === 'get') {
    if (said?.status !== 200) return { kind: 'refused' }; // What changes nothing has no effect.
    const [row] = said.body['items'] as readonly { readonly owner: string }[];
    return { kind: 'answered', atMs, output: { kind: 'value', value: row?.owner ?? null } };
  }
  if (said?.status === 503) return { kind: 'refused' };
  if (said?.status !== 200) return { kind: 'unknown' };
  const isSwapped = said.body['won'] === true;
  return { kind: 'answered', atMs, output: { kind: 'swapped', isSwapped } };
}

function asked(input: KvInput, region: ControlRegion): Promise<AdminSaid | null> {
  const { key } = input;
  if (input.kind === 'cas') {
    const body = { action: 'claim', key, owner: input.value };
    return region.admin('/admin/v1/claims', body, CALL_MS);
  }
  const query = encodeURIComponent(`job/${key}`);
  return region.admin(`/admin/v1/claims?key=${query}`, undefined, CALL_MS);
}
