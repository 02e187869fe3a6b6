/**
 * Histories as clients saw them: what was asked when, and what came back when. Recorded by the
 * simulator and by tests of real processes; read by the checkers afterwards.
 */

/** How an operation ended, as far as its client knows. */
export type Outcome<Output> =
  /** An answer came at `atMs`. The operation took effect once, between its call and then. */
  | { readonly kind: 'answered'; readonly atMs: number; readonly output: Output }
  /** A definite error: it took no effect and never will. */
  | { readonly kind: 'refused' }
  /** No answer or an indefinite error: it took effect at some time after its call, or never. */
  | { readonly kind: 'unknown' };

/** One call of one client. Any clock will do, also a counter: only the order of times counts. */
export interface Operation<Input, Output> {
  /** For people who read a report; the checker puts no order on a client's operations by it. */
  readonly client: string;
  readonly input: Input;
  readonly calledAtMs: number;
  readonly outcome: Outcome<Output>;
}

/**
 * What an object does, one operation at a time. All functions are pure; states are never changed.
 * A checker tries many orders, so `step` and `stateKey` are its hot path.
 */
export interface LinearizabilityModel<State, Input, Output> {
  readonly initial: State;
  /**
   * Each state that the operation may leave when it takes effect in `state` and answers `output`;
   * none if it cannot answer that. `undefined` stands for an answer that nobody saw.
   */
  step(state: State, input: Input, output: Output | undefined): readonly State[];
  /** True only if the operation with this answer changes no state in which it is possible. */
  isRead(input: Input, output: Output): boolean;
  /** Equal for equal states and for no others. */
  stateKey(state: State): string | number;
  /** Equal only for inputs that do the same; it makes unanswered operations interchangeable. */
  inputKey(input: Input): string;
  /**
   * The part of the object that the operation touches. Parts are checked apart, which is sound as
   * long as no operation touches two (Herlihy and Wing, 1990: linearizability is local).
   */
  partOf(input: Input): string;
  /** For reports: `put x 4` and `3`. */
  describeInput(input: Input): string;
  describeOutput(output: Output): string;
  describeState(state: State): string;
}
