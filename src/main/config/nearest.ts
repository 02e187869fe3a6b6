/** The known word nearest to an unknown one, for "did you mean". */

/** Edit distance (Levenshtein): insertions, deletions and substitutions, each 1. */
export function editDistance(left: string, right: string): number {
  let previous = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let row = 1; row <= left.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= right.length; column += 1) {
      const substitution = left[row - 1] === right[column - 1] ? 0 : 1;
      current.push(
        Math.min(
          (previous[column] ?? 0) + 1,
          (current[column - 1] ?? 0) + 1,
          (previous[column - 1] ?? 0) + substitution,
        ),
      );
    }
    previous = current;
  }
  return previous[right.length] ?? 0;
}

/**
 * The word of `known` nearest to `word`, letter case and separators ignored; null where none is
 * near enough to be meant: more than 40 % of its letters differ. A beginning is near enough.
 */
export function nearestWord(word: string, known: readonly string[]): string | null {
  const plain = plainWord(word);
  const begun = known.find((candidate) => plainWord(candidate).startsWith(plain));
  if (plain.length >= 2 && begun !== undefined) return begun;
  let best: string | null = null;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of known) {
    const distance = editDistance(plain, plainWord(candidate));
    const isNear = distance <= Math.max(1, Math.floor(candidate.length * 0.4));
    if (isNear && distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** `base_url`, `base-url` and `baseURL` all mean `baseUrl`. */
function plainWord(word: string): string {
  return word
    .slice(0, 64)
    .toLowerCase()
    .replace(/[-_. ]/g, '');
}
