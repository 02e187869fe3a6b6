/**
 * Straight-line code over the callbacks of a disk: a generator yields what to start and gets its
 * result back. Nothing is awaited; one disk, one order, one run.
 */

import type { DiskDone, DiskError } from '../base/disk.ts';
import type { Result } from '../base/result.ts';

type Start = (resume: (result: unknown) => void) => void;

/** A procedure that waits for disks and gives a `T`. */
export type Steps<T> = Generator<Start, T, unknown>;

/** Waits for one call. */
export function* wait<T>(
  start: (done: DiskDone<T>) => void,
): Generator<Start, Result<T, DiskError>, unknown> {
  // The driver resumes with what this call's own callback was given: its type is known here only.
  return (yield start as Start) as Result<T, DiskError>;
}

/** Runs `steps` to its end, then calls `done`. `done` may be called inside this call. */
export function runSteps<T>(steps: Steps<T>, done: (value: T) => void): void {
  const advance = (result: unknown): void => {
    const next = steps.next(result);
    if (next.done === true) done(next.value);
    else next.value(advance);
  };
  advance(undefined);
}
