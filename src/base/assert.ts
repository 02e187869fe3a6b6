/**
 * Assertions for bugs: states that the code's own logic rules out. They stay on in production and
 * end the process; its supervisor restarts it from disk. Expected outcomes are `Result`s instead.
 */

/** Thrown by `assert` and `unreachable` only. Nothing catches it. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** Ends the replica unless `condition` holds. `truth` is a constant that states what must hold. */
export function assert(condition: boolean, truth: string): asserts condition {
  if (!condition) throw new AssertionError(truth);
}

/** Marks a branch that the types rule out: a new variant of a union fails to compile here. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable: ${JSON.stringify(value)}`);
}
