/** A world for tests of roll-outs: one control state, regions that take what they are given. */

import { decodeReply, encodeCommand } from '../control/codec.ts';
import { ControlMachine } from '../control/machine.ts';
import type { Transaction } from '../control/types.ts';
import { changeHead, endRollout, outcomeOf, resumeRollout, startVersion } from './changes.ts';
import type { RegionReport } from './judge.ts';
import { assignedTo, readHead, type ConfigHead, type StoredHead } from './records.ts';
import { nextStep, type RegionSeen, type SeenRegions } from './rollout.ts';

const AUDIT = { who: 'ops', from: 'here', what: 'test', why: '' };

type Changing = { -readonly [Name in keyof RegionReport]: RegionReport[Name] };

export class RolloutWorld {
  readonly machine = new ControlMachine();
  readonly regions = new Map<string, Changing>();
  /** Regions that do not answer, and for how long. */
  readonly silent = new Map<string, number>();
  /** Versions that a region does not take. */
  readonly refusing = new Map<string, number>();
  nowMs = 1_000_000;
  #index = 0;

  constructor(...regions: readonly string[]) {
    for (const region of regions) {
      const before = { requests: 1_000, errors: 0 };
      const counts = { requests: 0, errors: 0 };
      this.regions.set(region, { boot: 1, applied: 0, refused: null, counts, before, out: [] });
    }
  }

  run(transaction: Transaction): boolean {
    this.#index += 1;
    const reply = decodeReply(this.machine.apply(this.#index, 0, encodeCommand(transaction)));
    if (reply?.kind !== 'done') throw new Error(JSON.stringify(reply));
    return reply.isSuccess;
  }

  get stored(): StoredHead {
    const stored = readHead(this.machine);
    if (stored === null) throw new Error('the head is readable');
    return stored;
  }

  get head(): ConfigHead {
    return this.stored.head;
  }

  region(name: string): Changing {
    const region = this.regions.get(name);
    if (region === undefined) throw new Error(`no region ${name}`);
    return region;
  }

  push(text: string, more: { isEmergency?: boolean; order?: readonly string[]; of?: number } = {}) {
    const { isEmergency = false, order = [], of = 0 } = more;
    const next = { text, of, isEmergency, bakeMs: 1_000, order, timeMs: this.nowMs };
    return this.run(startVersion(this.machine, this.stored, next, AUDIT));
  }

  end(): boolean {
    return this.run(endRollout(this.machine, this.stored, AUDIT));
  }

  resume(): boolean {
    const { rollout } = this.head;
    if (rollout === null) throw new Error('there is a roll-out');
    return this.run(resumeRollout(this.stored, rollout, this.nowMs, AUDIT));
  }

  /** Regions take what they are to have. */
  settle(): void {
    for (const [name, region] of this.regions) {
      if (this.silent.has(name)) continue;
      const version = assignedTo(this.head, name);
      if (version !== 0 && this.refusing.get(name) === version) {
        region.refused = { version, why: 'no such file' };
      } else {
        region.applied = version;
        region.refused = null;
      }
    }
  }

  seen(): SeenRegions {
    const seen = new Map<string, RegionSeen>();
    for (const [name, region] of this.regions) {
      const silentMs = this.silent.get(name);
      const report = silentMs === undefined ? { ...region } : null;
      seen.set(name, { report, silentMs: silentMs ?? 0 });
    }
    return seen;
  }

  /** The transaction that a leader sends now, decided from `stored`; null: none. */
  decide(stored: StoredHead, last: string | null = null): Transaction | null {
    const step = nextStep(stored.head, this.seen(), last, this.nowMs);
    if (step === null) return null;
    const more = step.isOver ? outcomeOf(this.machine, stored.head.rollout, 'everywhere') : [];
    return changeHead(stored, step.head, { ...AUDIT, what: step.what }, more);
  }

  /** Regions settle, the leader takes a step if there is one; what it did. */
  step(last: string | null = null): string | null {
    this.settle();
    const transaction = this.decide(this.stored, last);
    if (transaction === null) return null;
    this.run(transaction);
    return transaction.audit.what.replace(/^config roll-out of \d+: /, '');
  }

  /** Steps, a second passing with each, until nothing happens; what was done. */
  steps(last: string | null = null): readonly string[] {
    const done: string[] = [];
    for (let idle = 0; idle < 2;) {
      const what = this.step(last);
      idle = what === null ? idle + 1 : 0;
      if (what !== null) done.push(what);
      this.nowMs += 1_000;
    }
    return done;
  }

  serve(name: string, requests: number, errors: number): void {
    const region = this.region(name);
    const { counts } = region;
    region.counts = { requests: counts.requests + requests, errors: counts.errors + errors };
  }
}
