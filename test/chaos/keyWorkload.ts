/**
 * Clients of the admin API of three regions, and what they saw: API keys that are made, rotated and
 * ended at any region. For each key it is known whether it is there; the history must be linearizable.
 */

import { randomBytes } from 'node:crypto';

import type { Prng } from '../../src/base/prng.ts';
import type { LinearizabilityModel, Operation, Outcome } from '../../src/sim/checkers/history.ts';
import type { AdminSaid, ControlRegion, ControlRegions } from '../support/controlRegions.ts';

/** `see`: a look at a region that has all that the others have. */
type KeyAction = 'create' | 'rotate' | 'revoke' | 'see';
export interface KeyInput {
  readonly action: KeyAction;
  readonly key: string;
}
/** What was found: a key that is made was absent before, one that is rotated or ended was there. */
export type KeyOutput = 'done' | 'absent';

const NOTHING: readonly boolean[] = [];

export const KEY_MODEL: LinearizabilityModel<boolean, KeyInput, KeyOutput> = {
  initial: false,
  step(isThere, { action }, output) {
    if (action === 'create') return isThere ? NOTHING : [true];
    if (output === 'absent') return isThere ? NOTHING : [false];
    if (isThere) return [action !== 'revoke'];
    // One whose answer nobody saw may have found nothing to do.
    return output === undefined ? [false] : NOTHING;
  },
  isRead: ({ action }, output) => action === 'see' || action === 'rotate' || output === 'absent',
  stateKey: (isThere) => (isThere ? 1 : 0),
  inputKey: ({ action, key }) => `${action} ${key}`,
  partOf: ({ key }) => key,
  describeInput: ({ action, key }) => `${action} ${key}`,
  describeOutput: (output) => output,
  describeState: (isThere) => (isThere ? 'there' : 'absent'),
};

/** Keys change so often: the search for an order grows with what one key has seen. */
const EPOCH_OPERATIONS = 60;
const KEYS = 4;
const THINK_MS = 60;
const CALL_MS = 14_000;

export class KeyWorkload {
  readonly operations: Operation<KeyInput, KeyOutput>[] = [];
  /** Newest secrets that were told, and whether what came after is known. */
  readonly secrets = new Map<string, string>();
  readonly #regions: ControlRegions;
  readonly #clients: Promise<void>[] = [];
  readonly #mark = randomBytes(3).toString('hex');
  #isOver = false;

  constructor(regions: ControlRegions) {
    this.#regions = regions;
  }

  /** Starts clients, each with randomness of its own. */
  start(prngs: readonly Prng[]): void {
    prngs.forEach((prng, at) => this.#clients.push(this.#run(`c${at}`, prng)));
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#clients);
  }

  /** What all regions have in the end belongs to the history too. */
  see(there: ReadonlySet<string>): void {
    for (const key of new Set(this.operations.map(({ input }) => input.key))) {
      const nowMs = performance.now();
      const output = there.has(key) ? 'done' : 'absent';
      const outcome = { kind: 'answered', atMs: nowMs, output } as const;
      this.operations.push({
        client: 'end',
        input: { action: 'see', key },
        calledAtMs: nowMs,
        outcome,
      });
    }
  }

  /** How many ended how. */
  tally(): Readonly<Record<Outcome<KeyOutput>['kind'], number>> {
    const counts = { answered: 0, refused: 0, unknown: 0 };
    for (const { outcome } of this.operations) counts[outcome.kind] += 1;
    return counts;
  }

  async #run(client: string, prng: Prng): Promise<void> {
    while (!this.#isOver) {
      await new Promise((resolve) => setTimeout(resolve, prng.nextBelow(2 * THINK_MS)));
      const running = this.#regions.all.filter((region) => region.isRunning);
      const region = running[prng.nextBelow(Math.max(1, running.length))];
      if (region !== undefined) await this.#operate(client, region, prng);
    }
  }

  async #operate(client: string, region: ControlRegion, prng: Prng): Promise<void> {
    const epoch = Math.floor(this.operations.length / EPOCH_OPERATIONS);
    const key = `${this.#mark}-${epoch}-${prng.nextBelow(KEYS)}`;
    const dice = prng.nextBelow(8);
    const action = dice < 4 ? 'create' : dice < 5 ? 'rotate' : 'revoke';
    const input: KeyInput = { action, key };
    const calledAtMs = performance.now();
    const more = action === 'rotate' ? { graceMs: 0 } : {};
    const body = { action, name: key, who: client, ...more };
    const said = await region.admin('/admin/v1/keys', body, CALL_MS);
    const outcome = outcomeOf(action, said);
    this.operations.push({ client, input, calledAtMs, outcome });
    const secret = said?.body['secret'];
    if (typeof secret === 'string') this.secrets.set(key, secret);
  }
}

function outcomeOf(action: KeyAction, said: AdminSaid | null): Outcome<KeyOutput> {
  if (said === null || said.status === 504) return { kind: 'unknown' };
  const atMs = performance.now();
  if (said.status === 200) return { kind: 'answered', atMs, output: 'done' };
  // Looked for after a confirmed read; that a key is there already may be old news, and says nothing.
  if (said.status === 404 && action !== 'create') {
    return { kind: 'answered', atMs, output: 'absent' };
  }
  return { kind: 'refused' };
}
