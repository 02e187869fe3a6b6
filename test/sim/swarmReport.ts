/** What a swarm has seen, put together from the reports of its seeds. */

import type { Violation } from '../../src/sim/checkers/all.ts';
import { MARKS, missingMarks, type Mark } from '../../src/sim/marks.ts';
import type { RunFigures } from '../../src/sim/run.ts';

export interface SeedReport {
  readonly seed: number;
  readonly violation: Violation | null;
  readonly figures: RunFigures;
  readonly marks: readonly (readonly [Mark, number])[];
  readonly wallMs: number;
}

/** From so many seeds on, a needed mark that is missing fails the swarm. */
export const MARKS_FROM_SEEDS = 300;

export class SwarmReport {
  seeds = 0;
  events = 0;
  messages = 0;
  commits = 0;
  calls = 0;
  simulatedMs = 0;
  busyMs = 0;
  recoveryMsMax = 0;
  readonly failures: { readonly seed: number; readonly violation: Violation }[] = [];
  /** Seeds that reached each mark. */
  readonly marks = new Map<Mark, number>();

  add({ seed, violation, figures, marks, wallMs }: SeedReport): void {
    this.seeds += 1;
    this.events += figures.events;
    this.messages += figures.messages;
    this.commits += figures.commits;
    this.calls += figures.calls;
    this.simulatedMs += figures.simulatedMs;
    this.busyMs += wallMs;
    this.recoveryMsMax = Math.max(this.recoveryMsMax, figures.recoveryMs);
    if (violation !== null) this.failures.push({ seed, violation });
    for (const [mark] of marks) this.marks.set(mark, (this.marks.get(mark) ?? 0) + 1);
  }

  /** Needed marks that were not reached, once there were seeds enough to ask for them. */
  missing(): readonly Mark[] {
    return this.seeds >= MARKS_FROM_SEEDS ? missingMarks(this.marks) : [];
  }

  get isGood(): boolean {
    return this.failures.length === 0 && this.missing().length === 0;
  }

  progress(wallMs: number): string {
    const seconds = Math.max(0.001, wallMs / 1_000);
    const hours = this.simulatedMs / 3_600_000;
    return (
      `${this.seeds} seeds, ${(this.seeds / seconds).toFixed(1)}/s, ` +
      `${Math.round(this.events / seconds)} events/s, ${hours.toFixed(2)} h simulated ` +
      `(${((hours / seconds) * 60).toFixed(1)} h a minute), ` +
      `${this.marks.size} of ${Object.keys(MARKS).length} marks, ${this.failures.length} failed`
    );
  }

  /** How many seeds reached each mark, the rarest first. */
  coverage(): string {
    const names = Object.keys(MARKS) as readonly Mark[];
    const count = (mark: Mark): number => this.marks.get(mark) ?? 0;
    return names
      .toSorted((a, b) => count(a) - count(b))
      .map((mark) => `${String(count(mark)).padStart(7)}  ${mark}`)
      .join('\n');
  }

  toJson(wallMs: number): object {
    const { seeds, events, messages, commits, calls, simulatedMs, busyMs, failures } = this;
    const figures = { seeds, events, messages, commits, calls, simulatedMs, busyMs, wallMs };
    const marks = Object.fromEntries(this.marks);
    return {
      ...figures,
      recoveryMsMax: this.recoveryMsMax,
      failures,
      missing: this.missing(),
      marks,
    };
  }
}
