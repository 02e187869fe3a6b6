/**
 * The search for one part of an object: just-in-time linearization, depth first, with memory.
 *
 * Operations are taken in the order of their answers. `rank` is the first that has not taken
 * effect; whatever was called before its answer may take effect next. So a configuration is: rank,
 * which of the operations open at that answer are done (a bit set, as wide as clients are many,
 * however long the history), the unanswered ones that took effect, and the state.
 *
 * What keeps it small, each with the reason why no order is lost:
 * - An answered read that may take effect now does so at once: any order in which it comes later
 *   stays an order with it here.
 * - An unanswered operation that changes nothing here does not take effect: it is left for later.
 * - An unanswered operation takes effect only if the move behind it would not be possible, or not
 *   lead to the same state, without it: else an order without it does as well.
 * - Unanswered operations of equal input take effect in the order of their calls: the one called
 *   earlier may stand wherever the later one may.
 * - A configuration is dead if one died before that differed only in having used fewer unanswered
 *   operations: it could do all that this one can.
 *
 * Of the ways on, those that let the operation of this rank have its answer are tried first.
 */

import { assert } from '../../base/assert.ts';
import type { LinearizabilityModel, Operation } from './history.ts';
import { arrange, type Arranged } from './linearOrder.ts';

/** What a check may cost, all parts together; past it the verdict is "unknown". */
export interface Limits {
  /** Calls of `step`. The same history gives the same verdict on any machine. */
  readonly steps: number;
  /** Configurations remembered, each part. About 200 bytes each. */
  readonly configurations: number;
  /** Returns true when time is up; asked every thousand steps. The checker has no clock. */
  readonly time: () => boolean;
}

type Found<Input, Output> =
  | { readonly kind: 'linearizable'; readonly order: readonly Operation<Input, Output>[] }
  | {
      readonly kind: 'refused';
      readonly refusal: {
        readonly prefix: readonly Operation<Input, Output>[];
        readonly blocked: Operation<Input, Output>;
        readonly unplaced: readonly Operation<Input, Output>[];
        readonly states: readonly string[];
      };
    }
  | { readonly kind: 'unknown'; readonly limit: keyof Limits };

const STEPS_MAX = 200_000_000;
const CONFIGURATIONS_MAX = 2_000_000;
const TIME_ASKED_STEPS = 1_024;
/** The first search: so many steps, and so many more for each operation. */
const SOON_STEPS = 100_000;
const SOON_STEPS_EACH = 50;
/** Bits in one word of a set: what stays a small integer. */
const WORD_BITS = 30;
const STATES_SHOWN = 4;

/**
 * Searches one part. `spent` counts the steps of all parts.
 *
 * Many unanswered operations make it hard to be sure that there is no order. So if the search has
 * not ended soon, it is first made with unanswered operations that take effect as often as one
 * likes: what has no order even so has none, and their uses need not be told apart.
 */
export function searchPart<State, Input, Output>(
  model: LinearizabilityModel<State, Input, Output>,
  operations: readonly Operation<Input, Output>[],
  given: Partial<Limits>,
  spent: { steps: number },
): Found<Input, Output> {
  const limits = {
    steps: STEPS_MAX,
    configurations: CONFIGURATIONS_MAX,
    time: () => false,
    ...given,
  };
  const arranged = arrange(model, operations);
  if (arranged.classes.length > 0) {
    const soon = spent.steps + SOON_STEPS + SOON_STEPS_EACH * operations.length;
    const first = { ...limits, steps: Math.min(limits.steps, soon) };
    const found = new Search(model, arranged, first, spent, false).run();
    if (found.kind !== 'unknown') return found;
    const relaxed = new Search(model, arranged, limits, spent, true).run();
    if (relaxed.kind === 'refused') return relaxed;
  }
  return new Search(model, arranged, limits, spent, false).run();
}

/** One operation that may take effect next, and the state after it. */
interface Branch<State> {
  /** An answered operation by its rank, or an unanswered class as -1 - class. */
  readonly move: number;
  readonly state: State;
}

/** A configuration with more than one way on, to come back to. */
interface Frame<State> {
  readonly trailLength: number;
  readonly rank: number;
  readonly state: State;
  /** The state before, as `#before`. */
  readonly before: { readonly state: State } | null;
  branches: readonly Branch<State>[];
  next: number;
  /** Branches that are looked for only once the first ones have failed. */
  isWhole: boolean;
}

class Search<State, Input, Output> {
  readonly #model: LinearizabilityModel<State, Input, Output>;
  readonly #arranged: Arranged<Input, Output>;
  readonly #limits: Limits;
  readonly #spent: { steps: number };
  /** Unanswered operations may take effect again and again. */
  readonly #isRelaxed: boolean;
  #state: State;
  /** The state before the last move, if that was an unanswered operation that has to matter yet. */
  #before: { readonly state: State } | null = null;
  #rank = 0;
  readonly #done: Uint8Array;
  readonly #used: Uint32Array;
  readonly #noUse: readonly Uint32Array[] = [new Uint32Array(0)];
  /** Moves so far, in the order of effects. */
  readonly #trail: number[] = [];
  readonly #frames: Frame<State>[] = [];
  /** Dead or under way: for each configuration the smallest uses of unanswered operations. */
  readonly #seen = new Map<string, readonly Uint32Array[]>();
  #seenCount = 0;
  #limit: keyof Limits | null = null;
  readonly #best: { rank: number; trail: number[]; shared: number; states: Map<unknown, State> } = {
    rank: -1,
    trail: [],
    shared: 0,
    states: new Map(),
  };

  constructor(
    model: LinearizabilityModel<State, Input, Output>,
    arranged: Arranged<Input, Output>,
    limits: Limits,
    spent: { steps: number },
    isRelaxed: boolean,
  ) {
    this.#model = model;
    this.#arranged = arranged;
    this.#limits = limits;
    this.#spent = spent;
    this.#isRelaxed = isRelaxed;
    this.#state = model.initial;
    this.#done = new Uint8Array(arranged.answered.length);
    this.#used = new Uint32Array(arranged.classes.length);
  }

  run(): Found<Input, Output> {
    for (;;) {
      this.#moveFreely();
      if (this.#rank === this.#done.length) return { kind: 'linearizable', order: this.#order() };
      if (!this.#isDead()) {
        this.#frames.push({
          trailLength: this.#trail.length,
          rank: this.#rank,
          state: this.#state,
          before: this.#before,
          branches: this.#branches(true),
          next: 0,
          isWhole: false,
        });
      }
      if (this.#limit !== null) return { kind: 'unknown', limit: this.#limit };
      if (!this.#goOn()) return { kind: 'refused', refusal: this.#refusal() };
    }
  }

  /** Lets each answered read take effect that may. */
  #moveFreely(): void {
    for (let hasMoved = true; hasMoved && this.#rank < this.#done.length;) {
      hasMoved = false;
      const rank = this.#rank;
      const { open, openStart } = this.#arranged;
      const end = openStart[rank + 1] ?? 0;
      for (let at = (openStart[rank] ?? 0) - 1; at < end && this.#rank === rank; at += 1) {
        // One before the first stands for the operation of this rank itself.
        const move = at < (openStart[rank] ?? 0) ? rank : (open[at] ?? 0);
        if (this.#arranged.isRead[move] === 0 || this.#done[move] === 1) continue;
        if (this.#stepAnswered(this.#state, move).length === 0) continue;
        this.#take(move);
        this.#before = null;
        hasMoved = this.#rank > rank;
      }
    }
  }

  #stepAnswered(state: State, move: number): readonly State[] {
    const operation = this.#arranged.answered[move];
    assert(operation?.outcome.kind === 'answered', 'a rank is of an answered operation');
    return this.#step(state, operation.input, operation.outcome.output);
  }

  #step(state: State, input: Input, output: Output | undefined): readonly State[] {
    this.#spent.steps += 1;
    if (this.#spent.steps >= this.#limits.steps) this.#limit = 'steps';
    if (this.#spent.steps % TIME_ASKED_STEPS === 0 && this.#limits.time()) this.#limit = 'time';
    return this.#model.step(state, input, output);
  }

  #isSame(left: State, right: State): boolean {
    return Object.is(left, right) || this.#model.stateKey(left) === this.#model.stateKey(right);
  }

  #take(move: number): void {
    this.#trail.push(move);
    if (move < 0) {
      if (!this.#isRelaxed) this.#used[-1 - move] = (this.#used[-1 - move] ?? 0) + 1;
      return;
    }
    this.#done[move] = 1;
    while (this.#done[this.#rank] === 1) this.#rank += 1;
  }

  /**
   * What may take effect next: answered operations that let the one of this rank have its answer;
   * or all the others, unanswered ones too, which may be many.
   */
  #branches(isFirst: boolean): readonly Branch<State>[] {
    const { open, openStart, answered } = this.#arranged;
    const first = answered[this.#rank];
    assert(first?.outcome.kind === 'answered', 'a rank is of an answered operation');
    const branches: Branch<State>[] = [];
    this.#addAnswered(branches, this.#rank);
    const end = openStart[this.#rank + 1] ?? 0;
    for (let at = openStart[this.#rank] ?? 0; at < end; at += 1) {
      this.#addAnswered(branches, open[at] ?? 0);
    }
    const answeredCount = branches.length;
    if (!isFirst) this.#addUnanswered(branches, first.outcome.atMs);
    const { input, outcome } = first;
    const helps = branches.map(
      (branch) =>
        branch.move === this.#rank || this.#step(branch.state, input, outcome.output).length > 0,
    );
    if (isFirst) return branches.filter((_, index) => helps[index] === true);
    return [
      ...branches.filter((_, index) => helps[index] === true && index >= answeredCount),
      ...branches.filter((_, index) => helps[index] === false),
    ];
  }

  #addAnswered(branches: Branch<State>[], move: number): void {
    // A read that might take effect here has done so.
    if (this.#arranged.isRead[move] === 1 || this.#done[move] === 1) return;
    const without = this.#before === null ? [] : this.#stepAnswered(this.#before.state, move);
    for (const state of this.#stepAnswered(this.#state, move)) {
      if (!without.some((other) => this.#isSame(other, state))) branches.push({ move, state });
    }
  }

  #addUnanswered(branches: Branch<State>[], answeredAtMs: number): void {
    this.#arranged.classes.forEach((members, index) => {
      const next = members[this.#used[index] ?? 0];
      if (next === undefined || next.calledAtMs > answeredAtMs) return;
      const before = this.#before?.state;
      const without =
        this.#before === null ? [] : this.#step(this.#before.state, next.input, undefined);
      for (const state of this.#step(this.#state, next.input, undefined)) {
        if (this.#isSame(state, this.#state)) continue;
        if (before !== undefined && this.#isSame(state, before)) continue;
        if (without.some((other) => this.#isSame(other, state))) continue;
        branches.push({ move: -1 - index, state });
      }
    });
  }

  /** Takes the next branch that is left anywhere; false if there is none. */
  #goOn(): boolean {
    this.#noteBest();
    for (let frame = this.#frames.at(-1); frame !== undefined; frame = this.#frames.at(-1)) {
      this.#undoTo(frame);
      if (frame.next === frame.branches.length && !frame.isWhole) {
        this.#state = frame.state;
        this.#before = frame.before;
        frame.branches = this.#branches(false);
        frame.next = 0;
        frame.isWhole = true;
      }
      const branch = frame.branches[frame.next];
      if (branch !== undefined) {
        frame.next += 1;
        this.#before = branch.move < 0 ? { state: frame.state } : null;
        this.#state = branch.state;
        this.#take(branch.move);
        return true;
      }
      this.#frames.pop();
    }
    return false;
  }

  #undoTo(frame: Frame<State>): void {
    while (this.#trail.length > frame.trailLength) {
      const move = this.#trail.pop() ?? 0;
      if (move >= 0) this.#done[move] = 0;
      else if (!this.#isRelaxed) this.#used[-1 - move] = (this.#used[-1 - move] ?? 0) - 1;
    }
    this.#rank = frame.rank;
    this.#best.shared = Math.min(this.#best.shared, this.#trail.length);
  }

  /** Remembers this configuration; true if one like it, or one that could do more, was here. */
  #isDead(): boolean {
    const { open, openStart } = this.#arranged;
    let key = `${this.#rank}`;
    const end = openStart[this.#rank + 1] ?? 0;
    for (let at = openStart[this.#rank] ?? 0; at < end; at += WORD_BITS) {
      let word = 0;
      for (let bit = Math.min(WORD_BITS, end - at) - 1; bit >= 0; bit -= 1) {
        word = word * 2 + (this.#done[open[at + bit] ?? 0] ?? 0);
      }
      key += `,${word}`;
    }
    key += `:${this.#model.stateKey(this.#state)}`;
    const known = this.#seen.get(key);
    if (known === undefined) {
      this.#seen.set(key, this.#used.length === 0 ? this.#noUse : [this.#used.slice()]);
    } else {
      if (known.some((uses) => isWithin(uses, this.#used))) return true;
      const rest = known.filter((uses) => !isWithin(this.#used, uses));
      this.#seenCount -= known.length - rest.length;
      rest.push(this.#used.slice());
      this.#seen.set(key, rest);
    }
    this.#seenCount += 1;
    if (this.#seenCount > this.#limits.configurations) this.#limit = 'configurations';
    return false;
  }

  /** Keeps the order that got furthest. Only what changed since the last time is copied. */
  #noteBest(): void {
    const best = this.#best;
    if (this.#rank < best.rank) return;
    if (this.#rank > best.rank) best.states.clear();
    if (best.states.size < STATES_SHOWN) {
      best.states.set(this.#model.stateKey(this.#state), this.#state);
    }
    if (this.#rank === best.rank && this.#trail.length <= best.trail.length) return;
    best.rank = this.#rank;
    best.trail.length = best.shared;
    for (let at = best.shared; at < this.#trail.length; at += 1) {
      best.trail.push(this.#trail[at] ?? 0);
    }
    best.shared = this.#trail.length;
  }

  #order(): readonly Operation<Input, Output>[] {
    return this.#operationsOf(this.#trail);
  }

  #operationsOf(trail: readonly number[]): readonly Operation<Input, Output>[] {
    const { answered, classes } = this.#arranged;
    const used = classes.map(() => 0);
    return trail.map((move) => {
      const index = -1 - move;
      const place = used[index] ?? 0;
      if (move < 0 && !this.#isRelaxed) used[index] = place + 1;
      const operation = move < 0 ? classes[index]?.[place] : answered[move];
      assert(operation !== undefined, 'a move is of an operation');
      return operation;
    });
  }

  #refusal(): Extract<Found<Input, Output>, { readonly kind: 'refused' }>['refusal'] {
    const { rank, trail, states } = this.#best;
    const { answered, open, openStart } = this.#arranged;
    const blocked = answered[rank];
    assert(blocked !== undefined, 'a refusal is of an answered operation');
    const isPlaced = new Set(trail);
    return {
      prefix: this.#operationsOf(trail),
      blocked,
      unplaced: [...open.subarray(openStart[rank], openStart[rank + 1])]
        .filter((move) => !isPlaced.has(move))
        .flatMap((move) => answered[move] ?? []),
      states: [...states.values()].map((state) => this.#model.describeState(state)),
    };
  }
}

/** True if `few` uses no more of any class than `many`. */
function isWithin(few: Uint32Array, many: Uint32Array): boolean {
  for (let index = 0; index < few.length; index += 1) {
    if ((few[index] ?? 0) > (many[index] ?? 0)) return false;
  }
  return true;
}
