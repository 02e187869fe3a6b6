/**
 * The one with the least weight. Among equals they take turns: `turn` says where to begin, so that
 * who calls with growing numbers goes round.
 *
 * K1: what weighs Infinity is never picked. K2: nothing lighter than what is picked is left.
 * Held by pickLeast.test.ts. @hot
 */

export function pickLeast<T>(
  from: readonly T[],
  weightOf: (one: T) => number,
  turn: number,
): T | undefined {
  let best: T | undefined;
  let least = Infinity;
  for (let step = 0; step < from.length; step += 1) {
    const one = from[(turn + step) % from.length];
    if (one === undefined) continue;
    const weight = weightOf(one);
    if (weight >= least) continue;
    best = one;
    least = weight;
  }
  return best;
}
